//! Asking for the whole twin, without following it.

use std::sync::mpsc::channel;
use std::time::Duration;

use iothub_core::TwinError;
use iothub_emulator::{DropPoint, Fault, TwinReplyFault};
use serde_json::json;

use super::{at_hub, change, following, parsed, receive_whole};
use crate::bench::Bench;
use crate::record;
use crate::subject::Subject;

pub(crate) fn the_twin_is_told_when_it_is_asked_for(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    change(&bench, json!({"a": {"b": [1, 2.5, "ü"]}, "c": null}));
    let mut program = bench.start();
    program.report(r#"{"d":true}"#).expect("the hub takes it");
    let twin = program.fetch().expect("the hub has it");
    assert_eq!((parsed(twin.json()), twin.desired_version()), (at_hub(&bench), 2));
    // Who asks does not follow.
    change(&bench, json!({"a": 1}));
    program.round_trip();
    assert!(program.twins.is_empty(), "{:?}", program.twins);
    assert!(record::desired_sent(&bench).is_empty());
    assert_eq!(parsed(program.fetch().expect("the hub has it").json()), at_hub(&bench));
    assert_eq!(record::twin_gets(&bench), [200, 200]);
    program.finish();
}

pub(crate) fn a_callback_is_given_the_twin_once(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let (tx, rx) = channel();
    program.get_twin(move |outcome, _| tx.send(outcome).expect("the behaviour listens")).expect("there is room");
    let mut told = None;
    program.until("the twin is told", |_| {
        told = told.take().or(rx.try_recv().ok());
        told.is_some()
    });
    assert_eq!(parsed(told.expect("it was").expect("the hub has it").json()), at_hub(&bench));
    program.round_trip();
    assert!(rx.try_recv().is_err() && program.fetched.is_empty() && program.twins.is_empty(), "told twice");
    program.finish();
}

pub(crate) fn asking_disturbs_nobody_who_follows(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = following(&bench);
    receive_whole(&mut program);
    program.fetch().expect("the hub has it");
    program.round_trip();
    assert!(program.twins.is_empty(), "{:?}", program.twins);
    program.finish();
}

pub(crate) fn a_refused_request_is_told_by_its_status(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    for status in [404, 429, 500] {
        if !bench.can_inject(Fault::TwinReply(TwinReplyFault::Status(status))) {
            return program.finish();
        }
        let outcome = program.fetch();
        let told = matches!(&outcome, Err(TwinError::Status { status: told, detail }) if *told == status && !detail.is_empty());
        assert!(told, "{status}: {outcome:?}");
    }
    program.fetch().expect("the hub has it");
    assert_eq!(record::twin_gets(&bench), [404, 429, 500, 200]);
    assert_eq!(record::connections(&bench), 1);
    program.finish();
}

pub(crate) fn an_answer_that_is_no_twin_is_named(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::TwinReply(TwinReplyFault::BadJson)) {
        return;
    }
    let mut program = bench.start();
    let outcome = program.fetch();
    assert!(matches!(outcome, Err(TwinError::Malformed(_))), "{outcome:?}");
    program.fetch().expect("the next is in order");
    assert_eq!(record::twin_gets(&bench), [200, 200]);
    program.finish();
}

pub(crate) fn a_request_without_an_answer_times_out(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::TwinReply(TwinReplyFault::Drop)) {
        return;
    }
    let (mut program, clock) = bench.start_with_clock(|builder| builder);
    let id = program.get_twin_tracked().expect("there is room");
    program.until_hub("the twin is asked for", |hub| record::twin_gets(hub) == [200]);
    program.round_trip();
    assert!(program.fetched.is_empty());
    clock.advance(Duration::from_secs(61));
    program.until("the request has its outcome", |program| !program.fetched.is_empty());
    assert_eq!(program.fetched, [(id, Err(TwinError::TimedOut { after: Duration::from_secs(60) }))]);
    program.fetch().expect("the next is answered");
    program.finish();
}

pub(crate) fn a_request_in_flight_when_the_connection_drops_is_answered_once(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::Drop { device: None, at: DropPoint::TwinExecuted }) {
        return;
    }
    let mut program = bench.start();
    let twin = program.fetch().expect("the hub has it");
    assert_eq!(parsed(twin.json()), at_hub(&bench));
    program.round_trip();
    assert_eq!((program.fetched.len(), record::twin_gets(&bench)), (1, vec![200, 200]));
    assert_eq!(record::connections(&bench), 2);
    program.finish();
}
