//! SAS tokens: `SharedAccessSignature sr=..&sig=..&se=..[&skn=..]`.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

use crate::activity::RefusalReason;
use crate::clock::{ClockReader, unix_seconds};
use crate::device::SecretKey;
use crate::escape::escape;
use crate::hub::registry::Identity;

const PREFIX: &str = "SharedAccessSignature ";

/// A token whose form is right. Nothing else is checked yet.
pub(crate) struct Token<'a> {
    /// As sent: the signature is over this text (docs/hub-over-mqtt.md 14; some SDKs leave ids unencoded, others encode them).
    raw_resource: &'a str,
    raw_expiry: &'a str,
    signature: Vec<u8>,
    expiry: SystemTime,
    /// `skn`, as sent: the shared access policy whose key has signed.
    policy: Option<&'a str>,
}

/// How a token's resource covers an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// It is the identity's own.
    Exact,
    /// It is, by whole segments, a prefix of the identity's own.
    Above,
}

impl<'a> Token<'a> {
    pub(crate) fn parse(password: &'a [u8]) -> Result<Self, RefusalReason> {
        let malformed = RefusalReason::TokenMalformed;
        let text = std::str::from_utf8(password).map_err(|_| malformed("it is not UTF-8"))?;
        let fields = text.strip_prefix(PREFIX).ok_or(malformed("it does not begin with 'SharedAccessSignature '"))?;
        let (mut resource, mut signature, mut expiry, mut policy) = (None, None, None, None);
        for field in fields.split('&') {
            let (name, value) = field.split_once('=').ok_or(malformed("it has a field without '='"))?;
            let slot = match name {
                "sr" => &mut resource,
                "sig" => &mut signature,
                "se" => &mut expiry,
                "skn" if value.is_empty() => continue,
                "skn" => &mut policy,
                _ => return Err(malformed("it has a field other than sr, sig, se and skn")),
            };
            if slot.replace(value).is_some() {
                return Err(malformed("it has a field twice"));
            }
        }
        let raw_resource = resource.ok_or(malformed("sr is missing"))?;
        let raw_signature = signature.ok_or(malformed("sig is missing"))?;
        let raw_expiry = expiry.ok_or(malformed("se is missing"))?;
        let decoded: Vec<u8> = percent_decode_str(raw_signature).collect();
        let signature = BASE64.decode(decoded).map_err(|_| malformed("sig is not base64"))?;
        let seconds: u64 = raw_expiry.parse().map_err(|_| malformed("se is not a number of seconds"))?;
        let expiry =
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(malformed("se is out of range"))?;
        Ok(Self { raw_resource, raw_expiry, signature, expiry, policy })
    }

    pub(crate) fn expiry(&self) -> SystemTime {
        self.expiry
    }

    /// `skn`, decoded: the policy whose key has signed; `None` if a device's has.
    pub(crate) fn policy(&self) -> Option<String> {
        self.policy.map(|name| percent_decode_str(name).decode_utf8_lossy().into_owned())
    }

    /// `sr`, decoded.
    pub(crate) fn audience(&self) -> String {
        percent_decode_str(self.raw_resource).decode_utf8_lossy().into_owned()
    }

    /// How `sr` covers the identity's resource, if it does. Host names are compared without case, ids with.
    pub(crate) fn covers(&self, host_names: &[String], identity: &Identity) -> Option<Scope> {
        let audience = self.audience();
        let mut asked = audience.trim_end_matches('/').split('/');
        let host = asked.next().unwrap_or_default();
        if !host_names.iter().any(|known| known.eq_ignore_ascii_case(host)) {
            return None;
        }
        let mut own = vec!["devices", &identity.device];
        own.extend(identity.module.iter().flat_map(|module| ["modules", module.as_str()]));
        let mut own = own.into_iter();
        if !asked.all(|segment| own.next() == Some(segment)) {
            return None;
        }
        Some(if own.next().is_none() { Scope::Exact } else { Scope::Above })
    }

    /// Whether this base64 key made the signature.
    pub(crate) fn is_signed_with(&self, key: &str) -> bool {
        mac(key, self.raw_resource, self.raw_expiry).is_some_and(|mac| mac.verify_slice(&self.signature).is_ok())
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("audience", &self.audience())
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

/// A token for this resource that ends so long from now. An unusable key gives an empty text.
pub(crate) fn valid_for(lifetime: Duration, key: &SecretKey, resource: &str, clock: &ClockReader) -> String {
    let expiry = clock.now().checked_add(lifetime).unwrap_or(SystemTime::UNIX_EPOCH);
    sign(key.expose(), resource, unix_seconds(expiry))
}

/// A token for this resource, signed with a base64 key. An unusable key gives an empty text.
pub(crate) fn sign(key: &str, resource: &str, expiry: u64) -> String {
    let resource = escape(resource);
    let expiry = expiry.to_string();
    let Some(mac) = mac(key, &resource, &expiry) else { return String::new() };
    let signature = BASE64.encode(mac.finalize().into_bytes());
    let signature = escape(&signature);
    format!("{PREFIX}sr={resource}&sig={signature}&se={expiry}")
}

fn mac(key: &str, resource: &str, expiry: &str) -> Option<Hmac<Sha256>> {
    let key = BASE64.decode(key).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    for part in [resource, "\n", expiry] {
        mac.update(part.as_bytes());
    }
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/hub-over-mqtt.md 15.
    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const VECTOR: &str = "SharedAccessSignature sr=contoso.azure-devices.net/devices/dev-1&sig=mHtjCBZYcFB1zFcumV6neypnLkJXN8WgAHKI8DeegdQ%3d&se=1700003600";

    fn hosts() -> Vec<String> {
        vec!["contoso.azure-devices.net".to_owned()]
    }

    #[test]
    fn the_known_vector_is_accepted_with_its_key_only() {
        let token = Token::parse(VECTOR.as_bytes()).unwrap();
        assert!(token.is_signed_with(KEY));
        assert!(!token.is_signed_with(&BASE64.encode([7; 32])));
        assert_eq!(token.covers(&hosts(), &Identity::device("dev-1")), Some(Scope::Exact));
        assert_eq!(token.expiry(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_003_600));
    }

    #[test]
    fn the_signature_is_over_the_text_as_sent_encoded_or_not() {
        let ours = sign(KEY, "contoso.azure-devices.net/devices/dev-1", 1_700_003_600);
        assert!(ours.contains("%2Fdevices%2F"));
        let token = Token::parse(ours.as_bytes()).unwrap();
        assert!(token.is_signed_with(KEY));
        assert_eq!(token.covers(&hosts(), &Identity::device("dev-1")), Some(Scope::Exact));
        let altered = ours.replace("%2F", "/");
        assert!(!Token::parse(altered.as_bytes()).unwrap().is_signed_with(KEY));
    }

    #[test]
    fn an_audience_covers_by_whole_segments() {
        let host = "Contoso.Azure-Devices.NET";
        for (resource, client_id, expected) in [
            ("/devices/d", "d", Some(Scope::Exact)),
            ("/devices/d/", "d", Some(Scope::Exact)),
            ("/devices", "d", Some(Scope::Above)),
            ("", "d", Some(Scope::Above)),
            ("/devices/d", "D", None),
            ("/devices/d", "d2", None),
            ("/devices/d/modules/m", "d", None),
            ("/devices/d/modules/m", "d/m", Some(Scope::Exact)),
            ("/devices/d/modules", "d/m", Some(Scope::Above)),
            ("/devices/d", "d/m", Some(Scope::Above)),
            ("/devices/d/modules/m", "d/M", None),
            ("/devices/d/modules/m", "e/m", None),
            ("/devices/d/m", "d/m", None),
        ] {
            let token = sign(KEY, &format!("{host}{resource}"), 1);
            let covered = Token::parse(token.as_bytes()).unwrap().covers(&hosts(), &Identity::of_client_id(client_id));
            assert_eq!(covered, expected, "{resource} {client_id}");
        }
        for resource in ["other.net/devices/d", ""] {
            let token = sign(KEY, resource, 1);
            assert_eq!(Token::parse(token.as_bytes()).unwrap().covers(&hosts(), &Identity::device("d")), None);
        }
    }

    #[test]
    fn a_token_of_the_wrong_form_is_refused_without_showing_it() {
        for (text, part) in [
            ("", "begin"),
            ("SharedAccessSignature ", "'='"),
            ("SharedAccessSignature sr=a&se=1", "sig is missing"),
            ("SharedAccessSignature sr=a&sig=!!&se=1", "base64"),
            ("SharedAccessSignature sr=a&sig=AAAA&se=soon", "seconds"),
            ("SharedAccessSignature sr=a&sig=AAAA&se=1&se=2", "twice"),
            ("SharedAccessSignature sr=a&sig=AAAA&se=99999999999999999999", "seconds"),
        ] {
            match Token::parse(text.as_bytes()) {
                Err(RefusalReason::TokenMalformed(why)) => assert!(why.contains(part), "{text}: {why}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(Token::parse(&[0xff]).is_err());
        assert!(!format!("{:?}", Token::parse(VECTOR.as_bytes()).unwrap()).contains("mHtj"));
    }
}
