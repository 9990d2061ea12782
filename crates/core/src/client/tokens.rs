//! The token for a connection: made or taken when one is needed, and watched until it expires.

use std::task::{Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::credential::{Credential, CredentialError, SharedAccessSignature, text_to_sign, token};
use crate::endpoint::Trust;
use crate::identity::Identity;
use crate::platform::{Now, Readiness};
use crate::secret::Secret;

/// The life of a token that the client signs: one hour, as in the C SDK (`sas_token_lifetime`).
pub(super) const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

/// After which part of its life a token is renewed, or its coming end told: 80 %, as in the C SDK.
const RENEW_AFTER: f64 = 0.8;

/// How much life a token must have left for another attempt to renew it.
const RENEWAL_RETRY: Duration = Duration::from_secs(1);

/// The longest that a connection that is to be replaced may take to bring its operations to an end.
const MAX_DRAIN: Duration = Duration::from_secs(10);

/// Ids stand in a token's scope as they are, as in the C SDK, but for what a URL gives another meaning.
const SCOPE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How long a signer may take for a token; the C SDK's limit for the start of an AMQP device is twice that.
const SIGNER_TIMEOUT: Duration = Duration::from_secs(30);

/// The latest expiry of a token that the client signs, in seconds since 1970: the end of the year 9999.
const LAST_EXPIRY: u64 = 253_402_300_799;

/// A credential, with what it takes to make tokens of it.
#[derive(Debug)]
pub(super) struct Tokens {
    credential: Credential,
    identity: Identity,
    scope: String,
    lifetime: Duration,
    /// What a connection waits for that has no token yet.
    awaited: Option<Awaited>,
    /// The credential is another one than that of the present connection.
    replaced: bool,
    /// What the present connection has to do about its token, and when.
    plan: Plan,
    /// When the present connection's token expires.
    expiry: Option<SystemTime>,
    /// The last token and its expiry, also when its connection has ended.
    last: Option<(Secret, SystemTime)>,
}

/// What a connection waits for before it has its token.
#[derive(Clone, Copy, Debug)]
enum Awaited {
    /// The signer's answer for a token that expires then, and no longer than `until`.
    Signature { expiry: SystemTime, until: Instant },
    /// The next turn: the silent signer was replaced.
    Turn,
}

/// Why there is no token.
#[derive(Debug)]
pub(super) enum NoToken {
    /// The ready token has expired.
    Expired { at: SystemTime },
    /// The signer did not make one.
    NotSigned { detail: String },
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
        let (scope, identity) = (scope(&credential, identity), identity.clone());
        let plan = Plan::Nothing;
        Self { credential, identity, scope, lifetime, awaited: None, replaced: false, plan, expiry: None, last: None }
    }

    pub(super) fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime;
    }

    /// Puts another ready token in place of the present one.
    pub(super) fn replace(&mut self, token: Secret) -> Result<(), CredentialError> {
        if !matches!(self.credential, Credential::SharedAccessSignature(_)) {
            return Err(CredentialError::NotASignature);
        }
        self.replace_credential(SharedAccessSignature::parse(token)?.into());
        Ok(())
    }

    /// Proves the identity otherwise from the next connection on; one that waits for its token takes it from here. The
    /// present connection is about to be replaced, so that its token asks for nothing any more.
    pub(super) fn replace_credential(&mut self, credential: Credential) {
        self.awaited = self.cancel().then_some(Awaited::Turn);
        self.scope = scope(&credential, &self.identity);
        self.credential = credential;
        self.last = None;
        self.replaced = true;
        self.plan = Plan::Nothing;
    }

    /// Whether the credential was replaced since the present connection took its token.
    pub(super) fn is_replaced(&self) -> bool {
        self.replaced
    }

    /// No longer waits for a token; whether a connection waited for one.
    pub(super) fn cancel(&mut self) -> bool {
        let awaited = self.awaited.take();
        if let (Some(Awaited::Signature { .. }), Credential::Signer(signer)) = (awaited, &mut self.credential) {
            signer.cancel();
        }
        awaited.is_some()
    }

    /// Whether the identity is proved by a certificate.
    pub(super) fn is_x509(&self) -> bool {
        matches!(self.credential, Credential::X509(_))
    }

    /// The token for a connection that starts now; `None` if the certificate of the connection is proof enough. While it is
    /// pending, the same token is asked for again.
    pub(super) fn poll_for_connection(&mut self, now: Now, waker: &Waker) -> Poll<Result<Option<Secret>, NoToken>> {
        self.forget_token();
        self.poll_token(now, waker)
    }

    /// Whether the connection that there is can go on with another token: it has one now, and the credential makes tokens.
    pub(super) fn can_renew_in_place(&self) -> bool {
        self.expiry.is_some() && !self.is_x509()
    }

    /// The token to put in place of that of the present connection. While it is pending, the same one is asked for again.
    pub(super) fn poll_for_renewal(&mut self, now: Now, waker: &Waker) -> Poll<Result<Option<Secret>, NoToken>> {
        self.poll_token(now, waker)
    }

    /// There was no token to renew with: it is tried again in the middle of what the present one has left, and at last the
    /// hub ends the connection.
    pub(super) fn renewal_failed(&mut self, now: SystemTime) {
        let left = self.expiry.and_then(|expiry| expiry.duration_since(now).ok()).unwrap_or_default();
        self.plan = if left < RENEWAL_RETRY { Plan::Nothing } else { Plan::Renew { at: now + left / 2 } };
    }

    fn poll_token(&mut self, now: Now, waker: &Waker) -> Poll<Result<Option<Secret>, NoToken>> {
        self.replaced = false;
        let (expiry, until) = match self.awaited.take() {
            Some(Awaited::Signature { expiry, until }) => (expiry, until),
            Some(Awaited::Turn) | None => (self.expiry_from(now.wall), now.mono + SIGNER_TIMEOUT),
        };
        let token = match &mut self.credential {
            Credential::SharedAccessKey(key) => key.sign(&self.scope, expiry),
            Credential::Signer(signer) => match signer.poll_sign(&text_to_sign(&self.scope, expiry), now, waker) {
                Poll::Ready(Ok(signature)) => token(&self.scope, expiry, &signature),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(NoToken::NotSigned { detail: error.to_string() })),
                Poll::Pending if until <= now.mono => {
                    signer.cancel();
                    let detail = format!("no signature came within {} s", SIGNER_TIMEOUT.as_secs());
                    return Poll::Ready(Err(NoToken::NotSigned { detail }));
                }
                Poll::Pending => {
                    self.awaited = Some(Awaited::Signature { expiry, until });
                    return Poll::Pending;
                }
            },
            Credential::SharedAccessSignature(signature) => {
                let (expiry, token) = (signature.expiry(), signature.token().clone());
                let left = expiry.duration_since(now.wall).unwrap_or_default();
                if left.is_zero() {
                    return Poll::Ready(Err(NoToken::Expired { at: expiry }));
                }
                self.expiry = Some(expiry);
                self.plan = Plan::Warn { at: now.wall + left.mul_f64(RENEW_AFTER), expiry };
                self.last = Some((token.clone(), expiry));
                return Poll::Ready(Ok(Some(token)));
            }
            Credential::X509(_) => return Poll::Ready(Ok(None)),
        };
        self.expiry = Some(expiry);
        let life = expiry.duration_since(now.wall).unwrap_or_default();
        self.plan = Plan::Renew { at: now.wall + life.mul_f64(RENEW_AFTER) };
        self.last = Some((token.clone(), expiry));
        Poll::Ready(Ok(Some(token)))
    }

    /// The last token, as long as it is valid: for requests beside the connection.
    pub(super) fn valid(&self, now: SystemTime) -> Option<&Secret> {
        self.last.as_ref().filter(|(_, expiry)| *expiry > now).map(|(token, _)| token)
    }

    /// Whom to trust by what the signer has learned.
    pub(super) fn take_trust(&mut self) -> Option<Trust> {
        match &mut self.credential {
            Credential::Signer(signer) => signer.take_trust(),
            _ => None,
        }
    }

    /// Whether a connection waits for its token.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.is_some()
    }

    /// When an awaited token must be asked for again, if nothing wakes the client before.
    pub(super) fn awaited_until(&self) -> Option<Instant> {
        let Some(Awaited::Signature { until, .. }) = self.awaited else { return None };
        let signer = match &self.credential {
            Credential::Signer(signer) => signer.next_deadline(),
            _ => None,
        };
        Some(signer.map_or(until, |signer| signer.min(until)))
    }

    /// The descriptors that bring an awaited token.
    pub(super) fn readiness(&self, out: &mut Vec<Readiness>) {
        if let (Some(_), Credential::Signer(signer)) = (self.awaited, &self.credential) {
            signer.readiness(out);
        }
    }

    /// There is no connection whose token would have to be watched, and none that waits for one.
    pub(super) fn connection_ended(&mut self) {
        self.cancel();
        self.forget_token();
    }

    /// When a token expires that is signed now.
    fn expiry_from(&self, now: SystemTime) -> SystemTime {
        let last = UNIX_EPOCH + Duration::from_secs(LAST_EXPIRY);
        now.checked_add(self.lifetime).map_or(last, |expiry| expiry.min(last))
    }

    fn forget_token(&mut self) {
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

/// What a token of this identity is good for.
fn scope(credential: &Credential, identity: &Identity) -> String {
    let resource = |id: &dyn Fn(&str) -> String| {
        let module = identity.module_id.as_deref().map(|module_id| format!("/modules/{}", id(module_id)));
        format!("{}/devices/{}{}", identity.hub, id(&identity.device_id), module.unwrap_or_default())
    };
    let escaped = |text: &str| utf8_percent_encode(text, SCOPE).to_string();
    match credential {
        Credential::Signer(signer) if signer.escapes_scope() => escaped(&resource(&str::to_owned)),
        _ => resource(&escaped),
    }
}
