//! Device-to-cloud messages: what is sent is what is stored, in order, within the limits.

use std::time::{Duration, SystemTime};

use iothub_core::limits::MAX_TELEMETRY_SIZE;
use iothub_core::{ClientOption, Feature, Message, RefusedReason, SendStatus, SystemProperty, Unsupported};
use iothub_emulator::{Fault, TelemetryRecord};

use crate::bench::{Bench, DEVICE};
use crate::program::Program;
use crate::record;
use crate::subject::{Settings, Subject};

/// Sends one message, and gives what the hub has stored of it.
fn store(bench: &Bench<'_>, message: Message) -> TelemetryRecord {
    let mut program = bench.start();
    program.deliver(message);
    assert_eq!((program.stats().delivered, program.stats().resent), (1, 0));
    program.finish();
    let mut stored = bench.telemetry(DEVICE);
    assert_eq!(stored.len(), 1);
    stored.remove(0)
}

fn with_properties<'a>(properties: impl IntoIterator<Item = (&'a str, &'a str)>) -> Message {
    properties.into_iter().fold(Message::new("with properties"), |message, (name, value)| {
        message.with_property(name, value).expect("the property is allowed")
    })
}

/// Sends one message with these properties, and compares with what the hub has stored.
fn properties_arrive(subject: &dyn Subject, properties: &[(&str, &str)]) {
    let record = store(&Bench::new(subject), with_properties(properties.iter().copied()));
    let stored: Vec<_> =
        record.properties.iter().map(|(name, value)| (name.as_str(), value.as_deref().expect("a value"))).collect();
    assert_eq!(stored, properties);
    assert!(record.system.is_empty(), "an application property became a system property: {:?}", record.system);
}

pub(crate) fn a_payload_arrives_byte_for_byte(subject: &dyn Subject) {
    let every_byte: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    let record = store(&Bench::new(subject), Message::new(every_byte.clone()));
    assert_eq!(record.body, every_byte);
    assert!(record.properties.is_empty() && record.system.is_empty(), "{record:?}");
}

pub(crate) fn an_empty_payload_arrives(subject: &dyn Subject) {
    let record = store(&Bench::new(subject), Message::new(""));
    assert!(record.body.is_empty());
}

pub(crate) fn properties_keep_their_order_and_their_empty_values(subject: &dyn Subject) {
    properties_arrive(subject, &[("zebra", "1"), ("empty", ""), ("apple", "2"), ("Zebra", "3"), ("also empty", "")]);
}

pub(crate) fn every_printable_character_survives_in_names_and_values(subject: &dyn Subject) {
    let each = (' '..='~').map(|c| (format!("{c}{c}"), format!("{c}value{c}")));
    let all = (' '..='~').collect::<String>();
    let properties: Vec<_> = each.chain([(all.clone(), all)]).collect();
    properties_arrive(subject, &properties.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>());
}

pub(crate) fn separators_and_escapes_in_properties_are_data(subject: &dyn Subject) {
    let properties = [
        ("a b&c=d", "e&f=g"),
        ("?", "/#+"),
        ("%41", "100%"),
        ("%", "%2"),
        ("%24.mid", "not an id"),
        ("a+b", "+"),
        ("/", "/"),
        ("=", "="),
        ("$", "$.mid"),
    ];
    properties_arrive(subject, &properties);
}

pub(crate) fn system_properties_arrive_under_their_names(subject: &dyn Subject) {
    let message = Message::new("{}")
        .with_message_id("message-1")
        .and_then(|message| message.with_correlation_id("correlation-1"))
        .and_then(|message| message.with_content_type("application/json; charset=\"utf-8\""))
        .and_then(|message| message.with_content_encoding("utf-8"))
        .and_then(|message| message.with_system(SystemProperty::CreationTime, "2026-11-21T08:30:00.125Z"))
        .and_then(|message| message.with_property("application", "property"))
        .expect("the properties are allowed");
    let record = store(&Bench::new(subject), message);
    let system: Vec<_> = record.system.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("content-encoding", "utf-8"),
        ("content-type", "application/json; charset=\"utf-8\""),
        ("correlation-id", "correlation-1"),
        ("iothub-creation-time-utc", "2026-11-21T08:30:00.125Z"),
        ("message-id", "message-1"),
    ];
    assert_eq!(system, expected);
    assert_eq!(record.properties, [("application".to_owned(), Some("property".to_owned()))]);
}

pub(crate) fn ids_take_every_character_that_the_hub_allows_up_to_their_limit(subject: &dyn Subject) {
    let characters = "abcXYZ019-:.+%_#*?!(),=@;$'";
    let id: String = characters.chars().cycle().take(128).collect();
    let message = Message::new("x").with_message_id(&id).and_then(|message| message.with_correlation_id(characters));
    let record = store(&Bench::new(subject), message.expect("the ids are allowed"));
    assert_eq!(record.system["message-id"], id);
    assert_eq!(record.system["correlation-id"], characters);
}

pub(crate) fn the_hub_knows_who_sent_a_message(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let before = bench.now();
    let record = store(&bench, Message::new("mine"));
    let device = bench.device(DEVICE).expect("it is registered");
    assert_eq!(record.device_id, DEVICE);
    assert_eq!(record.stamps["iothub-connection-device-id"], DEVICE);
    assert_eq!(record.stamps["iothub-connection-auth-generation-id"], device.generation_id);
    assert!(record.stamps["iothub-connection-auth-method"].contains("\"scope\":\"device\""), "{:?}", record.stamps);
    assert!(record.enqueued >= before && record.enqueued <= bench.now());
}

pub(crate) fn a_component_a_trace_and_a_time_arrive_with_a_message(subject: &dyn Subject) {
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let message = Message::new("m").with_creation_time(since).with_component_name("thermostat 1");
    let message = message.and_then(|message| message.with_diagnostics("a1b2c3d4", since)).expect("it is allowed");
    let record = store(&Bench::new(subject), message);
    assert_eq!(record.system["dt-subject"], "thermostat 1");
    assert_eq!(record.system["iothub-creation-time-utc"], "2023-11-14T22:13:20Z");
    assert_eq!(record.system["Diagnostic-Id"], "a1b2c3d4");
    assert_eq!(record.system["Correlation-Context"], "creationtimeutc=1700000000");
}

pub(crate) fn a_security_message_arrives_as_one(subject: &dyn Subject) {
    let record = store(&Bench::new(subject), Message::new("{}").as_security_message());
    assert_eq!(record.system["iothub-interface-id"], "urn:azureiot:Security:SecurityAgent:1");
    assert_eq!(record.system["content-type"], "application/json");
}

pub(crate) fn a_sample_of_the_messages_is_marked_for_tracing(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.set_option(ClientOption::DiagnosticSampling { percent: 25 }).expect("it is in range");
    let ids: Vec<_> = (0..9).map(|n| program.send(format!("m{n}"))).collect();
    program.until_confirmed(&ids);
    let marked = bench.telemetry(DEVICE).into_iter().map(|record| record.system.contains_key("Diagnostic-Id"));
    assert_eq!(marked.collect::<Vec<_>>(), [true, false, false, false, true, false, false, false, true]);
    program.finish();
}

pub(crate) fn an_output_of_a_device_comes_back(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let message = Message::new("m").with_output_name("alerts").expect("it is a name");
    let refused = program.send_event(message.clone()).expect_err("a device has no outputs");
    assert_eq!(refused.value, message);
    program.round_trip();
    assert_eq!(record::stored(&bench), ["round trip 1"]);
    program.finish();
}

pub(crate) fn five_hundred_messages_arrive_in_the_order_of_sending(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let bodies: Vec<_> = (0..500).map(|n| format!("message {n}")).collect();
    let ids: Vec<_> = bodies.iter().map(|body| program.send(body.clone())).collect();
    program.until_confirmed(&ids);
    let confirmed: Vec<_> = program.confirmations.iter().map(|(id, outcome)| (*id, outcome.is_ok())).collect();
    assert_eq!(confirmed, ids.iter().map(|id| (*id, true)).collect::<Vec<_>>());
    assert_eq!(record::stored(&bench), bodies);
    program.finish();
}

/// A message of this size by the hub's rule: payload, system property values, application property names and values.
fn message_of(size: usize) -> Message {
    let counted = "application/json".len() + "name".len() + "value".len();
    let message = Message::new(vec![0xA5; size - counted]).with_content_type("application/json");
    message.and_then(|message| message.with_property("name", "value")).expect("the properties are allowed")
}

pub(crate) fn a_message_of_exactly_the_limit_arrives(subject: &dyn Subject) {
    let message = message_of(MAX_TELEMETRY_SIZE);
    assert_eq!(message.size(), 262_144);
    let body = message.payload().clone();
    let record = store(&Bench::new(subject), message);
    assert!(record.body == body, "the payload of {} bytes arrived as {} bytes", body.len(), record.body.len());
    assert_eq!(record.property("name"), Some(Some("value")));
}

pub(crate) fn a_message_one_byte_over_the_limit_comes_back(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let message = message_of(MAX_TELEMETRY_SIZE + 1);
    let refused = program.send_event(message.clone()).expect_err("it is too large");
    let unsupported = Unsupported::MessageTooLarge { size: 262_145, limit: 262_144 };
    assert_eq!(refused.reason, RefusedReason::Unsupported(unsupported));
    assert!(refused.value == message, "another message came back");
    program.round_trip();
    assert_eq!(program.stats().accepted, 1);
    assert_eq!(record::stored(&bench), ["round trip 1"]);
    assert_eq!(record::connections(&bench), 1);
    program.finish();
}

/// MQTT carries properties in the topic, 65,535 bytes at most; other transports need not have such a limit.
pub(crate) fn properties_of_a_hundred_kilobytes_arrive_or_come_back(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let long = "long value ".repeat(10_000);
    let message = with_properties([("long", long.as_str())]);
    match program.send_event_tracked(message.clone()) {
        Ok(id) => program.until_confirmed(&[id]),
        Err(refused) => {
            let expected = matches!(refused.reason, RefusedReason::Unsupported(Unsupported::TopicTooLong { .. }));
            assert!(expected, "refused, but not for its length: {}", refused.reason);
            assert!(refused.value == message, "another message came back");
            program.deliver(message_without_its_properties(&refused.value));
        }
    }
    let stored = bench.telemetry(DEVICE);
    assert_eq!(stored.len(), 1);
    assert!(stored[0].properties.iter().all(|(_, value)| value.as_deref() == Some(long.as_str())));
    assert_eq!(record::connections(&bench), 1);
    program.finish();
}

fn message_without_its_properties(message: &Message) -> Message {
    Message::new(message.payload().clone())
}

pub(crate) fn properties_of_sixty_thousand_characters_arrive(subject: &dyn Subject) {
    let long = "long-value".repeat(6_000);
    properties_arrive(subject, &[("long", &long)]);
}

pub(crate) fn a_thousand_messages_are_in_flight_at_once(subject: &dyn Subject) {
    let bench = Bench::with_still_clock(subject);
    let late = Duration::from_secs(10);
    if !bench.can_inject(Fault::DelayPubacks { count: 1000, by: late }) {
        return;
    }
    let settings = Settings { max_in_flight: Some(1000), ..Settings::default() };
    let mut program = bench.start_with(settings, |builder| builder);
    let ids: Vec<_> = (0..1000).map(|n| program.send(format!("{n}"))).collect();
    program.until_stored(1000);
    assert_eq!(program.stats().delivered, 0, "the hub has acknowledged nothing yet");
    bench.advance_clock(late);
    program.until_confirmed(&ids);
    assert_eq!((program.stats().delivered, program.stats().resent), (1000, 0));
    assert_eq!(record::stored(&bench), (0..1000).map(|n| n.to_string()).collect::<Vec<_>>());
    program.finish();
}

pub(crate) fn no_more_messages_are_in_flight_than_the_window_holds(subject: &dyn Subject) {
    let bench = Bench::with_still_clock(subject);
    let late = Duration::from_secs(10);
    if !bench.can_inject(Fault::DelayPubacks { count: 10, by: late }) {
        return;
    }
    let settings = Settings { max_in_flight: Some(10), ..Settings::default() };
    let mut program = bench.start_with(settings, |builder| builder);
    program.subscribe(Feature::CloudToDevice).expect("the transport has messages");
    let ids: Vec<_> = (0..50).map(|n| program.send(format!("{n}"))).collect();
    program.until_stored(10);
    // A full telemetry lane delays no other.
    program.round_trip_from_hub();
    assert_eq!(record::stored(&bench).len(), 10);
    bench.advance_clock(late);
    program.until_confirmed(&ids);
    assert_eq!(record::stored(&bench), (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
    program.finish();
}

fn is_busy(program: &Program) -> bool {
    program.send_status() == SendStatus::Busy
}

pub(crate) fn the_queue_is_bounded_in_messages(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start_with(Settings::default(), |builder| builder.max_queued_messages(3));
    for body in ["a", "b", "c"] {
        program.send_event(body).expect("there is room");
    }
    let refused = program.send_event("d").expect_err("the queue is full");
    assert_eq!(refused.reason, RefusedReason::TooManyMessages { limit: 3 });
    program.until("the queue is empty", |program| !is_busy(program));
    program.send_event(refused.value).expect("there is room again");
    program.until("the queue is empty", |program| !is_busy(program));
    assert_eq!((program.stats().accepted, program.stats().delivered), (4, 4));
    assert_eq!(record::stored(&bench), ["a", "b", "c", "d"]);
    program.finish();
}

pub(crate) fn the_queue_is_bounded_in_bytes(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start_with(Settings::default(), |builder| builder.max_queued_bytes(MAX_TELEMETRY_SIZE));
    program.send_event(vec![1; 200_000]).expect("there is room");
    let refused = program.send_event(vec![2; 62_145]).expect_err("one byte too many");
    assert_eq!(refused.reason, RefusedReason::TooManyBytes { size: 62_145, limit: 262_144 });
    program.send_event(vec![3; 62_144]).expect("it just fits");
    program.until("the queue is empty", |program| !is_busy(program));
    program.send_event(refused.value).expect("there is room again");
    program.until("the queue is empty", |program| !is_busy(program));
    let sizes: Vec<_> = bench.telemetry(DEVICE).iter().map(|record| (record.body[0], record.body.len())).collect();
    assert_eq!(sizes, [(1, 200_000), (3, 62_144), (2, 62_145)]);
    program.finish();
}

pub(crate) fn messages_sent_before_the_first_connection_arrive_in_order(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let ids: Vec<_> = ["a", "b", "c"].into_iter().map(|body| program.send(body)).collect();
    assert!(bench.activity(DEVICE).is_empty(), "something was on the wire before do_work");
    program.until_confirmed(&ids);
    assert_eq!(record::stored(&bench), ["a", "b", "c"]);
    program.finish();
}

pub(crate) fn sending_is_busy_from_acceptance_to_outcome(subject: &dyn Subject) {
    let bench = Bench::with_still_clock(subject);
    let late = Duration::from_secs(10);
    if !bench.can_inject(Fault::DelayPubacks { count: 1, by: late }) {
        return;
    }
    let mut program = bench.start();
    assert!(!is_busy(&program));
    program.send_event("a").expect("there is room");
    assert!(is_busy(&program));
    program.until_stored(1);
    assert!(is_busy(&program), "stored, but not yet confirmed");
    bench.advance_clock(late);
    program.until("the outcome is there", |program| !is_busy(program));
    assert_eq!(record::stored(&bench), ["a"]);
    program.finish();
}
