//! Percent-encoding as the hub reads it: RFC 3986, everything but the unreserved characters as `%XX` in upper case.

use bytes::BytesMut;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_decode_str, utf8_percent_encode};

/// Everything but `A-Z a-z 0-9 - . _ ~`, as the Python and C# SDKs encode.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The encoded form, to be displayed or iterated.
pub(crate) fn encoded(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

/// The length of the encoded form.
pub(crate) fn encoded_len(text: &str) -> usize {
    encoded(text).map(str::len).sum()
}

/// Appends the encoded form.
pub(crate) fn put_encoded(text: &str, out: &mut BytesMut) {
    for part in encoded(text) {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Decodes what the hub sent, and loses nothing of it: a `%` that begins no escape stands for itself, bytes that
/// are not UTF-8 become U+FFFD. `+` is a plus, not a space.
pub(crate) fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay_bare_and_hex_is_upper_case() {
        let bare = "ABCXYZabcxyz0189-._~";
        assert_eq!(encoded(bare).to_string(), bare);
        let text = " !\"#$%&'()*+,/:;<=>?@[\\]^`{|}é\u{7f}";
        let expected =
            "%20%21%22%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3C%3D%3E%3F%40%5B%5C%5D%5E%60%7B%7C%7D%C3%A9%7F";
        assert_eq!(encoded(text).to_string(), expected);
        assert_eq!(encoded_len(text), expected.len());
        let mut out = BytesMut::new();
        put_encoded(text, &mut out);
        assert_eq!(out, expected.as_bytes());
    }

    #[test]
    fn both_hex_cases_decode_and_a_plus_stays_a_plus() {
        assert_eq!(decoded("a%2fb%2Fc+d%C3%a9"), "a/b/c+dé");
    }

    #[test]
    fn what_is_malformed_is_kept() {
        assert_eq!(decoded("50%"), "50%");
        assert_eq!(decoded("%zz%4"), "%zz%4");
        assert_eq!(decoded("a%FFb"), "a\u{FFFD}b");
    }
}
