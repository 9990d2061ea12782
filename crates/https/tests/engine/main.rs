//! The engine against servers on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod ending;
mod names;
mod requests;
mod runtimes;
mod support;
mod tls;
