//! What reaches the device of a call, and when.

use std::time::Duration;

use iothub_core::Feature;
use iothub_emulator::{Fault, MethodCall};
use serde_json::json;

use super::{answer, call, call_with, end, respond, serving};
use crate::bench::{Bench, DEVICE};
use crate::record;
use crate::subject::Subject;

pub(crate) fn a_payload_is_received_as_the_hub_sends_it(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    let cases = [
        (MethodCall::new("m"), "{}"),
        (MethodCall::new("m").payload(json!(null)), "null"),
        (
            MethodCall::new("m").payload(json!({"a": [1, "ü \" \\ \n", 2.5, true]})),
            r#"{"a":[1,"ü \" \\ \n",2.5,true]}"#,
        ),
        (MethodCall::new("m").payload(json!("text")), r#""text""#),
        (MethodCall::new("m").payload(json!([])), "[]"),
        (MethodCall::new("m").raw_payload(""), ""),
    ];
    for (method, payload) in cases {
        let pending = call_with(&bench, method);
        let request = program.receive_call();
        assert_eq!((request.name(), request.payload().as_ref()), ("m", payload.as_bytes()));
        respond(request, 200, "1");
        assert_eq!(answer(&mut program, &pending), (200, json!(1)));
    }
    assert_eq!((program.stats().methods, record::calls_sent(&bench)), (6, 6));
    program.finish();
}

pub(crate) fn a_name_may_have_every_character_that_the_hub_allows(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    let long = "n".repeat(1024);
    for name in ["reboot", "a-b:c.d%20 (x)", "ü$?=&", "?$rid=7", "%41", long.as_str()] {
        let pending = call(&bench, name);
        let request = program.receive_call();
        assert_eq!(request.name(), name);
        respond(request, 200, "{}");
        assert_eq!(answer(&mut program, &pending).0, 200);
    }
    program.finish();
}

pub(crate) fn the_largest_payload_passes_both_ways(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    // With its quotes 128 KiB.
    let payload = json!("x".repeat(128 * 1024 - 2));
    let pending = call_with(&bench, MethodCall::new("echo").payload(payload.clone()));
    let request = program.receive_call();
    let body = request.payload().clone();
    assert_eq!(body.len(), 128 * 1024);
    request.respond(200, body).expect("the answer has an allowed size");
    assert_eq!(answer(&mut program, &pending), (200, payload));
    assert_eq!(record::connections(&bench), 1);
    program.finish();
}

pub(crate) fn a_call_without_a_subscriber_is_not_online_for_its_caller(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let code = |bench: &Bench<'_>| {
        let refused = bench.start_method(DEVICE, MethodCall::new("m")).expect_err("nobody takes it");
        refused.code()
    };
    assert_eq!(code(&bench), Some(404_103), "the device is not there");
    let mut program = bench.start();
    program.round_trip();
    assert_eq!(code(&bench), Some(404_103), "the device takes no methods");
    program.subscribe(Feature::Methods).expect("the transport has direct methods");
    program.until_hub("the subscription has arrived", |hub| record::subscriptions(hub) == 1);
    let pending = call(&bench, "m");
    respond(program.receive_call(), 200, "{}");
    assert_eq!(answer(&mut program, &pending).0, 200);
    program.clear_method_callback();
    program.round_trip();
    assert_eq!(code(&bench), Some(404_103), "the device takes no methods any more");
    program.finish();
}

pub(crate) fn a_session_left_by_an_earlier_program_is_no_subscription(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    serving(&bench).finish();
    let mut program = bench.start();
    program.round_trip();
    // Whether the hub sends the call is the transport's matter; nobody is kept waiting for an answer.
    match bench.start_method(DEVICE, MethodCall::new("m")) {
        Ok(pending) => {
            assert_eq!(answer(&mut program, &pending).0, 501);
            assert_eq!((program.stats().methods, program.stats().methods_refused), (1, 1));
        }
        Err(error) => assert_eq!(error.code(), Some(404_103)),
    }
    assert!(program.calls.is_empty(), "the application hears of a call that it did not ask for");
    program.finish();
}

pub(crate) fn a_call_waits_for_the_device_as_long_as_its_caller_wants(subject: &dyn Subject) {
    let bench = Bench::with_still_clock(subject);
    let wait = MethodCall::new("m").connect_timeout(Duration::from_secs(60));
    let (first, second) = (call_with(&bench, wait.clone()), call_with(&bench, wait.clone()));
    let mut program = bench.start();
    program.round_trip();
    assert!(first.try_result().is_none());
    program.subscribe(Feature::Methods).expect("the transport has direct methods");
    for pending in [first, second] {
        respond(program.receive_call(), 200, "{}");
        assert_eq!(answer(&mut program, &pending).0, 200);
    }
    program.finish();
    let late = call_with(&bench, wait);
    bench.advance_clock(Duration::from_secs(60));
    assert_eq!(late.wait(crate::program::LIMIT).expect_err("nobody came").code(), Some(404_103));
}

pub(crate) fn a_call_that_is_sent_twice_is_received_once(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    if !bench.can_inject(Fault::MethodDuplicate) {
        return program.finish();
    }
    let pending = call(&bench, "m");
    let request = program.receive_call();
    program.round_trip();
    assert!(program.calls.is_empty(), "the repetition was received as a second call");
    respond(request, 200, "{}");
    assert_eq!(answer(&mut program, &pending).0, 200);
    assert_eq!(record::method_answers(&bench), [(200, false)]);
    program.finish();
}

pub(crate) fn methods_are_received_again_after_a_reconnect(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = serving(&bench);
    for round in 1..=3 {
        let pending = call(&bench, "m");
        respond(program.receive_call(), 200, "{}");
        assert_eq!(answer(&mut program, &pending).0, 200);
        let told = program.statuses.len();
        bench.disconnect_device(DEVICE).expect("it exists");
        program.until_status(iothub_core::ConnectionState::Ready, told);
        assert_eq!(record::connections(&bench), round + 1);
    }
    assert_eq!(record::method_answers(&bench), [(200, false); 3]);
    program.finish();
}

pub(crate) fn a_call_that_comes_after_its_callers_time_is_answered_to_nobody(subject: &dyn Subject) {
    let bench = Bench::with_still_clock(subject);
    let mut program = serving(&bench);
    let delay = Duration::from_secs(10);
    if !bench.can_inject(Fault::LateMethod { by: delay }) {
        return program.finish();
    }
    let pending = call_with(&bench, MethodCall::new("m").response_timeout(Duration::from_secs(5)));
    program.round_trip();
    bench.advance_clock(delay);
    assert_eq!(end(&mut program, &pending).expect_err("it is late").code(), Some(504_101));
    respond(program.receive_call(), 200, "{}");
    program.round_trip();
    assert_eq!(record::method_answers(&bench), [(200, true)]);
    assert!(program.notices.is_empty(), "for the client all is in order: {:?}", program.notices);
    program.finish();
}
