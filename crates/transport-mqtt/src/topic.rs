//! The topics of one device, and the property bag that ends them.
//!
//! A bag is `key=value` pairs joined by `&`, keys and values percent-encoded. System properties have keys that begin
//! with `$.`, on the wire `%24.`. This module knows nothing of packets.

use bytes::{Bytes, BytesMut};
use iothub_core::{Message, SystemProperty};

use crate::encoding::{decoded, encoded_len, put_encoded};

/// The longest topic: MQTT counts its bytes in 16 bits.
pub(crate) const MAX_TOPIC: usize = 65_535;

/// Wire key and meaning. Sent are those that a message has, in the message's order.
const SYSTEM_KEYS: [(&str, SystemProperty); 9] = [
    ("$.mid", SystemProperty::MessageId),
    ("$.cid", SystemProperty::CorrelationId),
    ("$.ct", SystemProperty::ContentType),
    ("$.ce", SystemProperty::ContentEncoding),
    ("$.ctime", SystemProperty::CreationTime),
    ("$.uid", SystemProperty::UserId),
    ("$.to", SystemProperty::To),
    ("$.exp", SystemProperty::ExpiryTime),
    ("iothub-ack", SystemProperty::Ack),
];

/// The topics of one device.
pub(crate) struct Topics {
    telemetry: String,
    cloud_to_device: String,
}

impl Topics {
    /// The device id stands in topics as it is.
    pub(crate) fn new(device_id: &str) -> Self {
        Self {
            telemetry: format!("devices/{device_id}/messages/events/"),
            cloud_to_device: format!("devices/{device_id}/messages/devicebound/"),
        }
    }

    /// The filter to which cloud-to-device messages come.
    pub(crate) fn cloud_to_device_filter(&self) -> String {
        format!("{}#", self.cloud_to_device)
    }

    /// The bag of a cloud-to-device message; `None` for every other topic.
    ///
    /// Letters of either case match, as in the C SDK: the hub's own spelling of `devicebound` is not uniform.
    pub(crate) fn cloud_to_device_bag<'t>(&self, topic: &'t str) -> Option<&'t str> {
        let prefix = self.cloud_to_device.as_str();
        let at = prefix.len();
        match topic.get(..at) {
            Some(head) if head.eq_ignore_ascii_case(prefix) => topic.get(at..),
            _ => prefix.strip_suffix('/').filter(|bare| topic.eq_ignore_ascii_case(bare)).map(|_| ""),
        }
    }

    /// The exact length of the topic that the message goes to.
    pub(crate) fn telemetry_len(&self, message: &Message) -> usize {
        let pairs = pairs(message).map(|(key, value)| encoded_len(key) + 1 + encoded_len(value));
        self.telemetry.len() + pairs.map(|length| length + 1).sum::<usize>().saturating_sub(1)
    }

    /// Appends the topic that the message goes to: system properties in the order of [`SystemProperty`], then the
    /// application's in the order in which they were set. (The hub takes any order; Node and Python send this one.)
    pub(crate) fn put_telemetry(&self, message: &Message, out: &mut BytesMut) {
        out.extend_from_slice(self.telemetry.as_bytes());
        for (index, (key, value)) in pairs(message).enumerate() {
            if index > 0 {
                out.extend_from_slice(b"&");
            }
            put_encoded(key, out);
            out.extend_from_slice(b"=");
            put_encoded(value, out);
        }
    }
}

/// The pairs of a bag, not yet encoded.
fn pairs(message: &Message) -> impl Iterator<Item = (&str, &str)> {
    let system = message.system_properties().filter_map(|(property, value)| Some((wire_key(property)?, value)));
    system.chain(message.properties())
}

fn wire_key(property: SystemProperty) -> Option<&'static str> {
    SYSTEM_KEYS.iter().find(|(_, known)| *known == property).map(|(key, _)| *key)
}

/// The first system property that has no key here. (The set of properties may grow before this transport does.)
pub(crate) fn without_key(message: &Message) -> Option<SystemProperty> {
    message.system_properties().map(|(property, _)| property).find(|&property| wire_key(property).is_none())
}

/// Makes a message of a bag and a payload.
///
/// A pair without `=` and one without a value both have the empty value. A system key that is not known stays, as
/// an application property with its decoded name; of a repeated key the last value stays.
pub(crate) fn message_from_bag(bag: &str, payload: Bytes) -> Message {
    let mut message = Message::new(payload);
    for pair in bag.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decoded(key), decoded(value));
        match SYSTEM_KEYS.iter().find(|(known, _)| *known == key) {
            Some(&(_, property)) => message.put_system(property, value),
            None => message.put_property(key, value),
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telemetry_topic(message: &Message) -> String {
        let topics = Topics::new("dev-1");
        let mut out = BytesMut::new();
        topics.put_telemetry(message, &mut out);
        assert_eq!(topics.telemetry_len(message), out.len());
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn received(bag: &str) -> Message {
        message_from_bag(bag, Bytes::from_static(b"x"))
    }

    #[test]
    fn a_message_without_properties_goes_to_the_bare_topic() {
        assert_eq!(telemetry_topic(&Message::new("x")), "devices/dev-1/messages/events/");
    }

    #[test]
    fn system_properties_come_first_and_the_applications_keep_their_order() {
        let message = Message::new("x")
            .with_property("z b", "1/2")
            .and_then(|m| m.with_property("a&=", ""))
            .and_then(|m| m.with_content_encoding("utf-8"))
            .and_then(|m| m.with_content_type("application/json"))
            .and_then(|m| m.with_message_id("m+1"))
            .and_then(|m| m.with_correlation_id("c"))
            .and_then(|m| m.with_system(SystemProperty::CreationTime, "2026-01-02T03:04:05Z"))
            .unwrap();
        assert_eq!(
            telemetry_topic(&message),
            "devices/dev-1/messages/events/%24.mid=m%2B1&%24.cid=c&%24.ct=application%2Fjson&%24.ce=utf-8\
             &%24.ctime=2026-01-02T03%3A04%3A05Z&z%20b=1%2F2&a%26%3D="
        );
    }

    #[test]
    fn a_received_message_can_be_sent_on_with_all_it_has() {
        let bag = "%24.mid=m&%24.uid=u&%24.to=%2Fd&%24.exp=t&iothub-ack=full&%24.new=1&p=";
        assert_eq!(telemetry_topic(&received(bag)), format!("devices/dev-1/messages/events/{bag}"));
    }

    #[test]
    fn only_the_devices_own_messages_match() {
        let topics = Topics::new("dev-1");
        assert_eq!(topics.cloud_to_device_bag("devices/dev-1/messages/devicebound/a=b"), Some("a=b"));
        assert_eq!(topics.cloud_to_device_bag("devices/dev-1/messages/deviceBound/"), Some(""));
        assert_eq!(topics.cloud_to_device_bag("devices/dev-1/messages/devicebound"), Some(""));
        assert_eq!(topics.cloud_to_device_bag("devices/dev-2/messages/devicebound/a=b"), None);
        assert_eq!(topics.cloud_to_device_bag("$iothub/twin/res/200/?$rid=1"), None);
        assert_eq!(topics.cloud_to_device_bag("devices/dev-1/messages/deviceboun\u{e9}x"), None);
        assert_eq!(topics.cloud_to_device_filter(), "devices/dev-1/messages/devicebound/#");
    }

    #[test]
    fn every_system_key_is_recognised() {
        let message = received(
            "%24.mid=1&%24.cid=2&%24.uid=3&%24.to=%2Fdevices%2Fd&%24.exp=5&%24.ctime=6&%24.ct=7&%24.ce=8&iothub-ack=full",
        );
        let expected = [
            (SystemProperty::MessageId, "1"),
            (SystemProperty::CorrelationId, "2"),
            (SystemProperty::ContentType, "7"),
            (SystemProperty::ContentEncoding, "8"),
            (SystemProperty::CreationTime, "6"),
            (SystemProperty::UserId, "3"),
            (SystemProperty::To, "/devices/d"),
            (SystemProperty::ExpiryTime, "5"),
            (SystemProperty::Ack, "full"),
        ];
        assert_eq!(message.system_properties().collect::<Vec<_>>(), expected);
        assert_eq!(message.properties().len(), 0);
        assert_eq!(without_key(&message), None);
    }

    #[test]
    fn properties_without_a_value_arrive_with_the_empty_one() {
        let message = received("none&empty=&full=a%3Db=c&&+=%20");
        let properties: Vec<_> = message.properties().collect();
        assert_eq!(properties, [("none", ""), ("empty", ""), ("full", "a=b=c"), ("+", " ")]);
    }

    #[test]
    fn an_unknown_system_key_and_malformed_escapes_are_kept() {
        let message = received("%24.new=1&p%=%zz&q=%FF");
        let properties: Vec<_> = message.properties().collect();
        assert_eq!(properties, [("$.new", "1"), ("p%", "%zz"), ("q", "\u{FFFD}")]);
    }
}
