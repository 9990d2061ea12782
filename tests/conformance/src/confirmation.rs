//! What becomes of a message, and how its sender hears of it: exactly once, and with the message when it failed.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use iothub_core::{ConnectionState, Device, Message, Outbox, UndeliveredReason};
use iothub_emulator::{Fault, RefusalReason};

use crate::bench::{Bench, DEVICE};
use crate::program::{Outcome, Program};
use crate::record;
use crate::subject::{Settings, Subject};

/// Short enough not to delay the suite, and long enough for a message to reach the hub.
const SOON: Duration = Duration::from_millis(500);

/// A callback that reports under a name.
fn report(
    to: &Sender<(&'static str, Outcome)>,
    name: &'static str,
) -> impl FnOnce(Outcome, &mut Outbox<Device>) + Send + 'static {
    let to = to.clone();
    move |outcome, _| to.send((name, outcome)).expect("the behaviour listens")
}

/// Runs until this many callbacks have reported.
fn reports(
    program: &mut Program,
    from: &Receiver<(&'static str, Outcome)>,
    count: usize,
) -> Vec<(&'static str, Outcome)> {
    let mut all = Vec::new();
    program.until(&format!("{count} callbacks have run"), |_| {
        all.extend(from.try_iter());
        all.len() >= count
    });
    all
}

pub(crate) fn a_callback_hears_of_each_delivery_once_and_in_order(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let (tx, rx) = channel();
    for name in ["a", "b", "c"] {
        program.send_event_with(name, report(&tx, name)).expect("there is room");
    }
    assert!(rx.try_recv().is_err(), "a callback ran outside do_work");
    assert_eq!(reports(&mut program, &rx, 3), [("a", Ok(())), ("b", Ok(())), ("c", Ok(()))]);
    program.round_trip();
    assert!(rx.try_recv().is_err(), "a callback ran twice");
    assert_eq!(record::stored(&bench), ["a", "b", "c", "round trip 1"]);
    program.finish();
}

pub(crate) fn a_tracked_message_is_confirmed_under_its_id(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let (one, two) = (program.send("one"), program.send("two"));
    assert_ne!(one, two);
    program.until_confirmed(&[one, two]);
    assert_eq!(program.confirmations, [(one, Ok(())), (two, Ok(()))]);
    assert_eq!(record::stored(&bench), ["one", "two"]);
    program.finish();
}

pub(crate) fn a_message_that_nobody_asks_about_is_counted(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.send_event("quiet").expect("there is room");
    program.until("the delivery is counted", |program| program.stats().delivered == 1);
    assert!(program.confirmations.is_empty() && program.notices.is_empty());
    assert_eq!(record::stored(&bench), ["quiet"]);
    program.finish();
}

pub(crate) fn acknowledgements_out_of_order_confirm_each_its_own_message(subject: &dyn Subject) {
    let bench = Bench::with_still_clock(subject);
    let late = Duration::from_secs(10);
    let ways = [Fault::ReorderPubacks { window: 3 }, Fault::DelayPubacks { count: 1, by: late }];
    let Some(way) = bench.can_inject_one_of(ways) else { return };
    let mut program = bench.start();
    // Each by itself, so that none shares the answer of another.
    let ids = [("a", 1), ("b", 2), ("c", 3)].map(|(body, count)| {
        let id = program.send(body);
        program.until_stored(count);
        id
    });
    let order = match way {
        Fault::ReorderPubacks { .. } => [ids[2], ids[1], ids[0]],
        _ => {
            program.until_confirmed(&ids[1..]);
            bench.advance_clock(late);
            [ids[1], ids[2], ids[0]]
        }
    };
    program.until_confirmed(&ids);
    assert_eq!(program.confirmations, order.map(|id| (id, Ok(()))));
    assert_eq!(record::stored(&bench), ["a", "b", "c"]);
    program.finish();
}

pub(crate) fn a_message_that_never_left_times_out_as_not_delivered(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    bench.set_device_enabled(DEVICE, false).expect("it exists");
    let mut program = bench.start_with(Settings::default(), |builder| builder.message_timeout(SOON));
    program.until_status(ConnectionState::Waiting, 0);
    let id = program.send("stranded");
    program.until_confirmed(&[id]);
    let undelivered = program.outcome(id).cloned().expect("it is there").expect_err("nobody could confirm it");
    assert_eq!(undelivered.reason, UndeliveredReason::TimedOut);
    assert!(!undelivered.maybe_delivered);
    assert_eq!(undelivered.message.payload().as_ref(), b"stranded");
    assert_eq!(program.stats().undelivered, 1);
    assert!(bench.telemetry(DEVICE).is_empty());
    assert!(record::refusals(&bench).iter().all(|why| *why == RefusalReason::DeviceDisabled));
    program.finish();
}

pub(crate) fn a_message_without_its_acknowledgement_times_out_as_maybe_delivered(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::DropPubacks { count: 1 }) {
        return;
    }
    let mut program = bench.start();
    program.until_ready();
    program.set_message_timeout(Some(SOON));
    let id = program.send("in doubt");
    program.set_message_timeout(None);
    program.until_confirmed(&[id]);
    let undelivered = program.outcome(id).cloned().expect("it is there").expect_err("the hub did not confirm it");
    assert_eq!(undelivered.reason, UndeliveredReason::TimedOut);
    assert!(undelivered.maybe_delivered);
    assert_eq!(undelivered.message.payload().as_ref(), b"in doubt");
    program.round_trip();
    assert_eq!(record::stored(&bench), ["in doubt", "round trip 1"]);
    assert_eq!(record::connections(&bench), 1, "a late message is no reason to reconnect");
    program.finish();
}

pub(crate) fn an_acknowledgement_after_the_time_out_makes_no_second_outcome(subject: &dyn Subject) {
    let bench = Bench::with_still_clock(subject);
    let late = Duration::from_secs(10);
    if !bench.can_inject(Fault::DelayPubacks { count: 1, by: late }) {
        return;
    }
    // Until the acknowledgement comes, the message takes the only place.
    let settings = Settings { max_in_flight: Some(1), ..Settings::default() };
    let mut program = bench.start_with(settings, |builder| builder);
    program.until_ready();
    program.set_message_timeout(Some(SOON));
    let id = program.send("late");
    program.set_message_timeout(None);
    program.until_confirmed(&[id]);
    assert!(program.outcome(id).is_some_and(|outcome| outcome.is_err()));
    bench.advance_clock(late);
    // Acknowledgements come in order, so the late one is in before this one's; two outcomes would fail at once.
    program.round_trip();
    assert_eq!((program.stats().delivered, program.stats().undelivered), (1, 1));
    assert_eq!(record::stored(&bench), ["late", "round trip 1"]);
    program.finish();
}

pub(crate) fn a_message_given_up_takes_no_room_in_the_window_and_is_not_sent_again(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::DropPubacks { count: 1 }) {
        return;
    }
    let settings = Settings { max_in_flight: Some(1), ..Settings::default() };
    let mut program = bench.start_with(settings, |builder| builder);
    program.until_ready();
    program.set_message_timeout(Some(SOON));
    let given_up = program.send("given up");
    program.set_message_timeout(None);
    program.until_confirmed(&[given_up]);
    let next = program.send("next");
    bench.disconnect_device(DEVICE).expect("it exists");
    program.until_confirmed(&[next]);
    assert_eq!(program.outcome(next), Some(&Ok(())));
    assert_eq!(record::stored(&bench), ["given up", "next"]);
    program.finish();
}

pub(crate) fn a_failed_message_is_sent_again_from_its_callback(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::DropPubacks { count: 1 }) {
        return;
    }
    let mut program = bench.start();
    program.until_ready();
    program.set_message_timeout(Some(SOON));
    let (tx, rx) = channel();
    let again = report(&tx, "again");
    let message = Message::new("stubborn").with_property("name", "value").expect("the property is allowed");
    program
        .send_event_with(message, move |outcome, outbox| {
            let undelivered = outcome.expect_err("its acknowledgement was dropped");
            assert_eq!(undelivered.reason, UndeliveredReason::TimedOut);
            outbox.set_message_timeout(None);
            outbox.send_event_with(undelivered.message, again).expect("there is room");
        })
        .expect("there is room");
    assert_eq!(reports(&mut program, &rx, 1), [("again", Ok(()))]);
    let stored = bench.telemetry(DEVICE);
    assert_eq!(record::stored(&bench), ["stubborn", "stubborn"]);
    assert_eq!(stored[0].properties, stored[1].properties);
    assert_eq!((program.stats().delivered, program.stats().undelivered), (1, 1));
    program.finish();
}

pub(crate) fn a_message_sent_from_a_callback_arrives(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let (tx, rx) = channel();
    let next = report(&tx, "next");
    program
        .send_event_with("first", move |outcome, outbox| {
            outcome.expect("it is delivered");
            outbox.send_event_with("next", next).expect("there is room");
        })
        .expect("there is room");
    assert_eq!(reports(&mut program, &rx, 1), [("next", Ok(()))]);
    assert_eq!(record::stored(&bench), ["first", "next"]);
    program.finish();
}

pub(crate) fn a_message_that_is_left_at_close_is_destroyed_and_comes_back(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::DropPubacks { count: 1 }) {
        return;
    }
    let mut program = bench.start();
    let (tx, rx) = channel();
    program.send_event_with("flying", report(&tx, "flying")).expect("there is room");
    program.until_stored(1);
    program.send_event_with("waiting", report(&tx, "waiting")).expect("there is room");
    program.close_within(Duration::ZERO);
    let outcomes: Vec<_> = rx.try_iter().collect();
    assert_eq!(outcomes.len(), 2, "close has returned, so everything has its outcome");
    for (name, outcome) in outcomes {
        let undelivered = outcome.expect_err("nobody confirmed it");
        assert_eq!(undelivered.reason, UndeliveredReason::Destroyed, "{name}");
        assert_eq!(undelivered.message.payload(), name.as_bytes());
        if name == "flying" {
            assert!(undelivered.maybe_delivered);
        }
    }
    assert_eq!(record::first_stored(&bench)[0], "flying");
    program.finish();
}
