//! Modules on IoT Edge: created from their environment, connected with the daemon's signature and trust bundle.

use super::fake::{Call, Fake, START};
use super::*;
use crate::edge::scripted::{Scripted, lock};
use ConnectionState::{Connecting, Ready, Waiting};

const BUNDLE: &str = r#"{"certificate":"roots"}"#;
const DIGEST: &str = r#"{"digest":"AQID"}"#;

fn variable(name: &str) -> Option<String> {
    let value = match name {
        "IOTEDGE_AUTHSCHEME" => "sasToken",
        "IOTEDGE_DEVICEID" => "edge-1",
        "IOTEDGE_IOTHUBHOSTNAME" => "hub.example",
        "IOTEDGE_GATEWAYHOSTNAME" => "gateway",
        "IOTEDGE_MODULEID" => "fil%ter",
        "IOTEDGE_MODULEGENERATIONID" => "1",
        "IOTEDGE_WORKLOADURI" => "unix:///run/workload.sock",
        _ => return None,
    };
    Some(value.to_owned())
}

fn module(fake: &Fake, http: &Scripted) -> ModuleClient {
    let builder = ModuleClient::builder_from_variables(http.clone(), variable).unwrap();
    builder.retry_policy(RetryConfig::default().with_jitter(0.0)).build(fake).unwrap()
}

/// Up to a ready connection.
fn connected(fake: &Fake, http: &Scripted) -> ModuleClient {
    let mut client = module(fake, http);
    client.do_work();
    http.answers_with(0, 200, BUNDLE);
    client.do_work();
    http.answers_with(0, 200, DIGEST);
    fake.connects();
    client.do_work();
    assert_eq!(client.connection_state(), Ready);
    while client.next_event().is_some() {}
    fake.calls();
    client
}

#[test]
fn nothing_blocks_and_nothing_is_asked_before_the_first_do_work() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = module(&fake, &http);
    assert!(lock(&http.script(0)).under_way.is_empty());
    assert_eq!(lock(&http.script(0)).trust, Trust::Nobody);
    client.do_work();
    assert_eq!(client.connection_state(), Connecting);
    assert!(http.request(0).url.contains("/trust-bundle"));
    assert_eq!(fake.calls(), []);
    let mut watched = Vec::new();
    client.readiness(&mut watched);
    assert_eq!(watched.len(), 1, "the daemon's answer wakes the client");
}

#[test]
fn the_connection_trusts_the_bundle_and_shows_the_daemons_signature() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = module(&fake, &http);
    client.do_work();
    http.answers_with(0, 200, BUNDLE);
    client.do_work();
    let body = String::from_utf8(http.request(0).body.to_vec()).unwrap();
    http.answers_with(0, 200, DIGEST);
    client.do_work();

    // Host and ids are escaped once, and what is signed is what stands in the token.
    let (scope, expiry) = ("hub.example%2Fdevices%2Fedge-1%2Fmodules%2Ffil%25ter", START.as_secs() + 3600);
    let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{scope}\n{expiry}"));
    assert!(body.contains(&data), "{body}");
    let token = format!("SharedAccessSignature sr={scope}&sig=AQID&se={expiry}");
    let trust = Trust::Pem("roots".to_owned());
    assert_eq!(fake.calls(), [Call::Trust(trust), Call::Connect { token: Some(token) }]);
}

#[test]
fn wrinkle_22_a_daemon_that_does_not_answer_is_a_failed_attempt_and_is_asked_again() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = module(&fake, &http);
    client.do_work();
    let before = fake.script().now.mono;
    client.wait(3600 * SECOND);
    assert_eq!(fake.script().now.mono - before, 25 * SECOND);
    client.do_work();
    let changes = statuses(&mut client);
    let last = changes.last().unwrap();
    assert_eq!((last.state, last.reason), (Waiting, ConnectionStatusReason::BadCredential));
    let text = last.error.as_ref().unwrap().to_string();
    assert!(text.contains("unix:/run/workload.sock did not answer in time"), "{text}");

    client.wait(3600 * SECOND);
    client.do_work();
    assert!(http.request(0).url.contains("/trust-bundle"));
    assert_eq!(fake.calls(), []);
}

#[test]
fn a_trust_bundle_that_cannot_be_used_is_a_failed_attempt() {
    let (fake, http) = (Fake::new(), Scripted::default());
    fake.script().refuses_trust = true;
    let mut client = module(&fake, &http);
    client.do_work();
    http.answers_with(0, 200, BUNDLE);
    client.do_work();
    http.answers_with(0, 200, DIGEST);
    client.do_work();
    assert_eq!(states(&mut client), [Connecting, Waiting]);
    assert_eq!(fake.attempts(), 0);
}

#[test]
fn a_renewal_fetches_the_bundle_again_and_sets_it_only_if_it_is_another() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = connected(&fake, &http);
    for (bundle, expected) in [(BUNDLE, None), (r#"{"certificate":"new roots"}"#, Some("new roots"))] {
        fake.advance(2880 * SECOND);
        client.do_work();
        client.do_work();
        http.answers_with(0, 200, bundle);
        client.do_work();
        http.answers_with(0, 200, DIGEST);
        fake.connects();
        client.do_work();
        assert_eq!(client.connection_state(), Ready);
        let trusted = fake.calls().into_iter().find_map(|call| match call {
            Call::Trust(Trust::Pem(pem)) => Some(pem),
            _ => None,
        });
        assert_eq!(trusted.as_deref(), expected);
    }
}

#[test]
fn calls_of_methods_trust_the_bundle_too_and_wait_for_it() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = module(&fake, &http);
    client.invoke_device_method_tracked("d", MethodInvocation::new("m")).unwrap();
    client.do_work();
    // A signature, but roots that cannot be used.
    fake.script().refuses_trust = true;
    http.answers_with(0, 200, BUNDLE);
    client.do_work();
    http.answers_with(0, 200, DIGEST);
    client.do_work();
    client.do_work();
    assert_eq!(http.engines(), 1, "nobody is trusted");

    fake.script().refuses_trust = false;
    client.reconnect();
    client.do_work();
    http.answers_with(0, 200, BUNDLE);
    client.do_work();
    http.answers_with(0, 200, DIGEST);
    fake.connects();
    client.do_work();
    assert!(http.request(1).url.starts_with("https://gateway/"));
    assert_eq!(lock(&http.script(1)).trust, Trust::Pem("roots".to_owned()));

    fake.advance(2880 * SECOND);
    client.do_work();
    client.do_work();
    http.answers_with(0, 200, r#"{"certificate":"new roots"}"#);
    client.do_work();
    http.answers_with(0, 200, DIGEST);
    client.do_work();
    assert_eq!(lock(&http.script(1)).trust, Trust::Pem("new roots".to_owned()));
}

#[test]
fn root_certificates_of_the_application_go_before_the_bundle() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let builder = ModuleClient::builder_from_variables(http.clone(), variable).unwrap();
    let mut client = builder.trusted_certs("own roots").build(&fake).unwrap();
    client.do_work();
    http.answers_with(0, 200, BUNDLE);
    client.do_work();
    http.answers_with(0, 200, DIGEST);
    client.do_work();
    assert!(matches!(&fake.calls()[..], [Call::Connect { .. }]));
}

#[test]
fn close_while_the_daemon_is_asked_gives_the_question_up() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = module(&fake, &http);
    client.do_work();
    client.close(Duration::ZERO);
    assert!(lock(&http.script(0)).under_way.is_empty());
    assert_eq!(client.next_deadline(), None);
}

#[test]
fn a_wrong_environment_is_told_at_creation() {
    let wrong = |name: &str| match name {
        "IOTEDGE_WORKLOADURI" => Some("ftp://edged".to_owned()),
        name => variable(name),
    };
    let error = ModuleClient::builder_from_variables(Scripted::default(), wrong).unwrap_err().to_string();
    assert!(error.contains("IOTEDGE_WORKLOADURI") && error.contains("ftp://edged"), "{error}");
}
