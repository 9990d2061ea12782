//! Module identities, as a back end manages them.

use crate::device::{DeviceAuth, DeviceCertificate};
use crate::error::HubError;
use crate::handle::{Hub, credential, random_key, random_keys};
use crate::hub::HubState;
use crate::hub::registry::{self, Identity, ModuleEntry, not_found};
use crate::module::Module;

/// Module identities.
impl Hub {
    /// Creates a module of a device, with random keys. It may connect when its device is enabled.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`], [`HubError::ModuleExists`], [`HubError::InvalidModuleId`], [`HubError::TooManyModules`].
    pub fn create_module(&self, device: &str, module: &str) -> Result<Module, HubError> {
        let keys = random_keys(&Identity::module(device, module).to_string())?;
        self.create_module_with(device, module, keys)
    }

    /// Creates a module of a device.
    ///
    /// # Errors
    /// As [`create_module`](Self::create_module), and [`HubError::InvalidKey`], [`HubError::InvalidThumbprint`].
    pub fn create_module_with(&self, device: &str, module: &str, auth: DeviceAuth) -> Result<Module, HubError> {
        self.change(|hub, now| {
            hub.create_module(device, module, auth, now)?;
            self.known_module(hub, device, module)
        })
    }

    /// A module as it is now.
    #[must_use]
    pub fn module(&self, device: &str, module: &str) -> Option<Module> {
        self.read(|hub, _| self.known_module(hub, device, module).ok())
    }

    /// All modules of a device as they are now, by id.
    #[must_use]
    pub fn modules(&self, device: &str) -> Vec<Module> {
        self.read(|hub, _| {
            let modules = hub.registry.get(device).into_iter().flat_map(|entry| &entry.modules);
            modules.map(|(id, entry)| self.module_of(device, id, entry)).collect()
        })
    }

    /// Deletes a module with its session, twin and queue, and closes its connection.
    ///
    /// # Errors
    /// [`HubError::ModuleNotFound`].
    pub fn delete_module(&self, device: &str, module: &str) -> Result<(), HubError> {
        self.change(|hub, now| hub.delete_module(device, module, now))
    }

    /// Gives the module new random keys. Its connection stays until its token expires (docs/hub-over-mqtt.md 7).
    ///
    /// # Errors
    /// [`HubError::ModuleNotFound`], [`HubError::NoSymmetricKey`].
    pub fn rotate_module_keys(&self, device: &str, module: &str) -> Result<Module, HubError> {
        let client_id = Identity::module(device, module).to_string();
        let (primary, secondary) = (random_key(&client_id)?, random_key(&client_id)?);
        self.change(|hub, _| {
            hub.registry.set_module_keys(device, module, primary, secondary)?;
            self.known_module(hub, device, module)
        })
    }

    /// Issues a client certificate for a module with [`DeviceAuth::CertificateAuthority`], signed by a device CA that the hub trusts. Its common name is
    /// `device/module` (docs/hub-over-mqtt.md 6).
    ///
    /// # Errors
    /// [`HubError::InvalidDeviceId`], [`HubError::InvalidModuleId`], [`HubError::KeyGeneration`].
    pub fn issue_module_certificate(&self, device: &str, module: &str) -> Result<DeviceCertificate, HubError> {
        registry::check_device_id(device)?;
        registry::check_module_id(device, module)?;
        self.issue_certificate(&Identity::module(device, module).to_string())
    }

    fn known_module(&self, hub: &HubState, device: &str, module: &str) -> Result<Module, HubError> {
        let entry = hub.registry.module(device, module);
        let module_of = entry.map(|entry| self.module_of(device, module, entry));
        module_of.ok_or_else(|| not_found(&Identity::module(device, module)))
    }

    fn module_of(&self, device: &str, module: &str, entry: &ModuleEntry) -> Module {
        let host = self.host_name();
        let credential = credential(&entry.auth);
        Module {
            device_id: device.to_owned(),
            module_id: module.to_owned(),
            auth: entry.auth.clone(),
            connection_string: format!("HostName={host};DeviceId={device};ModuleId={module};{credential}"),
            generation_id: entry.generation_id.clone(),
            etag: entry.etag(),
            host_name: host,
            clock: self.clock.clone(),
        }
    }
}
