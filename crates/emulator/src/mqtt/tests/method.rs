//! Method requests and responses.

use super::*;
use crate::config::{DeliveryQos, MethodRid};
use crate::method::{CallId, MethodCall, MethodError, MethodResult};

const FILTER: &str = "$iothub/methods/POST/#";

fn call(world: &mut World, call: MethodCall) -> Result<CallId, MethodError> {
    let now = world.now();
    world.hub.start_method(d(), call, now)
}

fn subscribed(world: &mut World) -> Head {
    let mut head = world.connected();
    world.say(&mut head, &subscribe(1, &[(FILTER, 1)]));
    head
}

fn answer(status: &str, rid: &str, body: &[u8]) -> Vec<u8> {
    publish(0x30, &format!("$iothub/methods/res/{status}/?$rid={rid}"), 0, body)
}

#[test]
fn a_call_is_sent_and_answered_by_its_id_in_any_case() {
    let mut world = World::new(Config::new());
    let mut head = subscribed(&mut world);
    let ids: Vec<CallId> =
        (0..11).map(|_| call(&mut world, MethodCall::new("m").payload(serde_json::json!({"a": 1}))).unwrap()).collect();
    let sent = published(&world.poll(&mut head));
    assert_eq!(sent[0], (0x30, "$iothub/methods/POST/m/?$rid=1".to_owned(), br#"{"a":1}"#.to_vec()));
    assert!(sent[10].1.ends_with("?$rid=b"), "hex, from 1, a new one for each call");
    world.say(&mut head, &answer("-7", "B", b"[1]"));
    let result = MethodResult { status: -7, payload: serde_json::json!([1]) };
    assert_eq!(world.hub.method_result(ids[10]), Some(Ok(result)));
    assert_eq!(world.hub.method_result(ids[0]), None);
}

#[test]
fn an_id_can_be_a_guid_and_the_request_at_qos_1() {
    let config = Config::new().with_method_rid(MethodRid::Guid).with_method_qos(DeliveryQos::AsSubscribed);
    let mut world = World::new(config);
    let mut head = subscribed(&mut world);
    let id = call(&mut world, MethodCall::new("m")).unwrap();
    let sent = published(&world.poll(&mut head));
    let rid = sent[0].1.rsplit_once("?$rid=").unwrap().1.to_owned();
    assert_eq!((sent[0].0, rid.len(), sent[0].2.as_slice()), (0x32, 36, b"{}".as_slice()));
    world.say(&mut head, &answer("200", &rid.to_uppercase(), b""));
    assert_eq!(world.hub.method_result(id).unwrap().unwrap().payload, serde_json::Value::Null);
}

#[test]
fn a_bad_answer_ends_the_call_and_a_late_one_changes_nothing() {
    let mut world = World::new(Config::new());
    let mut head = subscribed(&mut world);
    for (status, body) in [("ok", b"{}".as_slice()), ("200", b"{"), ("1.5", b""), ("99999999999", b""), ("", b"")] {
        let id = call(&mut world, MethodCall::new("m")).unwrap();
        let sent = published(&world.poll(&mut head));
        let rid = sent[0].1.rsplit_once('=').unwrap().1;
        world.say(&mut head, &answer(status, rid, body));
        let bad = world.hub.method_result(id).unwrap();
        assert!(matches!(bad, Err(MethodError::BadResponse { .. })), "{status}: {bad:?}");
        world.say(&mut head, &answer("200", rid, b"{}"));
        assert!(matches!(world.last_activity(), Activity::MethodAnswered { late: true, .. }));
        assert_eq!(world.hub.method_result(id), Some(bad), "the first answer counts");
    }
    let id = call(&mut world, MethodCall::new("m")).unwrap();
    let body = vec![b' '; 128 * 1024 + 1];
    world.poll(&mut head);
    world.say(&mut head, &answer("200", "6", &body));
    assert_eq!(world.hub.method_result(id).unwrap().unwrap_err().code(), Some(413_001));
}

#[test]
fn time_outs_end_a_call_by_the_hubs_clock() {
    let mut world = World::new(Config::new());
    assert_eq!(call(&mut world, MethodCall::new("m")).unwrap_err().code(), Some(404_103));
    let waiting = call(&mut world, MethodCall::new("m").connect_timeout(Duration::from_secs(20))).unwrap();
    let gone = call(&mut world, MethodCall::new("m").connect_timeout(Duration::from_secs(10))).unwrap();
    assert_eq!(world.hub.timeout(world.now()), Some(Duration::from_secs(10)));
    world.pass(10);
    assert_eq!(world.hub.method_result(gone).unwrap().unwrap_err().code(), Some(404_103));
    let mut head = world.connected();
    assert!(world.poll(&mut head).is_empty());
    let bytes = world.say(&mut head, &subscribe(1, &[(FILTER, 0)]));
    assert!(bytes.starts_with(b"\x90\x03\x00\x01\x00"), "the request comes behind the SUBACK");
    assert_eq!(published(&bytes[5..])[0].1, "$iothub/methods/POST/m/?$rid=1");
    assert_eq!(world.hub.timeout(world.now()), Some(Duration::from_secs(30)));
    world.pass(29);
    assert_eq!(world.hub.method_result(waiting), None);
    world.pass(1);
    assert_eq!(world.hub.method_result(waiting).unwrap().unwrap_err().code(), Some(504_101));
}

#[test]
fn a_stored_session_gets_a_waiting_call_right_behind_connack() {
    let mut world = World::new(Config::new());
    let mut head = subscribed(&mut world);
    world.say(&mut head, DISCONNECT);
    call(&mut world, MethodCall::new("m").connect_timeout(Duration::from_secs(20))).unwrap();
    let mut head = world.peer();
    let connect = world.connect_packet(0xc0, 60, 3600);
    let answer = world.say(&mut head, &connect);
    assert!(answer.starts_with(b"\x20\x02\x01\x00"));
    assert_eq!(published(&answer[4..]).len(), 1);
}

#[test]
fn a_call_outlives_its_connection_but_not_its_device_nor_the_hub() {
    let mut world = World::new(Config::new());
    let mut head = subscribed(&mut world);
    let answered = call(&mut world, MethodCall::new("m")).unwrap();
    let deleted = call(&mut world, MethodCall::new("m")).unwrap();
    world.poll(&mut head);
    let mut head = world.connected();
    world.say(&mut head, &answer("200", "1", b""));
    assert!(world.hub.method_result(answered).unwrap().is_ok(), "the id is the identity's, not the connection's");
    let now = world.now();
    world.hub.delete_device("d", now).unwrap();
    assert_eq!(world.hub.method_result(deleted).unwrap().unwrap_err().code(), Some(404_001));
    assert_eq!(call(&mut world, MethodCall::new("m")).unwrap_err().code(), Some(404_001));

    let mut world = World::new(Config::new());
    let waiting = call(&mut world, MethodCall::new("m").connect_timeout(Duration::from_secs(20))).unwrap();
    let now = world.now();
    world.hub.stop(now);
    assert_eq!(world.hub.method_result(waiting).unwrap().unwrap_err().code(), Some(404_103));
    let again = call(&mut world, MethodCall::new("m").connect_timeout(Duration::from_secs(20)));
    assert_eq!(again.unwrap_err().code(), Some(404_103));
}

#[test]
fn an_impossible_call_says_what_is_wrong() {
    let mut world = World::new(Config::new());
    let seconds = Duration::from_secs;
    for wrong in [
        MethodCall::new(""),
        MethodCall::new("a/b"),
        MethodCall::new("a+"),
        MethodCall::new(&"m".repeat(1025)),
        MethodCall::new("m").response_timeout(seconds(4)),
        MethodCall::new("m").response_timeout(seconds(301)),
        MethodCall::new("m").connect_timeout(seconds(301)),
    ] {
        assert_eq!(call(&mut world, wrong.clone()).unwrap_err().code(), Some(400_004), "{wrong:?}");
    }
    let large = MethodCall::new("m").raw_payload(vec![b' '; 128 * 1024 + 1]);
    assert_eq!(call(&mut world, large).unwrap_err().code(), Some(413_001));
    let mut head = subscribed(&mut world);
    call(&mut world, MethodCall::new("m").raw_payload(vec![b' '; 128 * 1024])).unwrap();
    assert_eq!(published(&world.poll(&mut head))[0].2.len(), 128 * 1024);
}

#[test]
fn a_request_can_be_doubled_or_late() {
    let mut world = World::new(Config::new());
    let mut head = subscribed(&mut world);
    world.hub.faults.push(None, Fault::MethodDuplicate);
    call(&mut world, MethodCall::new("m")).unwrap();
    let sent = published(&world.poll(&mut head));
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], sent[1]);
    world.hub.faults.push(None, Fault::LateMethod { by: Duration::from_secs(31) });
    let id = call(&mut world, MethodCall::new("m")).unwrap();
    assert!(world.poll(&mut head).is_empty());
    world.pass(31);
    assert_eq!(published(&world.poll(&mut head))[0].1, "$iothub/methods/POST/m/?$rid=2");
    assert_eq!(world.hub.method_result(id).unwrap().unwrap_err().code(), Some(504_101));
}
