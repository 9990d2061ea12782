//! Who may connect: SAS tokens and client certificates, checked for real. Nothing is waved through.
//!
//! A head hands over what the peer presented; the answer is how it is authenticated, or why it is refused. The peer is never told the reason.

pub(crate) mod sas;
pub(crate) mod x509;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;

use crate::activity::{RefusalReason, TlsVersion};
use crate::config::Config;
use crate::device::DeviceAuth;
use crate::hub::HubState;
use crate::hub::registry::Identity;
use crate::policy::{self, Rights};

use sas::Scope;
use x509::has_thumbprint;

/// What is known of the other end of a connection before its first packet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    /// The client certificate and its chain; TLS has proved that the peer has the first one's key.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    pub(crate) tls_version: Option<TlsVersion>,
    /// The CAs that sign device certificates.
    pub(crate) device_authorities: Option<Arc<x509::Authorities>>,
}

/// An accepted credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authenticated {
    /// `sas` or `x509`, for the stamp.
    pub(crate) auth_type: &'static str,
    /// `se` of the token.
    pub(crate) expires: Option<SystemTime>,
    /// Of the identity's registry entry.
    pub(crate) generation_id: String,
}

impl Authenticated {
    /// The same, but that it ends so much later.
    pub(crate) fn with_grace(self, grace: Duration) -> Self {
        let expires = self.expires.map(|expiry| expiry.checked_add(grace).unwrap_or(expiry));
        Self { expires, ..self }
    }
}

/// Checks that the identity is known, enabled, and has the credential that it gives: a token, or a certificate.
pub(crate) fn authenticate(
    hub: &HubState,
    identity: &Identity,
    token: Option<&[u8]>,
    peer: &Peer,
    now: SystemTime,
) -> Result<Authenticated, RefusalReason> {
    let device = hub.registry.get(&identity.device).ok_or(RefusalReason::UnknownDevice)?;
    let (auth, generation_id) = match &identity.module {
        None => (&device.auth, &device.generation_id),
        Some(module) => {
            let module = device.modules.get(module).ok_or(RefusalReason::UnknownDevice)?;
            (&module.auth, &module.generation_id)
        }
    };
    // A module is enabled when its device is.
    if !device.enabled {
        return Err(RefusalReason::DeviceDisabled);
    }
    let accepted = |auth_type, expires| Authenticated { auth_type, expires, generation_id: generation_id.clone() };
    match auth {
        DeviceAuth::SymmetricKey { primary, secondary } => {
            let token = sas::Token::parse(token.ok_or(RefusalReason::CredentialMissing)?)?;
            if token.policy().is_some() {
                let problem = "it names a policy (skn); a device signs with its own key";
                return Err(RefusalReason::TokenMalformed(problem));
            }
            let Some(scope) = token.covers(&hub.config.host_names, identity) else {
                return Err(RefusalReason::TokenAudience { audience: token.audience() });
            };
            let mut keys = vec![primary, secondary];
            // The key of its device may sign for a module, but only for that module by name (docs/hub-over-mqtt.md 14.6).
            if let (Some(_), Scope::Exact, DeviceAuth::SymmetricKey { primary, secondary }) =
                (&identity.module, scope, &device.auth)
            {
                keys.extend([primary, secondary]);
            }
            if !keys.iter().any(|key| token.is_signed_with(key.expose())) {
                return Err(RefusalReason::TokenSignature);
            }
            check_expiry(token.expiry(), hub.config.clock_skew, now)?;
            Ok(accepted("sas", Some(token.expiry())))
        }
        DeviceAuth::Thumbprint { primary, secondary } => {
            let certificate = peer.certificates.first().ok_or(RefusalReason::CredentialMissing)?;
            if ![Some(primary), secondary.as_ref()]
                .into_iter()
                .flatten()
                .any(|wanted| has_thumbprint(certificate, wanted))
            {
                return Err(RefusalReason::Certificate(format!(
                    "the registry does not have its thumbprint {}",
                    x509::thumbprint(certificate)
                )));
            }
            Ok(accepted("x509", None))
        }
        DeviceAuth::CertificateAuthority => {
            let certificate = peer.certificates.first().ok_or(RefusalReason::CredentialMissing)?;
            let authorities = peer.device_authorities.as_ref().ok_or(RefusalReason::CredentialMissing)?;
            authorities.verify(certificate, &peer.certificates[1..], now).map_err(RefusalReason::Certificate)?;
            // A module's is `device/module` (docs/hub-over-mqtt.md 6).
            let (name, wanted) = (x509::common_name(certificate), identity.to_string());
            if name.as_deref() != Some(wanted.as_str()) {
                return Err(RefusalReason::Certificate(format!("its common name is {name:?}, not '{wanted}'")));
            }
            Ok(accepted("x509", None))
        }
    }
}

/// Checks a token that a policy's key has signed, and gives what the policy allows and when the token ends.
pub(crate) fn authenticate_policy(
    config: &Config,
    name: &str,
    token: &[u8],
    now: SystemTime,
) -> Result<(Rights, SystemTime), RefusalReason> {
    let token = sas::Token::parse(token)?;
    let unknown =
        || RefusalReason::UserName(format!("there is no policy '{}'", name.chars().take(64).collect::<String>()));
    let rights = policy::rights(name).ok_or_else(unknown)?;
    if token.policy().is_some_and(|named| named != name) {
        return Err(RefusalReason::TokenMalformed("its policy (skn) is not the one of the user name"));
    }
    let host = token.audience();
    let host = host.split_once("://").map_or(&*host, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let host = host.split_once(':').map_or(host, |(host, _port)| host);
    if !config.host_names.iter().any(|known| known.eq_ignore_ascii_case(host)) {
        return Err(RefusalReason::TokenAudience { audience: token.audience() });
    }
    if !config.policy_keys.get(name).is_some_and(|key| token.is_signed_with(key.expose())) {
        return Err(RefusalReason::TokenSignature);
    }
    check_expiry(token.expiry(), config.clock_skew, now)?;
    Ok((rights, token.expiry()))
}

/// Checks a policy's key itself, as clients of the event stream present it.
pub(crate) fn authenticate_policy_key(config: &Config, name: &str, key: &[u8]) -> Result<Rights, RefusalReason> {
    let rights = policy::rights(name).ok_or(RefusalReason::CredentialMissing)?;
    match config.policy_keys.get(name) {
        Some(known) if known.expose().as_bytes() == key => Ok(rights),
        _ => Err(RefusalReason::TokenSignature),
    }
}

fn check_expiry(expiry: SystemTime, skew: Duration, now: SystemTime) -> Result<(), RefusalReason> {
    match expiry.checked_add(skew) {
        Some(last) if last <= now => Err(RefusalReason::TokenExpired { expiry, now }),
        _ => Ok(()),
    }
}
