//! What an operator reads when a connection cannot be made: one status event, and the text of `docs/errors.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime};

use iothub_client::{
    ConnectStage, ConnectionErrorKind, ConnectionState, ConnectionStatusReason, DeviceClient, Event, Mqtt, Provider,
    Resolve, RetryPolicy, StatusChange,
};
use iothub_emulator::{Config, Emulator, Hub};

const LIMIT: Duration = Duration::from_secs(30);
const KEY: &str = "bm90IHRoZSBkZXZpY2UncyBrZXkgYXQgYWxs";

/// Drives a client until it gives up, and returns its one status event with an error.
fn failure(client: DeviceClient) -> StatusChange {
    let mut client = client;
    let limit = std::time::Instant::now() + LIMIT;
    let mut failures = Vec::new();
    loop {
        assert!(std::time::Instant::now() < limit, "no failure yet: {failures:?}");
        client.do_work();
        while let Some(event) = client.next_event() {
            if let Event::Status(change) = event {
                failures.extend(change.error.is_some().then_some(change));
            }
        }
        if client.connection_state() == ConnectionState::Stopped {
            break;
        }
        client.wait(Duration::from_secs(1));
    }
    assert_eq!(failures.len(), 1, "{failures:?}");
    failures.remove(0)
}

/// The text of the error with this machine's port replaced, after a look that no secret is in it.
fn text(change: &StatusChange, secrets: &[&str]) -> String {
    let error = change.error.as_ref().expect("a failure has an error");
    let all = format!("{change:?} {error}");
    for secret in secrets.iter().chain(&[KEY]) {
        assert!(!all.contains(secret), "a secret shows: {all}");
    }
    error.to_string().replace(&format!(":{}:", error.port), ":8883:")
}

/// The text that `docs/errors.md` promises under a heading.
fn promised(heading: &str) -> String {
    let page = include_str!("../docs/errors.md");
    let section = page.split("\n## ").find(|section| section.starts_with(&format!("{heading}\n")));
    let section = section.unwrap_or_else(|| panic!("docs/errors.md has no section {heading:?}"));
    let block = section.split("```text\n").nth(1).and_then(|rest| rest.split("\n```").next());
    block.unwrap_or_else(|| panic!("{heading:?} has no text block")).to_owned()
}

fn gateway(hub: &Hub, name: &str) -> String {
    format!("GatewayHostName={name}:{}", hub.mqtt_address().port())
}

fn client(connection_string: &str, ca: &str, provider: &dyn Provider) -> DeviceClient {
    DeviceClient::builder(connection_string)
        .trusted_certs(ca)
        .retry_policy(RetryPolicy::None)
        .build(provider)
        .expect("the client can be created")
}

/// Connects to a running emulator with this identity.
fn refused(hub: &Hub, identity: &str) -> StatusChange {
    let connection_string = format!("HostName=localhost;{};{identity}", gateway(hub, "localhost"));
    failure(client(&connection_string, &hub.ca_pem(), &Mqtt::new()))
}

#[test]
fn wrong_key() {
    let hub = Emulator::start().unwrap();
    hub.create_device("dev-1").unwrap();
    let change = refused(&hub, &format!("DeviceId=dev-1;SharedAccessKey={KEY}"));
    assert_eq!(text(&change, &[]), promised("Wrong key, unknown device, disabled device"));
    assert_eq!(change.reason, ConnectionStatusReason::RetryExpired);
}

#[test]
fn unknown_device_reads_the_same_because_the_hub_does_not_tell() {
    let hub = Emulator::start().unwrap();
    let change = refused(&hub, &format!("DeviceId=nobody;SharedAccessKey={KEY}"));
    assert_eq!(text(&change, &[]), promised("Wrong key, unknown device, disabled device"));
}

#[test]
fn a_token_that_only_the_hub_finds_expired_reads_the_same() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev-1").unwrap();
    let token = device.sas_token(Duration::from_secs(600));
    hub.advance_clock(Duration::from_secs(86_400));
    let change = refused(&hub, &format!("DeviceId=dev-1;SharedAccessSignature={token}"));
    assert_eq!(text(&change, &[&token]), promised("Wrong key, unknown device, disabled device"));
}

#[test]
fn an_expired_token_is_named_by_our_own_clock() {
    let hub = Emulator::start().unwrap();
    hub.create_device("dev-1").unwrap();
    let token = "SharedAccessSignature sr=localhost%2Fdevices%2Fdev-1&sig=Z2VoZWlt&se=1700003600";
    let change = refused(&hub, &format!("DeviceId=dev-1;SharedAccessSignature={token}"));
    assert_eq!(text(&change, &["Z2VoZWlt"]), promised("Expired token"));
    assert_eq!(change.reason, ConnectionStatusReason::ExpiredSasToken);
    assert_eq!(hub.activity("dev-1"), [], "an expired token was sent");
}

#[test]
fn untrusted_authority() {
    let (hub, other) = (Emulator::start().unwrap(), Emulator::start().unwrap());
    let connection_string =
        format!("HostName=localhost;{};DeviceId=dev-1;SharedAccessKey={KEY}", gateway(&hub, "localhost"));
    let change = failure(client(&connection_string, &other.ca_pem(), &Mqtt::new()));
    assert_eq!(text(&change, &[]), promised("Untrusted certificate"));
}

#[test]
fn wrong_host_name() {
    let hub = Emulator::start_with(Config::new().with_host_name("hub.example")).unwrap();
    let connection_string =
        format!("HostName=hub.example;{};DeviceId=dev-1;SharedAccessKey={KEY}", gateway(&hub, "localhost"));
    let change = failure(client(&connection_string, &hub.ca_pem(), &Mqtt::new()));
    assert_eq!(text(&change, &[]), promised("Wrong host name"));
}

#[test]
fn refused_port() {
    let hub = Emulator::start().unwrap();
    // Bound and closed again: nobody listens there.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let connection_string =
        format!("HostName=localhost;GatewayHostName=127.0.0.1:{port};DeviceId=dev-1;SharedAccessKey={KEY}");
    let change = failure(client(&connection_string, &hub.ca_pem(), &Mqtt::new()));
    assert_eq!(text(&change, &[]), promised("Refused port"));
}

/// A resolver that knows nobody, so that no query leaves this machine.
struct NoSuchHost;

impl Resolve for NoSuchHost {
    fn resolve(&mut self, _: &str, _: u16, _: &Waker) -> Poll<Result<Vec<SocketAddr>, String>> {
        Poll::Ready(Err("no such host is known".into()))
    }
}

#[test]
fn dns_failure() {
    let hub = Emulator::start().unwrap();
    let connection_string = format!("HostName=no-such-hub.example;DeviceId=dev-1;SharedAccessKey={KEY}");
    let provider = Mqtt::new().resolver(|| NoSuchHost);
    let change = failure(client(&connection_string, &hub.ca_pem(), &provider));
    assert_eq!(text(&change, &[]), promised("Unknown host name"));
}

/// One of each kind of error, so that the page is complete.
fn every_kind() -> Vec<ConnectionErrorKind> {
    use ConnectionErrorKind::*;
    let detail = || "what the system said".to_owned();
    let after = Duration::from_secs(30);
    vec![
        Dns { detail: detail() },
        Refused,
        Network { stage: ConnectStage::Tcp, detail: detail() },
        TimedOut { stage: ConnectStage::Tls, after },
        UntrustedCertificate { detail: detail() },
        WrongHostName { detail: detail() },
        CertificateTime { detail: detail() },
        Tls { detail: detail() },
        NotAuthorized,
        ServerUnavailable,
        ProtocolVersionRefused,
        IdentifierRefused,
        BadUserNameOrPassword,
        TokenExpired { at: SystemTime::UNIX_EPOCH },
        ClosedByPeer,
        Broken { detail: detail() },
        NoPingResponse { after },
        NoAcknowledgement { after },
        NotSigned { detail: String::new() },
        TokenTooLong { length: 70_000, limit: 65_535 },
        Protocol { detail: detail() },
        SettlementsHeld { held: 50, held_for: after },
    ]
}

#[test]
fn the_page_has_a_section_for_every_kind_of_error() {
    let page = include_str!("../docs/errors.md");
    for kind in every_kind() {
        let name = format!("{kind:?}");
        let name = name.split([' ', '{']).next().unwrap();
        assert!(page.contains(&format!("`{name}`")), "docs/errors.md does not name `{name}`");
    }
}

#[test]
fn every_text_says_one_thing_to_try() {
    for kind in every_kind() {
        let text = kind.to_string();
        let advice = ["check", "use ", "give ", "supply", "allow more", "tries again", "reconnects", "it does so when"];
        assert!(advice.iter().any(|word| text.contains(word)), "{text}");
    }
}
