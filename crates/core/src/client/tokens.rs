//! The token for a connection: made or taken when one is needed, and watched until it expires.

use std::time::{Duration, SystemTime};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::credential::{Credential, CredentialError, SharedAccessSignature};
use crate::identity::Identity;
use crate::secret::Secret;

/// The life of a token that the client signs: one hour, as in the C SDK (`sas_token_lifetime`).
pub(super) const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

/// After which part of its life a token is renewed, or its coming end told: 80 %, as in the C SDK.
const RENEW_AFTER: f64 = 0.8;

/// The longest that a connection that is to be replaced may take to bring its operations to an end.
const MAX_DRAIN: Duration = Duration::from_secs(10);

/// Ids stand in a token's scope as they are, as in the C SDK, but for what a URL gives another meaning.
const SCOPE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A credential, with what it takes to make tokens of it.
#[derive(Debug)]
pub(super) struct Tokens {
    credential: Credential,
    scope: String,
    lifetime: Duration,
    /// What the present connection has to do about its token, and when.
    plan: Plan,
    /// When the present connection's token expires.
    expiry: Option<SystemTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Nothing: there is no token, or no connection.
    Nothing,
    /// Renew it.
    Renew { at: SystemTime },
    /// Tell the application that its token expires, and then stop.
    Warn { at: SystemTime, expiry: SystemTime },
    /// The application knows.
    Expire { at: SystemTime },
}

/// What is to be done about a token, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenDuty {
    Renew,
    Warn { expiry: SystemTime },
    Expire { expiry: SystemTime },
}

impl Tokens {
    pub(super) fn new(credential: Credential, identity: &Identity, lifetime: Duration) -> Self {
        let scope = format!("{}/devices/{}", identity.hub, utf8_percent_encode(&identity.device_id, SCOPE));
        Self { credential, scope, lifetime, plan: Plan::Nothing, expiry: None }
    }

    pub(super) fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime;
    }

    /// Puts another ready token in place of the present one.
    pub(super) fn replace(&mut self, token: Secret) -> Result<(), CredentialError> {
        let Credential::SharedAccessSignature(present) = &mut self.credential else {
            return Err(CredentialError::NotASignature);
        };
        *present = SharedAccessSignature::parse(token)?;
        Ok(())
    }

    /// The token for a connection that starts now; `None` if the certificate of the connection is proof enough. Fails
    /// with the time at which a ready token has expired.
    pub(super) fn for_connection(&mut self, now: SystemTime) -> Result<Option<Secret>, SystemTime> {
        self.connection_ended();
        let token = match &self.credential {
            Credential::SharedAccessKey(key) => {
                self.expiry = Some(now + self.lifetime);
                self.plan = Plan::Renew { at: now + self.lifetime.mul_f64(RENEW_AFTER) };
                Some(key.sign(&self.scope, now + self.lifetime))
            }
            Credential::SharedAccessSignature(signature) => {
                let expiry = signature.expiry();
                let left = expiry.duration_since(now).ok().filter(|left| !left.is_zero()).ok_or(expiry)?;
                self.expiry = Some(expiry);
                self.plan = Plan::Warn { at: now + left.mul_f64(RENEW_AFTER), expiry };
                Some(signature.token().clone())
            }
            Credential::X509(_) => None,
        };
        Ok(token)
    }

    /// There is no connection whose token would have to be watched.
    pub(super) fn connection_ended(&mut self) {
        self.plan = Plan::Nothing;
        self.expiry = None;
    }

    /// How long a connection that is to be replaced may take to bring its operations to an end: 10 s, and no more than
    /// half of what its token has left.
    pub(super) fn drain_time(&self, now: SystemTime) -> Duration {
        let left = self.expiry.map(|expiry| expiry.duration_since(now).unwrap_or_default());
        left.map_or(MAX_DRAIN, |left| MAX_DRAIN.min(left / 2))
    }

    /// What is to be done now; each duty is given once.
    pub(super) fn duty(&mut self, now: SystemTime) -> Option<TokenDuty> {
        let (duty, next) = match self.plan {
            Plan::Renew { at } if at <= now => (TokenDuty::Renew, Plan::Nothing),
            Plan::Warn { at, expiry } if at <= now => (TokenDuty::Warn { expiry }, Plan::Expire { at: expiry }),
            Plan::Expire { at } if at <= now => (TokenDuty::Expire { expiry: at }, Plan::Nothing),
            _ => return None,
        };
        self.plan = next;
        Some(duty)
    }

    /// How long until the next duty.
    pub(super) fn next_duty_in(&self, now: SystemTime) -> Option<Duration> {
        let at = match self.plan {
            Plan::Nothing => return None,
            Plan::Renew { at } | Plan::Warn { at, .. } | Plan::Expire { at } => at,
        };
        Some(at.duration_since(now).unwrap_or_default())
    }
}
