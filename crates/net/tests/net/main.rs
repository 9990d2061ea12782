//! The crate's behaviour over real sockets on the loopback interface, and over its in-memory network.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod addresses;
mod certificates;
mod handshake;
mod memory;
mod platform;
mod signer;
mod stream;
mod support;
mod tcp_keep_alive;
