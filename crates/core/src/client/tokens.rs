//! The token for a connection, made or taken when one is needed.

use std::time::{Duration, SystemTime};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::connection_error::ConnectionErrorKind;
use crate::credential::Credential;
use crate::identity::Identity;
use crate::secret::Secret;

/// The life of a token that the client signs: one hour, as in the C SDK (`sas_token_lifetime`).
pub(super) const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

/// Ids stand in a token's scope as they are, as in the C SDK, but for what a URL gives another meaning.
const SCOPE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A credential, with what it takes to make tokens of it.
#[derive(Debug)]
pub(super) struct Tokens {
    credential: Credential,
    scope: String,
    lifetime: Duration,
}

impl Tokens {
    pub(super) fn new(credential: Credential, identity: &Identity, lifetime: Duration) -> Self {
        let scope = format!("{}/devices/{}", identity.hub, utf8_percent_encode(&identity.device_id, SCOPE));
        Self { credential, scope, lifetime }
    }

    /// The token for a connection that starts now; `None` if the certificate of the connection is proof enough.
    pub(super) fn for_connection(&self, now: SystemTime) -> Result<Option<Secret>, ConnectionErrorKind> {
        match &self.credential {
            Credential::SharedAccessKey(key) => Ok(Some(key.sign(&self.scope, now + self.lifetime))),
            Credential::SharedAccessSignature(signature) if signature.expiry() <= now => {
                Err(ConnectionErrorKind::TokenExpired { at: signature.expiry() })
            }
            Credential::SharedAccessSignature(signature) => Ok(Some(signature.token().clone())),
            Credential::X509(_) => Ok(None),
        }
    }
}
