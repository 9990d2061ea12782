//! The event stream (E28, E45).

use std::collections::BTreeMap;
use std::time::Duration;

use iothub_emulator::{Config, OfflineHub};

use crate::support::frame::{Link, Message, *};
use crate::support::value::{V, composite, sym, text};
use crate::support::{HUB, Peer, add_device, millis, selector, token, world, world_with};

/// A hub with two consumer groups, and 40 messages from eight devices, a second apart.
fn filled() -> OfflineHub {
    let hub = world_with(Config::new().with_consumer_group("second"));
    for index in 0..8 {
        add_device(&hub, &format!("device-{index}"));
    }
    let mut peer = Peer::open(&hub);
    peer.attach_cbs();
    for index in 0..8 {
        let id = format!("device-{index}");
        peer.put_token(&format!("hub.test/devices/{id}"), &token(&hub, &id));
        peer.sender(index, &format!("/devices/{id}/messages/events"));
    }
    for index in 0..40 {
        let message = Message::of(index.to_string().as_bytes())
            .property(MESSAGE_ID, text(&index.to_string()))
            .property(CONTENT_TYPE, sym("text/plain"))
            .application("k", text("v"));
        peer.accepted(index % 8, &message);
        hub.advance_clock(Duration::from_secs(1));
    }
    hub
}

fn address(group: &str, partition: usize) -> String {
    format!("/messages/events/ConsumerGroups/{group}/Partitions/{partition}")
}

fn reader(handle: u32, address: &str, filter: Option<&str>) -> Link {
    let mut link = Link::receiver(handle, address);
    if let Some(filter) = filter {
        let mut fields = vec![V::Null; 8];
        fields[0] = text(address);
        fields[7] = selector(filter);
        link.source = composite(0x28, fields);
    }
    link
}

/// Reads everything there is in all partitions: the numbers in the bodies, in the order of each partition.
fn read(peer: &mut Peer, group: &str, filter: Option<&str>) -> BTreeMap<usize, Vec<usize>> {
    let mut found = BTreeMap::new();
    for partition in 0..4 {
        peer.attach(&reader(partition as u32, &address(group, partition), filter));
        peer.say(&credit(partition as u32, 0, 1000));
        let messages = peer.all_of(TRANSFER).into_iter().map(|frame| Message::decode(&frame.payload));
        found.insert(partition, messages.map(|message| message.body().parse().unwrap()).collect());
        peer.say(&detach(partition as u32));
        peer.find(DETACH);
    }
    found
}

fn flat(found: &BTreeMap<usize, Vec<usize>>) -> Vec<usize> {
    let mut all: Vec<usize> = found.values().flatten().copied().collect();
    all.sort_unstable();
    all
}

#[test]
fn a_e45_every_message_is_read_again_by_every_group_in_the_order_of_its_partition() {
    let hub = filled();
    let mut peer = Peer::of_service(&hub);
    let first = read(&mut peer, "$Default", None);
    assert_eq!(flat(&first), (0..40).collect::<Vec<_>>());
    assert!(first.values().all(|partition| partition.is_sorted()));
    assert!(first.values().filter(|partition| !partition.is_empty()).count() > 1, "{first:?}");
    assert_eq!(read(&mut peer, "SECOND", None), first);
    assert_eq!(read(&mut peer, "$default", None), first);
}

#[test]
fn a_e45_filters_choose_by_time_offset_and_sequence_number() {
    let hub = filled();
    let mut peer = Peer::of_service(&hub);
    // Messages are one second apart, and numbered from 1.
    let moment = 1_800_000_010_000_i64;
    for (filter, first) in [
        (format!("amqp.annotation.x-opt-enqueuedtimeutc > {moment}"), 11),
        (format!("amqp.annotation.x-opt-enqueued-time > '{moment}'"), 11),
        (format!("amqp.annotation.x-opt-enqueued-time >= '{moment}'"), 10),
        ("amqp.annotation.x-opt-offset > '-1'".to_owned(), 0),
        ("amqp.annotation.x-opt-offset > '30'".to_owned(), 30),
        ("amqp.annotation.x-opt-sequence-number > '30'".to_owned(), 30),
        ("amqp.annotation.x-opt-sequence-number >= '30'".to_owned(), 29),
        ("amqp.annotation.x-opt-offset > '@latest'".to_owned(), 40),
    ] {
        let found = read(&mut peer, "$Default", Some(&filter));
        assert_eq!(flat(&found), (first..40).collect::<Vec<_>>(), "{filter}");
    }
}

#[test]
fn a_e45_new_messages_come_as_they_are_stored() {
    let hub = world();
    let mut peer = Peer::of_service(&hub);
    for partition in 0..4 {
        peer.attach(&reader(partition, &address("$Default", partition as usize), None));
        peer.say(&credit(partition, 0, 10));
    }
    let mut device = Peer::of_device(&hub);
    device.sender(0, "/devices/d/messages/events");
    device.accepted(0, &Message::of(b"now"));
    assert_eq!(peer.message().1.body(), "now");
}

#[test]
fn a_e28_a_stored_message_is_shown_with_properties_and_annotations() {
    let hub = world();
    let mut device = Peer::of_device(&hub);
    device.sender(0, "/devices/d/messages/events");
    let sent = Message::of(b"body")
        .annotation("dt-subject", text("part"))
        .property(MESSAGE_ID, text("m"))
        .property(CORRELATION_ID, text("c"))
        .property(CONTENT_TYPE, sym("application/json"))
        .property(CONTENT_ENCODING, sym("utf-8"))
        .application("k", text("v"))
        .application("iothub-creation-time-utc", text("2026-01-01T00:00:00Z"));
    device.accepted(0, &sent);
    let mut peer = Peer::of_service(&hub);
    for partition in 0..4 {
        peer.attach(&reader(partition, &address("$Default", partition as usize), None));
        peer.say(&credit(partition, 0, 10));
    }
    let (frame, event) = peer.message();
    assert_ne!(frame.field(4), &V::Bool(true));
    for (name, value) in [
        ("x-opt-sequence-number", V::Long(1)),
        ("x-opt-offset", text("1")),
        ("x-opt-enqueued-time", V::Timestamp(millis(hub.now()))),
        ("x-opt-partition-key", text("d")),
        ("iothub-connection-device-id", text("d")),
        ("iothub-connection-auth-method", text(r#"{"scope":"device","type":"sas","issuer":"iothub"}"#)),
        ("iothub-connection-auth-generation-id", text(&hub.device("d").unwrap().generation_id)),
        ("iothub-enqueuedtime", V::Timestamp(millis(hub.now()))),
        ("iothub-message-source", text("Telemetry")),
        ("dt-subject", text("part")),
    ] {
        assert_eq!(event.annotated(name), Some(&value), "{name}");
    }
    assert_eq!(event.prop(MESSAGE_ID), Some(&text("m")));
    assert_eq!(event.prop(CORRELATION_ID), Some(&text("c")));
    assert_eq!(event.prop(TO), Some(&text("/devices/d/messages/events")));
    assert_eq!(event.prop(CONTENT_TYPE), Some(&sym("application/json")));
    assert_eq!(event.app("k"), Some(&text("v")));
    assert_eq!(event.app("iothub-creation-time-utc"), Some(&text("2026-01-01T00:00:00Z")));
    assert_eq!(event.body(), "body");
}

#[test]
fn a_e45_a_partition_or_group_that_does_not_exist_is_not_found() {
    let hub = world();
    let mut peer = Peer::of_service(&hub);
    for (group, partition) in [("$Default", 4), ("third", 0)] {
        assert_eq!(peer.refused(&reader(0, &address(group, partition), None)), "amqp:not-found");
    }
    assert_eq!(peer.refused(&reader(0, &address("$Default", 0), Some("x = 1"))), "amqp:invalid-field");
}

#[test]
fn a_e45_the_right_to_connect_as_a_service_is_needed() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    assert_eq!(peer.refused(&reader(0, &address("$Default", 0), None)), "amqp:unauthorized-access");
    assert_eq!(peer.refused(&Link::sender(0, "$management")), "amqp:unauthorized-access");
}

#[test]
fn a_e45_a_reader_with_a_higher_epoch_takes_over() {
    let hub = world();
    let epoch = |handle: u32, epoch: i64| {
        reader(handle, &address("$Default", 0), None).property("com.microsoft:epoch", V::Long(epoch))
    };
    let mut older = Peer::of_service(&hub);
    older.attach(&epoch(0, 5));
    assert!(older.all_of(DETACH).is_empty());
    let mut newer = Peer::of_service(&hub);
    assert_eq!(newer.refused(&epoch(0, 4)), "amqp:link:stolen");
    assert_eq!(newer.refused(&reader(0, &address("$Default", 0), None)), "amqp:link:stolen");
    newer.attach(&epoch(0, 5));
    assert_eq!(older.find(DETACH).condition(2).as_deref(), Some("amqp:link:stolen"));
    newer.peer_closed();
    older.say(&detach(0));
    older.attach(&epoch(0, 1));
    assert!(older.all_of(DETACH).is_empty());
}

#[test]
fn a_e45_management_tells_of_the_stream_and_its_partitions() {
    let hub = filled();
    let mut peer = Peer::of_service(&hub);
    peer.sender(0, "$management");
    peer.receiver(1, "$management", 100);
    let mut ask = |kind: &str, name: &str, partition: Option<&str>| {
        let request = Message::default()
            .property(MESSAGE_ID, text("q"))
            .application("operation", text("READ"))
            .application("name", text(name))
            .application("type", text(kind));
        let request = partition.into_iter().fold(request, |request, id| request.application("partition", text(id)));
        peer.send(0, &request);
        let (_, reply) = peer.message();
        assert_eq!(reply.prop(CORRELATION_ID), Some(&text("q")));
        let Some(V::Int(status)) = reply.app("status-code").cloned() else { panic!("{reply:?}") };
        (status, reply.value)
    };
    let (status, facts) = ask("com.microsoft:eventhub", "iothub-ehub-hub", None);
    let facts = facts.unwrap();
    assert_eq!(status, 200);
    assert_eq!(facts.get("partition_count"), Some(&V::Int(4)));
    assert_eq!(facts.get("partition_ids"), Some(&V::Array(["0", "1", "2", "3"].map(text).to_vec())));
    let mut numbers = Vec::new();
    for partition in ["0", "1", "2", "3"] {
        let (status, facts) = ask("com.microsoft:partition", "iothub-ehub-hub", Some(partition));
        let facts = facts.unwrap();
        assert_eq!((status, facts.get("partition")), (200, Some(&text(partition))));
        let Some(V::Long(last)) = facts.get("last_enqueued_sequence_number") else { panic!("{facts:?}") };
        assert_eq!(facts.get("is_partition_empty"), Some(&V::Bool(*last == -1)));
        numbers.push(*last);
    }
    assert_eq!(numbers.iter().max(), Some(&40));
    assert_eq!(ask("com.microsoft:eventhub", "another", None).0, 404);
    assert_eq!(ask("com.microsoft:partition", "iothub-ehub-hub", Some("4")).0, 404);
    assert_eq!(ask("com.microsoft:nothing", "iothub-ehub-hub", None).0, 400);
}

#[test]
fn a_e45_the_streams_own_address_and_audience_are_served() {
    let hub = world();
    let mut peer = Peer::open(&hub);
    peer.attach_cbs();
    let token = hub.policy_token("iothubowner", crate::support::HOUR).unwrap();
    let name = "sb://hub.test/iothub-ehub-hub/ConsumerGroups/$Default/Partitions/0";
    assert_eq!(peer.put_token(name, &token), 200);
    peer.attach(&reader(0, "iothub-ehub-hub/ConsumerGroups/$Default/Partitions/0", None));
    peer.attach(&reader(1, "amqps://hub.test/iothub-ehub-hub/ConsumerGroups/$Default/Partitions/1", None));
    assert!(peer.all_of(DETACH).is_empty());
    assert!(hub.event_stream_connection_string().starts_with(&format!("Endpoint=sb://{HUB}/;")));
}

#[test]
fn a_e45_readers_can_be_redirected() {
    let hub = world_with(Config::new().with_event_redirect("events.test:1234"));
    let mut peer = Peer::of_service(&hub);
    peer.attach(&reader(0, &address("$Default", 2), None));
    let detach = peer.find(DETACH);
    assert_eq!(detach.condition(2).as_deref(), Some("amqp:link:redirect"));
    let info = &detach.field(2).fields().1[2];
    assert_eq!(info.get("hostname"), Some(&text("events.test")));
    assert_eq!(info.get("network-host"), Some(&text("events.test")));
    assert_eq!(info.get("port"), Some(&V::Int(1234)));
    let there = "amqps://events.test:1234/iothub-ehub-hub/ConsumerGroups/$Default/Partitions/2";
    assert_eq!(info.get("address"), Some(&text(there)));
}
