//! Frames of a WebSocket: what is a stream of bytes to MQTT, and which rules hold for it (E1, E10; E45 for fragments).

use std::time::Duration;

use iothub_emulator::{Activity, C2dMessage, DisconnectReason, Emulator, Fault, Hub};

use crate::support::packets::{self, Connect, Will};
use crate::support::peer::Peer;
use crate::support::web_socket::{BINARY, CLOSE, CONTINUATION, FIN, Frame, PING, PONG, TEXT, WebSocket, frame};
use crate::support::{LIMIT, why_it_ended};

const EVENTS: &str = "devices/dev/messages/events/";
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

/// A hub with a device `dev`, and a WebSocket on which it is connected.
fn connected() -> (Emulator, WebSocket) {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut web_socket = WebSocket::open(&hub);
    web_socket.send_frame(FIN | BINARY, &Connect::of(&hub, &device).encode());
    assert_eq!(web_socket.read_frame(), Some(message(&CONNACK)));
    (hub, web_socket)
}

fn message(payload: &[u8]) -> Frame {
    Frame { first: FIN | BINARY, payload: payload.to_vec() }
}

/// The codes of the goodbyes until the end of the connection, which comes without anything else.
fn goodbyes(web_socket: &mut WebSocket) -> Vec<Option<u16>> {
    web_socket.read_until_closed().iter().map(Frame::close_code).collect()
}

/// A QoS 0 publish, so that nothing comes back.
fn event(body: &[u8]) -> Vec<u8> {
    packets::publish(EVENTS, 0, 0, 0, body)
}

fn bodies(hub: &Hub, count: usize) -> Vec<Vec<u8>> {
    let telemetry = hub.wait_for_telemetry("dev", count, LIMIT).unwrap();
    telemetry.into_iter().map(|record| record.body.to_vec()).collect()
}

#[test]
fn m_e01_packets_and_web_socket_messages_need_not_coincide() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut web_socket = WebSocket::open(&hub);
    for byte in Connect::of(&hub, &device).encode() {
        web_socket.send_frame(FIN | BINARY, &[byte]);
        web_socket.send_frame(FIN | BINARY, &[]);
    }
    assert_eq!(web_socket.read_frame(), Some(message(&CONNACK)));

    let two = [event(b"one"), event(b"two")].concat();
    web_socket.send_frame(FIN | BINARY, &two);
    let long = event(&[7; 70_000]);
    web_socket.send_frame(BINARY, &long[..100]);
    web_socket.send_frame(CONTINUATION, &long[100..300]);
    web_socket.send_frame(FIN | PING, b"between");
    assert_eq!(web_socket.read_frame(), Some(Frame { first: FIN | PONG, payload: b"between".to_vec() }));
    web_socket.send_frame(CONTINUATION, &[]);
    web_socket.send_frame(FIN | CONTINUATION, &long[300..]);
    assert_eq!(bodies(&hub, 3), [b"one".to_vec(), b"two".to_vec(), vec![7; 70_000]]);
}

#[test]
fn m_e01_frames_may_come_in_pieces() {
    let (hub, mut web_socket) = connected();
    for byte in frame(FIN | BINARY, &event(b"slow")) {
        web_socket.send_bytes(&[byte]);
    }
    assert_eq!(bodies(&hub, 1), [b"slow"]);
}

#[test]
fn m_e01_a_long_packet_goes_out_in_messages_and_comes_whole() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::over(WebSocket::open(&hub));
    peer.connect(&Connect::of(&hub, &device));
    peer.subscribe(&[("devices/dev/messages/devicebound/#", 1)]);
    let body: Vec<u8> = (0..60_000).map(|index| (index % 251) as u8).collect();
    hub.send_c2d("dev", C2dMessage::new(body.clone())).unwrap();
    assert_eq!(peer.expect_publish().payload, body);
}

#[test]
fn m_e01_pings_are_answered_and_pongs_passed_over() {
    let (hub, mut web_socket) = connected();
    for payload in [&b""[..], b"ping", &[0; 125]] {
        web_socket.send_frame(FIN | PING, payload);
        assert_eq!(web_socket.read_frame(), Some(Frame { first: FIN | PONG, payload: payload.to_vec() }));
    }
    web_socket.send_frame(FIN | PONG, b"unasked");
    web_socket.send_frame(FIN | BINARY, packets::PINGREQ);
    assert_eq!(web_socket.read_frame(), Some(message(&[0xD0, 0])));
    assert!(hub.connected("dev"));
}

#[test]
fn m_e01_a_peer_that_does_not_read_its_pongs_is_not_read_either() {
    /// Far more than all buffers of both systems hold.
    const TOO_MUCH: usize = 64 * 1024 * 1024;
    let (_hub, mut web_socket) = connected();
    web_socket.give_up_writing_after(Duration::from_millis(200));
    let pings = frame(FIN | PING, &[0; 125]).repeat(1000);
    let mut written = 0;
    while web_socket.try_send_bytes(&pings).is_ok() {
        written += pings.len();
        assert!(written < TOO_MUCH, "the hub keeps pongs for {written} bytes of pings");
    }
}

#[test]
fn m_e01_a_close_is_answered_with_its_code_and_the_connection_ends() {
    let (hub, mut web_socket) = connected();
    web_socket.send_frame(FIN | CLOSE, &[0x03, 0xE9, b'b', b'y', b'e']);
    assert_eq!(goodbyes(&mut web_socket), [Some(1001)]);
    assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::ConnectionLost);
}

#[test]
fn m_e01_after_a_disconnect_the_hub_says_goodbye() {
    let (hub, mut web_socket) = connected();
    web_socket.send_frame(FIN | BINARY, packets::DISCONNECT);
    assert_eq!(goodbyes(&mut web_socket), [Some(1000)]);
    assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::ByDevice);
}

#[test]
fn m_e01_the_goodbyes_of_both_may_cross() {
    let (hub, mut web_socket) = connected();
    let both = [frame(FIN | BINARY, packets::DISCONNECT), frame(FIN | CLOSE, &[0x03, 0xE8])].concat();
    web_socket.send_bytes(&both);
    assert_eq!(goodbyes(&mut web_socket), [Some(1000)]);
    assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::ByDevice);
}

#[test]
fn m_e01_what_breaks_the_rules_of_a_web_socket_closes_with_its_code() {
    let unmasked = vec![FIN | BINARY, 2, 0xC0, 0];
    let too_long = {
        let mut header = vec![FIN | BINARY, 0x80 | 127];
        header.extend((1_u64 << 21).to_be_bytes());
        header.extend([0; 4]);
        header
    };
    let too_long_in_pieces = [frame(BINARY, &[0; 700_000]), frame(FIN | CONTINUATION, &[0; 700_000])].concat();
    for (name, bytes, code) in [
        ("a text message", frame(FIN | TEXT, b"hello"), 1003),
        ("a text message in pieces", [frame(TEXT, b"hel"), frame(FIN | CONTINUATION, b"lo")].concat(), 1003),
        ("no mask", unmasked, 1002),
        ("a reserved bit", frame(FIN | 0x40 | BINARY, b""), 1002),
        ("an unknown opcode", frame(FIN | 3, b""), 1002),
        ("a continuation of nothing", frame(FIN | CONTINUATION, b""), 1002),
        ("a message within a message", [frame(BINARY, b"\xC0"), frame(FIN | BINARY, b"\0")].concat(), 1002),
        ("a ping in pieces", frame(PING, b""), 1002),
        ("a long ping", frame(FIN | PING, &[0; 126]), 1002),
        ("a close of one byte", frame(FIN | CLOSE, &[3]), 1002),
        ("more than a MiB", too_long, 1009),
        ("more than a MiB in pieces", too_long_in_pieces, 1009),
    ] {
        let (hub, mut web_socket) = connected();
        web_socket.send_bytes(&bytes);
        assert_eq!(goodbyes(&mut web_socket), [Some(code)], "{name}");
        assert!(matches!(why_it_ended(&hub, "dev"), DisconnectReason::ProtocolViolation(_)), "{name}");
    }
}

#[test]
fn m_e01_a_packet_that_breaks_mqtt_closes_a_web_socket_without_a_word() {
    let (hub, mut web_socket) = connected();
    web_socket.send_frame(FIN | BINARY, &packets::publish(EVENTS, 2, 0, 1, b""));
    assert_eq!(web_socket.read_until_closed(), []);
    assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::Qos2);
}

#[test]
fn m_e10_a_web_socket_closed_without_a_disconnect_publishes_the_will() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut web_socket = WebSocket::open(&hub);
    let connect = Connect { will: Some(Will::new(EVENTS, b"gone")), ..Connect::of(&hub, &device) };
    web_socket.send_frame(FIN | BINARY, &connect.encode());
    web_socket.read_frame().unwrap();
    web_socket.send_frame(FIN | CLOSE, &[0x03, 0xE8]);
    assert_eq!(bodies(&hub, 1), [b"gone"]);
}

#[test]
fn m_e45_what_the_hub_sends_can_be_fragmented() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    hub.inject(Fault::FragmentMessages { size: 3 });
    let mut web_socket = WebSocket::open(&hub);
    assert_eq!(hub.pending_faults(), 0);
    web_socket.send_frame(FIN | BINARY, &Connect::of(&hub, &device).encode());
    let fragments = [Frame { first: BINARY, payload: vec![0x20, 2, 0] }, Frame { first: FIN, payload: vec![0] }];
    assert_eq!([web_socket.read_frame(), web_socket.read_frame()], fragments.map(Some));
    web_socket.send_frame(FIN | BINARY, packets::PINGREQ);
    assert_eq!(web_socket.read_frame(), Some(message(&[0xD0, 0])), "what fits a frame is one");
    let mut next = WebSocket::open(&hub);
    next.send_frame(FIN | BINARY, &Connect::of(&hub, &device).encode());
    assert_eq!(next.read_frame(), Some(message(&[0x20, 2, 1, 0])), "it was for one connection");
}

#[test]
fn m_e45_a_split_falls_between_two_messages_of_a_web_socket() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    hub.inject(Fault::SplitAt { byte: 1 });
    let mut web_socket = WebSocket::open(&hub);
    web_socket.send_frame(FIN | BINARY, &Connect::of(&hub, &device).encode());
    assert_eq!(web_socket.read_frame(), Some(message(&CONNACK[..1])));
    assert_eq!(web_socket.read_frame(), Some(message(&CONNACK[1..])));
}

#[test]
fn m_e45_faults_of_packets_happen_over_a_web_socket_too() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    for (fault, frames) in [(Fault::KillTcp, 0), (Fault::OrderlyClose, 1)] {
        let mut web_socket = WebSocket::open(&hub);
        web_socket.send_frame(FIN | BINARY, &Connect::of(&hub, &device).encode());
        web_socket.read_frame().unwrap();
        hub.inject_for("dev", fault.clone());
        assert_eq!(goodbyes(&mut web_socket), vec![Some(1000); frames], "{fault:?}");
        assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::Fault(fault));
    }
    hub.inject_for("dev", Fault::RefuseConnect { code: 3 });
    let answer = Peer::over(WebSocket::open(&hub)).ask(&Connect::of(&hub, &device));
    assert_eq!(answer.code as u8, 3);
    let refused = |activity: &Activity| matches!(activity, Activity::ConnectRefused { code: 3, .. });
    assert!(hub.activity("dev").iter().any(refused));
}
