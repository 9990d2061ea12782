//! How an accepted connection stays alive and what it leaves behind: keep-alive, wills, pings (E8, E10, E12).

use std::time::Duration;

use iothub_emulator::{Activity, DisconnectReason, Emulator, Hub, TelemetryRecord};
use rumqttc::mqttbytes::v4::Packet;

use crate::support::packets::{self, Connect, PINGREQ, Will};
use crate::support::peer::Peer;
use crate::support::{LIMIT, hub_with_manual_clock, manual_clock, start, wait_until_gone, why_it_ended};

const EVENTS: &str = "devices/dev/messages/events/";

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn property<'a>(record: &'a TelemetryRecord, key: &str) -> Option<&'a str> {
    let (_, value) = record.properties.iter().find(|(name, _)| name == key)?;
    value.as_deref()
}

#[test]
fn m_e08_silence_of_one_and_a_half_keep_alives_ends_the_connection() {
    let hub = hub_with_manual_clock();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected_as(&hub, &Connect::of(&hub, &device).keep_alive(10));
    hub.advance_clock(Duration::from_millis(14_900));
    peer.expect_quiet();
    hub.advance_clock(Duration::from_millis(14_900));
    peer.expect_quiet();
    hub.advance_clock(Duration::from_millis(15_100));
    peer.expect_closed_without_packet();
    assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::KeepAliveExpired);
}

#[test]
fn m_e08_every_packet_counts_as_a_sign_of_life() {
    let hub = hub_with_manual_clock();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected_as(&hub, &Connect::of(&hub, &device).keep_alive(10));
    hub.advance_clock(seconds(14));
    peer.publish(EVENTS, b"QoS 1");
    hub.advance_clock(seconds(14));
    peer.subscribe(&[("devices/dev/messages/devicebound/#", 1)]);
    hub.advance_clock(seconds(14));
    peer.unsubscribe(&["devices/dev/messages/devicebound/#"]);
    hub.advance_clock(seconds(14));
    peer.send(&packets::publish(EVENTS, 0, 0, 0, b"QoS 0"));
    hub.wait_for_telemetry("dev", 2, LIMIT).unwrap();
    hub.advance_clock(seconds(14));
    peer.expect_quiet();
    hub.advance_clock(seconds(16));
    peer.expect_closed_without_packet();
}

#[test]
fn m_e08_a_packet_that_comes_too_late_does_not_save_the_connection() {
    let hub = hub_with_manual_clock();
    let device = hub.create_device("dev").unwrap();
    for _ in 0..20 {
        let mut peer = Peer::connected_as(&hub, &Connect::of(&hub, &device).keep_alive(10));
        hub.advance_clock(seconds(16));
        // The hub may have closed before this is written.
        let _ = peer.try_send(PINGREQ);
        peer.expect_closed_without_packet();
        assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::KeepAliveExpired);
    }
}

#[test]
fn m_e08_silence_publishes_the_will() {
    let hub = hub_with_manual_clock();
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::of(&hub, &device).keep_alive(10).will(Will::new(EVENTS, b"silent"));
    let mut peer = Peer::connected_as(&hub, &connect);
    hub.advance_clock(seconds(16));
    peer.expect_closed_without_packet();
    let telemetry = hub.wait_for_telemetry("dev", 1, LIMIT).unwrap();
    assert_eq!(&telemetry[0].body[..], b"silent");
}

#[test]
fn m_e08_long_keep_alives_and_none_at_all_end_after_1767_seconds() {
    for keep_alive in [0, 1_178, 1_740, u16::MAX] {
        let hub = hub_with_manual_clock();
        let device = hub.create_device("dev").unwrap();
        let mut peer = Peer::connected_as(&hub, &Connect::of(&hub, &device).keep_alive(keep_alive));
        hub.advance_clock(seconds(1_766));
        peer.expect_quiet();
        hub.advance_clock(seconds(1_768));
        peer.expect_closed_without_packet();
    }
}

#[test]
fn m_e08_a_clock_that_runs_can_be_advanced_too() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected_as(&hub, &Connect::of(&hub, &device).keep_alive(600));
    hub.advance_clock(seconds(300));
    peer.expect_quiet();
    hub.advance_clock(seconds(901));
    peer.expect_closed_without_packet();
    assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::KeepAliveExpired);
}

#[test]
fn m_e08_the_cap_is_a_setting() {
    let hub = start(manual_clock().with_max_keep_alive(seconds(600)));
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected_as(&hub, &Connect::of(&hub, &device).keep_alive(1_000));
    hub.advance_clock(seconds(599));
    peer.expect_quiet();
    hub.advance_clock(seconds(601));
    peer.expect_closed_without_packet();
}

#[test]
fn m_e10_a_will_is_telemetry_marked_as_will() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let topic = "devices/dev/messages/events/%24.mid=last-words&%24.ct=text%2Fplain&colour=dark%20blue";
    let connect = Connect::of(&hub, &device).will(Will::new(topic, b"farewell"));
    Peer::connected_as(&hub, &connect).cut();
    let telemetry = hub.wait_for_telemetry("dev", 1, LIMIT).unwrap();
    assert_eq!(telemetry.len(), 1);
    let will = &telemetry[0];
    assert_eq!(&will.body[..], b"farewell");
    assert_eq!(property(will, "iothub-MessageType"), Some("Will"));
    assert_eq!(property(will, "colour"), Some("dark blue"));
    assert_eq!(will.system.get("message-id").map(String::as_str), Some("last-words"));
    assert_eq!(will.system.get("content-type").map(String::as_str), Some("text/plain"));
    assert_eq!(will.stamps.get("iothub-connection-device-id").map(String::as_str), Some("dev"));
    assert_eq!(property(will, "mqtt-retain"), None);
    assert_eq!(property(will, "mqtt-dup"), None);
}

#[test]
fn m_e10_a_retained_will_says_so() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    for qos in [0, 1] {
        let will = Will { retain: true, qos, ..Will::new(EVENTS, b"farewell") };
        Peer::connected_as(&hub, &Connect::of(&hub, &device).will(will)).cut();
        wait_until_gone(&hub, "dev");
    }
    let telemetry = hub.wait_for_telemetry("dev", 2, LIMIT).unwrap();
    for will in &telemetry {
        assert_eq!(property(will, "mqtt-retain"), Some("true"));
    }
}

#[test]
fn m_e10_after_a_disconnect_there_is_no_will() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::of(&hub, &device).will(Will::new(EVENTS, b"farewell"));
    Peer::connected_as(&hub, &connect).disconnect();
    assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::ByDevice);
    let mut peer = Peer::connected(&hub, &device);
    peer.publish(EVENTS, b"after it");
    let bodies: Vec<_> = hub.telemetry("dev").into_iter().map(|record| record.body).collect();
    assert_eq!(bodies, ["after it"]);
}

#[test]
fn m_e10_whatever_the_hub_ends_a_connection_for_its_will_is_published_once() {
    type End = fn(&Hub, &mut Peer);
    type Reason = fn(&DisconnectReason) -> bool;
    let ends: [(&str, End, Reason); 5] = [
        (
            "the hub disconnects",
            |hub, _| assert!(hub.disconnect_device("dev").unwrap()),
            |why| matches!(why, DisconnectReason::ByService),
        ),
        (
            "the device is disabled",
            |hub, _| hub.set_device_enabled("dev", false).unwrap(),
            |why| matches!(why, DisconnectReason::DeviceDisabled),
        ),
        (
            "a topic is unknown",
            |_, peer| peer.send(&packets::publish("nowhere", 1, 0, 1, b"")),
            |why| matches!(why, DisconnectReason::UnknownTopic(topic) if topic == "nowhere"),
        ),
        (
            "a second CONNECT comes",
            |hub, peer| {
                let device = hub.device("dev").unwrap();
                peer.send(&Connect::of(hub, &device).encode());
            },
            |why| matches!(why, DisconnectReason::ProtocolViolation(_)),
        ),
        (
            "a packet is malformed",
            |_, peer| peer.send(&[0xF0, 0x00]),
            |why| matches!(why, DisconnectReason::ProtocolViolation(_)),
        ),
    ];
    for (what, end, expected) in ends {
        let hub = Emulator::start().unwrap();
        let device = hub.create_device("dev").unwrap();
        let connect = Connect::of(&hub, &device).will(Will::new(EVENTS, b"farewell"));
        let mut peer = Peer::connected_as(&hub, &connect);
        end(&hub, &mut peer);
        peer.expect_closed_without_packet();
        hub.wait_for_telemetry("dev", 1, LIMIT).unwrap();
        let why = why_it_ended(&hub, "dev");
        assert!(expected(&why), "{what}: {why:?}");
        hub.set_device_enabled("dev", true).unwrap();
        Peer::connected(&hub, &device).publish(EVENTS, b"after it");
        let bodies: Vec<_> = hub.telemetry("dev").into_iter().map(|record| record.body).collect();
        assert_eq!(bodies, ["farewell", "after it"], "{what}");
    }
}

#[test]
fn m_e10_a_will_on_any_other_topic_never_becomes_telemetry() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    hub.create_device("dev2").unwrap();
    for topic in
        ["devices/dev2/messages/events/", "devices/dev/messages/devicebound/", "$iothub/twin/GET/?$rid=1", "nowhere"]
    {
        let mut peer = Peer::open(&hub);
        peer.send(&Connect::of(&hub, &device).will(Will::new(topic, b"farewell")).encode());
        let _ = peer.read_or_closed();
        peer.cut();
        wait_until_gone(&hub, "dev");
    }
    Peer::connected(&hub, &device).publish(EVENTS, b"after them");
    let bodies: Vec<_> = hub.all_telemetry().into_iter().map(|record| record.body).collect();
    assert_eq!(bodies, ["after them"]);
}

#[test]
fn m_e10_the_will_of_a_refused_connect_is_never_published() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::of(&hub, &device).will(Will::new(EVENTS, b"farewell"));
    let mut peer = Peer::open(&hub);
    assert_eq!(peer.ask(&connect.password("wrong")).code as u8, 5);
    peer.expect_closed_without_packet();
    Peer::connected(&hub, &device).publish(EVENTS, b"after it");
    assert_eq!(hub.telemetry("dev").len(), 1);
}

#[test]
fn m_e12_every_ping_is_answered_in_its_turn() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    let mut bytes = PINGREQ.repeat(3);
    bytes.extend(packets::publish(EVENTS, 1, 0, 9, b""));
    bytes.extend(PINGREQ);
    peer.send(&bytes);
    for _ in 0..3 {
        assert!(matches!(peer.read(), Packet::PingResp));
    }
    assert_eq!(peer.expect_puback(), 9);
    assert!(matches!(peer.read(), Packet::PingResp));
    let pings = hub.activity("dev").iter().filter(|activity| matches!(activity, Activity::Ping { .. })).count();
    assert_eq!(pings, 4);
}

#[test]
fn m_e12_pings_are_answered_while_a_message_waits_for_its_puback() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.subscribe(&[("devices/dev/messages/devicebound/#", 1)]);
    hub.send_c2d("dev", iothub_emulator::C2dMessage::new("unsettled")).unwrap();
    peer.expect_publish();
    for _ in 0..10 {
        peer.expect_quiet();
    }
}
