//! What the hub remembers and shows: telemetry, cloud-to-device states and outcomes, feedback, twins.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::Value;

use crate::activity::ConnectionId;

/// The system property that names a module's output.
pub(crate) const OUTPUT_NAME: &str = "iothub-outputname";

/// A device-to-cloud message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TelemetryRecord {
    /// The device that sent it.
    pub device_id: String,
    /// The module that sent it.
    pub module_id: Option<String>,
    /// The payload, byte for byte.
    pub body: Bytes,
    /// Application properties, decoded, in the order of the topic. `None` is a name without `=`.
    /// The hub adds `mqtt-retain`, `mqtt-dup` and `iothub-MessageType` behind them (docs/hub-over-mqtt.md 1.4, 2.4).
    pub properties: Vec<(String, Option<String>)>,
    /// System properties that the device set, by the names of docs/hub-over-mqtt.md 2.3 (`message-id`, `correlation-id`, `user-id`, `to`, `absolute-expiry-time`,
    /// `iothub-creation-time-utc`, `content-type`, `content-encoding`, `iothub-outputname`, `dt-subject`, `iothub-interface-id`, `iothub-message-schema`,
    /// `Diagnostic-Id`, `Correlation-Context`, `iothub-ack`, `iothub-operation`).
    pub system: BTreeMap<String, String>,
    /// What the hub itself says about the message, which no device can forge: `iothub-connection-device-id`, `iothub-connection-auth-method`,
    /// `iothub-connection-auth-generation-id`, `iothub-enqueuedtime`, `iothub-message-source`, `iothub-connection-module-id` if a module sent it, and
    /// `dt-dataschema` if the device gave a model id.
    pub stamps: BTreeMap<String, String>,
    /// Counts all telemetry of the hub from 1.
    pub sequence_number: u64,
    /// When it was stored, by the hub's clock.
    pub enqueued: SystemTime,
    /// The connection it came over.
    pub connection: ConnectionId,
}

impl TelemetryRecord {
    /// The module's output that it came from.
    #[must_use]
    pub fn output(&self) -> Option<&str> {
        self.system.get(OUTPUT_NAME).map(String::as_str)
    }

    /// The value of an application property: `Some(None)` if it has a name but no value. The first one counts.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<Option<&str>> {
        self.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_deref())
    }
}

/// The state of a pending cloud-to-device or input message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum C2dState {
    /// Waits to be delivered.
    Enqueued,
    /// Was delivered and is locked; it comes back at this moment unless it is settled.
    Invisible {
        /// When the lock ends, by the hub's clock.
        until: SystemTime,
    },
}

/// A pending cloud-to-device or input message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct C2dRecord {
    /// Its message id. The hub makes one up for a routed message without one, and tells nobody else.
    pub message_id: String,
    /// The module's input that it is for; `None`: a cloud-to-device message.
    pub input: Option<String>,
    /// Counts the messages for this device or module from 1.
    pub sequence_number: u64,
    /// Enqueued or invisible.
    pub state: C2dState,
    /// How often it was given back. The end of a lock does not count (docs/hub-over-mqtt.md 3), so over MQTT this is 0 by default.
    pub delivery_count: u32,
    /// When it was enqueued, by the hub's clock.
    pub enqueued: SystemTime,
    /// When it expires, by the hub's clock.
    pub expires: SystemTime,
}

/// How a cloud-to-device or input message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum C2dResult {
    /// The device completed it; over MQTT: PUBACK, or sending it at QoS 0.
    Completed,
    /// The device rejected it. Not possible over MQTT, but [`Config::with_drop_unmatched`](crate::Config::with_drop_unmatched) ends so.
    Rejected,
    /// Its time to live ended.
    Expired,
    /// It was given back too often.
    DeliveryCountExceeded,
    /// The service purged the queue, or deleted the device or module.
    Purged,
}

/// One ended cloud-to-device or input message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct C2dOutcome {
    /// Its message id. The hub makes one up for a routed message without one, and tells nobody else.
    pub message_id: String,
    /// The module's input that it is for; `None`: a cloud-to-device message.
    pub input: Option<String>,
    /// How it ended.
    pub result: C2dResult,
    /// When, by the hub's clock.
    pub at: SystemTime,
}

/// One entry of the feedback that the service reads (docs/hub-over-mqtt.md 3).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedbackRecord {
    /// When the message ended, by the hub's clock.
    pub enqueued_time: SystemTime,
    /// The id of the message that this is about.
    pub original_message_id: String,
    /// `Success`, `Expired`, `DeliveryCountExceeded`, `Rejected` or `Purged`.
    pub status_code: String,
    /// The same in words.
    pub description: String,
    /// The device it was for.
    pub device_id: String,
    /// That device's generation.
    pub device_generation_id: String,
}

/// A device's or module's twin as the service sees it: a copy taken when it was asked for (docs/hub-over-mqtt.md 4).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TwinRecord {
    /// The device.
    pub device_id: String,
    /// The module whose twin it is; `None`: it is the device's own.
    pub module_id: Option<String>,
    /// Changes with each change of the tags or the desired properties.
    pub etag: String,
    /// Counts all changes of the twin from 1.
    pub version: u64,
    /// The tags: an object. Neither device nor module ever sees them.
    pub tags: Value,
    /// The desired properties: an object, without `$version` and `$metadata`.
    pub desired: Value,
    /// Counts the accepted changes of the desired properties from 1.
    pub desired_version: u64,
    /// The shape of `desired` with `$lastUpdated` and `$lastUpdatedVersion` at every level.
    pub desired_metadata: Value,
    /// The reported properties: an object, without `$version` and `$metadata`.
    pub reported: Value,
    /// Counts the accepted changes of the reported properties from 1.
    pub reported_version: u64,
    /// The shape of `reported` with `$lastUpdated` at every level.
    pub reported_metadata: Value,
}
