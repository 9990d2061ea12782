//! What a local connection cannot do, and why.

use crate::activity::{DisconnectReason, RefusalReason};
use crate::local::LocalFeature;
use crate::method::MethodError;

/// Why a device was not let in. Unlike a device over a network, this one is told the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocalLoginError {
    /// The hub refused the identity or its credential.
    #[error("the hub refused the device: {0:?}")]
    Refused(RefusalReason),
    /// The hub closed the connection before it had answered: a fault.
    #[error("the hub closed the connection before it had answered: {0:?}")]
    Closed(DisconnectReason),
    /// The emulator was stopped: nothing can connect any more.
    #[error("the hub was stopped; start another one")]
    HubStopped,
}

/// Why something asked of a local connection was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The connection has ended, before or because of this. [`LocalEvent::Closed`](crate::LocalEvent::Closed) says so too.
    #[error("the connection has ended: {0:?}; connect again")]
    Closed(DisconnectReason),
    /// The hub knows no system property of this name. Nothing was sent.
    #[error("'{name}' is no system property that a device may set; see TelemetryRecord::system for their names")]
    UnknownSystemProperty {
        /// The name that was given.
        name: String,
    },
    /// An application property has the name that a system property has on the wire. Nothing was sent.
    #[error("an application property cannot be called '{name}': set the system property '{system}' instead")]
    ReservedName {
        /// The name that was given.
        name: String,
        /// Which system property it stands for.
        system: &'static str,
    },
    /// Only devices, or only modules, have this.
    #[error("this identity has no {feature}: devices have cloud-to-device messages, and modules have inputs")]
    NoFeature {
        /// Which feature.
        feature: LocalFeature,
    },
    /// The hub refused the subscription: the session holds as many as it may, or a fault was injected.
    #[error("the hub refused the subscription to {feature}")]
    SubscriptionRefused {
        /// To what.
        feature: LocalFeature,
    },
    /// The connection does not hold this message.
    #[error(
        "the connection does not hold this message: it was settled before, its lock ended, or it came over another connection"
    )]
    NotHeld,
    /// The response is none, and its caller was told so; or it is too large.
    #[error("the hub does not take the response: {0}")]
    Response(MethodError),
}
