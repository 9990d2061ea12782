//! What an identity may be called, and what it may authenticate with.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::device::{DeviceAuth, SecretKey};
use crate::error::HubError;

/// The hub's rules for a device id (docs/hub-over-mqtt.md 1.1 has the length).
pub(crate) fn check_device_id(id: &str) -> Result<(), HubError> {
    check_id(id).map_err(|problem| HubError::InvalidDeviceId { device: shown(id), problem })
}

/// The rules for a module id are the same.
pub(crate) fn check_module_id(device: &str, id: &str) -> Result<(), HubError> {
    check_id(id).map_err(|problem| HubError::InvalidModuleId { device: shown(device), module: shown(id), problem })
}

fn check_id(id: &str) -> Result<(), &'static str> {
    if id.is_empty() {
        Err("it is empty")
    } else if id.len() > 128 {
        Err("it is longer than 128 characters")
    } else if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.+%_#*?!(),:=@$'".contains(&byte)) {
        Err("it has a character that is not allowed")
    } else {
        Ok(())
    }
}

/// The beginning of an id that may be anything.
fn shown(id: &str) -> String {
    id.chars().take(200).collect()
}

/// The credential in its normal form, or what is wrong with it.
pub(super) fn auth(id: &str, auth: DeviceAuth) -> Result<DeviceAuth, HubError> {
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

/// Hex digits of a thumbprint.
const SHA_256: usize = 64;
const SHA_1: usize = 40;

/// Upper-case hex without separators.
fn normal_thumbprint(id: &str, text: &str) -> Result<String, HubError> {
    let hex: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).map(|c| c.to_ascii_uppercase()).collect();
    if matches!(hex.len(), SHA_256 | SHA_1) && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(hex);
    }
    Err(HubError::InvalidThumbprint { device: id.to_owned(), thumbprint: text.to_owned() })
}
