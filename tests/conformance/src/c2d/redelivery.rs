//! Messages that come again: unanswered, half answered, or sent twice.

use iothub_core::{ConnectionState, Disposition, Event};
use iothub_emulator::{DropPoint, Fault};

use super::{listening, send};
use crate::bench::{Bench, DEVICE};
use crate::program::Program;
use crate::record;
use crate::subject::Subject;

/// The hub cuts the connection; runs until the client is back.
fn reconnect(bench: &Bench<'_>, program: &mut Program) {
    let before = program.statuses.len();
    assert!(bench.disconnect_device(DEVICE).expect("it exists"), "the device was connected");
    program.until_status(ConnectionState::Ready, before);
}

fn until_completed(program: &mut Program, id: &str) {
    program.until_hub(&format!("{id} is completed"), |hub| record::completed(hub).iter().any(|done| done == id));
}

pub(crate) fn a_message_dropped_unanswered_comes_again_after_a_reconnect(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = listening(&bench);
    send(&bench, ["m1"]);
    drop(program.receive());
    // If dropping it were an answer, the hub would have it now.
    program.round_trip();
    // Where abandoning is an answer, it has come again already; that one's connection is about to be lost.
    let _came_again_at_once = std::mem::take(&mut program.messages);
    reconnect(&bench, &mut program);
    let again = program.receive();
    assert_eq!((again.message_id(), again.payload().as_ref()), (Some("m1"), &b"m1"[..]));
    again.complete();
    until_completed(&mut program, "m1");
    assert!(program.notices.is_empty(), "an abandoned message is no stale answer: {:?}", program.notices);
    let expected = [("m1".to_owned(), false), ("m1".to_owned(), true)];
    let mut sent = record::sent(&bench);
    sent.dedup();
    assert_eq!(sent, expected);
    program.finish();
}

pub(crate) fn an_undecided_message_comes_again_after_a_reconnect_and_its_old_answer_is_stale(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = listening(&bench);
    send(&bench, ["m1"]);
    let old = program.receive();
    reconnect(&bench, &mut program);
    let new = program.receive();
    assert_eq!(new.message_id(), Some("m1"));
    old.complete();
    program.until("the stale answer is told", |program| !program.notices.is_empty());
    let stale = matches!(
        &program.notices[..],
        [Event::StaleSettlement { message_id: Some(id), disposition: Disposition::Accept }] if id == "m1"
    );
    assert!(stale, "{:?}", program.notices);
    program.round_trip();
    assert_eq!(record::queued(&bench), ["m1"], "the stale answer was put on the wire");
    new.complete();
    until_completed(&mut program, "m1");
    assert_eq!(program.stats().stale_answers, 1);
    program.finish();
}

pub(crate) fn messages_in_doubt_come_again_in_order_before_new_ones(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = listening(&bench);
    send(&bench, ["m1", "m2", "m3"]);
    program.until("all are received", |program| program.messages.len() == 3);
    let _in_doubt = std::mem::take(&mut program.messages);
    program.round_trip();
    reconnect(&bench, &mut program);
    send(&bench, ["m4"]);
    for id in ["m1", "m2", "m3", "m4"] {
        let message = program.receive();
        assert_eq!(message.message_id(), Some(id));
        message.complete();
    }
    until_completed(&mut program, "m4");
    assert_eq!(record::completed(&bench), ["m1", "m2", "m3", "m4"]);
    program.finish();
}

pub(crate) fn a_lost_acknowledgement_brings_the_message_again(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::Drop { device: None, at: DropPoint::PubackReceived }) {
        return;
    }
    let mut program = listening(&bench);
    send(&bench, ["m1"]);
    program.receive().complete();
    let again = program.receive();
    assert_eq!(again.message_id(), Some("m1"));
    again.complete();
    until_completed(&mut program, "m1");
    assert_eq!(record::sent(&bench), [("m1".to_owned(), false), ("m1".to_owned(), true)]);
    assert_eq!(record::connections(&bench), 2);
    program.finish();
}

pub(crate) fn a_message_sent_twice_by_the_hub_is_received_once(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::DuplicateDelivery) {
        return;
    }
    let mut program = listening(&bench);
    send(&bench, ["m1"]);
    let message = program.receive();
    program.round_trip();
    assert_eq!(record::sent(&bench), [("m1".to_owned(), false), ("m1".to_owned(), true)]);
    assert!(program.messages.is_empty(), "the repetition was received as a second message");
    message.complete();
    until_completed(&mut program, "m1");
    program.round_trip();
    assert_eq!((program.stats().received, record::completed(&bench).len()), (1, 1));
    program.finish();
}

pub(crate) fn a_connection_lost_while_a_message_is_sent_brings_it_again(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::Drop { device: None, at: DropPoint::C2dSent }) {
        return;
    }
    let mut program = listening(&bench);
    send(&bench, ["m1"]);
    // It may arrive before the loss is noticed: then its answer is stale, and it comes again all the same.
    while record::completed(&bench).is_empty() {
        program.receive().complete();
        program.round_trip();
    }
    assert_eq!(record::completed(&bench), ["m1"]);
    assert_eq!(record::sent(&bench), [("m1".to_owned(), false), ("m1".to_owned(), true)]);
    program.finish();
}

pub(crate) fn half_a_message_is_none_and_the_whole_comes_after_the_reconnect(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = listening(&bench);
    if !bench.can_inject(Fault::Drop { device: None, at: DropPoint::MidPacket }) {
        return program.finish();
    }
    send(&bench, ["m1"]);
    let message = program.receive();
    assert_eq!(message.payload().as_ref(), b"m1");
    message.complete();
    until_completed(&mut program, "m1");
    assert_eq!((program.stats().received, record::connections(&bench)), (1, 2));
    assert_eq!(record::sent(&bench), [("m1".to_owned(), false), ("m1".to_owned(), true)]);
    program.finish();
}
