//! The payloads: each can be told from its number alone, so that a spoiled one is seen.

/// The least length of a payload.
pub(super) const MIN_LENGTH: usize = 128;
const MAX_LENGTH: usize = 512;

/// The payload of a message: its number, and letters that follow from it.
pub(super) fn payload(number: usize) -> String {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let length = random.usize(MIN_LENGTH..MAX_LENGTH);
    let letters: String = std::iter::repeat_with(|| random.lowercase()).take(length).collect();
    format!("{number} {letters}")
}

/// The number of a payload, if it is one and intact.
pub(super) fn number(text: &str) -> Option<usize> {
    let number = text.split(' ').next()?.parse().ok()?;
    (payload(number) == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_known_by_its_number_and_a_spoiled_one_is_not() {
        for expected in [0, 1, 9_999] {
            let text = payload(expected);
            assert!(text.len() >= MIN_LENGTH);
            assert_eq!(number(&text), Some(expected));
            assert_eq!(number(&text[..text.len() - 1]), None);
        }
        assert_eq!(number(""), None);
        assert_eq!(number("-1 abc"), None);
    }
}
