//! Calling methods through the Edge gateway.

use super::fake::{Fake, START};
use super::*;
use crate::edge::scripted::{Scripted, lock};

const MODULE: &str =
    "HostName=hub.example;DeviceId=edge-1;ModuleId=filter;GatewayHostName=gateway:8884;SharedAccessKey=c2VjcmV0";

/// What a call may take by default: 30 s for the answer, and 15 s for the rest.
const TIME_LIMIT: Duration = Duration::from_secs(45);

fn client(fake: &Fake, http: &Scripted) -> ModuleClient {
    ModuleClient::builder(MODULE).trusted_certs("roots").https(http.clone()).build(fake).unwrap()
}

fn ready(fake: &Fake, http: &Scripted) -> ModuleClient {
    let mut client = client(fake, http);
    fake.connects();
    client.do_work();
    while client.next_event().is_some() {}
    client
}

/// A client with a token of the application, which expires then.
fn with_signature(fake: &Fake, http: &Scripted, expiry: u64) -> ModuleClient {
    let signature = format!("SharedAccessSignature=SharedAccessSignature sr=h&sig=s&se={expiry}");
    let text = MODULE.replace("SharedAccessKey=c2VjcmV0", &signature);
    ModuleClient::builder(&text).https(http.clone()).build(fake).unwrap()
}

/// How many descriptors the client waits for; the fakes have none but for requests.
fn watched(client: &ModuleClient) -> usize {
    let mut out = Vec::new();
    client.readiness(&mut out);
    out.len()
}

fn call() -> MethodInvocation {
    MethodInvocation::new("reboot")
}

fn outcome(client: &mut ModuleClient) -> (OpId, Result<MethodResponse, InvokeError>) {
    loop {
        if let Event::MethodInvoked { id, outcome } = client.next_event().expect("an outcome") {
            return (id, outcome);
        }
    }
}

fn refused(client: &mut ModuleClient) -> String {
    let refused = client.invoke_device_method_tracked("d", call()).unwrap_err();
    assert_eq!(refused.value, call());
    refused.to_string()
}

#[test]
fn a_call_goes_to_the_gateway_with_the_connections_token_and_its_answer_comes_back() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = ready(&fake, &http);
    let (tell, told) = channel();
    client.invoke_device_method("thermo", call(), move |outcome, _| tell.send(outcome).unwrap()).unwrap();
    assert!(fake.is_due(&client));
    client.do_work();
    assert!(!fake.is_due(&client), "it waits for the engine now");
    assert_eq!(watched(&client), 1);

    let request = http.request(0);
    assert_eq!(request.url, "https://gateway/twins/thermo/methods?api-version=2020-09-30");
    let authorization = request.headers.iter().find(|(name, _)| name == "Authorization").unwrap();
    let token = authorization.1.expose();
    assert!(token.starts_with("SharedAccessSignature sr=hub.example/devices/edge-1/modules/filter&"), "{token}");
    assert_eq!(lock(&http.script(0)).trust, Trust::Pem("roots".to_owned()));
    assert_eq!(lock(&http.script(0)).under_way[0].time_limit(), TIME_LIMIT);

    http.answers_with(0, 200, r#"{"status":207,"payload":{"a":1.50}}"#);
    client.do_work();
    let answer = told.try_recv().unwrap().unwrap();
    assert_eq!((answer.status, &answer.payload[..]), (207, br#"{"a":1.50}"#.as_slice()));
    assert!(told.try_recv().is_err(), "exactly once");
}

#[test]
fn a_module_is_called_by_both_ids_and_its_answer_comes_as_an_event() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = ready(&fake, &http);
    let id = client.invoke_module_method_tracked("edge-1", "pump", call()).unwrap();
    client.do_work();
    assert!(http.request(0).url.contains("/twins/edge-1/modules/pump/methods?"));
    http.answers_with(0, 404, r#"{"message":"gone"}"#);
    client.do_work();
    let (told, outcome) = outcome(&mut client);
    assert_eq!((told, outcome), (id, Err(InvokeError::Status { status: 404, detail: "gone".to_owned() })));
}

#[test]
fn a_call_waits_for_the_first_token_but_not_for_the_connection() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = client(&fake, &http);
    client.invoke_device_method_tracked("d", call()).unwrap();
    client.do_work();
    assert_eq!(client.connection_state(), ConnectionState::Connecting);
    assert!(http.request(0).url.contains("/twins/d/"));
    fake.drops(ConnectionErrorKind::Refused);
    client.do_work();
    client.invoke_device_method_tracked("e", call()).unwrap();
    client.do_work();
    assert_eq!(lock(&http.script(0)).under_way.len(), 2);
}

#[test]
fn without_a_token_a_call_ends_in_time_and_was_not_made() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = with_signature(&fake, &http, 1);
    client.do_work();
    assert_eq!(client.connection_state(), ConnectionState::Stopped);
    client.invoke_device_method_tracked("d", call()).unwrap();
    client.do_work();
    let before = fake.script().now.mono;
    client.wait(3600 * SECOND);
    assert!(fake.script().now.mono - before > TIME_LIMIT, "late after its time, not at it");
    client.do_work();
    assert_eq!(outcome(&mut client).1, Err(InvokeError::NoToken { after: TIME_LIMIT }));
    assert_eq!(http.engines(), 0);
}

#[test]
fn an_expired_token_is_not_shown() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = with_signature(&fake, &http, START.as_secs() + 100);
    fake.connects();
    client.do_work();
    fake.advance(100 * SECOND);
    client.do_work();
    client.do_work();
    assert_eq!(client.connection_state(), ConnectionState::Stopped);
    client.invoke_device_method_tracked("d", call()).unwrap();
    assert!(!fake.is_due(&client));
    client.do_work();
    assert_eq!(http.engines(), 0);
}

#[test]
fn a_gateway_that_stays_silent_ends_the_call_in_time() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = ready(&fake, &http);
    let slow = call().with_response_timeout(300 * SECOND).with_connect_timeout(100 * SECOND);
    client.invoke_device_method_tracked("d", slow).unwrap();
    client.do_work();
    fake.advance(414 * SECOND);
    client.do_work();
    assert!(client.next_event().is_none());
    fake.advance(2 * SECOND);
    client.do_work();
    assert_eq!(outcome(&mut client).1, Err(InvokeError::TimedOut { after: 415 * SECOND }));
    assert!(lock(&http.script(0)).under_way.is_empty());
}

#[test]
fn a_failed_request_is_told_and_not_made_again() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = ready(&fake, &http);
    client.invoke_device_method_tracked("d", call()).unwrap();
    client.do_work();
    let error = HttpError::Broken { peer: "gateway:443".to_owned(), detail: "reset".to_owned() };
    http.answers(0, Err(error.clone()));
    client.do_work();
    assert_eq!(outcome(&mut client).1, Err(InvokeError::Http(error)));
    client.do_work();
    assert!(lock(&http.script(0)).under_way.is_empty());
}

#[test]
fn an_engine_that_cannot_be_made_ends_the_call() {
    let (fake, mut http) = (Fake::new(), Scripted::default());
    http.broken = true;
    let mut client = ready(&fake, &http);
    client.invoke_device_method_tracked("d", call()).unwrap();
    client.do_work();
    assert!(matches!(outcome(&mut client).1, Err(InvokeError::Https(detail)) if detail.contains("odd")));
}

#[test]
fn at_close_calls_get_their_answer_or_end_as_destroyed() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = ready(&fake, &http);
    let (tell, told) = channel();
    for name in ["answered", "destroyed"] {
        let tell = tell.clone();
        client.invoke_device_method(name, call(), move |outcome, _| tell.send((name, outcome)).unwrap()).unwrap();
    }
    client.do_work();
    http.answers_with(0, 200, r#"{"status":200,"payload":null}"#);
    let before = fake.script().now.mono;
    client.close(10 * SECOND);
    assert_eq!(fake.script().now.mono - before, 10 * SECOND, "the open call had its chance");
    let told: Vec<_> = told.try_iter().map(|(name, outcome)| (name, outcome.map(|answer| answer.status))).collect();
    assert_eq!(told, [("answered", Ok(200)), ("destroyed", Err(InvokeError::Destroyed))]);
    assert!(lock(&http.script(0)).under_way.is_empty());
    assert!(refused(&mut client).contains("closed"));
}

#[test]
fn a_callback_may_call_again() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = ready(&fake, &http);
    client
        .invoke_device_method("first", call(), |_, outbox| {
            outbox.invoke_device_method("second", call(), |_, _| {}).unwrap();
        })
        .unwrap();
    client.do_work();
    http.answers_with(0, 200, "{}");
    client.do_work();
    client.do_work();
    assert!(http.request(0).url.contains("/twins/second/"));
}

#[test]
fn what_cannot_be_called_is_refused_and_comes_back() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = ready(&fake, &http);
    let wrong = call().with_payload("{");
    let refused_payload = client.invoke_device_method_tracked("d", wrong.clone()).unwrap_err();
    assert_eq!(refused_payload.value, wrong);
    assert!(refused_payload.to_string().contains("must be JSON"));
    assert!(client.invoke_module_method_tracked("d", "a/b", call()).unwrap_err().to_string().contains("module id"));

    let mut without = ModuleClient::create_from_connection_string(MODULE, &fake).unwrap();
    assert!(refused(&mut without).contains("`https`"));
    let direct = MODULE.replace("GatewayHostName=gateway:8884;", "");
    let mut without = ModuleClient::builder(&direct).https(http.clone()).build(&fake).unwrap();
    assert!(refused(&mut without).contains("gateway"));
}

#[test]
fn calls_are_bounded_until_their_outcome_is_read() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let mut client = ready(&fake, &http);
    for _ in 0..20 {
        client.invoke_device_method_tracked("d", call()).unwrap();
    }
    assert!(refused(&mut client).contains("20 calls"));
    client.do_work();
    assert_eq!(lock(&http.script(0)).under_way.len(), 20);
    http.answers_with(0, 200, r#"{"status":1}"#);
    client.do_work();
    refused(&mut client);
    outcome(&mut client).1.unwrap();
    client.invoke_device_method_tracked("d", call()).unwrap();
}

#[test]
fn a_certificate_is_shown_instead_of_a_token_and_can_be_replaced() {
    let (fake, http) = (Fake::new(), Scripted::default());
    let certificate = ClientCertificate::from_pem("chain", "key");
    let builder = ModuleClient::builder_for("hub.example", "edge-1", "filter", certificate).gateway("gateway");
    let mut client = builder.https(http.clone()).build(&fake).unwrap();
    client.invoke_device_method_tracked("d", call()).unwrap();
    client.do_work();
    assert!(!http.request(0).headers.iter().any(|(name, _)| name == "Authorization"));
    let shown = || lock(&http.script(0)).certificate.clone();
    assert_eq!(shown().as_deref(), Some("chain"));
    client.set_credential(ClientCertificate::from_pem("new chain", "key")).unwrap();
    assert_eq!(shown().as_deref(), Some("new chain"));
}
