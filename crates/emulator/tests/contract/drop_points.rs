//! Connections that the hub drops on demand: each point leaves exactly what its name says (E45).

use iothub_emulator::{Activity, C2dMessage, C2dResult, DropPoint, Emulator, Fault, Hub};
use rumqttc::mqttbytes::v4::Packet;

use crate::support::packets::{self, Connect};
use crate::support::peer::{Peer, open_tcp, read_to_end};
use crate::support::tls::TlsOptions;
use crate::support::wait_until_gone;

const EVENTS: &str = "devices/dev/messages/events/";
const DEVICEBOUND: &str = "devices/dev/messages/devicebound/#";

fn drop_at(hub: &Hub, at: DropPoint) {
    hub.inject(Fault::Drop { device: Some("dev".to_owned()), at });
}

fn fired(hub: &Hub) -> usize {
    assert_eq!(hub.pending_faults(), 0);
    hub.activity("dev").iter().filter(|activity| matches!(activity, Activity::FaultFired { .. })).count()
}

#[test]
fn dropped_after_tcp_or_tls_no_device_was_ever_seen() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    hub.inject(Fault::Drop { device: None, at: DropPoint::TcpAccepted });
    assert!(read_to_end(&mut open_tcp(&hub)).is_empty());

    hub.inject(Fault::Drop { device: None, at: DropPoint::TlsEstablished });
    if let Ok(mut peer) = Peer::open_with(&hub, &TlsOptions::default()) {
        let _ = peer.try_send(&Connect::of(&hub, &device).encode());
        peer.expect_closed_without_packet();
    }
    assert_eq!(hub.pending_faults(), 0);
    assert_eq!(hub.activity("dev"), []);
    Peer::connected(&hub, &device).expect_quiet();
}

#[test]
fn dropped_at_connect_there_is_no_connack_and_no_connection() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    drop_at(&hub, DropPoint::ConnectReceived);
    let mut peer = Peer::open(&hub);
    peer.send(&Connect::of(&hub, &device).encode());
    peer.expect_closed_without_packet();
    assert!(!hub.connected("dev"));
    assert_eq!(fired(&hub), 1);
}

#[test]
fn dropped_after_connack_the_device_was_connected() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    drop_at(&hub, DropPoint::ConnackSent);
    let mut peer = Peer::connected(&hub, &device);
    peer.expect_closed_without_packet();
    wait_until_gone(&hub, "dev");
    assert_eq!(fired(&hub), 1);
}

#[test]
fn dropped_at_subscribe_or_after_suback_the_session_tells_the_difference() {
    for (at, subscribed) in [(DropPoint::SubscribeReceived, false), (DropPoint::SubackSent, true)] {
        let hub = Emulator::start().unwrap();
        let device = hub.create_device("dev").unwrap();
        drop_at(&hub, at);
        let mut peer = Peer::connected(&hub, &device);
        peer.send(&packets::subscribe(1, &[(DEVICEBOUND, 1)]));
        let answers = peer.read_until_closed();
        assert_eq!(answers.len(), usize::from(subscribed), "{at:?}: {answers:?}");
        wait_until_gone(&hub, "dev");
        hub.send_c2d("dev", C2dMessage::new("waiting")).unwrap();
        let packets = Peer::connected(&hub, &device).drain();
        assert_eq!(packets.len(), usize::from(subscribed), "{at:?}");
        assert_eq!(fired(&hub), 1);
    }
}

#[test]
fn dropped_at_publish_before_or_after_storing_the_telemetry_tells_the_difference() {
    for (at, stored, acknowledged) in
        [(DropPoint::PublishReceived, 0, 0), (DropPoint::PublishStored, 1, 0), (DropPoint::PubackSent, 1, 1)]
    {
        let hub = Emulator::start().unwrap();
        let device = hub.create_device("dev").unwrap();
        drop_at(&hub, at);
        let mut peer = Peer::connected(&hub, &device);
        peer.send(&packets::publish(EVENTS, 1, 0, 1, b""));
        assert_eq!(peer.read_until_closed().len(), acknowledged, "{at:?}");
        wait_until_gone(&hub, "dev");
        assert_eq!(hub.telemetry("dev").len(), stored, "{at:?}");
        assert_eq!(fired(&hub), 1);
    }
}

#[test]
fn dropped_around_a_delivery_the_message_is_not_lost() {
    for at in [DropPoint::C2dSent, DropPoint::PubackReceived] {
        let hub = Emulator::start().unwrap();
        let device = hub.create_device("dev").unwrap();
        let mut peer = Peer::connected(&hub, &device);
        peer.subscribe(&[(DEVICEBOUND, 1)]);
        drop_at(&hub, at);
        hub.send_c2d("dev", C2dMessage::new("kept")).unwrap();
        let publish = peer.expect_publish();
        let _ = peer.try_send(&packets::puback(publish.pkid));
        peer.expect_closed_without_packet();
        wait_until_gone(&hub, "dev");
        assert_eq!(hub.c2d_queue("dev").len(), 1, "{at:?}");

        let mut peer = Peer::connected(&hub, &device);
        let again = peer.expect_publish();
        assert!(again.dup, "{at:?}");
        peer.puback(again.pkid);
        peer.expect_quiet();
        assert_eq!(hub.c2d_outcomes("dev")[0].result, C2dResult::Completed);
        assert_eq!(fired(&hub), 1);
    }
}

#[test]
fn dropped_in_the_middle_of_a_packet_some_of_it_and_not_all_has_arrived() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    drop_at(&hub, DropPoint::MidPacket);
    let mut peer = Peer::connected(&hub, &device);
    peer.send(&packets::publish(EVENTS, 1, 0, 1, b""));
    let rest = peer.read_bytes_until_closed();
    assert!(!rest.is_empty() && rest.len() < 4, "{rest:02x?}");
    assert_eq!(rest[0], 0x40, "the first half of a PUBACK");
    assert_eq!(hub.telemetry("dev").len(), 1);
    assert_eq!(fired(&hub), 1);

    let mut peer = Peer::connected(&hub, &device);
    peer.subscribe(&[(DEVICEBOUND, 1)]);
    drop_at(&hub, DropPoint::MidPacket);
    hub.send_c2d("dev", C2dMessage::new("kept")).unwrap();
    let rest = peer.read_bytes_until_closed();
    assert!(rest.len() > 1, "{rest:02x?}");
    assert_eq!(rest[0], 0x32, "the first half of a PUBLISH");
    wait_until_gone(&hub, "dev");
    let mut peer = Peer::connected(&hub, &device);
    assert_eq!(&peer.expect_publish().payload[..], b"kept");
}

#[test]
fn a_drop_waits_for_its_own_device_and_happens_once() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let other = hub.create_device("other").unwrap();
    drop_at(&hub, DropPoint::PublishReceived);
    Peer::connected(&hub, &other).publish("devices/other/messages/events/", b"");
    assert_eq!(hub.pending_faults(), 1);
    let mut peer = Peer::connected(&hub, &device);
    peer.send(&packets::publish(EVENTS, 1, 0, 1, b""));
    peer.expect_closed_without_packet();
    Peer::connected(&hub, &device).publish(EVENTS, b"");
    assert_eq!(hub.telemetry("dev").len(), 1);
}

#[test]
fn an_answer_can_be_withheld() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    hub.inject_for("dev", Fault::WithholdConnack);
    let mut silent = Peer::open(&hub);
    silent.send(&Connect::of(&hub, &device).encode());
    hub.wait_until(crate::support::LIMIT, "the fault to fire", |hub| hub.pending_faults() == 0).unwrap();
    assert!(!hub.connected("dev"));

    let mut peer = Peer::connected(&hub, &device);
    hub.inject_for("dev", Fault::WithholdPingresp);
    peer.send(packets::PINGREQ);
    peer.send(&packets::publish(EVENTS, 1, 0, 1, b""));
    assert_eq!(peer.expect_puback(), 1, "no PINGRESP came before");

    hub.inject_for("dev", Fault::WithholdSuback);
    peer.send(&packets::subscribe(2, &[(DEVICEBOUND, 1)]));
    hub.send_c2d("dev", C2dMessage::new("granted")).unwrap();
    assert_eq!(&peer.expect_publish().payload[..], b"granted", "no SUBACK came before");
}

#[test]
fn a_connect_can_be_refused_with_any_code() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    for code in 1..=5 {
        hub.inject_for("dev", Fault::RefuseConnect { code });
        let mut peer = Peer::open(&hub);
        assert_eq!(peer.ask(&Connect::of(&hub, &device)).code as u8, code);
        peer.expect_closed_without_packet();
    }
    Peer::connected(&hub, &device).expect_quiet();
}

#[test]
fn m_e45_a_delivery_can_be_doubled() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.subscribe(&[(DEVICEBOUND, 1)]);
    hub.inject_for("dev", Fault::DuplicateDelivery);
    hub.send_c2d("dev", C2dMessage::new("twice")).unwrap();
    let first = peer.expect_publish();
    let second = peer.expect_publish();
    assert_eq!((first.pkid, first.dup, second.dup), (second.pkid, false, true));
    peer.puback(first.pkid);
    peer.puback(second.pkid);
    assert_eq!(peer.drain(), Vec::<Packet>::new());
    assert_eq!(hub.c2d_outcomes("dev").len(), 1);
}
