//! What every transport of `iothub-client` must do, written once, as tests against the local hub.
//!
//! A behaviour is a function over a [`Subject`], the transport under test. It starts a hub of its own, lets clients at
//! it, and checks both ends: what the client heard, and what the hub recorded. [`suite!`] makes a test of each.
//!
//! # Testing a transport of your own
//!
//! Depend on this package in `[dev-dependencies]`, implement [`Subject`], and name it once in a test target:
//!
//! ```
//! use iothub_conformance::{Settings, Subject, suite};
//! use iothub_core::Provider;
//! use iothub_emulator::Hub;
//! # use iothub_core::{CreateError, Endpoint, Platform, Transport};
//! # struct MyTransport;
//! # impl MyTransport {
//! #     fn new() -> Self { Self }
//! #     fn keep_alive(self, _: std::time::Duration) -> Self { self }
//! # }
//! # impl Provider for MyTransport {
//! #     fn transport(&self, _: &Endpoint) -> Result<Box<dyn Transport>, CreateError> { unimplemented!() }
//! #     fn platform(&self) -> Result<Box<dyn Platform>, CreateError> { unimplemented!() }
//! # }
//!
//! struct Mine;
//!
//! impl Subject for Mine {
//!     fn provider(&self, _: &Hub, settings: &Settings) -> Box<dyn Provider + Send + Sync> {
//!         let mut transport = MyTransport::new();
//!         if let Some(interval) = settings.keep_alive {
//!             transport = transport.keep_alive(interval);
//!         }
//!         Box::new(transport)
//!     }
//! }
//!
//! suite!(mine, Mine);
//! # fn main() {}
//! ```
//!
//! The tests are then called `mine::telemetry::an_empty_payload_arrives` and so on; `cargo test mine::c2d::` runs those
//! of one concern. A transport that does not have all concerns names those that it has, `suite!(mine, Mine, [telemetry, c2d])`, and
//! behaviours that do not apply to it are named, with reasons, by [`Subject::absent`]. Whatever goes wrong, a failed test prints
//! what the client heard and what the hub saw.
//!
//! # How behaviours are written
//!
//! No sleeps and no assertions about elapsed time. A behaviour drives its client until an event has come or the hub's
//! record has changed, 30 s at the most. Where something must be seen *not* to happen, a message goes there and back
//! first: what would have arrived before it has.

// A behaviour is a test although it is not compiled as one.
#![expect(clippy::expect_used, reason = "a behaviour that a transport does not have is a panic")]

mod absent;
mod bench;
mod c2d;
mod clock;
mod close;
mod confirmation;
mod credentials;
mod methods;
mod modules;
mod options;
mod program;
mod reconnect;
mod record;
mod renewal;
mod retry;
mod rivals;
mod sharing;
mod status;
mod subject;
mod suite;
mod telemetry;
mod twin;

pub use absent::{Absent, AbsentError, Row};
pub use subject::{Missing, Settings, Subject};
pub use suite::{BEHAVIOURS, Behaviour, Verdict};
