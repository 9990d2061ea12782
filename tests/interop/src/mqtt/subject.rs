//! Whom an SDK plays in a run: a device, or a module of one.

use iothub_emulator::{DeviceAuth, Hub, SecretKey, Who};

/// The module that each SDK plays.
pub(crate) const MODULE: &str = "worker";

/// A device or module as the runner made it.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    device: String,
    module: Option<String>,
    pub(crate) connection_string: String,
    pub(crate) generation_id: String,
    key: SecretKey,
}

impl Subject {
    pub(crate) fn device(hub: &Hub, id: &str) -> Result<Self, String> {
        let device = hub.create_device(id).map_err(|error| error.to_string())?;
        Ok(Self {
            device: device.id,
            module: None,
            connection_string: device.connection_string,
            generation_id: device.generation_id,
            key: device.primary_key.ok_or("a device without keys")?,
        })
    }

    /// The module [`MODULE`] of this device, which is made too.
    pub(crate) fn module(hub: &Hub, device: &str) -> Result<Self, String> {
        hub.create_device(device).map_err(|error| error.to_string())?;
        let module = hub.create_module(device, MODULE).map_err(|error| error.to_string())?;
        let DeviceAuth::SymmetricKey { primary, .. } = module.auth else {
            return Err("a module without keys".to_owned());
        };
        Ok(Self {
            device: module.device_id,
            module: Some(module.module_id),
            connection_string: module.connection_string,
            generation_id: module.generation_id,
            key: primary,
        })
    }

    pub(crate) fn who(&self) -> Who<'_> {
        Who { device: &self.device, module: self.module.as_deref() }
    }

    /// Its connection string with another's key.
    pub(crate) fn with_the_key_of(&self, other: &Self) -> String {
        self.connection_string.replace(self.key.expose(), other.key.expose())
    }

    /// What both SDKs subscribe to for the messages that the service sends.
    pub(crate) fn messages(&self) -> String {
        match &self.module {
            None => format!("devices/{}/messages/devicebound/#", self.device),
            Some(module) => format!("devices/{}/modules/{module}/inputs/#", self.device),
        }
    }
}
