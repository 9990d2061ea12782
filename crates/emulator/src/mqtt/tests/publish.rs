//! Telemetry, and publishes to other topics.

use super::*;

#[test]
fn a_thousand_pipelined_messages_are_acknowledged_in_order_in_one_piece() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    let bytes: Vec<u8> = (1..=1000).flat_map(|id| publish(0x32, EVENTS, id, b"x")).collect();
    let expected: Vec<u8> =
        (1..=1000u16).flat_map(|id| [b"\x40\x02".to_vec(), id.to_be_bytes().to_vec()].concat()).collect();
    assert_eq!(world.say(&mut head, &bytes), expected);
    assert_eq!(world.hub.telemetry_count(d()), 1000);
}

#[test]
fn qos_2_an_oversize_message_and_an_unknown_topic_end_the_connection_without_puback() {
    let oversize = vec![0; 262_145];
    for (bytes, expected) in [
        (publish(0x34, EVENTS, 1, b"x"), DisconnectReason::Qos2),
        (publish(0x32, EVENTS, 1, &oversize), DisconnectReason::MessageTooLarge { size: 262_145, limit: 262_144 }),
        (
            publish(0x32, "devices/e/messages/events/", 1, b"x"),
            DisconnectReason::UnknownTopic("devices/e/messages/events/".into()),
        ),
    ] {
        let mut world = World::new(Config::new());
        let mut head = world.connected();
        assert!(world.say(&mut head, &bytes).is_empty());
        assert_eq!(*world.why(), expected);
        assert_eq!(world.hub.telemetry_count(d()), 0);
    }
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    assert_eq!(world.say(&mut head, &publish(0x32, EVENTS, 1, &oversize[..262_144])), b"\x40\x02\x00\x01");
}

#[test]
fn an_unknown_topic_may_be_dropped_or_stored_as_configured() {
    let bytes = publish(0x32, "other", 1, b"x");
    let mut world = World::new(Config::new().with_unknown_topic(UnknownTopic::DropAndAck));
    let mut head = world.connected();
    assert_eq!(world.say(&mut head, &bytes), b"\x40\x02\x00\x01");
    assert_eq!(world.hub.telemetry_count(d()), 0);

    let mut world = World::new(Config::new().with_unknown_topic(UnknownTopic::LegacyUnmatched));
    let mut head = world.connected();
    assert_eq!(world.say(&mut head, &bytes), b"\x40\x02\x00\x01");
    assert_eq!(world.hub.telemetry(d()).next().unwrap().property("$PG.Subject"), Some(Some("other")));
    assert!(world.say(&mut head, &publish(0x32, "a/#", 2, b"x")).is_empty(), "a wildcard closes all the same");
}

#[test]
fn a_repeated_and_a_retained_message_are_stored_and_marked() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    let bytes = [publish(0x32, EVENTS, 1, b"x"), publish(0x3b, EVENTS, 1, b"x")].concat();
    assert_eq!(world.say(&mut head, &bytes), b"\x40\x02\x00\x01\x40\x02\x00\x01");
    let second = world.hub.telemetry(d()).nth(1).unwrap();
    assert_eq!(second.property("mqtt-dup"), Some(Some("true")));
    assert_eq!(second.property("mqtt-retain"), Some(Some("true")));
}
