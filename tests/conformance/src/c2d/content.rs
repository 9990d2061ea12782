//! What the service sends is what the application receives.

use std::time::{Duration, UNIX_EPOCH};

use iothub_core::SystemProperty;
use iothub_emulator::{C2dMessage, C2dResult, FeedbackMode};

use super::listening;
use crate::bench::{Bench, DEVICE};
use crate::record;
use crate::subject::Subject;

/// Sends one message, and gives it as it was received; the hub has seen it completed.
fn deliver(subject: &dyn Subject, message: C2dMessage) -> iothub_core::Message {
    let bench = Bench::new(subject);
    let mut program = listening(&bench);
    bench.send_c2d(DEVICE, message).expect("the queue has room");
    let incoming = program.receive();
    let message = incoming.message().clone();
    incoming.complete();
    program.until_hub("the message is completed", |hub| record::completed(hub).len() == 1);
    assert_eq!(record::outcomes(&bench)[0].1, C2dResult::Completed);
    program.finish();
    message
}

pub(crate) fn every_byte_of_a_message_is_received(subject: &dyn Subject) {
    let every_byte: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    let message = deliver(subject, C2dMessage::new(every_byte.clone()));
    assert_eq!(message.payload(), &every_byte);
    assert_eq!(message.properties().count(), 0);
}

pub(crate) fn an_empty_message_is_received(subject: &dyn Subject) {
    assert!(deliver(subject, C2dMessage::new("")).payload().is_empty());
}

pub(crate) fn the_largest_message_is_received(subject: &dyn Subject) {
    let body = vec![0x5A; 65_536 - "m1".len()];
    let message = deliver(subject, C2dMessage::new(body.clone()).message_id("m1"));
    assert!(message.payload() == &body, "{} bytes arrived as {}", body.len(), message.payload().len());
}

pub(crate) fn properties_are_received_decoded_with_null_and_empty_values(subject: &dyn Subject) {
    let message = C2dMessage::new("x")
        .property("zebra", "1")
        .property("null", None)
        .property("empty", "")
        .property("a b&c=d", "e&f=g h")
        .property("%41", "100%")
        .property("a+b", "/?#$.mid")
        .property("größe", "5 µm");
    let message = deliver(subject, message);
    let properties: Vec<_> = message.properties().collect();
    let expected = [
        ("zebra", "1"),
        ("null", ""),
        ("empty", ""),
        ("a b&c=d", "e&f=g h"),
        ("%41", "100%"),
        ("a+b", "/?#$.mid"),
        ("größe", "5 µm"),
    ];
    assert_eq!(properties, expected);
    assert_eq!((message.property("null"), message.property("absent")), (Some(""), None));
}

pub(crate) fn system_properties_are_received_under_their_names(subject: &dyn Subject) {
    let expiry = UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let message = C2dMessage::new("{}")
        .message_id("m/1 = 100%")
        .correlation_id("c-1")
        .user_id("user & co")
        .content_type("application/json")
        .content_encoding("utf-8")
        .ack(FeedbackMode::Full)
        .expiry(expiry)
        .property("name", "value");
    let message = deliver(subject, message);
    assert_eq!(message.message_id(), Some("m/1 = 100%"));
    assert_eq!(message.correlation_id(), Some("c-1"));
    assert_eq!(message.system(SystemProperty::UserId), Some("user & co"));
    assert_eq!(message.system(SystemProperty::ContentType), Some("application/json"));
    assert_eq!(message.system(SystemProperty::ContentEncoding), Some("utf-8"));
    assert_eq!(message.system(SystemProperty::Ack), Some("full"));
    let to = message.system(SystemProperty::To).expect("the hub says to whom").to_ascii_lowercase();
    assert_eq!(to, format!("/devices/{DEVICE}/messages/devicebound"));
    let expires = message.system(SystemProperty::ExpiryTime).expect("the hub says until when");
    assert!(expires.starts_with("2096-10-02T07:06:40"), "{expires}");
    assert_eq!(message.properties().collect::<Vec<_>>(), [("name", "value")]);
}

pub(crate) fn fifty_messages_are_received_in_the_order_of_sending(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = listening(&bench);
    let ids: Vec<_> = (0..50).map(|n| format!("m{n}")).collect();
    super::send(&bench, ids.iter().map(String::as_str));
    let mut received = Vec::new();
    while received.len() < 50 {
        let message = program.receive();
        received.extend(message.message_id().map(str::to_owned));
        message.complete();
    }
    assert_eq!(received, ids);
    program.until_hub("all are completed", |hub| record::completed(hub).len() == 50);
    assert_eq!(record::completed(&bench), ids);
    assert_eq!(program.stats().received, 50);
    program.finish();
}

pub(crate) fn the_time_of_the_last_message_is_kept(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = listening(&bench);
    assert_eq!(program.last_message_receive_time(), None);
    let before = bench.now();
    bench.send_c2d(DEVICE, C2dMessage::new("x")).expect("the queue has room");
    program.receive().complete();
    let received = program.last_message_receive_time().expect("one was received");
    assert!(received >= before && received <= bench.now(), "{received:?}");
    program.until_hub("the message is completed", |hub| record::completed(hub).len() == 1);
    program.finish();
}

pub(crate) fn a_received_message_can_be_sent_on_as_it_is(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = listening(&bench);
    let message = C2dMessage::new("pass it on")
        .message_id("m-1")
        .correlation_id("c-1")
        .content_type("text/plain; charset=utf-8")
        .content_encoding("utf-8")
        .property("größe & more = %41+", "5 µm / 100% + 1");
    bench.send_c2d(DEVICE, message).expect("the queue has room");
    let incoming = program.receive();
    program.deliver(incoming.message().clone());
    incoming.complete();
    program.until_hub("the message is completed", |hub| record::completed(hub) == ["m-1"]);
    let stored = bench.telemetry(DEVICE).remove(0);
    assert_eq!(stored.body, "pass it on");
    assert_eq!(stored.property("größe & more = %41+"), Some(Some("5 µm / 100% + 1")));
    let system =
        ["message-id", "correlation-id", "content-type", "content-encoding"].map(|name| stored.system.get(name));
    assert_eq!(
        system.map(|value| value.map_or("", String::as_str)),
        ["m-1", "c-1", "text/plain; charset=utf-8", "utf-8"]
    );
    program.finish();
}
