//! Direct methods (E40 to E42).

use std::time::Duration;

use iothub_emulator::{Activity, MethodCall, MethodError};
use serde_json::json;

use crate::support::frame::{Link, Message, *};
use crate::support::value::{V, text};
use crate::support::{Peer, happened, world};

fn response(id: V, status: V, body: &[u8]) -> Message {
    Message::of(body).property(CORRELATION_ID, id).application("IoThub-status", status)
}

#[test]
fn a_e40_a_request_has_a_uuid_and_is_answered_by_it() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    peer.attach_methods();
    let call = hub.start_method("d", MethodCall::new("reboot").payload(json!({"delay": 5}))).unwrap();
    let (frame, request) = peer.message();
    assert_eq!(frame.field(4), &V::Bool(true), "requests are settled");
    let id = request.prop(CORRELATION_ID).cloned().unwrap();
    assert!(matches!(id, V::Uuid(_)), "{id:?}");
    assert_eq!(request.app("IoThub-methodname"), Some(&text("reboot")));
    assert_eq!(request.body(), r#"{"delay":5}"#);
    peer.send(30, &response(id, V::Int(201), br#"{"ok":true}"#));
    let result = call.try_result().unwrap().unwrap();
    assert_eq!((result.status, result.payload), (201, json!({"ok": true})));
    assert_eq!(peer.all_of(DISPOSITION).len(), 1, "the response is accepted");
}

#[test]
fn a_e40_an_empty_payload_is_a_data_section_without_bytes() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    peer.attach_methods();
    let _call = hub.start_method("d", MethodCall::new("m").raw_payload("")).unwrap();
    assert_eq!(peer.message().1.data, [Vec::<u8>::new()]);
}

#[test]
fn a_e40_a_wrong_id_is_ignored_and_a_response_by_its_text_is_taken() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    peer.attach_methods();
    let call = hub.start_method("d", MethodCall::new("m")).unwrap();
    let (_, request) = peer.message();
    let Some(V::Uuid(id)) = request.prop(CORRELATION_ID) else { panic!("{request:?}") };
    peer.send(30, &response(V::Uuid([9; 16]), V::Int(200), b"1"));
    peer.send(30, &Message::of(b"1").application("IoThub-status", V::Int(200)));
    assert!(call.try_result().is_none());
    // Node answers with the id as text.
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let as_text = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    peer.send(30, &response(text(&as_text), V::Int(200), b"1"));
    assert_eq!(call.try_result().unwrap().unwrap().payload, json!(1));
    let late = |activity: &Activity| matches!(activity, Activity::MethodAnswered { late: true, .. });
    assert_eq!(happened(&hub, "d", late), 1);
}

#[test]
fn a_e40_a_status_that_is_no_integer_or_a_payload_that_is_no_json_is_no_answer() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    peer.attach_methods();
    let call = hub.start_method("d", MethodCall::new("m")).unwrap();
    let id = peer.message().1.prop(CORRELATION_ID).cloned().unwrap();
    peer.send(30, &response(id.clone(), text("200"), b"1"));
    assert!(call.try_result().is_none());
    peer.send(30, &response(id, V::Int(200), b"no json"));
    assert!(matches!(call.try_result(), Some(Err(MethodError::BadResponse { .. }))));
}

#[test]
fn a_e41_without_links_the_device_is_not_online_and_without_an_answer_it_times_out() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    let refused = hub.start_method("d", MethodCall::new("m")).unwrap_err();
    assert_eq!(refused.code(), Some(404_103));
    peer.attach_methods();
    let call = hub.start_method("d", MethodCall::new("m").response_timeout(Duration::from_secs(5))).unwrap();
    hub.advance_clock(Duration::from_secs(5));
    assert_eq!(call.try_result().unwrap().unwrap_err().code(), Some(504_101));
}

#[test]
fn a_e41_links_that_come_within_the_connect_time_out_count() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    let call = hub.start_method("d", MethodCall::new("m").connect_timeout(Duration::from_secs(10))).unwrap();
    hub.advance_clock(Duration::from_secs(9));
    assert!(peer.all_of(TRANSFER).is_empty());
    peer.attach_methods();
    let id = peer.message().1.prop(CORRELATION_ID).cloned().unwrap();
    peer.send(30, &response(id, V::Int(200), b"null"));
    assert_eq!(call.try_result().unwrap().unwrap().status, 200);
}

#[test]
fn a_e42_without_the_link_for_responses_no_request_is_sent() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    peer.receiver(31, "/devices/d/methods/devicebound", 10);
    assert_eq!(hub.start_method("d", MethodCall::new("m")).unwrap_err().code(), Some(404_103));
    peer.attach(&Link::sender(30, "/devices/d/methods/devicebound"));
    let _call = hub.start_method("d", MethodCall::new("m")).unwrap();
    peer.message();
    peer.say(&detach(30));
    peer.find(DETACH);
    assert_eq!(hub.start_method("d", MethodCall::new("m")).unwrap_err().code(), Some(404_103));
}
