//! The twin: requests, the subscription, and what a lost connection does to both.

use bytes::Bytes;

use super::fake::{Call, Fake};
use super::*;

fn twin(version: u64) -> Reply {
    Reply::Twin(Bytes::from(format!(r#"{{"desired":{{"$version":{version}}},"reported":{{"$version":1}}}}"#)))
}

fn changes(fake: &Fake, version: u64) {
    fake.happens(TransportEvent::DesiredProperties(Bytes::from(format!(r#"{{"a":1,"$version":{version}}}"#))));
}

/// The id of the one GET that was submitted since the last look.
fn get(fake: &Fake) -> OpId {
    let calls = fake.calls();
    let gets: Vec<_> = calls
        .iter()
        .filter_map(|call| match call {
            Call::TwinGet(id) => Some(*id),
            _ => None,
        })
        .collect();
    assert_eq!(gets.len(), 1, "{calls:?}");
    gets[0]
}

fn reports(fake: &Fake) -> Vec<(OpId, String)> {
    let report = |call| match call {
        Call::TwinReport(id, patch) => Some((id, patch)),
        _ => None,
    };
    fake.calls().into_iter().filter_map(report).collect()
}

/// Versions of the twin updates that wait to be read; negative for changes.
fn updates(client: &mut DeviceClient) -> Vec<i64> {
    let mut versions = Vec::new();
    while let Some(event) = client.next_event() {
        match event {
            Event::Twin(TwinUpdate::Full(twin)) => versions.push(twin.desired_version() as i64),
            Event::Twin(TwinUpdate::Patch(patch)) => versions.push(-(patch.version() as i64)),
            _ => {}
        }
    }
    versions
}

fn synced(fake: &Fake, version: u64) -> DeviceClient {
    let mut client = fake.ready_client();
    client.subscribe(Feature::DesiredProperties).unwrap();
    client.do_work();
    fake.answers(get(fake), Ok(twin(version)));
    client.do_work();
    assert_eq!(updates(&mut client), [version as i64]);
    client
}

#[test]
fn invariant_7_the_whole_twin_comes_first_and_then_each_change() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.subscribe(Feature::DesiredProperties).unwrap();
    changes(&fake, 4);
    client.do_work();
    assert_eq!(updates(&mut client), [0; 0]);
    let id = get(&fake);
    changes(&fake, 5);
    fake.answers(id, Ok(twin(4)));
    changes(&fake, 6);
    client.do_work();
    assert_eq!(updates(&mut client), [4, -5, -6]);
}

#[test]
fn a_stale_change_is_dropped_by_its_version() {
    let fake = Fake::new();
    let mut client = synced(&fake, 7);
    changes(&fake, 6);
    changes(&fake, 7);
    changes(&fake, 8);
    changes(&fake, 8);
    client.do_work();
    assert_eq!(updates(&mut client), [-8]);
}

#[test]
fn wrinkle_11_a_lost_or_refused_answer_is_asked_for_again() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.subscribe(Feature::DesiredProperties).unwrap();
    client.do_work();
    let lost = get(&fake);
    client.wait(3600 * SECOND);
    client.do_work();
    assert_eq!(fake.calls(), [Call::Forget(lost)]);
    client.wait(3600 * SECOND);
    client.do_work();
    fake.answers(get(&fake), Err(OpError::Status { status: 429, detail: "throttled".into() }));
    client.do_work();
    client.wait(3600 * SECOND);
    client.do_work();
    fake.answers(get(&fake), Ok(Reply::Twin(Bytes::from_static(b"nonsense"))));
    client.do_work();
    client.wait(3600 * SECOND);
    client.do_work();
    fake.answers(get(&fake), Ok(twin(1)));
    client.do_work();
    assert_eq!(updates(&mut client), [1]);
}

#[test]
fn wrinkle_11_a_new_callback_gets_the_whole_twin_although_it_was_fetched_before() {
    let fake = Fake::new();
    let mut client = synced(&fake, 7);
    let (tx, rx) = channel();
    client.set_twin_callback(move |update, _| tx.send(update).unwrap()).unwrap();
    client.do_work();
    fake.answers(get(&fake), Ok(twin(7)));
    client.do_work();
    assert!(matches!(rx.try_recv(), Ok(TwinUpdate::Full(_))));
}

#[test]
fn wrinkle_12_after_every_reconnect_the_whole_twin_comes_again() {
    let fake = Fake::new();
    let mut client = synced(&fake, 7);
    fake.drops(ConnectionErrorKind::ClosedByPeer);
    client.do_work();
    fake.connects();
    changes(&fake, 9);
    client.do_work();
    client.do_work();
    fake.answers(get(&fake), Ok(twin(9)));
    client.do_work();
    assert_eq!(updates(&mut client), [9]);
}

#[test]
fn unread_changes_are_replaced_by_the_whole_twin() {
    let fake = Fake::new();
    let mut client = synced(&fake, 0);
    for version in 1..=100 {
        changes(&fake, version);
        client.do_work();
    }
    fake.answers(get(&fake), Ok(twin(100)));
    client.do_work();
    assert_eq!(updates(&mut client), [100]);
}

#[test]
fn who_does_not_follow_the_twin_hears_no_change() {
    let fake = Fake::new();
    let mut client = synced(&fake, 7);
    client.unsubscribe(Feature::DesiredProperties);
    changes(&fake, 8);
    client.do_work();
    assert_eq!(updates(&mut client), [0; 0]);
}

#[test]
fn wrinkle_10_each_get_twin_gets_exactly_one_outcome_with_its_reason() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let (tx, rx) = channel();
    let report = |tx: &Sender<_>| {
        let tx = tx.clone();
        move |outcome: Result<Twin, TwinError>, _: &mut Outbox<Device>| tx.send(outcome).unwrap()
    };
    client.get_twin(report(&tx)).unwrap();
    client.do_work();
    let id = get(&fake);
    fake.answers(id, Err(OpError::Status { status: 404, detail: "no twin".into() }));
    fake.answers(id, Ok(twin(1)));
    client.do_work();
    client.get_twin(report(&tx)).unwrap();
    client.do_work();
    fake.answers(get(&fake), Ok(twin(3)));
    client.do_work();
    client.get_twin(report(&tx)).unwrap();
    client.do_work();
    client.wait(3600 * SECOND);
    client.do_work();
    client.get_twin(report(&tx)).unwrap();
    client.close(Duration::ZERO);
    let outcomes: Vec<_> = rx.try_iter().map(|outcome| outcome.map(|twin| twin.desired_version())).collect();
    let status = TwinError::Status { status: 404, detail: "no twin".into() };
    let late = TwinError::TimedOut { after: 60 * SECOND };
    assert_eq!(outcomes, [Err(status), Ok(3), Err(late), Err(TwinError::Destroyed)]);
}

#[test]
fn a_request_under_way_when_the_connection_drops_is_made_again() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let id = client.get_twin_tracked().unwrap();
    client.do_work();
    assert_eq!(get(&fake), id);
    fake.drops(ConnectionErrorKind::ClosedByPeer);
    client.do_work();
    fake.connects();
    client.do_work();
    client.do_work();
    assert_eq!(get(&fake), id);
    fake.answers(id, Ok(twin(2)));
    client.do_work();
    let received = std::iter::from_fn(|| client.next_event()).find_map(|event| match event {
        Event::TwinReceived { id, outcome } => Some((id, outcome.unwrap().desired_version())),
        _ => None,
    });
    assert_eq!(received, Some((id, 2)));
}

#[test]
fn wrinkle_8_each_reported_patch_gets_exactly_one_outcome_in_the_hubs_words() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let (tx, rx) = channel();
    for name in ["a", "b"] {
        let tx = tx.clone();
        let patch = format!(r#"{{"{name}":1}}"#);
        client.send_reported_state_with(patch, move |outcome, _| tx.send((name, outcome)).unwrap()).unwrap();
    }
    client.do_work();
    let sent = reports(&fake);
    fake.answers(sent[0].0, Ok(Reply::Reported { version: Some(5) }));
    fake.answers(sent[0].0, Ok(Reply::Reported { version: Some(6) }));
    client.do_work();
    client.do_work();
    let next = reports(&fake);
    assert_eq!((sent[0].1.as_str(), next[0].1.as_str()), (r#"{"a":1}"#, r#"{"b":1}"#));
    fake.answers(next[0].0, Err(OpError::Status { status: 400, detail: "bad".into() }));
    client.do_work();
    let outcomes: Vec<_> = rx.try_iter().collect();
    assert_eq!(outcomes[0], ("a", Ok(Reported { version: Some(5) })));
    assert_eq!(outcomes[1], ("b", Err(TwinError::Status { status: 400, detail: "bad".into() })));
    assert_eq!(outcomes.len(), 2);
}

#[test]
fn reported_patches_keep_their_order_over_a_lost_connection() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.send_reported_state(r#"{"a":1}"#).unwrap();
    client.do_work();
    fake.drops(ConnectionErrorKind::ClosedByPeer);
    client.do_work();
    client.send_reported_state(r#"{"a":2}"#).unwrap();
    fake.connects();
    fake.calls();
    client.do_work();
    client.do_work();
    let again = reports(&fake);
    assert_eq!(again.len(), 1, "a later patch could be undone by a repetition of this one");
    assert_eq!(again[0].1, r#"{"a":1}"#);
    fake.answers(again[0].0, Ok(Reply::Reported { version: None }));
    client.do_work();
    client.do_work();
    assert_eq!(reports(&fake)[0].1, r#"{"a":2}"#);
}

#[test]
fn a_patch_that_the_hub_would_refuse_is_handed_back() {
    let mut client = Fake::new().client();
    let refused = client.send_reported_state("[1]").unwrap_err();
    assert!(matches!(refused.reason, RefusedReason::Patch(PatchError::NotAnObject(_))));
    assert_eq!(refused.value.as_ref(), b"[1]");
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(32 * 1024));
    let refused = client.send_reported_state(large).unwrap_err();
    assert!(matches!(refused.reason, RefusedReason::Patch(PatchError::TooLarge { .. })));
}

#[test]
fn twin_requests_are_bounded_and_unread_outcomes_count() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    for _ in 0..100 {
        client.send_reported_state_tracked("{}").unwrap();
    }
    let refused = client.get_twin_tracked().unwrap_err();
    assert_eq!(refused.reason, RefusedReason::TooManyTwinRequests { limit: 100 });
    client.do_work();
    fake.answers(reports(&fake)[0].0, Ok(Reply::Reported { version: None }));
    client.do_work();
    assert!(client.get_twin_tracked().is_err());
    while client.next_event().is_some() {}
    assert!(client.get_twin_tracked().is_ok());
}

#[test]
fn twin_requests_wait_until_the_subscription_for_their_answers_is_granted() {
    let fake = Fake::new();
    let mut client = fake.client();
    client.send_reported_state("{}").unwrap();
    fake.happens(TransportEvent::Connected { session_present: false });
    client.do_work();
    client.do_work();
    assert_eq!(reports(&fake), []);
    fake.happens(TransportEvent::Ready);
    client.do_work();
    client.do_work();
    assert_eq!(reports(&fake).len(), 1);
}

#[test]
fn a_full_twin_lane_does_not_spin_and_is_tried_again_when_something_happens() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    fake.script().twin_is_full = true;
    client.get_twin_tracked().unwrap();
    client.subscribe(Feature::DesiredProperties).unwrap();
    client.do_work();
    assert!(!fake.is_due(&client), "the engine spins");
    fake.script().twin_is_full = false;
    fake.happens(TransportEvent::Ready);
    client.do_work();
    let gets = fake.calls().iter().filter(|call| matches!(call, Call::TwinGet(_))).count();
    assert_eq!(gets, 2);
}

#[test]
fn a_request_for_the_whole_twin_that_is_no_longer_wanted_is_forgotten() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.subscribe(Feature::DesiredProperties).unwrap();
    client.do_work();
    let first = get(&fake);
    client.set_twin_callback(|_, _| {}).unwrap();
    assert_eq!(fake.calls(), [Call::Forget(first)]);
    client.do_work();
    let second = get(&fake);
    client.clear_twin_callback();
    assert_eq!(fake.calls()[0], Call::Forget(second));
}
