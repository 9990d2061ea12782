//! Who a client is.

/// The hub that a client belongs to, and its name there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Identity {
    /// The hub's full host name, also behind a gateway: `contoso.azure-devices.net`.
    pub hub: String,
    /// The device id.
    pub device_id: String,
    /// The module id, for a module of the device.
    pub module_id: Option<String>,
}

impl Identity {
    /// A device.
    pub fn device(hub: impl Into<String>, device_id: impl Into<String>) -> Self {
        Self { hub: hub.into(), device_id: device_id.into(), module_id: None }
    }

    /// A module of a device.
    pub fn module(hub: impl Into<String>, device_id: impl Into<String>, module_id: impl Into<String>) -> Self {
        Self { module_id: Some(module_id.into()), ..Self::device(hub, device_id) }
    }
}
