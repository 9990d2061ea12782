//! What happens before a CONNECT is accepted: TLS, the protocol version, the order of the first packets (E1, E9).

use std::io::Write as _;
use std::net::{Ipv6Addr, TcpStream};
use std::time::Duration;

use iothub_emulator::{Activity, Config, DisconnectReason, Emulator, TlsVersion};
use rumqttc::mqttbytes::v4::Packet;
use rustls::ProtocolVersion;

use crate::support::packets::{self, Connect};
use crate::support::peer::{Peer, open_tcp, read_to_end};
use crate::support::tls::{TLS_1_2, TLS_1_3, TlsOptions};
use crate::support::{LIMIT, hub_with_manual_clock, manual_clock, start, why_it_ended};

#[test]
fn m_e01_tls_1_2_and_tls_1_3_are_served() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let versions = [
        (TlsOptions::default().only(TLS_1_2), ProtocolVersion::TLSv1_2, TlsVersion::Tls12),
        (TlsOptions::default().only(TLS_1_3), ProtocolVersion::TLSv1_3, TlsVersion::Tls13),
    ];
    for (options, version, on_record) in versions {
        let mut peer = Peer::open_with(&hub, &options).unwrap();
        assert_eq!(peer.tls_version(), version);
        peer.connect(&Connect::of(&hub, &device));
        peer.expect_quiet();
        assert!(hub.activity("dev").iter().any(|activity| matches!(
            activity,
            Activity::Connected { tls_version, .. } if *tls_version == Some(on_record)
        )));
    }
}

#[test]
fn m_e01_tls_1_1_is_refused_with_an_alert() {
    let hub = Emulator::start().unwrap();
    let mut tcp = open_tcp(&hub);
    tcp.write_all(&client_hello_of_tls_1_1()).unwrap();
    let answer = read_to_end(&mut tcp);
    assert_eq!(answer.first(), Some(&0x15), "an alert record: {answer:02x?}");
    assert_eq!(answer.get(5..7), Some([2, 70].as_slice()), "a fatal protocol_version alert: {answer:02x?}");
}

#[test]
fn m_e01_mqtt_without_tls_gets_no_connack() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut tcp = open_tcp(&hub);
    tcp.write_all(&Connect::of(&hub, &device).encode()).unwrap();
    let answer = read_to_end(&mut tcp);
    assert_ne!(answer.first(), Some(&0x20), "no CONNACK in the clear: {answer:02x?}");
    assert!(!hub.connected("dev"));
}

#[test]
fn m_e01_other_protocol_names_and_levels_are_not_served() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    for protocol in [("MQIsdp", 3), ("MQTT", 3), ("MQTT", 5), ("mqtt", 4), ("", 4)] {
        let mut peer = Peer::open(&hub);
        let connect = Connect { protocol, ..Connect::of(&hub, &device) };
        peer.send(&connect.encode());
        let accepted = peer
            .read_until_closed()
            .iter()
            .any(|packet| !matches!(packet, Packet::ConnAck(answer) if answer.code as u8 != 0));
        assert!(!accepted, "{protocol:?} is answered with a refusal or not at all");
        assert!(!hub.connected("dev"));
    }
}

#[test]
fn m_e01_the_certificate_names_every_host_name_and_no_other() {
    let hub = start(Config::new().with_host_name("hub.localtest").with_host_name("gateway.localtest"));
    assert_eq!(hub.host_name(), "hub.localtest");
    for name in ["hub.localtest", "gateway.localtest"] {
        let peer = Peer::open_to(&hub, name, &TlsOptions::default());
        assert!(peer.is_ok(), "{name}: {:?}", peer.err());
    }
    let error = Peer::open_to(&hub, "other.localtest", &TlsOptions::default()).err();
    assert!(format!("{error:?}").contains("NotValidForName"), "{error:?}");
}

#[test]
fn m_e01_only_loopback_is_served_by_default() {
    let hub = Emulator::start().unwrap();
    assert!(hub.mqtt_address().ip().is_loopback());
    assert_ne!(hub.mqtt_address().port(), 0);
}

#[test]
fn m_e01_the_address_is_a_setting() {
    let hub = start(Config::new().with_mqtt_address((Ipv6Addr::LOCALHOST, 0).into()));
    let device = hub.create_device("dev").unwrap();
    assert!(hub.mqtt_address().is_ipv6());
    Peer::connected(&hub, &device).expect_quiet();
}

#[test]
fn m_e01_a_stopped_hub_closes_its_connections_and_its_port() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    let address = hub.mqtt_address();
    hub.stop();
    peer.expect_closed_without_packet();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn m_e09_without_a_connect_the_connection_ends_after_60_seconds() {
    let hub = hub_with_manual_clock();
    let device = hub.create_device("dev").unwrap();
    let mut late = Peer::open(&hub);
    let mut in_time = Peer::open(&hub);
    // A connection that came later and has been served: by now the hub knows the two before it.
    Peer::connected(&hub, &device).disconnect();

    hub.advance_clock(Duration::from_secs(59));
    in_time.connect(&Connect::of(&hub, &device));
    hub.advance_clock(Duration::from_secs(2));
    late.expect_closed_without_packet();
    in_time.expect_quiet();
    let ended =
        |activity: &Activity| matches!(activity, Activity::Disconnected { why: DisconnectReason::ConnectTimeout, .. });
    hub.wait_until(LIMIT, "the end to be on record", |hub| hub.unattributed_activity().iter().any(ended)).unwrap();
}

#[test]
fn m_e09_a_connect_that_comes_too_late_is_not_answered() {
    let hub = hub_with_manual_clock();
    let device = hub.create_device("dev").unwrap();
    for _ in 0..20 {
        let mut late = Peer::open(&hub);
        Peer::connected(&hub, &device).disconnect();
        hub.advance_clock(Duration::from_secs(61));
        // The hub may have closed before this is written.
        let _ = late.try_send(&Connect::of(&hub, &device).encode());
        late.expect_closed_without_packet();
    }
}

#[test]
fn m_e09_half_a_connect_or_no_tls_handshake_is_no_connect_either() {
    let hub = hub_with_manual_clock();
    let device = hub.create_device("dev").unwrap();
    let mut silent = open_tcp(&hub);
    let mut half = Peer::open(&hub);
    let connect = Connect::of(&hub, &device).encode();
    half.send(&connect[..connect.len() / 2]);
    Peer::connected(&hub, &device).disconnect();

    hub.advance_clock(Duration::from_secs(61));
    assert!(read_to_end(&mut silent).is_empty());
    half.expect_closed_without_packet();
}

#[test]
fn m_e09_the_time_for_a_connect_is_a_setting() {
    let hub = start(manual_clock().with_connect_timeout(Duration::from_secs(5)));
    let device = hub.create_device("dev").unwrap();
    let mut late = Peer::open(&hub);
    Peer::connected(&hub, &device).disconnect();
    hub.advance_clock(Duration::from_secs(6));
    late.expect_closed_without_packet();
}

#[test]
fn m_e09_a_second_connect_closes() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::of(&hub, &device);
    let mut peer = Peer::connected_as(&hub, &connect);
    peer.send(&connect.encode());
    peer.expect_closed_without_packet();
    assert!(matches!(why_it_ended(&hub, "dev"), DisconnectReason::ProtocolViolation(_)));
}

#[test]
fn m_e09_any_packet_before_the_connect_closes() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let events = "devices/dev/messages/events/";
    let early: [(&str, Vec<u8>); 7] = [
        ("PINGREQ", packets::PINGREQ.to_vec()),
        ("DISCONNECT", packets::DISCONNECT.to_vec()),
        ("PUBLISH QoS 0", packets::publish(events, 0, 0, 0, b"early")),
        ("PUBLISH QoS 1", packets::publish(events, 1, 0, 1, b"early")),
        ("SUBSCRIBE", packets::subscribe(1, &[("devices/dev/messages/devicebound/#", 1)])),
        ("UNSUBSCRIBE", packets::unsubscribe(1, &["devices/dev/messages/devicebound/#"])),
        ("PUBACK", packets::puback(1)),
    ];
    for (name, packet) in early {
        let mut peer = Peer::open(&hub);
        let mut bytes = packet;
        bytes.extend(Connect::of(&hub, &device).encode());
        // The hub may have closed before all is written.
        let _ = peer.try_send(&bytes);
        assert_eq!(peer.read_until_closed(), [], "{name} before CONNECT");
    }
    assert_eq!(hub.telemetry("dev").len(), 0);
    assert!(!hub.activity("dev").iter().any(|activity| matches!(activity, Activity::Connected { .. })));
}

#[test]
fn m_e09_packets_pipelined_behind_the_connect_are_worked_through_after_the_connack() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut bytes = Connect::of(&hub, &device).encode();
    bytes.extend(packets::subscribe(7, &[("devices/dev/messages/devicebound/#", 1)]));
    bytes.extend(packets::publish("devices/dev/messages/events/", 1, 0, 8, b"pipelined"));
    bytes.extend(packets::PINGREQ);
    let mut peer = Peer::open(&hub);
    peer.send(&bytes);

    assert!(matches!(peer.read(), Packet::ConnAck(answer) if answer.code as u8 == 0));
    assert!(matches!(peer.read(), Packet::SubAck(ack) if ack.pkid == 7));
    assert!(matches!(peer.read(), Packet::PubAck(ack) if ack.pkid == 8));
    assert!(matches!(peer.read(), Packet::PingResp));
    assert_eq!(&hub.telemetry("dev")[0].body[..], b"pipelined");
}

#[test]
fn m_e09_packets_pipelined_behind_a_refused_connect_have_no_effect() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut bytes = Connect::of(&hub, &device).password("SharedAccessSignature sr=x&sig=eA%3D%3D&se=1").encode();
    bytes.extend(packets::publish("devices/dev/messages/events/", 1, 0, 8, b"pipelined"));
    let mut peer = Peer::open(&hub);
    peer.send(&bytes);

    assert!(matches!(peer.read(), Packet::ConnAck(answer) if answer.code as u8 == 5));
    peer.expect_closed_without_packet();
    assert_eq!(hub.telemetry("dev").len(), 0);
}

/// A ClientHello with which nothing is wrong but its version, 3.2 (TLS 1.1): what it offers besides would do for TLS 1.2.
fn client_hello_of_tls_1_1() -> Vec<u8> {
    const SUITES: [u8; 8] = [0, 6, 0xC0, 0x2B, 0xC0, 0x2F, 0xC0, 0x13];
    const SIGNATURE_ALGORITHMS: [u8; 10] = [0, 13, 0, 6, 0, 4, 4, 3, 8, 4];
    const GROUPS: [u8; 10] = [0, 10, 0, 6, 0, 4, 0, 0x1D, 0, 0x17];
    const POINT_FORMATS: [u8; 6] = [0, 11, 0, 2, 1, 0];

    let mut body = vec![3, 2];
    body.extend([0x5A; 32]);
    body.push(0);
    body.extend(SUITES);
    body.extend([1, 0]);
    let extensions = [SIGNATURE_ALGORITHMS.as_slice(), &GROUPS, &POINT_FORMATS].concat();
    body.extend([0, u8::try_from(extensions.len()).unwrap()]);
    body.extend(extensions);
    let mut record = vec![0x16, 3, 1, 0, u8::try_from(body.len() + 4).unwrap()];
    record.extend([1, 0, 0, u8::try_from(body.len()).unwrap()]);
    record.extend(body);
    record
}
