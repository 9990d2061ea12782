//! Devices in the hub's own process: a connection without protocol and without network, over the same state and the same rules as MQTT's.
//!
//! `login` lets a device in, `line` is what one connection does to the hub's state (pure, as an MQTT head), `connection` puts the lock and the waker
//! around it; `event`, `telemetry` and `error` are what goes down, up and wrong.

mod connection;
mod error;
mod event;
mod line;
mod login;
mod telemetry;

pub use connection::LocalConnection;
pub use error::{LocalError, LocalLoginError};
pub use event::{LocalDelivery, LocalEvent, LocalMessage, LocalMethod, LocalTwinAnswer};
pub use login::LocalLogin;
pub use telemetry::LocalTelemetry;

use std::fmt;

use crate::hub::session::Feature;

/// What a local connection can subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LocalFeature {
    /// Cloud-to-device messages. A module has none.
    CloudToDevice,
    /// The answers to twin requests: without this they are executed and not answered (E33).
    TwinAnswers,
    /// Changes of the desired properties.
    DesiredProperties,
    /// Direct methods.
    Methods,
    /// Messages to the inputs of a module. A device has none.
    Inputs,
}

impl LocalFeature {
    fn as_hub_has_it(self) -> Feature {
        match self {
            Self::CloudToDevice => Feature::CloudToDevice,
            Self::TwinAnswers => Feature::TwinResponses,
            Self::DesiredProperties => Feature::DesiredPatches,
            Self::Methods => Feature::Methods,
            Self::Inputs => Feature::Inputs,
        }
    }
}

impl fmt::Display for LocalFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CloudToDevice => "cloud-to-device messages",
            Self::TwinAnswers => "answers to twin requests",
            Self::DesiredProperties => "changes of the desired properties",
            Self::Methods => "direct methods",
            Self::Inputs => "messages to inputs",
        })
    }
}
