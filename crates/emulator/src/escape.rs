//! Percent-encoding as the hub and most SDKs do it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays bare: RFC 3986 unreserved, which every SDK can decode (docs/hub-over-mqtt.md 2.2). `$` becomes `%24`: the C SDK compares that text byte for byte.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Upper-case hex escapes for everything but unreserved characters.
pub(crate) fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}
