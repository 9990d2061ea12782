//! What the fuzz targets do with their input, and what must hold whatever it is.
//!
//! Each target is a function that takes bytes and panics when a promise is broken. `fuzz_targets/` hands it to libFuzzer;
//! `tests/fuzz_corpora.rs` of the workspace includes this same file and runs the committed corpora through it. Everything
//! is driven through public interfaces, in memory and in virtual time, and what is expected of the wire is worked out
//! here by hand ([`wire`]), not by a codec of either side.
//!
//! Most inputs are scripts ([`script`]): one letter a step, so that a corpus can be read and written by people too.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a target reports by panicking")]

pub mod amqp_session;
mod amqp_wire;
pub mod connection_string;
pub mod emulator_amqp;
pub mod emulator_mqtt;
mod engine;
mod hub;
pub mod mqtt_session;
pub mod properties;
pub mod proxy;
pub mod script;
pub mod topics;
pub mod twin;
pub mod websocket;
pub mod wire;
pub mod world;
