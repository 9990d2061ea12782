//! The twin: requests, answers with the hub's statuses, and changes.

use iothub_emulator::{Activity, LocalConnection, LocalEvent, LocalFeature, LocalTwinAnswer};
use serde_json::{Value, json};

use crate::support::hub_with_manual_clock;
use crate::{Bell, connect, event, events, listener, login, record};

const ANSWERS: &[LocalFeature] = &[LocalFeature::TwinAnswers];

fn answer(connection: &mut LocalConnection) -> LocalTwinAnswer {
    match event(connection) {
        LocalEvent::TwinAnswer(answer) => answer,
        other => panic!("an answer was to come, not {other:?}"),
    }
}

fn parsed(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap()
}

#[test]
fn the_twin_is_given_under_the_id_of_the_request() {
    let hub = hub_with_manual_clock();
    let mut connection = listener(&hub, ANSWERS);
    hub.patch_desired("dev", json!({"a": 1})).unwrap();
    connection.get_twin("any text ü").unwrap();
    let given = answer(&mut connection);
    assert_eq!((given.request.as_str(), given.status, given.version), ("any text ü", 200, None));
    let twin = json!({"desired": {"a": 1, "$version": 2}, "reported": {"$version": 1}});
    assert_eq!(parsed(&given.body), twin);
}

#[test]
fn a_report_is_stored_or_refused_in_the_hubs_words() {
    let hub = hub_with_manual_clock();
    let mut connection = listener(&hub, ANSWERS);
    connection.report("1", br#"{"a": {"b": 1}}"#).unwrap();
    let stored = answer(&mut connection);
    assert_eq!((stored.request.as_str(), stored.status, stored.version), ("1", 204, Some(2)));
    assert!(stored.body.is_empty());
    connection.report("2", br#"{"$a": 1}"#).unwrap();
    let refused = answer(&mut connection);
    assert_eq!((refused.status, refused.version), (400, None));
    assert!(parsed(&refused.body)["message"].as_str().unwrap().contains("$a"));
    assert_eq!(hub.twin("dev").unwrap().reported, json!({"a": {"b": 1}}));
}

#[test]
fn without_a_subscription_a_request_is_executed_and_not_answered() {
    let hub = hub_with_manual_clock();
    let mut connection = connect(&hub);
    connection.report("1", b"{\"a\":1}").unwrap();
    connection.get_twin("2").unwrap();
    assert_eq!(events(&mut connection), []);
    assert_eq!(hub.twin("dev").unwrap().reported, json!({"a": 1}));
    let answered = record(&hub, |activity| match activity {
        Activity::TwinGet { answered, .. } | Activity::TwinReported { answered, .. } => Some(answered),
        _ => None,
    });
    assert_eq!(answered, [false, false]);
}

#[test]
fn a_change_is_told_to_a_subscriber_who_is_woken_and_kept_for_nobody() {
    let hub = hub_with_manual_clock();
    let (bell, waker) = Bell::new();
    let mut connection = hub.connect_local(login(&hub), &waker).unwrap();
    hub.patch_desired("dev", json!({"missed": true})).unwrap();
    connection.subscribe(LocalFeature::DesiredProperties).unwrap();
    assert_eq!(events(&mut connection), []);
    bell.has_rung();
    hub.patch_desired("dev", json!({"a": 1, "missed": null})).unwrap();
    assert!(bell.has_rung());
    let LocalEvent::DesiredProperties { version: 3, patch } = event(&mut connection) else { panic!("version 3") };
    assert_eq!(parsed(&patch), json!({"a": 1, "missed": null, "$version": 3}));
    connection.unsubscribe(LocalFeature::DesiredProperties).unwrap();
    hub.patch_desired("dev", json!({"a": 2})).unwrap();
    assert_eq!(events(&mut connection), []);
}

#[test]
fn a_change_before_a_request_is_told_before_its_answer() {
    let hub = hub_with_manual_clock();
    let mut connection = listener(&hub, &[LocalFeature::TwinAnswers, LocalFeature::DesiredProperties]);
    hub.patch_desired("dev", json!({"a": 1})).unwrap();
    connection.get_twin("1").unwrap();
    hub.patch_desired("dev", json!({"a": 2})).unwrap();
    let versions: Vec<_> = events(&mut connection)
        .into_iter()
        .map(|event| match event {
            LocalEvent::DesiredProperties { version, .. } => json!(version),
            LocalEvent::TwinAnswer(answer) => parsed(&answer.body)["desired"].clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(versions, [json!(2), json!({"a": 1, "$version": 2}), json!(3)]);
}
