//! Cloud-to-device messages to a device (E30 to E33).

use std::time::Duration;

use iothub_emulator::{Activity, C2dMessage, C2dResult, Config, FeedbackMode, OfflineHub};

use crate::support::frame::{Link, *};
use crate::support::value::{V, composite, text};
use crate::support::{Peer, happened, millis, world, world_with};

const DEVICEBOUND: &str = "/devices/d/messages/devicebound";

fn ready(hub: &OfflineHub) -> Peer {
    let mut peer = Peer::of_device(hub);
    peer.receiver(0, DEVICEBOUND, 100);
    peer
}

fn send(hub: &OfflineHub, id: &str) {
    hub.send_c2d("d", C2dMessage::new(id.to_owned()).message_id(id)).unwrap();
}

/// The hub's word on a delivery that the device has not settled.
fn echo(peer: &mut Peer) -> (bool, u32, u64, Option<String>) {
    let disposition = peer.find(DISPOSITION);
    let (code, fields) = disposition.field(4).fields();
    let condition = fields.first().map(|error| error.fields().1[0].as_text().to_owned());
    let is_receiver = *disposition.field(0) == V::Bool(true);
    assert_eq!(disposition.field(3), &V::Bool(true));
    (is_receiver, disposition.uint(1), code, condition)
}

fn results(hub: &OfflineHub) -> Vec<C2dResult> {
    hub.c2d_outcomes("d").iter().map(|outcome| outcome.result).collect()
}

#[test]
fn a_e30_a_message_has_its_lock_as_tag_and_the_hubs_annotations() {
    let hub = world();
    let mut peer = ready(&hub);
    let message = C2dMessage::new("open")
        .message_id("m1")
        .correlation_id("c1")
        .user_id("u1")
        .content_type("text/plain")
        .content_encoding("utf-8")
        .property("floor", "3")
        .property("bare", None)
        .ack(FeedbackMode::Full)
        .ttl(Duration::from_secs(60));
    hub.send_c2d("d", message).unwrap();
    let (frame, message) = peer.message();
    assert_ne!(frame.field(4), &V::Bool(true), "it is not settled");
    let V::Bin(tag) = frame.field(2) else { panic!("{frame:?}") };
    let V::Str(lock) = message.annotated("x-opt-lock-token").unwrap() else { panic!("{message:?}") };
    // .NET's order of bytes: the first three groups are little-endian.
    let hex: Vec<u8> =
        (0..32).step_by(2).map(|at| u8::from_str_radix(&lock.replace('-', "")[at..at + 2], 16).unwrap()).collect();
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    assert_eq!(*tag, order.map(|index| hex[index]));
    assert_eq!(message.annotated("iothub-enqueuedtime"), Some(&V::Timestamp(millis(hub.now()))));
    assert_eq!(message.annotated("iothub-deliverycount"), Some(&V::Ubyte(1)));
    assert_eq!(message.annotated("x-opt-sequence-number"), Some(&V::Ulong(1)));
    assert_eq!(message.prop(MESSAGE_ID), Some(&text("m1")));
    assert_eq!(message.prop(CORRELATION_ID), Some(&text("c1")));
    assert_eq!(message.prop(USER_ID), Some(&V::Bin(b"u1".to_vec())));
    assert_eq!(message.prop(TO), Some(&text("/devices/d/messages/deviceBound")));
    assert_eq!(message.prop(CONTENT_TYPE).unwrap().as_text(), "text/plain");
    assert_eq!(message.prop(CONTENT_ENCODING).unwrap().as_text(), "utf-8");
    assert_eq!(message.prop(EXPIRY), Some(&V::Timestamp(millis(hub.now()) + 60_000)));
    assert_eq!(message.app("floor"), Some(&text("3")));
    assert_eq!(message.app("bare"), Some(&text("")));
    assert_eq!(message.app("iothub-ack"), Some(&text("full")));
    assert_eq!(message.body(), "open");
}

#[test]
fn a_e30_the_first_delivery_count_is_a_setting() {
    let hub = world_with(Config::new().with_amqp_first_delivery_count(0));
    let mut peer = ready(&hub);
    send(&hub, "m");
    assert_eq!(peer.message().1.annotated("iothub-deliverycount"), Some(&V::Ubyte(0)));
}

#[test]
fn a_e30_a_message_is_cut_to_the_frames_that_the_client_takes() {
    let hub = world();
    let mut peer = Peer::silent(&hub);
    peer.say_bytes(AMQP_HEADER);
    peer.header();
    peer.say(&composite(OPEN, vec![text("small"), V::Null, V::Uint(512)]));
    peer.find(OPEN);
    peer.say(&begin());
    peer.find(BEGIN);
    peer.attach_cbs();
    peer.put_token("hub.test/devices/d", &crate::support::token(&hub, "d"));
    peer.receiver(0, DEVICEBOUND, 1);
    hub.send_c2d("d", C2dMessage::new(vec![7; 3_000])).unwrap();
    let frames = peer.all_of(TRANSFER);
    assert!(frames.len() > 6);
    let more: Vec<bool> = frames.iter().map(|frame| *frame.field(5) == V::Bool(true)).collect();
    assert!(more[..more.len() - 1].iter().all(|more| *more) && !more[more.len() - 1], "{more:?}");
    let payload: Vec<u8> = frames.iter().flat_map(|frame| frame.payload.clone()).collect();
    assert_eq!(Message::decode(&payload).data, [vec![7; 3_000]]);
}

#[test]
fn a_e31_accepted_completes_and_rejected_ends_whatever_its_condition() {
    let hub = world();
    let mut peer = ready(&hub);
    send(&hub, "m1");
    send(&hub, "m2");
    let first = peer.message().0.uint(1);
    let second = peer.message().0.uint(1);
    peer.say(&disposition(first, first, true, outcome(ACCEPTED)));
    let by_application = composite(0x1d, vec![crate::support::value::sym("Rejected by application")]);
    peer.say(&disposition(second, second, true, composite(REJECTED, vec![by_application])));
    assert_eq!(results(&hub), [C2dResult::Completed, C2dResult::Rejected]);
    assert!(hub.c2d_queue("d").is_empty());
    assert!(peer.all_of(DISPOSITION).is_empty(), "settled ones need no answer");
    assert_eq!(happened(&hub, "d", |activity| matches!(activity, Activity::C2dAcked { .. })), 1);
    assert_eq!(happened(&hub, "d", |activity| matches!(activity, Activity::MessageRejected { .. })), 1);
}

#[test]
fn a_e31_released_and_modified_give_back_and_count() {
    let hub = world();
    let mut peer = ready(&hub);
    send(&hub, "m");
    for (index, state) in [RELEASED, MODIFIED, RELEASED].into_iter().enumerate() {
        let (frame, message) = peer.message();
        assert_eq!(message.annotated("iothub-deliverycount"), Some(&V::Ubyte(index as u8 + 1)));
        peer.say(&disposition(frame.uint(1), frame.uint(1), true, outcome(state)));
    }
    assert_eq!(hub.c2d_queue("d")[0].delivery_count, 3);
}

#[test]
fn a_e31_one_disposition_may_settle_many() {
    let hub = world();
    let mut peer = ready(&hub);
    (0..20).for_each(|index| send(&hub, &index.to_string()));
    let ids: Vec<u32> = peer.all_of(TRANSFER).iter().map(|frame| frame.uint(1)).collect();
    peer.say(&disposition(0, u32::MAX / 2, true, outcome(ACCEPTED)));
    assert_eq!((ids.len(), results(&hub).len()), (20, 20));
}

#[test]
fn a_e31_the_end_of_lock_link_session_or_connection_gives_back_and_counts() {
    let hub = world();
    send(&hub, "m");
    let count = || hub.c2d_queue("d")[0].delivery_count;
    let mut peer = ready(&hub);
    peer.message();
    hub.advance_clock(Duration::from_secs(60));
    assert_eq!(count(), 1);
    assert_eq!(peer.message().1.annotated("iothub-deliverycount"), Some(&V::Ubyte(2)));
    peer.say(&detach(0));
    peer.find(DETACH);
    assert_eq!(count(), 2);
    peer.receiver(0, DEVICEBOUND, 1);
    peer.message();
    peer.say(&end());
    assert_eq!(count(), 3);
    let mut peer = ready(&hub);
    peer.message();
    peer.peer_closed();
    assert_eq!(count(), 4);
}

#[test]
fn a_e31_given_back_too_often_a_message_ends() {
    let hub = world_with(Config::new().with_max_delivery_count(2));
    let mut peer = ready(&hub);
    send(&hub, "m");
    for _ in 0..2 {
        let id = peer.message().0.uint(1);
        peer.say(&disposition(id, id, true, outcome(RELEASED)));
    }
    assert_eq!(results(&hub), [C2dResult::DeliveryCountExceeded]);
    assert!(peer.all_of(TRANSFER).is_empty());
}

#[test]
fn a_e32_an_outcome_that_is_not_settled_is_settled_by_the_hub() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    peer.attach(&Link::receiver(0, DEVICEBOUND).modes(2, 1));
    peer.say(&credit(0, 0, 10));
    for (state, code) in [(outcome(ACCEPTED), ACCEPTED), (outcome(RELEASED), RELEASED), (outcome(REJECTED), REJECTED)] {
        if code != REJECTED {
            send(&hub, "m");
        }
        let id = peer.message().0.uint(1);
        peer.say(&disposition(id, id, false, state));
        assert_eq!(echo(&mut peer), (false, id, code, None));
    }
    assert_eq!(results(&hub), [C2dResult::Completed, C2dResult::Rejected]);
}

#[test]
fn a_e32_received_is_no_outcome() {
    let hub = world();
    let mut peer = ready(&hub);
    send(&hub, "m");
    let id = peer.message().0.uint(1);
    peer.say(&disposition(id, id, false, composite(RECEIVED, vec![V::Uint(0), V::Ulong(0)])));
    assert!(peer.all_of(DISPOSITION).is_empty());
    assert_eq!(hub.c2d_queue("d").len(), 1);
    peer.say(&disposition(id, id, true, outcome(ACCEPTED)));
    assert_eq!(results(&hub), [C2dResult::Completed]);
}

#[test]
fn a_e33_behind_the_lock_an_outcome_is_ignored_or_answered_with_lock_lost() {
    let hub = world();
    let mut peer = ready(&hub);
    send(&hub, "m1");
    send(&hub, "m2");
    let (first, second) = (peer.message().0.uint(1), peer.message().0.uint(1));
    hub.advance_clock(Duration::from_secs(60));
    peer.say(&disposition(first, first, true, outcome(ACCEPTED)));
    peer.say(&disposition(second, second, false, outcome(ACCEPTED)));
    assert_eq!(echo(&mut peer), (false, second, REJECTED, Some("com.microsoft:message-lock-lost".to_owned())));
    assert!(results(&hub).is_empty());
    // They come again, each under a new lock.
    let again: Vec<u32> = peer.all_of(TRANSFER).iter().map(|frame| frame.uint(1)).collect();
    peer.say(&disposition(again[0], again[1], true, outcome(ACCEPTED)));
    assert_eq!(results(&hub), [C2dResult::Completed, C2dResult::Completed]);
}
