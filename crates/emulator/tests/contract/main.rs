//! The contract of the emulator's MQTT head, number by number, seen from outside: by a peer that is not our client, and
//! by the hub's own record. `contract.txt` lists the numbers; the name of a test says which one it holds the hub to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test program: helpers outside #[test] functions fail their test by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod c2d_delivery;
mod c2d_outcomes;
mod c2d_queue;
mod certificates;
mod credentials;
mod drop_points;
mod edge_routes;
mod fault_messages;
mod handshake;
mod inputs;
mod lifetime;
mod list;
mod methods;
mod module_credentials;
mod modules;
mod official_sdks;
mod properties;
mod robustness;
mod scripted_faults;
mod sessions;
mod subscribe;
mod telemetry;
mod twin_rules;
mod twins;
mod user_names;
