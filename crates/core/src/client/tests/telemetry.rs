//! Sending: outcomes, order, bounds and deadlines.

use super::fake::{Call, Fake};
use super::*;

fn payloads(fake: &Fake) -> Vec<String> {
    fake.telemetry().into_iter().map(|(_, payload)| payload).collect()
}

#[test]
fn invariant_1_each_accepted_message_gets_exactly_one_outcome() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let (tx, rx) = channel();
    for name in ["a", "b", "c"] {
        client.send_event_with(name, report(&tx, name)).unwrap();
    }
    client.do_work();
    let ids: Vec<_> = fake.telemetry().into_iter().map(|(id, _)| id).collect();
    for id in [ids[0], ids[1], ids[2], ids[1], OpId(999)] {
        fake.confirms(id);
    }
    client.do_work();
    fake.confirms(ids[0]);
    client.do_work();
    client.close(Duration::ZERO);
    assert_eq!(names(&rx), ["a", "b", "c"]);
    assert_eq!((client.stats().delivered, client.stats().undelivered), (3, 0));
}

#[test]
fn invariant_1_messages_are_handed_over_in_the_order_of_sending() {
    let fake = Fake::new();
    fake.script().window = 2;
    let mut client = fake.ready_client();
    for name in ["a", "b", "c", "d"] {
        client.send_event(name).unwrap();
    }
    client.do_work();
    let first = fake.telemetry();
    fake.confirms(first[0].0);
    client.do_work();
    client.do_work();
    assert_eq!((first[0].1.as_str(), first[1].1.as_str()), ("a", "b"));
    assert_eq!(payloads(&fake), ["c"]);
}

#[test]
fn invariant_2_nothing_calls_back_while_something_is_enqueued() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let (tx, rx) = channel();
    client.send_event_with("a", report(&tx, "a")).unwrap();
    client.do_work();
    fake.confirms(fake.telemetry()[0].0);
    client.send_event_with("b", report(&tx, "b")).unwrap();
    client.subscribe(Feature::CloudToDevice).unwrap();
    client.reconnect();
    assert_eq!(names(&rx), [""; 0]);
    client.do_work();
    assert_eq!(names(&rx), ["a"]);
}

#[test]
fn invariant_4_a_turn_does_time_outs_then_answers_then_connect_then_telemetry_then_the_wire() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.subscribe(Feature::CloudToDevice).unwrap();
    client.set_message_timeout(Some(SECOND));
    client.send_event("late").unwrap();
    client.do_work();
    fake.delivers("question", 7);
    client.do_work();
    let late = fake.telemetry()[0].0;
    while let Some(event) = client.next_event() {
        if let Event::Message(message) = event {
            message.complete();
        }
    }
    client.send_event("fresh").unwrap();
    fake.advance(2 * SECOND);
    client.set_message_timeout(None);
    client.send_event("new").unwrap();
    fake.script().calls.clear();
    client.do_work();
    let calls = fake.script().calls.clone();
    assert_eq!(calls[0], Call::Forget(late));
    assert!(matches!(calls[1], Call::Settle(_, Delivery { key: 7, .. }, Disposition::Accept)), "{calls:?}");
    assert!(matches!(&calls[2], Call::Telemetry(_, payload) if payload == "new"), "{calls:?}");
    assert_eq!(calls[3..], [Call::Slice]);
}

#[test]
fn invariant_5_a_message_is_late_after_its_time_out_not_at_it() {
    let fake = Fake::new();
    let mut client = fake.client();
    let (tx, rx) = channel();
    client.set_message_timeout(Some(SECOND));
    client.send_event_with("a", report(&tx, "a")).unwrap();
    fake.advance(SECOND);
    client.do_work();
    assert!(rx.try_recv().is_err());
    fake.advance(Duration::from_nanos(1));
    client.do_work();
    let (_, outcome) = rx.try_recv().unwrap();
    assert_eq!(outcome.unwrap_err().reason, UndeliveredReason::TimedOut);
}

#[test]
fn wrinkle_25_one_deadline_covers_the_queue_and_the_wire() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let (tx, rx) = channel();
    client.set_message_timeout(Some(10 * SECOND));
    client.send_event_with("a", report(&tx, "a")).unwrap();
    client.do_work();
    let id = fake.telemetry()[0].0;
    client.wait(60 * SECOND);
    client.do_work();
    let undelivered = rx.try_recv().unwrap().1.unwrap_err();
    assert_eq!(undelivered.reason, UndeliveredReason::TimedOut);
    assert!(undelivered.maybe_delivered);
    assert_eq!(fake.calls(), [Call::Forget(id)]);
    fake.confirms(id);
    client.do_work();
    assert!(rx.try_recv().is_err(), "a late acknowledgement made a second outcome");
}

#[test]
fn a_message_in_flight_is_resubmitted_under_its_id_before_anything_new() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    for name in ["a", "b", "c"] {
        client.send_event(name).unwrap();
    }
    client.do_work();
    let sent = fake.telemetry();
    fake.confirms(sent[1].0);
    fake.drops(ConnectionErrorKind::ClosedByPeer);
    client.do_work();
    client.send_event("new").unwrap();
    fake.connects();
    client.do_work();
    client.do_work();
    let again = fake.telemetry();
    assert_eq!(again[..2], [sent[0].clone(), sent[2].clone()]);
    assert_eq!(again[2].1, "new");
    assert_eq!(client.stats().resent, 2);
}

#[test]
fn room_that_a_forgotten_message_leaves_is_used_without_an_event() {
    let fake = Fake::new();
    fake.script().window = 1;
    let mut client = fake.ready_client();
    client.send_event("a").unwrap();
    client.send_event("b").unwrap();
    client.do_work();
    assert_eq!(payloads(&fake), ["a"]);
    assert!(!fake.is_due(&client));
    fake.script().room_after_slice = 1;
    client.do_work();
    assert_eq!(payloads(&fake), ["b"]);
    assert!(fake.is_due(&client), "what was submitted after the slice waits for the next one");
}

#[test]
fn wrinkle_24_the_queue_is_bounded_and_hands_the_message_back() {
    let fake = Fake::new();
    let mut client = fake.client_with(|builder| builder.max_queued_messages(2));
    client.send_event("a").unwrap();
    client.send_event("b").unwrap();
    let refused = client.send_event("c").unwrap_err();
    assert_eq!(refused.reason, RefusedReason::TooManyMessages { limit: 2 });
    assert_eq!(refused.value.payload().as_ref(), b"c");

    let mut client = fake.client_with(|builder| builder.max_queued_bytes(262_144));
    client.send_event(vec![0; 262_000]).unwrap();
    let refused = client.send_event(vec![0; 145]).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::TooManyBytes { size: 145, limit: 262_144 });
    assert!(client.send_event(vec![0; 144]).is_ok());
}

#[test]
fn wrinkle_24_an_unread_confirmation_takes_the_room_of_a_message() {
    let fake = Fake::new();
    let mut client = fake.client_with(|builder| builder.max_queued_messages(1));
    fake.connects();
    client.do_work();
    let id = client.send_event_tracked("a").unwrap();
    client.do_work();
    fake.confirms(id);
    client.do_work();
    assert!(client.send_event("b").is_err());
    let mut confirmed = Vec::new();
    while let Some(event) = client.next_event() {
        if let Event::Confirmation { id, outcome } = event {
            outcome.unwrap();
            confirmed.push(id);
        }
    }
    assert_eq!(confirmed, [id]);
    assert!(client.send_event("b").is_ok());
}

#[test]
fn wrinkle_34_what_the_transport_cannot_carry_is_refused_at_once() {
    let mut client = Fake::new().client();
    let refused = client.send_event(vec![0; 262_145]).unwrap_err();
    let unsupported = Unsupported::MessageTooLarge { size: 262_145, limit: 262_144 };
    assert_eq!(refused.reason, RefusedReason::Unsupported(unsupported));
    assert_eq!(refused.value.payload().len(), 262_145);
}

#[test]
fn wrinkle_7_a_confirmation_is_optional() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.send_event("a").unwrap();
    client.do_work();
    fake.confirms(fake.telemetry()[0].0);
    client.do_work();
    assert!(client.next_event().is_none());
    assert_eq!(client.stats().delivered, 1);
}

#[test]
fn the_seed_the_caller_may_drop_its_message_at_once() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let message = Message::new("kept");
    client.send_event(message.clone()).unwrap();
    drop(message);
    client.do_work();
    assert_eq!(payloads(&fake), ["kept"]);
}

#[test]
fn the_seed_a_failed_confirmation_hands_the_message_back_and_its_callback_sends_it_again() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let (tx, rx) = channel();
    client
        .send_event_with("stubborn", move |outcome, outbox| {
            let message = outcome.unwrap_err().message;
            outbox.send_event_with(message, report(&tx, "again")).unwrap();
        })
        .unwrap();
    client.do_work();
    let id = fake.telemetry()[0].0;
    let result = Err(OpError::Rejected("no".into()));
    fake.happens(TransportEvent::Done { id, result });
    client.do_work();
    client.do_work();
    let again = fake.telemetry();
    assert_eq!(again[0].1, "stubborn");
    fake.confirms(again[0].0);
    client.do_work();
    assert_eq!(names(&rx), ["again"]);
}

#[test]
fn a_received_message_is_sent_on_without_what_only_the_hub_sets() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let mut message = Message::new("on").with_message_id("1").unwrap().with_property("room", "kitchen").unwrap();
    let received = [SystemProperty::UserId, SystemProperty::To, SystemProperty::ExpiryTime, SystemProperty::Ack];
    for property in received.into_iter().chain([SystemProperty::ConnectionDeviceId]) {
        message.put_system(property, "of the hub".to_owned());
    }
    client.send_event_tracked(message).unwrap();
    // What is handed back is what would have been sent.
    client.close(Duration::ZERO);
    let sent = std::iter::from_fn(|| client.next_event()).find_map(|event| match event {
        Event::Confirmation { outcome: Err(undelivered), .. } => Some(undelivered.message),
        _ => None,
    });
    let sent = sent.unwrap();
    assert_eq!(sent.system_properties().collect::<Vec<_>>(), [(SystemProperty::MessageId, "1")]);
    assert_eq!(sent.property("room"), Some("kitchen"));
}

#[test]
fn what_the_transport_refuses_at_submission_fails_alone() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let (tx, rx) = channel();
    client.send_event_with("bad", report(&tx, "bad")).unwrap();
    client.send_event_with("good", report(&tx, "good")).unwrap();
    client.do_work();
    let sent = fake.telemetry();
    fake.happens(TransportEvent::Done { id: sent[0].0, result: Err(OpError::Rejected("quota".into())) });
    fake.confirms(sent[1].0);
    client.do_work();
    let outcomes: Vec<_> = rx.try_iter().collect();
    assert_eq!(outcomes[0].1.as_ref().unwrap_err().reason.to_string(), "the hub refused it: quota");
    assert!(outcomes[1].1.is_ok());
}

#[test]
fn the_send_status_is_busy_from_acceptance_to_outcome() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    assert_eq!(client.send_status(), SendStatus::Idle);
    client.send_event("a").unwrap();
    assert_eq!(client.send_status(), SendStatus::Busy);
    client.do_work();
    assert_eq!(client.send_status(), SendStatus::Busy);
    fake.confirms(fake.telemetry()[0].0);
    client.do_work();
    assert_eq!(client.send_status(), SendStatus::Idle);
}

#[test]
fn what_the_hub_does_not_take_now_is_told_apart_from_what_it_refuses() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let (to, from) = channel();
    for name in ["busy", "wrong"] {
        client.send_event_with(name, report(&to, name)).unwrap();
    }
    client.do_work();
    let sent = fake.telemetry();
    fake.answers(sent[0].0, Err(OpError::NotNow("throttled".into())));
    fake.answers(sent[1].0, Err(OpError::Rejected("argument".into())));
    client.do_work();
    let reasons: Vec<_> = from.try_iter().map(|(_, outcome)| outcome.unwrap_err().reason).collect();
    let not_now = UndeliveredReason::NotNow("the hub does not take it now: throttled".to_owned());
    assert_eq!(reasons, [not_now, UndeliveredReason::Rejected("the hub refused it: argument".to_owned())]);
}

#[test]
fn each_message_of_a_refused_batch_goes_again_alone_before_anything_new() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let (to, from) = channel();
    for name in ["one", "two"] {
        client.send_event_with(name, report(&to, name)).unwrap();
    }
    client.do_work();
    let ids: Vec<_> = fake.telemetry().into_iter().map(|(id, _)| id).collect();
    for id in &ids {
        fake.answers(*id, Err(OpError::BatchRejected("poison".into())));
    }
    client.do_work();
    assert_eq!(names(&from), [] as [&str; 0]);
    assert!(fake.is_due(&client));
    client.send_event("three").unwrap();
    client.do_work();
    let again: Vec<_> = fake.telemetry().into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(again, ["one", "two", "three"]);
    fake.answers(ids[0], Err(OpError::Rejected("poison".into())));
    fake.confirms(ids[1]);
    client.do_work();
    let outcomes: Vec<_> = from.try_iter().map(|(name, outcome)| (name, outcome.is_ok())).collect();
    assert_eq!(outcomes, [("one", false), ("two", true)]);
}

#[test]
fn a_message_of_a_refused_batch_that_times_out_is_not_sent_again() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.set_message_timeout(Some(SECOND));
    let (to, from) = channel();
    client.send_event_with("late", report(&to, "late")).unwrap();
    client.do_work();
    let id = fake.telemetry()[0].0;
    fake.answers(id, Err(OpError::BatchRejected("poison".into())));
    client.do_work();
    fake.advance(2 * SECOND);
    client.do_work();
    assert_eq!((names(&from), fake.telemetry().len()), (vec!["late"], 0));
}
