//! A local Azure IoT Hub to develop and test against: library and binary.
//!
//! [`Emulator::start`] gives a hub on a free port of 127.0.0.1 within milliseconds, on a thread of its own. Devices
//! connect with any SDK, over MQTT 3.1.1 and TLS; their tokens and certificates are checked for real. The service side is
//! [`Hub`], a blocking handle to clone and share: it creates devices, sends cloud-to-device messages, reads telemetry and
//! feedback, changes twins, calls methods, and tells what happened on each connection. Its clock can be advanced, so that a
//! test of a one-hour token takes no hour, and it injects [faults](Fault): a connection dropped at an exact point, an answer
//! withheld or late, a network that is gone.
//!
//! ```
//! use iothub_emulator::{Config, DropPoint, Emulator, Fault};
//! use std::time::{Duration, SystemTime};
//!
//! let emulator = Emulator::start_with(Config::new().with_manual_clock(SystemTime::now()))?;
//! let device = emulator.create_device("thermometer")?;
//! // Give a client `device.connection_string()`, `emulator.mqtt_address()` and `emulator.ca_pem()`.
//! emulator.inject(Fault::Drop { device: None, at: DropPoint::PublishStored });
//! emulator.advance_clock(Duration::from_secs(3600));
//! assert!(!emulator.connected(&device.id));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it does as the real hub, and what not
//!
//! The contract is section 11 of `docs/hub-over-mqtt.md`, numbers E1 to E50; `contract.txt` lists each with its test.
//! Where the real hub's behaviour is not certain, [`Config`] has a switch whose default names its source. Of what a device
//! may ask for, this version has telemetry, cloud-to-device messages, its twin and direct methods; a module has the same but
//! for its messages, which come to inputs, and only if its device has routes ([`Config::with_edge_routes`]). There is no
//! throttling and no quota but those that are injected, and a stored session does not expire.
//!
//! # Inside
//!
//! `hub` is the state and its rules, `mqtt` one connection's state machine over it: both pure, with the time as an
//! argument. `server` moves bytes between them and the network. The crate names no client crate: its encoding and parsing
//! are its own, so that a mistake cannot agree with itself on both sides.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod activity;
pub(crate) mod amqp;
pub(crate) mod auth;
pub(crate) mod clock;
mod config;
mod device;
mod emulator;
mod error;
pub(crate) mod escape;
mod faults;
pub(crate) mod guid;
mod handle;
pub(crate) mod head;
pub(crate) mod hub;
mod local;
mod message;
mod method;
mod module;
pub(crate) mod mqtt;
mod offline;
pub(crate) mod outgoing;
pub(crate) mod policy;
mod record;
mod routes;
mod server;
mod shared;
pub(crate) mod tls;
mod who;

pub use activity::{Activity, AmqpLink, ConnectionId, DisconnectReason, PubackEffect, RefusalReason, TlsVersion};
pub use config::{
    BadFilter, Config, DeliveryQos, DuplicateSystemProperty, LockExpiry, MethodRid, OutOfOrderPuback, UnknownTopic,
};
pub use device::{Device, DeviceAuth, DeviceCertificate, SecretKey};
pub use emulator::Emulator;
pub use error::{HubError, StartError, WaitError};
pub use faults::{AmqpOutcome, CbsFault, DropPoint, Fault, FaultId, TwinPatchFault, TwinReplyFault};
pub use handle::Hub;
pub use local::{
    LocalConnection, LocalDelivery, LocalError, LocalEvent, LocalFeature, LocalLogin, LocalLoginError, LocalMessage,
    LocalMethod, LocalTelemetry, LocalTwinAnswer,
};
pub use message::{C2dMessage, FeedbackMode, IntoPropertyValue};
pub use method::{MethodCall, MethodError, MethodResult, PendingMethod};
pub use module::Module;
pub use offline::{OfflineConnection, OfflineHub};
pub use record::{C2dOutcome, C2dRecord, C2dResult, C2dState, FeedbackRecord, TelemetryRecord, TwinRecord};
pub use who::Who;
