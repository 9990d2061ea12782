//! How long an encoded value is, and whether it keeps what it promises: every length within its container, no nesting without end. What passes here
//! may be given to a decoder that recurses and allocates.

/// The deepest nesting of lists, maps, arrays and described types. No performative or message of any SDK has half of it.
const MAX_DEPTH: u32 = 16;
/// The most elements of no width in one array: they take no bytes that would bound them.
const MAX_EMPTY: usize = 1024;

const DESCRIBED: u8 = 0x00;

/// The bytes are no encoded value; the text says why.
pub(super) type Problem = &'static str;

/// The length of the value at the beginning of these bytes.
pub(super) fn value(bytes: &[u8]) -> Result<usize, Problem> {
    value_at(bytes, 0)
}

/// The numeric descriptor of the described value at the beginning of these bytes, and where the value behind it begins.
pub(super) fn descriptor(bytes: &[u8]) -> Result<(u64, usize), Problem> {
    match bytes {
        [DESCRIBED, 0x44, ..] => Ok((0, 2)),
        [DESCRIBED, 0x53, code, ..] => Ok((u64::from(*code), 3)),
        [DESCRIBED, 0x80, rest @ ..] => {
            let code = rest.first_chunk().ok_or("a descriptor that breaks off")?;
            Ok((u64::from_be_bytes(*code), 10))
        }
        [DESCRIBED, ..] => Err("a descriptor that is no ulong"),
        _ => Err("a value without a descriptor"),
    }
}

fn value_at(bytes: &[u8], depth: u32) -> Result<usize, Problem> {
    if depth > MAX_DEPTH {
        return Err("values are nested too deep");
    }
    match bytes {
        [] => Err("a value is missing"),
        [DESCRIBED, rest @ ..] => {
            let descriptor = value_at(rest, depth + 1)?;
            Ok(1 + descriptor + value_at(&rest[descriptor..], depth + 1)?)
        }
        [code, rest @ ..] => Ok(1 + content(*code, rest, depth)?),
    }
}

/// The length of what follows this format code.
fn content(code: u8, bytes: &[u8], depth: u32) -> Result<usize, Problem> {
    let length = match code {
        0x40..=0x45 => 0,
        0x50..=0x56 => 1,
        0x60 | 0x61 => 2,
        0x70..=0x74 => 4,
        0x80..=0x84 => 8,
        0x94 | 0x98 => 16,
        0xa0 | 0xa1 | 0xa3 => 1 + small(bytes)?,
        0xb0 | 0xb1 | 0xb3 => 4 + large(bytes)?,
        0xc0 | 0xc1 | 0xe0 => {
            let size = small(bytes)?;
            let inside = bytes.get(1..1 + size).ok_or(OVERRUN)?;
            compound(code, small(inside)?, &inside[1..], depth)?;
            1 + size
        }
        0xd0 | 0xd1 | 0xf0 => {
            let size = large(bytes)?;
            let inside = bytes.get(4..4 + size).ok_or(OVERRUN)?;
            compound(code, large(inside)?, &inside[4..], depth)?;
            4 + size
        }
        _ => return Err("an unknown format code"),
    };
    if length > bytes.len() { Err(OVERRUN) } else { Ok(length) }
}

const OVERRUN: Problem = "a value is longer than what it is in";

/// Elements must fill their container exactly.
fn compound(code: u8, count: usize, mut inside: &[u8], depth: u32) -> Result<(), Problem> {
    if matches!(code, 0xe0 | 0xf0) {
        return array(count, inside, depth + 1);
    }
    if matches!(code, 0xc1 | 0xd1) && !count.is_multiple_of(2) {
        return Err("a map with a key that has no value");
    }
    for _ in 0..count {
        inside = &inside[value_at(inside, depth + 1)?..];
    }
    if inside.is_empty() { Ok(()) } else { Err("a list or map holds more than it counts") }
}

/// One constructor, then the contents of all elements.
fn array(count: usize, mut inside: &[u8], depth: u32) -> Result<(), Problem> {
    let mut depth = depth;
    while let [DESCRIBED, rest @ ..] = inside {
        inside = &rest[value_at(rest, depth)?..];
        depth += 1;
        if depth > MAX_DEPTH {
            return Err("values are nested too deep");
        }
    }
    let [code, rest @ ..] = inside else { return Err("an array without a constructor") };
    let mut rest = rest;
    if matches!(code, 0x40..=0x45) && count > MAX_EMPTY {
        return Err("an array with too many elements of no width");
    }
    for _ in 0..count {
        rest = &rest[content(*code, rest, depth)?..];
    }
    if rest.is_empty() { Ok(()) } else { Err("an array holds more than it counts") }
}

fn small(bytes: &[u8]) -> Result<usize, Problem> {
    bytes.first().map(|length| usize::from(*length)).ok_or("a length is missing")
}

fn large(bytes: &[u8]) -> Result<usize, Problem> {
    let length = bytes.first_chunk().ok_or("a length is missing")?;
    usize::try_from(u32::from_be_bytes(*length)).map_err(|_| OVERRUN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_amqp::Value;
    use serde_amqp::primitives::{Array, OrderedMap, Symbol};

    #[test]
    fn the_length_of_a_value_is_found_whatever_stands_behind_it() {
        let map: OrderedMap<Value, Value> =
            [(Value::String("k".into()), Value::List(vec![Value::Null, Value::Long(-1)]))].into_iter().collect();
        let values = [
            Value::Null,
            Value::Bool(true),
            Value::Ubyte(7),
            Value::Ulong(u64::MAX),
            Value::String("x".repeat(300)),
            Value::Symbol(Symbol::from("s")),
            Value::Map(map),
            Value::Array(Array::from(vec![Value::Symbol("a".into()), Value::Symbol("b".into())])),
        ];
        for given in values {
            let mut bytes = serde_amqp::to_vec(&given).unwrap();
            let length = bytes.len();
            assert_eq!(value(&bytes), Ok(length), "{given:?}");
            bytes.extend_from_slice(b"rest");
            assert_eq!(value(&bytes), Ok(length), "{given:?}");
            (0..length).for_each(|cut| assert!(value(&bytes[..cut]).is_err(), "{given:?} cut at {cut}"));
        }
    }

    #[test]
    fn lengths_and_counts_that_are_not_kept_are_refused() {
        let cases: [&[u8]; 11] = [
            b"",
            b"\x01",
            b"\xa1\x05abc",
            b"\xb0\xff\xff\xff\xff",
            b"\xc0\x02\x01",
            b"\xc0\x02\x02\x40",
            b"\xc0\x03\x01\x40\x40",
            b"\xc1\x02\x01\x40",
            b"\xd0\xff\xff\xff\xff\x00\x00\x00\x01",
            b"\xe0\x02\x05\x50",
            b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40",
        ];
        for bytes in cases {
            assert!(value(bytes).is_err(), "{bytes:02x?}");
        }
    }

    #[test]
    fn nesting_without_end_is_refused_early() {
        assert!(value(&[0x00; 60_000]).is_err());
        let mut bytes = vec![0x40];
        for _ in 0..40 {
            let mut list = vec![0xd0];
            list.extend_from_slice(&u32::try_from(bytes.len() + 4).unwrap().to_be_bytes());
            list.extend_from_slice(&1_u32.to_be_bytes());
            list.extend_from_slice(&bytes);
            bytes = list;
        }
        assert!(value(&bytes).is_err());
    }

    #[test]
    fn descriptors_are_read_in_every_width() {
        assert_eq!(descriptor(b"\x00\x53\x10\xc0"), Ok((0x10, 3)));
        assert_eq!(descriptor(b"\x00\x80\0\0\0\0\0\0\0\x10\xc0"), Ok((0x10, 10)));
        assert!(descriptor(b"\x00\xa3\x01a\xc0").is_err());
        assert!(descriptor(b"\x53\x10").is_err());
    }
}
