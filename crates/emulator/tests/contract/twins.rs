//! Twins as a device sees them: GET, reported patches, desired patches, request ids (E30, E31, E33 to E37).

use std::time::Duration;

use iothub_emulator::{Activity, DeliveryQos, Hub, HubError};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Packet;
use serde_json::{Value, json};

use crate::support::c2d::{connect, cut};
use crate::support::packets;
use crate::support::twin::{DESIRED, RES, desired, get, json, listener, reply, report};
use crate::support::{LIMIT, hub_with_manual_clock, manual_clock, start, start_of_time, why_it_ended};

fn reported(hub: &Hub) -> Value {
    hub.twin("dev").unwrap().reported
}

/// The recorded statuses of reported patches, and whether each was answered.
fn reports(hub: &Hub) -> Vec<(u16, bool)> {
    let statuses = hub.activity("dev").into_iter().filter_map(|activity| match activity {
        Activity::TwinReported { status, answered, .. } => Some((status, answered)),
        _ => None,
    });
    statuses.collect()
}

#[test]
fn m_e30_a_get_is_answered_with_both_sections_and_their_versions() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    get(&mut peer, "1");
    let (tail, body) = reply(&mut peer);
    assert_eq!(tail, "200/?$rid=1", "the version is not in the topic");
    assert_eq!(json(&body), json!({"desired": {"$version": 1}, "reported": {"$version": 1}}));

    hub.patch_desired("dev", json!({"k": 1, "deep": {"list": [1, "two", null]}})).unwrap();
    hub.patch_tags("dev", json!({"secret": true})).unwrap();
    report(&mut peer, "2", br#"{"on":false,"half":0.5}"#);
    assert_eq!(reply(&mut peer).0, "204/?$rid=2&$version=2");
    get(&mut peer, "3");
    let expected = json!({
        "desired": {"k": 1, "deep": {"list": [1, "two", null]}, "$version": 2},
        "reported": {"on": false, "half": 0.5, "$version": 2},
    });
    assert_eq!(json(&reply(&mut peer).1), expected, "no wrapper, no tags, no metadata");
    let recorded = hub.activity("dev").into_iter().filter(
        |activity| matches!(activity, Activity::TwinGet { rid, status: 200, answered: true, .. } if rid == "1" || rid == "3"),
    );
    assert_eq!(recorded.count(), 2);
}

#[test]
fn m_e30_the_body_of_a_get_is_not_looked_at() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    for body in [b"".as_slice(), b" ", b"{", b"\xff\x00", &[b'['; 50_000]] {
        peer.send(&packets::publish("$iothub/twin/GET/?$rid=1", 0, 0, 0, body));
        assert_eq!(reply(&mut peer).0, "200/?$rid=1");
    }
}

#[test]
fn m_e31_a_reported_patch_merges_and_null_removes() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    for (body, version, expected) in [
        (r#"{"a":{"b":1,"c":2},"d":"x"}"#, 2, json!({"a": {"b": 1, "c": 2}, "d": "x"})),
        (r#"{"a":{"b":null,"e":true},"d":{"f":[]}}"#, 3, json!({"a": {"c": 2, "e": true}, "d": {"f": []}})),
        (r#"{"a":null,"gone":null}"#, 4, json!({"d": {"f": []}})),
        ("{}", 5, json!({"d": {"f": []}})),
        (r#" { "ü\u00e9" : "\ud83d\ude00" } "#, 6, json!({"d": {"f": []}, "üé": "😀"})),
    ] {
        report(&mut peer, "r", body.as_bytes());
        assert_eq!(reply(&mut peer), (format!("204/?$rid=r&$version={version}"), Vec::new()), "{body}");
        let twin = hub.twin("dev").unwrap();
        assert_eq!((twin.reported_version, &twin.reported), (version, &expected));
        assert_eq!(twin.desired_version, 1, "the other section has a version of its own");
    }
    assert_eq!(reports(&hub), vec![(204, true); 5]);
}

#[test]
fn m_e31_numbers_come_back_as_they_went() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    let body = r#"{"a":0.1,"b":0.30000000000000004,"c":-4503599627370496,"d":1e300,"e":5e-324,"f":123456.789012345}"#;
    report(&mut peer, "1", body.as_bytes());
    assert!(reply(&mut peer).0.starts_with("204"));
    get(&mut peer, "2");
    let seen = json(&reply(&mut peer).1);
    for (key, value) in [("a", 0.1), ("b", 0.1 + 0.2), ("d", 1e300), ("e", 5e-324), ("f", 123_456.789_012_345)] {
        assert_eq!(seen["reported"][key].as_f64(), Some(value), "{key}");
    }
    assert_eq!(seen["reported"]["c"].as_i64(), Some(-4_503_599_627_370_496));
}

#[test]
fn m_e31_metadata_tells_when_each_property_was_last_updated() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    report(&mut peer, "1", br#"{"a":{"b":1,"c":2}}"#);
    reply(&mut peer);
    hub.advance_clock(Duration::from_secs(60));
    report(&mut peer, "2", br#"{"a":{"c":3}}"#);
    reply(&mut peer);
    let (first, second) = ("2027-01-15T08:00:00.000Z", "2027-01-15T08:01:00.000Z");
    assert_eq!(start_of_time().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_800_000_000);
    let expected = json!({
        "$lastUpdated": second,
        "a": {"$lastUpdated": second, "b": {"$lastUpdated": first}, "c": {"$lastUpdated": second}},
    });
    assert_eq!(hub.twin("dev").unwrap().reported_metadata, expected);
}

#[test]
fn m_e31_the_service_can_wait_for_what_is_reported_and_it_outlives_the_connection() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| hub.wait_for_reported("dev", LIMIT, |reported| reported["ready"] == true));
        report(&mut peer, "1", br#"{"ready":false}"#);
        report(&mut peer, "2", br#"{"ready":true}"#);
        assert_eq!(waiter.join().unwrap().unwrap().reported_version, 3);
    });
    reply(&mut peer);
    reply(&mut peer);
    cut(&hub, peer);
    let mut peer = connect(&hub);
    get(&mut peer, "3");
    assert_eq!(json(&reply(&mut peer).1)["reported"], json!({"ready": true, "$version": 3}));

    let error = hub.wait_for_reported("dev", Duration::ZERO, |_| false).unwrap_err();
    assert!(error.to_string().contains(r#"{"ready":true}"#), "{error}");
    hub.delete_device("dev").unwrap();
    assert!(matches!(hub.twin("dev"), Err(HubError::DeviceNotFound { .. })));
    hub.create_device("dev").unwrap();
    assert_eq!(reported(&hub), json!({}), "another device, another twin");
}

#[test]
fn m_e33_without_a_subscription_the_request_is_executed_and_the_reply_dropped() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[DESIRED]);
    get(&mut peer, "1");
    report(&mut peer, "2", br#"{"a":1}"#);
    report(&mut peer, "3", b"nonsense");
    peer.expect_quiet();
    assert_eq!(reported(&hub), json!({"a": 1}));
    assert_eq!(reports(&hub), [(204, false), (400, false)]);

    peer.subscribe(&[(RES, 1)]);
    peer.expect_quiet();
    report(&mut peer, "4", b"{}");
    assert_eq!(reply(&mut peer).0, "204/?$rid=4&$version=3");
    peer.unsubscribe(&[RES]);
    report(&mut peer, "5", b"{}");
    peer.expect_quiet();
    assert_eq!(hub.twin("dev").unwrap().reported_version, 4);
}

#[test]
fn m_e34_at_qos_1_a_request_is_answered_and_acknowledged_once() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    for (topic, body, tail) in [
        ("$iothub/twin/GET/?$rid=a", b" ".as_slice(), "200/?$rid=a"),
        ("$iothub/twin/PATCH/properties/reported/?$rid=b", b"{}", "204/?$rid=b&$version=2"),
        ("$iothub/twin/PATCH/properties/reported/?$rid=c", b"{", "400/?$rid=c"),
    ] {
        peer.publish(topic, body);
        assert_eq!(reply(&mut peer).0, tail);
        peer.expect_quiet();
    }
    peer.publish("$iothub/methods/res/200/?$rid=unknown", b"{}");
    peer.publish("$iothub/twin/PATCH/properties/reported/", b"{}");
    peer.expect_quiet();
}

#[test]
fn m_e34_at_qos_2_even_a_twin_request_closes() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    peer.send(&packets::publish("$iothub/twin/GET/?$rid=a", 2, 0, 1, b""));
    peer.expect_closed_without_packet();
}

#[test]
fn m_e35_a_desired_change_is_sent_once_with_its_version() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[DESIRED, RES]);
    assert_eq!(hub.patch_desired("dev", json!({"a": {"b": 1}, "gone": null})).unwrap(), 2);
    assert_eq!(desired(&mut peer), ("?$version=2".to_owned(), json!({"a": {"b": 1}, "gone": null, "$version": 2})));
    assert_eq!(hub.patch_desired("dev", json!({})).unwrap(), 3);
    assert_eq!(desired(&mut peer), ("?$version=3".to_owned(), json!({"$version": 3})));
    hub.patch_tags("dev", json!({"t": 1})).unwrap();
    peer.expect_quiet();
    get(&mut peer, "1");
    assert_eq!(json(&reply(&mut peer).1)["desired"], json!({"a": {"b": 1}, "$version": 3}));
    let sent: Vec<u64> = hub
        .activity("dev")
        .into_iter()
        .filter_map(|activity| match activity {
            Activity::DesiredSent { version, packet_id: None, .. } => Some(version),
            _ => None,
        })
        .collect();
    assert_eq!(sent, [2, 3]);
}

#[test]
fn m_e35_a_replacement_is_sent_as_the_difference() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[DESIRED]);
    hub.patch_desired("dev", json!({"keep": 1, "gone": 2, "deep": {"keep": 1, "gone": 2}})).unwrap();
    desired(&mut peer);
    assert_eq!(hub.replace_desired("dev", json!({"keep": 1, "deep": {"keep": 1}, "new": [1]})).unwrap(), 3);
    let difference = json!({"gone": null, "deep": {"gone": null}, "new": [1], "$version": 3});
    assert_eq!(desired(&mut peer), ("?$version=3".to_owned(), difference));
    assert_eq!(hub.twin("dev").unwrap().desired, json!({"keep": 1, "deep": {"keep": 1}, "new": [1]}));
}

#[test]
fn m_e35_only_who_is_connected_and_subscribed_hears_of_it_and_nothing_is_queued() {
    let hub = hub_with_manual_clock();
    hub.create_device("dev").unwrap();
    hub.create_device("other").unwrap();
    hub.patch_desired("dev", json!({"missed": 1})).unwrap();
    let mut peer = listener(&hub, &[RES]);
    hub.patch_desired("dev", json!({"missed": 2})).unwrap();
    peer.expect_quiet();
    peer.subscribe(&[(DESIRED, 0)]);
    peer.expect_quiet();
    hub.patch_desired("other", json!({"foreign": 1})).unwrap();
    hub.patch_desired("dev", json!({"heard": 1})).unwrap();
    assert_eq!(desired(&mut peer).0, "?$version=4");
    cut(&hub, peer);
    hub.patch_desired("dev", json!({"missed": 3})).unwrap();

    let mut peer = connect(&hub);
    peer.expect_quiet();
    hub.patch_desired("dev", json!({"heard": 2})).unwrap();
    assert_eq!(desired(&mut peer).0, "?$version=6", "the session has the subscription, not the change");
    peer.unsubscribe(&[DESIRED]);
    hub.patch_desired("dev", json!({"missed": 4})).unwrap();
    peer.expect_quiet();
}

#[test]
fn m_e35_replies_and_patches_have_qos_0_or_that_of_the_subscription_and_are_sent_once() {
    for (setting, qos) in [(DeliveryQos::AtMostOnce, QoS::AtMostOnce), (DeliveryQos::AsSubscribed, QoS::AtLeastOnce)] {
        let hub = start(manual_clock().with_twin_qos(setting));
        let mut peer = connect(&hub);
        peer.subscribe(&[(RES, 1), (DESIRED, 1)]);
        hub.patch_desired("dev", json!({"a": 1})).unwrap();
        let patch = peer.expect_publish();
        get(&mut peer, "1");
        let reply = peer.expect_publish();
        assert_eq!((patch.qos, reply.qos, patch.dup, reply.dup), (qos, qos, false, false));
        if qos == QoS::AtLeastOnce {
            assert_ne!(patch.pkid, reply.pkid);
            peer.puback(reply.pkid);
        }
        peer.expect_quiet();
        cut(&hub, peer);
        connect(&hub).expect_quiet();
    }
}

#[test]
fn m_e36_a_get_without_a_request_id_closes() {
    for query in ["", "?", "?$rid=", "?rid=1", "?$version=1"] {
        let hub = hub_with_manual_clock();
        let mut peer = listener(&hub, &[RES]);
        peer.send(&packets::publish(&format!("$iothub/twin/GET/{query}"), 1, 0, 1, b""));
        peer.expect_closed_without_packet();
        assert!(format!("{:?}", why_it_ended(&hub, "dev")).contains("$rid"), "{query}");
    }
}

#[test]
fn m_e36_a_report_without_a_request_id_is_applied_in_silence() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    for query in ["", "?", "?$rid="] {
        peer.send(&packets::publish(
            &format!("$iothub/twin/PATCH/properties/reported/{query}"),
            0,
            0,
            0,
            br#"{"a":1}"#,
        ));
    }
    peer.send(&packets::publish("$iothub/twin/PATCH/properties/reported/", 0, 0, 0, b"nonsense"));
    peer.expect_quiet();
    assert_eq!(hub.twin("dev").unwrap().reported_version, 4);
    assert_eq!(reports(&hub), [(204, false), (204, false), (204, false), (400, false)]);
}

#[test]
fn m_e37_a_request_id_of_any_text_comes_back_byte_for_byte() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    let long = "x".repeat(60_000);
    for rid in
        ["1", "65534", "F1C51FB1-0816-4a02-b536-a739a618d6f3", "a%20b%2f%2F", "a/b?c=d", "=", "ä€😀", "$", " ", &long]
    {
        get(&mut peer, rid);
        assert_eq!(reply(&mut peer).0, format!("200/?$rid={rid}"));
        report(&mut peer, rid, b"");
        assert_eq!(reply(&mut peer).0, format!("400/?$rid={rid}"));
    }
    get(&mut peer, "7&$version=9");
    assert_eq!(reply(&mut peer).0, "200/?$rid=7", "what follows is another parameter");
}

#[test]
fn m_e37_the_same_request_id_may_be_under_way_twice() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    let get = packets::publish("$iothub/twin/GET/?$rid=1", 0, 0, 0, b"");
    peer.send(&get.repeat(300));
    let answers = peer.drain();
    assert_eq!(answers.len(), 300);
    assert!(
        answers.iter().all(|packet| matches!(packet, Packet::Publish(reply) if reply.topic.ends_with("200/?$rid=1")))
    );
}

#[test]
fn any_other_topic_below_iothub_closes() {
    for topic in [
        "$iothub/",
        "$iothub/twin/GET",
        "$iothub/twin/GET?$rid=1",
        "$iothub/twin/get/?$rid=1",
        "$iothub/twin/GET/x/?$rid=1",
        "$iothub/twin/res/200/?$rid=1",
        "$iothub/twin/PATCH/properties/desired/?$rid=1",
        "$iothub/methods/POST/m/?$rid=1",
        "$iothub/methods/res/200",
        "$iothub/twin/GET/?$rid=+",
        "$iothub/twin/GET/?$rid=#",
    ] {
        let hub = hub_with_manual_clock();
        let mut peer = listener(&hub, &[RES]);
        peer.send(&packets::publish(topic, 1, 0, 1, b"{}"));
        peer.expect_closed_without_packet();
        assert_eq!(hub.twin("dev").unwrap().version, 1, "{topic}");
    }
}
