//! Twins of the identities: who may change them, and who is told.

use serde_json::Value;

use crate::clock::Now;
use crate::error::HubError;
use crate::hub::HubState;
use crate::hub::outbox::Letter;
use crate::hub::registry::{Identity, not_found};
use crate::hub::session::Feature;
use crate::hub::twin::{DesiredChange, Twin};

impl HubState {
    pub(crate) fn twin(&self, identity: &Identity) -> Option<&Twin> {
        self.twins.get(identity)
    }

    pub(crate) fn patch_desired(&mut self, identity: &Identity, patch: Value, now: Now) -> Result<u64, HubError> {
        self.change_desired(identity, now, |twin, arrays, now| twin.patch_desired(patch, arrays, now))
    }

    pub(crate) fn replace_desired(&mut self, identity: &Identity, desired: Value, now: Now) -> Result<u64, HubError> {
        self.change_desired(identity, now, |twin, arrays, now| twin.replace_desired(desired, arrays, now))
    }

    pub(crate) fn patch_tags(&mut self, identity: &Identity, patch: Value) -> Result<(), HubError> {
        let arrays = self.config.twin_arrays;
        let twin = self.twins.get_mut(identity).ok_or_else(|| not_found(identity))?;
        twin.patch_tags(patch, arrays).map_err(|problem| invalid(identity, "tags", problem))
    }

    /// Merges what a device reports and gives the new version; the error says what is wrong with it. `None`: there is no such twin.
    pub(crate) fn report(&mut self, identity: &Identity, body: &[u8], now: Now) -> Option<Result<u64, String>> {
        let arrays = self.config.twin_arrays;
        self.twins.get_mut(identity).map(|twin| twin.report(body, arrays, now))
    }

    pub(crate) fn patch_reported(&mut self, identity: &Identity, patch: Value, now: Now) -> Result<u64, HubError> {
        let arrays = self.config.twin_arrays;
        let twin = self.twins.get_mut(identity).ok_or_else(|| not_found(identity))?;
        let version = twin.patch_reported(patch, arrays, now);
        version.map_err(|problem| invalid(identity, "reported properties", problem))
    }

    fn change_desired(
        &mut self,
        identity: &Identity,
        now: Now,
        change: impl FnOnce(&mut Twin, bool, Now) -> Result<DesiredChange, String>,
    ) -> Result<u64, HubError> {
        let arrays = self.config.twin_arrays;
        let twin = self.twins.get_mut(identity).ok_or_else(|| not_found(identity))?;
        let change = change(twin, arrays, now).map_err(|problem| invalid(identity, "desired properties", problem))?;
        let version = change.version;
        if let Some(connection) = self.listening(identity, Feature::DesiredPatches) {
            self.post(connection, Letter::Desired(change), now);
        }
        Ok(version)
    }
}

fn invalid(identity: &Identity, section: &'static str, problem: String) -> HubError {
    HubError::InvalidTwin { device: identity.to_string(), section, problem }
}
