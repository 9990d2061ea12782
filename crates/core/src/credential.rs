//! How a client proves its identity, and the tokens that it signs for that.

use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::percent_decode_str;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::endpoint::ClientCertificate;
use crate::platform::Now;
use crate::secret::Secret;
use crate::signer::{SasSigner, SignError};

/// How a client proves its identity.
///
/// Each of these converts into it, so that [`DeviceClient::create`](crate::DeviceClient::create) takes them as they are.
#[non_exhaustive]
pub enum Credential {
    /// A key: the client signs a new token for each connection.
    SharedAccessKey(SharedAccessKey),
    /// A ready token. Its own expiry decides when it ends; the client cannot renew it.
    SharedAccessSignature(SharedAccessSignature),
    /// A signer that keeps the key to itself, such as a TPM: it signs a new token for each connection.
    Signer(Box<dyn SasSigner>),
    /// The certificate of the TLS connection; no token at all. Its key may stay in an HSM.
    X509(ClientCertificate),
}

impl Credential {
    /// A signer that keeps the key to itself.
    pub fn signer(signer: impl SasSigner + 'static) -> Self {
        Self::Signer(Box::new(signer))
    }
}

impl From<SharedAccessKey> for Credential {
    fn from(key: SharedAccessKey) -> Self {
        Self::SharedAccessKey(key)
    }
}

impl From<SharedAccessSignature> for Credential {
    fn from(token: SharedAccessSignature) -> Self {
        Self::SharedAccessSignature(token)
    }
}

impl From<Box<dyn SasSigner>> for Credential {
    fn from(signer: Box<dyn SasSigner>) -> Self {
        Self::Signer(signer)
    }
}

impl From<ClientCertificate> for Credential {
    fn from(certificate: ClientCertificate) -> Self {
        Self::X509(certificate)
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::SharedAccessKey(_) => "SharedAccessKey(redacted)",
            Self::SharedAccessSignature(_) => "SharedAccessSignature(redacted)",
            Self::Signer(_) => "Signer",
            Self::X509(_) => "X509",
        })
    }
}

/// A key or token that cannot be used. No secret is part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The key is not base64.
    #[error("the SharedAccessKey is not base64: copy the device's primary or secondary key as the hub shows it")]
    KeyNotBase64,
    /// The token lacks a field, or a field has the wrong form.
    #[error(
        "the SharedAccessSignature has no usable `{field}`: it must read `SharedAccessSignature sr=...&sig=...&se=...`"
    )]
    Signature {
        /// Which field.
        field: &'static str,
    },
    /// The connection string says `x509=true`, but no certificate was given.
    #[error("the connection string says x509=true, but no certificate was given: set `certificate` on the builder")]
    CertificateMissing,
    /// A token was to be replaced, but the client does not use one that was given to it.
    #[error(
        "this client signs its own tokens or uses a certificate; only a client with a SharedAccessSignature takes another"
    )]
    NotASignature,
    /// A certificate was given, but the connection string authenticates otherwise.
    #[error("a certificate was given, but the connection string has a key or a token: use x509=true instead of them")]
    CertificateUnexpected,
}

/// A device key, decoded.
#[derive(Clone)]
pub struct SharedAccessKey(Zeroizing<Vec<u8>>);

impl SharedAccessKey {
    /// Decodes a base64 key.
    pub fn from_base64(key: &Secret) -> Result<Self, CredentialError> {
        let bytes = BASE64.decode(key.expose()).map_err(|_| CredentialError::KeyNotBase64)?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// Signs a token for `scope` that expires at `expiry` (whole seconds, rounded down).
    ///
    /// The scope stands in the token as it is given: `{hub}/devices/{device id}`.
    pub fn sign(&self, scope: &str, expiry: SystemTime) -> Secret {
        token(scope, expiry, &self.hmac(&text_to_sign(scope, expiry)))
    }

    fn hmac(&self, data: &[u8]) -> Vec<u8> {
        // HMAC takes a key of any length, so this cannot fail.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { unreachable!("HMAC takes any key") };
        mac.update(data);
        mac.finalize().into_bytes().to_vec()
    }
}

impl SasSigner for SharedAccessKey {
    fn poll_sign(&mut self, data: &[u8], _: Now, _: &Waker) -> Poll<Result<Vec<u8>, SignError>> {
        Poll::Ready(Ok(self.hmac(data)))
    }
}

/// What is signed for a token: the scope, and the expiry in whole seconds, rounded down.
pub(crate) fn text_to_sign(scope: &str, expiry: SystemTime) -> Vec<u8> {
    format!("{scope}\n{}", unix_seconds(expiry)).into_bytes()
}

/// A token, from the signature of its [`text_to_sign`].
pub(crate) fn token(scope: &str, expiry: SystemTime, signature: &[u8]) -> Secret {
    // The three characters of base64 that mean something else in a token, in lower case as the C SDK writes them.
    let signature = BASE64.encode(signature).replace('+', "%2b").replace('/', "%2f").replace('=', "%3d");
    Secret::new(format!("SharedAccessSignature sr={scope}&sig={signature}&se={}", unix_seconds(expiry)))
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl std::fmt::Debug for SharedAccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedAccessKey(redacted)")
    }
}

/// A ready token, with the expiry that stands in it.
#[derive(Clone, Debug)]
pub struct SharedAccessSignature {
    token: Secret,
    expiry: SystemTime,
}

impl SharedAccessSignature {
    /// Checks the form of a token: the prefix and the fields `sr`, `sig` and a numeric `se`.
    pub fn parse(token: Secret) -> Result<Self, CredentialError> {
        let missing = |field| CredentialError::Signature { field };
        let fields = token.expose().strip_prefix("SharedAccessSignature ").ok_or(missing("SharedAccessSignature"))?;
        let field = |name: &'static str| {
            let value = fields.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.filter(|value| !value.is_empty()).ok_or(missing(name))
        };
        field("sr")?;
        field("sig")?;
        let se = percent_decode_str(field("se")?).decode_utf8().map_err(|_| missing("se"))?;
        let seconds: u64 = se.parse().map_err(|_| missing("se"))?;
        let expiry = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(missing("se"))?;
        Ok(Self { token, expiry })
    }

    /// The token's text.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// When it expires, from its `se` field.
    pub fn expiry(&self) -> SystemTime {
        self.expiry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_9_the_token_of_the_reference_is_reproduced() {
        let key = SharedAccessKey::from_base64(&Secret::new("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")).unwrap();
        let expiry = UNIX_EPOCH + Duration::from_millis(1_700_003_600_999);
        let token = key.sign("contoso.azure-devices.net/devices/dev-1", expiry);
        let expected = "SharedAccessSignature sr=contoso.azure-devices.net/devices/dev-1\
                        &sig=mHtjCBZYcFB1zFcumV6neypnLkJXN8WgAHKI8DeegdQ%3d&se=1700003600";
        assert_eq!(token.expose(), expected);
    }

    #[test]
    fn a_key_that_is_not_base64_is_refused_without_being_shown() {
        let error = SharedAccessKey::from_base64(&Secret::new("not base64!")).unwrap_err();
        assert_eq!(error, CredentialError::KeyNotBase64);
        assert!(!error.to_string().contains("not base64!"));
    }

    #[test]
    fn the_expiry_of_a_ready_token_is_read() {
        let token = "SharedAccessSignature sr=h%2Fdevices%2Fd&sig=x%3D&se=1700003600&skn=";
        let parsed = SharedAccessSignature::parse(Secret::new(token)).unwrap();
        assert_eq!(parsed.expiry(), UNIX_EPOCH + Duration::from_secs(1_700_003_600));
        assert_eq!(parsed.token().expose(), token);
    }

    #[test]
    fn a_token_without_its_fields_is_refused() {
        let field = |token: &str| SharedAccessSignature::parse(Secret::new(token)).unwrap_err();
        let missing = |field| CredentialError::Signature { field };
        assert_eq!(field("sr=a&sig=b&se=1"), missing("SharedAccessSignature"));
        assert_eq!(field("SharedAccessSignature sig=b&se=1"), missing("sr"));
        assert_eq!(field("SharedAccessSignature sr=a&se=1"), missing("sig"));
        assert_eq!(field("SharedAccessSignature sr=a&sig=b"), missing("se"));
        assert_eq!(field("SharedAccessSignature sr=a&sig=b&se=soon"), missing("se"));
        assert_eq!(field("SharedAccessSignature sr=a&sig=b&se=18446744073709551615"), missing("se"));
    }

    #[test]
    fn debug_shows_no_key_and_no_token() {
        let key = SharedAccessKey::from_base64(&Secret::new("c2VjcmV0")).unwrap();
        let token = SharedAccessSignature::parse(Secret::new("SharedAccessSignature sr=a&sig=geheim&se=1")).unwrap();
        let text = format!("{key:?} {token:?} {:?}", Credential::SharedAccessKey(key.clone()));
        assert!(!text.contains("c2VjcmV0") && !text.contains("geheim"), "{text}");
    }
}
