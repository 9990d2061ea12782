//! Twins, as a back end reads and changes them.

use std::time::Duration;

use serde_json::Value;

use crate::error::{HubError, WaitError};
use crate::handle::Hub;
use crate::hub::registry::{Identity, not_found};
use crate::record::TwinRecord;
use crate::who::Who;

/// Twins.
impl Hub {
    /// The twin of the device, or of the module, as it is now.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`], [`HubError::ModuleNotFound`].
    pub fn twin<'a>(&self, who: impl Into<Who<'a>>) -> Result<TwinRecord, HubError> {
        let identity = Identity::from(who.into());
        self.read(|hub, _| hub.twin(&identity).map(|twin| twin.record(&identity))).ok_or_else(|| not_found(&identity))
    }

    /// Merges a patch into the desired properties (`null` removes) and gives their new version. Whoever is connected and subscribed is sent the
    /// patch with `$version`; no other ever is (E35).
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`], [`HubError::ModuleNotFound`], [`HubError::InvalidTwin`].
    pub fn patch_desired<'a>(&self, who: impl Into<Who<'a>>, patch: Value) -> Result<u64, HubError> {
        let identity = Identity::from(who.into());
        self.change(|hub, now| hub.patch_desired(&identity, patch, now))
    }

    /// Replaces the desired properties and gives their new version. Whoever is connected and subscribed is sent what changes, with `null` for
    /// what is gone, and `$version` (docs/hub-over-mqtt.md 4.4).
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`], [`HubError::ModuleNotFound`], [`HubError::InvalidTwin`].
    pub fn replace_desired<'a>(&self, who: impl Into<Who<'a>>, desired: Value) -> Result<u64, HubError> {
        let identity = Identity::from(who.into());
        self.change(|hub, now| hub.replace_desired(&identity, desired, now))
    }

    /// Merges a patch into the tags, which neither device nor module sees.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`], [`HubError::ModuleNotFound`], [`HubError::InvalidTwin`].
    pub fn patch_tags<'a>(&self, who: impl Into<Who<'a>>, patch: Value) -> Result<(), HubError> {
        let identity = Identity::from(who.into());
        self.change(|hub, _| hub.patch_tags(&identity, patch))
    }

    /// Merges a patch into the reported properties, as if the device or module had sent it, and gives their new version. No back end of a real hub can.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`], [`HubError::ModuleNotFound`], [`HubError::InvalidTwin`].
    pub fn patch_reported<'a>(&self, who: impl Into<Who<'a>>, patch: Value) -> Result<u64, HubError> {
        let identity = Identity::from(who.into());
        self.change(|hub, now| hub.patch_reported(&identity, patch, now))
    }

    /// Waits until the reported properties of the device, or of the module, are so, and gives its twin. Who does not exist has none.
    ///
    /// # Errors
    /// [`WaitError`] says what was reported after `limit` of real time.
    pub fn wait_for_reported<'a>(
        &self,
        who: impl Into<Who<'a>>,
        limit: Duration,
        mut f: impl FnMut(&Value) -> bool,
    ) -> Result<TwinRecord, WaitError> {
        let who = who.into();
        let so = self.shared.wait(limit, || self.twin(who).ok().filter(|twin| f(&twin.reported)));
        so.ok_or_else(|| WaitError {
            what: format!("reported properties of '{}'", Identity::from(who)),
            limit,
            found: self.twin(who).map_or_else(|error| error.to_string(), |twin| format!("they are {}", twin.reported)),
        })
    }
}
