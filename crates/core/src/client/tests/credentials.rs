//! Tokens that a signer makes, and credentials that are replaced while the client lives.

use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use super::fake::{Call, Fake};
use super::*;

/// A signer whose answer is set from outside.
#[derive(Clone, Default)]
pub(super) struct Hsm(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answer: Option<Result<Vec<u8>, SignError>>,
    asked: Vec<Vec<u8>>,
    waker: Option<Waker>,
    cancelled: usize,
}

impl Hsm {
    pub(super) fn answers(&self, answer: Result<Vec<u8>, SignError>) {
        let mut state = self.0.lock().unwrap();
        state.answer = Some(answer);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn asked(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }
}

impl SasSigner for Hsm {
    fn poll_sign(&mut self, data: &[u8], _: Now, waker: &Waker) -> Poll<Result<Vec<u8>, SignError>> {
        let mut state = self.0.lock().unwrap();
        state.asked.push(data.to_vec());
        state.waker = Some(waker.clone());
        state.answer.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn cancel(&mut self) {
        self.0.lock().unwrap().cancelled += 1;
    }
}

pub(super) fn client(fake: &Fake, hsm: &Hsm) -> DeviceClient {
    DeviceClient::builder_for("hub.example", "dev-1", Credential::signer(hsm.clone()))
        .retry_policy(RetryConfig::default().with_jitter(0.0))
        .build(fake)
        .unwrap()
}

fn key() -> SharedAccessKey {
    SharedAccessKey::from_base64(&Secret::new("c2VjcmV0")).unwrap()
}

fn tokens(fake: &Fake) -> Vec<Option<String>> {
    let token = |call| match call {
        Call::Connect { token } => Some(token),
        _ => None,
    };
    fake.calls().into_iter().filter_map(token).collect()
}

#[test]
fn the_client_connects_when_the_signer_has_answered_and_sleeps_until_then() {
    let (fake, hsm) = (Fake::new(), Hsm::default());
    let mut client = client(&fake, &hsm);
    client.do_work();
    assert_eq!((fake.calls(), hsm.asked()), (vec![], 1));
    assert!(!fake.is_due(&client), "it asks again and again");
    assert_eq!(client.connection_state(), ConnectionState::Connecting);

    hsm.answers(Ok(vec![0xff; 32]));
    client.wait(Duration::MAX);
    client.do_work();
    let tokens = tokens(&fake);
    let [Some(token)] = &tokens[..] else { panic!("{tokens:?}") };
    assert!(token.starts_with("SharedAccessSignature sr=hub.example/devices/dev-1&sig=%2f%2f%2f"), "{token}");
    assert!(token.ends_with("&se=1700003600"), "{token}");
    assert_eq!(hsm.0.lock().unwrap().asked[0], b"hub.example/devices/dev-1\n1700003600");
}

#[test]
fn a_signer_makes_the_token_that_the_same_key_makes() {
    let fake = Fake::new();
    fake.client().do_work();
    let by_key = tokens(&fake);
    let credential = Credential::signer(key());
    DeviceClient::create("hub.example", "dev-1", credential, &fake).unwrap().do_work();
    assert_eq!(tokens(&fake), by_key);
}

#[test]
fn the_same_token_is_asked_for_until_it_comes_although_time_passes() {
    let (fake, hsm) = (Fake::new(), Hsm::default());
    let mut client = client(&fake, &hsm);
    client.do_work();
    fake.advance(20 * SECOND);
    client.do_work();
    let state = hsm.0.lock().unwrap();
    assert_eq!(state.asked[0], state.asked[1]);
}

#[test]
fn a_signer_that_fails_or_does_not_answer_is_a_failed_attempt() {
    let (fake, hsm) = (Fake::new(), Hsm::default());
    let mut client = client(&fake, &hsm);
    hsm.answers(Err(SignError::new("the TPM is locked")));
    client.do_work();
    let change = statuses(&mut client).pop().unwrap();
    assert_eq!((change.state, change.reason), (ConnectionState::Waiting, ConnectionStatusReason::BadCredential));
    assert!(change.error.unwrap().to_string().contains("the TPM is locked"));

    fake.advance(60 * SECOND);
    client.do_work();
    assert_eq!(hsm.asked(), 2);
    fake.advance(30 * SECOND);
    client.do_work();
    let error = statuses(&mut client).pop().unwrap().error.unwrap();
    assert!(error.to_string().contains("no signature came within 30 s"), "{error}");
    assert_eq!(hsm.0.lock().unwrap().cancelled, 1);
    assert_eq!(fake.calls(), []);
}

#[test]
fn a_renewal_waits_for_the_signer_too() {
    let (fake, hsm) = (Fake::new(), Hsm::default());
    let mut client = client(&fake, &hsm);
    hsm.answers(Ok(vec![1]));
    fake.connects();
    client.do_work();
    states(&mut client);
    fake.calls();
    fake.advance(2881 * SECOND);
    client.do_work();
    client.do_work();
    assert_eq!(states(&mut client), [ConnectionState::Renewing]);
    assert_eq!(fake.calls(), [Call::Disconnect]);
    hsm.answers(Ok(vec![2]));
    client.do_work();
    assert_eq!(tokens(&fake).len(), 1);
}

#[test]
fn another_key_is_taken_by_a_planned_renewal_that_loses_nothing() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let id = client.send_event_tracked("m").unwrap();
    client.do_work();
    fake.calls();
    client.set_credential(SharedAccessKey::from_base64(&Secret::new("b3RoZXI=")).unwrap()).unwrap();
    client.do_work();
    assert_eq!(fake.calls(), [], "it drains first");
    fake.confirms(id);
    client.do_work();
    client.do_work();
    let calls = fake.calls();
    let [Call::Disconnect, Call::Connect { token: Some(token) }] = &calls[..] else { panic!("{calls:?}") };
    let other = SharedAccessKey::from_base64(&Secret::new("b3RoZXI=")).unwrap();
    let expiry = std::time::UNIX_EPOCH + Duration::from_secs(1_700_003_600);
    assert_eq!(token, other.sign("hub.example/devices/dev-1", expiry).expose());
    assert_eq!(client.stats().resent, 0);
}

#[test]
fn a_key_is_replaced_by_a_certificate_and_back() {
    let fake = Fake::new();
    let mut client = fake.client_with(|builder| builder.retry_policy(RetryPolicy::None));
    fake.drops(ConnectionErrorKind::NotAuthorized);
    client.do_work();
    assert_eq!(client.connection_state(), ConnectionState::Stopped);
    fake.calls();
    client.set_credential(ClientCertificate::from_pem("chain", "key")).unwrap();
    client.do_work();
    assert_eq!(fake.calls(), [Call::Certificate(Some("chain".into())), Call::Connect { token: None }]);
    client.set_credential(key()).unwrap();
    assert_eq!(fake.calls(), [Call::Certificate(None)]);
}

#[test]
fn a_certificate_that_cannot_be_used_leaves_the_old_credential_in_force() {
    let fake = Fake::new();
    let mut client = fake.ready_client();
    let refused = client.set_credential(ClientCertificate::from_pem("broken", "key"));
    assert!(matches!(refused, Err(CreateError::Certificate { .. })));
    client.do_work();
    assert_eq!((fake.calls(), client.connection_state()), (vec![], ConnectionState::Ready));
}

#[test]
fn a_credential_given_while_the_old_signer_is_silent_is_used_at_once() {
    let (fake, hsm) = (Fake::new(), Hsm::default());
    let mut client = client(&fake, &hsm);
    client.do_work();
    client.set_credential(key()).unwrap();
    client.do_work();
    assert_eq!(tokens(&fake).len(), 1);
    assert_eq!(hsm.0.lock().unwrap().cancelled, 1);
}

#[test]
fn a_connection_that_is_lost_while_the_signer_is_silent_waits_like_any_other() {
    let (fake, hsm) = (Fake::new(), Hsm::default());
    let mut client = client(&fake, &hsm);
    client.do_work();
    fake.drops(ConnectionErrorKind::Refused);
    client.do_work();
    assert_eq!(client.connection_state(), ConnectionState::Waiting);
    assert_eq!(hsm.0.lock().unwrap().cancelled, 1);

    hsm.answers(Ok(vec![1]));
    client.do_work();
    assert_eq!(tokens(&fake).len(), 0, "it connects before its time");
    client.wait(60 * SECOND);
    client.do_work();
    assert_eq!(tokens(&fake).len(), 1);
}

#[test]
fn a_signer_that_is_given_while_another_is_silent_has_its_whole_time() {
    let (fake, silent, slow) = (Fake::new(), Hsm::default(), Hsm::default());
    let mut client = client(&fake, &silent);
    client.do_work();
    fake.advance(29 * SECOND);
    client.set_credential(Credential::signer(slow.clone())).unwrap();
    client.do_work();
    fake.advance(29 * SECOND);
    client.do_work();
    assert_eq!(client.connection_state(), ConnectionState::Connecting);
    slow.answers(Ok(vec![1]));
    client.do_work();
    assert_eq!(tokens(&fake).len(), 1);
    assert_eq!(slow.0.lock().unwrap().asked[0], b"hub.example/devices/dev-1\n1700003629");
}

#[test]
fn a_signer_that_is_waited_for_hears_that_the_client_is_closed() {
    let (fake, hsm) = (Fake::new(), Hsm::default());
    let mut client = client(&fake, &hsm);
    client.do_work();
    client.close(Duration::ZERO);
    assert_eq!(hsm.0.lock().unwrap().cancelled, 1);
}

#[test]
fn a_credential_given_during_an_attempt_that_fails_with_the_old_one_is_tried_at_once() {
    let fake = Fake::new();
    let mut client = fake.client_with(|builder| builder.retry_policy(RetryPolicy::None));
    client.do_work();
    client.set_credential(key()).unwrap();
    fake.drops(ConnectionErrorKind::NotAuthorized);
    client.do_work();
    let change = statuses(&mut client).pop().unwrap();
    assert_eq!((change.state, change.next_attempt_in), (ConnectionState::Waiting, Some(Duration::ZERO)));
    assert!(fake.is_due(&client));
    client.do_work();
    assert_eq!((tokens(&fake).len(), client.connection_state()), (2, ConnectionState::Connecting));

    fake.drops(ConnectionErrorKind::NotAuthorized);
    client.do_work();
    client.do_work();
    assert_eq!((tokens(&fake).len(), client.connection_state()), (0, ConnectionState::Stopped));
}

#[test]
fn a_token_that_gets_old_during_an_attempt_gives_no_second_one() {
    let fake = Fake::new();
    let mut client = fake.client_with(|builder| builder.retry_policy(RetryPolicy::None).token_lifetime(5 * SECOND));
    client.do_work();
    fake.advance(5 * SECOND);
    client.do_work();
    fake.drops(ConnectionErrorKind::Refused);
    client.do_work();
    assert_eq!(client.connection_state(), ConnectionState::Stopped);
}
