//! Direct methods: requests, answers, time-outs and limits (E38 to E40). The clock is a manual one, so nothing times out by itself.

use std::time::Duration;

use iothub_emulator::{
    Activity, Config, DeliveryQos, Hub, MethodCall, MethodError, MethodResult, MethodRid, PendingMethod,
};
use rumqttc::mqttbytes::QoS;
use serde_json::{Value, json};

use crate::support::c2d::{connect, cut};
use crate::support::peer::Peer;
use crate::support::twin::{METHODS, RES, answer, call, listener};
use crate::support::{LIMIT, hub_with_manual_clock, manual_clock, start};

const KIB_128: usize = 128 * 1024;

fn start_call(hub: &Hub, call: MethodCall) -> PendingMethod {
    hub.start_method("dev", call).expect("the call can be made")
}

/// Starts a call without more and gives its request id.
fn started(hub: &Hub, peer: &mut Peer) -> (PendingMethod, String) {
    let pending = start_call(hub, MethodCall::new("m"));
    let (_, rid, _) = call(peer);
    (pending, rid)
}

fn code(result: Result<MethodResult, MethodError>) -> Option<u32> {
    result.expect_err("the call fails").code()
}

/// The recorded statuses of answers, and whether each was late.
fn answers(hub: &Hub) -> Vec<(i64, bool)> {
    let answers = hub.activity("dev").into_iter().filter_map(|activity| match activity {
        Activity::MethodAnswered { status, late, .. } => Some((status, late)),
        _ => None,
    });
    answers.collect()
}

fn misanswers(hub: &Hub) -> usize {
    hub.activity("dev").iter().filter(|activity| matches!(activity, Activity::MethodMisanswered { .. })).count()
}

#[test]
fn m_e38_the_topic_is_exact_and_the_body_the_payload() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[METHODS]);
    let cases: [(MethodCall, &[u8]); 5] = [
        (MethodCall::new("stubMethod"), b"{}"),
        (MethodCall::new("a-b:c.d%20 (x)").payload(json!(null)), b"null"),
        (MethodCall::new("ü$?=&").payload(json!({"a": [1, "ä"]})), "{\"a\":[1,\"ä\"]}".as_bytes()),
        (MethodCall::new("m").raw_payload(""), b""),
        (MethodCall::new("m").raw_payload(&b"\xffnot json"[..]), b"\xffnot json"),
    ];
    let mut pending = Vec::new();
    for (number, (method, body)) in cases.into_iter().enumerate() {
        let name = format!("{method:?}").split('"').nth(1).unwrap().to_owned();
        pending.push(start_call(&hub, method));
        let publish = peer.expect_publish();
        assert_eq!(publish.topic, format!("$iothub/methods/POST/{name}/?$rid={}", number + 1), "nothing follows");
        assert_eq!((publish.qos, publish.dup, &publish.payload[..]), (QoS::AtMostOnce, false, body));
    }
    let sent = hub.activity("dev").into_iter().filter(|activity| matches!(activity, Activity::MethodSent { .. }));
    assert_eq!(sent.count(), 5);
}

#[test]
fn m_e38_every_call_has_a_fresh_id_in_hex_also_after_a_reconnect() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[METHODS]);
    let mut ids: Vec<String> = (0..15).map(|_| started(&hub, &mut peer).1).collect();
    cut(&hub, peer);
    let mut peer = connect(&hub);
    ids.extend((0..3).map(|_| started(&hub, &mut peer).1));
    let expected: Vec<String> = (1..=18).map(|number| format!("{number:x}")).collect();
    assert_eq!(ids, expected);
}

#[test]
fn m_e38_an_id_can_be_a_guid_as_at_the_gateway() {
    let hub = start(manual_clock().with_method_rid(MethodRid::Guid));
    let mut peer = listener(&hub, &[METHODS]);
    let (pending, first) = started(&hub, &mut peer);
    let (_other, second) = started(&hub, &mut peer);
    assert_ne!(first, second);
    assert_eq!((first.len(), first.matches('-').count()), (36, 4));
    answer(&mut peer, "200", &first.to_uppercase(), b"1");
    assert_eq!(pending.wait(LIMIT).unwrap().payload, json!(1));
}

#[test]
fn m_e38_a_request_can_have_the_qos_of_the_subscription_and_is_never_sent_again() {
    let hub = start(manual_clock().with_method_qos(DeliveryQos::AsSubscribed));
    let mut peer = connect(&hub);
    peer.subscribe(&[(METHODS, 1)]);
    let pending = start_call(&hub, MethodCall::new("m"));
    let request = peer.expect_publish();
    assert_eq!(request.qos, QoS::AtLeastOnce);
    cut(&hub, peer);
    let mut peer = connect(&hub);
    peer.expect_quiet();
    assert!(pending.try_result().is_none());
}

#[test]
fn m_e39_an_answer_goes_to_the_call_with_its_id_in_any_order_and_case() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[METHODS]);
    let calls: Vec<(PendingMethod, String)> = (0..12).map(|_| started(&hub, &mut peer)).collect();
    for (number, (_, rid)) in calls.iter().enumerate().rev() {
        answer(&mut peer, &number.to_string(), &rid.to_uppercase(), format!("{{\"rid\":\"{rid}\"}}").as_bytes());
    }
    for (number, (pending, rid)) in calls.iter().enumerate() {
        let result = pending.wait(LIMIT).unwrap();
        assert_eq!((result.status, result.payload), (i64::try_from(number).unwrap(), json!({"rid": rid})));
        assert!(pending.try_result().is_some(), "it can be asked again");
    }
}

#[test]
fn m_e39_a_status_is_any_integer_and_a_payload_any_json_or_nothing() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[METHODS]);
    let cases: [(&str, i64, &[u8], Value); 6] = [
        ("200", 200, b"", Value::Null),
        ("0", 0, b"null", Value::Null),
        ("-1", -1, b"\"text\"", json!("text")),
        ("2147483647", 2_147_483_647, b"[]", json!([])),
        ("-2147483648", -2_147_483_648, b" {\"a\": 1} ", json!({"a": 1})),
        ("007", 7, b"false", json!(false)),
    ];
    for (text, status, body, payload) in cases {
        let (pending, rid) = started(&hub, &mut peer);
        answer(&mut peer, text, &rid, body);
        let result = pending.wait(LIMIT).unwrap();
        assert_eq!((result.status, result.payload), (status, payload));
    }
}

#[test]
fn m_e39_a_bad_answer_is_a_bad_request_to_the_caller() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[METHODS]);
    let deep = "[".repeat(100_000);
    let cases: [(&str, &[u8]); 9] = [
        ("ok", b"{}"),
        ("", b"{}"),
        ("1.0", b"{}"),
        ("0x10", b"{}"),
        ("2147483648", b"{}"),
        ("%32", b"{}"),
        ("200", b"{"),
        ("200", b"\xff"),
        ("200", deep.as_bytes()),
    ];
    for (number, (status, body)) in cases.into_iter().enumerate() {
        let (pending, rid) = started(&hub, &mut peer);
        answer(&mut peer, status, &rid, body);
        assert_eq!(code(pending.wait(LIMIT)), Some(400_000), "{status}");
        assert_eq!(misanswers(&hub), number + 1);
    }
    let (pending, rid) = started(&hub, &mut peer);
    answer(&mut peer, "200", &rid, b"{}");
    assert!(pending.wait(LIMIT).is_ok(), "the connection lives on");
}

#[test]
fn m_e39_late_and_unknown_answers_are_ignored_and_on_record() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[METHODS]);
    answer(&mut peer, "200", "unknown", b"{}");
    let (late, late_rid) = started(&hub, &mut peer);
    hub.advance_clock(Duration::from_secs(30));
    assert_eq!(code(late.wait(LIMIT)), Some(504_101));
    answer(&mut peer, "201", &late_rid, b"{}");
    let (twice, twice_rid) = started(&hub, &mut peer);
    answer(&mut peer, "202", &twice_rid, b"1");
    answer(&mut peer, "203", &twice_rid, b"2");
    let (given_up, given_up_rid) = started(&hub, &mut peer);
    drop(given_up);
    answer(&mut peer, "204", &given_up_rid, b"{}");
    peer.send(&crate::support::packets::publish("$iothub/methods/res/205/?", 0, 0, 0, b"{}"));
    peer.expect_quiet();
    assert_eq!(answers(&hub), [(200, true), (201, true), (202, false), (203, true), (204, true)]);
    assert_eq!(misanswers(&hub), 1, "the one without a request id");
    assert_eq!(code(late.wait(LIMIT)), Some(504_101));
    assert_eq!(twice.wait(LIMIT).unwrap().status, 202);
}

#[test]
fn m_e39_another_device_cannot_answer() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[METHODS]);
    let other = hub.create_device("other").unwrap();
    let mut other = Peer::connected(&hub, &other);
    let (pending, rid) = started(&hub, &mut peer);
    answer(&mut other, "200", &rid, b"{}");
    other.expect_quiet();
    assert!(pending.try_result().is_none());
}

#[test]
fn m_e40_a_device_that_is_not_there_fails_the_call_at_once() {
    let hub = hub_with_manual_clock();
    assert_eq!(hub.start_method("dev", MethodCall::new("m")).unwrap_err().code(), Some(404_001));
    hub.create_device("dev").unwrap();
    assert_eq!(code(hub.invoke_method("dev", MethodCall::new("m"))), Some(404_103), "not connected");
    let mut peer = listener(&hub, &[RES]);
    assert_eq!(code(hub.invoke_method("dev", MethodCall::new("m"))), Some(404_103), "not subscribed");
    peer.subscribe(&[(METHODS, 0)]);
    peer.expect_quiet();
    let (_pending, _) = started(&hub, &mut peer);
    peer.unsubscribe(&[METHODS]);
    assert_eq!(code(hub.invoke_method("dev", MethodCall::new("m"))), Some(404_103), "no longer subscribed");
}

#[test]
fn m_e40_a_call_waits_for_the_device_as_long_as_its_connect_time_out() {
    let hub = hub_with_manual_clock();
    hub.create_device("dev").unwrap();
    let seconds = Duration::from_secs;
    let patient = start_call(&hub, MethodCall::new("patient").connect_timeout(seconds(300)));
    let hasty = start_call(&hub, MethodCall::new("hasty").connect_timeout(seconds(10)));
    hub.advance_clock(seconds(9));
    assert!(hasty.try_result().is_none());
    hub.advance_clock(seconds(1));
    assert_eq!(code(hasty.wait(LIMIT)), Some(404_103));

    let mut peer = connect(&hub);
    peer.expect_quiet();
    peer.subscribe(&[(METHODS, 0)]);
    let (name, rid, _) = call(&mut peer);
    assert_eq!(name, "patient");
    hub.advance_clock(seconds(29));
    assert!(patient.try_result().is_none(), "the response time-out begins with the request");
    answer(&mut peer, "200", &rid, b"{}");
    assert_eq!(patient.wait(LIMIT).unwrap().status, 200);

    cut(&hub, peer);
    let next = start_call(&hub, MethodCall::new("next").connect_timeout(seconds(1)));
    let mut peer = connect(&hub);
    assert_eq!(call(&mut peer).0, "next", "a stored session is subscribed as soon as it is connected");
    drop(next);
}

#[test]
fn m_e40_a_device_that_does_not_answer_in_time_fails_the_call_with_504() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[METHODS]);
    for seconds in [5, 30, 300] {
        let pending = start_call(&hub, MethodCall::new("m").response_timeout(Duration::from_secs(seconds)));
        call(&mut peer);
        hub.advance_clock(Duration::from_secs(seconds) - Duration::from_millis(1));
        assert!(pending.try_result().is_none(), "{seconds}");
        hub.advance_clock(Duration::from_millis(1));
        assert_eq!(code(pending.wait(LIMIT)), Some(504_101));
        peer.expect_quiet();
    }
    let (pending, _) = started(&hub, &mut peer);
    cut(&hub, peer);
    assert!(pending.try_result().is_none(), "the end of the connection alone is no answer");
    hub.advance_clock(Duration::from_secs(30));
    assert_eq!(code(pending.wait(LIMIT)), Some(504_101));
}

#[test]
fn m_e40_payloads_have_128_kib_each_way() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[METHODS]);
    let too_large = MethodCall::new("m").raw_payload(vec![b' '; KIB_128 + 1]);
    assert_eq!(code(hub.invoke_method("dev", too_large)), Some(413_001));
    let pending = start_call(&hub, MethodCall::new("m").raw_payload(vec![b' '; KIB_128]));
    let (_, rid, body) = call(&mut peer);
    assert_eq!(body.len(), KIB_128);
    let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2)).into_bytes();
    answer(&mut peer, "200", &rid, &text(KIB_128));
    assert!(pending.wait(LIMIT).is_ok());
    let (pending, rid) = started(&hub, &mut peer);
    answer(&mut peer, "200", &rid, &text(KIB_128 + 1));
    assert_eq!(code(pending.wait(LIMIT)), Some(413_001));
    peer.expect_quiet();
}

#[test]
fn m_e40_time_outs_and_names_outside_their_limits_are_refused() {
    let hub = hub_with_manual_clock();
    let _peer = listener(&hub, &[METHODS]);
    let (second, five) = (Duration::from_secs(1), Duration::from_secs(5));
    for wrong in [
        MethodCall::new("m").response_timeout(five - Duration::from_nanos(1)),
        MethodCall::new("m").response_timeout(second * 301),
        MethodCall::new("m").connect_timeout(second * 301),
        MethodCall::new(""),
        MethodCall::new("a/b"),
        MethodCall::new("#"),
        MethodCall::new("a\0"),
    ] {
        assert_eq!(code(hub.invoke_method("dev", wrong.clone())), Some(400_004), "{wrong:?}");
    }
}

#[test]
fn m_e40_a_call_can_be_waited_for_on_a_thread_of_its_own() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[METHODS]);
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| hub.invoke_method("dev", MethodCall::new("m").payload(json!(1))));
        let (_, rid, _) = call(&mut peer);
        answer(&mut peer, "200", &rid, b"2");
        assert_eq!(caller.join().unwrap().unwrap().payload, json!(2));

        let pending = start_call(&hub, MethodCall::new("m"));
        let caller = scope.spawn(move || pending.wait(LIMIT));
        call(&mut peer);
        hub.advance_clock(Duration::from_secs(30));
        assert_eq!(code(caller.join().unwrap()), Some(504_101));
    });
    let (pending, _) = started(&hub, &mut peer);
    assert!(matches!(pending.wait(Duration::ZERO), Err(MethodError::StillPending(_))));
}

#[test]
fn m_e40_no_call_outlives_its_device_or_the_hub() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, &[METHODS]);
    let (pending, _) = started(&hub, &mut peer);
    hub.delete_device("dev").unwrap();
    assert_eq!(code(pending.wait(LIMIT)), Some(404_001));

    hub.create_device("late").unwrap();
    let waiting = hub.start_method("late", MethodCall::new("m").connect_timeout(Duration::from_secs(300))).unwrap();
    let handle = hub.hub();
    hub.stop();
    assert_eq!(code(waiting.wait(LIMIT)), Some(404_103));
    let call = MethodCall::new("m").connect_timeout(Duration::from_secs(300));
    assert_eq!(code(handle.invoke_method("late", call)), Some(404_103));
}

#[test]
fn m_e40_with_a_clock_that_runs_a_call_ends_by_itself() {
    let hub = start(Config::new());
    hub.create_device("dev").unwrap();
    let call = MethodCall::new("m").connect_timeout(Duration::from_millis(20));
    assert_eq!(code(hub.invoke_method("dev", call)), Some(404_103));
}
