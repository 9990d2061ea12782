//! Settling: at once, later, in another order, not at all, and in ways that the transport does not have.

use std::sync::mpsc::channel;

use iothub_core::{Disposition, IncomingMessage, RefusedReason, Unsupported};
use iothub_emulator::{C2dResult, Config, OutOfOrderPuback, PubackEffect};

use super::{listening, send};
use crate::bench::Bench;
use crate::program::Program;
use crate::record;
use crate::subject::Subject;

/// Receives this many messages and checks that they came in the order of their ids.
fn receive(program: &mut Program, ids: &[&str]) -> Vec<IncomingMessage> {
    let messages: Vec<_> = ids.iter().map(|_| program.receive()).collect();
    let received: Vec<_> = messages.iter().map(|message| message.message_id().unwrap_or_default()).collect();
    assert_eq!(received, ids);
    messages
}

fn until_completed(program: &mut Program, ids: &[&str]) {
    program.until_hub(&format!("{ids:?} are completed"), |hub| record::completed(hub).len() >= ids.len());
}

pub(crate) fn a_message_is_completed_in_its_callback(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let (tx, rx) = channel();
    program
        .set_message_callback(move |message, _| {
            tx.send(message.payload().clone()).expect("the behaviour listens");
            message.complete();
        })
        .expect("the transport has messages");
    program.until_ready();
    send(&bench, ["m1"]);
    until_completed(&mut program, &["m1"]);
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), ["m1"]);
    assert!(program.messages.is_empty(), "the callback heard of it, so the events must not");
    assert_eq!(record::outcomes(&bench), [("m1".to_owned(), C2dResult::Completed)]);
    assert_eq!((program.stats().received, bench.c2d_queue(crate::bench::DEVICE).len()), (1, 0));
    program.finish();
}

pub(crate) fn a_message_is_completed_later_from_another_thread(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = listening(&bench);
    send(&bench, ["m1"]);
    let message = program.receive();
    program.round_trip();
    assert_eq!(record::queued(&bench), ["m1"], "nobody has answered yet");
    std::thread::scope(|scope| {
        scope.spawn(move || message.complete());
        // The answer itself wakes the client.
        until_completed(&mut program, &["m1"]);
    });
    assert_eq!(record::sent(&bench), [("m1".to_owned(), false)]);
    program.finish();
}

pub(crate) fn answers_out_of_order_reach_the_hub_in_the_order_of_arrival(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = listening(&bench);
    let ids = ["m1", "m2", "m3"];
    send(&bench, ids);
    let mut messages = receive(&mut program, &ids);
    messages.pop().expect("m3").complete();
    messages.pop().expect("m2").complete();
    // Telemetry is not held up by an undecided message; what could be acknowledged is, after it.
    program.round_trip();
    if subject.settles_in_order() {
        assert_eq!(record::acknowledgements(&bench), [], "m1 is undecided");
    }
    messages.pop().expect("m1").complete();
    until_completed(&mut program, &ids);
    if subject.settles_in_order() {
        assert_eq!(record::completed(&bench), ids);
        assert_eq!(record::acknowledgements(&bench), [PubackEffect::Completed; 3]);
    }
    assert!(program.notices.is_empty());
    program.finish();
}

pub(crate) fn an_abandoned_message_does_not_hold_back_the_others(subject: &dyn Subject) {
    let bench = Bench::with(subject, Config::new().with_out_of_order_puback(OutOfOrderPuback::Accept));
    let mut program = listening(&bench);
    send(&bench, ["m1", "m2", "m3"]);
    let mut messages = receive(&mut program, &["m1", "m2", "m3"]).into_iter();
    messages.next().expect("m1").abandon();
    messages.for_each(IncomingMessage::complete);
    until_completed(&mut program, &["m2", "m3"]);
    assert_eq!(record::completed(&bench), ["m2", "m3"]);
    program.round_trip();
    let came_back = program.messages.pop_front();
    assert!(came_back.is_some() || record::queued(&bench) == ["m1"], "the abandoned message is lost");
    came_back.into_iter().for_each(IncomingMessage::complete);
    program.finish();
}

pub(crate) fn a_message_is_rejected_or_comes_back_from_the_reject(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = listening(&bench);
    send(&bench, ["m1"]);
    let message = program.receive();
    if bench.can(Disposition::Reject) {
        message.reject().expect("the transport can reject");
        program.until_hub("m1 is rejected", |hub| record::outcomes(hub).len() == 1);
        assert_eq!(record::outcomes(&bench), [("m1".to_owned(), C2dResult::Rejected)]);
        return program.finish();
    }
    let refused = message.reject().expect_err("the transport cannot reject");
    let expected = matches!(
        refused.reason,
        RefusedReason::Unsupported(Unsupported::Disposition { disposition: Disposition::Reject, .. })
    );
    assert!(expected, "{}", refused.reason);
    let text = refused.to_string();
    assert!(text.contains("AMQP") && text.contains("HTTP"), "{text}");
    program.round_trip();
    assert_eq!(record::queued(&bench), ["m1"], "a refused reject settled the message");
    refused.value.complete();
    until_completed(&mut program, &["m1"]);
    assert_eq!(record::outcomes(&bench), [("m1".to_owned(), C2dResult::Completed)]);
    program.finish();
}

pub(crate) fn an_undecided_message_delays_no_telemetry(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = listening(&bench);
    send(&bench, ["m1"]);
    let message = program.receive();
    let ids: Vec<_> = (0..200).map(|n| program.send(format!("{n}"))).collect();
    program.until_confirmed(&ids);
    assert_eq!(record::stored(&bench).len(), 200);
    assert_eq!(record::queued(&bench), ["m1"]);
    message.complete();
    until_completed(&mut program, &["m1"]);
    assert_eq!(record::connections(&bench), 1);
    program.finish();
}

pub(crate) fn a_message_is_answered_with_telemetry_from_its_callback(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program
        .set_message_callback(|message, outbox| {
            let answer = iothub_core::Message::new(message.payload().clone());
            let answer = answer.with_correlation_id(message.message_id().unwrap_or_default()).expect("an id is an id");
            outbox.send_event(answer).expect("there is room");
            message.complete();
        })
        .expect("the transport has messages");
    program.until_ready();
    send(&bench, ["question-1", "question-2"]);
    program.until_stored(2);
    until_completed(&mut program, &["question-1", "question-2"]);
    let answers: Vec<_> = bench
        .telemetry(crate::bench::DEVICE)
        .into_iter()
        .map(|record| record.system["correlation-id"].clone())
        .collect();
    assert_eq!(answers, ["question-1", "question-2"]);
    program.finish();
}
