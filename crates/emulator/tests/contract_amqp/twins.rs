//! Twins (E37 to E39).

use iothub_emulator::{Activity, Config, OfflineHub};
use serde_json::{Value, json};

use crate::support::frame::{Frame, Link, Message, *};
use crate::support::value::{V, text};
use crate::support::{Peer, happened, world, world_with};

const REPORTED: &str = "/properties/reported";
const DESIRED: &str = "/notifications/twin/properties/desired";

fn ready(hub: &OfflineHub) -> Peer {
    let mut peer = Peer::of_device(hub);
    peer.attach_twin();
    peer
}

fn request(operation: &str, resource: Option<&str>, id: &str, body: Option<&str>) -> Message {
    let message = Message { data: body.iter().map(|body| body.as_bytes().to_vec()).collect(), ..Message::default() };
    let message = message.annotation("operation", text(operation)).property(CORRELATION_ID, text(id));
    resource.into_iter().fold(message, |message, resource| message.annotation("resource", text(resource)))
}

/// Asks, and gives the frame, the status and the message of the answer.
fn ask(peer: &mut Peer, request: &Message) -> (Frame, i32, Message) {
    peer.send(20, request);
    let (frame, message) = peer.message();
    let Some(V::Int(status)) = message.annotated("status") else { panic!("{message:?}") };
    assert_eq!(message.prop(CORRELATION_ID), request.prop(CORRELATION_ID));
    (frame, *status, message)
}

fn json_of(message: &Message) -> Value {
    serde_json::from_str(&message.body()).unwrap()
}

#[test]
fn a_e37_a_twin_is_got_with_a_space_an_empty_body_or_none() {
    let hub = world();
    hub.patch_desired("d", json!({"a": 1})).unwrap();
    let mut peer = ready(&hub);
    for body in [Some(" "), Some(""), None] {
        let (frame, status, message) = ask(&mut peer, &request("GET", None, "g", body));
        assert_eq!(status, 200);
        assert_eq!(frame.field(4), &V::Bool(true), "answers are settled");
        assert!(matches!(frame.field(2), V::Bin(tag) if tag.len() == 16));
        assert_eq!(json_of(&message), json!({"desired": {"a": 1, "$version": 2}, "reported": {"$version": 1}}));
    }
    assert_eq!(peer.all_of(DISPOSITION).len(), 3, "each request is accepted");
}

#[test]
fn a_e37_a_reported_patch_is_merged_and_answered_without_a_body() {
    let hub = world();
    let mut peer = ready(&hub);
    let (_, status, message) = ask(&mut peer, &request("PATCH", Some(REPORTED), "p", Some(r#"{"a":1}"#)));
    assert_eq!((status, message.annotated("version")), (204, Some(&V::Long(2))));
    assert!(message.data.is_empty() && message.value.is_none());
    assert_eq!(hub.twin("d").unwrap().reported, json!({"a": 1}));
}

#[test]
fn a_e37_the_status_of_a_reported_patch_is_a_setting() {
    let hub = world_with(Config::new().with_amqp_report_status(200));
    let mut peer = ready(&hub);
    assert_eq!(ask(&mut peer, &request("PATCH", Some(REPORTED), "p", Some("{}"))).1, 200);
}

#[test]
fn a_e37_put_and_delete_are_answered_without_a_body() {
    let hub = world();
    let mut peer = ready(&hub);
    for operation in ["PUT", "DELETE"] {
        let (_, status, message) = ask(&mut peer, &request(operation, Some(DESIRED), operation, Some(" ")));
        assert_eq!(status, 200);
        assert!(message.data.is_empty() && message.value.is_none());
    }
    let subscribed =
        |activity: &Activity| matches!(activity, Activity::DesiredSubscribed { subscribed: true, status: 200, .. });
    assert_eq!(happened(&hub, "d", subscribed), 1);
}

#[test]
fn a_e37_a_settled_request_is_answered_all_the_same() {
    let hub = world();
    let mut peer = ready(&hub);
    peer.send_as(20, 0, true, &request("GET", None, "g", None).encoded());
    assert!(peer.all_of(DISPOSITION).is_empty());
    assert_eq!(peer.message().1.annotated("status"), Some(&V::Int(200)));
}

#[test]
fn a_e37_without_the_answers_link_a_patch_is_merged_and_not_answered() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    peer.sender(20, "/devices/d/twin");
    peer.send(20, &request("PATCH", Some(REPORTED), "p", Some(r#"{"a":1}"#)));
    assert_eq!(hub.twin("d").unwrap().reported, json!({"a": 1}));
    assert!(peer.all_of(TRANSFER).is_empty());
}

#[test]
fn a_e38_an_unknown_operation_is_not_answered_or_with_400_as_set() {
    let unknown =
        [request("POST", None, "u", None), request("GET", Some("/x"), "u", None), request("", None, "u", None)];
    let hub = world();
    let mut peer = ready(&hub);
    for request in &unknown {
        peer.send(20, request);
    }
    assert!(peer.all_of(TRANSFER).is_empty());
    let hub = world_with(Config::new().with_amqp_answer_unknown_twin_operation(true));
    let mut peer = ready(&hub);
    unknown.iter().for_each(|request| assert_eq!(ask(&mut peer, request).1, 400));
}

#[test]
fn a_e38_a_patch_that_is_no_json_or_breaks_the_rules_gets_400_with_an_error_body() {
    let hub = world();
    let mut peer = ready(&hub);
    let large = json!({"a": "x".repeat(40_000)}).to_string();
    for body in ["{", "[]", r#"{"$x":1}"#, &large] {
        let (_, status, message) = ask(&mut peer, &request("PATCH", Some(REPORTED), "p", Some(body)));
        assert_eq!(status, 400, "{body:.20}");
        assert_eq!(json_of(&message)["errorCode"], 400_004);
    }
    assert_eq!(hub.twin("d").unwrap().reported, json!({}));
}

#[test]
fn a_e39_desired_changes_come_between_put_and_delete_only() {
    let hub = world();
    let mut peer = ready(&hub);
    hub.patch_desired("d", json!({"a": 1})).unwrap();
    assert!(peer.all_of(TRANSFER).is_empty());
    ask(&mut peer, &request("PUT", Some(DESIRED), "p", None));
    hub.patch_desired("d", json!({"a": 2, "b": null})).unwrap();
    let (frame, message) = peer.message();
    assert_eq!(frame.field(4), &V::Bool(true));
    assert_eq!(message.prop(CORRELATION_ID), None, "that is how it is told from an answer");
    assert_eq!(json_of(&message), json!({"a": 2, "b": null, "$version": 3}));
    ask(&mut peer, &request("DELETE", Some(DESIRED), "q", None));
    hub.patch_desired("d", json!({"a": 3})).unwrap();
    assert!(peer.all_of(TRANSFER).is_empty());
}

#[test]
fn a_e39_a_new_link_has_to_ask_again() {
    let hub = world();
    let mut peer = ready(&hub);
    ask(&mut peer, &request("PUT", Some(DESIRED), "p", None));
    peer.say(&detach(21));
    peer.find(DETACH);
    peer.attach(
        &Link::receiver(21, "/devices/d/twin").property("com.microsoft:channel-correlation-id", text("twin:x")),
    );
    peer.say(&credit(21, 0, 10));
    hub.patch_desired("d", json!({"a": 1})).unwrap();
    assert!(peer.all_of(TRANSFER).is_empty());
}

#[test]
fn a_e39_desired_changes_from_the_attach_on_are_a_setting() {
    let hub = world_with(Config::new().with_amqp_desired_on_attach(true));
    let mut peer = ready(&hub);
    hub.patch_desired("d", json!({"a": 1})).unwrap();
    assert_eq!(json_of(&peer.message().1), json!({"a": 1, "$version": 2}));
}
