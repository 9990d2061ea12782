//! Messages to inputs: how they are written, kept, delivered and completed (E41, E48).

use std::time::Duration;

use iothub_emulator::{Activity, C2dMessage, C2dResult, C2dState, FeedbackMode, HubError};
use rumqttc::mqttbytes::QoS;

use crate::support::bag::{has, pair, value};
use crate::support::modules::{self, connect, edge, edge_config, inputs, listener};
use crate::support::{LIMIT, manual_clock, start, wait_until_gone};

const TO_B: &str = r#"FROM /messages/modules/a/outputs/o INTO BrokeredEndpoint("/modules/b/inputs/i")"#;

#[test]
fn m_e41_an_output_reaches_the_input_that_its_route_names() {
    let hub = edge(&[TO_B]);
    let mut b = listener(&hub, "b", 1);
    let mut a = connect(&hub, "a");
    a.publish(&modules::events("a", "%24.on=o&k%201=v%261&null&empty=/"), b"hello");
    let publish = b.expect_publish();
    assert_eq!((publish.qos, publish.dup, &publish.payload[..]), (QoS::AtLeastOnce, false, &b"hello"[..]));
    let (input, bag) = modules::input("b", &publish);
    assert_eq!(input, "i");
    let expected = [
        pair("$.cdid", Some("dev")),
        pair("$.cmid", Some("a")),
        pair("k 1", Some("v&1")),
        pair("null", None),
        pair("empty", Some("")),
    ];
    assert_eq!(bag, expected, "the sender, its properties, and not its output");
    assert!(publish.topic.contains("/%24.cdid=dev&%24.cmid=a&"), "as the C SDK looks for them: {}", publish.topic);
    b.puback(publish.pkid);
    b.expect_quiet();
    assert!(hub.input_queue(("dev", "b")).is_empty());
    let outcomes = hub.input_outcomes(("dev", "b"));
    assert_eq!(outcomes.len(), 1);
    assert_eq!((outcomes[0].input.as_deref(), outcomes[0].result), (Some("i"), C2dResult::Completed));
    assert!(hub.all_telemetry().is_empty(), "no route leads to the hub");
}

#[test]
fn m_e41_what_a_route_passes_on_and_what_not() {
    let hub = edge(&[TO_B]);
    let mut b = listener(&hub, "b", 1);
    let mut a = connect(&hub, "a");
    let sent = "%24.on=o&%24.mid=m1&%24.cid=c1&%24.uid=u1&%24.to=t1&%24.exp=2030-01-01T00%3A00%3A00Z\
                &%24.ctime=2026-01-02T03%3A04%3A05Z&%24.ct=application%2Fjson&%24.ce=utf-8&%24.sub=thermostat1&%24.schema=s1\
                &iothub-operation=op&%24.ifid=urn%3Ax&%24.diagid=d1&%24.diagctx=creationtimeutc%3D1&%24.cdid=forged&%24.cmid=forged";
    a.publish(&modules::events("a", sent), b"");
    let (_, bag) = modules::input("b", &b.expect_publish());
    for (name, expected) in [
        ("$.cdid", "dev"),
        ("$.cmid", "a"),
        ("$.mid", "m1"),
        ("$.cid", "c1"),
        ("$.uid", "u1"),
        ("$.to", "t1"),
        ("$.exp", "2030-01-01T00:00:00Z"),
        ("$.ctime", "2026-01-02T03:04:05Z"),
        ("$.ct", "application/json"),
        ("$.ce", "utf-8"),
        ("$.sub", "thermostat1"),
        ("$.schema", "s1"),
        ("iothub-operation", "op"),
    ] {
        assert_eq!(value(&bag, name), expected, "{name}");
    }
    for name in ["$.on", "$.ifid", "$.diagid", "$.diagctx", "iothub-ack"] {
        assert!(!has(&bag, name), "{name}");
    }
    assert_eq!(bag.len(), 13, "{bag:?}");
}

#[test]
fn m_e41_an_empty_bag_still_follows_a_slash() {
    let hub = edge(&[]);
    let mut b = listener(&hub, "b", 1);
    hub.send_input(("dev", "b"), "i", C2dMessage::new("x").message_id("m1")).unwrap();
    assert_eq!(b.expect_publish().topic, "devices/dev/modules/b/inputs/i/%24.mid=m1");
    hub.send_input(("dev", "b"), "i", C2dMessage::new("x").sender(("dev", "a"))).unwrap();
    let (_, bag) = modules::input("b", &b.expect_publish());
    assert_eq!((value(&bag, "$.cdid"), value(&bag, "$.cmid")), ("dev", "a"));

    let hub = edge(&[r#"FROM /messages/* INTO BrokeredEndpoint("/modules/b/inputs/in put")"#]);
    let mut b = listener(&hub, "b", 1);
    let mut a = connect(&hub, "a");
    a.publish(&modules::events("a", ""), b"x");
    let (input, bag) = modules::input("b", &b.expect_publish());
    assert_eq!((input.as_str(), bag.len()), ("in put", 2), "a message without an id gets none");
}

#[test]
fn m_e48_either_filter_brings_the_messages_of_every_input_once() {
    let hub = edge(&[]);
    let mut module = connect(&hub, "b");
    let all = "devices/dev/modules/b/#";
    let both: &[(&str, u8)] = &[(all, 1), (&inputs("b"), 1)];
    for filters in [&[(all, 1)][..], &[(inputs("b").as_str(), 1)], both] {
        let names: Vec<&str> = filters.iter().map(|(name, _)| *name).collect();
        assert!(module.subscribe(filters).iter().all(|code| *code == 1));
        for input in ["first", "second"] {
            hub.send_input(("dev", "b"), input, C2dMessage::new(input)).unwrap();
            let publish = module.expect_publish();
            assert_eq!(modules::input("b", &publish).0, input);
            module.puback(publish.pkid);
        }
        module.expect_quiet();
        module.unsubscribe(&names);
    }
    hub.send_input(("dev", "b"), "first", C2dMessage::new("kept")).unwrap();
    module.expect_quiet();
    module.subscribe(&[(all, 2)]);
    let publish = module.expect_publish();
    assert_eq!((publish.qos, &publish.payload[..]), (QoS::AtLeastOnce, &b"kept"[..]));
}

#[test]
fn m_e48_no_other_filter_below_a_module_is_known() {
    for filter in [
        "devices/dev/modules/b/inputs/i/#",
        "devices/dev/modules/b/inputs/",
        "devices/dev/modules/a/#",
        "devices/dev/modules/+/#",
        "devices/dev/modules/#",
        "devices/+/modules/b/#",
    ] {
        let hub = edge(&[]);
        let mut module = connect(&hub, "b");
        module.send(&crate::support::packets::subscribe(1, &[(filter, 1)]));
        module.expect_closed_without_packet();
    }
}

#[test]
fn m_e48_what_is_not_acknowledged_comes_again_after_a_reconnect_in_order_with_dup() {
    let hub = edge(&[TO_B]);
    let mut b = listener(&hub, "b", 1);
    let mut a = connect(&hub, "a");
    for body in ["1", "2", "3"] {
        a.publish(&modules::events("a", "%24.on=o"), body.as_bytes());
    }
    let first: Vec<_> = (0..3).map(|_| b.expect_publish()).collect();
    b.puback(first[0].pkid);
    b.expect_quiet();
    b.cut();
    wait_until_gone(&hub, ("dev", "b"));
    a.publish(&modules::events("a", "%24.on=o"), b"4");

    let mut b = connect(&hub, "b");
    for (again, dup) in [(Some(&first[1]), true), (Some(&first[2]), true), (None, false)] {
        let publish = b.expect_publish();
        assert_eq!(publish.dup, dup, "before any SUBSCRIBE, as the session says");
        if let Some(again) = again {
            assert_eq!((publish.pkid, &publish.topic, &publish.payload), (again.pkid, &again.topic, &again.payload));
        }
        b.puback(publish.pkid);
    }
    b.expect_quiet();
    assert_eq!(hub.input_outcomes(("dev", "b")).len(), 4);
}

#[test]
fn m_e48_a_puback_out_of_order_is_ignored_and_the_lock_ends_after_60_seconds() {
    let hub = start(manual_clock().with_edge_routes("dev", [TO_B]));
    let mut b = listener(&hub, "b", 1);
    hub.send_input(("dev", "b"), "i", C2dMessage::new("1")).unwrap();
    hub.send_input(("dev", "b"), "j", C2dMessage::new("2")).unwrap();
    let (first, second) = (b.expect_publish(), b.expect_publish());
    b.puback(second.pkid);
    b.expect_quiet();
    let queue = hub.input_queue(("dev", "b"));
    assert_eq!(queue.iter().map(|record| record.input.as_deref()).collect::<Vec<_>>(), [Some("i"), Some("j")]);
    assert!(queue.iter().all(|record| matches!(record.state, C2dState::Invisible { .. })));
    hub.advance_clock(Duration::from_secs(60));
    for earlier in [&first, &second] {
        let again = b.expect_publish();
        assert_eq!((again.pkid, again.dup), (earlier.pkid, true));
        b.puback(again.pkid);
    }
    b.expect_quiet();
    assert!(hub.input_queue(("dev", "b")).is_empty());
}

#[test]
fn m_e48_at_qos_0_sending_completes() {
    let hub = edge(&[]);
    let mut b = listener(&hub, "b", 0);
    hub.send_input(("dev", "b"), "i", C2dMessage::new("x")).unwrap();
    assert_eq!(b.expect_publish().qos, QoS::AtMostOnce);
    assert_eq!(hub.input_outcomes(("dev", "b"))[0].result, C2dResult::Completed);
}

#[test]
fn m_e48_a_message_waits_two_hours_for_its_module_unless_set_otherwise() {
    let two_hours = Duration::from_secs(7200);
    for (config, life) in
        [(manual_clock(), two_hours), (manual_clock().with_input_ttl(Duration::from_secs(60)), Duration::from_secs(60))]
    {
        let hub = start(config.with_edge_routes("dev", [TO_B]));
        connect(&hub, "b").disconnect();
        let mut a = connect(&hub, "a");
        a.publish(&modules::events("a", "%24.on=o"), b"x");
        hub.send_input(("dev", "b"), "i", C2dMessage::new("x").ttl(Duration::from_secs(30))).unwrap();
        hub.advance_clock(life - Duration::from_secs(1));
        assert_eq!(hub.input_queue(("dev", "b")).len(), 1, "only what said so itself has expired");
        hub.advance_clock(Duration::from_secs(1));
        let results: Vec<C2dResult> = hub.input_outcomes(("dev", "b")).iter().map(|outcome| outcome.result).collect();
        assert_eq!(results, [C2dResult::Expired; 2]);
    }
}

#[test]
fn m_e48_a_full_queue_refuses_the_service_and_ends_the_connection_of_a_sender() {
    let hub = start(edge_config(&[TO_B, "FROM /messages/* INTO $upstream"]).with_input_queue_limit(2));
    connect(&hub, "b").disconnect();
    let mut a = connect(&hub, "a");
    a.publish(&modules::events("a", "%24.on=o"), b"1");
    hub.send_input(("dev", "b"), "other", C2dMessage::new("2")).unwrap();
    let refused = hub.send_input(("dev", "b"), "i", C2dMessage::new("3"));
    assert_eq!(refused, Err(HubError::QueueFull { device: "dev/b".into(), pending: 2, limit: 2 }));
    a.send(&crate::support::packets::publish(&modules::events("a", "%24.on=o"), 1, 0, 9, b"3"));
    a.expect_closed_without_packet();
    assert_eq!(hub.telemetry_count(("dev", "a")), 1, "what is not acknowledged has gone nowhere");
    let mut b = listener(&hub, "b", 1);
    for body in [b"1", b"2"] {
        let publish = b.expect_publish();
        assert_eq!(&publish.payload[..], body);
        b.puback(publish.pkid);
    }
    b.expect_quiet();
}

#[test]
fn m_e48_the_record_says_what_was_sent_to_which_input_and_acknowledged() {
    let hub = edge(&[]);
    let mut b = listener(&hub, "b", 1);
    let id = hub.send_input(("dev", "b"), "i", C2dMessage::new("x")).unwrap();
    let publish = b.expect_publish();
    b.puback(publish.pkid);
    b.expect_quiet();
    let record = hub.activity(("dev", "b"));
    let sent = record.iter().any(|activity| {
        matches!(activity, Activity::InputSent { input, message_id, packet_id: Some(packet_id), dup: false, .. }
            if input == "i" && *message_id == id && *packet_id == publish.pkid)
    });
    let acked = record.iter().any(|activity| {
        matches!(activity, Activity::InputAcked { input, message_id, .. } if input == "i" && *message_id == id)
    });
    assert!(sent && acked, "{record:?}");
    let c2d = record.iter().any(|a| matches!(a, Activity::C2dSent { .. } | Activity::C2dAcked { .. }));
    assert!(!c2d, "it is no cloud-to-device message");
}

#[test]
fn m_e48_what_cannot_be_an_input_message_is_refused() {
    let hub = edge(&[]);
    hub.create_device("dev").unwrap();
    hub.create_device("cloud").unwrap();
    hub.create_module("dev", "b").unwrap();
    hub.create_module("cloud", "b").unwrap();
    let message = || C2dMessage::new("x");
    assert!(matches!(hub.send_input("dev", "i", message()), Err(HubError::NoInputs { .. })));
    assert!(matches!(hub.send_input(("cloud", "b"), "i", message()), Err(HubError::NoInputs { .. })));
    assert!(matches!(hub.send_input(("dev", "z"), "i", message()), Err(HubError::ModuleNotFound { .. })));
    for input in ["", "a/b", "a+", "#", "*", "a\n"] {
        let refused = hub.send_input(("dev", "b"), input, message());
        assert!(matches!(refused, Err(HubError::InvalidMessage { field: "input", .. })), "{input:?}: {refused:?}");
    }
    let refused = hub.send_input(("dev", "b"), "i", message().ack(FeedbackMode::Full));
    assert!(matches!(refused, Err(HubError::InvalidMessage { field: "ack", .. })), "{refused:?}");
    let refused = hub.send_c2d("dev", message().sender(("dev", "b")));
    assert!(matches!(refused, Err(HubError::InvalidMessage { field: "sender", .. })), "{refused:?}");
    let refused = hub.send_input(("dev", "b"), "i", C2dMessage::new(vec![0; 262_145]).message_id(""));
    assert_eq!(refused, Err(HubError::MessageTooLarge { size: 262_145, limit: 262_144 }));
    hub.send_input(("dev", "b"), "i", C2dMessage::new(vec![0; 262_144]).message_id("")).unwrap();
    let long = message().property("p", "/".repeat(30_000));
    assert!(matches!(hub.send_input(("dev", "b"), "i", long), Err(HubError::InvalidMessage { .. })));
    hub.delete_module("dev", "b").unwrap();
    hub.create_module("dev", "b").unwrap();
    let mut b = listener(&hub, "b", 1);
    b.expect_quiet();
    assert_eq!(hub.input_outcomes(("dev", "b"))[0].result, C2dResult::Purged, "it ended with its module");
    hub.wait_until(LIMIT, "b is there", |hub| hub.connected(("dev", "b"))).unwrap();
}
