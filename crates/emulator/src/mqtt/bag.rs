//! The property bag at the end of a topic (docs/hub-over-mqtt.md 2.2, 2.3): decoding what devices send, encoding what the hub sends.

use std::collections::BTreeMap;
use std::time::SystemTime;

use percent_encoding::percent_decode_str;

use crate::config::DuplicateSystemProperty;
use crate::escape::escape;
use crate::hub::c2d::StoredMessage;
use crate::hub::registry::Identity;
use crate::hub::telemetry::{SENDING_DEVICE, SENDING_MODULE, is_stamp};
use crate::message::C2dMessage;

/// System properties that a device may set: name on the wire, name in records.
const SYSTEM: [(&str, &str); 16] = [
    ("$.mid", "message-id"),
    ("$.cid", "correlation-id"),
    ("$.uid", "user-id"),
    ("$.to", "to"),
    ("$.exp", "absolute-expiry-time"),
    ("$.ctime", "iothub-creation-time-utc"),
    ("$.ct", "content-type"),
    ("$.ce", "content-encoding"),
    ("$.on", "iothub-outputname"),
    ("$.sub", "dt-subject"),
    ("$.ifid", "iothub-interface-id"),
    ("$.schema", "iothub-message-schema"),
    ("$.diagid", "Diagnostic-Id"),
    ("$.diagctx", "Correlation-Context"),
    ("iothub-ack", "iothub-ack"),
    ("iothub-operation", "iothub-operation"),
];
/// System properties that only the hub sets: a device's claim is ignored, the stamp says who it is.
const SENDER: [(&str, &str); 2] = [("$.cdid", SENDING_DEVICE), ("$.cmid", SENDING_MODULE)];

/// A decoded bag.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Bag {
    pub(crate) properties: Vec<(String, Option<String>)>,
    pub(crate) system: BTreeMap<String, String>,
}

impl Bag {
    /// Decodes the text behind `.../messages/events/`. The error is the system property that is there twice.
    pub(crate) fn decode(text: &str, duplicates: DuplicateSystemProperty) -> Result<Self, &'static str> {
        let mut bag = Self::default();
        // Some SDKs end the topic with a slash (docs/hub-over-mqtt.md 2.1).
        let text = text.strip_suffix('/').unwrap_or(text);
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = match pair.split_once('=') {
                Some((name, value)) => (unescape(name), Some(unescape(value))),
                None => (unescape(pair), None),
            };
            if let Some(record_name) = record_name(&name) {
                let earlier = bag.system.insert(record_name.to_owned(), value.unwrap_or_default());
                if earlier.is_some() && duplicates == DuplicateSystemProperty::Close {
                    return Err(record_name);
                }
            } else if !is_hubs_own(&name) {
                bag.properties.push((name, value));
            }
        }
        Ok(bag)
    }
}

/// The name in records of a system property that a device may set, by its name on the wire.
pub(crate) fn record_name(wire_name: &str) -> Option<&'static str> {
    SYSTEM.iter().find(|(wire, _)| *wire == wire_name).map(|(_, name)| *name)
}

/// Whether only the hub uses this name on the wire: what a device says under it is ignored.
pub(crate) fn is_hubs_own(wire_name: &str) -> bool {
    SENDER.iter().any(|(wire, _)| *wire == wire_name) || is_stamp(wire_name)
}

/// The name on the wire of a system property that a device may set, by its name in records.
pub(crate) fn wire_name(record_name: &str) -> Option<&'static str> {
    SYSTEM.iter().find(|(_, name)| *name == record_name).map(|(wire, _)| *wire)
}

/// Percent-decoded; `+` is no space, an escape that is none stays, and what would not be UTF-8 stays as it was sent (the C SDK sends raw text by default).
fn unescape(text: &str) -> String {
    percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

/// The topic under which a message is delivered: cloud-to-device (docs/hub-over-mqtt.md 3), in the order seen on the real hub, or to an input (6).
pub(crate) fn delivery_topic(identity: &Identity, stored: &StoredMessage) -> String {
    let address = match &stored.message.input {
        None => format!("devices/{}/messages/devicebound/", identity.device),
        Some(input) => {
            let module = identity.module.as_deref().unwrap_or_default();
            // The slash behind the input is there even before an empty bag.
            format!("devices/{}/modules/{module}/inputs/{input}/", identity.device)
        }
    };
    let sender = |name| SENDER.iter().find(|(_, record)| *record == name).map(|(wire, _)| *wire);
    let on_wire = |name: &'static str| wire_name(name).or_else(|| sender(name)).unwrap_or(name);
    let system = stored.system(identity).into_iter().map(|(name, value)| (on_wire(name), Some(value)));
    let properties = stored.message.properties.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let pairs = system.chain(properties).map(|(name, value)| match value {
        Some(value) => format!("{}={}", escape(name), escape(&value)),
        None => escape(name),
    });
    address + &pairs.collect::<Vec<_>>().join("&")
}

/// The longest topic that MQTT can carry.
pub(crate) const MAX_TOPIC: usize = 65_535;

/// How long that topic would be at most, before the message is stored.
pub(crate) fn topic_length(identity: &Identity, message_id: &str, message: &C2dMessage) -> usize {
    let stored = StoredMessage {
        message_id: message_id.to_owned(),
        message: message.clone(),
        stated_expiry: message.expiry.map(|_| SystemTime::UNIX_EPOCH),
    };
    delivery_topic(identity, &stored).len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::FeedbackMode;

    fn decode(text: &str) -> Bag {
        Bag::decode(text, DuplicateSystemProperty::Close).unwrap()
    }

    fn pair(name: &str, value: &str) -> (String, Option<String>) {
        (name.to_owned(), Some(value.to_owned()))
    }

    #[test]
    fn the_bags_of_the_official_sdks_mean_the_same() {
        let c = decode(
            "k%201=v%261&%24.cid=cid1&%24.mid=mid1&%24.ct=application%2fjson&%24.ce=utf-8&%24.ctime=2026-01-02T03%3a04%3a05Z",
        );
        assert_eq!(c.properties, [pair("k 1", "v&1")]);
        assert_eq!(c.system["content-type"], "application/json");
        assert_eq!(c.system["iothub-creation-time-utc"], "2026-01-02T03:04:05Z");
        let node = decode("%24.mid=mid1&%24.cid=cid1&%24.ct=application%2Fjson&%24.ce=utf-8&k%201=v%261/");
        assert_eq!(node.properties, c.properties);
        assert_eq!(node.system["message-id"], "mid1");
    }

    #[test]
    fn raw_text_plus_null_and_empty_are_kept_apart() {
        let bag = decode("a=1+2&b&c=&d=100%&e=%zz&f=%ff&$.mid=raw&a=3");
        let mut expected = vec![
            pair("a", "1+2"),
            ("b".to_owned(), None),
            pair("c", ""),
            pair("d", "100%"),
            pair("e", "%zz"),
            pair("f", "%ff"),
        ];
        expected.push(pair("a", "3"));
        assert_eq!(bag.properties, expected);
        assert_eq!(bag.system["message-id"], "raw");
        assert_eq!(decode(""), Bag::default());
        assert_eq!(decode("/"), Bag::default());
    }

    #[test]
    fn who_sends_cannot_be_forged() {
        let bag = decode("iothub-connection-device-id=other&%24.cdid=other&iothub-enqueuedtime=x&mine=1");
        assert_eq!(bag.properties, [pair("mine", "1")]);
        assert!(bag.system.is_empty());
    }

    #[test]
    fn a_system_property_twice_is_an_error_unless_the_last_one_wins() {
        assert_eq!(Bag::decode("%24.mid=a&%24.mid=b", DuplicateSystemProperty::Close), Err("message-id"));
        let bag = Bag::decode("%24.mid=a&%24.mid=b", DuplicateSystemProperty::LastWins).unwrap();
        assert_eq!(bag.system["message-id"], "b");
    }

    #[test]
    fn a_devicebound_topic_escapes_everything_but_unreserved_characters() {
        let message = C2dMessage::new("x")
            .property("prop 1", "v/1ä")
            .property("null", None)
            .property("empty", "")
            .ack(FeedbackMode::Full);
        let stored = StoredMessage { message_id: "m1".into(), message, stated_expiry: Some(SystemTime::UNIX_EPOCH) };
        assert_eq!(
            delivery_topic(&Identity::device("d"), &stored),
            "devices/d/messages/devicebound/%24.mid=m1&%24.exp=1970-01-01T00%3A00%3A00.000Z&%24.to=%2Fdevices%2Fd%2Fmessages%2Fdevicebound\
             &iothub-ack=full&prop%201=v%2F1%C3%A4&null&empty="
        );
    }
}
