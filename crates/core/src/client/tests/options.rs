//! Options that are set after creation.

use super::fake::{Call, Fake, START};
use super::*;

#[test]
fn the_message_time_out_applies_to_what_is_sent_afterwards() {
    let fake = Fake::new();
    let mut client = fake.client_with(|builder| builder.retry_policy(RetryPolicy::None));
    fake.drops(ConnectionErrorKind::Refused);
    client.do_work();
    let (tx, rx) = channel();
    client.send_event_with("before", report(&tx, "before")).unwrap();
    client.set_option(ClientOption::from_name("messageTimeout", "1000").unwrap()).unwrap();
    client.send_event_with("after", report(&tx, "after")).unwrap();
    fake.advance(10 * SECOND);
    client.do_work();
    assert_eq!(names(&rx), ["after"]);
}

#[test]
fn the_token_life_applies_to_the_next_token() {
    let fake = Fake::new();
    let mut client = fake.client();
    client.set_option(ClientOption::TokenLifetime(60 * SECOND)).unwrap();
    client.do_work();
    let calls = fake.calls();
    let [Call::Connect { token: Some(token) }] = &calls[..] else { panic!("{calls:?}") };
    assert!(token.ends_with(&format!("&se={}", START.as_secs() + 60)), "{token}");
}

#[test]
fn the_parameters_of_the_retry_policy_can_be_changed_without_losing_count() {
    let fake = Fake::new();
    let mut client = fake.client();
    fake.drops(ConnectionErrorKind::Refused);
    client.do_work();
    client.set_option(ClientOption::RetryInterval(3 * SECOND)).unwrap();
    client.set_option(ClientOption::RetryMaxDelay(5 * SECOND)).unwrap();
    client.wait(60 * SECOND);
    fake.drops(ConnectionErrorKind::Refused);
    client.do_work();
    let change = statuses(&mut client).pop().unwrap();
    assert_eq!((change.attempt, change.next_attempt_in), (2, Some(5 * SECOND)));
}

#[test]
fn what_is_out_of_range_or_not_of_the_transport_is_refused_by_name() {
    let mut client = Fake::new().client();
    let mut refuse = |option| match client.set_option(option) {
        Err(OptionError::Range { option, .. } | OptionError::NotOfTransport { option, .. }) => option,
        other => panic!("{other:?}"),
    };
    assert_eq!(refuse(ClientOption::TokenLifetime(SECOND)), "sas_token_lifetime");
    assert_eq!(refuse(ClientOption::RetryInterval(SECOND / 2)), "retry_interval_sec");
    assert_eq!(refuse(ClientOption::RetryMaxDelay(SECOND / 2)), "retry_max_delay_secs");
    assert_eq!(refuse(ClientOption::Transport(TransportOption::ConnectTimeout(SECOND))), "connect_timeout");
    assert!(client.set_option(ClientOption::Transport(TransportOption::KeepAlive(SECOND))).is_ok());
}

#[test]
fn times_beyond_every_calendar_are_as_good_as_for_ever() {
    for policy in [RetryPolicy::Interval, RetryPolicy::ExponentialBackoffWithJitter, RetryPolicy::Random] {
        let fake = Fake::new();
        let retry = RetryConfig::new(policy).with_initial_delay(Duration::MAX).with_max_delay(Duration::MAX);
        let mut client = fake.client_with(|builder| builder.retry_policy(retry).token_lifetime(Duration::MAX));
        client.set_option(ClientOption::MessageTimeout(Some(Duration::MAX))).unwrap();
        client.send_event("m").unwrap();
        fake.connects();
        client.do_work();
        assert_eq!(client.connection_state(), ConnectionState::Ready);
        fake.drops(ConnectionErrorKind::Refused);
        client.do_work();
        client.do_work();
        fake.drops(ConnectionErrorKind::Refused);
        client.do_work();
        assert_eq!(client.connection_state(), ConnectionState::Waiting);
        let _ = client.next_deadline();
    }
}
