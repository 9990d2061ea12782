//! What the hub has for a local device.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::activity::{ConnectionId, DisconnectReason};
use crate::hub::outbox::OVERHEAD;

/// Something that the hub tells a local device. See [`LocalConnection::next_event`](crate::LocalConnection::next_event).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocalEvent {
    /// A cloud-to-device message, or one for an input; it is locked until it is settled, its lock ends, or the connection does.
    Message(LocalMessage),
    /// A direct method is called.
    Method(LocalMethod),
    /// The desired properties have changed.
    DesiredProperties {
        /// The version that the change made.
        version: u64,
        /// JSON: the changed members, `null` for removed ones, and `$version`.
        patch: Bytes,
    },
    /// The answer to a twin request.
    TwinAnswer(LocalTwinAnswer),
    /// The connection has ended. Nothing comes after this.
    Closed(DisconnectReason),
}

/// A cloud-to-device message, or one for an input, as a local device or module is given it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalMessage {
    /// The payload, byte for byte.
    pub body: Bytes,
    /// Application properties in the order of the service; `None` is a name without a value.
    pub properties: Vec<(String, Option<String>)>,
    /// System properties by the names of [`TelemetryRecord::system`](crate::TelemetryRecord::system) and [`stamps`](crate::TelemetryRecord::stamps). A cloud-to-device
    /// message always has `message-id` and `to`, and what the service set of `absolute-expiry-time`, `correlation-id`, `user-id`, `content-type`,
    /// `content-encoding` and `iothub-ack`. One for an input has `iothub-connection-device-id` and `iothub-connection-module-id`, and what its sender set.
    pub system: BTreeMap<String, String>,
    /// The input of the module that it is for; `None`: a cloud-to-device message.
    pub input: Option<String>,
    /// Whether it was sent to the device before.
    pub redelivered: bool,
    /// By what it is settled.
    pub delivery: LocalDelivery,
}

/// Names a message that a connection was given. When the lock of a message ends and it comes again over the same connection, it has the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalDelivery {
    pub(super) connection: ConnectionId,
    pub(super) sequence: u64,
}

/// A call of a direct method.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalMethod {
    /// Its name.
    pub name: String,
    /// The payload: JSON, or nothing.
    pub body: Bytes,
    /// By what it is answered: the hub's request id.
    pub request: String,
}

/// The hub's answer to a request for the twin, or to reported properties.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalTwinAnswer {
    /// The id that the device gave the request.
    pub request: String,
    /// 200 with the twin, 204 for stored properties, 400 and up for a refusal.
    pub status: u16,
    /// The version that the reported properties have now.
    pub version: Option<u64>,
    /// The twin as a device sees it, or the hub's words about a refusal: JSON. Empty for stored properties.
    pub body: Bytes,
}

impl LocalEvent {
    /// About how much memory it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        let content = match self {
            Self::Message(message) => message.body.len(),
            Self::Method(method) => method.name.len() + method.body.len() + method.request.len(),
            Self::DesiredProperties { patch, .. } => patch.len(),
            Self::TwinAnswer(answer) => answer.request.len() + answer.body.len(),
            Self::Closed(_) => 0,
        };
        OVERHEAD + content
    }
}
