//! The hub's queue as the device meets it: subscriptions, expiry, its limit, and what the sender hears.

use std::time::Duration;

use iothub_core::{ConnectionState, Event, Feature};
use iothub_emulator::{AmqpLink, C2dMessage, C2dResult, C2dState, Fault, FeedbackMode, HubError};

use super::{listening, send};
use crate::bench::{Bench, DEVICE};
use crate::record;
use crate::subject::Subject;

pub(crate) fn a_message_waits_in_the_queue_until_the_device_subscribes(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.until_ready();
    send(&bench, ["m1"]);
    program.round_trip();
    assert_eq!(bench.c2d_queue(DEVICE)[0].state, C2dState::Enqueued);
    assert_eq!((record::sent(&bench), program.stats().received), (vec![], 0));
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    let message = program.receive();
    assert_eq!(message.message_id(), Some("m1"));
    message.complete();
    program.until_hub("m1 is completed", |hub| record::completed(hub) == ["m1"]);
    program.finish();
}

pub(crate) fn messages_wait_in_the_queue_after_the_device_has_unsubscribed(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = listening(&bench);
    program.round_trip_from_hub();
    program.unsubscribe(Feature::CloudToDevice);
    // Telemetry goes out behind the request to unsubscribe.
    program.round_trip();
    program.round_trip();
    send(&bench, ["m1"]);
    program.round_trip();
    assert_eq!((record::queued(&bench), program.messages.len()), (vec!["m1".to_owned()], 0));
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    let message = program.receive();
    assert_eq!(message.message_id(), Some("m1"));
    message.complete();
    program.until_hub("m1 is completed", |hub| record::completed(hub).len() == 2);
    program.finish();
}

pub(crate) fn messages_sent_while_the_device_was_away_arrive_when_it_connects(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    listening(&bench).finish();
    send(&bench, ["m1", "m2"]);
    let mut program = listening(&bench);
    for id in ["m1", "m2"] {
        let message = program.receive();
        assert_eq!(message.message_id(), Some(id));
        message.complete();
    }
    program.until_hub("both are completed", |hub| record::completed(hub) == ["m1", "m2"]);
    assert_eq!(record::connections(&bench), 2);
    program.finish();
}

pub(crate) fn a_session_left_by_an_earlier_program_delivers_nothing_unasked(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    listening(&bench).finish();
    send(&bench, ["m1"]);
    let mut program = bench.start();
    program.until_ready();
    program.round_trip();
    program.round_trip();
    assert_eq!((program.messages.len(), program.stats().received), (0, 0));
    assert_eq!(record::queued(&bench), ["m1"], "nobody asked for it, so it stays with the hub");
    assert_eq!(record::outcomes(&bench), []);
    program.finish();
}

pub(crate) fn completing_a_message_gives_its_sender_positive_feedback(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = listening(&bench);
    for (id, ack) in
        [("silent", FeedbackMode::None), ("positive", FeedbackMode::Positive), ("negative", FeedbackMode::Negative)]
    {
        bench.send_c2d(DEVICE, C2dMessage::new("x").message_id(id).ack(ack)).expect("the queue has room");
        program.receive().complete();
    }
    program.until_hub("all are completed", |hub| record::completed(hub).len() == 3);
    bench.flush_feedback();
    let feedback = bench.read_feedback();
    assert_eq!(feedback.len(), 1, "{feedback:?}");
    assert_eq!(feedback[0].original_message_id, "positive");
    assert_eq!((feedback[0].status_code.as_str(), feedback[0].device_id.as_str()), ("Success", DEVICE));
    program.finish();
}

pub(crate) fn an_expired_message_is_not_received_and_its_sender_is_told(subject: &dyn Subject) {
    let bench = Bench::with_still_clock(subject);
    let mut program = bench.start();
    program.until_ready();
    let minute = Duration::from_secs(60);
    let expiring = C2dMessage::new("x").message_id("expiring").ttl(minute).ack(FeedbackMode::Full);
    bench.send_c2d(DEVICE, expiring).expect("the queue has room");
    send(&bench, ["lasting"]);
    bench.advance_clock(minute);
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    let message = program.receive();
    assert_eq!(message.message_id(), Some("lasting"));
    message.complete();
    program.until_hub("the other is completed", |hub| record::outcomes(hub).len() == 2);
    let expected = [("expiring".to_owned(), C2dResult::Expired), ("lasting".to_owned(), C2dResult::Completed)];
    assert_eq!(record::outcomes(&bench), expected);
    bench.flush_feedback();
    let feedback = bench.read_feedback();
    assert_eq!((feedback.len(), feedback[0].status_code.as_str()), (1, "Expired"));
    assert_eq!(program.stats().received, 1);
    program.finish();
}

pub(crate) fn fifty_messages_fill_the_queue_and_an_answer_makes_room(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = listening(&bench);
    let ids: Vec<_> = (0..50).map(|n| format!("m{n}")).collect();
    send(&bench, ids.iter().map(String::as_str));
    program.until("all are received", |program| program.messages.len() == 50);
    let refused = bench.send_c2d(DEVICE, C2dMessage::new("one too many")).expect_err("the queue is full");
    assert_eq!(refused, HubError::QueueFull { device: DEVICE.to_owned(), pending: 50, limit: 50 });
    let first = program.messages.pop_front().expect("the first of fifty");
    first.complete();
    program.until_hub("there is room", |hub| hub.c2d_queue(DEVICE).len() == 49);
    send(&bench, ["m50"]);
    program.until("it is received", |program| program.messages.len() == 50);
    std::mem::take(&mut program.messages).into_iter().for_each(iothub_core::IncomingMessage::complete);
    program.until_hub("all are completed", |hub| record::completed(hub).len() == 51);
    assert_eq!(record::connections(&bench), 1);
    program.finish();
}

pub(crate) fn a_refused_subscription_is_told_and_telemetry_goes_on(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let (link, condition) = (AmqpLink::CloudToDevice, "amqp:not-allowed".to_owned());
    let ways = [Fault::RefuseSubscription, Fault::AmqpRefuseAttach { link, condition }];
    let Some(refusal) = bench.can_inject_one_of(ways) else { return };
    let mut program = bench.start();
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    program.until("the refusal is told", |program| !program.notices.is_empty());
    let refused = matches!(program.notices[..], [Event::SubscriptionRefused { feature: Feature::CloudToDevice, .. }]);
    assert!(refused, "{:?}", program.notices);
    program.until_ready();
    program.round_trip();
    assert_eq!(program.states(), [ConnectionState::Connecting, ConnectionState::Connected, ConnectionState::Ready]);
    assert_eq!(record::faults(&bench), [refusal]);
    assert_eq!(record::connections(&bench), 1, "a refusal is no reason to reconnect");
    program.finish();
}
