//! How the MQTT transport behaves towards the engine and towards a hub, in virtual time over an in-memory network.
//!
//! The hub is played with raw bytes that are made and read here, not with the codec of the transport.

#![expect(clippy::unwrap_used, reason = "a helper of tests may panic as the tests do")]

mod bench;
mod closing;
mod cloud_to_device;
mod connecting;
mod framing;
mod keep_alive;
mod lanes;
mod methods;
mod modules;
mod options;
mod resending;
mod settling;
mod subscribing;
mod telemetry;
mod twin;
mod wire;
