//! What the service side is given of a module identity: its authentication and connection string.

use std::fmt;
use std::time::Duration;

use crate::auth::sas;
use crate::clock::ClockReader;
use crate::device::DeviceAuth;

/// A module identity as the service side sees it: a copy taken when it was asked for. It may connect when its device is enabled.
#[derive(Clone)]
#[non_exhaustive]
pub struct Module {
    /// The device that it belongs to.
    pub device_id: String,
    /// The module id.
    pub module_id: String,
    /// How it proves who it is.
    pub auth: DeviceAuth,
    /// `HostName=..;DeviceId=..;ModuleId=..;SharedAccessKey=..`, or `..;x509=true`.
    pub connection_string: String,
    /// Tells this identity from a deleted one with the same id.
    pub generation_id: String,
    /// Changes with each change of the identity.
    pub etag: String,
    pub(crate) host_name: String,
    pub(crate) clock: ClockReader,
}

impl Module {
    /// The connection string, as a client takes it.
    #[must_use]
    pub fn connection_string(&self) -> &str {
        &self.connection_string
    }

    /// A SAS token signed with the primary key that expires `lifetime` from now by the hub's clock, as the password of a raw MQTT peer.
    ///
    /// Empty for a module without symmetric keys.
    #[must_use]
    pub fn sas_token(&self, lifetime: Duration) -> String {
        let DeviceAuth::SymmetricKey { primary, .. } = &self.auth else { return String::new() };
        let resource = format!("{}/devices/{}/modules/{}", self.host_name, self.device_id, self.module_id);
        sas::valid_for(lifetime, primary, &resource, &self.clock)
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("device_id", &self.device_id)
            .field("module_id", &self.module_id)
            .field("auth", &self.auth)
            .field("generation_id", &self.generation_id)
            .field("etag", &self.etag)
            .finish_non_exhaustive()
    }
}
