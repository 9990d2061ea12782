//! What a twin may hold, and the errors of the rest (E32).

use iothub_emulator::{Fault, Hub, HubError, TwinReplyFault};
use serde_json::{Value, json};

use crate::support::c2d::connect;
use crate::support::peer::Peer;
use crate::support::twin::{RES, get, json, listener, reply, report};
use crate::support::{hub_with_manual_clock, manual_clock, start};

/// Reports and gives the status of the reply and its body.
fn status(peer: &mut Peer, body: &[u8]) -> (u16, Vec<u8>) {
    report(peer, "r", body);
    let (tail, body) = reply(peer);
    (tail[..3].parse().unwrap(), body)
}

/// So many objects inside each other below the section.
fn nested(depth: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(depth + 1), "}".repeat(depth + 1))
}

fn reported_version(hub: &Hub) -> u64 {
    hub.twin("dev").unwrap().reported_version
}

#[test]
fn m_e32_a_bad_report_is_answered_400_with_the_hubs_body_and_changes_nothing() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    let giant = format!("{}1{}", r#"{"a":"#.repeat(40_000), "}".repeat(40_000));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", b"".to_vec()),
        ("a space", b" ".to_vec()),
        ("half of it", b"{\"a\":1".to_vec()),
        ("two of it", b"{}{}".to_vec()),
        ("not UTF-8", b"{\"a\":\"\xff\"}".to_vec()),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec()),
        ("an array", b"[]".to_vec()),
        ("null", b"null".to_vec()),
        ("a number", b"5".to_vec()),
        ("a number out of range", b"{\"a\":1e999}".to_vec()),
        ("half a surrogate", br#"{"a":"\ud800"}"#.to_vec()),
        ("nested without end", giant.into_bytes()),
        ("arrays without end", [b'['; 200_000].to_vec()),
        ("$version", br#"{"$version":1}"#.to_vec()),
        ("$metadata", br#"{"$metadata":{}}"#.to_vec()),
        ("a deep $-name", br#"{"a":{"b":[{"$c":1}]}}"#.to_vec()),
        ("a dot", br#"{"a.b":1}"#.to_vec()),
        ("a space in a name", br#"{"a b":1}"#.to_vec()),
        ("an empty name", br#"{"":1}"#.to_vec()),
        ("a control character", b"{\"a\\u0000\":1}".to_vec()),
        ("a name that is removed", br#"{"$x":null}"#.to_vec()),
        ("an integer too large", br#"{"a":4503599627370496}"#.to_vec()),
        ("an integer too small", br#"{"a":-4503599627370497}"#.to_vec()),
    ];
    for (what, body) in cases {
        let (status, answer) = status(&mut peer, &body);
        assert_eq!(status, 400, "{what}");
        let answer = json(&answer);
        assert_eq!(answer["errorCode"], 400_004, "{what}");
        assert_eq!(answer["timestampUtc"], "2027-01-15T08:00:00.000Z");
        assert!(answer["trackingId"].as_str().is_some_and(|id| id.len() > 32));
        assert!(answer["message"].as_str().is_some_and(|text| !text.is_empty() && text.len() < 300), "{answer}");
        assert_eq!(answer.as_object().unwrap().len(), 4);
    }
    assert_eq!((reported_version(&hub), hub.twin("dev").unwrap().reported), (1, json!({})));
    assert_eq!(status(&mut peer, br#"{"a":1}"#).0, 204, "the connection lives on");
}

#[test]
fn m_e32_objects_may_be_ten_deep() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    assert_eq!(status(&mut peer, nested(10).as_bytes()).0, 204);
    let (code, body) = status(&mut peer, nested(11).as_bytes());
    assert_eq!(code, 400);
    assert!(json(&body)["message"].as_str().unwrap().contains("deeper than 10"));
}

#[test]
fn m_e32_a_text_may_have_4_kib_and_a_name_1_kib() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    let member = |name: usize, text: usize| json!({"k".repeat(name): "ä".repeat(text / 2)}).to_string();
    for (name, text, expected) in [(1, 4096, 204), (1, 4098, 400), (1024, 2, 204), (1025, 2, 400)] {
        assert_eq!(status(&mut peer, member(name, text).as_bytes()).0, expected, "{name} {text}");
    }
    let list = json!({"list": ["x".repeat(4097)]}).to_string();
    assert_eq!(status(&mut peer, list.as_bytes()).0, 400, "inside a list too");
}

#[test]
fn m_e32_a_section_may_have_32_kib_and_the_other_is_not_counted() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    // Eight members with a name of two bytes and a text of 4094 are exactly 32 KiB.
    let member = |index: usize| (format!("k{index}"), Value::from("x".repeat(4094)));
    let full: Value = (0..8).map(member).collect::<serde_json::Map<_, _>>().into();
    hub.patch_desired("dev", full.clone()).unwrap();
    assert_eq!(status(&mut peer, full.to_string().as_bytes()).0, 204);
    let (code, body) = status(&mut peer, br#"{"n":false}"#);
    assert_eq!(code, 400);
    assert!(json(&body)["message"].as_str().unwrap().contains("32773"), "a name of 1 byte and a boolean of 4");
    assert_eq!(status(&mut peer, br#"{"k0":null,"n":5}"#).0, 204);
    get(&mut peer, "g");
    let twin = json(&reply(&mut peer).1);
    assert_eq!(twin["desired"]["k0"], full["k0"], "more than 64 KiB in one packet");
    assert_eq!(twin["reported"]["n"], 5);
}

#[test]
fn m_e32_the_service_is_held_to_the_same_rules() {
    let hub = hub_with_manual_clock();
    connect(&hub);
    let problems = [
        hub.patch_desired("dev", json!([1])),
        hub.patch_desired("dev", json!({"$version": 1})),
        hub.replace_desired("dev", json!({"a b": 1})),
        hub.replace_desired("dev", json!(null)),
        hub.patch_tags("dev", json!({"a": "x".repeat(5000)})).map(|()| 0),
        hub.patch_tags("dev", json!({"a": "x".repeat(4000), "b": "x".repeat(4000), "c": "x".repeat(200)})).map(|()| 0),
    ];
    for problem in problems {
        assert!(matches!(problem, Err(HubError::InvalidTwin { .. })), "{problem:?}");
        assert!(problem.unwrap_err().to_string().contains("400004"));
    }
    assert_eq!(hub.twin("dev").unwrap().version, 1);
    assert!(matches!(hub.patch_desired("nobody", json!({})), Err(HubError::DeviceNotFound { .. })));
    assert!(matches!(hub.replace_desired("nobody", json!({})), Err(HubError::DeviceNotFound { .. })));
    assert!(matches!(hub.patch_tags("nobody", json!({})), Err(HubError::DeviceNotFound { .. })));
}

#[test]
fn m_e32_arrays_can_be_refused_as_they_once_were() {
    let hub = start(manual_clock().with_twin_arrays(false));
    let mut peer = listener(&hub, &[RES]);
    assert_eq!(status(&mut peer, br#"{"a":[]}"#).0, 400);
    assert_eq!(status(&mut peer, br#"{"a":{}}"#).0, 204);
}

#[test]
fn m_e32_any_status_can_be_answered_on_demand_and_nothing_is_executed() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[RES]);
    for (wanted, code) in [(400, 400_004), (404, 404_001), (429, 429_001), (500, 500_001), (503, 503_001)] {
        hub.inject_for("dev", Fault::TwinReply(TwinReplyFault::Status(wanted)));
        let (status, body) = status(&mut peer, br#"{"a":1}"#);
        assert_eq!((status, json(&body)["errorCode"].as_u64()), (wanted, Some(code)));
        hub.inject_for("dev", Fault::TwinReply(TwinReplyFault::Status(wanted)));
        get(&mut peer, "g");
        assert_eq!(reply(&mut peer).0, format!("{wanted}/?$rid=g"));
    }
    assert_eq!((reported_version(&hub), hub.pending_faults()), (1, 0));
    assert_eq!(status(&mut peer, br#"{"a":1}"#).0, 204);
}
