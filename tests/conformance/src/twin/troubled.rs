//! Following the twin when its parts come late, twice, in the wrong order, broken, or not at all.

use std::time::Duration;

use iothub_core::Feature;
use iothub_emulator::{Fault, TwinPatchFault, TwinReplyFault};
use serde_json::json;

use super::{at_hub, change, following, receive_change, receive_whole};
use crate::bench::Bench;
use crate::program::Program;
use crate::record;
use crate::subject::Subject;

/// How long the client gives the hub for an answer, and a little more.
const ANSWER_TIME: Duration = Duration::from_secs(61);

/// The first pause before the twin is fetched again.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) fn a_change_while_the_whole_twin_is_on_its_way_comes_after_it(subject: &dyn Subject) {
    let bench = Bench::with_still_clock(subject);
    let delay = Duration::from_secs(5);
    if !bench.can_inject(Fault::TwinReply(TwinReplyFault::Delay(delay))) {
        return;
    }
    let mut program = following(&bench);
    program.until_hub("the twin is asked for", |hub| record::twin_gets(hub) == [200]);
    change(&bench, json!({"a": 1}));
    change(&bench, json!({"b": 2}));
    program.round_trip();
    assert!(program.twins.is_empty(), "a change came before the whole: {:?}", program.twins);
    bench.advance_clock(delay);
    assert_eq!(receive_whole(&mut program)["desired"], json!({"$version": 1}));
    assert_eq!(receive_change(&mut program), json!({"a": 1, "$version": 2}));
    assert_eq!(receive_change(&mut program), json!({"b": 2, "$version": 3}));
    assert_eq!(record::twin_gets(&bench), [200]);
    program.finish();
}

pub(crate) fn a_change_between_the_subscription_and_the_request_is_in_the_whole_twin(subject: &dyn Subject) {
    let bench = Bench::with_still_clock(subject);
    let delay = Duration::from_secs(5);
    if bench.can_inject_one_of([Fault::DelaySuback { by: delay }, Fault::AmqpDelayDesired { by: delay }]).is_none() {
        return;
    }
    let mut program = bench.start();
    program.subscribe(Feature::DesiredProperties).expect("the transport has a twin");
    program.until_hub("the subscription has arrived", record::follows_the_twin);
    change(&bench, json!({"a": 1}));
    program.round_trip();
    assert!(program.twins.is_empty(), "a change came before the whole: {:?}", program.twins);
    assert_eq!((record::desired_sent(&bench), record::twin_gets(&bench)), (vec![2], vec![]));
    bench.advance_clock(delay);
    assert_eq!(receive_whole(&mut program)["desired"], json!({"a": 1, "$version": 2}));
    change(&bench, json!({"b": 2}));
    assert_eq!(receive_change(&mut program), json!({"b": 2, "$version": 3}));
    program.finish();
}

/// One change goes wrong, and the next is in order: what the client knows in the end is what the hub has.
fn is_made_good(bench: &Bench<'_>, mut program: Program, fault: TwinPatchFault) {
    receive_whole(&mut program);
    if !bench.can_inject(Fault::TwinPatch(fault)) {
        return program.finish();
    }
    change(bench, json!({"a": 1}));
    change(bench, json!({"b": 2}));
    assert_eq!(receive_whole(&mut program), at_hub(bench));
    change(bench, json!({"c": 3}));
    assert_eq!(receive_change(&mut program), json!({"c": 3, "$version": 4}));
    program.round_trip();
    assert!(program.twins.is_empty(), "something stale was told: {:?}", program.twins);
    assert_eq!((record::faults(bench), record::twin_gets(bench)), (vec![Fault::TwinPatch(fault)], vec![200, 200]));
    assert_eq!(record::connections(bench), 1);
    program.finish();
}

pub(crate) fn a_change_that_is_missing_brings_the_whole_twin(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    is_made_good(&bench, following(&bench), TwinPatchFault::Drop);
}

pub(crate) fn a_stale_change_behind_a_newer_one_is_dropped_and_the_whole_twin_told(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    is_made_good(&bench, following(&bench), TwinPatchFault::Reorder);
}

pub(crate) fn an_unreadable_change_brings_the_whole_twin(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = following(&bench);
    receive_whole(&mut program);
    if !bench.can_inject(Fault::TwinPatch(TwinPatchFault::BadJson)) {
        return program.finish();
    }
    change(&bench, json!({"a": 1}));
    assert_eq!(receive_whole(&mut program), at_hub(&bench));
    change(&bench, json!({"b": 2}));
    assert_eq!(receive_change(&mut program), json!({"b": 2, "$version": 3}));
    assert_eq!(record::twin_gets(&bench), [200, 200]);
    program.finish();
}

pub(crate) fn a_change_that_comes_twice_is_told_once(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = following(&bench);
    receive_whole(&mut program);
    if !bench.can_inject(Fault::TwinPatch(TwinPatchFault::Duplicate)) {
        return program.finish();
    }
    change(&bench, json!({"a": 1}));
    change(&bench, json!({"b": 2}));
    assert_eq!(receive_change(&mut program), json!({"a": 1, "$version": 2}));
    assert_eq!(receive_change(&mut program), json!({"b": 2, "$version": 3}));
    program.round_trip();
    assert!(program.twins.is_empty(), "{:?}", program.twins);
    assert_eq!(record::twin_gets(&bench), [200]);
    program.finish();
}

/// The reply to the first request goes wrong; the client gives it up after `given_up_after`, and fetches the twin again.
fn is_fetched_again(subject: &dyn Subject, fault: TwinReplyFault, given_up_after: Option<Duration>) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::TwinReply(fault)) {
        return;
    }
    let (mut program, clock) = bench.start_with_clock(|builder| builder);
    program.subscribe(Feature::DesiredProperties).expect("the transport has a twin");
    program.until_hub("the twin is asked for", |hub| record::twin_gets(hub).len() == 1);
    program.round_trip();
    change(&bench, json!({"a": 1}));
    program.round_trip();
    assert!(program.twins.is_empty(), "{:?}", program.twins);
    if let Some(limit) = given_up_after {
        clock.advance(limit);
        program.turn();
    }
    clock.advance(PAUSE);
    assert_eq!(receive_whole(&mut program), at_hub(&bench));
    change(&bench, json!({"b": 2}));
    assert_eq!(receive_change(&mut program), json!({"b": 2, "$version": 3}));
    assert_eq!((record::faults(&bench).len(), record::connections(&bench)), (1, 1));
    assert_eq!(record::twin_gets(&bench).len(), 2);
    program.finish();
}

pub(crate) fn a_twin_whose_reply_is_lost_is_fetched_again(subject: &dyn Subject) {
    is_fetched_again(subject, TwinReplyFault::Drop, Some(ANSWER_TIME));
}

pub(crate) fn a_reply_to_a_request_that_nobody_made_is_ignored(subject: &dyn Subject) {
    is_fetched_again(subject, TwinReplyFault::UnknownRid, Some(ANSWER_TIME));
}

pub(crate) fn an_unreadable_twin_is_fetched_again(subject: &dyn Subject) {
    is_fetched_again(subject, TwinReplyFault::BadJson, None);
}

pub(crate) fn a_twin_that_the_hub_refuses_is_fetched_again(subject: &dyn Subject) {
    for status in [404, 429, 500] {
        is_fetched_again(subject, TwinReplyFault::Status(status), None);
    }
}

pub(crate) fn a_twin_that_comes_too_late_is_ignored(subject: &dyn Subject) {
    let bench = Bench::with_still_clock(subject);
    let delay = Duration::from_secs(100);
    if !bench.can_inject(Fault::TwinReply(TwinReplyFault::Delay(delay))) {
        return;
    }
    let (mut program, clock) = bench.start_with_clock(|builder| builder);
    program.subscribe(Feature::DesiredProperties).expect("the transport has a twin");
    program.until_hub("the twin is asked for", |hub| record::twin_gets(hub).len() == 1);
    change(&bench, json!({"a": 1}));
    clock.advance(ANSWER_TIME);
    program.turn();
    clock.advance(PAUSE);
    assert_eq!(receive_whole(&mut program), at_hub(&bench));
    bench.advance_clock(delay);
    program.round_trip();
    assert!(program.twins.is_empty(), "the late one was told: {:?}", program.twins);
    change(&bench, json!({"b": 2}));
    assert_eq!(receive_change(&mut program), json!({"b": 2, "$version": 3}));
    assert_eq!(record::twin_gets(&bench), [200, 200]);
    program.finish();
}

pub(crate) fn a_twin_whose_reply_comes_twice_is_told_once(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::TwinReply(TwinReplyFault::Duplicate)) {
        return;
    }
    let mut program = following(&bench);
    receive_whole(&mut program);
    program.round_trip();
    assert!(program.twins.is_empty(), "{:?}", program.twins);
    assert_eq!(record::twin_gets(&bench), [200]);
    program.finish();
}
