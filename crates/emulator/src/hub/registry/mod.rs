//! The identity registry: which devices and modules there are, how each authenticates, and whether it may connect.

mod checks;
mod modules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::device::{DeviceAuth, SecretKey};
use crate::error::HubError;
use crate::who::Who;

pub(crate) use checks::{check_device_id, check_module_id};
pub(crate) use modules::ModuleEntry;

/// A device, or a module of one. Written as its MQTT client id: `device`, or `device/module`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) device: String,
    pub(crate) module: Option<String>,
}

impl Identity {
    pub(crate) fn device(id: &str) -> Self {
        Self { device: id.to_owned(), module: None }
    }

    pub(crate) fn module(device: &str, module: &str) -> Self {
        Self { device: device.to_owned(), module: Some(module.to_owned()) }
    }

    /// Whose this client id is. Neither id can hold a slash.
    pub(crate) fn of_client_id(text: &str) -> Self {
        match text.split_once('/') {
            Some((device, module)) => Self::module(device, module),
            None => Self::device(text),
        }
    }

    /// Whether both ids are possible ones.
    pub(crate) fn is_well_formed(&self) -> bool {
        check_device_id(&self.device).is_ok()
            && self.module.iter().all(|module| check_module_id(&self.device, module).is_ok())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.device)?;
        match &self.module {
            Some(module) => write!(f, "/{module}"),
            None => Ok(()),
        }
    }
}

impl From<Who<'_>> for Identity {
    fn from(who: Who<'_>) -> Self {
        Self { device: who.device.to_owned(), module: who.module.map(str::to_owned) }
    }
}

/// One device identity.
#[derive(Clone, Debug)]
pub(crate) struct DeviceEntry {
    pub(crate) auth: DeviceAuth,
    pub(crate) enabled: bool,
    pub(crate) generation_id: String,
    /// Counts the changes of the entry.
    pub(crate) revision: u64,
    pub(crate) modules: BTreeMap<String, ModuleEntry>,
}

impl DeviceEntry {
    pub(crate) fn etag(&self) -> String {
        etag(&self.generation_id, self.revision)
    }
}

fn etag(generation_id: &str, revision: u64) -> String {
    BASE64.encode(format!("{generation_id}:{revision}"))
}

#[derive(Debug, Default)]
pub(crate) struct Registry {
    devices: BTreeMap<String, DeviceEntry>,
    generations: u64,
}

impl Registry {
    /// Adds an enabled device. `created` makes its generation id differ from that of another run.
    pub(crate) fn create(
        &mut self,
        id: &str,
        auth: DeviceAuth,
        created_seconds: u64,
    ) -> Result<&DeviceEntry, HubError> {
        check_device_id(id)?;
        let auth = checks::auth(id, auth)?;
        if self.devices.contains_key(id) {
            return Err(HubError::DeviceExists { device: id.to_owned() });
        }
        let generation_id = self.next_generation(created_seconds);
        let entry = DeviceEntry { auth, enabled: true, generation_id, revision: 1, modules: BTreeMap::new() };
        Ok(self.devices.entry(id.to_owned()).or_insert(entry))
    }

    fn next_generation(&mut self, created_seconds: u64) -> String {
        self.generations += 1;
        format!("{created_seconds}{:08}", self.generations)
    }

    /// Whether there is such a device or module.
    pub(crate) fn knows(&self, identity: &Identity) -> bool {
        match &identity.module {
            None => self.devices.contains_key(&identity.device),
            Some(module) => self.module(&identity.device, module).is_some(),
        }
    }

    pub(crate) fn get(&self, id: &str) -> Option<&DeviceEntry> {
        self.devices.get(id)
    }

    pub(crate) fn remove(&mut self, id: &str) -> Result<DeviceEntry, HubError> {
        self.devices.remove(id).ok_or_else(|| device_not_found(id))
    }

    pub(crate) fn set_enabled(&mut self, id: &str, enabled: bool) -> Result<(), HubError> {
        let entry = self.devices.get_mut(id).ok_or_else(|| device_not_found(id))?;
        entry.enabled = enabled;
        entry.revision += 1;
        Ok(())
    }

    pub(crate) fn set_keys(
        &mut self,
        id: &str,
        new_primary: SecretKey,
        new_secondary: SecretKey,
    ) -> Result<(), HubError> {
        let entry = self.devices.get_mut(id).ok_or_else(|| device_not_found(id))?;
        set_keys(id, &mut entry.auth, new_primary, new_secondary)?;
        entry.revision += 1;
        Ok(())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &DeviceEntry)> {
        self.devices.iter()
    }
}

fn set_keys(id: &str, auth: &mut DeviceAuth, new_primary: SecretKey, new_secondary: SecretKey) -> Result<(), HubError> {
    let DeviceAuth::SymmetricKey { primary, secondary } = auth else {
        return Err(HubError::NoSymmetricKey { device: id.to_owned() });
    };
    (*primary, *secondary) = (new_primary, new_secondary);
    Ok(())
}

pub(crate) fn not_found(identity: &Identity) -> HubError {
    let device = identity.device.clone();
    match &identity.module {
        None => HubError::DeviceNotFound { device },
        Some(module) => HubError::ModuleNotFound { device, module: module.clone() },
    }
}

fn device_not_found(id: &str) -> HubError {
    HubError::DeviceNotFound { device: id.to_owned() }
}
