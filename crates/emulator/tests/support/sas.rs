//! SAS tokens, made from their description alone: HMAC-SHA256 with the base64 key over `{sr}\n{se}`, where `sr` is
//! signed in the very spelling in which it is sent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What the bytes `%`-escaped in `sr` look like on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// `hub/devices/d`, as the C SDK sends it.
    Raw,
    /// `hub%2Fdevices%2Fd`, as Node, Python and C# send it.
    Upper,
    /// `hub%2fdevices%2fd`.
    Lower,
}

/// The parts of a token, each of which a test may get wrong on purpose.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    resource: String,
    key: String,
    expires: u64,
    spelling: Spelling,
    fields: [char; 3],
}

impl Token {
    /// A token for `resource` (as `hub/devices/d`), signed with `key` (base64), valid until `expires`.
    pub(crate) fn new(resource: &str, key: &str, expires: SystemTime) -> Self {
        Self {
            resource: resource.to_owned(),
            key: key.to_owned(),
            expires: seconds(expires),
            spelling: Spelling::Upper,
            fields: ['r', 'g', 'e'],
        }
    }

    pub(crate) fn spelled(mut self, spelling: Spelling) -> Self {
        self.spelling = spelling;
        self
    }

    /// The order of `sr` (r), `sig` (g) and `se` (e) in the text.
    pub(crate) fn in_order(mut self, fields: [char; 3]) -> Self {
        self.fields = fields;
        self
    }

    pub(crate) fn text(&self) -> String {
        let sr = match self.spelling {
            Spelling::Raw => self.resource.clone(),
            Spelling::Upper => escape(&self.resource),
            Spelling::Lower => lower_hex(&escape(&self.resource)),
        };
        let signature = sign(&self.key, &format!("{sr}\n{}", self.expires));
        let fields: Vec<String> = self
            .fields
            .iter()
            .map(|field| match field {
                'r' => format!("sr={sr}"),
                'g' => format!("sig={}", escape(&signature)),
                'e' => format!("se={}", self.expires),
                other => panic!("no field of a token is called {other:?}"),
            })
            .collect();
        format!("SharedAccessSignature {}", fields.join("&"))
    }
}

/// A token that is valid for an hour of the hub's time.
pub(crate) fn valid_for_an_hour(resource: &str, key: &str, now: SystemTime) -> String {
    Token::new(resource, key, now + Duration::from_secs(3600)).text()
}

/// Base64 of the HMAC-SHA256 of `text` under the base64 `key`.
pub(crate) fn sign(key: &str, text: &str) -> String {
    let key = STANDARD.decode(key).expect("the key is base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key length will do");
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

pub(crate) fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).expect("the moment is after 1970").as_secs()
}

/// Percent-encodes all but the unreserved characters of RFC 3986, with upper-case hex.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// The same escapes with lower-case hex digits.
pub(crate) fn lower_hex(escaped: &str) -> String {
    let mut text = String::new();
    let mut hex_digits = 0;
    for character in escaped.chars() {
        if hex_digits > 0 {
            hex_digits -= 1;
            text.push(character.to_ascii_lowercase());
        } else {
            hex_digits = if character == '%' { 2 } else { 0 };
            text.push(character);
        }
    }
    text
}
