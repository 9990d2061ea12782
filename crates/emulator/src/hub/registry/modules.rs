//! Module identities. Each belongs to a device and has keys or a certificate of its own; it is enabled when its device is.

use crate::device::{DeviceAuth, SecretKey};
use crate::error::HubError;
use crate::hub::registry::{Identity, Registry, check_module_id, checks, device_not_found, etag, not_found, set_keys};

/// The most modules that a device may have (the hub's documentation of module twins; 413003).
const MAX_MODULES: usize = 50;

/// One module identity.
#[derive(Clone, Debug)]
pub(crate) struct ModuleEntry {
    pub(crate) auth: DeviceAuth,
    pub(crate) generation_id: String,
    /// Counts the changes of the entry.
    pub(crate) revision: u64,
}

impl ModuleEntry {
    pub(crate) fn etag(&self) -> String {
        etag(&self.generation_id, self.revision)
    }
}

impl Registry {
    /// Adds a module to a device.
    pub(crate) fn create_module(
        &mut self,
        device: &str,
        module: &str,
        auth: DeviceAuth,
        created_seconds: u64,
    ) -> Result<(), HubError> {
        check_module_id(device, module)?;
        let auth = checks::auth(&Identity::module(device, module).to_string(), auth)?;
        let known = &self.get(device).ok_or_else(|| device_not_found(device))?.modules;
        if known.contains_key(module) {
            return Err(HubError::ModuleExists { device: device.to_owned(), module: module.to_owned() });
        }
        if known.len() >= MAX_MODULES {
            return Err(HubError::TooManyModules { device: device.to_owned(), limit: MAX_MODULES });
        }
        let generation_id = self.next_generation(created_seconds);
        if let Some(entry) = self.devices.get_mut(device) {
            entry.modules.insert(module.to_owned(), ModuleEntry { auth, generation_id, revision: 1 });
        }
        Ok(())
    }

    pub(crate) fn module(&self, device: &str, module: &str) -> Option<&ModuleEntry> {
        self.get(device)?.modules.get(module)
    }

    pub(crate) fn remove_module(&mut self, device: &str, module: &str) -> Result<(), HubError> {
        let entry = self.devices.get_mut(device).and_then(|entry| entry.modules.remove(module));
        entry.map(drop).ok_or_else(|| not_found(&Identity::module(device, module)))
    }

    pub(crate) fn set_module_keys(
        &mut self,
        device: &str,
        module: &str,
        primary: SecretKey,
        secondary: SecretKey,
    ) -> Result<(), HubError> {
        let identity = Identity::module(device, module);
        let entry = self.devices.get_mut(device).and_then(|entry| entry.modules.get_mut(module));
        let entry = entry.ok_or_else(|| not_found(&identity))?;
        set_keys(&identity.to_string(), &mut entry.auth, primary, secondary)?;
        entry.revision += 1;
        Ok(())
    }
}
