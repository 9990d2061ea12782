//! The end of a client: everything gets its outcome, in time, and the hub is told.

use std::sync::mpsc::channel;
use std::time::Duration;

use iothub_core::{ConnectionState, Feature, RefusedReason, UndeliveredReason};
use iothub_emulator::{C2dMessage, DisconnectReason, Fault};

use crate::bench::{Bench, DEVICE};
use crate::program::LIMIT;
use crate::record;
use crate::subject::Subject;

pub(crate) fn pending_messages_are_delivered_before_close_returns(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let ids: Vec<_> = (0..200).map(|n| program.send(format!("{n}"))).collect();
    // Not even connected: close does what is left to do.
    program.close();
    let confirmed: Vec<_> = program.confirmations.iter().map(|(id, outcome)| (*id, outcome.is_ok())).collect();
    assert_eq!(confirmed, ids.iter().map(|id| (*id, true)).collect::<Vec<_>>());
    assert_eq!(record::stored(&bench), (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
    program.finish();
}

pub(crate) fn messages_that_are_late_at_close_are_destroyed(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::DropPubacks { count: 2 }) {
        return;
    }
    let mut program = bench.start();
    program.until_ready();
    let ids = ["a", "b"].map(|body| program.send(body));
    program.until_stored(2);
    program.close_within(Duration::from_millis(100));
    for (id, body) in ids.into_iter().zip(["a", "b"]) {
        let undelivered =
            program.outcome(id).cloned().expect("close gives an outcome").expect_err("nobody confirmed it");
        assert_eq!((undelivered.reason, undelivered.maybe_delivered), (UndeliveredReason::Destroyed, true));
        assert_eq!(undelivered.message.payload(), body.as_bytes());
    }
    assert_eq!(record::stored(&bench), ["a", "b"]);
    program.finish();
}

pub(crate) fn messages_of_a_client_that_never_connected_are_destroyed_unsent(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    bench.set_device_enabled(DEVICE, false).expect("it exists");
    let mut program = bench.start();
    let id = program.send("stranded");
    program.until_status(ConnectionState::Waiting, 0);
    program.close_within(Duration::ZERO);
    let undelivered = program.outcome(id).cloned().expect("close gives an outcome").expect_err("nobody confirmed it");
    assert_eq!((undelivered.reason, undelivered.maybe_delivered), (UndeliveredReason::Destroyed, false));
    assert!(bench.telemetry(DEVICE).is_empty());
    assert_eq!(record::connections(&bench), 0);
    program.finish();
}

pub(crate) fn close_says_goodbye_to_the_hub(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.until_ready();
    program.close();
    program.until_hub("the connection has ended", |hub| !hub.connected(DEVICE));
    assert_eq!(record::ends(&bench), [DisconnectReason::ByDevice]);
    assert_eq!(program.next_deadline(), None, "a closed client wants nothing");
    program.finish();
}

pub(crate) fn an_answer_given_before_close_reaches_the_hub(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    bench.send_c2d(DEVICE, C2dMessage::new("x").message_id("m1")).expect("the queue has room");
    program.receive().complete();
    program.close();
    program.until_hub("the connection has ended", |hub| !hub.connected(DEVICE));
    assert_eq!(record::completed(&bench), ["m1"]);
    assert!(program.notices.is_empty(), "{:?}", program.notices);
    program.finish();
}

pub(crate) fn messages_that_are_unanswered_at_close_stay_with_the_hub(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    bench.send_c2d(DEVICE, C2dMessage::new("x").message_id("m1")).expect("the queue has room");
    let message = program.receive();
    program.close();
    // Too late, and known to be: the client is closed.
    message.complete();
    program.turn();
    assert_eq!((record::queued(&bench), record::outcomes(&bench)), (vec!["m1".to_owned()], vec![]));
    program.finish();
    let mut next = bench.start();
    next.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    let again = next.receive();
    assert_eq!(again.message_id(), Some("m1"));
    again.complete();
    next.until_hub("m1 is completed", |hub| record::completed(hub) == ["m1"]);
    next.finish();
}

pub(crate) fn a_closed_client_takes_nothing_and_does_nothing(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.round_trip();
    program.close();
    let refused = program.send_event("late").expect_err("it is closed");
    assert_eq!((refused.reason, refused.value.payload().as_ref()), (RefusedReason::Closed, &b"late"[..]));
    program.reconnect();
    program.turn();
    program.close();
    assert_eq!(program.states().iter().filter(|state| **state == ConnectionState::Closed).count(), 1);
    program.until_hub("the connection has ended", |hub| !hub.connected(DEVICE));
    assert_eq!(record::stored(&bench), ["round trip 1"]);
    assert_eq!(record::connections(&bench), 1);
    program.finish();
}

pub(crate) fn a_callback_within_close_can_send_nothing_more(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::DropPubacks { count: 1 }) {
        return;
    }
    let mut program = bench.start();
    let (tx, rx) = channel();
    program
        .send_event_with("a", move |outcome, outbox| {
            let message = outcome.expect_err("nobody confirmed it").message;
            tx.send(outbox.send_event(message).expect_err("it is closing")).expect("the behaviour listens");
        })
        .expect("there is room");
    program.until_stored(1);
    program.close_within(Duration::ZERO);
    let refused = rx.try_recv().expect("close has returned, so the callback has run");
    assert_eq!((refused.reason, refused.value.payload().as_ref()), (RefusedReason::Closed, &b"a"[..]));
    assert_eq!(record::stored(&bench), ["a"]);
    program.finish();
}

pub(crate) fn a_client_that_is_dropped_calls_nobody_and_frees_its_connection(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::DropPubacks { count: 1 }) {
        return;
    }
    let mut program = bench.start();
    program.send_event_with("a", |_, _| panic!("called back")).expect("there is room");
    program.until_stored(1);
    drop(program);
    bench.wait_until(LIMIT, "the connection has ended", |hub| !hub.connected(DEVICE)).expect("it was dropped");
    let mut next = bench.start();
    next.round_trip();
    assert_eq!(record::stored(&bench), ["a", "round trip 1"]);
    assert_eq!(record::connections(&bench), 2);
    next.finish();
}
