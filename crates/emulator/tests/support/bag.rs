//! The property bag of a topic, read strictly: what a hub writes must suit the pickiest of the official SDKs.

/// One property as it stands in the bag, decoded: `key` (no value), `key=` or `key=value`.
pub(crate) type Pair = (String, Option<String>);

/// Splits and decodes a bag. Panics on anything that is not percent-encoded as RFC 3986 asks.
pub(crate) fn decode(bag: &str) -> Vec<Pair> {
    if bag.is_empty() {
        return Vec::new();
    }
    bag.split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) => (unescape(key), Some(unescape(value))),
            None => (unescape(pair), None),
        })
        .collect()
}

/// The value of `key`, which must stand in the bag exactly once.
pub(crate) fn value<'a>(pairs: &'a [Pair], key: &str) -> &'a str {
    let mut found = pairs.iter().filter(|(name, _)| name == key);
    let (_, value) = found.next().unwrap_or_else(|| panic!("{key} is missing in {pairs:?}"));
    assert!(found.next().is_none(), "{key} stands twice in {pairs:?}");
    value.as_deref().unwrap_or_else(|| panic!("{key} has no value in {pairs:?}"))
}

pub(crate) fn has(pairs: &[Pair], key: &str) -> bool {
    pairs.iter().any(|(name, _)| name == key)
}

/// A pair for comparisons.
pub(crate) fn pair(key: &str, value: Option<&str>) -> Pair {
    (key.to_owned(), value.map(str::to_owned))
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = after.get(..2).unwrap_or_else(|| panic!("a broken escape in {text:?}"));
            let digits = std::str::from_utf8(digits).expect("escapes are ASCII");
            assert_eq!(digits, digits.to_uppercase(), "an escape in lower case in {text:?}");
            bytes.push(u8::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("a broken escape in {text:?}")));
            rest = &after[2..];
        } else {
            assert!(
                first.is_ascii_alphanumeric() || b"-._~".contains(first),
                "{:?} stands unescaped in {text:?}",
                char::from(*first)
            );
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| panic!("{text:?} does not decode to UTF-8"))
}
