//! Messages to devices and to inputs of modules: content, locks, and the three ways to settle.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

use iothub_emulator::{
    Activity, C2dMessage, C2dResult, FeedbackMode, Hub, LocalConnection, LocalError, LocalEvent, LocalFeature,
    LocalLogin, LocalMessage, LocalTelemetry,
};

use crate::support::c2d::{feedback, outcomes, queue, send};
use crate::support::{hub_with_manual_clock, manual_clock, start};
use crate::{Bell, DAY, connect, events, listener, login, record};

const C2D: &[LocalFeature] = &[LocalFeature::CloudToDevice];

fn receive(connection: &mut LocalConnection) -> LocalMessage {
    match connection.next_event() {
        Some(LocalEvent::Message(message)) => message,
        other => panic!("a message was to come, not {other:?}"),
    }
}

fn with_feedback(hub: &Hub, id: &str) {
    hub.send_c2d("dev", C2dMessage::new("x").message_id(id).ack(FeedbackMode::Full)).unwrap();
}

#[test]
fn a_message_is_given_as_it_was_sent() {
    let hub = hub_with_manual_clock();
    let mut connection = listener(&hub, C2D);
    let message = C2dMessage::new(vec![0, 255])
        .message_id("m-1")
        .correlation_id("c-1")
        .user_id("u")
        .content_type("text/plain")
        .content_encoding("utf-8")
        .property("ä & b", "=")
        .property("null", None)
        .property("empty", "")
        .ack(FeedbackMode::Full)
        .expiry(std::time::UNIX_EPOCH + Duration::from_secs(4_000_000_000));
    hub.send_c2d("dev", message).unwrap();
    let message = receive(&mut connection);
    assert_eq!((&message.body[..], message.input, message.redelivered), (&[0, 255][..], None, false));
    let pair = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    assert_eq!(message.properties, [pair("ä & b", Some("=")), pair("null", None), pair("empty", Some(""))]);
    let system = [
        ("absolute-expiry-time", "2096-10-02T07:06:40.000Z"),
        ("content-encoding", "utf-8"),
        ("content-type", "text/plain"),
        ("correlation-id", "c-1"),
        ("iothub-ack", "full"),
        ("message-id", "m-1"),
        ("to", "/devices/dev/messages/devicebound"),
        ("user-id", "u"),
    ];
    let system: BTreeMap<_, _> = system.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(message.system, system);
}

#[test]
fn messages_come_in_order_and_only_to_a_subscriber_who_is_woken() {
    let hub = hub_with_manual_clock();
    let (bell, waker) = Bell::new();
    let mut connection = hub.connect_local(login(&hub), &waker).unwrap();
    send(&hub, "m1");
    assert_eq!(events(&mut connection), []);
    connection.subscribe(LocalFeature::CloudToDevice).unwrap();
    bell.has_rung();
    send(&hub, "m2");
    assert!(bell.has_rung());
    assert_eq!([receive(&mut connection).body, receive(&mut connection).body], ["m1", "m2"]);
    connection.unsubscribe(LocalFeature::CloudToDevice).unwrap();
    send(&hub, "m3");
    assert_eq!(events(&mut connection), []);
    assert_eq!(queue(&hub), ["m1", "m2", "m3"]);
}

#[test]
fn each_way_to_settle_has_its_outcome_and_its_feedback() {
    let hub = hub_with_manual_clock();
    let mut connection = listener(&hub, C2D);
    for id in ["completed", "rejected", "abandoned"] {
        with_feedback(&hub, id);
    }
    let [completed, rejected, abandoned] = [(); 3].map(|()| receive(&mut connection));
    // In any order: there is none here as there is over MQTT.
    connection.reject(rejected.delivery).unwrap();
    connection.complete(completed.delivery).unwrap();
    connection.abandon(abandoned.delivery).unwrap();
    let ended = [("rejected".to_owned(), C2dResult::Rejected), ("completed".to_owned(), C2dResult::Completed)];
    assert_eq!(outcomes(&hub), ended);
    let told = [("rejected", "Rejected"), ("completed", "Success")].map(|(id, code)| (id.to_owned(), code.to_owned()));
    assert_eq!(feedback(&hub), told);
    let again = receive(&mut connection);
    assert_eq!((again.system["message-id"].as_str(), again.redelivered), ("abandoned", true));
    assert_eq!(hub.c2d_queue("dev")[0].delivery_count, 1);
    let on_record = record(&hub, |activity| match activity {
        Activity::C2dAcked { message_id, .. } => Some(("acked", message_id)),
        Activity::MessageRejected { message_id, .. } => Some(("rejected", message_id)),
        Activity::MessageAbandoned { message_id, .. } => Some(("abandoned", message_id)),
        _ => None,
    });
    let expected = [("rejected", "rejected"), ("acked", "completed"), ("abandoned", "abandoned")];
    assert_eq!(on_record, expected.map(|(what, id)| (what, id.to_owned())));
}

#[test]
fn a_message_that_is_given_back_too_often_ends() {
    let hub = start(manual_clock().with_max_delivery_count(3));
    let mut connection = listener(&hub, C2D);
    with_feedback(&hub, "m1");
    for _ in 0..3 {
        let message = receive(&mut connection);
        connection.abandon(message.delivery).unwrap();
    }
    assert_eq!(events(&mut connection), []);
    assert_eq!(outcomes(&hub), [("m1".to_owned(), C2dResult::DeliveryCountExceeded)]);
}

#[test]
fn what_is_not_held_cannot_be_settled() {
    let hub = hub_with_manual_clock();
    let mut connection = listener(&hub, C2D);
    send(&hub, "m1");
    let first = receive(&mut connection).delivery;
    connection.complete(first).unwrap();
    assert_eq!(connection.complete(first), Err(LocalError::NotHeld), "it was settled");
    send(&hub, "m2");
    let old = receive(&mut connection).delivery;
    drop(connection);
    let mut connection = listener(&hub, C2D);
    let again = receive(&mut connection);
    assert!(again.redelivered);
    assert_eq!(connection.complete(old), Err(LocalError::NotHeld), "it came over another connection");
    assert_eq!(queue(&hub), ["m2"]);
    connection.complete(again.delivery).unwrap();
    assert_eq!(queue(&hub), [""; 0]);
}

#[test]
fn a_lock_ends_after_its_minute_and_the_message_comes_again() {
    let hub = hub_with_manual_clock();
    let (bell, waker) = Bell::new();
    let mut connection = hub.connect_local(login(&hub), &waker).unwrap();
    connection.subscribe(LocalFeature::CloudToDevice).unwrap();
    send(&hub, "m1");
    let first = receive(&mut connection).delivery;
    hub.advance_clock(Duration::from_secs(59));
    assert_eq!(events(&mut connection), []);
    bell.has_rung();
    hub.advance_clock(Duration::from_secs(1));
    assert!(bell.has_rung());
    assert_eq!(connection.complete(first), Err(LocalError::NotHeld), "its lock has ended");
    let again = receive(&mut connection);
    assert!(again.redelivered);
    connection.complete(again.delivery).unwrap();
    assert_eq!(outcomes(&hub), [("m1".to_owned(), C2dResult::Completed)]);
}

#[test]
fn a_disconnect_gives_back_what_is_held() {
    let hub = hub_with_manual_clock();
    let mut connection = listener(&hub, C2D);
    send(&hub, "m1");
    receive(&mut connection);
    connection.disconnect();
    let mut next = connect(&hub);
    assert!(receive(&mut next).redelivered);
    assert_eq!(hub.c2d_queue("dev")[0].delivery_count, 0);
}

#[test]
fn a_module_is_given_what_routes_bring_to_its_inputs() {
    let routes = [r#"FROM /messages/modules/source/outputs/out INTO BrokeredEndpoint("/modules/sink/inputs/in")"#];
    let hub = start(manual_clock().with_edge_routes("dev", routes));
    hub.create_device("dev").unwrap();
    let [mut source, mut sink] = ["source", "sink"].map(|module| {
        let token = hub.create_module("dev", module).unwrap().sas_token(DAY);
        hub.connect_local(LocalLogin::new(("dev", module)).token(token), Waker::noop()).unwrap()
    });
    sink.subscribe(LocalFeature::Inputs).unwrap();
    let message = LocalTelemetry::new("x").system("iothub-outputname", "out").system("message-id", "m-1");
    assert_eq!(source.send(message.property("a", "1")), Ok(None));
    let received = receive(&mut sink);
    assert_eq!((received.body.as_ref(), received.input.as_deref()), (&b"x"[..], Some("in")));
    assert_eq!(received.properties, [("a".to_owned(), Some("1".to_owned()))]);
    assert_eq!(received.system["iothub-connection-module-id"], "source");
    assert_eq!(received.system["message-id"], "m-1");
    sink.complete(received.delivery).unwrap();
    assert!(hub.input_queue(("dev", "sink")).is_empty());
    assert_eq!(hub.input_outcomes(("dev", "sink"))[0].result, C2dResult::Completed);
}
