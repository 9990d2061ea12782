//! Shared access policies: what their keys open, as the real hub has them when it is new.

use crate::device::SecretKey;

/// What a policy's key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    /// To act for the back end: messages to devices, feedback, events.
    pub(crate) service: bool,
    /// To act for any device.
    pub(crate) device: bool,
}

/// The policies of a new hub (the documentation of access control): name, and what its key allows on the wire protocols that are served.
const POLICIES: [(&str, Rights); 5] = [
    ("iothubowner", Rights { service: true, device: true }),
    ("service", Rights { service: true, device: false }),
    ("device", Rights { service: false, device: true }),
    ("registryRead", Rights { service: false, device: false }),
    ("registryReadWrite", Rights { service: false, device: false }),
];

/// The policy with every right.
pub(crate) const OWNER: &str = "iothubowner";

/// The names of all policies.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    POLICIES.into_iter().map(|(name, _)| name)
}

/// What this policy's key allows; `None`: there is no such policy.
pub(crate) fn rights(name: &str) -> Option<Rights> {
    POLICIES.into_iter().find(|(known, _)| *known == name).map(|(_, rights)| rights)
}

/// A key, or why none could be made.
pub(crate) fn random_key() -> Result<SecretKey, String> {
    crate::tls::random_key()
}
