//! Messages on the wire: which property stands where.

use bytes::Bytes;
use fe2o3_amqp_types::messaging::annotations::OwnedKey;
use fe2o3_amqp_types::messaging::message::DecodeIntoMessage;
use fe2o3_amqp_types::messaging::{Body, Data, Message as Wire, MessageId};
use fe2o3_amqp_types::primitives::SimpleValue;
use iothub_core::{Message, SystemProperty};
use serde_amqp::Value;
use serde_amqp::primitives::{Binary, Symbol, Uuid};
use serde_amqp::read::SliceReader;

use crate::encode::{Encoder, Properties};
use crate::time;

/// What a message has beside its own text, mostly.
const ROOM_FOR_NAMES: usize = 100;

/// A message as it comes from the hub.
pub(crate) type Received = Wire<Body<Value>>;

/// Where a system property is kept.
#[derive(Clone, Copy)]
enum Place {
    Properties,
    Application(&'static str),
    Annotation(&'static str),
}

const INPUT_NAME: &str = "x-opt-input-name";
/// What the diagnostic time is called within the trace's context.
const TRACE_BEGAN: &str = "creationtimeutc=";

fn place(property: SystemProperty) -> Option<Place> {
    use SystemProperty as P;
    Some(match property {
        P::MessageId | P::CorrelationId | P::ContentType | P::ContentEncoding | P::UserId | P::To | P::ExpiryTime => {
            Place::Properties
        }
        P::CreationTime => Place::Application("iothub-creation-time-utc"),
        P::OutputName => Place::Application("iothub-outputname"),
        P::Ack => Place::Application("iothub-ack"),
        P::InterfaceId => Place::Annotation("iothub-interface-id"),
        P::ComponentName => Place::Annotation("dt-subject"),
        P::DiagnosticId => Place::Annotation("Diagnostic-Id"),
        P::DiagnosticTime => Place::Annotation("Correlation-Context"),
        P::ConnectionDeviceId => Place::Annotation("iothub-connection-device-id"),
        P::ConnectionModuleId => Place::Annotation("iothub-connection-module-id"),
        _ => return None,
    })
}

/// A system property of the message that has no place on the wire.
pub(crate) fn without_place(message: &Message) -> Option<SystemProperty> {
    message.system_properties().map(|(property, _)| property).find(|property| place(*property).is_none())
}

/// A message from device to cloud, encoded, with each property in its place.
pub(crate) fn telemetry(message: &Message) -> Vec<u8> {
    let mut encoder = Encoder::new(message.size() + ROOM_FOR_NAMES);
    encoder.annotations(message.system_properties().filter_map(|(property, value)| match place(property)? {
        Place::Annotation(name) if property == SystemProperty::DiagnosticTime => {
            Some((name, format!("{TRACE_BEGAN}{value}").into()))
        }
        Place::Annotation(name) => Some((name, value.into())),
        _ => None,
    }));
    let of = |property| message.system(property);
    encoder.properties(&Properties {
        message_id: of(SystemProperty::MessageId),
        user_id: of(SystemProperty::UserId).map(str::as_bytes),
        to: of(SystemProperty::To),
        correlation_id: of(SystemProperty::CorrelationId),
        content_type: of(SystemProperty::ContentType),
        content_encoding: of(SystemProperty::ContentEncoding),
        expiry: of(SystemProperty::ExpiryTime).and_then(time::read).map(|time| time.milliseconds()),
    });
    let system = || {
        message.system_properties().filter_map(|(property, value)| match place(property)? {
            Place::Application(name) => Some((name, value)),
            _ => None,
        })
    };
    // A name stands once in a map; the hub's own meaning of it goes before the application's.
    let own = message.properties().filter(|(name, _)| system().all(|(taken, _)| taken != *name));
    encoder.application(own.chain(system()).map(|(name, value)| (name, value.into())));
    encoder.data(message.payload())
}

/// Reads what [`telemetry`] has written.
pub(crate) fn decoded(bytes: &[u8]) -> Result<Received, serde_amqp::Error> {
    Body::decode_message_from_reader(SliceReader::new(bytes))
}

/// Bytes as the body of a message.
pub(crate) fn data(bytes: &[u8]) -> Data {
    Data(Binary::from(bytes))
}

/// A cloud-to-device message, or one for an input, whose name is the second.
pub(crate) fn received(wire: Received) -> Result<(Message, Option<String>), &'static str> {
    let mut message = Message::new(body(wire.body)?);
    let mut input = None;
    if let Some(properties) = wire.properties {
        let ids = [
            (SystemProperty::MessageId, properties.message_id.as_ref().map(id_text)),
            (SystemProperty::CorrelationId, properties.correlation_id.as_ref().map(id_text)),
            (SystemProperty::UserId, properties.user_id.map(|id| String::from_utf8_lossy(&id).into_owned())),
            (SystemProperty::To, properties.to),
            (SystemProperty::ContentType, properties.content_type.map(|symbol| symbol.as_str().to_owned())),
            (SystemProperty::ContentEncoding, properties.content_encoding.map(|symbol| symbol.as_str().to_owned())),
            (SystemProperty::ExpiryTime, properties.absolute_expiry_time.as_ref().map(time::text)),
        ];
        for (property, value) in ids {
            if let Some(value) = value {
                message.put_system(property, value);
            }
        }
    }
    for (name, value) in wire.application_properties.into_iter().flat_map(|properties| properties.0) {
        let value = text(&Value::from(value)).unwrap_or_default();
        match name.as_str() {
            "iothub-creation-time-utc" => message.put_system(SystemProperty::CreationTime, value),
            "iothub-ack" => message.put_system(SystemProperty::Ack, value),
            "iothub-outputname" => message.put_system(SystemProperty::OutputName, value),
            _ => message.put_property(name, value),
        }
    }
    for (name, value) in wire.message_annotations.into_iter().flat_map(|annotations| annotations.0) {
        let (OwnedKey::Symbol(name), Some(value)) = (name, text(&value)) else { continue };
        match name.as_str() {
            INPUT_NAME => input = Some(value),
            "iothub-interface-id" => message.put_system(SystemProperty::InterfaceId, value),
            "dt-subject" => message.put_system(SystemProperty::ComponentName, value),
            "Diagnostic-Id" => message.put_system(SystemProperty::DiagnosticId, value),
            "Correlation-Context" => {
                let began = value.strip_prefix(TRACE_BEGAN).unwrap_or(&value).to_owned();
                message.put_system(SystemProperty::DiagnosticTime, began);
            }
            "iothub-connection-device-id" => message.put_system(SystemProperty::ConnectionDeviceId, value),
            "iothub-connection-module-id" => message.put_system(SystemProperty::ConnectionModuleId, value),
            // Sequence numbers, counts and locks are between hub and transport.
            _ => {}
        }
    }
    Ok((message, input))
}

/// The body as bytes: data sections one behind the other, or the text or bytes of a value.
pub(crate) fn body(body: Body<Value>) -> Result<Bytes, &'static str> {
    match body {
        Body::Data(sections) => {
            let mut sections = sections.into_iter().map(|Data(bytes)| bytes.into_vec());
            let mut bytes = sections.next().unwrap_or_default();
            sections.for_each(|more| bytes.extend(more));
            Ok(bytes.into())
        }
        Body::Value(value) => match value.0 {
            Value::String(text) => Ok(text.into()),
            Value::Binary(bytes) => Ok(bytes.into_vec().into()),
            Value::Null => Ok(Bytes::new()),
            _ => Err("its body is neither bytes nor text"),
        },
        Body::Empty => Ok(Bytes::new()),
        Body::Sequence(_) => Err("its body is a sequence"),
    }
}

/// An application property or annotation by its name.
pub(crate) fn application<'a>(wire: &'a Received, name: &str) -> Option<&'a SimpleValue> {
    wire.application_properties.as_ref()?.0.get(name)
}

/// An annotation by its name.
pub(crate) fn annotation<'a>(wire: &'a Received, name: &str) -> Option<&'a Value> {
    wire.message_annotations.as_ref()?.0.get(&OwnedKey::Symbol(Symbol::from(name)))
}

/// A message or correlation id as text, whatever its type.
pub(crate) fn id_text(id: &MessageId) -> String {
    match id {
        MessageId::String(text) => text.clone(),
        MessageId::Ulong(number) => number.to_string(),
        MessageId::Uuid(uuid) => uuid_text(uuid),
        MessageId::Binary(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn uuid_text(uuid: &Uuid) -> String {
    let hex: String = uuid.as_inner().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A simple value as text: the hub's own clients send text, others numbers and times.
fn text(value: &Value) -> Option<String> {
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
        Value::Timestamp(value) => time::text(value),
        Value::Uuid(value) => uuid_text(value),
        Value::Binary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => return None,
    })
}

/// A whole number, whatever its width.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    text(value)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use fe2o3_amqp_types::messaging::{ApplicationProperties, MessageAnnotations, Properties};

    use super::*;

    /// Over the wire and back.
    fn carried(message: &Message) -> (Message, Option<String>) {
        received(decoded(&telemetry(message)).unwrap()).unwrap()
    }

    #[test]
    fn every_property_has_a_place_and_survives() {
        use SystemProperty as P;
        let values = [
            (P::MessageId, "m-1"),
            (P::CorrelationId, "c-1"),
            (P::ContentType, "application/json"),
            (P::ContentEncoding, "utf-8"),
            (P::CreationTime, "2026-01-02T03:04:05Z"),
            (P::InterfaceId, "urn:x"),
            (P::OutputName, "out"),
            (P::ComponentName, "thermostat"),
            (P::DiagnosticId, "a1b2c3d4"),
            (P::DiagnosticTime, "1700000000.5"),
            (P::UserId, "operator"),
            (P::To, "/devices/d/messages/deviceBound"),
            (P::ExpiryTime, "2026-01-02T03:04:05.678Z"),
            (P::Ack, "full"),
            (P::ConnectionDeviceId, "d"),
            (P::ConnectionModuleId, "m"),
        ];
        let mut message = Message::new("body").with_property("b", "2").unwrap().with_property("a", "").unwrap();
        for (property, value) in values {
            message.put_system(property, value.to_owned());
        }
        assert_eq!(without_place(&message), None);
        let (back, input) = carried(&message);
        assert_eq!((back.payload().as_ref(), input), (&b"body"[..], None));
        for (property, value) in values {
            assert_eq!(back.system(property), Some(value), "{property}");
        }
        assert_eq!(back.properties().collect::<Vec<_>>(), [("b", "2"), ("a", "")]);
    }

    #[test]
    fn a_property_of_the_application_does_not_stand_beside_the_hubs_own_of_that_name() {
        let message =
            Message::new("").with_property("iothub-outputname", "mine").unwrap().with_output_name("out").unwrap();
        let without_own = Message::new("").with_output_name("out").unwrap();
        assert_eq!(telemetry(&message), telemetry(&without_own));
    }

    #[test]
    fn what_is_not_text_becomes_text() {
        let mut application = ApplicationProperties::default();
        application.0.insert("n".to_owned(), SimpleValue::Int(-7));
        application.0.insert("b".to_owned(), SimpleValue::Bool(true));
        let mut annotations = MessageAnnotations::default();
        annotations.0.insert(OwnedKey::Symbol(Symbol::from(INPUT_NAME)), Value::String("in".to_owned()));
        annotations.0.insert(OwnedKey::Symbol(Symbol::from("x-opt-sequence-number")), Value::Ulong(5));
        let wire = Wire {
            header: None,
            delivery_annotations: None,
            message_annotations: Some(annotations),
            properties: Some(Properties { message_id: Some(MessageId::Ulong(9)), ..Properties::default() }),
            application_properties: Some(application),
            body: Body::Empty,
            footer: None,
        };
        let (message, input) = received(wire).unwrap();
        assert_eq!((message.property("n"), message.property("b")), (Some("-7"), Some("true")));
        assert_eq!((message.message_id(), input.as_deref()), (Some("9"), Some("in")));
    }
}
