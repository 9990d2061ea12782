//! Direct methods: calls down, responses up.

use std::time::Duration;

use iothub_emulator::{
    Activity, LocalConnection, LocalError, LocalEvent, LocalFeature, LocalMethod, MethodCall, MethodError,
};
use serde_json::json;

use crate::support::{LIMIT, hub_with_manual_clock};
use crate::{Bell, connect, event, events, listener, login, record};

fn call(connection: &mut LocalConnection) -> LocalMethod {
    match event(connection) {
        LocalEvent::Method(call) => call,
        other => panic!("a call was to come, not {other:?}"),
    }
}

#[test]
fn a_call_reaches_the_device_and_the_response_its_caller() {
    let hub = hub_with_manual_clock();
    let mut connection = listener(&hub, &[LocalFeature::Methods]);
    let pending = hub.start_method("dev", MethodCall::new("reboot").payload(json!({"in": 5}))).unwrap();
    let received = call(&mut connection);
    assert_eq!((received.name.as_str(), received.body.as_ref()), ("reboot", &br#"{"in":5}"#[..]));
    assert!(pending.try_result().is_none());
    connection.respond(&received.request, -7, r#"{"ok":true}"#).unwrap();
    let result = pending.wait(LIMIT).unwrap();
    assert_eq!((result.status, result.payload), (-7, json!({"ok": true})));
    let answers = record(&hub, |activity| match activity {
        Activity::MethodAnswered { status, late, .. } => Some((status, late)),
        _ => None,
    });
    assert_eq!(answers, [(-7, false)]);
}

#[test]
fn a_call_waits_for_a_device_that_connects_and_subscribes() {
    let hub = hub_with_manual_clock();
    connect(&hub).disconnect();
    assert!(matches!(hub.start_method("dev", MethodCall::new("m")), Err(MethodError::DeviceNotOnline { .. })));
    let pending = hub.start_method("dev", MethodCall::new("m").connect_timeout(Duration::from_secs(60))).unwrap();
    let (bell, waker) = Bell::new();
    let mut connection = hub.connect_local(login(&hub), &waker).unwrap();
    assert_eq!(events(&mut connection), []);
    connection.subscribe(LocalFeature::Methods).unwrap();
    let received = call(&mut connection);
    assert!(bell.has_rung());
    connection.respond(&received.request, 200, "").unwrap();
    assert_eq!(pending.wait(LIMIT).unwrap().payload, json!(null));
}

#[test]
fn a_response_that_is_none_is_told_to_both() {
    let hub = hub_with_manual_clock();
    let mut connection = listener(&hub, &[LocalFeature::Methods]);
    let pending = hub.start_method("dev", MethodCall::new("m")).unwrap();
    let received = call(&mut connection);
    let refused = connection.respond(&received.request, 200, "no JSON").unwrap_err();
    let LocalError::Response(error @ MethodError::BadResponse { .. }) = refused else { panic!("{refused}") };
    assert_eq!(pending.wait(LIMIT), Err(error));
    assert!(hub.connected("dev"));
}

#[test]
fn a_response_that_nobody_waits_for_is_ignored_and_on_record() {
    let hub = hub_with_manual_clock();
    let mut connection = listener(&hub, &[LocalFeature::Methods]);
    let pending = hub.start_method("dev", MethodCall::new("m")).unwrap();
    let received = call(&mut connection);
    hub.advance_clock(Duration::from_secs(300));
    assert!(matches!(pending.wait(LIMIT), Err(MethodError::Timeout { .. })));
    connection.respond(&received.request, 200, "{}").unwrap();
    let late = record(&hub, |activity| match activity {
        Activity::MethodAnswered { late, .. } => Some(late),
        _ => None,
    });
    assert_eq!(late, [true]);
}
