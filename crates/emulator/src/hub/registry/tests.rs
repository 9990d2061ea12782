//! The registry by itself.

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
