//! Sessions that outlive their connection, and connections that displace each other (E5, E6, E7).

use iothub_emulator::{Activity, C2dMessage, ConnectionId, DisconnectReason, Emulator, Fault, MethodCall};
use rumqttc::mqttbytes::QoS;

use crate::support::packets::{Connect, Will};
use crate::support::peer::Peer;
use crate::support::{LIMIT, twin, wait_until_gone};

const DEVICEBOUND: &str = "devices/dev/messages/devicebound/#";

#[test]
fn m_e05_session_present_only_with_a_stored_session() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let keep = Connect::of(&hub, &device);

    let mut peer = Peer::open(&hub);
    assert!(!peer.connect(&keep), "there was no session yet");
    peer.subscribe(&[(DEVICEBOUND, 1)]);
    peer.disconnect();

    let mut peer = Peer::open(&hub);
    assert!(peer.connect(&keep), "the session was stored");
    peer.disconnect();

    let mut peer = Peer::open(&hub);
    assert!(!peer.connect(&keep.clone().clean()), "a clean session is never present");
    peer.subscribe(&[(DEVICEBOUND, 1)]);
    peer.disconnect();

    let mut peer = Peer::open(&hub);
    assert!(!peer.connect(&keep), "the clean session deleted the stored one and stored nothing itself");

    let recorded: Vec<(bool, bool)> = hub
        .activity("dev")
        .iter()
        .filter_map(|activity| match activity {
            Activity::Connected { clean_session, session_present, .. } => Some((*clean_session, *session_present)),
            _ => None,
        })
        .collect();
    assert_eq!(recorded, [(false, false), (false, true), (true, false), (false, false)]);
}

#[test]
fn m_e05_a_session_survives_however_its_connection_ends() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::of(&hub, &device);
    let mut peer = Peer::connected_as(&hub, &connect);
    peer.subscribe(&[(DEVICEBOUND, 1)]);
    peer.cut();
    wait_until_gone(&hub, "dev");

    let mut dropped_by_hub = Peer::open(&hub);
    assert!(dropped_by_hub.connect(&connect), "after a cut");
    assert!(hub.disconnect_device("dev").unwrap());
    dropped_by_hub.expect_closed_without_packet();

    let mut displaced = Peer::open(&hub);
    assert!(displaced.connect(&connect), "after the hub dropped it");
    let mut last = Peer::open(&hub);
    assert!(last.connect(&connect), "after it was displaced");
    displaced.expect_closed_without_packet();
}

#[test]
fn m_e05_a_refused_connect_leaves_the_session_alone() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::of(&hub, &device);
    let mut peer = Peer::connected_as(&hub, &connect);
    peer.subscribe(&[(DEVICEBOUND, 1)]);
    peer.disconnect();
    let refused = Peer::open(&hub).ask(&connect.clone().clean().password("wrong"));
    assert_eq!(refused.code as u8, 5);
    assert!(Peer::open(&hub).connect(&connect));
}

#[test]
fn m_e05_a_device_made_anew_has_no_session_of_the_old_one() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.subscribe(&[(DEVICEBOUND, 1)]);
    peer.disconnect();
    hub.delete_device("dev").unwrap();
    let device = hub.create_device("dev").unwrap();
    assert!(!Peer::open(&hub).connect(&Connect::of(&hub, &device)));
}

#[test]
fn m_e05_a_session_can_be_lost_on_demand() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::of(&hub, &device);
    let mut peer = Peer::connected_as(&hub, &connect);
    peer.subscribe(&[(DEVICEBOUND, 1)]);
    peer.disconnect();

    hub.inject_for("dev", Fault::SessionLost);
    let mut peer = Peer::open(&hub);
    assert!(!peer.connect(&connect));
    assert_eq!(hub.pending_faults(), 0);
    hub.send_c2d("dev", C2dMessage::new("kept")).unwrap();
    peer.expect_quiet();
    assert_eq!(hub.c2d_queue("dev").len(), 1, "the subscription is forgotten, the message is not");
}

#[test]
fn m_e06_a_restored_session_delivers_before_any_subscribe_with_the_granted_qos() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::of(&hub, &device);
    for (requested, delivered) in [(1, QoS::AtLeastOnce), (0, QoS::AtMostOnce), (2, QoS::AtLeastOnce)] {
        let mut peer = Peer::connected_as(&hub, &connect);
        peer.subscribe(&[(DEVICEBOUND, requested)]);
        peer.disconnect();
        wait_until_gone(&hub, "dev");
        hub.send_c2d("dev", C2dMessage::new("waiting")).unwrap();

        let mut peer = Peer::open(&hub);
        assert!(peer.connect(&connect));
        let publish = peer.expect_publish();
        assert_eq!(publish.qos, delivered, "subscribed with QoS {requested}");
        assert_eq!(&publish.payload[..], b"waiting");
        assert!(!publish.dup, "it is the first delivery");
        if publish.qos == QoS::AtLeastOnce {
            peer.puback(publish.pkid);
        }
        peer.expect_quiet();
        hub.send_c2d("dev", C2dMessage::new("live")).unwrap();
        let publish = peer.expect_publish();
        assert_eq!((publish.qos, &publish.payload[..]), (delivered, b"live".as_slice()));
        if publish.qos == QoS::AtLeastOnce {
            peer.puback(publish.pkid);
        }
        peer.disconnect();
        wait_until_gone(&hub, "dev");
        assert_eq!(hub.c2d_queue("dev").len(), 0);
    }
}

#[test]
fn m_e06_a_session_with_twin_and_method_filters_is_restored_as_a_whole() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::of(&hub, &device);
    let mut peer = Peer::connected_as(&hub, &connect);
    peer.subscribe(&[
        ("$iothub/twin/res/#", 0),
        ("$iothub/twin/PATCH/properties/desired/#", 1),
        ("$iothub/methods/POST/#", 0),
    ]);
    peer.disconnect();
    let mut peer = Peer::open(&hub);
    assert!(peer.connect(&connect));
    peer.expect_quiet();

    twin::get(&mut peer, "1");
    assert_eq!(twin::reply(&mut peer).0, "200/?$rid=1");
    hub.patch_desired("dev", serde_json::json!({"a": 1})).unwrap();
    assert_eq!(twin::desired(&mut peer).0, "?$version=2");
    let pending = hub.start_method("dev", MethodCall::new("m")).unwrap();
    let (_, rid, _) = twin::call(&mut peer);
    twin::answer(&mut peer, "200", &rid, b"{}");
    assert_eq!(pending.wait(LIMIT).unwrap().status, 200);
}

#[test]
fn m_e07_the_newest_connection_displaces_the_older_without_a_packet() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut first = Peer::connected(&hub, &device);
    let mut second = Peer::connected(&hub, &device);
    first.expect_closed_without_packet();
    second.expect_quiet();
    let mut third = Peer::connected_as(&hub, &Connect::of(&hub, &device).clean());
    second.expect_closed_without_packet();
    third.expect_quiet();
    assert!(hub.connected("dev"));
    let ends: Vec<(ConnectionId, ConnectionId)> = hub
        .activity("dev")
        .into_iter()
        .filter_map(|activity| match activity {
            Activity::Disconnected { connection, why: DisconnectReason::Replaced { by }, .. } => Some((connection, by)),
            _ => None,
        })
        .collect();
    assert_eq!(ends.len(), 2);
    assert_eq!(ends[0].1, ends[1].0, "the second replaced the first, and the third the second");
}

#[test]
fn m_e07_the_will_of_the_displaced_connection_is_published() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let will = Will::new("devices/dev/messages/events/", b"displaced");
    let mut first = Peer::connected_as(&hub, &Connect::of(&hub, &device).will(will));
    let _second = Peer::connected(&hub, &device);
    first.expect_closed_without_packet();
    let telemetry = hub.wait_for_telemetry("dev", 1, LIMIT).unwrap();
    assert_eq!(&telemetry[0].body[..], b"displaced");
}

#[test]
fn m_e07_what_the_displaced_connection_did_not_acknowledge_goes_to_the_newer() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut first = Peer::connected(&hub, &device);
    first.subscribe(&[(DEVICEBOUND, 1)]);
    hub.send_c2d("dev", C2dMessage::new("once more")).unwrap();
    assert!(!first.expect_publish().dup);

    let mut second = Peer::connected(&hub, &device);
    let publish = second.expect_publish();
    assert_eq!(&publish.payload[..], b"once more");
    assert!(publish.dup);
}

#[test]
fn m_e07_a_refused_connect_displaces_nobody() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut first = Peer::connected(&hub, &device);
    let refused = Peer::open(&hub).ask(&Connect::of(&hub, &device).password("wrong"));
    assert_eq!(refused.code as u8, 5);
    first.expect_quiet();
}

#[test]
fn m_e07_other_identities_are_not_affected() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let other = hub.create_device("dev2").unwrap();
    let mut first = Peer::connected(&hub, &device);
    let mut second = Peer::connected(&hub, &other);
    // An unknown module of the device is another identity, too.
    let module = Connect::of(&hub, &device).client_id("dev/mod").user_name("localhost/dev/mod/?api-version=2021-04-12");
    assert_eq!(Peer::open(&hub).ask(&module).code as u8, 5);
    first.expect_quiet();
    second.expect_quiet();
}
