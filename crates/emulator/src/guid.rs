//! Random ids, as services make them.

/// A version 4 UUID in lower-case hex.
pub(crate) fn random() -> String {
    text(random_bits())
}

/// A version 4 UUID.
pub(crate) fn random_bits() -> u128 {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    fastrand::u128(..) & !(VERSION | VARIANT) | 0x4 << 76 | 0b10 << 62
}

/// A UUID in lower-case hex.
pub(crate) fn text(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// A UUID from its text, in either case; `None` if it is none.
pub(crate) fn parse(text: &str) -> Option<u128> {
    let hex: String = text.split('-').collect();
    let right = text.len() == 36 && hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    right.then(|| u128::from_str_radix(&hex, 16).ok())?
}

/// The bytes of a UUID in the order of .NET's `Guid`: its first three groups are little-endian.
pub(crate) fn dotnet_bytes(bits: u128) -> [u8; 16] {
    let mut bytes = bits.to_be_bytes();
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_from_its_text_and_written_as_dotnet_does() {
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        let bits = parse(text).unwrap();
        assert_eq!(super::text(bits), text);
        assert_eq!(parse(&text.to_uppercase()), Some(bits));
        assert_eq!(dotnet_bytes(bits)[..8], [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66]);
        assert_eq!(dotnet_bytes(bits)[8..], bits.to_be_bytes()[8..]);
        for wrong in ["", "0011223344556677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddeefg"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert!(parse(&random()).is_some());
    }
}
