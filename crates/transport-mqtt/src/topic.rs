//! The topics of one device or module, and the property bag that ends them.
//!
//! A bag is `key=value` pairs joined by `&`, keys and values percent-encoded. System properties have keys that begin
//! with `$.`, on the wire `%24.`. This module knows nothing of packets.

use bytes::{Bytes, BytesMut};
use iothub_core::{Feature, Message, SystemProperty};

use crate::encoding::{decoded, encoded_len, put_encoded};

/// The longest topic: MQTT counts its bytes in 16 bits.
pub(crate) const MAX_TOPIC: usize = 65_535;

/// Meaning and form on the wire. Sent are those that a message has, in the message's order.
const SYSTEM: [(SystemProperty, Form); 16] = [
    (SystemProperty::MessageId, Form::plain("$.mid")),
    (SystemProperty::CorrelationId, Form::plain("$.cid")),
    (SystemProperty::ContentType, Form::plain("$.ct")),
    (SystemProperty::ContentEncoding, Form::plain("$.ce")),
    (SystemProperty::CreationTime, Form::plain("$.ctime")),
    (SystemProperty::InterfaceId, Form::plain("$.ifid")),
    (SystemProperty::OutputName, Form::plain("$.on")),
    (SystemProperty::ComponentName, Form::plain("$.sub")),
    (SystemProperty::DiagnosticId, Form::plain("$.diagid")),
    // A list of its own inside the value, of which the C SDK sends this one entry.
    (SystemProperty::DiagnosticTime, Form { key: "$.diagctx", lead: "creationtimeutc=" }),
    (SystemProperty::UserId, Form::plain("$.uid")),
    (SystemProperty::To, Form::plain("$.to")),
    (SystemProperty::ExpiryTime, Form::plain("$.exp")),
    (SystemProperty::Ack, Form::plain("iothub-ack")),
    (SystemProperty::ConnectionDeviceId, Form::plain("$.cdid")),
    (SystemProperty::ConnectionModuleId, Form::plain("$.cmid")),
];

/// What a property looks like in a bag.
#[derive(Clone, Copy)]
struct Form {
    key: &'static str,
    /// What stands before the value.
    lead: &'static str,
}

impl Form {
    const fn plain(key: &'static str) -> Self {
        Self { key, lead: "" }
    }
}

/// The topics of one device or module.
pub(crate) struct Topics {
    telemetry: String,
    /// What messages to it come under: from the cloud to a device, from other modules to a module's inputs.
    inbox: String,
    inbox_feature: Feature,
}

/// What the topic of a message to the device or module says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MessageTopic<'t> {
    /// The module's input, as it stands in the topic; `None` for a cloud-to-device message.
    pub(crate) input: Option<&'t str>,
    pub(crate) bag: &'t str,
}

impl Topics {
    /// The ids stand in topics as they are.
    pub(crate) fn new(device_id: &str, module_id: Option<&str>) -> Self {
        let (own, inbox, inbox_feature) = match module_id {
            None => (format!("devices/{device_id}"), "messages/devicebound", Feature::CloudToDevice),
            Some(module_id) => (format!("devices/{device_id}/modules/{module_id}"), "inputs", Feature::Inputs),
        };
        Self { telemetry: format!("{own}/messages/events/"), inbox: format!("{own}/{inbox}/"), inbox_feature }
    }

    /// The filter to which the feature's messages come; `None` if no messages come by it, or not to such a client.
    ///
    /// Modules ask for `.../inputs/#`, as the SDKs for Node and Python do, and not for the wider `.../#` of the others:
    /// cloud and Edge take both, and nothing but inputs has a meaning below it.
    pub(crate) fn filter(&self, feature: Feature) -> Option<String> {
        (feature == self.inbox_feature).then(|| format!("{}#", self.inbox))
    }

    /// Reads the topic of a message to the device or module; `None` for every other topic.
    ///
    /// Letters of either case match in what is not the input's name, as in the C SDK: the hub's own spelling of
    /// `devicebound` is not uniform. A slash at the end belongs to no value, where it would be encoded. Edge ends an
    /// input's topic without one, if there are no properties.
    pub(crate) fn parse<'t>(&self, topic: &'t str) -> Option<MessageTopic<'t>> {
        let prefix = self.inbox.as_str();
        let at = prefix.len();
        let rest = match topic.get(..at) {
            Some(head) if head.eq_ignore_ascii_case(prefix) => topic.get(at..)?,
            _ => prefix.strip_suffix('/').filter(|bare| topic.eq_ignore_ascii_case(bare)).map(|_| "")?,
        };
        let (input, bag) = match self.inbox_feature {
            Feature::Inputs => {
                let (input, bag) = rest.split_once('/').unwrap_or((rest, ""));
                (Some(input), bag)
            }
            _ => (None, rest),
        };
        Some(MessageTopic { input, bag: bag.strip_suffix('/').unwrap_or(bag) })
    }

    /// The exact length of the topic that the message goes to.
    pub(crate) fn telemetry_len(&self, message: &Message) -> usize {
        let pairs =
            pairs(message).map(|(key, lead, value)| encoded_len(key) + 1 + encoded_len(lead) + encoded_len(value));
        self.telemetry.len() + pairs.map(|length| length + 1).sum::<usize>().saturating_sub(1)
    }

    /// Appends the topic that the message goes to: system properties in the order of [`SystemProperty`], then the
    /// application's in the order in which they were set. (The hub takes any order; Node and Python send this one.)
    pub(crate) fn put_telemetry(&self, message: &Message, out: &mut BytesMut) {
        out.extend_from_slice(self.telemetry.as_bytes());
        for (index, (key, lead, value)) in pairs(message).enumerate() {
            if index > 0 {
                out.extend_from_slice(b"&");
            }
            put_encoded(key, out);
            out.extend_from_slice(b"=");
            put_encoded(lead, out);
            put_encoded(value, out);
        }
    }
}

/// The pairs of a bag, not yet encoded: key, what stands before the value, value.
fn pairs(message: &Message) -> impl Iterator<Item = (&str, &str, &str)> {
    let system = message.system_properties().filter_map(|(property, value)| {
        let Form { key, lead } = form(property)?;
        Some((key, lead, value))
    });
    system.chain(message.properties().map(|(name, value)| (name, "", value)))
}

fn form(property: SystemProperty) -> Option<Form> {
    SYSTEM.iter().find(|(known, _)| *known == property).map(|(_, form)| *form)
}

/// The first system property that has no form here. (The set of properties may grow before this transport does.)
pub(crate) fn without_form(message: &Message) -> Option<SystemProperty> {
    message.system_properties().map(|(property, _)| property).find(|&property| form(property).is_none())
}

/// Makes a message of a bag and a payload.
///
/// A pair without `=` and one without a value both have the empty value. A system key that is not known stays, as an
/// application property with its decoded name, and so does one whose value lacks its lead; of a repeated key the last
/// value stays.
pub(crate) fn message_from_bag(bag: &str, payload: Bytes) -> Message {
    let mut message = Message::new(payload);
    for pair in bag.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decoded(key), decoded(value));
        let known = SYSTEM.iter().find(|(_, form)| form.key == key && value.starts_with(form.lead));
        match known {
            Some((property, form)) => message.put_system(*property, value[form.lead.len()..].to_owned()),
            None => message.put_property(key, value),
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn telemetry_topic(message: &Message) -> String {
        let topics = Topics::new("dev-1", None);
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
        let bag = "%24.mid=m&%24.on=o&%24.diagctx=creationtimeutc%3D1%2Ck%3Dv&%24.uid=u&%24.to=%2Fd&%24.exp=t\
                   &iothub-ack=full&%24.cdid=d&%24.cmid=m&%24.new=1&p=";
        assert_eq!(telemetry_topic(&received(bag)), format!("devices/dev-1/messages/events/{bag}"));
    }

    fn from_cloud(bag: &str) -> Option<MessageTopic<'_>> {
        Some(MessageTopic { input: None, bag })
    }

    fn to_input<'t>(input: &'t str, bag: &'t str) -> Option<MessageTopic<'t>> {
        Some(MessageTopic { input: Some(input), bag })
    }

    #[test]
    fn only_the_devices_own_messages_match() {
        let topics = Topics::new("dev-1", None);
        assert_eq!(topics.parse("devices/dev-1/messages/devicebound/a=b"), from_cloud("a=b"));
        assert_eq!(topics.parse("devices/dev-1/messages/deviceBound/"), from_cloud(""));
        assert_eq!(topics.parse("devices/dev-1/messages/devicebound"), from_cloud(""));
        assert_eq!(topics.parse("devices/dev-1/messages/devicebound/a=b/"), from_cloud("a=b"));
        for other in [
            "devices/dev-2/messages/devicebound/a=b",
            "devices/dev-1/modules/mod-1/inputs/in/a=b",
            "$iothub/twin/res/200/?$rid=1",
            "devices/dev-1/messages/deviceboun\u{e9}x",
        ] {
            assert_eq!(topics.parse(other), None, "{other}");
        }
        let filter = "devices/dev-1/messages/devicebound/#".to_owned();
        assert_eq!(topics.filter(Feature::CloudToDevice), Some(filter));
        assert_eq!(topics.filter(Feature::Inputs), None);
        assert_eq!(topics.filter(Feature::Methods), None);
    }

    #[test]
    fn the_topic_of_a_modules_message_names_the_input_with_and_without_a_bag_and_a_slash() {
        let topics = Topics::new("dev-1", Some("mod-1"));
        let received = |tail: &'static str| {
            let topic = format!("devices/dev-1/modules/mod-1/inputs{tail}").leak();
            topics.parse(topic)
        };
        assert_eq!(received("/In 1%20/a=b&c=%2F"), to_input("In 1%20", "a=b&c=%2F"));
        assert_eq!(received("/in/a=b/"), to_input("in", "a=b"));
        assert_eq!(received("/in/"), to_input("in", ""));
        assert_eq!(received("/in"), to_input("in", ""));
        assert_eq!(received("/"), to_input("", ""));
        assert_eq!(received(""), to_input("", ""));
        assert_eq!(topics.parse("Devices/dev-1/Modules/mod-1/Inputs/in/"), to_input("in", ""));
        for other in [
            "devices/dev-1/modules/mod-2/inputs/in/",
            "devices/dev-2/modules/mod-1/inputs/in/",
            "devices/dev-1/modules/mod-1/outputs/out/",
            "devices/dev-1/messages/devicebound/",
            "devices/dev-1/modules/mod-1/messages/devicebound/",
        ] {
            assert_eq!(topics.parse(other), None, "{other}");
        }
        assert_eq!(topics.filter(Feature::Inputs), Some("devices/dev-1/modules/mod-1/inputs/#".to_owned()));
        assert_eq!(topics.filter(Feature::CloudToDevice), None);
    }

    #[test]
    fn a_modules_telemetry_goes_to_its_own_topic() {
        let mut out = BytesMut::new();
        let message = Message::new("x").with_output_name("out/1").unwrap();
        let topics = Topics::new("dev-1", Some("mod-1"));
        topics.put_telemetry(&message, &mut out);
        assert_eq!(out, "devices/dev-1/modules/mod-1/messages/events/%24.on=out%2F1");
        assert_eq!(topics.telemetry_len(&message), out.len());
    }

    #[test]
    fn tracing_components_and_security_messages_have_the_forms_of_the_c_sdk() {
        let time = UNIX_EPOCH + Duration::from_secs(1_506_054_516);
        let message = Message::new("{}")
            .as_security_message()
            .with_component_name("thermostat 1")
            .and_then(|message| message.with_diagnostics("a1b2/c3", time))
            .unwrap();
        assert_eq!(
            telemetry_topic(&message),
            "devices/dev-1/messages/events/%24.ct=application%2Fjson\
             &%24.ifid=urn%3Aazureiot%3ASecurity%3ASecurityAgent%3A1&%24.sub=thermostat%201&%24.diagid=a1b2%2Fc3\
             &%24.diagctx=creationtimeutc%3D1506054516"
        );
    }

    #[test]
    fn every_system_key_is_recognised() {
        let message = received(
            "%24.mid=1&%24.cid=2&%24.uid=3&%24.to=%2Fdevices%2Fd&%24.exp=5&%24.ctime=6&%24.ct=7&%24.ce=8&iothub-ack=full\
             &%24.on=10&%24.sub=11&%24.ifid=12&%24.diagid=13&%24.diagctx=creationtimeutc%3D14&%24.cdid=15&%24.cmid=16",
        );
        let expected = [
            (SystemProperty::MessageId, "1"),
            (SystemProperty::CorrelationId, "2"),
            (SystemProperty::ContentType, "7"),
            (SystemProperty::ContentEncoding, "8"),
            (SystemProperty::CreationTime, "6"),
            (SystemProperty::InterfaceId, "12"),
            (SystemProperty::OutputName, "10"),
            (SystemProperty::ComponentName, "11"),
            (SystemProperty::DiagnosticId, "13"),
            (SystemProperty::DiagnosticTime, "14"),
            (SystemProperty::UserId, "3"),
            (SystemProperty::To, "/devices/d"),
            (SystemProperty::ExpiryTime, "5"),
            (SystemProperty::Ack, "full"),
            (SystemProperty::ConnectionDeviceId, "15"),
            (SystemProperty::ConnectionModuleId, "16"),
        ];
        assert_eq!(message.system_properties().collect::<Vec<_>>(), expected);
        assert_eq!(message.properties().len(), 0);
        assert_eq!(without_form(&message), None);
    }

    #[test]
    fn properties_without_a_value_arrive_with_the_empty_one() {
        let message = received("none&empty=&full=a%3Db=c&&+=%20");
        let properties: Vec<_> = message.properties().collect();
        assert_eq!(properties, [("none", ""), ("empty", ""), ("full", "a=b=c"), ("+", " ")]);
    }

    #[test]
    fn an_unknown_system_key_and_malformed_escapes_are_kept() {
        let message = received("%24.new=1&p%=%zz&q=%FF&%24.diagctx=k%3Dv");
        let properties: Vec<_> = message.properties().collect();
        assert_eq!(properties, [("$.new", "1"), ("p%", "%zz"), ("q", "\u{FFFD}"), ("$.diagctx", "k=v")]);
    }
}
