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
use crate::hub::registry::{DeviceEntry, Identity};
use crate::policy::{self, Rights};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authenticated {
    /// `sas` or `x509`, for the stamp.
    pub(crate) auth_type: &'static str,
    /// `se` of the token.
    pub(crate) expires: Option<SystemTime>,
}

/// Checks the credential of an identity whose registry entry was found.
pub(crate) fn authenticate(
    config: &Config,
    identity: &Identity,
    entry: &DeviceEntry,
    password: Option<&[u8]>,
    peer: &Peer,
    now: SystemTime,
) -> Result<Authenticated, RefusalReason> {
    match &entry.auth {
        DeviceAuth::SymmetricKey { primary, secondary } => {
            let token = sas::Token::parse(password.ok_or(RefusalReason::CredentialMissing)?)?;
            if token.policy().is_some() {
                let problem = "it names a policy (skn); a device signs with its own key";
                return Err(RefusalReason::TokenMalformed(problem));
            }
            if !token.covers(&config.host_names, identity) {
                return Err(RefusalReason::TokenAudience { audience: token.audience() });
            }
            if ![primary, secondary].iter().any(|key| token.is_signed_with(key.expose())) {
                return Err(RefusalReason::TokenSignature);
            }
            check_expiry(token.expiry(), config.clock_skew, now)?;
            Ok(Authenticated { auth_type: "sas", expires: Some(token.expiry()) })
        }
        DeviceAuth::Thumbprint { primary, secondary } => {
            let certificate = peer.certificates.first().ok_or(RefusalReason::CredentialMissing)?;
            let thumbprint = x509::thumbprint(certificate);
            if thumbprint != *primary && Some(&thumbprint) != secondary.as_ref() {
                return Err(RefusalReason::Certificate(format!(
                    "the registry does not have its thumbprint {thumbprint}"
                )));
            }
            Ok(Authenticated { auth_type: "x509", expires: None })
        }
        DeviceAuth::CertificateAuthority => {
            let certificate = peer.certificates.first().ok_or(RefusalReason::CredentialMissing)?;
            let authorities = peer.device_authorities.as_ref().ok_or(RefusalReason::CredentialMissing)?;
            authorities.verify(certificate, &peer.certificates[1..], now).map_err(RefusalReason::Certificate)?;
            let name = x509::common_name(certificate);
            if name.as_deref() != Some(identity.device.as_str()) {
                return Err(RefusalReason::Certificate(format!("its common name is {name:?}, not the device id")));
            }
            Ok(Authenticated { auth_type: "x509", expires: None })
        }
    }
}

/// Checks a token that a policy's key has signed, and gives what the policy allows.
pub(crate) fn authenticate_policy(
    config: &Config,
    name: &str,
    token: &[u8],
    now: SystemTime,
) -> Result<(Authenticated, Rights), RefusalReason> {
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
    Ok((Authenticated { auth_type: "sas", expires: Some(token.expiry()) }, rights))
}

/// Checks a policy's key itself, as clients of the event stream present it.
pub(crate) fn authenticate_policy_key(config: &Config, name: &str, key: &[u8]) -> Result<Authenticated, RefusalReason> {
    let known = config.policy_keys.get(name).ok_or(RefusalReason::CredentialMissing)?;
    if known.expose().as_bytes() != key {
        return Err(RefusalReason::TokenSignature);
    }
    Ok(Authenticated { auth_type: "sas", expires: None })
}

fn check_expiry(expiry: SystemTime, skew: Duration, now: SystemTime) -> Result<(), RefusalReason> {
    match expiry.checked_add(skew) {
        Some(last) if last <= now => Err(RefusalReason::TokenExpired { expiry, now }),
        _ => Ok(()),
    }
}
