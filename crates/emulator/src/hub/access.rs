//! Whether an identity may do anything at all, whoever asks for it.

use crate::activity::RefusalReason;
use crate::hub::HubState;
use crate::hub::registry::Identity;

impl HubState {
    /// Whether the identity is known and enabled. A module is enabled when its device is.
    pub(crate) fn check_identity(&self, identity: &Identity) -> Result<(), RefusalReason> {
        match self.registry.get(&identity.device) {
            Some(device) if self.registry.knows(identity) => {
                if device.enabled {
                    Ok(())
                } else {
                    Err(RefusalReason::DeviceDisabled)
                }
            }
            _ => Err(RefusalReason::UnknownDevice),
        }
    }

    /// What tells this identity from a deleted one of the same name.
    pub(crate) fn generation_id(&self, identity: &Identity) -> String {
        let device = self.registry.get(&identity.device);
        let generation = match &identity.module {
            None => device.map(|device| &device.generation_id),
            Some(module) => device.and_then(|device| device.modules.get(module)).map(|module| &module.generation_id),
        };
        generation.cloned().unwrap_or_default()
    }
}
