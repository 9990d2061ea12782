//! Telemetry over AMQP: alone and in batches, with outcomes, without, and late. Each test looks at both ends.
//!
//! `offline` has the transport and the hub in the test's hands and in virtual time; `online` has a client and a hub on
//! sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod bench;
mod offline;
mod online;
