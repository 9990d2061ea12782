//! Faults that a message asks for, and scripted ones (docs/hub-over-amqp.md 6).

use std::time::Duration;

use iothub_emulator::{
    Activity, AmqpLink, AmqpOutcome, C2dMessage, CbsFault, DropPoint, Fault, MethodCall, OfflineHub, TwinPatchFault,
    TwinReplyFault,
};
use serde_json::json;

use crate::support::frame::{Link, Message, *};
use crate::support::value::{V, text};
use crate::support::{Peer, happened, token, world};

const EVENTS: &str = "/devices/d/messages/events";

/// A device with every link it can have: events 0, C2D 1, twin 20 and 21, methods 30 and 31.
fn whole_device(hub: &OfflineHub) -> Peer {
    let mut peer = Peer::of_device(hub);
    peer.sender(0, EVENTS);
    peer.receiver(1, "/devices/d/messages/devicebound", 100);
    peer.attach_twin();
    peer.attach_methods();
    peer.all();
    peer
}

fn asking(operation: &str) -> Message {
    Message::of(b"x")
        .application("AzIoTHub_FaultOperationType", text(operation))
        .application("AzIoTHub_FaultOperationCloseReason", text("boom"))
        .application("AzIoTHub_FaultOperationDelayInSecs", text("1"))
        .application("AzIoTHub_FaultOperationDurationInSecs", text("20"))
}

#[test]
fn a_message_kills_each_link_by_its_name() {
    for (operation, handle) in [
        ("KillAmqpCBSLinkReq", 1000),
        ("KillAmqpCBSLinkResp", 1001),
        ("KillAmqpD2CLink", 0),
        ("KillAmqpC2DLink", 1),
        ("KillAmqpc2dLink", 1),
        ("KillAmqpTwinLinkReq", 20),
        ("KillAmqpTwinLinkResp", 21),
        ("KillAmqpMethodReqLink", 31),
        ("KillAmqpMethodRespLink", 30),
    ] {
        let hub = world();
        let mut peer = whole_device(&hub);
        peer.send(0, &asking(operation));
        assert!(peer.all().is_empty(), "{operation}: it begins after its delay, and the message is not accepted");
        hub.advance_clock(Duration::from_secs(1));
        let detached = peer.all_of(DETACH);
        assert_eq!(detached.len(), 1, "{operation}");
        assert_eq!(detached[0].uint(0), handle, "{operation}");
        assert_eq!(detached[0].condition(2).as_deref(), Some("amqp:link:detach-forced"));
        assert!(!peer.is_closed());
    }
}

#[test]
fn a_message_kills_session_connection_and_tcp() {
    for (operation, code, condition) in [
        ("KillAmqpSession", Some(END), Some("amqp:internal-error")),
        ("KillAmqpConnection", Some(CLOSE), Some("amqp:connection:forced")),
        ("ShutDownAmqp", Some(CLOSE), None),
        ("KillTcp", None, None),
    ] {
        let hub = world();
        let mut peer = whole_device(&hub);
        peer.send(0, &asking(operation));
        hub.advance_clock(Duration::from_secs(1));
        match code {
            Some(code) => assert_eq!(peer.find(code).condition(0).as_deref(), condition, "{operation}"),
            None => assert!(peer.all().is_empty(), "{operation}"),
        }
        assert_eq!(peer.is_closed(), code != Some(END), "{operation}");
        assert!(!hub.connected("d"), "{operation}");
    }
}

#[test]
fn a_message_makes_telemetry_fail_for_some_time_and_is_itself_accepted() {
    for (operation, condition) in [
        ("InvokeThrottling", "com.microsoft:device-container-throttled"),
        ("InvokeMaxMessageQuota", "amqp:resource-limit-exceeded"),
        ("InvokeAuthError", "amqp:unauthorized-access"),
    ] {
        let hub = world();
        let mut peer = whole_device(&hub);
        peer.accepted(0, &asking(operation));
        peer.accepted(0, &Message::of(b"still good"));
        hub.advance_clock(Duration::from_secs(1));
        assert_eq!(peer.rejected(0, 0, &Message::of(b"x").encoded()), condition);
        hub.advance_clock(Duration::from_secs(20));
        peer.accepted(0, &Message::of(b"good again"));
    }
}

#[test]
fn the_properties_count_on_a_batch_and_on_a_message_of_it() {
    for outer in [true, false] {
        let hub = world();
        let mut peer = whole_device(&hub);
        let ask = asking("KillAmqpD2CLink");
        let inner = if outer { Message::of(b"x") } else { ask.clone() };
        let application = if outer { ask.application } else { Vec::new() };
        let batch = Message { data: vec![inner.encoded()], application, ..Message::default() };
        peer.send_as(0, BATCH, false, &batch.encoded());
        hub.advance_clock(Duration::from_secs(1));
        assert_eq!(peer.find(DETACH).uint(0), 0, "{outer}");
        assert_eq!(hub.telemetry_count("d"), 1);
    }
}

#[test]
fn what_is_for_mqtt_or_unknown_is_an_ordinary_message() {
    let hub = world();
    let mut peer = whole_device(&hub);
    for operation in ["ShutDownMqtt", "KillAmqpNothing", ""] {
        peer.accepted(0, &asking(operation));
    }
    let ignored = |activity: &Activity| matches!(activity, Activity::FaultIgnored { .. });
    assert_eq!(happened(&hub, "d", ignored), 3);
}

#[test]
fn links_sessions_and_connections_end_with_and_without_an_error() {
    for condition in [None, Some("amqp:internal-error".to_owned())] {
        for link in [AmqpLink::Telemetry, AmqpLink::CloudToDevice, AmqpLink::TwinReplies, AmqpLink::TokenReplies] {
            let hub = world();
            let mut peer = whole_device(&hub);
            hub.inject_for("d", Fault::AmqpDetach { link, condition: condition.clone() });
            assert_eq!(peer.find(DETACH).condition(2), condition, "{link:?}");
        }
        let hub = world();
        let mut peer = whole_device(&hub);
        hub.inject_for("d", Fault::AmqpEnd { condition: condition.clone() });
        assert_eq!(peer.find(END).condition(0), condition);
        let hub = world();
        let mut peer = whole_device(&hub);
        hub.inject_for("d", Fault::AmqpClose { condition: condition.clone() });
        assert_eq!(peer.find(CLOSE).condition(0), condition);
        assert!(peer.is_closed());
    }
}

#[test]
fn a_detach_waits_for_its_link() {
    let hub = world();
    hub.inject_for("d", Fault::AmqpDetach { link: AmqpLink::CloudToDevice, condition: None });
    let mut peer = Peer::of_device(&hub);
    peer.sender(0, EVENTS);
    assert!(peer.all_of(DETACH).is_empty());
    peer.receiver(1, "/devices/d/messages/devicebound", 1);
    assert_eq!(peer.find(DETACH).uint(0), 1);
}

#[test]
fn an_attach_is_refused_with_the_chosen_condition() {
    let hub = world();
    hub.inject(Fault::AmqpRefuseAttach { link: AmqpLink::Telemetry, condition: "amqp:internal-error".into() });
    let mut peer = Peer::of_device(&hub);
    assert_eq!(peer.refused(&Link::sender(0, EVENTS)), "amqp:internal-error");
    peer.sender(0, EVENTS);
}

#[test]
fn an_attach_is_never_answered_and_the_connection_goes_on() {
    let hub = world();
    hub.inject(Fault::AmqpWithholdAttach { link: AmqpLink::CloudToDevice });
    let mut peer = Peer::of_device(&hub);
    peer.say(&Link::receiver(1, "/devices/d/messages/devicebound").attach());
    peer.say(&detach(1));
    assert!(peer.all().is_empty());
    assert!(!hub.connected("d"));
    peer.sender(0, EVENTS);
    peer.accepted(0, &Message::of(b"x"));
}

#[test]
fn transfers_with_a_property_are_rejected_and_nothing_of_them_is_stored() {
    let hub = world();
    let mut peer = whole_device(&hub);
    let condition = "amqp:internal-error";
    let (property, condition) = ("bad".to_owned(), condition.to_owned());
    hub.inject_for("d", Fault::AmqpRefuseTelemetry { property, condition: condition.clone(), count: 2 });
    let bad = Message::of(b"bad").application("bad", text("yes"));
    peer.accepted(0, &Message::of(b"good"));
    assert_eq!(peer.rejected(0, 0, &bad.encoded()), condition);
    let batch = Message { data: vec![Message::of(b"good").encoded(), bad.encoded()], ..Message::default() };
    assert_eq!(peer.rejected(0, BATCH, &batch.encoded()), condition);
    assert_eq!(hub.telemetry_count("d"), 1);
    peer.accepted(0, &bad);
}

#[test]
fn the_wrong_settle_mode_is_answered_once() {
    let hub = world();
    hub.inject(Fault::AmqpWrongSettleMode { link: AmqpLink::TwinReplies });
    let mut peer = Peer::of_device(&hub);
    let answer = peer.attach(&Link::receiver(0, "/devices/d/twin"));
    assert_eq!((answer.field(3), answer.field(4)), (&V::Ubyte(0), &V::Ubyte(1)));
}

#[test]
fn the_reply_to_a_token_is_withheld_late_or_another() {
    let hub = world();
    let mut peer = Peer::open(&hub);
    peer.attach_cbs();
    let say = |peer: &mut Peer| {
        peer.say_put_token(V::Ulong(1), "hub.test/devices/d", &token(&hub, "d"), false);
        peer.all_of(DISPOSITION).len()
    };
    hub.inject(Fault::Cbs(CbsFault::Withhold));
    assert_eq!(say(&mut peer), 1);
    assert!(peer.all_of(TRANSFER).is_empty());
    hub.inject(Fault::Cbs(CbsFault::Delay(Duration::from_secs(40))));
    say(&mut peer);
    hub.advance_clock(Duration::from_secs(39));
    assert!(peer.all_of(TRANSFER).is_empty());
    hub.advance_clock(Duration::from_secs(1));
    assert_eq!(peer.all_of(TRANSFER).len(), 1);
    for status in [202, 403, 500] {
        hub.inject(Fault::Cbs(CbsFault::Status(status)));
        assert_eq!(peer.put_token("hub.test/devices/d", &token(&hub, "d")), status);
    }
}

#[test]
fn outcomes_of_telemetry_are_withheld_late_or_others() {
    let hub = world();
    let mut peer = whole_device(&hub);
    let message = Message::of(b"x");
    hub.inject_for("d", Fault::DropPubacks { count: 2 });
    for _ in 0..2 {
        peer.send(0, &message);
    }
    assert!(peer.all_of(DISPOSITION).is_empty());
    hub.inject_for("d", Fault::DelayPubacks { count: 1, by: Duration::from_secs(5) });
    let late = peer.send(0, &message);
    assert!(peer.all_of(DISPOSITION).is_empty());
    peer.accepted(0, &message);
    hub.advance_clock(Duration::from_secs(5));
    assert_eq!(peer.outcome(), (late, ACCEPTED, None));
    hub.inject_for("d", Fault::AmqpOutcome(AmqpOutcome::Rejected { condition: "amqp:internal-error".into() }));
    assert_eq!(peer.rejected(0, 0, &message.encoded()), "amqp:internal-error");
    hub.inject_for("d", Fault::AmqpOutcome(AmqpOutcome::Released));
    let id = peer.send(0, &message);
    assert_eq!(peer.outcome(), (id, RELEASED, None));
    assert_eq!(hub.telemetry_count("d"), 6, "all of them are stored");
}

#[test]
fn outcomes_of_telemetry_come_in_reverse_and_one_by_one() {
    let hub = world();
    let mut peer = whole_device(&hub);
    hub.inject_for("d", Fault::ReorderPubacks { window: 3 });
    let sent: Vec<u32> = (0..2).map(|_| peer.send(0, &Message::of(b"x"))).collect();
    assert!(peer.all_of(DISPOSITION).is_empty());
    let last = peer.send(0, &Message::of(b"x"));
    for id in [last, sent[1], sent[0]] {
        assert_eq!(peer.outcome(), (id, ACCEPTED, None));
    }
    peer.accepted(0, &Message::of(b"x"));
}

#[test]
fn a_message_comes_again_if_the_hub_loses_what_became_of_it() {
    let hub = world();
    let mut peer = whole_device(&hub);
    hub.inject_for("d", Fault::DuplicateDelivery);
    hub.send_c2d("d", C2dMessage::new("x").message_id("m")).unwrap();
    for count in [1, 2] {
        let (transfer, message) = peer.message();
        assert_eq!(message.annotated("iothub-deliverycount"), Some(&V::Ubyte(count)));
        let id = transfer.uint(1);
        peer.say(&disposition(id, id, true, outcome(ACCEPTED)));
    }
    assert!(peer.all_of(TRANSFER).is_empty());
    assert_eq!(hub.c2d_outcomes("d").len(), 1);
    let abandoned = |activity: &Activity| matches!(activity, Activity::MessageAbandoned { .. });
    assert_eq!(happened(&hub, "d", abandoned), 0, "it is not the device that gave it back");
}

#[test]
fn half_open_nothing_goes_either_way_until_the_hub_gives_up() {
    let hub = world();
    let mut peer = whole_device(&hub);
    hub.inject_for("d", Fault::HalfOpen);
    peer.poll();
    peer.send(0, &Message::of(b"x"));
    assert!(peer.all().is_empty());
    assert!(hub.connected("d") && !peer.is_closed());
    hub.advance_clock(Duration::from_secs(240));
    peer.poll();
    assert!(peer.is_closed() && peer.all().is_empty());
    assert_eq!(hub.telemetry_count("d"), 0);
}

#[test]
fn a_connection_is_dropped_at_an_exact_point() {
    let message = Message::of(b"x");
    let drops = |at: DropPoint, act: &mut dyn FnMut(&OfflineHub, &mut Peer)| {
        let hub = world();
        let mut peer = whole_device(&hub);
        hub.inject_for("d", Fault::Drop { device: None, at });
        act(&hub, &mut peer);
        peer.poll();
        assert!(peer.is_closed(), "{at:?}");
        assert!(!hub.connected("d"), "{at:?}");
        (hub, peer.all())
    };
    let (hub, said) = drops(DropPoint::PublishReceived, &mut |_, peer| {
        peer.send(0, &message);
    });
    assert_eq!((hub.telemetry_count("d"), said.len()), (0, 0));
    let (hub, said) = drops(DropPoint::PublishStored, &mut |_, peer| {
        peer.send(0, &message);
    });
    assert_eq!((hub.telemetry_count("d"), said.len()), (1, 0));
    let (_, said) = drops(DropPoint::PubackSent, &mut |_, peer| {
        peer.send(0, &message);
    });
    assert_eq!(said.len(), 1);
    let (hub, said) = drops(DropPoint::C2dSent, &mut |hub, _| drop(hub.send_c2d("d", C2dMessage::new("x"))));
    assert_eq!((hub.c2d_queue("d").len(), said.len()), (1, 1));
    let (hub, _) = drops(DropPoint::PubackReceived, &mut |hub, peer| {
        hub.send_c2d("d", C2dMessage::new("x")).unwrap();
        let id = peer.message().0.uint(1);
        peer.say(&disposition(id, id, true, outcome(ACCEPTED)));
    });
    assert_eq!(hub.c2d_queue("d").len(), 1);
    let patch = Message::of(b"{\"a\":1}")
        .annotation("operation", text("PATCH"))
        .annotation("resource", text("/properties/reported"));
    let (hub, said) = drops(DropPoint::TwinExecuted, &mut |_, peer| {
        peer.send(20, &patch);
    });
    assert_eq!(hub.twin("d").unwrap().reported, json!({"a": 1}));
    assert!(said.iter().all(|frame| frame.code != TRANSFER));
    drops(DropPoint::MethodSent, &mut |hub, _| drop(hub.start_method("d", MethodCall::new("m"))));
    drops(DropPoint::AttachReceived, &mut |_, peer| peer.say(&Link::receiver(50, "/devices/d/twin").attach()));
    drops(DropPoint::Attached, &mut |_, peer| peer.say(&Link::receiver(50, "/devices/d/twin").attach()));
    drops(DropPoint::PutTokenReceived, &mut |hub, peer| {
        let token = token(hub, "d");
        peer.say_put_token(V::Ulong(1), "hub.test/devices/d", &token, false);
    });
}

#[test]
fn a_transfer_can_break_off_in_the_middle() {
    let hub = world();
    let mut peer = whole_device(&hub);
    hub.inject_for("d", Fault::Drop { device: None, at: DropPoint::MidPacket });
    hub.send_c2d("d", C2dMessage::new("x")).unwrap();
    peer.poll();
    let half = peer.take_output();
    assert!(!half.is_empty() && half.len() < u32::from_be_bytes(*half.first_chunk().unwrap()) as usize);
    assert!(peer.is_closed());
}

#[test]
fn an_outcome_of_telemetry_can_break_off_in_the_middle() {
    let hub = world();
    let mut peer = whole_device(&hub);
    hub.inject(Fault::Drop { device: None, at: DropPoint::MidPacket });
    peer.send(0, &Message::of(b"x"));
    let half = peer.take_output();
    assert!(!half.is_empty() && half.len() < u32::from_be_bytes(*half.first_chunk().unwrap()) as usize);
    assert!(peer.is_closed());
    assert_eq!(hub.telemetry_count("d"), 1);
}

#[test]
fn one_frame_ends_one_connection() {
    let hub = world();
    let mut peer = whole_device(&hub);
    for at in [DropPoint::PubackSent, DropPoint::MidPacket] {
        hub.inject(Fault::Drop { device: None, at });
    }
    peer.send(0, &Message::of(b"x"));
    assert!(peer.is_closed());
    assert_eq!(hub.pending_faults(), 1);
    let mut next = whole_device(&hub);
    next.send(0, &Message::of(b"x"));
    assert!(next.is_closed());
    assert_eq!(hub.pending_faults(), 0);
}

#[test]
fn twin_answers_and_patches_go_wrong_as_over_mqtt() {
    let hub = world();
    let mut peer = whole_device(&hub);
    let put = Message::default()
        .annotation("operation", text("PUT"))
        .annotation("resource", text("/notifications/twin/properties/desired"));
    // A wish for desired changes is not what the faults of replies are for; it has one of its own.
    hub.inject_for("d", Fault::TwinReply(TwinReplyFault::Drop));
    peer.send(20, &put);
    assert_eq!(peer.all_of(TRANSFER).len(), 1);
    hub.clear_faults();
    hub.inject_for("d", Fault::AmqpDelayDesired { by: Duration::from_secs(7) });
    peer.send(20, &put);
    assert!(peer.all_of(TRANSFER).is_empty());
    hub.advance_clock(Duration::from_secs(7));
    assert_eq!(peer.all_of(TRANSFER).len(), 1);
    let get = Message::default().annotation("operation", text("GET")).property(CORRELATION_ID, text("g"));
    let answers = |peer: &mut Peer, fault: TwinReplyFault| {
        hub.inject_for("d", Fault::TwinReply(fault));
        peer.send(20, &get);
        let frames = peer.all_of(TRANSFER);
        frames.iter().map(|frame| Message::decode(&frame.payload)).collect::<Vec<_>>()
    };
    assert!(answers(&mut peer, TwinReplyFault::Drop).is_empty());
    assert_eq!(answers(&mut peer, TwinReplyFault::Duplicate).len(), 2);
    assert_ne!(answers(&mut peer, TwinReplyFault::UnknownRid)[0].prop(CORRELATION_ID), Some(&text("g")));
    assert_eq!(answers(&mut peer, TwinReplyFault::Status(429))[0].annotated("status"), Some(&V::Int(429)));
    assert!(serde_json::from_str::<serde_json::Value>(&answers(&mut peer, TwinReplyFault::BadJson)[0].body()).is_err());
    assert!(answers(&mut peer, TwinReplyFault::Delay(Duration::from_secs(9))).is_empty());
    hub.advance_clock(Duration::from_secs(9));
    assert_eq!(peer.all_of(TRANSFER).len(), 1);
    let mut patches = |fault: TwinPatchFault| {
        hub.inject_for("d", Fault::TwinPatch(fault));
        hub.patch_desired("d", json!({"a": 1})).unwrap();
        peer.all_of(TRANSFER).len()
    };
    assert_eq!(patches(TwinPatchFault::Drop), 0);
    assert_eq!(patches(TwinPatchFault::Duplicate), 2);
    assert_eq!(patches(TwinPatchFault::Reorder), 0);
    hub.patch_desired("d", json!({"a": 2})).unwrap();
    let versions: Vec<_> = peer
        .all_of(TRANSFER)
        .iter()
        .map(|frame| {
            serde_json::from_str::<serde_json::Value>(&Message::decode(&frame.payload).body()).unwrap()["$version"]
                .clone()
        })
        .collect();
    assert_eq!(versions, [json!(5), json!(4)]);
}

#[test]
fn method_requests_are_doubled_or_late() {
    let hub = world();
    let mut peer = whole_device(&hub);
    hub.inject_for("d", Fault::MethodDuplicate);
    let _call = hub.start_method("d", MethodCall::new("m")).unwrap();
    assert_eq!(peer.all_of(TRANSFER).len(), 2);
    hub.inject_for("d", Fault::LateMethod { by: Duration::from_secs(3) });
    let _call = hub.start_method("d", MethodCall::new("m")).unwrap();
    assert!(peer.all_of(TRANSFER).is_empty());
    hub.advance_clock(Duration::from_secs(3));
    assert_eq!(peer.all_of(TRANSFER).len(), 1);
}
