//! Bytes that no client should send: the hub closes that connection, keeps every other, and never hangs. And bytes that
//! come in any pieces: the result is the same.

use std::io::Write as _;

use iothub_emulator::{DisconnectReason, Emulator, Hub, MethodCall};
use rumqttc::mqttbytes::v4::Packet;

use crate::support::packets::{self, Connect, Will};
use crate::support::peer::{Peer, open_tcp, read_to_end};
use crate::support::{LIMIT, wait_until_gone, why_it_ended};

const EVENTS: &str = "devices/dev/messages/events/";
const DEVICEBOUND: &str = "devices/dev/messages/devicebound/#";

/// Random bytes that are the same in every run (xorshift).
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| {
                self.0 ^= self.0 << 13;
                self.0 ^= self.0 >> 7;
                self.0 ^= self.0 << 17;
                self.0.to_be_bytes()[0]
            })
            .collect()
    }
}

/// Another device that stays connected while the hub is being mistreated.
fn witness(hub: &Hub) -> Peer {
    let device = hub.create_device("witness").unwrap();
    Peer::connected(hub, &device)
}

#[test]
fn noise_instead_of_a_handshake_is_closed() {
    let hub = Emulator::start().unwrap();
    let mut witness = witness(&hub);
    let mut noise = Noise(1);
    for length in [1, 5, 6, 100, 70_000] {
        let mut tcp = open_tcp(&hub);
        let _ = tcp.write_all(&noise.bytes(length));
        let _ = tcp.shutdown(std::net::Shutdown::Write);
        let answer = read_to_end(&mut tcp);
        assert_ne!(answer.first(), Some(&0x20), "no CONNACK");
    }
    witness.expect_quiet();
}

#[test]
fn noise_instead_of_a_connect_is_closed_without_a_packet() {
    let hub = Emulator::start().unwrap();
    let mut witness = witness(&hub);
    let mut noise = Noise(2);
    for first in 0..=u8::MAX {
        // A CONNECT of noise may be refused in words: that is tested below.
        if first >> 4 == 1 {
            continue;
        }
        let mut peer = Peer::open(&hub);
        let _ = peer.try_send(&packets::frame(first, &noise.bytes(200)));
        assert_eq!(peer.read_until_closed(), [], "first byte {first:#04x}");
    }
    witness.expect_quiet();
}

#[test]
fn a_malformed_connect_is_not_accepted() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let good = Connect::of(&hub, &device).encode();
    let body = &good[3..];
    assert_eq!(good, packets::frame(0x10, body), "the remaining length takes two bytes");
    let with_flags = |flags: u8| {
        let mut body = body.to_vec();
        body[7] = flags;
        packets::frame(0x10, &body)
    };
    let mut noise = Noise(3);
    let malformed: Vec<(&str, Vec<u8>)> = vec![
        ("header flags", packets::frame(0x11, body)),
        ("no content", packets::frame(0x10, &[])),
        ("cut inside the protocol name", packets::frame(0x10, &body[..4])),
        ("cut behind the client id", packets::frame(0x10, &body[..15])),
        ("cut inside the password", packets::frame(0x10, &body[..body.len() - 1])),
        ("a byte too many", packets::frame(0x10, &[body, &[0]].concat())),
        ("the reserved flag", with_flags(0xC1)),
        ("a password without a user name", with_flags(0x40)),
        ("a will of QoS 3", with_flags(0xDC)),
        ("will QoS without a will", with_flags(0xC8)),
        ("will retain without a will", with_flags(0xE0)),
        ("a will that is not there", with_flags(0xC4)),
        ("noise", packets::frame(0x10, &noise.bytes(300))),
    ];
    for (what, packet) in malformed {
        let mut peer = Peer::open(&hub);
        peer.send(&packet);
        let answer = peer.read_until_closed();
        let accepted = answer.iter().any(|packet| !matches!(packet, Packet::ConnAck(answer) if answer.code as u8 != 0));
        assert!(!accepted, "{what}: {answer:?}");
    }
    assert!(!hub.connected("dev"));
    Peer::connected(&hub, &device).expect_quiet();
}

#[test]
fn a_malformed_packet_closes_and_publishes_the_will() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut witness = witness(&hub);
    let topic_too_long = {
        let mut packet = packets::publish(EVENTS, 1, 0, 1, b"");
        packet[2] = 0xFF;
        packet
    };
    let malformed: Vec<(&str, Vec<u8>)> = vec![
        ("a topic longer than its packet", topic_too_long),
        ("a PUBLISH without content", packets::frame(0x32, &[])),
        ("a PUBLISH without packet id", packets::frame(0x32, &[0, 1, b'a'])),
        ("DUP at QoS 0", packets::publish(EVENTS, 0, packets::DUP, 0, b"")),
        ("a PUBACK with one byte", packets::frame(0x40, &[1])),
        ("a PUBACK with three bytes", packets::frame(0x40, &[0, 1, 2])),
        ("a PUBACK with header flags", packets::frame(0x42, &[0, 1])),
        ("a SUBSCRIBE without QoS", packets::frame(0x82, &[0, 1, 0, 1, b'a'])),
        ("a SUBSCRIBE longer than its packet", packets::frame(0x82, &[0, 1, 0xFF, 0xFF, b'a', 1])),
        ("an UNSUBSCRIBE without filter", packets::frame(0xA2, &[0, 1])),
        ("an UNSUBSCRIBE with header flags 0", packets::frame(0xA0, &[0, 1, 0, 1, b'a'])),
        ("a PINGREQ with content", packets::frame(0xC0, &[0])),
        ("a PINGREQ with header flags", packets::frame(0xC1, &[])),
        ("a DISCONNECT with content", packets::frame(0xE0, &[0])),
        ("a DISCONNECT with header flags", packets::frame(0xE1, &[])),
        ("type 0", packets::frame(0x00, &[])),
        ("type 15", packets::frame(0xF0, &[])),
        ("a remaining length of five bytes", vec![0x32, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
    ];
    let count = malformed.len();
    for (what, packet) in malformed {
        let connect = Connect::of(&hub, &device).will(Will::new(EVENTS, what.as_bytes()));
        let mut peer = Peer::connected_as(&hub, &connect);
        peer.send(&packet);
        assert_eq!(peer.read_until_closed(), [], "{what}");
        wait_until_gone(&hub, "dev");
        let telemetry = hub.telemetry("dev");
        assert_eq!(telemetry.last().map(|record| &record.body[..]), Some(what.as_bytes()));
    }
    assert_eq!(hub.telemetry("dev").len(), count, "nothing but the wills");
    witness.expect_quiet();
}

#[test]
fn a_length_beyond_any_message_closes_at_once() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    for length in [1_000_000, 268_435_455] {
        let mut peer = Peer::connected(&hub, &device);
        let mut header = vec![0x32];
        header.extend(packets::remaining_length(length));
        peer.send(&header);
        peer.expect_closed_without_packet();

        let mut stranger = Peer::open(&hub);
        header[0] = 0x10;
        stranger.send(&header);
        stranger.expect_closed_without_packet();
    }
}

#[test]
fn a_packet_that_never_ends_is_given_up_with_its_connection() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut witness = witness(&hub);
    let packet = packets::publish(EVENTS, 1, 0, 1, b"never whole");
    for length in 1..packet.len() {
        let connect = Connect::of(&hub, &device).will(Will::new(EVENTS, b"will"));
        let mut peer = Peer::connected_as(&hub, &connect);
        peer.send(&packet[..length]);
        peer.cut();
        wait_until_gone(&hub, "dev");
    }
    let telemetry = hub.wait_for_telemetry("dev", packet.len() - 1, LIMIT).unwrap();
    assert!(telemetry.iter().all(|record| &record.body[..] == b"will"));
    assert_eq!(telemetry.len(), packet.len() - 1);
    witness.expect_quiet();
}

/// A whole session for `device`, as one run of bytes.
fn session(hub: &Hub, device: &str) -> Vec<u8> {
    let device = hub.device(device).unwrap();
    let mut bytes = Connect::of(hub, &device).encode();
    bytes.extend(packets::subscribe(2, &[(DEVICEBOUND, 1)]));
    bytes.extend(packets::publish("devices/dev/messages/events/a=b", 1, 0, 3, b"in pieces"));
    bytes
}

/// The answers to `session`, and nothing else.
fn expect_answers(hub: &Hub, peer: &mut Peer, before: usize) {
    assert!(matches!(peer.read(), Packet::ConnAck(answer) if answer.code as u8 == 0));
    assert!(matches!(peer.read(), Packet::SubAck(ack) if ack.pkid == 2));
    assert_eq!(peer.expect_puback(), 3);
    peer.expect_quiet();
    let telemetry = hub.telemetry("dev");
    assert_eq!(telemetry.len(), before + 1);
    assert_eq!(&telemetry[before].body[..], b"in pieces");
    assert_eq!(telemetry[before].property("a"), Some(Some("b")));
}

#[test]
fn a_session_split_at_any_byte_has_the_same_result() {
    let hub = Emulator::start().unwrap();
    hub.create_device("dev").unwrap();
    let bytes = session(&hub, "dev");
    for (stored, split) in (1..bytes.len()).enumerate() {
        let mut peer = Peer::open(&hub);
        let (front, back) = bytes.split_at(split);
        peer.send(front);
        peer.send(back);
        expect_answers(&hub, &mut peer, stored);
    }
}

#[test]
fn a_session_byte_by_byte_has_the_same_result() {
    let hub = Emulator::start().unwrap();
    hub.create_device("dev").unwrap();
    let mut peer = Peer::open(&hub);
    for byte in session(&hub, "dev") {
        peer.send(&[byte]);
    }
    expect_answers(&hub, &mut peer, 0);
}

#[test]
fn a_peer_that_never_reads_does_not_stop_the_others() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut witness = witness(&hub);
    let mut deaf = Peer::connected(&hub, &device);
    let burst = packets::publish(EVENTS, 1, 0, 1, b"").repeat(2_000);
    deaf.send(&burst);
    hub.wait_for_telemetry("dev", 2_000, LIMIT).unwrap();
    witness.expect_quiet();
    deaf.cut();
    wait_until_gone(&hub, "dev");
}

#[test]
fn noise_below_iothub_is_answered_or_closes_and_harms_nobody() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut witness = witness(&hub);
    let mut noise = Noise(4);
    let good = br#"{"a":{"b":[1,2,{"c":null}]},"d":"text"}"#;
    for round in 0..300 {
        let mut body = good.to_vec();
        for byte in noise.bytes(4) {
            let place = usize::from(byte) % body.len();
            body[place] = noise.bytes(1)[0];
        }
        let topic = match round % 3 {
            0 => "$iothub/twin/PATCH/properties/reported/?$rid=1".to_owned(),
            1 => format!("$iothub/methods/res/{}/?$rid=1", round - 150),
            _ => {
                // Anything that is text and no wildcard.
                let text: String = noise.bytes(12).into_iter().map(|byte| char::from(b' ' + byte % 94)).collect();
                format!("$iothub/{}", text.replace(['+', '#'], "x"))
            }
        };
        let mut peer = Peer::connected(&hub, &device);
        peer.subscribe(&[("$iothub/twin/res/#", 0)]);
        peer.send(&packets::publish(&topic, 1, 0, 1, &body));
        let _ = peer.try_send(packets::DISCONNECT);
        for packet in peer.read_until_closed() {
            match packet {
                Packet::PubAck(ack) => assert_eq!(ack.pkid, 1),
                Packet::Publish(reply) => assert!(reply.topic.starts_with("$iothub/twin/res/"), "{}", reply.topic),
                other => panic!("{other:?}"),
            }
        }
    }
    witness.expect_quiet();
}

#[test]
fn a_peer_that_never_reads_is_given_up_before_it_fills_the_memory() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut witness = witness(&hub);
    let mut deaf = Peer::connected(&hub, &device);
    deaf.subscribe(&[("$iothub/methods/POST/#", 0)]);
    let call = MethodCall::new("m").raw_payload(vec![b' '; 128 * 1024]);
    // At most 128 MiB; the system takes some of it, and then the hub has had enough.
    let calls: Vec<_> = (0..1024).map_while(|_| hub.start_method("dev", call.clone()).ok()).collect();
    hub.wait_until(LIMIT, "the hub to give up", |hub| !hub.connected("dev")).unwrap();
    assert!(matches!(why_it_ended(&hub, "dev"), DisconnectReason::DeviceDoesNotRead { .. }));
    drop(calls);
    witness.expect_quiet();
}
