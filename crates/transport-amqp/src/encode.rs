//! A message in AMQP's own bytes.
//!
//! Telemetry is encoded by hand, once: a batch is made of these bytes as they are. Only the types that telemetry needs are
//! here; what reads them back is the protocol's package.

use std::borrow::Cow;

/// What a `data` section has around its bytes, at the most.
pub(crate) const DATA_OVERHEAD: usize = 3 + 5;

const ANNOTATIONS: u8 = 0x72;
const PROPERTIES: u8 = 0x73;
const APPLICATION: u8 = 0x74;
const DATA: u8 = 0x75;

const NULL: u8 = 0x40;
const TIMESTAMP: u8 = 0x83;

/// A type in two forms: for lengths of one byte, and for lengths of four.
#[derive(Clone, Copy)]
struct Kind {
    short: u8,
    long: u8,
}

const BINARY: Kind = Kind { short: 0xa0, long: 0xb0 };
const STRING: Kind = Kind { short: 0xa1, long: 0xb1 };
const SYMBOL: Kind = Kind { short: 0xa3, long: 0xb3 };
const LIST: Kind = Kind { short: 0xc0, long: 0xd0 };
const MAP: Kind = Kind { short: 0xc1, long: 0xd1 };

/// The standard properties that telemetry can have.
#[derive(Debug, Default)]
pub(crate) struct Properties<'a> {
    pub(crate) message_id: Option<&'a str>,
    pub(crate) user_id: Option<&'a [u8]>,
    pub(crate) to: Option<&'a str>,
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) content_encoding: Option<&'a str>,
    /// In milliseconds since 1970.
    pub(crate) expiry: Option<i64>,
}

/// A value of the list of properties.
enum Value<'a> {
    OfKind(Kind, &'a [u8]),
    Time(i64),
}

/// A message in the making; its sections are to come in the order of the functions.
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    /// Begins a message that has about this size.
    pub(crate) fn new(size: usize) -> Self {
        Self(Vec::with_capacity(size))
    }

    pub(crate) fn annotations<'a>(&mut self, entries: impl Iterator<Item = (&'a str, Cow<'a, str>)>) {
        self.section(ANNOTATIONS, MAP, |out| put_entries(out, SYMBOL, entries));
    }

    pub(crate) fn properties(&mut self, properties: &Properties<'_>) {
        self.section(PROPERTIES, LIST, |out| put_properties(out, properties));
    }

    pub(crate) fn application<'a>(&mut self, entries: impl Iterator<Item = (&'a str, Cow<'a, str>)>) {
        self.section(APPLICATION, MAP, |out| put_entries(out, STRING, entries));
    }

    /// The body, with which the message is complete.
    pub(crate) fn data(mut self, payload: &[u8]) -> Vec<u8> {
        self.0.extend([0x00, 0x53, DATA]);
        put(&mut self.0, BINARY, payload);
        self.0
    }

    /// A section of as many values as `content` says that it has put. An empty one is left out.
    fn section(&mut self, code: u8, kind: Kind, content: impl FnOnce(&mut Vec<u8>) -> u32) {
        let out = &mut self.0;
        let start = out.len();
        out.extend([0x00, 0x53, code, kind.long, 0, 0, 0, 0, 0, 0, 0, 0]);
        // Behind the kind stand the size, which counts all that follows it, and the count.
        let (sizes, values) = (start + 4, start + 12);
        let count = content(out);
        let length = out.len() - values;
        match (u8::try_from(length + 1), u8::try_from(count)) {
            _ if count == 0 => out.truncate(start),
            (Ok(size), Ok(count)) => {
                out[sizes - 1..sizes + 2].copy_from_slice(&[kind.short, size, count]);
                out.copy_within(values.., sizes + 2);
                out.truncate(sizes + 2 + length);
            }
            _ => {
                out[sizes..sizes + 4].copy_from_slice(&length_of(length + 4));
                out[sizes + 4..values].copy_from_slice(&count.to_be_bytes());
            }
        }
    }
}

/// A length of four bytes. No message of the hub's needs more.
fn length_of(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

fn put(out: &mut Vec<u8>, kind: Kind, bytes: &[u8]) {
    match u8::try_from(bytes.len()) {
        Ok(length) => out.extend([kind.short, length]),
        Err(_) => {
            out.push(kind.long);
            out.extend(length_of(bytes.len()));
        }
    }
    out.extend_from_slice(bytes);
}

/// Puts the pairs of a map and counts both halves of each.
fn put_entries<'a>(out: &mut Vec<u8>, name_kind: Kind, entries: impl Iterator<Item = (&'a str, Cow<'a, str>)>) -> u32 {
    let mut count = 0;
    for (name, value) in entries {
        put(out, name_kind, name.as_bytes());
        put(out, STRING, value.as_bytes());
        count += 2;
    }
    count
}

fn text(kind: Kind, text: Option<&str>) -> Option<Value<'_>> {
    text.map(|text| Value::OfKind(kind, text.as_bytes()))
}

/// Puts the list of properties, as far as there is something.
fn put_properties(out: &mut Vec<u8>, properties: &Properties<'_>) -> u32 {
    let Properties { message_id, user_id, to, correlation_id, content_type, content_encoding, expiry } = *properties;
    let values = [
        text(STRING, message_id),
        user_id.map(|id| Value::OfKind(BINARY, id)),
        text(STRING, to),
        // Subject and reply-to.
        None,
        None,
        text(STRING, correlation_id),
        text(SYMBOL, content_type),
        text(SYMBOL, content_encoding),
        expiry.map(Value::Time),
    ];
    let mut count = 0;
    let present = values.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    for value in &values[..present] {
        match value {
            None => out.push(NULL),
            Some(Value::OfKind(kind, bytes)) => put(out, *kind, bytes),
            Some(Value::Time(millis)) => {
                out.push(TIMESTAMP);
                out.extend(millis.to_be_bytes());
            }
        }
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use fe2o3_amqp_types::messaging::annotations::OwnedKey;
    use fe2o3_amqp_types::messaging::{Body, Data};
    use fe2o3_amqp_types::primitives::SimpleValue;
    use serde_amqp::Value as Read;
    use serde_amqp::primitives::Symbol;

    use super::*;
    use crate::message::decoded;

    /// Entries of these lengths.
    fn entries(lengths: &[usize]) -> Vec<(String, String)> {
        lengths.iter().enumerate().map(|(n, length)| (format!("name-{n}"), "v".repeat(*length))).collect()
    }

    fn borrowed(entries: &[(String, String)]) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        entries.iter().map(|(name, value)| (name.as_str(), value.into()))
    }

    #[test]
    fn maps_texts_and_bodies_of_any_length_are_read_back_as_they_were() {
        let shapes: &[&[usize]] =
            &[&[], &[0], &[5, 255], &[256], &[230], &[231], &[232], &[70_000], &[1; 127], &[1; 200]];
        for lengths in shapes {
            for body in [0, 255, 256, 100_000] {
                let (entries, body) = (entries(lengths), vec![7; body]);
                let mut encoder = Encoder::new(0);
                encoder.annotations(borrowed(&entries));
                encoder.application(borrowed(&entries));
                let read = decoded(&encoder.data(&body)).unwrap();
                let annotations = read.message_annotations.map(|annotations| annotations.0).unwrap_or_default();
                let application = read.application_properties.map(|application| application.0).unwrap_or_default();
                assert_eq!((annotations.len(), application.len()), (entries.len(), entries.len()));
                for (name, value) in &entries {
                    let key = OwnedKey::Symbol(Symbol::from(name.as_str()));
                    assert_eq!(annotations.get(&key), Some(&Read::String(value.clone())));
                    assert_eq!(application.get(name), Some(&SimpleValue::String(value.clone())));
                }
                assert_eq!(read.body, Body::Data(vec![Data::from(body)].into()));
                assert_eq!(read.properties, None);
            }
        }
    }

    #[test]
    fn what_is_small_is_written_small() {
        let mut encoder = Encoder::new(0);
        encoder.properties(&Properties { message_id: Some("m"), user_id: Some(b"u"), ..Properties::default() });
        let properties = [0x00, 0x53, 0x73, 0xc0, 7, 2, 0xa1, 1, b'm', 0xa0, 1, b'u'];
        let body = [0x00, 0x53, 0x75, 0xa0, 1, b'b'];
        assert_eq!(encoder.data(b"b"), [&properties[..], &body].concat());
    }
}
