//! Messages: sections to values and values to sections. Sections may come in any order: the C SDK's batches do not keep the specified one
//! (docs/hub-over-amqp.md 2).

use bytes::Bytes;
use fe2o3_amqp_types::messaging::annotations::OwnedKey;
use fe2o3_amqp_types::messaging::{AmqpValue, ApplicationProperties, Data, MessageAnnotations, MessageId, Properties};
use fe2o3_amqp_types::primitives::SimpleValue;
use serde_amqp::Value;
use serde_amqp::primitives::{Symbol, Timestamp, Uuid};

use crate::amqp::{frame, scan};

/// The message format of a batch: each data section is a whole message (docs/hub-over-amqp.md 2).
pub(super) const BATCH: u32 = 0x8001_3700;

/// A message as it came.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    pub(super) properties: Properties,
    pub(super) annotations: Vec<(String, Value)>,
    pub(super) application: Vec<(String, Value)>,
    pub(super) data: Vec<Bytes>,
    pub(super) value: Option<Value>,
    /// It has a body that is a sequence.
    pub(super) has_sequence: bool,
}

impl Incoming {
    /// Reads the sections of one message. The error says what is wrong.
    pub(super) fn read(bytes: &Bytes) -> Result<Self, String> {
        let mut message = Self::default();
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            let length = scan::value(&rest)?;
            let section = rest.split_to(length);
            let (code, start) = scan::descriptor(&section)?;
            match code {
                // Header, delivery annotations, footer: nothing in them concerns a hub.
                0x70 | 0x71 | 0x78 => {}
                0x72 => message.annotations = pairs(&section[start..])?,
                0x73 => message.properties = decode(&section)?,
                0x74 => message.application = pairs(&section[start..])?,
                0x75 => message.data.push(binary(&section.slice(start..))?),
                0x76 => message.has_sequence = true,
                0x77 => message.value = Some(decode(&section[start..])?),
                _ => return Err(format!("a section with the descriptor {code:#x}")),
            }
        }
        Ok(message)
    }

    pub(super) fn annotation(&self, name: &str) -> Option<&Value> {
        find(&self.annotations, name)
    }

    pub(super) fn application(&self, name: &str) -> Option<&Value> {
        find(&self.application, name)
    }

    /// The body as bytes: the data sections one behind the other, or the text or bytes of a value. The error says what it is instead.
    pub(super) fn body(&self) -> Result<Bytes, &'static str> {
        match (&self.data[..], &self.value) {
            _ if self.has_sequence => Err("its body is a sequence; a hub takes data"),
            ([one], None) => Ok(one.clone()),
            (many, None) => Ok(many.concat().into()),
            ([], Some(Value::String(text))) => Ok(text.clone().into()),
            ([], Some(Value::Binary(bytes))) => Ok(bytes.to_vec().into()),
            ([], Some(Value::Null)) => Ok(Bytes::new()),
            _ => Err("its body is neither data nor a text or binary value"),
        }
    }
}

fn find<'a>(pairs: &'a [(String, Value)], name: &str) -> Option<&'a Value> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_amqp::from_slice(bytes).map_err(|error| error.to_string())
}

fn pairs(bytes: &[u8]) -> Result<Vec<(String, Value)>, String> {
    match decode(bytes)? {
        Value::Map(map) => {
            map.into_iter().map(|(key, value)| Ok((text(&key).ok_or("a key that is no text")?, value))).collect()
        }
        Value::Null => Ok(Vec::new()),
        _ => Err("a section that is no map".to_owned()),
    }
}

fn binary(bytes: &Bytes) -> Result<Bytes, String> {
    match bytes.first() {
        Some(0xa0) => Ok(bytes.slice(2..)),
        Some(0xb0) => Ok(bytes.slice(5..)),
        _ => Err("a data section that is no binary".to_owned()),
    }
}

/// A simple value as text, as a hub shows it.
pub(super) fn text(value: &Value) -> Option<String> {
    Some(match value {
        Value::String(text) => text.clone(),
        Value::Symbol(symbol) => symbol.as_str().to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Ubyte(value) => value.to_string(),
        Value::Ushort(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Ulong(value) => value.to_string(),
        Value::Byte(value) => value.to_string(),
        Value::Short(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Long(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Char(value) => value.to_string(),
        Value::Timestamp(time) => crate::clock::iso8601(time_of(time)),
        Value::Uuid(uuid) => uuid_text(uuid),
        _ => return None,
    })
}

/// A whole number, whatever its width.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Ubyte(value) => Some(i64::from(*value)),
        Value::Ushort(value) => Some(i64::from(*value)),
        Value::Uint(value) => Some(i64::from(*value)),
        Value::Ulong(value) => i64::try_from(*value).ok(),
        Value::Byte(value) => Some(i64::from(*value)),
        Value::Short(value) => Some(i64::from(*value)),
        Value::Int(value) => Some(i64::from(*value)),
        Value::Long(value) => Some(*value),
        _ => None,
    }
}

/// A message id or correlation id as text, whatever its type.
pub(super) fn id_text(id: &MessageId) -> String {
    match id {
        MessageId::String(text) => text.clone(),
        MessageId::Ulong(number) => number.to_string(),
        MessageId::Uuid(uuid) => uuid_text(uuid),
        MessageId::Binary(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

pub(super) fn uuid_text(uuid: &Uuid) -> String {
    crate::guid::text(u128::from_be_bytes(*uuid.as_inner()))
}

/// A moment, in whole milliseconds.
pub(super) fn time_of(timestamp: &Timestamp) -> std::time::SystemTime {
    let since = std::time::Duration::from_millis(u64::try_from(timestamp.milliseconds()).unwrap_or(0));
    std::time::SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(std::time::SystemTime::UNIX_EPOCH)
}

/// A moment as AMQP writes it.
pub(super) fn timestamp(time: std::time::SystemTime) -> Value {
    Value::Timestamp(timestamp_of(time))
}

pub(super) fn timestamp_of(time: std::time::SystemTime) -> Timestamp {
    let since = time.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A message to be sent, in the specified order of sections. A section without content is left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Outgoing {
    pub(super) annotations: Vec<(&'static str, Value)>,
    pub(super) properties: Properties,
    pub(super) application: Vec<(String, SimpleValue)>,
    pub(super) body: Body,
}

#[derive(Clone, Debug, Default)]
pub(super) enum Body {
    /// No section at all.
    #[default]
    None,
    Data(Bytes),
    Value(Value),
}

impl Outgoing {
    pub(super) fn encode(self) -> Bytes {
        let mut bytes = Vec::new();
        if !self.annotations.is_empty() {
            let annotations = self.annotations.into_iter().map(|(name, value)| (OwnedKey::from(name), value));
            bytes.extend(frame::encode(&MessageAnnotations(annotations.collect())));
        }
        if self.properties != Properties::default() {
            bytes.extend(frame::encode(&self.properties));
        }
        if !self.application.is_empty() {
            bytes.extend(frame::encode(&ApplicationProperties(self.application.into_iter().collect())));
        }
        match self.body {
            Body::None => {}
            Body::Data(body) => bytes.extend(frame::encode(&Data(body.to_vec().into()))),
            Body::Value(value) => bytes.extend(frame::encode(&AmqpValue(value))),
        }
        bytes.into()
    }
}

/// Text as a symbol.
pub(super) fn symbol(text: &str) -> Symbol {
    Symbol::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the C SDK puts into a batch: properties and application properties before annotations.
    const OF_THE_C_SDK: &[u8] = b"\x00\x53\x73\xc0\x07\x01\xa1\x04mid1\x00\x53\x74\xc1\x07\x02\xa1\x01k\xa1\x01v\
        \x00\x53\x72\xc1\x0f\x02\xa3\x0aiothub-xyz\x50\x01\x00\x53\x75\xa0\x05hello";

    #[test]
    fn sections_are_read_in_any_order() {
        let message = Incoming::read(&Bytes::from_static(OF_THE_C_SDK)).unwrap();
        assert_eq!(message.properties.message_id, Some(MessageId::String("mid1".into())));
        assert_eq!(message.application("k"), Some(&Value::String("v".into())));
        assert_eq!(message.annotation("iothub-xyz"), Some(&Value::Ubyte(1)));
        assert_eq!(message.body().unwrap(), "hello");
    }

    #[test]
    fn a_message_may_have_no_body_several_or_a_value() {
        assert_eq!(Incoming::read(&Bytes::new()).unwrap().body().unwrap(), "");
        let several = Incoming::read(&Bytes::from_static(b"\x00\x53\x75\xa0\x01a\x00\x53\x75\xa0\x01b")).unwrap();
        assert_eq!(several.body().unwrap(), "ab");
        let value = Incoming::read(&Bytes::from_static(b"\x00\x53\x77\xa1\x03abc")).unwrap();
        assert_eq!(value.body().unwrap(), "abc");
        let sequence = Incoming::read(&Bytes::from_static(b"\x00\x53\x76\x45")).unwrap();
        assert!(sequence.body().is_err());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [&b"\x00\x53\x99\x45"[..], b"\x00\x53\x75\xa1\x01a", b"hello", b"\x00\x53\x75\xa0\x05he"] {
            assert!(Incoming::read(&Bytes::copy_from_slice(bytes)).is_err(), "{bytes:02x?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let written = Outgoing {
            annotations: vec![("status", Value::Int(200))],
            properties: Properties { correlation_id: Some(MessageId::Ulong(0)), ..Properties::default() },
            application: vec![("k".to_owned(), SimpleValue::String("v".into()))],
            body: Body::Data(Bytes::from_static(b"{}")),
        };
        let read = Incoming::read(&written.encode()).unwrap();
        assert_eq!(read.annotation("status"), Some(&Value::Int(200)));
        assert_eq!(read.properties.correlation_id, Some(MessageId::Ulong(0)));
        assert_eq!(read.application("k"), Some(&Value::String("v".into())));
        assert_eq!(read.body().unwrap(), "{}");
        assert!(Outgoing::default().encode().is_empty());
    }
}
