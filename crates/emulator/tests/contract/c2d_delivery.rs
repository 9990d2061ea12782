//! Cloud-to-device messages on the wire: quality of service, acknowledgement, topic (E24, E25).

use std::time::Duration;

use iothub_emulator::{
    Activity, C2dMessage, C2dResult, C2dState, Config, DisconnectReason, Emulator, FeedbackMode, Hub, HubError,
    OutOfOrderPuback, PubackEffect,
};
use rumqttc::mqttbytes::QoS;

use crate::support::bag::{self, Pair, pair};
use crate::support::c2d::{listener, send};
use crate::support::{LIMIT, hub_with_manual_clock, start, why_it_ended};

const PREFIX: &str = "devices/dev/messages/devicebound/";

/// The pending messages and whether each is out for delivery.
fn pending(hub: &Hub) -> Vec<(String, bool)> {
    hub.c2d_queue("dev")
        .into_iter()
        .map(|record| (record.message_id, matches!(record.state, C2dState::Invisible { .. })))
        .collect()
}

fn completed(hub: &Hub) -> Vec<String> {
    hub.c2d_outcomes("dev")
        .into_iter()
        .map(|outcome| {
            assert_eq!(outcome.result, C2dResult::Completed);
            outcome.message_id
        })
        .collect()
}

fn effects(hub: &Hub) -> Vec<PubackEffect> {
    hub.activity("dev")
        .iter()
        .filter_map(|activity| match activity {
            Activity::PubackReceived { effect, .. } => Some(*effect),
            _ => None,
        })
        .collect()
}

/// The properties in the topic of a message of its own hub.
fn delivered(message: C2dMessage) -> Vec<Pair> {
    let hub = Emulator::start().unwrap();
    let mut peer = listener(&hub, 1);
    hub.send_c2d("dev", message).unwrap();
    decoded(&peer.expect_publish().topic)
}

fn decoded(topic: &str) -> Vec<Pair> {
    bag::decode(topic.strip_prefix(PREFIX).unwrap_or_else(|| panic!("{topic} is not devicebound")))
}

/// The application properties: what is not the hub's own.
fn application(pairs: &[Pair]) -> Vec<Pair> {
    pairs.iter().filter(|(key, _)| !key.starts_with("$.") && key != "iothub-ack").cloned().collect()
}

#[test]
fn m_e24_at_qos_1_the_puback_completes() {
    let hub = Emulator::start().unwrap();
    let mut peer = listener(&hub, 1);
    send(&hub, "m1");
    let publish = peer.expect_publish();
    assert_eq!((publish.qos, publish.dup, publish.retain), (QoS::AtLeastOnce, false, false));
    assert_eq!(&publish.payload[..], b"m1");
    peer.expect_quiet();
    assert_eq!(pending(&hub), [("m1".to_owned(), true)], "it is locked until it is acknowledged");
    assert_eq!(completed(&hub), Vec::<String>::new());

    peer.puback(publish.pkid);
    peer.expect_quiet();
    assert_eq!(pending(&hub), []);
    assert_eq!(completed(&hub), ["m1"]);
    assert_eq!(effects(&hub), [PubackEffect::Completed]);
}

#[test]
fn m_e24_at_qos_0_sending_completes() {
    let hub = Emulator::start().unwrap();
    let mut peer = listener(&hub, 0);
    for id in ["m1", "m2"] {
        send(&hub, id);
        let publish = peer.expect_publish();
        assert_eq!((publish.qos, publish.dup, publish.retain), (QoS::AtMostOnce, false, false));
        assert_eq!(&publish.payload[..], id.as_bytes());
    }
    peer.expect_quiet();
    assert_eq!(pending(&hub), []);
    assert_eq!(completed(&hub), ["m1", "m2"]);
}

#[test]
fn m_e24_qos_2_is_granted_and_delivered_as_1() {
    let hub = Emulator::start().unwrap();
    let mut peer = listener(&hub, 2);
    send(&hub, "m1");
    assert_eq!(peer.expect_publish().qos, QoS::AtLeastOnce);
}

#[test]
fn m_e24_many_are_out_at_once_in_order_each_under_its_own_packet_id() {
    let hub = Emulator::start().unwrap();
    let mut peer = listener(&hub, 1);
    let ids: Vec<String> = (0..50).map(|number| format!("m{number}")).collect();
    for id in &ids {
        send(&hub, id);
    }
    let publishes: Vec<_> = ids.iter().map(|_| peer.expect_publish()).collect();
    let bodies: Vec<_> = publishes.iter().map(|publish| publish.payload.clone()).collect();
    assert_eq!(bodies, ids);
    let mut packet_ids: Vec<u16> = publishes.iter().map(|publish| publish.pkid).collect();
    for id in &packet_ids {
        peer.puback(*id);
    }
    peer.expect_quiet();
    assert_eq!(completed(&hub), ids);
    packet_ids.sort_unstable();
    packet_ids.dedup();
    assert_eq!(packet_ids.len(), 50);
}

#[test]
fn m_e24_a_puback_out_of_order_is_ignored() {
    let hub = Emulator::start().unwrap();
    let mut peer = listener(&hub, 1);
    for id in ["m1", "m2", "m3"] {
        send(&hub, id);
    }
    let [first, second, third] = [0; 3].map(|_| peer.expect_publish().pkid);
    peer.puback(second);
    peer.expect_quiet();
    assert_eq!(completed(&hub), Vec::<String>::new());
    assert_eq!(pending(&hub).len(), 3);

    peer.puback(first);
    peer.expect_quiet();
    assert_eq!(completed(&hub), ["m1"], "the early one for m2 was not kept");
    peer.puback(second);
    peer.puback(third);
    peer.expect_quiet();
    assert_eq!(completed(&hub), ["m1", "m2", "m3"]);
    let expected =
        [PubackEffect::OutOfOrder, PubackEffect::Completed, PubackEffect::Completed, PubackEffect::Completed];
    assert_eq!(effects(&hub), expected);
}

#[test]
fn m_e24_a_puback_in_any_order_can_be_accepted_instead() {
    let hub = start(Config::new().with_out_of_order_puback(OutOfOrderPuback::Accept));
    let mut peer = listener(&hub, 1);
    for id in ["m1", "m2", "m3"] {
        send(&hub, id);
    }
    let [first, second, third] = [0; 3].map(|_| peer.expect_publish().pkid);
    for id in [second, third, first] {
        peer.puback(id);
    }
    peer.expect_quiet();
    assert_eq!(completed(&hub), ["m2", "m3", "m1"]);
    assert_eq!(pending(&hub), []);
}

#[test]
fn m_e24_a_puback_out_of_order_can_close_instead() {
    let hub = start(Config::new().with_out_of_order_puback(OutOfOrderPuback::Close));
    let mut peer = listener(&hub, 1);
    for id in ["m1", "m2"] {
        send(&hub, id);
    }
    let [_, second] = [0; 2].map(|_| peer.expect_publish().pkid);
    peer.puback(second);
    peer.expect_closed_without_packet();
    assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::PubackOutOfOrder { packet_id: second });
    assert_eq!(completed(&hub), Vec::<String>::new());
}

#[test]
fn m_e24_a_puback_for_nothing_changes_nothing() {
    let hub = Emulator::start().unwrap();
    let mut peer = listener(&hub, 1);
    peer.puback(1_234);
    send(&hub, "m1");
    let id = peer.expect_publish().pkid;
    peer.puback(id);
    peer.puback(id);
    peer.expect_quiet();
    assert_eq!(completed(&hub), ["m1"]);
    let expected = [PubackEffect::Unknown, PubackEffect::Completed, PubackEffect::Unknown];
    assert_eq!(effects(&hub), expected);
}

#[test]
fn m_e24_the_record_says_what_was_sent_and_acknowledged() {
    let hub = Emulator::start().unwrap();
    let mut peer = listener(&hub, 1);
    send(&hub, "m1");
    let publish = peer.expect_publish();
    peer.puback(publish.pkid);
    hub.wait_until(LIMIT, "m1 to be completed", |hub| completed(hub).len() == 1).unwrap();
    let sent = hub.activity("dev").into_iter().any(|activity| {
        matches!(
            activity,
            Activity::C2dSent { message_id, packet_id, dup: false, .. } if message_id == "m1" && packet_id == Some(publish.pkid)
        )
    });
    let acknowledged = hub
        .activity("dev")
        .into_iter()
        .any(|activity| matches!(activity, Activity::C2dAcked { message_id, .. } if message_id == "m1"));
    assert!(sent && acknowledged);
}

#[test]
fn m_e25_system_properties_are_written_in_the_form_that_the_c_sdk_looks_for() {
    let hub = Emulator::start().unwrap();
    let mut peer = listener(&hub, 1);
    let message = C2dMessage::new("all of them")
        .message_id("message 1")
        .correlation_id("correlation/1")
        .user_id("user&1")
        .content_type("application/json")
        .content_encoding("utf-8")
        .ack(FeedbackMode::Full);
    hub.send_c2d("dev", message).unwrap();
    let topic = peer.expect_publish().topic;
    for part in [
        "%24.mid=message%201",
        "%24.cid=correlation%2F1",
        "%24.uid=user%261",
        "%24.ct=application%2Fjson",
        "%24.ce=utf-8",
        "iothub-ack=full",
    ] {
        let bag = topic.strip_prefix(PREFIX).unwrap();
        assert!(bag.split('&').any(|pair| pair == part), "{part} is missing in {bag}");
    }
    assert!(!topic.contains('$'), "{topic}");
    let pairs = decoded(&topic);
    let to = bag::value(&pairs, "$.to");
    assert_eq!(to.to_lowercase(), "/devices/dev/messages/devicebound");
    assert!(topic.contains("%24.to=%2Fdevices%2Fdev%2Fmessages%2F"), "{topic}");
}

#[test]
fn m_e25_a_bare_message_still_names_itself_and_its_goal() {
    let hub = Emulator::start().unwrap();
    let mut peer = listener(&hub, 1);
    let made = hub.send_c2d("dev", C2dMessage::new("bare")).unwrap();
    assert!(!made.is_empty());
    let pairs = decoded(&peer.expect_publish().topic);
    assert_eq!(bag::value(&pairs, "$.mid"), made);
    assert!(bag::has(&pairs, "$.to"));
    assert_eq!(application(&pairs), []);
    for absent in ["$.cid", "$.uid", "$.ct", "$.ce"] {
        assert!(!bag::has(&pairs, absent), "{absent} in {pairs:?}");
    }
}

#[test]
fn m_e25_feedback_modes_have_their_words() {
    for (mode, word) in [
        (FeedbackMode::None, "none"),
        (FeedbackMode::Positive, "positive"),
        (FeedbackMode::Negative, "negative"),
        (FeedbackMode::Full, "full"),
    ] {
        let pairs = delivered(C2dMessage::new("").ack(mode));
        assert_eq!(bag::value(&pairs, "iothub-ack"), word);
    }
}

#[test]
fn m_e25_an_expiry_is_written_as_iso_8601() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, 1);
    let message = C2dMessage::new("");
    hub.send_c2d("dev", message.clone().ttl(Duration::from_secs(7200))).unwrap();
    hub.send_c2d("dev", message.expiry(hub.now() + Duration::from_secs(7200))).unwrap();
    for _ in 0..2 {
        let pairs = decoded(&peer.expect_publish().topic);
        let expiry = bag::value(&pairs, "$.exp");
        assert!(expiry.starts_with("2027-01-15T10:00:00") && expiry.ends_with('Z'), "{expiry}");
    }
}

#[test]
fn m_e25_application_properties_keep_their_order_and_survive_every_character() {
    let message = C2dMessage::new("")
        .property("z", "last letter first")
        .property("a b", "c&d=e%f/g+h?i#j$k")
        .property("café", "€😀")
        .property("q\"uote", "'single' \\ back")
        .property("same", "one");
    let pairs = delivered(message);
    let expected = [
        pair("z", Some("last letter first")),
        pair("a b", Some("c&d=e%f/g+h?i#j$k")),
        pair("café", Some("€😀")),
        pair("q\"uote", Some("'single' \\ back")),
        pair("same", Some("one")),
    ];
    assert_eq!(application(&pairs), expected);
    let first_application = pairs.iter().position(|(key, _)| key == "z").unwrap();
    assert_eq!(pairs.len() - first_application, 5, "they stand behind the system properties: {pairs:?}");
}

#[test]
fn m_e25_null_and_empty_are_told_apart() {
    let hub = Emulator::start().unwrap();
    let mut peer = listener(&hub, 1);
    let message = C2dMessage::new("").property("null", None).property("empty", "").property("full", "x");
    hub.send_c2d("dev", message).unwrap();
    let topic = peer.expect_publish().topic;
    assert!(topic.ends_with("&null&empty=&full=x"), "{topic}");
}

#[test]
fn m_e25_a_body_is_any_bytes_up_to_64_kib() {
    let hub = Emulator::start().unwrap();
    let mut peer = listener(&hub, 1);
    let every_byte: Vec<u8> = (0..=255).collect();
    for body in [Vec::new(), every_byte, vec![7; 65_536 - 2]] {
        hub.send_c2d("dev", C2dMessage::new(body.clone()).message_id("id")).unwrap();
        let publish = peer.expect_publish();
        assert_eq!(publish.payload.to_vec(), body);
        peer.puback(publish.pkid);
    }
    let refused = hub.send_c2d("dev", C2dMessage::new(vec![7; 65_537]));
    assert!(matches!(refused, Err(HubError::MessageTooLarge { .. })), "{refused:?}");
    let unknown = hub.send_c2d("nobody", C2dMessage::new(""));
    assert!(matches!(unknown, Err(HubError::DeviceNotFound { .. })), "{unknown:?}");
}
