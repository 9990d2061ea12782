//! The connection's life: states, retries, and when the engine wants to be called.

use super::fake::{Call, Fake, START};
use super::*;
use ConnectionState::{Connected, Connecting, Ready, Stopped, Waiting};

#[test]
fn wrinkle_15_connected_and_ready_are_told_apart() {
    let fake = Fake::new();
    let mut client = fake.client();
    fake.happens(TransportEvent::Connected { session_present: true });
    client.do_work();
    assert_eq!(states(&mut client), [Connecting, Connected]);
    fake.happens(TransportEvent::Ready);
    fake.happens(TransportEvent::Ready);
    client.do_work();
    assert_eq!(states(&mut client), [Ready]);
}

#[test]
fn wrinkle_14_every_drop_is_one_event_with_its_cause() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    fake.drops(ConnectionErrorKind::NoPingResponse { after: SECOND });
    client.do_work();
    let changes = statuses(&mut client);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].state, Waiting);
    assert_eq!(changes[0].reason, ConnectionStatusReason::NoPingResponse);
    assert!(changes[0].error.as_ref().unwrap().to_string().starts_with("hub.example:8883: no answer"));
}

#[test]
fn wrinkle_21_the_attempt_and_the_next_delay_are_in_the_event() {
    let fake = Fake::new();
    let mut client = fake.client();
    let mut seen = Vec::new();
    for _ in 0..4 {
        fake.drops(ConnectionErrorKind::Refused);
        client.do_work();
        let waiting = statuses(&mut client).pop().unwrap();
        seen.push((waiting.attempt, waiting.next_attempt_in.unwrap()));
        client.wait(60 * SECOND);
    }
    assert_eq!(seen, [(1, SECOND), (2, 2 * SECOND), (3, 4 * SECOND), (4, 8 * SECOND)]);
}

#[test]
fn invariant_6_the_first_attempt_after_a_drop_is_immediate_and_the_delays_then_grow() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    fake.advance(60 * SECOND);
    let mut delays = Vec::new();
    for _ in 0..7 {
        fake.drops(ConnectionErrorKind::ClosedByPeer);
        client.do_work();
        delays.push(statuses(&mut client).pop().unwrap().next_attempt_in.unwrap().as_secs());
        client.wait(60 * SECOND);
        client.do_work();
    }
    assert_eq!(delays, [0, 1, 2, 4, 8, 16, 30]);
}

#[test]
fn wrinkle_23_an_engine_that_waits_for_its_retry_wakes_once() {
    let fake = Fake::new();
    let mut client = fake.client();
    for _ in 0..6 {
        fake.drops(ConnectionErrorKind::Refused);
        client.do_work();
        client.wait(3600 * SECOND);
    }
    fake.drops(ConnectionErrorKind::Refused);
    client.do_work();
    let before = client.stats().poller_returns;
    fake.calls();
    client.wait(3600 * SECOND);
    client.do_work();
    assert_eq!(client.stats().poller_returns - before, 1);
    assert_eq!(fake.attempts(), 1);
}

#[test]
fn wrinkle_23_work_that_can_be_done_makes_the_deadline_now() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    assert!(!fake.is_due(&client));
    client.send_event("a").unwrap();
    assert!(fake.is_due(&client));
    fake.script().window = 0;
    client.do_work();
    assert!(!fake.is_due(&client), "a full window must not spin");
}

#[test]
fn wrinkle_13_a_terminal_answer_stops_the_client_until_it_is_told_to_reconnect() {
    let fake = Fake::new();
    let mut client = fake.client();
    fake.drops(ConnectionErrorKind::IdentifierRefused);
    client.do_work();
    let change = statuses(&mut client).pop().unwrap();
    assert_eq!((change.state, change.reason), (Stopped, ConnectionStatusReason::BadCredential));
    assert_eq!(client.next_deadline(), None);
    assert_eq!(fake.attempts(), 1);
    client.reconnect();
    client.do_work();
    assert_eq!(fake.attempts(), 1);
}

#[test]
fn without_a_retry_policy_the_client_connects_once_and_then_stops() {
    let fake = Fake::new();
    let mut client = fake.client_with(|builder| builder.retry_policy(RetryPolicy::None));
    fake.connects();
    client.do_work();
    fake.drops(ConnectionErrorKind::ClosedByPeer);
    client.do_work();
    let change = statuses(&mut client).pop().unwrap();
    assert_eq!((change.state, change.reason), (Stopped, ConnectionStatusReason::RetryExpired));
    assert_eq!(change.error.unwrap().kind, ConnectionErrorKind::ClosedByPeer);
    client.do_work();
    assert_eq!(fake.attempts(), 1);
}

#[test]
fn wrinkle_49_a_stopped_client_keeps_its_messages_for_the_reconnect() {
    let fake = Fake::new();
    let mut client = fake.client_with(|builder| builder.retry_policy(RetryPolicy::None));
    fake.drops(ConnectionErrorKind::Refused);
    client.do_work();
    client.send_event("kept").unwrap();
    client.do_work();
    assert_eq!(fake.telemetry(), []);
    client.set_retry_policy(RetryPolicy::ExponentialBackoffWithJitter);
    fake.connects();
    client.do_work();
    client.do_work();
    assert_eq!(fake.telemetry()[0].1, "kept");
}

#[test]
fn wrinkle_20_the_retry_policy_and_its_parameters_are_one_value() {
    let mut client = Fake::new().client();
    let config = RetryConfig::default().with_max_delay(5 * SECOND).with_initial_delay(SECOND / 2);
    client.set_retry_policy(config);
    assert_eq!(*client.retry_policy(), config);
}

#[test]
fn each_connection_gets_a_token_of_its_own() {
    let fake = Fake::new();
    let mut client = fake.client();
    client.do_work();
    fake.advance(100 * SECOND);
    fake.drops(ConnectionErrorKind::Refused);
    client.do_work();
    fake.advance(SECOND);
    client.do_work();
    let tokens: Vec<_> = fake
        .calls()
        .into_iter()
        .filter_map(|call| match call {
            Call::Connect { token } => token,
            _ => None,
        })
        .collect();
    assert_eq!(tokens.len(), 2);
    for (token, age) in tokens.iter().zip([0, 101]) {
        assert!(token.starts_with("SharedAccessSignature sr=hub.example/devices/dev-1&sig="), "{token}");
        assert!(token.ends_with(&format!("&se={}", START.as_secs() + age + 3600)), "{token}");
    }
}

#[test]
fn a_ready_token_that_has_expired_is_named_and_never_sent() {
    let fake = Fake::new();
    let token = format!("SharedAccessSignature sr=hub.example%2Fdevices%2Fd&sig=geheim&se={}", START.as_secs() + 5);
    let text = format!("HostName=hub.example;DeviceId=d;SharedAccessSignature={token}");
    let mut client = DeviceClient::create_from_connection_string(&text, &fake).unwrap();
    client.do_work();
    assert_eq!(fake.calls(), [Call::Connect { token: Some(token) }]);
    fake.advance(5 * SECOND);
    fake.drops(ConnectionErrorKind::ClosedByPeer);
    client.do_work();
    client.wait(60 * SECOND);
    client.do_work();
    let change = statuses(&mut client).pop().unwrap();
    assert_eq!((change.state, change.reason), (Stopped, ConnectionStatusReason::ExpiredSasToken));
    let text = change.error.unwrap().to_string();
    assert!(text.contains("expired at 2023-11-14T22:13:25Z") && !text.contains("geheim"), "{text}");
    assert_eq!(fake.attempts(), 0);
}

#[test]
fn a_status_callback_replaces_the_events_and_can_replace_itself() {
    let fake = Fake::new();
    let mut client = fake.client();
    let (tx, rx) = channel();
    client.set_connection_status_callback(move |change, outbox| {
        tx.send(change.state).unwrap();
        let tx = tx.clone();
        outbox.set_connection_status_callback(move |_, _| tx.send(Stopped).unwrap());
    });
    fake.connects();
    client.do_work();
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [Connecting, Stopped, Stopped]);
    assert!(client.next_event().is_none());
}

#[test]
fn a_status_callback_that_clears_itself_stays_cleared() {
    let fake = Fake::new();
    let mut client = fake.client();
    client.set_connection_status_callback(|_, outbox| outbox.clear_connection_status_callback());
    fake.connects();
    client.do_work();
    assert_eq!(states(&mut client), [Connected, Ready]);
}

#[test]
fn one_wait_parks_on_several_clients() {
    let fake = Fake::new();
    let (mut a, mut b) = (fake.client(), fake.client());
    fake.drops(ConnectionErrorKind::Refused);
    a.do_work();
    fake.drops(ConnectionErrorKind::Refused);
    b.do_work();
    fake.advance(SECOND / 2);
    wait_any(&mut [&mut a, &mut b], 60 * SECOND);
    assert_eq!(fake.script().parks.last().unwrap().unwrap(), SECOND);
}

#[test]
fn the_waker_ends_a_wait_from_another_thread() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let waker = client.waker();
    std::thread::spawn(move || waker.wake()).join().unwrap();
    let before = fake.script().now;
    client.wait(Duration::MAX);
    assert_eq!(fake.script().now, before);
}
