//! The identity registry: which devices there are, how each authenticates, and whether it may connect.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::device::{DeviceAuth, SecretKey};
use crate::error::HubError;

/// A device, or a module of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) device: String,
    pub(crate) module: Option<String>,
}

impl Identity {
    pub(crate) fn device(id: &str) -> Self {
        Self { device: id.to_owned(), module: None }
    }
}

/// One device identity.
#[derive(Clone, Debug)]
pub(crate) struct DeviceEntry {
    pub(crate) auth: DeviceAuth,
    pub(crate) enabled: bool,
    pub(crate) generation_id: String,
    /// Counts the changes of the entry.
    pub(crate) revision: u64,
}

impl DeviceEntry {
    pub(crate) fn etag(&self) -> String {
        BASE64.encode(format!("{}:{}", self.generation_id, self.revision))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Registry {
    devices: BTreeMap<String, DeviceEntry>,
    generations: u64,
}

impl Registry {
    /// Adds an enabled device. `created` makes its generation id differ from that of another run.
    pub(crate) fn create(
        &mut self,
        id: &str,
        auth: DeviceAuth,
        created_seconds: u64,
    ) -> Result<&DeviceEntry, HubError> {
        check_device_id(id)?;
        let auth = checked_auth(id, auth)?;
        if self.devices.contains_key(id) {
            return Err(HubError::DeviceExists { device: id.to_owned() });
        }
        self.generations += 1;
        let generation_id = format!("{created_seconds}{:08}", self.generations);
        Ok(self.devices.entry(id.to_owned()).or_insert(DeviceEntry { auth, enabled: true, generation_id, revision: 1 }))
    }

    pub(crate) fn get(&self, id: &str) -> Option<&DeviceEntry> {
        self.devices.get(id)
    }

    pub(crate) fn remove(&mut self, id: &str) -> Result<DeviceEntry, HubError> {
        self.devices.remove(id).ok_or_else(|| not_found(id))
    }

    pub(crate) fn set_enabled(&mut self, id: &str, enabled: bool) -> Result<(), HubError> {
        let entry = self.devices.get_mut(id).ok_or_else(|| not_found(id))?;
        entry.enabled = enabled;
        entry.revision += 1;
        Ok(())
    }

    pub(crate) fn set_keys(
        &mut self,
        id: &str,
        new_primary: SecretKey,
        new_secondary: SecretKey,
    ) -> Result<(), HubError> {
        let entry = self.devices.get_mut(id).ok_or_else(|| not_found(id))?;
        let DeviceAuth::SymmetricKey { primary, secondary } = &mut entry.auth else {
            return Err(HubError::NoSymmetricKey { device: id.to_owned() });
        };
        (*primary, *secondary) = (new_primary, new_secondary);
        entry.revision += 1;
        Ok(())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &DeviceEntry)> {
        self.devices.iter()
    }
}

pub(crate) fn not_found(id: &str) -> HubError {
    HubError::DeviceNotFound { device: id.to_owned() }
}

/// The hub's rules for a device id (docs/hub-over-mqtt.md 1.1 has the length).
pub(crate) fn check_device_id(id: &str) -> Result<(), HubError> {
    let problem = if id.is_empty() {
        "it is empty"
    } else if id.len() > 128 {
        "it is longer than 128 characters"
    } else if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.+%_#*?!(),:=@$'".contains(&byte)) {
        "it has a character that is not allowed"
    } else {
        return Ok(());
    };
    Err(HubError::InvalidDeviceId { device: id.chars().take(200).collect(), problem })
}

fn checked_auth(id: &str, auth: DeviceAuth) -> Result<DeviceAuth, HubError> {
    match auth {
        DeviceAuth::SymmetricKey { primary, secondary } => {
            check_key(id, "primary", &primary)?;
            check_key(id, "secondary", &secondary)?;
            Ok(DeviceAuth::SymmetricKey { primary, secondary })
        }
        DeviceAuth::Thumbprint { primary, secondary } => Ok(DeviceAuth::Thumbprint {
            primary: normal_thumbprint(id, &primary)?,
            secondary: secondary.map(|text| normal_thumbprint(id, &text)).transpose()?,
        }),
        DeviceAuth::CertificateAuthority => Ok(auth),
    }
}

fn check_key(id: &str, which: &'static str, key: &SecretKey) -> Result<(), HubError> {
    let problem = match BASE64.decode(key.expose()) {
        Err(_) => "it is not base64",
        Ok(bytes) if !(16..=64).contains(&bytes.len()) => "it has the wrong length",
        Ok(_) => return Ok(()),
    };
    Err(HubError::InvalidKey { device: id.to_owned(), which, problem })
}

/// Upper-case hex without separators.
fn normal_thumbprint(id: &str, text: &str) -> Result<String, HubError> {
    let hex: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).map(|c| c.to_ascii_uppercase()).collect();
    if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(hex);
    }
    Err(HubError::InvalidThumbprint { device: id.to_owned(), thumbprint: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> DeviceAuth {
        DeviceAuth::SymmetricKey { primary: BASE64.encode([1; 32]).into(), secondary: BASE64.encode([2; 32]).into() }
    }

    #[test]
    fn an_id_is_taken_until_its_device_is_deleted_and_then_gets_another_generation() {
        let mut registry = Registry::default();
        let first = registry.create("d", keys(), 5).unwrap().generation_id.clone();
        assert_eq!(registry.create("d", keys(), 5).unwrap_err(), HubError::DeviceExists { device: "d".into() });
        registry.remove("d").unwrap();
        assert_ne!(registry.create("d", keys(), 5).unwrap().generation_id, first);
    }

    #[test]
    fn a_change_changes_the_etag() {
        let mut registry = Registry::default();
        let before = registry.create("d", keys(), 5).unwrap().etag();
        registry.set_enabled("d", false).unwrap();
        assert_ne!(registry.get("d").unwrap().etag(), before);
    }

    #[test]
    fn a_bad_id_key_or_thumbprint_is_refused_and_a_key_is_not_shown() {
        let mut registry = Registry::default();
        for id in ["", "a/b", "a b", "ä", &"x".repeat(129)] {
            assert!(matches!(registry.create(id, keys(), 5), Err(HubError::InvalidDeviceId { .. })), "{id}");
        }
        let auth = DeviceAuth::SymmetricKey { primary: "c2hvcnQ=".into(), secondary: "c2hvcnQ=".into() };
        let error = registry.create("d", auth, 5).unwrap_err();
        assert!(!error.to_string().contains("c2hvcnQ="), "{error}");
        let auth = DeviceAuth::Thumbprint { primary: "AB".into(), secondary: None };
        assert!(matches!(registry.create("d", auth, 5), Err(HubError::InvalidThumbprint { .. })));
    }

    #[test]
    fn a_thumbprint_may_be_written_in_any_case_and_with_colons() {
        let text = ["ab"; 32].join(":");
        let mut registry = Registry::default();
        let entry = registry.create("d", DeviceAuth::Thumbprint { primary: text, secondary: None }, 5).unwrap();
        assert_eq!(entry.auth, DeviceAuth::Thumbprint { primary: "AB".repeat(32), secondary: None });
    }
}
