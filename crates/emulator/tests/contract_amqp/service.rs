//! The service side: messages to devices and feedback (E34 to E36).

use std::time::Duration;

use iothub_emulator::{C2dMessage, C2dResult, FeedbackMode, OfflineHub};
use serde_json::{Value, json};

use crate::support::frame::{Link, Message, *};
use crate::support::value::{V, sym, text};
use crate::support::{Peer, add_device, millis, world};

const FEEDBACK: &str = "/messages/serviceBound/feedback";

fn to_device(device: &str, id: &str) -> Message {
    let to = format!("/devices/{device}/messages/devicebound");
    Message::of(b"c2d").property(MESSAGE_ID, text(id)).property(TO, text(&to))
}

/// Completes a message to the device with feedback on its end.
fn ended(hub: &OfflineHub, id: &str, mode: FeedbackMode) {
    hub.send_c2d("d", C2dMessage::new("x").message_id(id).ack(mode)).unwrap();
    hub.purge_c2d("d");
}

fn records(message: &Message) -> Vec<Value> {
    serde_json::from_str(&message.body()).unwrap()
}

#[test]
fn a_e34_feedback_is_given_for_what_was_asked_for() {
    let hub = world();
    let mut device = Peer::of_device(&hub);
    device.receiver(0, "/devices/d/messages/devicebound", 100);
    let modes = [("none", 0), ("positive", 1), ("negative", 1), ("full", 2)];
    let mut service = Peer::of_service(&hub);
    service.sender(0, "amqps://hub.test/messages/deviceBound");
    for (mode, _) in modes {
        for state in [ACCEPTED, REJECTED] {
            let id = format!("{mode}-{state}");
            service.accepted(0, &to_device("d", &id).application("iothub-ack", text(mode)));
            let id = device.message().0.uint(1);
            device.say(&disposition(id, id, true, outcome(state)));
        }
    }
    hub.flush_feedback();
    service.receiver(1, FEEDBACK, 10);
    let found: Vec<_> = records(&service.message().1)
        .iter()
        .map(|record| (record["originalMessageId"].clone(), record["statusCode"].clone()))
        .collect();
    let expected =
        [("positive-36", "Success"), ("negative-37", "Rejected"), ("full-36", "Success"), ("full-37", "Rejected")];
    assert_eq!(found, expected.map(|(id, code)| (json!(id), json!(code))));
}

#[test]
fn a_e34_an_expired_message_leaves_the_queue() {
    let hub = world();
    let mut service = Peer::of_service(&hub);
    service.sender(0, "/messages/devicebound");
    let expiry = V::Timestamp(millis(hub.now()) + 1_000);
    service.accepted(0, &to_device("d", "m").property(EXPIRY, expiry).application("iothub-ack", text("full")));
    hub.advance_clock(Duration::from_secs(1));
    assert_eq!(hub.c2d_outcomes("d")[0].result, C2dResult::Expired);
}

#[test]
fn a_e35_a_batch_of_feedback_is_one_message() {
    let hub = world();
    ended(&hub, "m1", FeedbackMode::Full);
    ended(&hub, "m2", FeedbackMode::Full);
    let mut service = Peer::of_service(&hub);
    service.receiver(1, FEEDBACK, 10);
    assert!(service.all_of(TRANSFER).is_empty(), "the batch is not ready");
    hub.advance_clock(Duration::from_secs(15));
    let (frame, message) = service.message();
    assert!(matches!(frame.field(2), V::Bin(tag) if tag.len() == 16));
    assert_eq!(message.prop(CONTENT_TYPE), Some(&sym("application/vnd.microsoft.iothub.feedback.json")));
    assert_eq!(message.prop(USER_ID), Some(&V::Bin(b"hub".to_vec())));
    assert_eq!(message.annotated("iothub-enqueuedtime"), Some(&V::Timestamp(millis(hub.now()))));
    let records = records(&message);
    assert_eq!(records.len(), 2);
    let expected = json!({
        "originalMessageId": "m1",
        "deviceId": "d",
        "deviceGenerationId": hub.device("d").unwrap().generation_id,
        "enqueuedTimeUtc": "2027-01-15T08:00:00.000Z",
        "statusCode": "Purged",
        "description": "Purged",
    });
    assert_eq!(records[0], expected);
}

#[test]
fn a_e35_feedback_that_is_released_or_left_behind_comes_again() {
    let hub = world();
    ended(&hub, "m", FeedbackMode::Full);
    hub.flush_feedback();
    let mut service = Peer::of_service(&hub);
    service.receiver(1, FEEDBACK, 10);
    let id = service.message().0.uint(1);
    service.say(&disposition(id, id, true, outcome(RELEASED)));
    service.message();
    service.say(&detach(1));
    service.find(DETACH);
    service.receiver(1, FEEDBACK, 10);
    service.message();
    service.peer_closed();
    let mut service = Peer::of_service(&hub);
    service.attach(&Link::receiver(1, FEEDBACK).modes(2, 1));
    service.say(&credit(1, 0, 1));
    let id = service.message().0.uint(1);
    service.say(&disposition(id, id, false, outcome(ACCEPTED)));
    assert_eq!(service.find(DISPOSITION).uint(1), id);
    service.say(&credit(1, 1, 1));
    assert!(service.all_of(TRANSFER).is_empty());
    assert!(hub.read_feedback().is_empty());
}

#[test]
fn a_e36_the_51st_message_is_rejected() {
    let hub = world();
    let mut service = Peer::of_service(&hub);
    service.sender(0, "/messages/devicebound");
    (0..50).for_each(|index| service.accepted(0, &to_device("d", &index.to_string())));
    assert_eq!(service.rejected(0, 0, &to_device("d", "51").encoded()), "amqp:resource-limit-exceeded");
}

#[test]
fn a_e45_a_message_of_the_service_reaches_its_device_as_it_was_sent() {
    let hub = world();
    add_device(&hub, "a#b");
    let mut service = Peer::of_service(&hub);
    service.attach(&Link::sender(0, "amqps://hub.test/messages/devicebound").modes(0, 1));
    service.find(FLOW);
    let message = Message::of(b"body")
        .property(MESSAGE_ID, text("m"))
        .property(TO, text("/devices/a%23b/messages/deviceBound"))
        .property(CORRELATION_ID, text("c"))
        .property(CONTENT_TYPE, sym("text/plain"))
        .application("iothub-ack", text("none"))
        .application("p", text("q"));
    service.accepted(0, &message);
    let mut device = Peer::open(&hub);
    device.attach_cbs();
    device.put_token("hub.test/devices/a%23b", &hub.device("a#b").unwrap().sas_token(crate::support::HOUR));
    device.receiver(0, "/devices/a%23b/messages/devicebound", 1);
    let (_, received) = device.message();
    assert_eq!(received.prop(CORRELATION_ID), Some(&text("c")));
    assert_eq!(received.prop(CONTENT_TYPE), Some(&sym("text/plain")));
    assert_eq!(received.application, [(text("p"), text("q")), (text("iothub-ack"), text("none"))]);
    assert_eq!(received.body(), "body");
}

#[test]
fn a_e45_what_the_service_cannot_send_is_rejected_with_the_reason() {
    let hub = world();
    let mut service = Peer::of_service(&hub);
    service.sender(0, "/messages/devicebound");
    let large = Message { data: vec![vec![0; 65_537]], ..to_device("d", "m") };
    for (message, condition) in [
        (to_device("nobody", "m"), "amqp:not-found"),
        (Message::of(b"x"), "com.microsoft:argument-error"),
        (Message::of(b"x").property(TO, text("/devices/d/twin")), "com.microsoft:argument-error"),
        (large, "amqp:link:message-size-exceeded"),
    ] {
        assert_eq!(service.rejected(0, 0, &message.encoded()), condition);
    }
}

#[test]
fn a_e45_file_notifications_can_be_listened_to_and_are_none() {
    let hub = world();
    let mut service = Peer::of_service(&hub);
    service.receiver(0, "/messages/serviceBound/filenotifications", 10);
    hub.advance_clock(Duration::from_secs(60));
    assert!(service.all_of(TRANSFER).is_empty());
}
