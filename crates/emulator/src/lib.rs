//! A local Azure IoT Hub to develop and test against: library and binary.

pub(crate) mod auth;
pub(crate) mod clock;
mod config;
mod device;
mod emulator;
mod error;
mod faults;
mod handle;
pub(crate) mod hub;
mod message;
pub(crate) mod mqtt;
mod record;
mod server;
mod shared;
pub(crate) mod tls;

pub use config::{BadFilter, Config, DuplicateSystemProperty, LockExpiry, OutOfOrderPuback, UnknownTopic};
pub use device::{Device, DeviceAuth, DeviceCertificate, SecretKey};
pub use emulator::Emulator;
pub use error::{HubError, StartError, WaitError};
pub use faults::{DropPoint, Fault, FaultId};
pub use handle::Hub;
pub use message::{C2dMessage, FeedbackMode, IntoPropertyValue};
pub use record::{
    Activity, C2dOutcome, C2dRecord, C2dResult, C2dState, ConnectionId, DisconnectReason, FeedbackRecord, PubackEffect,
    RefusalReason, TelemetryRecord, TlsVersion,
};
