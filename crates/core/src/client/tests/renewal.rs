//! Tokens that are about to expire: renewed in time, announced, and replaced.

use super::fake::{Call, Fake, START};
use super::*;
use ConnectionState::{Connected, Connecting, Ready, Renewing, Stopped};

/// 80 % of an hour.
const RENEWAL: Duration = Duration::from_secs(2880);

fn token(calls: &[Call]) -> String {
    let token = calls.iter().find_map(|call| match call {
        Call::Connect { token } => token.clone(),
        _ => None,
    });
    token.unwrap_or_else(|| panic!("no connect: {calls:?}"))
}

fn with_signature(fake: &Fake, lifetime: u64) -> DeviceClient {
    let token = format!("SharedAccessSignature sr=h&sig=first&se={}", START.as_secs() + lifetime);
    let text = format!("HostName=hub.example;DeviceId=d;SharedAccessSignature={token}");
    let mut client = DeviceClient::create_from_connection_string(&text, fake).unwrap();
    fake.connects();
    client.do_work();
    while client.next_event().is_some() {}
    fake.calls();
    client
}

#[test]
fn wrinkle_16_a_token_is_renewed_before_it_expires_and_that_is_no_outage() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.wait(3600 * SECOND);
    assert_eq!(fake.script().now.wall, std::time::UNIX_EPOCH + START + RENEWAL);
    client.do_work();
    fake.connects();
    client.do_work();
    let calls = fake.calls();
    assert_eq!(calls[0], Call::Disconnect);
    assert!(token(&calls).ends_with(&format!("&se={}", START.as_secs() + 2880 + 3600)));
    let changes = statuses(&mut client);
    assert_eq!(changes.iter().map(|change| change.state).collect::<Vec<_>>(), [Renewing, Connected, Ready]);
    assert!(changes.iter().all(|change| change.status() == ConnectionStatus::Authenticated));
    assert_eq!(client.stats().renewals, 1);
}

#[test]
fn what_is_under_way_ends_first_and_what_is_sent_meanwhile_waits() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.send_event("flying").unwrap();
    client.do_work();
    let flying = fake.telemetry()[0].0;
    fake.advance(RENEWAL);
    client.send_event("later").unwrap();
    client.do_work();
    assert_eq!(client.connection_state(), Renewing);
    assert_eq!(fake.calls(), []);
    fake.confirms(flying);
    client.do_work();
    client.do_work();
    fake.connects();
    client.do_work();
    client.do_work();
    let calls = fake.calls();
    assert!(matches!(&calls[..], [Call::Disconnect, Call::Connect { .. }, Call::Telemetry(..)]), "{calls:?}");
    assert_eq!(client.stats().resent, 0);
}

#[test]
fn draining_ends_with_the_last_outcome_and_the_client_goes_on_at_once() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.send_event("flying").unwrap();
    client.do_work();
    let flying = fake.telemetry()[0].0;
    fake.advance(RENEWAL);
    client.do_work();
    fake.confirms(flying);
    client.do_work();
    assert_eq!(fake.calls(), [Call::Disconnect]);
    assert!(fake.is_due(&client), "the goodbye waits for the next slice");
}

#[test]
fn draining_ends_after_ten_seconds_and_what_had_no_outcome_is_sent_again() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.send_event("stuck").unwrap();
    client.do_work();
    let stuck = fake.telemetry()[0].0;
    fake.advance(RENEWAL);
    client.do_work();
    let before = fake.script().now.mono;
    client.wait(3600 * SECOND);
    assert_eq!(fake.script().now.mono - before, 10 * SECOND);
    client.do_work();
    fake.connects();
    client.do_work();
    client.do_work();
    assert_eq!(fake.telemetry(), [(stuck, "stuck".to_owned())]);
}

#[test]
fn draining_never_outlives_the_token() {
    let fake = Fake::new();
    let mut client = fake.client_with(|builder| builder.token_lifetime(40 * SECOND));
    fake.connects();
    client.do_work();
    client.send_event("stuck").unwrap();
    client.do_work();
    fake.advance(32 * SECOND);
    client.do_work();
    let before = fake.script().now.mono;
    client.wait(3600 * SECOND);
    assert_eq!(fake.script().now.mono - before, 4 * SECOND);
}

#[test]
fn wrinkle_18_a_planned_renewal_needs_no_retry_policy() {
    let fake = Fake::new();
    let mut client = fake.client_with(|builder| builder.retry_policy(RetryPolicy::None));
    fake.connects();
    client.do_work();
    fake.advance(RENEWAL);
    client.do_work();
    fake.connects();
    client.do_work();
    assert_eq!(client.connection_state(), Ready);
}

#[test]
fn a_renewal_that_fails_becomes_an_outage() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    fake.advance(RENEWAL);
    client.do_work();
    fake.drops(ConnectionErrorKind::Refused);
    client.do_work();
    let change = statuses(&mut client).pop().unwrap();
    assert_eq!((change.state, change.reason), (ConnectionState::Waiting, ConnectionStatusReason::NoNetwork));
    assert_eq!(change.next_attempt_in, Some(Duration::ZERO), "the connection had lasted");
}

#[test]
fn a_connection_with_a_certificate_is_never_renewed() {
    let fake = Fake::new();
    let certificate = ClientCertificate::from_pem("chain", "key");
    let builder = DeviceClient::builder("HostName=h;DeviceId=d;x509=true").certificate(certificate);
    let mut client = builder.build(&fake).unwrap();
    fake.connects();
    client.do_work();
    assert_eq!(client.next_deadline(), None);
}

#[test]
fn wrinkle_17_a_token_of_the_application_is_told_to_expire_and_then_stops_the_client() {
    let fake = Fake::new();
    let mut client = with_signature(&fake, 100);
    client.wait(3600 * SECOND);
    client.do_work();
    let Some(Event::TokenExpiring { at }) = client.next_event() else { panic!("no event") };
    assert_eq!(at.duration_since(fake.script().now.wall).unwrap(), 20 * SECOND);
    assert_eq!(client.connection_state(), Ready);
    client.wait(3600 * SECOND);
    client.do_work();
    let change = statuses(&mut client).pop().unwrap();
    assert_eq!((change.state, change.reason), (Stopped, ConnectionStatusReason::ExpiredSasToken));
    assert_eq!(fake.calls(), [Call::Disconnect]);
    assert_eq!(client.next_deadline(), None);
}

#[test]
fn wrinkle_17_a_token_of_the_application_can_be_replaced_in_time() {
    let fake = Fake::new();
    let mut client = with_signature(&fake, 100);
    fake.advance(90 * SECOND);
    client.do_work();
    let second = format!("SharedAccessSignature sr=h&sig=second&se={}", START.as_secs() + 1000);
    client.set_shared_access_signature(second.clone()).unwrap();
    client.do_work();
    fake.connects();
    client.do_work();
    assert_eq!(token(&fake.calls()), second);
    assert_eq!(states(&mut client), [Renewing, Connected, Ready]);
}

#[test]
fn wrinkle_17_a_token_that_is_given_in_time_keeps_the_client_alive_although_the_old_one_expires_meanwhile() {
    let fake = Fake::new();
    let mut client = with_signature(&fake, 100);
    fake.advance(98 * SECOND);
    client.do_work();
    let second = format!("SharedAccessSignature sr=h&sig=second&se={}", START.as_secs() + 1000);
    client.set_shared_access_signature(second.clone()).unwrap();
    fake.advance(5 * SECOND);
    client.do_work();
    fake.connects();
    client.do_work();
    assert_eq!(token(&fake.calls()), second);
    assert_eq!(states(&mut client), [Renewing, Connected, Ready]);
}

#[test]
fn wrinkle_17_a_goodbye_that_outlasts_the_old_token_does_not_stop_the_client() {
    let fake = Fake::new();
    let mut client = with_signature(&fake, 100);
    fake.advance(98 * SECOND);
    client.do_work();
    client.set_credential(SharedAccessKey::from_base64(&Secret::new("YQ==")).unwrap()).unwrap();
    fake.script().mute = true;
    client.do_work();
    assert_eq!(fake.calls(), [Call::Disconnect]);
    fake.advance(5 * SECOND);
    client.do_work();
    assert_eq!(client.connection_state(), Renewing);
    fake.happens(TransportEvent::Disconnected);
    client.do_work();
    assert_eq!(fake.attempts(), 1);
}

#[test]
fn wrinkle_17_a_client_that_stopped_for_its_token_connects_with_the_next() {
    let fake = Fake::new();
    let mut client = with_signature(&fake, 100);
    fake.advance(200 * SECOND);
    client.do_work();
    client.do_work();
    assert_eq!(client.connection_state(), Stopped);
    statuses(&mut client);
    let next = format!("SharedAccessSignature sr=h&sig=next&se={}", START.as_secs() + 1000);
    client.set_shared_access_signature(next).unwrap();
    fake.script().events.clear();
    fake.connects();
    client.do_work();
    assert_eq!(states(&mut client), [Connecting, Connected, Ready]);
}

#[test]
fn only_a_client_with_a_token_of_the_application_takes_another() {
    let mut client = Fake::new().client();
    let error = client.set_shared_access_signature("SharedAccessSignature sr=h&sig=s&se=1").unwrap_err();
    assert_eq!(error, CredentialError::NotASignature);
    let mut client = with_signature(&Fake::new(), 100);
    assert!(matches!(client.set_shared_access_signature("nonsense"), Err(CredentialError::Signature { .. })));
}

#[test]
fn a_method_that_is_unanswered_is_waited_for_while_draining() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    client.subscribe(Feature::Methods).unwrap();
    fake.calls_method("reboot", 1);
    client.do_work();
    let Some(Event::Method(request)) = client.next_event() else { panic!("no method") };
    fake.advance(RENEWAL);
    client.do_work();
    client.do_work();
    assert_eq!(client.connection_state(), Renewing);
    fake.calls();
    request.respond(200, "1").unwrap();
    client.do_work();
    let calls = fake.calls();
    assert!(matches!(calls[..], [Call::MethodResponse(..)]), "{calls:?}");
}
