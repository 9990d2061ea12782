//! Messages from devices (E25 to E29).

use std::time::Duration;

use iothub_emulator::Fault;

use crate::support::frame::{Message, *};
use crate::support::value::{V, described, text};
use crate::support::{Peer, world};

const EVENTS: &str = "/devices/d/messages/events";

fn ready() -> (iothub_emulator::OfflineHub, Peer) {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    peer.sender(0, EVENTS);
    (hub, peer)
}

/// One message of a batch as the C SDK writes it: properties, application properties, annotations, data.
fn of_the_c_sdk(id: &str, body: &[u8]) -> Vec<u8> {
    let message = Message::of(body)
        .annotation("iothub-interface-id", text("urn:azureiot:Security:SecurityAgent:1"))
        .property(MESSAGE_ID, text(id))
        .application("k", text("v"));
    let [annotations, properties, application, data] = &message.sections()[..] else { panic!("four sections") };
    [&properties[..], application, annotations, data].concat()
}

fn batch(messages: &[Vec<u8>]) -> Message {
    Message { data: messages.to_vec(), ..Message::default() }
}

#[test]
fn a_e25_a_plain_message_is_stored_and_accepted_once() {
    let (hub, mut peer) = ready();
    let message = Message::of(b"{\"t\":1}")
        .annotation("dt-subject", text("thermostat"))
        .annotation("Diagnostic-Id", text("abc"))
        .annotation("Correlation-Context", text("creationtimeutc=1"))
        .property(MESSAGE_ID, text("mid"))
        .property(USER_ID, V::Bin(b"me".to_vec()))
        .property(TO, text("/devices/d/messages/events"))
        .property(CORRELATION_ID, V::Uuid([0x11; 16]))
        .property(CONTENT_TYPE, crate::support::value::sym("application/json"))
        .property(CONTENT_ENCODING, crate::support::value::sym("utf-8"))
        .property(EXPIRY, V::Timestamp(1_900_000_000_000))
        .application("k 1", text("v&1"))
        .application("number", V::Int(-5))
        .application("nothing", V::Null)
        .application("iothub-creation-time-utc", text("2026-01-01T00:00:00Z"));
    peer.accepted(0, &message);
    assert!(peer.all_of(DISPOSITION).is_empty());
    let record = &hub.telemetry("d")[0];
    assert_eq!(&record.body[..], b"{\"t\":1}");
    let own = [("k 1", Some("v&1")), ("number", Some("-5")), ("nothing", None)];
    assert_eq!(record.properties, own.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))));
    let system: Vec<_> = record.system.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("Correlation-Context", "creationtimeutc=1"),
        ("Diagnostic-Id", "abc"),
        ("absolute-expiry-time", "2030-03-17T17:46:40.000Z"),
        ("content-encoding", "utf-8"),
        ("content-type", "application/json"),
        ("correlation-id", "11111111-1111-1111-1111-111111111111"),
        ("dt-subject", "thermostat"),
        ("iothub-creation-time-utc", "2026-01-01T00:00:00Z"),
        ("message-id", "mid"),
        ("to", "/devices/d/messages/events"),
        ("user-id", "me"),
    ];
    assert_eq!(system, expected);
}

#[test]
fn a_e25_a_batch_is_its_messages_with_sections_in_any_order_and_one_outcome() {
    let (hub, mut peer) = ready();
    let messages: Vec<_> = ["1", "2", "3"].map(|id| of_the_c_sdk(id, id.as_bytes())).to_vec();
    let id = peer.send_as(0, BATCH, false, &batch(&messages).encoded());
    assert_eq!(peer.outcome(), (id, ACCEPTED, None));
    assert!(peer.all_of(DISPOSITION).is_empty());
    let stored = hub.telemetry("d");
    let ids: Vec<_> = stored.iter().map(|record| record.system["message-id"].as_str()).collect();
    assert_eq!(ids, ["1", "2", "3"]);
    assert_eq!(stored[1].property("k"), Some(Some("v")));
    assert_eq!(stored[1].system["iothub-interface-id"], "urn:azureiot:Security:SecurityAgent:1");
}

#[test]
fn a_e25_bodies_may_be_empty_missing_or_a_text_value() {
    let (hub, mut peer) = ready();
    for message in [Message::of(b""), Message::default(), Message::value(text("")), Message::value(V::Null)] {
        peer.accepted(0, &message);
    }
    peer.accepted(0, &Message::value(text("text")));
    peer.accepted(0, &Message::value(V::Bin(b"bytes".to_vec())));
    let bodies: Vec<_> = hub.telemetry("d").iter().map(|record| record.body.clone()).collect();
    assert_eq!(bodies, ["", "", "", "", "text", "bytes"]);
}

#[test]
fn a_e25_what_is_no_message_is_rejected() {
    let (hub, mut peer) = ready();
    let sequence = described(0x76, V::List(vec![V::Null])).encoded();
    for (format, payload, condition) in [
        (0, &b"no section"[..], "amqp:decode-error"),
        (0, &described(0x77, V::Int(1)).encoded(), "com.microsoft:argument-error"),
        (0, &sequence, "com.microsoft:argument-error"),
        (7, &Message::of(b"x").encoded(), "amqp:not-implemented"),
        (BATCH, &batch(&[Message::of(b"x").encoded(), b"bad".to_vec()]).encoded(), "amqp:decode-error"),
    ] {
        assert_eq!(peer.rejected(0, format, payload), condition, "{payload:02x?}");
    }
    assert_eq!(hub.telemetry_count("d"), 0);
}

#[test]
fn a_e26_a_message_over_256_kib_is_rejected_and_nothing_of_its_batch_is_stored() {
    let (hub, mut peer) = ready();
    let most = vec![b'x'; 262_144];
    peer.accepted(0, &Message::of(&most));
    let over = Message::of(&most).application("k", text(""));
    assert_eq!(peer.rejected(0, 0, &over.encoded()), "amqp:link:message-size-exceeded");
    let mixed = batch(&[Message::of(b"small").encoded(), over.encoded()]);
    assert_eq!(peer.rejected(0, BATCH, &mixed.encoded()), "amqp:link:message-size-exceeded");
    assert_eq!(hub.telemetry_count("d"), 1);
}

#[test]
fn a_e26_a_transfer_over_the_links_limit_detaches() {
    let (_hub, mut peer) = ready();
    peer.send(0, &Message::of(&vec![0; 1_048_577]));
    assert_eq!(peer.find(DETACH).condition(2).as_deref(), Some("amqp:link:message-size-exceeded"));
}

#[test]
fn a_e27_throttling_quota_and_wrong_credentials_reject_while_they_last() {
    let lasts = Duration::from_secs(20);
    for (fault, condition) in [
        (Fault::Throttle { lasts }, "com.microsoft:device-container-throttled"),
        (Fault::Quota { lasts }, "amqp:resource-limit-exceeded"),
        (Fault::AuthError { lasts }, "amqp:unauthorized-access"),
    ] {
        let (hub, mut peer) = ready();
        hub.inject_for("d", fault);
        assert_eq!(peer.rejected(0, 0, &Message::of(b"x").encoded()), condition);
        hub.advance_clock(lasts);
        peer.accepted(0, &Message::of(b"x"));
        assert_eq!(hub.telemetry_count("d"), 1);
    }
}

#[test]
fn a_e28_the_hub_stamps_who_sent_it_when_and_how_and_no_device_can_forge_it() {
    let (hub, mut peer) = ready();
    let forged = Message::of(b"x").application("iothub-connection-device-id", text("other"));
    peer.accepted(0, &forged.application("iothub-outputname", text("out")));
    let record = &hub.telemetry("d")[0];
    assert_eq!(record.stamps["iothub-connection-device-id"], "d");
    assert_eq!(record.stamps["iothub-connection-auth-method"], r#"{"scope":"device","type":"sas","issuer":"iothub"}"#);
    assert_eq!(record.stamps["iothub-message-source"], "Telemetry");
    assert_eq!(record.stamps["iothub-connection-auth-generation-id"], hub.device("d").unwrap().generation_id);
    assert!(record.stamps.contains_key("iothub-enqueuedtime"));
    assert_eq!(record.system["iothub-outputname"], "out");
    assert_eq!(record.property("iothub-connection-device-id"), None);
}

#[test]
fn a_e29_settled_transfers_get_no_outcome_and_order_is_kept() {
    let (hub, mut peer) = ready();
    for index in 0..300 {
        peer.send_as(0, 0, index % 2 == 0, &Message::of(index.to_string().as_bytes()).encoded());
    }
    assert_eq!(peer.all_of(DISPOSITION).len(), 150);
    let bodies: Vec<_> = hub.telemetry("d").iter().map(|record| record.body.clone()).collect();
    assert_eq!(bodies, (0..300).map(|index| index.to_string()).collect::<Vec<_>>());
}
