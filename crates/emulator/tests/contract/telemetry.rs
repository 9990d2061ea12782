//! Telemetry as packets: acknowledgement, flags, violations, many in flight, faults (E17, E18, E21 to E23).

use std::time::Duration;

use iothub_emulator::{Activity, Config, DisconnectReason, Emulator, Fault, Hub, UnknownTopic};
use rumqttc::mqttbytes::v4::Packet;

use crate::support::packets::{self, Connect, DUP, RETAIN};
use crate::support::peer::Peer;
use crate::support::{LIMIT, hub_with_manual_clock, start, why_it_ended};

const EVENTS: &str = "devices/dev/messages/events/";

/// The most a message may weigh: 256 KiB.
const LARGEST: usize = 262_144;

fn bodies(hub: &Hub) -> Vec<String> {
    hub.telemetry("dev").iter().map(|record| String::from_utf8_lossy(&record.body).into_owned()).collect()
}

fn puback_ids(packets: &[Packet]) -> Vec<u16> {
    packets
        .iter()
        .map(|packet| match packet {
            Packet::PubAck(ack) => ack.pkid,
            other => panic!("instead of a PUBACK came {other:?}"),
        })
        .collect()
}

#[test]
fn m_e17_a_qos_1_publish_gets_one_puback_once_it_is_stored() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    for id in [1, 0x0102, u16::MAX] {
        peer.send(&packets::publish(EVENTS, 1, 0, id, id.to_string().as_bytes()));
        assert_eq!(peer.expect_puback(), id);
        assert_eq!(bodies(&hub).last(), Some(&id.to_string()), "stored before it is acknowledged");
    }
    peer.expect_quiet();
    let recorded: Vec<Option<u16>> = hub
        .activity("dev")
        .iter()
        .filter_map(|activity| match activity {
            Activity::Telemetry { packet_id, dup, .. } => {
                assert!(!dup);
                Some(*packet_id)
            }
            Activity::PubackSent { packet_id, .. } => Some(Some(*packet_id)),
            _ => None,
        })
        .collect();
    assert_eq!(
        recorded,
        [1, 1, 0x0102, 0x0102, u16::MAX, u16::MAX].map(Some),
        "stored, acknowledged; one after the other"
    );
}

#[test]
fn m_e17_a_qos_0_publish_is_stored_and_not_acknowledged() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.send(&packets::publish(EVENTS, 0, 0, 0, b"fire and forget"));
    peer.expect_quiet();
    assert_eq!(bodies(&hub), ["fire and forget"]);
}

#[test]
fn m_e17_a_resend_is_a_second_event_with_a_second_puback() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.send(&packets::publish(EVENTS, 1, 0, 5, b"again"));
    peer.send(&packets::publish(EVENTS, 1, DUP, 5, b"again"));
    assert_eq!(puback_ids(&peer.drain()), [5, 5]);
    let telemetry = hub.telemetry("dev");
    assert_eq!(telemetry.len(), 2, "the hub does not deduplicate");
    assert_eq!(telemetry[0].property("mqtt-dup"), None);
    assert_eq!(telemetry[1].property("mqtt-dup"), Some(Some("true")));
    assert!(telemetry[0].sequence_number < telemetry[1].sequence_number);
}

#[test]
fn m_e17_a_resend_on_the_next_connection_is_taken_as_well() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::of(&hub, &device);
    let mut peer = Peer::connected_as(&hub, &connect);
    peer.send(&packets::publish(EVENTS, 1, 0, 5, b"again"));
    peer.cut();
    hub.wait_for_telemetry("dev", 1, LIMIT).unwrap();
    let mut peer = Peer::connected_as(&hub, &connect);
    peer.send(&packets::publish(EVENTS, 1, DUP, 5, b"again"));
    assert_eq!(peer.expect_puback(), 5);
    let telemetry = hub.telemetry("dev");
    assert_eq!(telemetry.len(), 2);
    assert_ne!(telemetry[0].connection, telemetry[1].connection);
}

#[test]
fn m_e17_a_qos_1_publish_with_packet_id_0_closes() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.send(&packets::publish(EVENTS, 1, 0, 0, b"no id"));
    peer.expect_closed_without_packet();
    assert_eq!(hub.telemetry("dev").len(), 0);
}

#[test]
fn m_e18_retain_is_noted_and_nothing_is_retained() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::of(&hub, &device);
    let mut peer = Peer::connected_as(&hub, &connect);
    peer.send(&packets::publish(EVENTS, 0, RETAIN, 0, b"keep me"));
    peer.send(&packets::publish(EVENTS, 1, RETAIN, 1, b"keep me too"));
    peer.send(&packets::publish(EVENTS, 1, 0, 2, b"plain"));
    peer.send(&packets::publish(EVENTS, 1, RETAIN | DUP, 3, b"both"));
    peer.drain();
    let telemetry = hub.telemetry("dev");
    let noted: Vec<_> = telemetry.iter().map(|record| record.property("mqtt-retain")).collect();
    assert_eq!(noted, [Some(Some("true")), Some(Some("true")), None, Some(Some("true"))]);
    assert_eq!(telemetry[3].property("mqtt-dup"), Some(Some("true")));
    peer.disconnect();

    let mut peer = Peer::connected_as(&hub, &connect);
    peer.subscribe(&[("devices/dev/messages/devicebound/#", 1), ("$iothub/twin/res/#", 1)]);
    peer.expect_quiet();
}

#[test]
fn m_e21_qos_2_closes() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.send(&packets::publish(EVENTS, 2, 0, 1, b"exactly once"));
    peer.expect_closed_without_packet();
    assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::Qos2);
}

#[test]
fn m_e21_the_qos_that_does_not_exist_closes() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.send(&packets::publish(EVENTS, 3, 0, 1, b"QoS 3"));
    peer.expect_closed_without_packet();
    assert_eq!(hub.telemetry("dev").len(), 0);
}

#[test]
fn m_e21_packets_that_only_a_hub_or_qos_2_sends_close() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let foreign: [(&str, Vec<u8>); 8] = [
        ("CONNACK", packets::frame(0x20, &[0, 0])),
        ("PUBREC", packets::frame(0x50, &[0, 1])),
        ("PUBREL", packets::frame(0x62, &[0, 1])),
        ("PUBCOMP", packets::frame(0x70, &[0, 1])),
        ("SUBACK", packets::frame(0x90, &[0, 1, 0])),
        ("UNSUBACK", packets::frame(0xB0, &[0, 1])),
        ("PINGRESP", packets::frame(0xD0, &[])),
        ("type 15", packets::frame(0xF0, &[])),
    ];
    for (what, packet) in foreign {
        let mut peer = Peer::connected(&hub, &device);
        peer.send(&packet);
        assert_eq!(peer.read_until_closed(), [], "{what}");
    }
}

#[test]
fn m_e21_a_message_of_256_kib_is_taken_and_one_byte_more_closes() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    // The topic, and what it adds to the size: values of system properties, names and values of the others, decoded.
    let topics = [
        (EVENTS.to_owned(), 0),
        (format!("{EVENTS}%24.mid=id-1"), 4),
        (format!("{EVENTS}name=value"), 9),
        (format!("{EVENTS}n%20me=v%C3%A4lue&%24.ct=text&empty=&null"), 4 + 6 + 4 + 5 + 4),
    ];
    for (topic, weight) in topics {
        let body = vec![0x5A; LARGEST - weight];
        let mut peer = Peer::connected(&hub, &device);
        peer.publish(&topic, &body);
        let stored = hub.telemetry("dev");
        assert_eq!(stored.last().unwrap().body.len(), body.len());

        let body = vec![0x5A; LARGEST - weight + 1];
        // The hub may close before it has read all.
        let _ = peer.try_send(&packets::publish(&topic, 1, 0, 7, &body));
        assert_eq!(peer.read_until_closed(), [], "{topic}");
        assert_eq!(hub.telemetry("dev").len(), stored.len(), "{topic}");
        let too_large = DisconnectReason::MessageTooLarge { size: LARGEST + 1, limit: LARGEST };
        assert_eq!(why_it_ended(&hub, "dev"), too_large);
    }
}

/// Topics that are not telemetry of `dev`.
const FOREIGN: [&str; 14] = [
    "nowhere",
    "devices",
    "devices/dev",
    "devices/dev/messages",
    "devices/dev/messages/event/",
    "devices/dev/messages/eventsX",
    "devices/dev/messages/devicebound/",
    "devices/dev2/messages/events/",
    "devices/DEV/messages/events/",
    "Devices/dev/messages/events/",
    "/devices/dev/messages/events/",
    "devices/dev/modules/mod/messages/events/",
    "$iothub/nowhere",
    "$SYS/broker",
];

#[test]
fn m_e21_a_topic_that_is_unknown_or_another_devices_closes() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    hub.create_device("dev2").unwrap();
    for topic in FOREIGN {
        for qos in [0, 1] {
            let mut peer = Peer::connected(&hub, &device);
            peer.send(&packets::publish(topic, qos, 0, 1, b"lost"));
            assert_eq!(peer.read_until_closed(), [], "{topic} at QoS {qos}");
            assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::UnknownTopic(topic.to_owned()));
        }
    }
    assert_eq!(hub.all_telemetry(), []);
}

#[test]
fn m_e21_a_topic_that_mqtt_forbids_closes_whatever_the_setting() {
    for reaction in [UnknownTopic::Close, UnknownTopic::DropAndAck, UnknownTopic::LegacyUnmatched] {
        let hub = start(Config::new().with_unknown_topic(reaction));
        let device = hub.create_device("dev").unwrap();
        for topic in ["", "#", "devices/+/messages/events/", "devices/dev/messages/events/a=\0"] {
            let mut peer = Peer::connected(&hub, &device);
            peer.send(&packets::publish(topic, 1, 0, 1, b"lost"));
            assert_eq!(peer.read_until_closed(), [], "{topic:?} with {reaction:?}");
        }
        assert_eq!(hub.all_telemetry(), []);
    }
}

#[test]
fn m_e21_a_topic_that_is_not_utf_8_closes() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    let mut packet = packets::publish("devices/dev/messages/events/a=b", 1, 0, 1, b"lost");
    let position = packet.iter().position(|byte| *byte == b'=').unwrap();
    packet[position + 1] = 0xFF;
    peer.send(&packet);
    peer.expect_closed_without_packet();
    assert_eq!(hub.all_telemetry(), []);
}

#[test]
fn m_e21_a_topic_that_is_unknown_can_be_acknowledged_and_dropped() {
    let hub = start(Config::new().with_unknown_topic(UnknownTopic::DropAndAck));
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    for topic in ["nowhere", "devices/dev2/messages/events/"] {
        peer.publish(topic, b"dropped");
        peer.send(&packets::publish(topic, 0, 0, 0, b"dropped"));
    }
    peer.expect_quiet();
    assert_eq!(hub.all_telemetry(), []);
    let dropped =
        hub.activity("dev").iter().filter(|activity| matches!(activity, Activity::PublishDropped { .. })).count();
    assert_eq!(dropped, 4, "it is on record that something was dropped");
}

#[test]
fn m_e21_a_topic_that_is_unknown_can_become_unmatched_telemetry() {
    let hub = start(Config::new().with_unknown_topic(UnknownTopic::LegacyUnmatched));
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.publish("some/where/else", b"kept");
    let telemetry = hub.telemetry("dev");
    assert_eq!(telemetry[0].property("$PG.Unmatched"), Some(Some("True")));
    assert_eq!(telemetry[0].property("$PG.Subject"), Some(Some("some/where/else")));
    assert_eq!(&telemetry[0].body[..], b"kept");
}

#[test]
fn m_e22_thousands_in_flight_are_acknowledged_in_order() {
    const COUNT: u16 = 3_000;
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    let mut bytes = Vec::new();
    for id in 1..=COUNT {
        bytes.extend(packets::publish(EVENTS, 1, 0, id, id.to_string().as_bytes()));
    }
    peer.send(&bytes);
    for id in 1..=COUNT {
        assert_eq!(peer.expect_puback(), id);
    }
    peer.expect_quiet();
    let expected: Vec<String> = (1..=COUNT).map(|id| id.to_string()).collect();
    assert_eq!(bodies(&hub), expected);
}

#[test]
fn m_e23_pubacks_can_be_dropped() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    hub.inject_for("dev", Fault::DropPubacks { count: 2 });
    for id in 1..=4 {
        peer.send(&packets::publish(EVENTS, 1, 0, id, b""));
    }
    assert_eq!(puback_ids(&peer.drain()), [3, 4]);
    assert_eq!(hub.telemetry("dev").len(), 4, "all are stored");
    assert_eq!(hub.pending_faults(), 0);
}

#[test]
fn m_e23_pubacks_can_be_delayed_and_keep_their_order() {
    let hub = hub_with_manual_clock();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    let by = Duration::from_secs(10);
    hub.inject_for("dev", Fault::DelayPubacks { count: 2, by });
    for id in 1..=3 {
        peer.send(&packets::publish(EVENTS, 1, 0, id, b""));
    }
    peer.expect_quiet();
    assert_eq!(hub.telemetry("dev").len(), 3, "all are stored");
    hub.advance_clock(Duration::from_secs(9));
    peer.expect_quiet();
    hub.advance_clock(Duration::from_secs(2));
    for id in 1..=3 {
        assert_eq!(peer.expect_puback(), id);
    }
    peer.send(&packets::publish(EVENTS, 1, 0, 4, b""));
    assert_eq!(peer.expect_puback(), 4, "the fault is used up");
}

#[test]
fn m_e23_pubacks_can_be_reordered() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    hub.inject_for("dev", Fault::ReorderPubacks { window: 3 });
    for id in 1..=2 {
        peer.send(&packets::publish(EVENTS, 1, 0, id, b""));
    }
    peer.expect_quiet();
    for id in 3..=4 {
        peer.send(&packets::publish(EVENTS, 1, 0, id, b""));
    }
    assert_eq!(puback_ids(&peer.drain()), [3, 2, 1, 4]);
}

#[test]
fn m_e23_a_fault_for_one_device_leaves_the_others_alone() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    hub.create_device("dev2").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    let fault = hub.inject_for("dev2", Fault::DropPubacks { count: 1 });
    peer.publish(EVENTS, b"");
    assert_eq!(hub.pending_faults(), 1, "{fault:?} still waits");
    hub.clear_faults();
    assert_eq!(hub.pending_faults(), 0);
}
