//! One device or module of the seed file: its credential and its twin.

use iothub_emulator::{DeviceAuth, Hub, HubError, SecretKey, Who};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::fields;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SeedIdentity {
    pub(super) id: String,
    primary_key: Option<SecretKey>,
    secondary_key: Option<SecretKey>,
    thumbprint: Option<String>,
    secondary_thumbprint: Option<String>,
    /// Of devices only.
    enabled: Option<bool>,
    twin: SeedTwin,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SeedTwin {
    tags: Option<Value>,
    desired: Option<Value>,
    reported: Option<Value>,
}

impl SeedIdentity {
    pub(super) fn parse(place: &str, identity: Map<String, Value>) -> Result<Self, String> {
        let identity: Self = fields(place, identity)?;
        let keys = identity.primary_key.is_some() || identity.secondary_key.is_some();
        if identity.id.is_empty() {
            return Err(format!("{place}.id: it is missing or empty"));
        }
        if keys && (identity.thumbprint.is_some() || identity.secondary_thumbprint.is_some()) {
            return Err(format!("{place}: it has keys and thumbprints; give one kind"));
        }
        if identity.thumbprint.is_none() && identity.secondary_thumbprint.is_some() {
            return Err(format!("{place}.secondary_thumbprint: give thumbprint first"));
        }
        if identity.primary_key.is_none() && identity.secondary_key.is_some() {
            return Err(format!("{place}.secondary_key: give primary_key first"));
        }
        Ok(identity)
    }

    pub(super) fn parse_module(place: &str, module: Map<String, Value>) -> Result<Self, String> {
        if module.contains_key("enabled") {
            return Err(format!("{place}.enabled: a module is enabled when its device is; leave it out"));
        }
        Self::parse(place, module)
    }

    pub(super) fn create_device(&self, hub: &Hub) -> Result<(), HubError> {
        match self.auth() {
            Some(auth) => hub.create_device_with(&self.id, auth)?,
            None => hub.create_device(&self.id)?,
        };
        hub.set_device_enabled(&self.id, self.enabled.unwrap_or(true))?;
        self.twin.create(hub, self.id.as_str().into())
    }

    pub(super) fn create_module(&self, hub: &Hub, device: &str) -> Result<(), HubError> {
        match self.auth() {
            Some(auth) => hub.create_module_with(device, &self.id, auth)?,
            None => hub.create_module(device, &self.id)?,
        };
        self.twin.create(hub, (device, self.id.as_str()).into())
    }

    /// The credential; `None`: keys are to be made.
    fn auth(&self) -> Option<DeviceAuth> {
        if let Some(primary) = self.primary_key.clone() {
            let secondary = self.secondary_key.clone().unwrap_or_else(|| primary.clone());
            return Some(DeviceAuth::SymmetricKey { primary, secondary });
        }
        let primary = self.thumbprint.clone()?;
        Some(DeviceAuth::Thumbprint { primary, secondary: self.secondary_thumbprint.clone() })
    }
}

impl SeedTwin {
    fn create(&self, hub: &Hub, who: Who<'_>) -> Result<(), HubError> {
        if let Some(tags) = self.tags.clone() {
            hub.patch_tags(who, tags)?;
        }
        if let Some(desired) = self.desired.clone() {
            hub.patch_desired(who, desired)?;
        }
        if let Some(reported) = self.reported.clone() {
            hub.patch_reported(who, reported)?;
        }
        Ok(())
    }
}
