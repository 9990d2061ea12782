//! The property bag at the end of a topic (docs/hub-over-mqtt.md 2.2, 2.3): decoding what devices send, encoding what the hub sends.

use std::collections::BTreeMap;
use std::time::SystemTime;

use percent_encoding::percent_decode_str;

use crate::clock::iso8601;
use crate::config::DuplicateSystemProperty;
use crate::escape::escape;
use crate::hub::c2d::StoredMessage;
use crate::hub::registry::Identity;
use crate::hub::telemetry::is_stamp;
use crate::message::{C2dMessage, FeedbackMode};

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
const SENDER: [&str; 2] = ["$.cdid", "$.cmid"];

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
            if let Some((_, record_name)) = SYSTEM.iter().find(|(wire, _)| *wire == name) {
                let earlier = bag.system.insert((*record_name).to_owned(), value.unwrap_or_default());
                if earlier.is_some() && duplicates == DuplicateSystemProperty::Close {
                    return Err(record_name);
                }
            } else if !SENDER.contains(&name.as_str()) && !is_stamp(&name) {
                bag.properties.push((name, value));
            }
        }
        Ok(bag)
    }
}

/// Percent-decoded; `+` is no space, an escape that is none stays, and what would not be UTF-8 stays as it was sent (the C SDK sends raw text by default).
fn unescape(text: &str) -> String {
    percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

/// The topic under which a message is delivered: cloud-to-device (docs/hub-over-mqtt.md 3), in the order seen on the real hub, or to an input (6).
pub(crate) fn delivery_topic(identity: &Identity, stored: &StoredMessage) -> String {
    let message = &stored.message;
    let mut bag = Vec::new();
    let mut add = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            bag.push(format!("{}={}", escape(name), escape(value)));
        }
    };
    let address = match &message.input {
        None => {
            add("$.mid", Some(&stored.message_id));
            add("$.exp", stored.stated_expiry.map(iso8601).as_deref());
            let address = format!("/devices/{}/messages/devicebound", identity.device);
            add("$.to", Some(&address));
            format!("{}/", &address[1..])
        }
        Some(input) => {
            let sender = message.sender.as_ref();
            add("$.cdid", sender.map(|sender| sender.device.as_str()));
            add("$.cmid", sender.and_then(|sender| sender.module.as_deref()));
            add("$.mid", message.message_id.as_deref());
            add("$.exp", stored.stated_expiry.map(iso8601).as_deref());
            for (name, value) in &message.passed_on {
                add(SYSTEM.iter().find(|(_, record)| record == name).map_or(name, |(wire, _)| wire), Some(value));
            }
            // The slash behind the input is there even before an empty bag.
            format!(
                "devices/{}/modules/{}/inputs/{input}/",
                identity.device,
                identity.module.as_deref().unwrap_or_default()
            )
        }
    };
    add("$.cid", message.correlation_id.as_deref());
    add("$.uid", message.user_id.as_deref());
    add("$.ct", message.content_type.as_deref());
    add("$.ce", message.content_encoding.as_deref());
    add("iothub-ack", message.ack.map(FeedbackMode::wire));
    for (name, value) in &message.properties {
        bag.push(match value {
            Some(value) => format!("{}={}", escape(name), escape(value)),
            None => escape(name),
        });
    }
    address + &bag.join("&")
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
