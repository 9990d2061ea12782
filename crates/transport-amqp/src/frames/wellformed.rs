//! Whether encoded values are what they promise to be: looked at before the protocol's package decodes them, which recurses
//! as deep as they are nested and believes their lengths and counts.
//!
//! The package reads each of these values to its end, and no further. So there is no array here that it would misread: one
//! of described values, of lists, maps or arrays, or an empty one with a constructor.

use super::TRANSFER;

/// The deepest nesting of values. No hub's performative or message has a third of it.
const MAX_DEPTH: usize = 32;
/// How many elements an array may have that take no bytes.
const MAX_WITHOUT_WIDTH: usize = 1024;

/// Why bytes are no well-formed values.
pub(super) type Fault = &'static str;

const TOO_LONG: Fault = "a value is longer than what it is in";

/// What is in a frame.
pub(super) struct Body<'a> {
    /// Which performative, the last byte of its descriptor.
    pub(super) code: u8,
    pub(super) performative: &'a [u8],
    /// What follows; only a transfer has any.
    pub(super) payload: &'a [u8],
}

/// Takes a frame's body apart.
pub(super) fn body(bytes: &[u8]) -> Result<Body<'_>, Fault> {
    let code = match bytes {
        [0, 0x53, code, ..] | [0, 0x80, 0, 0, 0, 0, 0, 0, 0, code, ..] => *code,
        _ => return Err("it begins with no number of a performative"),
    };
    let fields = match code {
        0x10 => 10,
        0x11 => 8,
        0x12 => 14,
        0x13 | 0x14 => 11,
        0x15 => 6,
        0x16 => 3,
        0x17 | 0x18 => 1,
        _ => return Err("it begins with the number of no performative"),
    };
    let mut list = if bytes[1] == 0x53 { &bytes[3..] } else { &bytes[10..] };
    let mut payload = list;
    value(&mut payload, MAX_DEPTH)?;
    let count = match take(&mut list, 1)?[0] {
        0x45 => 0,
        code @ (0xc0 | 0xd0) => number(&mut part(&mut list, code)?, code)?,
        _ => return Err("its performative is no list"),
    };
    if count > fields {
        return Err("its performative has more fields than there are");
    }
    if code != TRANSFER && !payload.is_empty() {
        return Err("something follows its performative");
    }
    Ok(Body { code, performative: &bytes[..bytes.len() - payload.len()], payload })
}

/// Looks at a whole message: one value after another.
pub(super) fn message(mut bytes: &[u8]) -> Result<(), Fault> {
    while !bytes.is_empty() {
        value(&mut bytes, MAX_DEPTH)?;
    }
    Ok(())
}

/// Takes the value at the beginning.
fn value(bytes: &mut &[u8], depth: usize) -> Result<(), Fault> {
    let Some(depth) = depth.checked_sub(1) else { return Err("values are nested too deep") };
    let code = take(bytes, 1)?[0];
    match code >> 4 {
        0x0 if code == 0 => {
            value(bytes, depth)?;
            value(bytes, depth)
        }
        0x4..=0xb => plain(bytes, code),
        0xc | 0xd => {
            let mut inside = part(bytes, code)?;
            let count = number(&mut inside, code)?;
            if code & 1 == 1 && count % 2 == 1 {
                return Err("a map has a key without a value");
            }
            for _ in 0..count {
                value(&mut inside, depth)?;
            }
            filled(inside)
        }
        0xe | 0xf => array(part(bytes, code)?, code),
        _ => Err("a value is of no known kind"),
    }
}

fn array(mut inside: &[u8], code: u8) -> Result<(), Fault> {
    let count = number(&mut inside, code)?;
    if count == 0 {
        return filled(inside);
    }
    let element = take(&mut inside, 1)?[0];
    match element >> 4 {
        0x4 if count > MAX_WITHOUT_WIDTH => return Err("an array has too many elements of no width"),
        0x4..=0xb => {}
        _ => return Err("an array is not of plain values"),
    }
    for _ in 0..count {
        plain(&mut inside, element)?;
    }
    filled(inside)
}

/// Takes a value that holds no others; the high half of its code says how wide it is.
fn plain(bytes: &mut &[u8], code: u8) -> Result<(), Fault> {
    let width = match code >> 4 {
        0x4 => 0,
        0x5 => 1,
        0x6 => 2,
        0x7 => 4,
        0x8 => 8,
        0x9 => 16,
        _ => return part(bytes, code).map(|_| ()),
    };
    take(bytes, width).map(|_| ())
}

/// Takes what says first how long it is.
fn part<'a>(bytes: &mut &'a [u8], code: u8) -> Result<&'a [u8], Fault> {
    let length = number(bytes, code)?;
    take(bytes, length)
}

/// Takes a length or a count: of one byte in codes 0xA., 0xC. and 0xE., of four in 0xB., 0xD. and 0xF.
fn number(bytes: &mut &[u8], code: u8) -> Result<usize, Fault> {
    let width = if code & 0x10 == 0 { 1 } else { 4 };
    Ok(take(bytes, width)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], Fault> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(TOO_LONG)?;
    *bytes = rest;
    Ok(taken)
}

fn filled(rest: &[u8]) -> Result<(), Fault> {
    if rest.is_empty() { Ok(()) } else { Err("a list, map or array holds more than it counts") }
}

#[cfg(test)]
mod tests {
    use serde_amqp::primitives::{Array, Binary, OrderedMap, Symbol, Timestamp, Uuid};
    use serde_amqp::{Value, described::Described, descriptor::Descriptor};

    use super::*;

    fn plain_values() -> Vec<Value> {
        vec![
            Value::Null,
            Value::Bool(true),
            Value::Ubyte(7),
            Value::Ushort(7),
            Value::Uint(0),
            Value::Uint(7),
            Value::Uint(u32::MAX),
            Value::Ulong(0),
            Value::Ulong(7),
            Value::Ulong(u64::MAX),
            Value::Byte(-1),
            Value::Short(-1),
            Value::Int(-1),
            Value::Int(i32::MIN),
            Value::Long(-1),
            Value::Long(i64::MIN),
            Value::Float(1.5.into()),
            Value::Double(1.5.into()),
            Value::Char('c'),
            Value::Timestamp(Timestamp::from_milliseconds(1)),
            Value::Uuid(Uuid::from([7; 16])),
            Value::Binary(Binary::from(vec![7; 10])),
            Value::Binary(Binary::from(vec![7; 1000])),
            Value::String("text".to_owned()),
            Value::String("text".repeat(100)),
            Value::Symbol(Symbol::from("symbol")),
            Value::Symbol(Symbol::from("symbol".repeat(100))),
        ]
    }

    /// Whether the value at the beginning of these bytes is well-formed and takes them all.
    fn is_one(mut bytes: &[u8]) -> bool {
        value(&mut bytes, MAX_DEPTH).is_ok() && bytes.is_empty()
    }

    /// Values within one another, and the innermost is null.
    fn nested(levels: usize) -> Vec<u8> {
        (0..levels).fold(vec![0x40], |inner, _| {
            let size = u32::try_from(inner.len() + 4).unwrap();
            [&[0xd0][..], &size.to_be_bytes(), &[0, 0, 0, 1], &inner].concat()
        })
    }

    #[test]
    fn every_kind_of_value_passes_and_none_that_breaks_off() {
        let map: OrderedMap<Value, Value> = plain_values().into_iter().map(|value| (value.clone(), value)).collect();
        let mut values = plain_values();
        values.extend([
            Value::List(Vec::new()),
            Value::List(plain_values()),
            Value::List(vec![Value::Null; 1000]),
            Value::Map(map),
            Value::Array(Array::from(Vec::new())),
            Value::Array(Array::from(vec![Value::Symbol("a".into()), Value::Symbol("b".into())])),
            Value::Array(Array::from(vec![Value::Ushort(1); 500])),
            Value::Described(Box::new(Described {
                descriptor: Descriptor::Name("name".into()),
                value: Value::List(plain_values()),
            })),
        ]);
        for given in values {
            let bytes = serde_amqp::to_vec(&given).unwrap();
            assert!(is_one(&bytes), "{given:?}");
            (0..bytes.len()).for_each(|cut| assert!(!is_one(&bytes[..cut]), "{given:?} cut at {cut}"));
            assert_eq!(message(&[&bytes[..], &bytes].concat()), Ok(()), "{given:?}");
        }
    }

    #[test]
    fn a_value_that_is_not_what_it_promises_is_refused_with_the_reason() {
        let cases: [(&[u8], &str); 15] = [
            (b"\x01", "no known kind"),
            (b"\x30", "no known kind"),
            (b"\xa1\x05four", "longer"),
            (b"\xb0\xff\xff\xff\xff", "longer"),
            (b"\xc0\x02\x01", "longer"),
            (b"\xc0\x00", "longer"),
            (b"\xc0\x02\x02\x40", "longer"),
            (b"\xc0\x03\x01\x40\x40", "more than it counts"),
            (b"\xc1\x02\x01\x40", "without a value"),
            (b"\xd0\x00\x00\x00\x05\xff\xff\xff\xff\x40", "longer"),
            (b"\xe0\x02\x05\x50", "longer"),
            (b"\xe0\x02\x00\xa3", "more than it counts"),
            (b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40", "no width"),
            (b"\xe0\x06\x01\x00\x53\x01\xa0\x00", "not of plain values"),
            (b"\xe0\x03\x01\xc0\x00", "not of plain values"),
        ];
        for (bytes, why) in cases {
            let fault = message(bytes).unwrap_err();
            assert!(fault.contains(why), "{bytes:02x?}: {fault}");
        }
        let zeros = |count: u32| [&[0xf0, 0, 0, 0, 5][..], &count.to_be_bytes(), &[0x43]].concat();
        assert_eq!(message(&zeros(1024)), Ok(()));
        assert!(message(&zeros(1025)).is_err());
    }

    #[test]
    fn values_may_be_nested_as_deep_as_the_package_can_decode_and_no_deeper() {
        let deepest = nested(MAX_DEPTH - 1);
        assert!(is_one(&deepest));
        assert!(serde_amqp::from_slice::<Value>(&deepest).is_ok());
        assert!(!is_one(&nested(MAX_DEPTH)));
        for bytes in [nested(100_000), vec![0; 1_000_000], [0, 0x53, 0x01].repeat(100_000)] {
            assert_eq!(message(&bytes), Err("values are nested too deep"));
        }
    }

    #[test]
    fn a_frame_has_one_performative_that_is_known_and_only_a_transfer_has_more() {
        let cases: [(&[u8], &str); 8] = [
            (b"\x00", "no number"),
            (b"\x45", "no number"),
            (b"\x00\xa3\x01a\x45", "no number"),
            (b"\x00\x53\x19\x45", "of no performative"),
            (b"\x00\x53\x10", "longer"),
            (b"\x00\x53\x10\x40", "no list"),
            (b"\x00\x53\x17\xc0\x03\x02\x40\x40", "more fields"),
            (b"\x00\x53\x17\x45\x40", "follows"),
        ];
        for (bytes, why) in cases {
            let fault = body(bytes).map(|body| body.code).unwrap_err();
            assert!(fault.contains(why), "{bytes:02x?}: {fault}");
        }
        for head in [&b"\x00\x53\x14"[..], b"\x00\x80\x00\x00\x00\x00\x00\x00\x00\x14"] {
            for list in [&b"\x45"[..], b"\xc0\x02\x01\x43", b"\xd0\x00\x00\x00\x05\x00\x00\x00\x01\x43"] {
                let performative = [head, list].concat();
                let bytes = [&performative[..], b"payload"].concat();
                let body = body(&bytes).unwrap();
                assert_eq!((body.code, body.performative, body.payload), (0x14, &performative[..], &b"payload"[..]));
            }
        }
    }
}
