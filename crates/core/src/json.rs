//! Reading JSON strictly: a text, and then its grammar.

use serde::Deserialize;

/// Reads a value. JSON is UTF-8 (RFC 8259, 8.1), also in the parts that the value ignores.
pub(crate) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Reads an object. To serde an array of the fields' values would be as good.
pub(crate) fn read_object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    match bytes.trim_ascii_start().first() {
        Some(b'[') => Err("it is an array, not an object".to_owned()),
        _ => read(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IgnoredAny;

    #[test]
    fn what_is_no_text_is_no_json_although_nobody_looks_at_it() {
        assert!(read::<IgnoredAny>(b"{\"a\":\"\xff\"}").is_err());
        assert!(read::<IgnoredAny>("{\"a\":\"ÿ\"}".as_bytes()).is_ok());
    }
}
