//! Twins, as a back end reads and changes them.

use std::time::Duration;

use serde_json::Value;

use crate::error::{HubError, WaitError};
use crate::handle::Hub;
use crate::hub::registry::{Identity, not_found};
use crate::record::TwinRecord;

/// Twins.
impl Hub {
    /// The device's twin as it is now.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`].
    pub fn twin(&self, device: &str) -> Result<TwinRecord, HubError> {
        self.read(|hub, _| hub.twin(&Identity::device(device)).map(|twin| twin.record(device)))
            .ok_or_else(|| not_found(device))
    }

    /// Merges a patch into the desired properties (`null` removes) and gives their new version. A device that is connected and subscribed is sent the
    /// patch with `$version`; no other ever is (E35).
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`], [`HubError::InvalidTwin`].
    pub fn patch_desired(&self, device: &str, patch: Value) -> Result<u64, HubError> {
        self.change(|hub, now| hub.patch_desired(&Identity::device(device), patch, now))
    }

    /// Replaces the desired properties and gives their new version. A device that is connected and subscribed is sent what changes, with `null` for
    /// what is gone, and `$version` (docs/hub-over-mqtt.md 4.4).
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`], [`HubError::InvalidTwin`].
    pub fn replace_desired(&self, device: &str, desired: Value) -> Result<u64, HubError> {
        self.change(|hub, now| hub.replace_desired(&Identity::device(device), desired, now))
    }

    /// Merges a patch into the tags, which no device sees.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`], [`HubError::InvalidTwin`].
    pub fn patch_tags(&self, device: &str, patch: Value) -> Result<(), HubError> {
        self.change(|hub, _| hub.patch_tags(&Identity::device(device), patch))
    }

    /// Waits until the device's reported properties are so, and gives its twin. A device that does not exist has none.
    ///
    /// # Errors
    /// [`WaitError`] says what was reported after `limit` of real time.
    pub fn wait_for_reported(
        &self,
        device: &str,
        limit: Duration,
        mut f: impl FnMut(&Value) -> bool,
    ) -> Result<TwinRecord, WaitError> {
        let so = self.shared.wait(limit, || self.twin(device).ok().filter(|twin| f(&twin.reported)));
        so.ok_or_else(|| WaitError {
            what: format!("reported properties of device '{device}'"),
            limit,
            found: self
                .twin(device)
                .map_or_else(|error| error.to_string(), |twin| format!("they are {}", twin.reported)),
        })
    }
}
