//! A device-to-cloud message as a local device sends it.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::hub::telemetry::Draft;
use crate::local::LocalError;
use crate::message::IntoPropertyValue;
use crate::mqtt::bag::{is_hubs_own, record_name, wire_name};

/// A device-to-cloud message: at most 256 KiB of body, values of system properties, names and values of application properties.
///
/// ```
/// use iothub_emulator::LocalTelemetry;
///
/// let message = LocalTelemetry::new(r#"{"temperature":21.5}"#)
///     .system("content-type", "application/json")
///     .property("room", "kitchen");
/// # let _ = message;
/// ```
#[derive(Clone, Debug, Default)]
pub struct LocalTelemetry {
    body: Bytes,
    properties: Vec<(String, Option<String>)>,
    system: BTreeMap<String, String>,
}

impl LocalTelemetry {
    /// A message with this body and no properties.
    #[must_use]
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// Adds an application property: text, empty text, or `None` for a name without a value. As over MQTT, one with a name that only the hub uses,
    /// such as `iothub-connection-device-id`, is ignored.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl IntoPropertyValue) -> Self {
        self.properties.push((name.into(), value.into_property_value()));
        self
    }

    /// Sets a system property, by the names of [`TelemetryRecord::system`](crate::TelemetryRecord::system).
    #[must_use]
    pub fn system(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.system.insert(name.into(), value.into());
        self
    }

    /// The message as the hub reads it. Its size is not checked yet.
    pub(super) fn into_draft(self) -> Result<Draft, LocalError> {
        let Self { body, mut properties, system } = self;
        if let Some(name) = system.keys().find(|name| wire_name(name).is_none()) {
            return Err(LocalError::UnknownSystemProperty { name: name.clone() });
        }
        if let Some((name, record_name)) = properties.iter().find_map(|(name, _)| Some((name, record_name(name)?))) {
            return Err(LocalError::ReservedName { name: name.clone(), system: record_name });
        }
        properties.retain(|(name, _)| !is_hubs_own(name));
        Ok(Draft { body, properties, system })
    }
}
