//! Property bags, with ten thousand made-up messages and bags. Failures are kept in `proptest-regressions`.

use bytes::{Bytes, BytesMut};
use iothub_core::{Message, SystemProperty};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::string::string_regex;

use crate::topic::{Topics, message_from_bag};

/// Messages as they are received, which may have more than can be set on one that is sent.
fn messages() -> impl Strategy<Value = Message> {
    use SystemProperty::*;
    let system =
        vec![MessageId, ContentType, CreationTime, OutputName, DiagnosticTime, UserId, Ack, ConnectionModuleId];
    let text =
        || prop_oneof![string_regex("[ -~]{0,8}").unwrap(), vec(any::<char>(), 0..8).prop_map(String::from_iter)];
    let names = text().prop_filter("it is the hub's", |name| !name.starts_with("$."));
    (vec((select(system), text()), 0..4), vec((names, text()), 0..4)).prop_map(|(system, properties)| {
        let mut message = Message::new("x");
        system.into_iter().for_each(|(property, value)| message.put_system(property, value));
        properties.into_iter().for_each(|(name, value)| message.put_property(name, value));
        message
    })
}

fn sent(message: &Message) -> String {
    let topics = Topics::new("dev-1", None);
    let mut topic = BytesMut::new();
    topics.put_telemetry(message, &mut topic);
    assert_eq!(topic.len(), topics.telemetry_len(message));
    String::from_utf8(topic.to_vec()).unwrap()
}

fn received(topic: &str) -> Message {
    let bag = topic.strip_prefix("devices/dev-1/messages/events/").unwrap();
    message_from_bag(bag, Bytes::from_static(b"x"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_message_arrives_with_the_properties_that_it_was_sent_with(message in messages()) {
        let topic = sent(&message);
        prop_assert!(topic.bytes().all(|byte| byte.is_ascii_graphic() && !b"+#".contains(&byte)), "{topic}");
        prop_assert_eq!(received(&topic), message);
    }

    #[test]
    fn what_was_read_from_any_bag_is_sent_on_as_it_is(
        bag in string_regex("([a$.%=&/+#é]|%[0-9A-Fa-f]{2}|%24\\.(mid|to|diagctx)=){0,12}").unwrap(),
    ) {
        let message = message_from_bag(&bag, Bytes::from_static(b"x"));
        prop_assert_eq!(received(&sent(&message)), message);
    }
}
