//! Faults that a test injects by the API: connections as a whole (E42), and packets withheld, late, out of order, wrong or in pieces (E45).

use std::time::Duration;

use iothub_emulator::{
    Activity, C2dMessage, ConnectionId, DisconnectReason, DropPoint, Fault, Hub, MethodCall, TwinPatchFault,
    TwinReplyFault,
};
use rumqttc::mqttbytes::v4::Packet;
use serde_json::json;

use crate::support::c2d::{DEVICEBOUND, connect};
use crate::support::packets::{self, Connect, PINGREQ};
use crate::support::peer::{End, Peer};
use crate::support::twin::{DESIRED, METHODS, RES, answer, call, desired, get, json, listener, reply, report};
use crate::support::{LIMIT, hub_with_manual_clock, why_it_ended};

const EVENTS: &str = "devices/dev/messages/events/";

fn inject(hub: &Hub, fault: Fault) {
    hub.inject_for("dev", fault);
}

/// The faults on record, which are all that were injected.
fn fired(hub: &Hub) -> Vec<Fault> {
    assert_eq!(hub.pending_faults(), 0);
    let fired = hub.activity("dev").into_iter().filter_map(|activity| match activity {
        Activity::FaultFired { fault, .. } => Some(fault),
        _ => None,
    });
    fired.collect()
}

fn the_connection(hub: &Hub) -> ConnectionId {
    hub.activity("dev").last().expect("there is one").connection()
}

/// A CONNECT for `dev` on a connection of its own; its answer is still to come.
fn ask(hub: &Hub) -> Peer {
    let device = hub.device("dev").unwrap_or_else(|| hub.create_device("dev").unwrap());
    let mut peer = Peer::open(hub);
    peer.send(&Connect::of(hub, &device).encode());
    peer
}

/// Whether this answers a SUBSCRIBE or a PINGREQ.
fn is_answer(request: &[u8], packet: &Packet) -> bool {
    if request == PINGREQ { matches!(packet, Packet::PingResp) } else { matches!(packet, Packet::SubAck(_)) }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn m_e42_the_same_faults_can_be_injected_and_happen_at_once_or_to_the_next_connection() {
    for (fault, end) in [
        (Fault::KillTcp, End::Reset),
        (Fault::OrderlyClose, End::Goodbye),
        (Fault::Throttle { lasts: seconds(5) }, End::Bare),
        (Fault::Quota { lasts: seconds(5) }, End::Bare),
        (Fault::AuthError { lasts: seconds(5) }, End::Bare),
    ] {
        let hub = hub_with_manual_clock();
        let mut peer = connect(&hub);
        inject(&hub, fault.clone());
        assert_eq!(peer.how_it_ends(), end, "{fault:?}");
        assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::Fault(fault.clone()));

        inject(&hub, fault.clone());
        let mut peer = ask(&hub);
        if end == End::Reset {
            // What was sent before a reset may be lost with it.
            while peer.read_or_closed().is_some() {}
        } else {
            assert!(matches!(peer.read(), Packet::ConnAck(answer) if answer.code as u8 == 0));
            assert_eq!(peer.how_it_ends(), end, "{fault:?}");
        }
        connect(&hub).expect_quiet();
        assert_eq!(fired(&hub), [fault.clone(), fault]);
    }
}

#[test]
fn m_e42_a_fault_without_a_device_takes_any_and_one_for_another_device_waits() {
    let hub = hub_with_manual_clock();
    let mut peer = connect(&hub);
    hub.inject_for("other", Fault::KillTcp);
    peer.expect_quiet();
    assert_eq!(hub.pending_faults(), 1);
    hub.clear_faults();
    hub.inject(Fault::OrderlyClose);
    assert_eq!(peer.how_it_ends(), End::Goodbye);
}

#[test]
fn m_e45_a_connack_can_be_withheld_or_late() {
    let hub = hub_with_manual_clock();
    hub.create_device("dev").unwrap();
    inject(&hub, Fault::WithholdConnack);
    let mut silent = ask(&hub);
    hub.wait_until(LIMIT, "the fault to fire", |hub| hub.pending_faults() == 0).unwrap();
    hub.advance_clock(seconds(31));
    assert!(!hub.connected("dev"));

    inject(&hub, Fault::DelayConnack { by: seconds(31) });
    let mut peer = ask(&hub);
    peer.send(&packets::subscribe(1, &[(DEVICEBOUND, 1)]));
    hub.send_c2d("dev", C2dMessage::new("waits too")).unwrap();
    let sent = |activity: &Activity| matches!(activity, Activity::C2dSent { .. });
    hub.wait_until(LIMIT, "the message to go", |hub| hub.activity("dev").iter().any(sent)).unwrap();
    assert!(hub.connected("dev"), "for the hub it is");
    hub.advance_clock(seconds(31));
    assert!(matches!(peer.read(), Packet::ConnAck(_)), "first of all");
    assert!(matches!(peer.read(), Packet::SubAck(_)));
    assert_eq!(&peer.expect_publish().payload[..], b"waits too");
    hub.delete_device("dev").unwrap();
    silent.send(PINGREQ);
}

#[test]
fn m_e45_a_connack_can_have_any_code_even_one_that_does_not_exist() {
    let hub = hub_with_manual_clock();
    for code in [1, 2, 3, 4, 5, 6, 127, 255] {
        inject(&hub, Fault::RefuseConnect { code });
        assert_eq!(ask(&hub).read_bytes_until_closed(), [0x20, 2, 0, code]);
    }
}

#[test]
fn m_e45_answers_can_be_withheld_late_or_overtaken() {
    let hub = hub_with_manual_clock();
    let mut peer = connect(&hub);
    let subscribe = packets::subscribe(5, &[(DEVICEBOUND, 1)]);
    let by = seconds(9);
    let cases = [
        (&subscribe[..], [Fault::WithholdSuback, Fault::DelaySuback { by }, Fault::ReorderSuback]),
        (PINGREQ, [Fault::WithholdPingresp, Fault::DelayPingresp { by }, Fault::ReorderPingresp]),
    ];
    // Asks for the answer and, behind it, for a PUBACK, which comes alone.
    let ask = |peer: &mut Peer, request: &[u8], fault: Fault| {
        inject(&hub, fault);
        peer.send(request);
        peer.send(&packets::publish(EVENTS, 1, 0, 7, b""));
        assert_eq!(peer.expect_puback(), 7);
    };
    for (request, [withhold, delay, reorder]) in cases {
        ask(&mut peer, request, withhold);
        peer.expect_quiet();
        ask(&mut peer, request, delay);
        hub.advance_clock(seconds(9));
        assert!(is_answer(request, &peer.read()), "after its time");
        ask(&mut peer, request, reorder);
        assert!(is_answer(request, &peer.read()), "behind the other one");
        peer.expect_quiet();
    }
    assert_eq!(fired(&hub).len(), 6);
}

#[test]
fn m_e45_a_connack_can_be_overtaken_by_what_is_behind_it() {
    let hub = hub_with_manual_clock();
    hub.create_device("dev").unwrap();
    inject(&hub, Fault::ReorderConnack);
    let mut peer = ask(&hub);
    peer.send(&packets::subscribe(1, &[(DEVICEBOUND, 1)]));
    assert!(matches!(peer.read(), Packet::SubAck(_)));
    assert!(matches!(peer.read(), Packet::ConnAck(_)));
    peer.expect_quiet();
}

#[test]
fn m_e45_half_open_nothing_goes_either_way_until_the_hub_gives_up() {
    let hub = hub_with_manual_clock();
    let mut peer = connect(&hub);
    peer.subscribe(&[(DEVICEBOUND, 1)]);
    inject(&hub, Fault::HalfOpen);
    let fired = |hub: &Hub| hub.pending_faults() == 0;
    hub.wait_until(LIMIT, "the fault to fire", fired).unwrap();
    peer.send(&packets::publish(EVENTS, 1, 0, 9, b"lost"));
    peer.send(PINGREQ);
    hub.send_c2d("dev", C2dMessage::new("lost on its way")).unwrap();
    let sent = |activity: &Activity| matches!(activity, Activity::C2dSent { .. });
    hub.wait_until(LIMIT, "the message to go", |hub| hub.activity("dev").iter().any(sent)).unwrap();
    assert!(hub.connected("dev"));

    let mut next = connect(&hub);
    peer.expect_closed_without_packet();
    let again = next.expect_publish();
    assert!(again.dup, "it was sent before");
    assert_eq!(hub.telemetry("dev"), []);

    next.puback(again.pkid);
    inject(&hub, Fault::HalfOpen);
    hub.wait_until(LIMIT, "the fault to fire", fired).unwrap();
    next.cut();
    let other = hub.create_device("other").unwrap();
    Peer::connected(&hub, &other).expect_quiet();
    assert!(hub.connected("dev"), "that the device is gone is not heard either");
    hub.advance_clock(seconds(1_500));
    assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::KeepAliveExpired);
}

#[test]
fn m_e45_what_the_hub_sends_can_be_split_at_every_byte() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    get(&mut peer, "1");
    let whole = peer.read_record();
    assert!(whole.starts_with(b"\x30") && whole.ends_with(b"}"), "one packet in one record");
    for byte in 1..whole.len() {
        inject(&hub, Fault::SplitAt { byte });
        hub.wait_until(LIMIT, "the fault to fire", |hub| hub.pending_faults() == 0).unwrap();
        get(&mut peer, "1");
        let (front, back) = (peer.read_record(), peer.read_record());
        assert_eq!((front.as_slice(), back.as_slice()), whole.split_at(byte));
    }
    peer.expect_quiet();
}

#[test]
fn m_e45_a_connack_can_be_split_too() {
    let hub = hub_with_manual_clock();
    hub.create_device("dev").unwrap();
    for byte in 1..4 {
        inject(&hub, Fault::SplitAt { byte });
        let mut peer = ask(&hub);
        assert_eq!(peer.read_record(), b"\x20\x02\x00\x00"[..byte]);
        assert_eq!(peer.read_record(), b"\x20\x02\x00\x00"[byte..]);
        peer.expect_quiet();
        hub.delete_device("dev").unwrap();
        hub.create_device("dev").unwrap();
    }
}

#[test]
fn m_e45_a_twin_reply_can_be_late_lost_doubled_or_wrong() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    inject(&hub, Fault::TwinReply(TwinReplyFault::Drop));
    report(&mut peer, "a", b"{}");
    peer.expect_quiet();
    assert_eq!(hub.twin("dev").unwrap().reported_version, 2, "it was executed");

    inject(&hub, Fault::TwinReply(TwinReplyFault::Duplicate));
    report(&mut peer, "a", b"{}");
    for _ in 0..2 {
        assert_eq!(reply(&mut peer).0, "204/?$rid=a&$version=3");
    }

    inject(&hub, Fault::TwinReply(TwinReplyFault::UnknownRid));
    report(&mut peer, "a", b"{}");
    let (tail, _) = reply(&mut peer);
    assert!(tail.starts_with("204/?$rid=") && !tail.contains("$rid=a&"), "{tail}");

    inject(&hub, Fault::TwinReply(TwinReplyFault::WrongVersion));
    report(&mut peer, "a", b"{}");
    assert_eq!(reply(&mut peer).0, "204/?$rid=a&$version=4");
    assert_eq!(hub.twin("dev").unwrap().reported_version, 5);
    inject(&hub, Fault::TwinReply(TwinReplyFault::WrongVersion));
    get(&mut peer, "a");
    let stale = json!({"desired": {"$version": 0}, "reported": {"$version": 4}});
    assert_eq!(json(&reply(&mut peer).1), stale);

    inject(&hub, Fault::TwinReply(TwinReplyFault::BadJson));
    get(&mut peer, "a");
    let (tail, body) = reply(&mut peer);
    assert_eq!(tail, "200/?$rid=a");
    assert!(serde_json::from_slice::<serde_json::Value>(&body).is_err());

    inject(&hub, Fault::TwinReply(TwinReplyFault::Delay(seconds(61))));
    get(&mut peer, "late");
    get(&mut peer, "prompt");
    assert_eq!(reply(&mut peer).0, "200/?$rid=prompt");
    hub.advance_clock(seconds(60));
    peer.expect_quiet();
    hub.advance_clock(seconds(1));
    assert_eq!(reply(&mut peer).0, "200/?$rid=late");
    assert_eq!(fired(&hub).len(), 7);
}

#[test]
fn m_e45_a_late_reply_ends_with_its_connection() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    inject(&hub, Fault::TwinReply(TwinReplyFault::Delay(seconds(10))));
    get(&mut peer, "late");
    peer.expect_quiet();
    let before = the_connection(&hub);
    let mut peer = connect(&hub);
    hub.advance_clock(seconds(10));
    peer.expect_quiet();
    assert_ne!(the_connection(&hub), before);
}

#[test]
fn m_e45_a_desired_patch_can_be_lost_doubled_out_of_order_or_broken() {
    for (fault, versions) in [
        (TwinPatchFault::Drop, [3, 4].as_slice()),
        (TwinPatchFault::Duplicate, &[2, 2, 3, 4]),
        (TwinPatchFault::Reorder, &[3, 2, 4]),
    ] {
        let hub = hub_with_manual_clock();
        let mut peer = listener(&hub, &[DESIRED]);
        inject(&hub, Fault::TwinPatch(fault));
        for value in 0..3 {
            hub.patch_desired("dev", json!({"a": value})).unwrap();
        }
        for version in versions {
            assert_eq!(desired(&mut peer).0, format!("?$version={version}"), "{fault:?}");
        }
        peer.expect_quiet();
        assert_eq!(fired(&hub), [Fault::TwinPatch(fault)]);
    }
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[DESIRED]);
    inject(&hub, Fault::TwinPatch(TwinPatchFault::BadJson));
    hub.patch_desired("dev", json!({"a": 1})).unwrap();
    let patch = peer.expect_publish();
    assert!(serde_json::from_slice::<serde_json::Value>(&patch.payload).is_err());
    assert_eq!(hub.twin("dev").unwrap().desired, json!({"a": 1}));
}

#[test]
fn m_e45_a_method_request_can_be_doubled_or_late() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[METHODS]);
    inject(&hub, Fault::MethodDuplicate);
    let pending = hub.start_method("dev", MethodCall::new("m")).unwrap();
    let (first, second) = (call(&mut peer), call(&mut peer));
    assert_eq!(first, second);
    answer(&mut peer, "200", &first.1, b"1");
    answer(&mut peer, "201", &second.1, b"2");
    assert_eq!(pending.wait(LIMIT).unwrap().status, 200);

    inject(&hub, Fault::LateMethod { by: seconds(30) });
    let pending = hub.start_method("dev", MethodCall::new("m")).unwrap();
    peer.expect_quiet();
    hub.advance_clock(seconds(30));
    assert_eq!(pending.wait(LIMIT).unwrap_err().code(), Some(504_101));
    call(&mut peer);
    assert_eq!(fired(&hub).len(), 2);
}

#[test]
fn m_e45_dropped_around_twins_and_methods_the_hub_knows_what_it_has_done() {
    let drop_at = |at| Fault::Drop { device: Some("dev".to_owned()), at };
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES, DESIRED, METHODS]);
    inject(&hub, drop_at(DropPoint::TwinExecuted));
    peer.send(&packets::publish("$iothub/twin/PATCH/properties/reported/?$rid=1", 1, 0, 1, br#"{"a":1}"#));
    peer.expect_closed_without_packet();
    assert_eq!(hub.twin("dev").unwrap().reported, json!({"a": 1}));

    inject(&hub, drop_at(DropPoint::PublishReceived));
    let mut peer = connect(&hub);
    report(&mut peer, "2", br#"{"a":2}"#);
    peer.expect_closed_without_packet();
    assert_eq!(hub.twin("dev").unwrap().reported, json!({"a": 1}));

    inject(&hub, drop_at(DropPoint::DesiredSent));
    let mut peer = connect(&hub);
    hub.patch_desired("dev", json!({"d": 1})).unwrap();
    hub.patch_desired("dev", json!({"d": 2})).unwrap();
    desired(&mut peer);
    while peer.read_or_closed().is_some() {}

    inject(&hub, drop_at(DropPoint::MethodSent));
    let mut peer = connect(&hub);
    let pending = hub.start_method("dev", MethodCall::new("m")).unwrap();
    let (_, rid, _) = call(&mut peer);
    peer.expect_closed_without_packet();
    let mut peer = connect(&hub);
    peer.expect_quiet();
    answer(&mut peer, "200", &rid, b"{}");
    assert_eq!(pending.wait(LIMIT).unwrap().status, 200, "the id is the device's, whichever its connection");
}
