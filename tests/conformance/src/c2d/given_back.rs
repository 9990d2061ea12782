//! Rejecting and abandoning, where they are answers on the wire.

use std::sync::mpsc::channel;

use iothub_core::{Device, IncomingMessage, Outbox};
use iothub_emulator::{C2dMessage, C2dResult, Config, FeedbackMode, Hub};

use super::listening;
use crate::bench::{Bench, DEVICE};
use crate::record;
use crate::subject::Subject;

/// Sends a message whose sender wants to hear of its end, whatever it is.
fn send(bench: &Bench<'_>, id: &str) {
    let message = C2dMessage::new(id.to_owned()).message_id(id).ack(FeedbackMode::Full);
    bench.send_c2d(DEVICE, message).expect("the queue has room");
}

/// What the senders have heard: id and status.
fn feedback(hub: &Hub) -> Vec<(String, String)> {
    hub.flush_feedback();
    hub.read_feedback().into_iter().map(|record| (record.original_message_id, record.status_code)).collect()
}

fn sent(hub: &Hub, id: &str) -> usize {
    record::sent(hub).iter().filter(|(sent, _)| sent == id).count()
}

/// How often the hub counts the message as given back.
fn count(hub: &Hub, id: &str) -> Option<u32> {
    hub.c2d_queue(DEVICE).into_iter().find(|record| record.message_id == id).map(|record| record.delivery_count)
}

pub(crate) fn a_rejected_message_ends_and_its_sender_is_told(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_reject() {
        return;
    }
    let mut program = bench.start();
    let (tx, rx) = channel();
    let callback = move |message: IncomingMessage, _: &mut Outbox<Device>| match message.message_id() {
        Some("at once") => message.reject().expect("the transport can reject"),
        _ => tx.send(message).expect("the behaviour listens"),
    };
    program.set_message_callback(callback).expect("the transport has messages");
    program.until_ready();
    for id in ["at once", "later", "elsewhere", "completed"] {
        send(&bench, id);
    }
    let mut kept = Vec::new();
    program.until("the others are received", |_| {
        kept.extend(rx.try_iter());
        kept.len() == 3
    });
    program.until_hub("the first is rejected", |hub| record::outcomes(hub).len() == 1);
    let mut kept = kept.into_iter();
    kept.next().expect("there are three").reject().expect("the transport can reject");
    program.until_hub("the second is rejected", |hub| record::outcomes(hub).len() == 2);
    let elsewhere = kept.next().expect("there are three");
    std::thread::scope(|scope| {
        scope.spawn(move || elsewhere.reject().expect("the transport can reject"));
        // The answer itself wakes the client.
        program.until_hub("the third is rejected", |hub| record::outcomes(hub).len() == 3);
    });
    kept.next().expect("there are three").complete();
    program.until_hub("the fourth is completed", |hub| record::outcomes(hub).len() == 4);
    let ends = [("at once", C2dResult::Rejected), ("later", C2dResult::Rejected), ("elsewhere", C2dResult::Rejected)];
    let ends = ends.into_iter().chain([("completed", C2dResult::Completed)]);
    assert_eq!(record::outcomes(&bench), ends.map(|(id, end)| (id.to_owned(), end)).collect::<Vec<_>>());
    let told = [("at once", "Rejected"), ("later", "Rejected"), ("elsewhere", "Rejected"), ("completed", "Success")];
    assert_eq!(feedback(&bench), told.map(|(id, status)| (id.to_owned(), status.to_owned())));
    assert_eq!((program.stats().received, record::sent(&bench).len()), (4, 4), "a rejected message came again");
    assert!(program.notices.is_empty(), "{:?}", program.notices);
    program.finish();
}

pub(crate) fn an_abandoned_message_comes_again_at_once_and_is_counted(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.redelivers_at_once() {
        return;
    }
    let mut program = bench.start();
    let (tx, rx) = channel();
    let mut is_first = true;
    let callback = move |message: IncomingMessage, _: &mut Outbox<Device>| match std::mem::take(&mut is_first) {
        true => message.abandon(),
        false => tx.send(message).expect("the behaviour listens"),
    };
    program.set_message_callback(callback).expect("the transport has messages");
    program.until_ready();
    send(&bench, "m1");
    let receive = |program: &mut crate::program::Program| {
        let mut message = None;
        program.until("the message comes again", |_| {
            message = rx.try_recv().ok();
            message.is_some()
        });
        message.expect("it came")
    };
    // Abandoned in its callback; then later; then dropped; then from another thread.
    let again = receive(&mut program);
    assert_eq!((count(&bench, "m1"), sent(&bench, "m1")), (Some(1), 2));
    again.abandon();
    let again = receive(&mut program);
    assert_eq!((count(&bench, "m1"), sent(&bench, "m1")), (Some(2), 3));
    drop(again);
    let again = receive(&mut program);
    assert_eq!((count(&bench, "m1"), sent(&bench, "m1")), (Some(3), 4));
    let again = std::thread::scope(|scope| {
        scope.spawn(move || again.abandon());
        // The answer itself wakes the client.
        receive(&mut program)
    });
    assert_eq!((count(&bench, "m1"), sent(&bench, "m1")), (Some(4), 5));
    assert_eq!((again.message_id(), again.payload().as_ref()), (Some("m1"), &b"m1"[..]));
    again.complete();
    program.until_hub("it is completed", |hub| record::completed(hub) == ["m1"]);
    assert_eq!(feedback(&bench), [("m1".to_owned(), "Success".to_owned())]);
    assert_eq!((program.stats().received, record::connections(&bench)), (5, 1));
    program.finish();
}

pub(crate) fn a_message_that_is_abandoned_too_often_is_given_up_by_the_hub(subject: &dyn Subject) {
    let bench = Bench::with(subject, Config::new().with_max_delivery_count(3));
    if !bench.redelivers_at_once() {
        return;
    }
    let mut program = listening(&bench);
    send(&bench, "bad");
    for _ in 0..3 {
        let message = program.receive();
        assert_eq!(message.message_id(), Some("bad"));
        message.abandon();
    }
    send(&bench, "good");
    let message = program.receive();
    assert_eq!(message.message_id(), Some("good"), "what the hub has given up came again");
    message.complete();
    program.until_hub("both have ended", |hub| record::outcomes(hub).len() == 2);
    let ends = [("bad".to_owned(), C2dResult::DeliveryCountExceeded), ("good".to_owned(), C2dResult::Completed)];
    assert_eq!(record::outcomes(&bench), ends);
    assert_eq!(
        feedback(&bench),
        [("bad", "DeliveryCountExceeded"), ("good", "Success")].map(|(id, status)| (id.to_owned(), status.to_owned()))
    );
    assert_eq!((sent(&bench, "bad"), program.messages.len()), (3, 0));
    program.finish();
}
