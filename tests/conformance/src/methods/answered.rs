//! Answers: at once, later, in any order, from any thread, and what each caller gets.

use std::sync::mpsc::channel;
use std::time::Duration;

use iothub_core::{Event, MethodRequest};
use iothub_emulator::{DropPoint, Fault, MethodCall};
use serde_json::json;

use super::{answer, call, call_with, end, respond, serving};
use crate::bench::{Bench, DEVICE};
use crate::record;
use crate::subject::Subject;

pub(crate) fn a_call_is_answered_in_its_callback(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program
        .set_method_callback(|request, _| match request.name() {
            "sum" => respond(request, 200, r#"{"sum":3}"#),
            _ => respond(request, 404, r#"{"message":"no such method"}"#),
        })
        .expect("the transport has direct methods");
    program.until_ready();
    let (sum, other) = (call(&bench, "sum"), call(&bench, "other"));
    assert_eq!(answer(&mut program, &sum), (200, json!({"sum": 3})));
    assert_eq!(answer(&mut program, &other), (404, json!({"message": "no such method"})));
    assert!(program.calls.is_empty(), "the callback heard of it, so the events must not");
    assert_eq!(record::method_answers(&bench), [(200, false), (404, false)]);
    program.finish();
}

pub(crate) fn a_call_is_answered_later(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    let pending = call(&bench, "m");
    let request = program.receive_call();
    program.round_trip();
    assert!(pending.try_result().is_none(), "nobody has answered yet");
    respond(request, 200, r#"{"done":true}"#);
    assert_eq!(answer(&mut program, &pending), (200, json!({"done": true})));
    program.finish();
}

pub(crate) fn a_call_is_answered_from_another_thread(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    let pending = call(&bench, "m");
    let request = program.receive_call();
    program.round_trip();
    std::thread::scope(|scope| {
        scope.spawn(move || respond(request, 200, "{}"));
        // The answer itself wakes the client.
        assert_eq!(answer(&mut program, &pending), (200, json!({})));
    });
    program.finish();
}

pub(crate) fn a_call_dropped_unanswered_is_answered_500(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    let pending = call(&bench, "m");
    drop(program.receive_call());
    let (status, payload) = answer(&mut program, &pending);
    assert_eq!(status, 500);
    assert!(payload["message"].is_string(), "{payload}");
    assert_eq!(record::method_answers(&bench), [(500, false)]);
    assert!(program.notices.is_empty());
    program.finish();
}

pub(crate) fn every_status_and_every_kind_of_json_may_be_answered(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    let cases = [
        (200, "", json!(null)),
        (0, "null", json!(null)),
        (-1, "[1,2.5,\"ü\"]", json!([1, 2.5, "ü"])),
        (i32::MAX, "\"text\"", json!("text")),
        (i32::MIN, " {\"a\": {}} ", json!({"a": {}})),
        (404, "false", json!(false)),
    ];
    for (status, body, payload) in cases {
        let pending = call(&bench, "m");
        respond(program.receive_call(), status, body);
        assert_eq!(answer(&mut program, &pending), (i64::from(status), payload));
    }
    program.finish();
}

pub(crate) fn answers_out_of_order_reach_each_its_own_caller(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    let names = ["a", "b", "c"];
    let pending = names.map(|name| call(&bench, name));
    let mut requests = names.map(|_| program.receive_call());
    assert_eq!(requests.each_ref().map(MethodRequest::name), names);
    requests.reverse();
    for request in requests {
        let body = format!("{{\"for\":\"{}\"}}", request.name());
        request.respond(200, body).expect("it is JSON");
    }
    for (pending, name) in pending.iter().zip(names) {
        assert_eq!(answer(&mut program, pending), (200, json!({"for": name})));
    }
    program.finish();
}

pub(crate) fn a_hundred_calls_at_once_get_each_its_own_answer(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program
        .set_method_callback(|request, outbox| {
            outbox.send_event(request.payload().clone()).expect("there is room");
            let body = request.payload().clone();
            request.respond(200, body).expect("it is JSON");
        })
        .expect("the transport has direct methods");
    program.until_ready();
    let calls: Vec<_> = (0..100).map(|n| call_with(&bench, MethodCall::new("echo").payload(json!({"n": n})))).collect();
    for (n, pending) in calls.iter().enumerate() {
        assert_eq!(answer(&mut program, pending), (200, json!({"n": n})));
    }
    program.until_stored(100);
    assert_eq!((program.stats().methods, program.stats().methods_refused), (100, 0));
    program.finish();
}

pub(crate) fn an_unanswered_call_delays_nothing_else(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    let held = call(&bench, "held");
    let request = program.receive_call();
    program.round_trip();
    program.report(r#"{"a":1}"#).expect("the hub takes it");
    program.fetch().expect("the hub has it");
    let other = call(&bench, "other");
    respond(program.receive_call(), 200, "{}");
    assert_eq!(answer(&mut program, &other).0, 200);
    assert!(held.try_result().is_none());
    respond(request, 200, "{}");
    assert_eq!(answer(&mut program, &held).0, 200);
    program.finish();
}

pub(crate) fn an_answer_after_the_callers_time_out_reaches_nobody(subject: &dyn Subject) {
    let bench = Bench::with_still_clock(subject);
    let mut program = serving(&bench);
    let pending = call_with(&bench, MethodCall::new("m").response_timeout(Duration::from_secs(5)));
    let request = program.receive_call();
    bench.advance_clock(Duration::from_secs(5));
    assert_eq!(end(&mut program, &pending).expect_err("nobody answered").code(), Some(504_101));
    respond(request, 200, "{}");
    program.round_trip();
    assert_eq!(record::method_answers(&bench), [(200, true)]);
    assert_eq!(end(&mut program, &pending).expect_err("it has ended").code(), Some(504_101), "the end has changed");
    let next = call(&bench, "next");
    respond(program.receive_call(), 200, "{}");
    assert_eq!(answer(&mut program, &next).0, 200);
    program.finish();
}

pub(crate) fn an_answer_after_the_connection_was_lost_is_told_and_not_sent(subject: &dyn Subject) {
    let bench = Bench::with_still_clock(subject);
    let mut program = serving(&bench);
    let pending = call(&bench, "lost");
    let request = program.receive_call();
    let told = program.statuses.len();
    bench.disconnect_device(DEVICE).expect("it exists");
    program.until_status(iothub_core::ConnectionState::Ready, told);
    respond(request, 202, "{}");
    program.until("the stale answer is told", |program| !program.notices.is_empty());
    let stale = matches!(&program.notices[..], [Event::StaleMethodResponse { name, status: 202 }] if name == "lost");
    assert!(stale, "{:?}", program.notices);
    program.round_trip();
    assert!(record::method_answers(&bench).is_empty(), "the stale answer was put on the wire");
    assert_eq!(program.stats().stale_answers, 1);
    bench.advance_clock(Duration::from_secs(30));
    assert_eq!(end(&mut program, &pending).expect_err("nobody answered").code(), Some(504_101));
    program.finish();
}

pub(crate) fn an_answer_while_not_connected_is_told_and_not_sent(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    let _pending = call(&bench, "lost");
    let request = program.receive_call();
    bench.set_device_enabled(DEVICE, false).expect("it exists");
    program.until_status(iothub_core::ConnectionState::Waiting, 3);
    respond(request, 200, "{}");
    program.until("the stale answer is told", |program| !program.notices.is_empty());
    assert!(matches!(&program.notices[..], [Event::StaleMethodResponse { .. }]), "{:?}", program.notices);
    bench.set_device_enabled(DEVICE, true).expect("it exists");
    program.round_trip();
    assert!(record::method_answers(&bench).is_empty(), "the stale answer was put on the wire");
    program.finish();
}

pub(crate) fn a_call_behind_which_the_connection_is_lost_holds_up_nothing(subject: &dyn Subject) {
    let bench = Bench::with_still_clock(subject);
    let mut program = bench.start();
    let (tx, rx) = channel();
    program
        .set_method_callback(move |request, _| {
            tx.send(request.name().to_owned()).expect("the behaviour listens");
            respond(request, 200, "{}");
        })
        .expect("the transport has direct methods");
    program.until_ready();
    if !bench.can_inject(Fault::Drop { device: None, at: DropPoint::MethodSent }) {
        return program.finish();
    }
    let first = call(&bench, "first");
    program.until_status(iothub_core::ConnectionState::Ready, 3);
    let second = call(&bench, "second");
    assert_eq!(answer(&mut program, &second).0, 200);
    bench.advance_clock(Duration::from_secs(30));
    assert_eq!(end(&mut program, &first).expect_err("its answer is lost").code(), Some(504_101));
    assert_eq!(rx.try_iter().filter(|name| name == "second").count(), 1);
    assert_eq!(record::connections(&bench), 2);
    program.finish();
}

pub(crate) fn an_answer_given_before_close_reaches_its_caller(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    let pending = call(&bench, "m");
    let request = program.receive_call();
    respond(request, 200, r#"{"last":"words"}"#);
    program.close();
    let result = pending.wait(crate::program::LIMIT).expect("the device has answered");
    assert_eq!((result.status, result.payload), (200, json!({"last": "words"})));
    program.finish();
}
