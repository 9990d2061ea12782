//! What the service side gives and takes about a device identity: its authentication, keys and connection string.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::auth::sas;
use crate::clock::ClockReader;

/// A symmetric key in base64. `Debug` shows no part of it.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct SecretKey(String);

impl SecretKey {
    /// The key's base64 text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is 16 to 64 bytes in base64.
    pub(crate) fn is_usable(&self) -> bool {
        BASE64.decode(&self.0).is_ok_and(|bytes| (16..=64).contains(&bytes.len()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(<redacted>)")
    }
}

impl From<&str> for SecretKey {
    fn from(base64: &str) -> Self {
        Self(base64.to_owned())
    }
}

impl From<String> for SecretKey {
    fn from(base64: String) -> Self {
        Self(base64)
    }
}

/// How a device or module proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceAuth {
    /// A SAS token signed with either key. Keys are 16 to 64 bytes in base64.
    SymmetricKey {
        /// The first key; it is the one in the connection string.
        primary: SecretKey,
        /// The second key.
        secondary: SecretKey,
    },
    /// A client certificate with one of these thumbprints: SHA-256 (64 hex digits) or SHA-1 (40), any case, colons allowed.
    /// It may be self-signed; the hub looks at nothing else.
    Thumbprint {
        /// The first thumbprint.
        primary: String,
        /// The second thumbprint.
        secondary: Option<String>,
    },
    /// A client certificate from a CA that the hub trusts ([`Hub::issue_device_certificate`](crate::Hub::issue_device_certificate)),
    /// whose common name is the device id, or `device/module` ([`Hub::issue_module_certificate`](crate::Hub::issue_module_certificate)).
    CertificateAuthority,
}

/// A device identity as the service side sees it: a copy taken when it was asked for.
#[derive(Clone)]
#[non_exhaustive]
pub struct Device {
    /// The device id.
    pub id: String,
    /// `HostName=..;DeviceId=..;SharedAccessKey=..`, or `..;x509=true`.
    pub connection_string: String,
    /// The primary key of a device with symmetric keys.
    pub primary_key: Option<SecretKey>,
    /// The secondary key of a device with symmetric keys.
    pub secondary_key: Option<SecretKey>,
    /// Whether it may connect.
    pub enabled: bool,
    /// Tells this identity from a deleted one with the same id.
    pub generation_id: String,
    /// Changes with each change of the identity.
    pub etag: String,
    pub(crate) host_name: String,
    pub(crate) clock: ClockReader,
}

impl Device {
    /// The connection string, as a client takes it.
    #[must_use]
    pub fn connection_string(&self) -> &str {
        &self.connection_string
    }

    /// A SAS token signed with the primary key that expires `lifetime` from now by the hub's clock, as the password of a raw MQTT peer.
    ///
    /// Empty for a device without symmetric keys.
    #[must_use]
    pub fn sas_token(&self, lifetime: Duration) -> String {
        let Some(key) = &self.primary_key else { return String::new() };
        sas::valid_for(lifetime, key, &format!("{}/devices/{}", self.host_name, self.id), &self.clock)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("id", &self.id)
            .field("enabled", &self.enabled)
            .field("generation_id", &self.generation_id)
            .field("etag", &self.etag)
            .field("symmetric_keys", &self.primary_key.is_some())
            .finish_non_exhaustive()
    }
}

/// A device's or module's certificate with its private key. `Debug` shows no part of the key.
#[derive(Clone)]
#[non_exhaustive]
pub struct DeviceCertificate {
    /// The certificate and the device CA that signed it, PEM.
    pub certificate_pem: String,
    /// The private key, PKCS#8 PEM.
    pub private_key_pem: String,
    /// The SHA-256 of the certificate, 64 upper-case hex digits.
    pub thumbprint: String,
}

impl fmt::Debug for DeviceCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceCertificate")
            .field("thumbprint", &self.thumbprint)
            .field("private_key_pem", &"<redacted>")
            .finish_non_exhaustive()
    }
}
