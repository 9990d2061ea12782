//! The AMQP transport and its hub in the test's hands: no network, and virtual time. Each test looks at both ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod backpressure;
mod bench;
mod bounds;
mod links;
mod malformed;
mod sharing;
mod telemetry;
mod twin;
