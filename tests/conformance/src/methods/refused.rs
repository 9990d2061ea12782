//! Answers that the client does not send, and calls that it does not take.

use iothub_core::{MethodRequest, RefusedReason};
use serde_json::json;

use super::{answer, call, respond, serving};
use crate::bench::Bench;
use crate::record;
use crate::subject::Subject;

pub(crate) fn an_answer_over_128_kib_is_handed_back(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    let pending = call(&bench, "m");
    let request = program.receive_call();
    let body = format!("\"{}\"", "x".repeat(128 * 1024 - 1));
    let refused = request.respond(200, body).expect_err("it is too large by one byte");
    let expected = RefusedReason::MethodResponseTooLarge { size: 128 * 1024 + 1, limit: 128 * 1024 };
    assert_eq!(refused.reason, expected);
    program.round_trip();
    assert!(pending.try_result().is_none(), "the refused answer was an answer");
    assert_eq!(refused.value.name(), "m");
    respond(refused.value, 200, r#"{"short":true}"#);
    assert_eq!(answer(&mut program, &pending), (200, json!({"short": true})));
    program.finish();
}

pub(crate) fn an_answer_that_is_no_json_is_handed_back(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    let pending = call(&bench, "m");
    let mut request = program.receive_call();
    for body in [&b"ok"[..], b"{", b"{} {}", b"{'a':1}", b" ", b"\"\xFF\"", b"\0"] {
        let refused = request.respond(200, body).expect_err("it is no JSON");
        assert!(matches!(refused.reason, RefusedReason::NotJson(_)), "{refused}");
        request = refused.value;
    }
    program.round_trip();
    assert!(record::method_answers(&bench).is_empty(), "a refused answer was sent");
    respond(request, 200, "{}");
    assert_eq!(answer(&mut program, &pending).0, 200);
    assert_eq!(record::method_answers(&bench), [(200, false)]);
    program.finish();
}

pub(crate) fn an_answer_that_is_handed_back_and_dropped_is_500(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    let pending = call(&bench, "m");
    drop(program.receive_call().respond(200, "no JSON"));
    assert_eq!(answer(&mut program, &pending).0, 500);
    program.finish();
}

pub(crate) fn more_than_a_hundred_unanswered_calls_are_answered_429(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    let calls: Vec<_> = (0..100).map(|n| call(&bench, &format!("m{n}"))).collect();
    program.until("a hundred are received", |program| program.calls.len() == 100);
    for n in 0..5 {
        let pending = call(&bench, &format!("too-many-{n}"));
        assert_eq!(answer(&mut program, &pending).0, 429);
    }
    assert_eq!((program.calls.len(), program.stats().methods_refused), (100, 5));
    // One answer makes room for one call.
    let mut requests: Vec<MethodRequest> = program.calls.drain(..).collect();
    respond(requests.remove(0), 200, "{}");
    assert_eq!(answer(&mut program, &calls[0]).0, 200);
    let next = call(&bench, "next");
    requests.push(program.receive_call());
    let pending = call(&bench, "one too many");
    assert_eq!(answer(&mut program, &pending).0, 429);
    requests.into_iter().for_each(|request| respond(request, 200, "{}"));
    for pending in calls.iter().chain([&next]) {
        assert_eq!(answer(&mut program, pending).0, 200);
    }
    let refused = record::method_answers(&bench).into_iter().filter(|(status, _)| *status == 429).count();
    assert_eq!((refused, record::calls_sent(&bench)), (6, 107));
    program.finish();
}
