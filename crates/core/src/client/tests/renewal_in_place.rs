//! Tokens that are replaced on the live connection.

use super::credentials::{Hsm, client as client_with_signer};
use super::fake::{Call, Fake, START};
use super::*;

/// 80 % of an hour.
const RENEWAL: Duration = Duration::from_secs(2880);

fn fake() -> Fake {
    let fake = Fake::new();
    fake.script().renews_in_place = true;
    fake
}

fn renewals(fake: &Fake) -> Vec<String> {
    let token = |call| match call {
        Call::Renew(token) => token,
        other => panic!("{other:?}"),
    };
    fake.calls().into_iter().map(token).collect()
}

#[test]
fn a_token_is_replaced_in_time_and_nothing_is_told() {
    let fake = fake();
    let mut client = fake.ready_client();
    client.wait(3600 * SECOND);
    assert_eq!(fake.script().now.wall, std::time::UNIX_EPOCH + START + RENEWAL);
    client.do_work();
    let tokens = renewals(&fake);
    assert_eq!(tokens.len(), 1);
    assert!(tokens[0].ends_with(&format!("&se={}", START.as_secs() + 2880 + 3600)), "{tokens:?}");
    assert_eq!((statuses(&mut client).len(), client.stats().renewals), (0, 1));
    assert_eq!(client.connection_state(), ConnectionState::Ready);
    client.wait(3600 * SECOND);
    assert_eq!(fake.script().now.wall, std::time::UNIX_EPOCH + START + 2 * RENEWAL);
}

#[test]
fn what_is_under_way_goes_on_and_nothing_waits() {
    let fake = fake();
    let mut client = fake.ready_client();
    client.send_event("flying").unwrap();
    client.do_work();
    fake.calls();
    fake.advance(RENEWAL);
    client.send_event("next").unwrap();
    client.do_work();
    let calls = fake.calls();
    assert!(matches!(&calls[..], [Call::Renew(_), Call::Telemetry(..)]), "{calls:?}");
    assert_eq!(client.stats().resent, 0);
}

#[test]
fn a_token_that_a_signer_makes_later_is_waited_for_on_the_live_connection() {
    let (fake, hsm) = (fake(), Hsm::default());
    let mut client = client_with_signer(&fake, &hsm);
    hsm.answers(Ok(vec![1]));
    fake.connects();
    client.do_work();
    states(&mut client);
    fake.calls();
    fake.advance(RENEWAL);
    client.do_work();
    client.send_event("meanwhile").unwrap();
    client.do_work();
    assert!(matches!(&fake.calls()[..], [Call::Telemetry(..)]));
    assert!(!fake.is_due(&client), "nothing to do until the signer answers");
    hsm.answers(Ok(vec![2]));
    client.do_work();
    assert_eq!(renewals(&fake).len(), 1);
    assert_eq!(states(&mut client), []);
}

#[test]
fn a_signer_that_fails_is_asked_again_while_the_token_lives() {
    let (fake, hsm) = (fake(), Hsm::default());
    let mut client = client_with_signer(&fake, &hsm);
    hsm.answers(Ok(vec![1]));
    fake.connects();
    client.do_work();
    states(&mut client);
    fake.calls();
    fake.advance(RENEWAL);
    hsm.answers(Err(SignError::new("busy")));
    client.do_work();
    assert!(!fake.is_due(&client));
    hsm.answers(Ok(vec![2]));
    client.do_work();
    assert_eq!(renewals(&fake).len(), 0, "not at once");
    fake.advance(360 * SECOND);
    client.do_work();
    assert_eq!(renewals(&fake).len(), 1);
    assert_eq!(states(&mut client), []);
}

#[test]
fn a_connection_that_drops_while_the_signer_works_waits_for_its_next_attempt() {
    let (fake, hsm) = (fake(), Hsm::default());
    let mut client = client_with_signer(&fake, &hsm);
    hsm.answers(Ok(vec![1]));
    fake.connects();
    client.do_work();
    fake.advance(RENEWAL);
    client.do_work();
    let asked = hsm.asked();
    // The first attempt after a drop is immediate; the second is not.
    fake.drops(ConnectionErrorKind::ClosedByPeer);
    client.do_work();
    hsm.answers(Ok(vec![2]));
    client.do_work();
    fake.drops(ConnectionErrorKind::Refused);
    client.do_work();
    let after_the_attempt = hsm.asked();
    client.do_work();
    assert_eq!(hsm.asked(), after_the_attempt);
    assert!(after_the_attempt > asked);
    assert_eq!(client.connection_state(), ConnectionState::Waiting);
}

#[test]
fn another_token_or_key_takes_effect_at_once_and_a_certificate_by_another_connection() {
    let fake = fake();
    let mut client = fake.ready_client();
    client.set_credential(SharedAccessKey::from_base64(&Secret::new("b3RoZXI=")).unwrap()).unwrap();
    client.do_work();
    assert_eq!(renewals(&fake).len(), 1);
    client.set_credential(ClientCertificate::from_pem("chain", "key")).unwrap();
    client.do_work();
    client.do_work();
    let calls = fake.calls();
    assert_eq!(calls, [Call::Certificate(Some("chain".into())), Call::Disconnect, Call::Connect { token: None }]);
}

#[test]
fn an_applications_token_is_replaced_without_an_outage() {
    let fake = fake();
    let token = |name, life| format!("SharedAccessSignature sr=h&sig={name}&se={}", START.as_secs() + life);
    let text = format!("HostName=hub.example;DeviceId=d;SharedAccessSignature={}", token("first", 1000));
    let mut client = DeviceClient::create_from_connection_string(&text, &fake).unwrap();
    fake.connects();
    client.do_work();
    states(&mut client);
    fake.calls();
    client.set_shared_access_signature(token("second", 5000)).unwrap();
    client.do_work();
    assert_eq!(renewals(&fake), [token("second", 5000)]);
    fake.advance(1001 * SECOND);
    client.do_work();
    assert_eq!(client.connection_state(), ConnectionState::Ready);
}
