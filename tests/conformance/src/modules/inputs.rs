//! What comes to a module's inputs, who hears of it, and how it is settled.

use std::sync::mpsc::channel;

use iothub_core::{Event, Feature, IncomingMessage, Module, Outbox, Redelivery};
use iothub_emulator::{C2dResult, Config, Fault, OutOfOrderPuback};

use super::{MODULE, completed, edge, edge_with, listening, send, until_completed};
use crate::bench::DEVICE;
use crate::subject::Subject;

pub(crate) fn an_input_goes_to_its_own_callback_else_to_the_default_one(subject: &dyn Subject) {
    let Some(bench) = edge(subject, &[]) else { return };
    let mut program = bench.start_module(MODULE);
    let (tx, rx) = channel();
    let hear = |name: &'static str| {
        let tx = tx.clone();
        move |message: IncomingMessage, _: &mut Outbox<Module>| {
            let id = message.message_id().expect("it has an id").to_owned();
            tx.send((name, id)).expect("the behaviour listens");
            message.complete();
        }
    };
    program.set_input_callback("a", hear("a")).expect("the transport has inputs");
    program.set_message_callback(hear("default")).expect("the transport has inputs");
    program.until_ready();
    send(&bench, "a", ["m1"]);
    send(&bench, "A", ["m2"]);
    send(&bench, "b c%", ["m3"]);
    until_completed(&mut program, &bench, &["m1", "m2", "m3"]);
    let heard: Vec<_> = rx.try_iter().collect();
    assert_eq!(heard, [("a", "m1".to_owned()), ("default", "m2".to_owned()), ("default", "m3".to_owned())]);
    program.finish();
}

pub(crate) fn an_input_without_a_callback_is_an_event_if_inputs_were_subscribed_to(subject: &dyn Subject) {
    let Some(bench) = edge(subject, &[]) else { return };
    let mut program = bench.start_module(MODULE);
    program.set_input_callback("a", |message, _| message.complete()).expect("the transport has inputs");
    program.subscribe(Feature::Inputs).expect("the transport has inputs");
    program.until_ready();
    send(&bench, "b", ["event"]);
    let message = program.receive();
    assert_eq!((message.input_name(), message.message_id()), (Some("b"), Some("event")));
    message.complete();
    until_completed(&mut program, &bench, &["event"]);
    send(&bench, "a", ["called"]);
    until_completed(&mut program, &bench, &["event", "called"]);
    assert_eq!((program.stats().unwanted, program.messages.len()), (0, 0));
    program.finish();
}

pub(crate) fn messages_to_an_input_that_nobody_wants_wait_for_a_callback(subject: &dyn Subject) {
    let config = Config::new().with_out_of_order_puback(OutOfOrderPuback::Accept);
    let Some(bench) = edge_with(subject, &[], config) else { return };
    let mut program = bench.start_module(MODULE);
    let hear = |message: IncomingMessage, _: &mut Outbox<Module>| message.complete();
    program.set_input_callback("a", hear).expect("the transport has inputs");
    program.until_ready();
    send(&bench, "b", ["b1", "b2", "b3"]);
    program.until("they have arrived", |program| program.stats().received == 3);
    // Whatever the client has answered has arrived, and nothing came back for it.
    send(&bench, "a", ["a1"]);
    until_completed(&mut program, &bench, &["a1"]);
    program.round_trip();
    let waiting: Vec<_> = bench.input_queue((DEVICE, MODULE)).into_iter().map(|record| record.message_id).collect();
    assert_eq!(
        (completed(&bench, MODULE), waiting),
        (vec!["a1".to_owned()], vec!["b1".into(), "b2".into(), "b3".into()])
    );
    assert_eq!((program.stats().unwanted, program.stats().received), (3, 4));

    program.set_input_callback("b", hear).expect("the transport has inputs");
    let at_once = bench.capabilities().redelivery == Redelivery::AtOnce;
    if !at_once {
        bench.disconnect_device(DEVICE).expect("it exists");
    }
    until_completed(&mut program, &bench, &["a1", "b1", "b2", "b3"]);
    assert_eq!(completed(&bench, MODULE), ["a1", "b1", "b2", "b3"]);
    assert_eq!(program.stats().received, if at_once { 4 } else { 7 });
    program.finish();
}

pub(crate) fn messages_to_several_inputs_are_received_in_the_order_of_sending(subject: &dyn Subject) {
    let Some(bench) = edge(subject, &[]) else { return };
    let mut program = listening(&bench, MODULE);
    let inputs = ["a", "b", "a", "c", "b"];
    for (n, input) in inputs.iter().enumerate() {
        send(&bench, input, [format!("m{n}").as_str()]);
    }
    for (n, input) in inputs.iter().enumerate() {
        let message = program.receive();
        assert_eq!((message.input_name(), message.message_id()), (Some(*input), Some(format!("m{n}").as_str())));
        message.complete();
    }
    until_completed(&mut program, &bench, &["m0", "m1", "m2", "m3", "m4"]);
    program.finish();
}

pub(crate) fn an_input_is_completed_later_from_another_thread(subject: &dyn Subject) {
    let Some(bench) = edge(subject, &[]) else { return };
    let mut program = listening(&bench, MODULE);
    send(&bench, "in", ["m1"]);
    let message = program.receive();
    program.round_trip();
    assert!(completed(&bench, MODULE).is_empty(), "nobody has answered yet");
    std::thread::scope(|scope| {
        scope.spawn(move || message.complete());
        until_completed(&mut program, &bench, &["m1"]);
    });
    program.finish();
}

pub(crate) fn an_undecided_input_comes_again_after_a_reconnect_and_its_old_answer_is_stale(subject: &dyn Subject) {
    let Some(bench) = edge(subject, &[]) else { return };
    let mut program = listening(&bench, MODULE);
    send(&bench, "in", ["m1"]);
    let old = program.receive();
    if !bench.can_inject_for((DEVICE, MODULE), Fault::OrderlyClose) {
        return;
    }
    let new = program.receive();
    assert_eq!((new.input_name(), new.message_id()), (Some("in"), Some("m1")));
    old.complete();
    program.until("the old answer is told to be stale", |program| {
        program.notices.iter().any(|notice| matches!(notice, Event::StaleSettlement { .. }))
    });
    program.round_trip();
    assert!(completed(&bench, MODULE).is_empty(), "the stale answer was put on the wire");
    new.complete();
    until_completed(&mut program, &bench, &["m1"]);
    program.finish();
}

pub(crate) fn inputs_wait_while_the_module_is_away(subject: &dyn Subject) {
    let Some(bench) = edge(subject, &[]) else { return };
    let mut program = listening(&bench, MODULE);
    program.close();
    send(&bench, "in", ["m1", "m2"]);
    let mut program = listening(&bench, MODULE);
    for id in ["m1", "m2"] {
        let message = program.receive();
        assert_eq!(message.message_id(), Some(id));
        message.complete();
    }
    until_completed(&mut program, &bench, &["m1", "m2"]);
    program.finish();
}

pub(crate) fn an_input_is_rejected_and_abandoned_as_a_message_from_the_cloud_is(subject: &dyn Subject) {
    let Some(bench) = edge(subject, &[]) else { return };
    if !bench.can_reject() || !bench.redelivers_at_once() {
        return;
    }
    let mut program = listening(&bench, MODULE);
    send(&bench, "in", ["bad", "good"]);
    let (bad, good) = (program.receive(), program.receive());
    assert_eq!((bad.message_id(), good.message_id()), (Some("bad"), Some("good")));
    bad.reject().expect("the transport can reject");
    good.abandon();
    let again = program.receive();
    assert_eq!((again.input_name(), again.message_id()), (Some("in"), Some("good")));
    let queue = bench.input_queue((DEVICE, MODULE));
    assert_eq!(queue.iter().map(|record| record.delivery_count).collect::<Vec<_>>(), [1]);
    again.complete();
    program.until_hub("both have ended", |hub| hub.input_outcomes((DEVICE, MODULE)).len() == 2);
    let ends: Vec<_> =
        bench.input_outcomes((DEVICE, MODULE)).into_iter().map(|it| (it.message_id, it.result)).collect();
    assert_eq!(ends, [("bad".to_owned(), C2dResult::Rejected), ("good".to_owned(), C2dResult::Completed)]);
    program.finish();
}
