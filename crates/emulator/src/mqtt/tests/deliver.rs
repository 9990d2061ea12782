//! Subscriptions, sessions and cloud-to-device messages.

use super::*;

#[test]
fn a_stored_session_delivers_without_subscribe_and_a_clean_one_forgets() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    assert_eq!(
        world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 1)])),
        b"\x90\x03\x00\x01\x01"
    );
    world.say(&mut head, DISCONNECT);
    world.send_c2d("m1");
    let mut head = world.peer();
    let connect = world.connect_packet(0xc0, 60, 3600);
    let answer = world.say(&mut head, &connect);
    assert_eq!(answer[..5], *b"\x20\x02\x01\x00\x32", "session present, then the message at QoS 1");
    world.say(&mut head, DISCONNECT);

    let mut head = world.peer();
    let clean = world.connect_packet(0xc2, 60, 3600);
    assert_eq!(world.say(&mut head, &clean), b"\x20\x02\x00\x00");
    world.say(&mut head, DISCONNECT);
    let mut head = world.peer();
    assert_eq!(world.say(&mut head, &connect), b"\x20\x02\x00\x00");
}

#[test]
fn subscriptions_are_granted_at_most_qos_1_and_unsubscribing_stops_delivery() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    let filters = [
        ("devices/d/messages/devicebound/#", 2),
        ("$iothub/twin/res/#", 0),
        ("$iothub/twin/PATCH/properties/desired/#", 1),
        ("$iothub/methods/POST/#", 0),
        ("devices/+/messages/devicebound/#", 1),
    ];
    assert_eq!(world.say(&mut head, &subscribe(9, &filters)), b"\x90\x07\x00\x09\x01\x00\x01\x00\x01");
    let unsubscribe = [text("devices/d/messages/devicebound/#"), text("devices/+/messages/devicebound/#")].concat();
    assert_eq!(
        world.say(&mut head, &packet(0xa2, &[b"\x00\x0a", unsubscribe.as_slice()].concat())),
        b"\xb0\x02\x00\x0a"
    );
    world.send_c2d("m1");
    assert!(world.poll(&mut head).is_empty());
}

#[test]
fn a_bad_filter_or_one_too_many_is_answered_as_configured() {
    let bad = subscribe(1, &[("#", 1)]);
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    assert!(world.say(&mut head, &bad).is_empty());
    assert_eq!(*world.why(), DisconnectReason::UnknownFilter("#".into()));

    let mut world = World::new(Config::new().with_bad_filter(BadFilter::SubackFailure).with_subscription_limit(1));
    let mut head = world.connected();
    assert_eq!(world.say(&mut head, &bad), b"\x90\x03\x00\x01\x80");
    let two = subscribe(2, &[("$iothub/twin/res/#", 1), ("$iothub/methods/POST/#", 1), ("$iothub/twin/res/#", 0)]);
    assert_eq!(world.say(&mut head, &two), b"\x90\x05\x00\x02\x01\x80\x00");

    let mut world = World::new(Config::new().with_bad_filter(BadFilter::Ignore));
    let mut head = world.connected();
    assert_eq!(world.say(&mut head, &bad), b"\x90\x03\x00\x01\x01");
}

#[test]
fn messages_in_flight_come_again_with_dup_after_a_reconnect() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 1)]));
    world.send_c2d("m1");
    let first = world.poll(&mut head);
    let now = world.now();
    head.peer_closed(&mut world.hub, now);
    let mut head = world.peer();
    let connect = world.connect_packet(0xc0, 60, 3600);
    let answer = world.say(&mut head, &connect);
    assert_eq!(answer[4], first[0] | 0x08);
    assert_eq!(answer[5..], first[1..]);
    assert_eq!(world.hub.queue(d(), world.clock.now())[0].delivery_count, 0);
}

#[test]
fn a_puback_completes_a_message_and_one_out_of_order_is_handled_as_configured() {
    for (reaction, completed, closed) in
        [(OutOfOrderPuback::Ignore, 0, false), (OutOfOrderPuback::Accept, 1, false), (OutOfOrderPuback::Close, 0, true)]
    {
        let mut world = World::new(Config::new().with_out_of_order_puback(reaction));
        let mut head = world.connected();
        world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 1)]));
        world.send_c2d("m1");
        world.send_c2d("m2");
        world.poll(&mut head);
        // The first sequence number is 1, so its packet id is 2.
        world.say(&mut head, b"\x40\x02\x00\x03");
        assert_eq!(world.hub.outcomes(d()).count(), completed, "{reaction:?}");
        assert_eq!(head.closing().is_some(), closed, "{reaction:?}");
    }
}

#[test]
fn a_lock_that_ends_on_a_live_connection_redelivers_or_holds() {
    for (reaction, again) in [(LockExpiry::Redeliver, true), (LockExpiry::Hold, false)] {
        let mut world =
            World::new(Config::new().with_lock_expiry(reaction).with_max_keep_alive(Duration::from_secs(1767)));
        let mut head = world.connected();
        world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 1)]));
        world.send_c2d("m1");
        let first = world.poll(&mut head);
        world.pass(60);
        let second = world.poll(&mut head);
        assert_eq!(!second.is_empty(), again, "{reaction:?}");
        assert!(!again || (second[0] == first[0] | 0x08 && second[1..] == first[1..]));
        world.say(&mut head, b"\x40\x02\x00\x02");
        assert_eq!(world.hub.outcomes(d()).next().unwrap().result, C2dResult::Completed, "{reaction:?}");
    }
}

#[test]
fn at_qos_0_sending_completes() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 0)]));
    world.send_c2d("m1");
    assert_eq!(world.poll(&mut head)[0], 0x30);
    assert_eq!(world.hub.outcomes(d()).next().unwrap().result, C2dResult::Completed);
}

#[test]
fn without_a_subscription_messages_wait_or_are_rejected_as_configured() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    world.send_c2d("m1");
    assert!(world.poll(&mut head).is_empty());
    assert_eq!(world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 1)]))[5], 0x32, "it waited");

    let mut world = World::new(Config::new().with_drop_unmatched(true));
    world.send_c2d("m1");
    let mut head = world.connected();
    world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 1)]));
    assert_eq!(world.hub.outcomes(d()).next().unwrap().result, C2dResult::Rejected);
}

#[test]
fn at_qos_0_a_message_that_was_sent_before_is_completed_unsent() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 1)]));
    world.send_c2d("m1");
    world.poll(&mut head);
    let now = world.now();
    head.peer_closed(&mut world.hub, now);
    let mut head = world.peer();
    let connect = world.connect_packet(0xc2, 60, 3600);
    let bytes = [connect, subscribe(1, &[("devices/d/messages/devicebound/#", 0)])].concat();
    assert_eq!(world.say(&mut head, &bytes), b"\x20\x02\x00\x00\x90\x03\x00\x01\x00");
    assert_eq!(world.hub.outcomes(d()).next().unwrap().result, C2dResult::Completed);
}
