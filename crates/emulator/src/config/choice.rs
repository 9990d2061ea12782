//! What the real hub may do or not: one enum for each setting that is more than yes or no.

use serde::Deserialize;

/// What the hub does with a PUBLISH to a topic it does not know, or to another identity's (docs/hub-over-mqtt.md 2.4, 12.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UnknownTopic {
    /// Closes the connection: only the documented topics are supported.
    Close,
    /// Acknowledges it and drops it, as IoT Edge does.
    DropAndAck,
    /// Stores it as telemetry with `$PG.Unmatched` = `True` and `$PG.Subject` = the topic, as the hub of 2016 did.
    LegacyUnmatched,
}

/// What the hub does with a SUBSCRIBE to a filter it does not know, or to another identity's (E14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BadFilter {
    /// Closes the connection.
    Close,
    /// Answers 0x80 for that filter.
    SubackFailure,
    /// Grants it and never delivers, as IoT Edge does.
    Ignore,
}

/// What the hub does with a PUBACK that is not for the oldest message in flight (docs/hub-over-mqtt.md 3, 12.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OutOfOrderPuback {
    /// Logs and ignores it: the message stays locked.
    Ignore,
    /// Completes the message it names.
    Accept,
    /// Closes the connection.
    Close,
}

/// What happens to a cloud-to-device message whose lock ends on a live connection (docs/hub-over-mqtt.md 3, 12.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LockExpiry {
    /// It is sent again on the same connection, with the same packet id and DUP.
    Redeliver,
    /// It stays with the connection; a late PUBACK completes it, and only a reconnect redelivers it.
    Hold,
}

/// What the hub does with telemetry that names a system property twice (docs/hub-over-mqtt.md 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DuplicateSystemProperty {
    /// Closes the connection.
    Close,
    /// The last one counts.
    LastWins,
}

/// At which QoS the hub publishes twin replies and desired patches, or method requests (docs/hub-over-mqtt.md 4.1, 5, 12.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DeliveryQos {
    /// At QoS 0, whatever was subscribed.
    AtMostOnce,
    /// At the QoS of the subscription, as IoT Edge does. A PUBACK that is missing has no consequence: nothing of this is sent twice.
    AsSubscribed,
}

/// How the request id of a method call is made (docs/hub-over-mqtt.md 5; E38).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MethodRid {
    /// A counter of the device in lower-case hex, from 1.
    Counter,
    /// A GUID, as IoT Edge has it.
    Guid,
}
