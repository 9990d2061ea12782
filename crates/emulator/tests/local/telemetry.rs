//! Telemetry: the record is the same as over MQTT.

use std::task::Waker;

use iothub_emulator::{DisconnectReason, LocalError, LocalEvent, LocalTelemetry};

use crate::support::{c2d, hub_with_manual_clock};
use crate::{connect, events, login};

#[test]
fn a_message_is_recorded_as_if_it_had_come_over_mqtt() {
    let hub = hub_with_manual_clock();
    let mut over_mqtt = c2d::connect(&hub);
    let bag = "%24.mid=m-1&%24.ct=text%2Fplain&%24.cdid=forged&a=1&null&empty=&iothub-enqueuedtime=never&a=2";
    over_mqtt.publish(&format!("devices/dev/messages/events/{bag}"), b"body");
    over_mqtt.disconnect();
    let mut connection = connect(&hub);
    let message = LocalTelemetry::new("body")
        .system("content-type", "text/plain")
        .system("message-id", "m-1")
        .property("$.cdid", "forged")
        .property("a", "1")
        .property("null", None)
        .property("empty", "")
        .property("iothub-enqueuedtime", "never")
        .property("a", "2");
    assert_eq!(connection.send(message), Ok(Some(2)));
    let records = hub.telemetry("dev");
    assert_eq!(records.len(), 2);
    assert_eq!(records[1].connection, connection.id());
    let mut same = records[1].clone();
    (same.connection, same.sequence_number) = (records[0].connection, records[0].sequence_number);
    assert_eq!(same, records[0]);
}

#[test]
fn the_model_of_the_login_is_stamped() {
    let hub = hub_with_manual_clock();
    let mut connection = hub.connect_local(login(&hub).model_id("dtmi:test;1"), Waker::noop()).unwrap();
    connection.send(LocalTelemetry::new("x")).unwrap();
    assert_eq!(hub.telemetry("dev")[0].stamps["dt-dataschema"], "dtmi:test;1");
}

#[test]
fn names_that_mean_something_else_come_back_and_nothing_is_sent() {
    let hub = hub_with_manual_clock();
    let mut connection = connect(&hub);
    let unknown = connection.send(LocalTelemetry::new("x").system("$.mid", "m-1"));
    assert_eq!(unknown, Err(LocalError::UnknownSystemProperty { name: "$.mid".to_owned() }));
    let reserved = connection.send(LocalTelemetry::new("x").property("$.mid", "m-1"));
    assert_eq!(reserved, Err(LocalError::ReservedName { name: "$.mid".to_owned(), system: "message-id" }));
    assert!(hub.telemetry("dev").is_empty() && hub.connected("dev"));
}

#[test]
fn a_message_of_256_kib_is_taken_and_one_byte_more_ends_the_connection() {
    let hub = hub_with_manual_clock();
    let mut connection = connect(&hub);
    connection.send(LocalTelemetry::new(vec![0; 262_140]).property("a", "123")).unwrap();
    let why = DisconnectReason::MessageTooLarge { size: 262_145, limit: 262_144 };
    let refused = connection.send(LocalTelemetry::new(vec![0; 262_141]).property("a", "123"));
    assert_eq!(refused, Err(LocalError::Closed(why.clone())));
    assert_eq!(events(&mut connection), [LocalEvent::Closed(why)]);
    assert_eq!(hub.telemetry_count("dev"), 1);
}
