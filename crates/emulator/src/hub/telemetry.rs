//! From a message as a head has decoded it to the record that is stored: the hub's own stamps (docs/hub-over-mqtt.md 2.3).

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::activity::{ConnectionId, DisconnectReason};
use crate::clock::{Now, iso8601};
use crate::hub::registry::Identity;
use crate::record::TelemetryRecord;

/// The largest message: body, system property values, application property names and values (docs/hub-over-mqtt.md 2.4).
pub(crate) const MAX_MESSAGE: usize = 262_144;

/// The stamps that say who sent a message.
pub(crate) const SENDING_DEVICE: &str = "iothub-connection-device-id";
pub(crate) const SENDING_MODULE: &str = "iothub-connection-module-id";
/// The names of the stamps. A device cannot set them: a property of such a name gives way to the stamp.
pub(crate) const STAMPS: [&str; 7] = [
    SENDING_DEVICE,
    SENDING_MODULE,
    "iothub-connection-auth-method",
    "iothub-connection-auth-generation-id",
    "iothub-enqueuedtime",
    "iothub-message-source",
    "dt-dataschema",
];

/// Whether the hub itself sets this property.
pub(crate) fn is_stamp(name: &str) -> bool {
    STAMPS.contains(&name)
}

/// A device-to-cloud message, decoded, before it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) body: Bytes,
    pub(crate) properties: Vec<(String, Option<String>)>,
    pub(crate) system: BTreeMap<String, String>,
}

impl Draft {
    fn size(&self) -> usize {
        self.body.len()
            + self.system.values().map(String::len).sum::<usize>()
            + self
                .properties
                .iter()
                .map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len))
                .sum::<usize>()
    }

    /// The draft, if it is not too large; the error ends the connection.
    pub(crate) fn checked(self) -> Result<Self, DisconnectReason> {
        match self.size() {
            size if size > MAX_MESSAGE => Err(DisconnectReason::MessageTooLarge { size, limit: MAX_MESSAGE }),
            _ => Ok(self),
        }
    }

    /// Adds an application property of the hub's own.
    pub(crate) fn mark(&mut self, name: &str, value: &str) {
        self.properties.push((name.to_owned(), Some(value.to_owned())));
    }
}

/// Who sends over a connection, as its messages are stamped.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) identity: Identity,
    pub(crate) generation_id: String,
    /// `sas` or `x509`.
    pub(crate) auth_type: &'static str,
    pub(crate) model_id: Option<String>,
}

impl Sender {
    pub(crate) fn record(
        &self,
        draft: Draft,
        sequence_number: u64,
        connection: ConnectionId,
        now: Now,
    ) -> TelemetryRecord {
        let scope = if self.identity.module.is_some() { "module" } else { "device" };
        let auth_method = format!(r#"{{"scope":"{scope}","type":"{}","issuer":"iothub"}}"#, self.auth_type);
        let mut stamps = BTreeMap::new();
        let mut stamp = |name: &str, value: String| stamps.insert(name.to_owned(), value);
        stamp(SENDING_DEVICE, self.identity.device.clone());
        stamp("iothub-connection-auth-method", auth_method);
        stamp("iothub-connection-auth-generation-id", self.generation_id.clone());
        stamp("iothub-enqueuedtime", iso8601(now.wall));
        stamp("iothub-message-source", "Telemetry".to_owned());
        if let Some(module) = &self.identity.module {
            stamp(SENDING_MODULE, module.clone());
        }
        if let Some(model) = &self.model_id {
            stamp("dt-dataschema", model.clone());
        }
        TelemetryRecord {
            device_id: self.identity.device.clone(),
            module_id: self.identity.module.clone(),
            body: draft.body,
            properties: draft.properties,
            system: draft.system,
            stamps,
            sequence_number,
            enqueued: now.wall,
            connection,
        }
    }
}
