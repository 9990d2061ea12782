//! Closing: everything ends, once, and in bounded time.

use super::fake::{Call, Fake};
use super::*;

#[test]
fn invariant_3_after_close_every_message_has_its_outcome() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let (tx, rx) = channel();
    client.send_event_with("flying", report(&tx, "flying")).unwrap();
    client.do_work();
    client.send_event_with("waiting", report(&tx, "waiting")).unwrap();
    let tracked = client.send_event_tracked("tracked").unwrap();
    client.close(5 * SECOND);
    for (name, outcome) in rx.try_iter() {
        let undelivered = outcome.unwrap_err();
        assert_eq!(undelivered.reason, UndeliveredReason::Destroyed, "{name}");
        assert!(undelivered.maybe_delivered);
        assert_eq!(undelivered.message.payload(), name.as_bytes());
    }
    let confirmation = std::iter::from_fn(|| client.next_event()).find_map(|event| match event {
        Event::Confirmation { id, outcome } => Some((id, outcome.unwrap_err().reason)),
        _ => None,
    });
    assert_eq!(confirmation, Some((tracked, UndeliveredReason::Destroyed)));
    assert_eq!(client.stats().undelivered, 3);
}

#[test]
fn a_message_that_never_left_says_so() {
    let fake = Fake::new();
    let mut client = fake.client();
    let (tx, rx) = channel();
    client.send_event_with("a", report(&tx, "a")).unwrap();
    client.close(Duration::ZERO);
    assert!(!rx.try_recv().unwrap().1.unwrap_err().maybe_delivered);
}

#[test]
fn close_drives_until_drained_and_then_disconnects() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let (tx, rx) = channel();
    client.send_event_with("a", report(&tx, "a")).unwrap();
    let next = OpId(client.stats().accepted);
    fake.confirms(next);
    let before = fake.script().now;
    client.close(60 * SECOND);
    assert!(rx.try_recv().unwrap().1.is_ok());
    assert_eq!(fake.script().now, before, "close waited although everything was done");
    assert!(fake.calls().ends_with(&[Call::Disconnect, Call::Unregister]));
    assert_eq!(states(&mut client), [ConnectionState::Closed]);
}

#[test]
fn close_ends_in_time_although_nobody_answers() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    fake.script().mute = true;
    client.send_event("a").unwrap();
    let before = fake.script().now.mono;
    client.close(3 * SECOND);
    assert_eq!(fake.script().now.mono - before, 3 * SECOND);
    assert_eq!(client.connection_state(), ConnectionState::Closed);
}

#[test]
fn close_does_not_wait_for_a_client_that_has_stopped() {
    let fake = Fake::new();
    let mut client = fake.client_with(|builder| builder.retry_policy(RetryPolicy::None));
    fake.drops(ConnectionErrorKind::Refused);
    client.do_work();
    client.send_event("a").unwrap();
    let before = fake.script().now;
    client.close(60 * SECOND);
    assert_eq!(fake.script().now, before);
}

#[test]
fn wrinkle_32_a_callback_inside_close_cannot_enqueue_more() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let (tx, rx) = channel();
    client
        .send_event_with("a", move |outcome, outbox| {
            let refused = outbox.send_event(outcome.unwrap_err().message).unwrap_err();
            tx.send(refused.reason).unwrap();
        })
        .unwrap();
    client.close(Duration::ZERO);
    assert_eq!(rx.try_recv().unwrap(), RefusedReason::Closed);
}

#[test]
fn a_closed_client_does_nothing_more() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.close(Duration::ZERO);
    fake.calls();
    client.do_work();
    client.reconnect();
    client.do_work();
    client.close(SECOND);
    assert_eq!(fake.calls(), []);
    assert_eq!(client.next_deadline(), None);
    assert_eq!(client.send_event("late").unwrap_err().reason, RefusedReason::Closed);
}

#[test]
fn dropping_a_client_runs_no_callback() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.send_event_with("a", |_, _| panic!("called back")).unwrap();
    drop(client);
}

#[test]
fn close_sleeps_until_the_goodbye_is_said_although_something_woke_the_client() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let waker = client.waker();
    client.send_event_with("a", move |_, _| waker.wake()).unwrap();
    fake.confirms(OpId(client.stats().accepted));
    fake.script().mute = true;
    let before = fake.script().now.mono;
    client.close(3 * SECOND);
    assert_eq!(fake.script().now.mono - before, 3 * SECOND);
}
