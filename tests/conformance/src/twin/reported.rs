//! Reporting properties: what the hub stores, its answers, and the limits.

use std::sync::mpsc::channel;
use std::time::Duration;

use iothub_core::{PatchError, RefusedReason, TwinError};
use iothub_emulator::{DropPoint, Fault, TwinReplyFault};
use serde_json::{Value, json};

use super::at_hub;
use crate::bench::{Bench, DEVICE};
use crate::record;
use crate::subject::Subject;

fn reported(bench: &Bench<'_>) -> Value {
    bench.twin(DEVICE).expect("the device has a twin").reported
}

pub(crate) fn reported_properties_are_stored_and_told_with_their_version(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let outcome = program.report(r#"{"temperature":21.5,"where":{"room":"küche","floor":0}}"#);
    assert_eq!(outcome.expect("the hub takes it").version, Some(2));
    assert_eq!(reported(&bench), json!({"temperature": 21.5, "where": {"room": "küche", "floor": 0}}));
    assert_eq!(program.report("{}").expect("the hub takes it").version, Some(3));
    assert_eq!(record::reports(&bench), [(204, Some(2)), (204, Some(3))]);
    program.finish();
}

pub(crate) fn a_patch_merges_and_null_deletes(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.report(r#"{"a":1,"b":{"c":2,"d":3},"e":[1,2]}"#).expect("the hub takes it");
    program.report(r#"{"a":null,"b":{"c":null,"f":4},"unknown":null}"#).expect("the hub takes it");
    assert_eq!(reported(&bench), json!({"b": {"d": 3, "f": 4}, "e": [1, 2]}));
    program.finish();
}

pub(crate) fn the_callback_hears_the_hubs_answer_once(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let (tx, rx) = channel();
    for patch in [r#"{"a":1}"#, r#"{"$a":1}"#, r#"{"a":2}"#] {
        let tx = tx.clone();
        let tell = move |outcome, _: &mut _| tx.send(outcome).expect("the behaviour listens");
        program.send_reported_state_with(patch, tell).expect("there is room");
    }
    drop(tx);
    let mut heard = Vec::new();
    program.until("three answers are told", |_| {
        heard.extend(rx.try_iter());
        heard.len() == 3
    });
    assert_eq!(heard[0].as_ref().expect("stored").version, Some(2));
    assert!(matches!(heard[1], Err(TwinError::Status { status: 400, .. })), "{:?}", heard[1]);
    assert_eq!(heard[2].as_ref().expect("stored").version, Some(3));
    program.round_trip();
    assert!(rx.try_recv().is_err() && program.reports.is_empty(), "told twice");
    assert_eq!(record::reports(&bench), [(204, Some(2)), (400, None), (204, Some(3))]);
    program.finish();
}

pub(crate) fn a_report_that_nobody_asks_about_is_stored_in_silence(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.send_reported_state(r#"{"a":1}"#).expect("there is room");
    program.until_hub("it is stored", |hub| record::reports(hub) == [(204, Some(2))]);
    program.round_trip();
    assert!(program.reports.is_empty() && program.notices.is_empty());
    assert_eq!(reported(&bench), json!({"a": 1}));
    program.finish();
}

pub(crate) fn a_patch_that_the_hub_refuses_is_told_in_its_words(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let too_deep = r#"{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":1}}}}}}}}}}}}"#;
    let cases = [(too_deep, "nested deeper than 10"), (r#"{"$version":3}"#, "$version"), (r#"{"a.b":1}"#, "a.b")];
    for (patch, words) in cases {
        match program.report(patch) {
            Err(error @ TwinError::Status { status: 400, .. }) => {
                assert!(error.to_string().contains(words), "{patch}: {error}");
            }
            other => panic!("{patch}: {other:?}"),
        }
    }
    assert_eq!(record::reports(&bench), [(400, None); 3]);
    assert_eq!(at_hub(&bench)["reported"], json!({"$version": 1}), "nothing has changed");
    program.report(r#"{"a":1}"#).expect("the connection and the lane are as they were");
    assert_eq!(record::connections(&bench), 1);
    program.finish();
}

pub(crate) fn each_refusal_is_told_by_its_status(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    for status in [400, 404, 429, 500, 503] {
        if !bench.can_inject(Fault::TwinReply(TwinReplyFault::Status(status))) {
            return program.finish();
        }
        let outcome = program.report(r#"{"a":1}"#);
        let told = matches!(&outcome, Err(TwinError::Status { status: told, detail }) if *told == status && !detail.is_empty());
        assert!(told, "{status}: {outcome:?}");
    }
    assert_eq!(reported(&bench), json!({}));
    assert_eq!((record::reports(&bench).len(), record::connections(&bench)), (5, 1));
    program.finish();
}

pub(crate) fn a_patch_that_is_no_json_object_comes_back_at_once(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.until_ready();
    for patch in ["", "null", "[1]", "7", "{\"a\":1", "{'a':1}", "{}{}", "\"text\""] {
        let refused = program.send_reported_state_tracked(patch).expect_err("it is no object");
        assert_eq!(refused.value, patch, "it comes back as it was");
        assert!(matches!(refused.reason, RefusedReason::Patch(PatchError::NotAnObject(_))), "{patch}: {refused}");
    }
    let not_utf_8 = b"{\"a\":\"\xFF\"}".as_slice();
    let refused = program.send_reported_state(not_utf_8).expect_err("JSON is UTF-8");
    assert_eq!(refused.value, not_utf_8);
    program.round_trip();
    assert_eq!(record::reports(&bench), []);
    program.finish();
}

/// A patch of this many bytes, of texts that the hub allows.
fn patch_of(size: usize) -> String {
    let mut patch = "{".to_owned();
    for key in 'a'..='z' {
        // The name, quotes, colon and comma, and the bracket at the end.
        let room = (size - patch.len()).saturating_sub(7).min(4096);
        patch.push_str(&format!("\"{key}\":\"{}\",", "x".repeat(room)));
        if patch.len() == size {
            patch.replace_range(size - 1.., "}");
            return patch;
        }
    }
    panic!("{size} bytes are too many");
}

pub(crate) fn a_patch_over_32_kib_comes_back_at_once(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.until_ready();
    let patch = patch_of(32 * 1024 + 1);
    let refused = program.send_reported_state_tracked(patch.clone()).expect_err("it is too large");
    assert_eq!(refused.value, patch.as_bytes());
    let expected = PatchError::TooLarge { size: 32 * 1024 + 1, limit: 32 * 1024 };
    assert_eq!(refused.reason, RefusedReason::Patch(expected));
    program.round_trip();
    assert_eq!(record::reports(&bench), []);
    program.finish();
}

pub(crate) fn a_patch_of_32_kib_is_stored_and_more_is_refused_by_the_hub(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let patch = patch_of(32 * 1024);
    let id = program.send_reported_state_tracked(patch.clone()).expect("it is within the limit");
    program.until_reported(id).expect("the hub takes it");
    assert_eq!(reported(&bench), serde_json::from_str::<Value>(&patch).expect("JSON"));
    // The section counts without punctuation, so there is a little room left; not so much.
    let more = format!("{{\"more\":\"{}\"}}", "x".repeat(4096));
    let id = program.send_reported_state_tracked(more).expect("it is within the limit");
    let outcome = program.until_reported(id);
    assert!(matches!(outcome, Err(TwinError::Status { status: 400, .. })), "{outcome:?}");
    assert_eq!(record::reports(&bench), [(204, Some(2)), (400, None)]);
    program.finish();
}

pub(crate) fn patches_are_stored_in_the_order_of_sending_each_once(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    // From before the first connection.
    let send = |program: &mut crate::program::Program, n: u32| {
        program.send_reported_state_tracked(format!("{{\"n\":{n},\"n-{n}\":true}}")).expect("there is room")
    };
    let mut ids: Vec<_> = (0..50).map(|n| send(&mut program, n)).collect();
    program.until_ready();
    ids.extend((50..80).map(|n| send(&mut program, n)));
    program.until("all have their outcome", |program| program.reports.len() == 80);
    let expected: Vec<_> = ids.iter().zip(2..).map(|(id, version)| (*id, Some(version))).collect();
    let told = program.reports.iter().map(|(id, outcome)| (*id, outcome.as_ref().expect("stored").version));
    assert_eq!(told.collect::<Vec<_>>(), expected);
    assert_eq!((reported(&bench)["n"].clone(), record::reports(&bench).len()), (json!(79), 80));
    assert_eq!(reported(&bench).as_object().map(serde_json::Map::len), Some(81));
    program.finish();
}

pub(crate) fn a_hundred_twin_requests_may_be_under_way(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    for n in 0..100 {
        program.send_reported_state_tracked(format!("{{\"n\":{n}}}")).expect("there is room");
    }
    let refused = program.send_reported_state_tracked("{\"n\":100}").expect_err("there is no more room");
    assert_eq!(refused.value, "{\"n\":100}");
    assert_eq!(refused.reason, RefusedReason::TooManyTwinRequests { limit: 100 });
    assert!(program.get_twin_tracked().is_err(), "a request for the twin takes room too");
    program.until("all have their outcome", |program| program.reports.len() == 100);
    program.report("{\"n\":101}").expect("there is room again");
    assert_eq!((reported(&bench), record::reports(&bench).len()), (json!({"n": 101}), 101));
    program.finish();
}

/// The hub stores a patch, and the connection is lost before it says so.
fn lost_answer(subject: &dyn Subject) -> Option<(Bench<'_>, crate::program::Program)> {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::Drop { device: None, at: DropPoint::TwinExecuted }) {
        return None;
    }
    let mut program = bench.start();
    program.until_ready();
    Some((bench, program))
}

pub(crate) fn a_patch_in_flight_when_the_connection_drops_has_one_outcome(subject: &dyn Subject) {
    let Some((bench, mut program)) = lost_answer(subject) else { return };
    assert_eq!(program.report(r#"{"a":1}"#).expect("it is stored").version, Some(3));
    program.round_trip();
    assert_eq!((reported(&bench), program.reports.len()), (json!({"a": 1}), 1));
    assert_eq!(record::reports(&bench), [(204, Some(2)), (204, Some(3))]);
    assert_eq!(record::connections(&bench), 2);
    program.finish();
}

pub(crate) fn a_patch_that_is_sent_again_undoes_no_later_one(subject: &dyn Subject) {
    let Some((bench, mut program)) = lost_answer(subject) else { return };
    let patches = [r#"{"a":1,"first":true}"#, r#"{"a":2}"#, r#"{"a":3}"#];
    let ids = patches.map(|patch| program.send_reported_state_tracked(patch).expect("there is room"));
    program.until("all have their outcome", |program| program.reports.len() == 3);
    assert!(program.reports.iter().all(|(_, outcome)| outcome.is_ok()), "{:?}", program.reports);
    assert_eq!(program.reports.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
    assert_eq!(reported(&bench), json!({"a": 3, "first": true}));
    program.finish();
}

pub(crate) fn a_patch_without_an_answer_times_out_and_the_next_goes_on(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::TwinReply(TwinReplyFault::Drop)) {
        return;
    }
    let (mut program, clock) = bench.start_with_clock(|builder| builder);
    let first = program.send_reported_state_tracked(r#"{"a":1}"#).expect("there is room");
    let second = program.send_reported_state_tracked(r#"{"b":2}"#).expect("there is room");
    program.until_hub("it is stored", |hub| record::reports(hub).len() == 1);
    program.round_trip();
    assert!(program.reports.is_empty());
    clock.advance(Duration::from_secs(61));
    let outcome = program.until_reported(first);
    assert_eq!(outcome, Err(TwinError::TimedOut { after: Duration::from_secs(60) }));
    assert_eq!(program.until_reported(second).expect("it is stored").version, Some(3));
    assert_eq!(reported(&bench), json!({"a": 1, "b": 2}));
    assert_eq!(record::connections(&bench), 1);
    program.finish();
}

pub(crate) fn what_is_left_at_close_ends_as_destroyed(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let report = program.send_reported_state_tracked(r#"{"a":1}"#).expect("there is room");
    let get = program.get_twin_tracked().expect("there is room");
    program.close_within(Duration::ZERO);
    assert_eq!(program.reports, [(report, Err(TwinError::Destroyed))]);
    assert_eq!(program.fetched, [(get, Err(TwinError::Destroyed))]);
    let refused = program.send_reported_state(r#"{"a":2}"#).expect_err("it is closed");
    assert_eq!((refused.reason, &refused.value[..]), (RefusedReason::Closed, &br#"{"a":2}"#[..]));
    assert_eq!(record::reports(&bench), []);
    program.finish();
}

pub(crate) fn reports_sent_before_close_are_stored_before_it_returns(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    for n in 0..20 {
        program.send_reported_state_tracked(format!("{{\"n\":{n}}}")).expect("there is room");
    }
    program.close();
    assert_eq!(program.reports.iter().filter(|(_, outcome)| outcome.is_ok()).count(), 20);
    assert_eq!((reported(&bench), record::reports(&bench).len()), (json!({"n": 19}), 20));
    program.finish();
}
