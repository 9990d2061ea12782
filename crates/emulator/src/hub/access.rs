//! Whether an identity may do anything at all, and whether a credential is its own.

use crate::activity::RefusalReason;
use crate::auth::{self, Authenticated, Peer};
use crate::clock::Now;
use crate::hub::HubState;
use crate::hub::registry::Identity;

impl HubState {
    /// Whether the identity is known and enabled.
    pub(crate) fn check_identity(&self, identity: &Identity) -> Result<(), RefusalReason> {
        // The registry has no modules yet, so a module is not known.
        let entry = self.registry.get(&identity.device).filter(|_| identity.module.is_none());
        match entry {
            None => Err(RefusalReason::UnknownDevice),
            Some(entry) if !entry.enabled => Err(RefusalReason::DeviceDisabled),
            Some(_) => Ok(()),
        }
    }

    /// Checks the credential of an identity: a token, or the peer's certificate.
    pub(crate) fn authenticate(
        &self,
        identity: &Identity,
        token: Option<&[u8]>,
        peer: &Peer,
        now: Now,
    ) -> Result<Authenticated, RefusalReason> {
        self.check_identity(identity)?;
        let entry = self.registry.get(&identity.device).ok_or(RefusalReason::UnknownDevice)?;
        auth::authenticate(&self.config, identity, entry, token, peer, now.wall)
    }

    /// What tells this identity from a deleted one of the same name.
    pub(crate) fn generation_id(&self, identity: &Identity) -> String {
        self.registry.get(&identity.device).map(|entry| entry.generation_id.clone()).unwrap_or_default()
    }
}
