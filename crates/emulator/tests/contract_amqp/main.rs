//! The contract of the emulator's AMQP head, number by number, seen from outside: by a peer of raw frames, and by the hub's own record.
//! `contract-amqp.txt` lists the numbers; the name of a test says which one it holds the hub to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test program: helpers outside #[test] functions fail their test by panicking"
)]

mod c2d;
mod connection;
mod events;
mod faults;
mod links;
mod list;
mod methods;
mod sasl;
mod service;
mod support;
mod telemetry;
mod tls;
mod tokens;
mod twins;
