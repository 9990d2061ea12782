//! TLS: what connects, what does not, and what is said about it.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use iothub_core::{ConnectStage, ConnectionErrorKind, Now};
use iothub_net::Connect;
use rustls::{HandshakeKind, ProtocolVersion};

use crate::support::authority::Authority;
use crate::support::server::{self, BOTH, TLS12, TLS13, hello};
use crate::support::{
    TIMEOUT, connect, connect_at, connector, drive_until, endpoint, greet, kind, read_some, read_to_end, send,
    with_certificate,
};

#[test]
fn tls_1_3_carries_bytes_and_the_host_name() {
    let authority = Authority::new();
    let server = server::tls(authority.server(&["hub.example"]).config(TLS13), hello);
    greet(&mut connector(&endpoint("hub.example", &authority), [server.address]));
    let (version, name, _) = server.join();
    assert_eq!(version, Some(ProtocolVersion::TLSv1_3));
    assert_eq!(name.as_deref(), Some("hub.example"));
}

#[test]
fn tls_1_2_carries_bytes() {
    let authority = Authority::new();
    let server = server::tls(authority.server(&["hub.example"]).config(TLS12), hello);
    greet(&mut connector(&endpoint("hub.example", &authority), [server.address]));
    assert_eq!(server.join().0, Some(ProtocolVersion::TLSv1_2));
}

#[test]
fn an_address_as_host_is_verified_and_needs_no_resolver() {
    let authority = Authority::new();
    let server = server::tls(authority.server(&["127.0.0.1"]).config(BOTH), hello);
    let mut endpoint = endpoint("127.0.0.1", &authority);
    endpoint.port = Some(server.address.port());
    // The connector's resolver has no answer to give: asking it would panic.
    let mut connector = connector(&endpoint, []);
    greet(&mut connector);
    assert_eq!(connector.port(), server.address.port());
    assert_eq!(server.join().1, None, "an address is not sent as a name");
}

/// A resumed session would not be verified again.
#[test]
fn every_connection_has_a_whole_handshake() {
    let authority = Authority::new();
    // The same configuration, which remembers sessions.
    let config = authority.server(&["hub.example"]).config(BOTH);
    let servers = [0; 3].map(|_| {
        server::tls(config.clone(), |mut tls| {
            tls.write_all(b"with its tickets").expect("sent");
            tls.flush().expect("sent");
            tls.conn.handshake_kind()
        })
    });
    let addresses = servers.iter().map(|server| Ok(vec![server.address])).collect();
    let endpoint = endpoint("hub.example", &authority);
    let resolver = Box::new(crate::support::Scripted(addresses));
    let mut connector = iothub_net::Connector::new(&endpoint, 8883, TIMEOUT, Some(resolver)).expect("a good endpoint");
    for server in servers {
        let mut stream = connect(&mut connector).expect("a connection");
        assert_eq!(read_to_end(&mut stream).expect("an end"), b"with its tickets");
        assert_eq!(server.join(), Some(HandshakeKind::Full));
    }
}

#[test]
fn a_client_certificate_is_shown_when_asked_for() {
    for versions in [TLS12, TLS13] {
        let authority = Authority::new();
        let device = authority.client("device-1");
        let config = authority.server(&["hub.example"]).config_with_clients(&authority, versions);
        let server = server::tls(config, hello);
        let endpoint = with_certificate(endpoint("hub.example", &authority), &device.pem, &device.key.serialize_pem());
        greet(&mut connector(&endpoint, [server.address]));
        assert_eq!(server.join().2, 1);
    }
}

#[test]
fn a_missing_client_certificate_fails_the_handshake_of_tls_1_2() {
    let authority = Authority::new();
    let config = authority.server(&["hub.example"]).config_with_clients(&authority, TLS12);
    let server = server::tls(config, |mut tls| tls.read(&mut [0; 1]).expect_err("no certificate").to_string());
    let kind = kind(connect(&mut connector(&endpoint("hub.example", &authority), [server.address])));
    let ConnectionErrorKind::Tls { detail } = &kind else { panic!("{kind:?}") };
    assert!(detail.contains("client certificate"), "{detail}");
    server.join();
}

/// In TLS 1.3 the client has finished before the server looks at its certificate.
#[test]
fn a_missing_client_certificate_is_named_by_the_stream_of_tls_1_3() {
    let authority = Authority::new();
    let config = authority.server(&["hub.example"]).config_with_clients(&authority, TLS13);
    let server = server::tls(config, |mut tls| tls.read(&mut [0; 1]).expect_err("no certificate").to_string());
    let mut stream = connect(&mut connector(&endpoint("hub.example", &authority), [server.address])).expect("so far");
    let error = read_some(&mut stream, &mut [0; 16]).expect_err("an alert");
    assert_eq!(error.to_string(), "the server sent the TLS alert CertificateRequired: it wants a client certificate");
    let error = stream.write(b"more").expect_err("the session is over");
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    server.join();
}

/// The write meets the reset that follows the alert; the alert is the better reason.
#[test]
fn a_write_that_meets_a_reset_tells_the_alert_before_it() {
    let authority = Authority::new();
    let config = authority.server(&["hub.example"]).config_with_clients(&authority, TLS13);
    let server = server::tcp(move |mut socket| {
        let mut tls = rustls::ServerConnection::new(config).expect("a connection");
        while tls.complete_io(&mut socket).is_ok() && tls.is_handshaking() {}
        let _ = tls.write_tls(&mut socket);
        server::reset(socket);
    });
    let mut stream = connect(&mut connector(&endpoint("hub.example", &authority), [server.address])).expect("so far");
    server.join();
    let error = send(&mut stream, b"CONNECT").expect_err("the server has gone");
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}

fn untrusted(ours: &Authority, theirs: &Authority) -> (String, String) {
    let server = server::tls(theirs.server(&["hub.example"]).config(BOTH), |mut tls| {
        tls.read(&mut [0; 1]).expect_err("a refusal").to_string()
    });
    let error = connect(&mut connector(&endpoint("hub.example", ours), [server.address])).expect_err("not trusted");
    assert_eq!((&*error.host, error.port), ("hub.example", 8883));
    let ConnectionErrorKind::UntrustedCertificate { detail } = error.kind else { panic!("{error:?}") };
    (detail, server.join())
}

#[test]
fn an_unknown_authority_is_not_trusted_and_the_server_is_told() {
    let (detail, alert) = untrusted(&Authority::named("ours"), &Authority::named("theirs"));
    assert_eq!(detail, "its issuer is unknown");
    assert_eq!(alert, "received fatal alert: UnknownCA");
}

#[test]
fn an_authority_made_anew_under_its_old_name_is_not_trusted() {
    let (detail, _) = untrusted(&Authority::named("hub"), &Authority::named("hub"));
    assert_eq!(detail, "its issuer has the name of a trusted authority, but not its key");
}

#[test]
fn a_certificate_for_another_host_is_refused_and_its_names_are_told() {
    let authority = Authority::new();
    let identity = authority.server(&["other.example", "*.third.example", "127.0.0.9"]);
    let server = server::tls(identity.config(BOTH), |mut tls| tls.read(&mut [0; 1]).is_err());
    let kind = kind(connect(&mut connector(&endpoint("hub.example", &authority), [server.address])));
    let ConnectionErrorKind::WrongHostName { detail } = &kind else { panic!("{kind:?}") };
    assert_eq!(detail, "wanted hub.example, it is for other.example, *.third.example, 127.0.0.9");
    server.join();
}

#[test]
fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let identity =
        authority.server_with(&["hub.example"], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let server = server::tls(identity.config(BOTH), |mut tls| tls.read(&mut [0; 1]).is_err());
    let kind = kind(connect(&mut connector(&endpoint("hub.example", &authority), [server.address])));
    let ConnectionErrorKind::CertificateTime { detail } = &kind else { panic!("{kind:?}") };
    assert!(detail.starts_with("it expired ") && detail.contains(" days ago"), "{detail}");
    server.join();
}

#[test]
fn certificates_are_judged_by_the_clock_that_is_passed_in() {
    let authority = Authority::new();
    let identity =
        authority.server_with(&["hub.example"], |params| params.not_before = rcgen::date_time_ymd(3000, 1, 1));
    let refusing = server::tls(identity.config(BOTH), |mut tls| tls.read(&mut [0; 1]).is_err());
    let kind = kind(connect(&mut connector(&endpoint("hub.example", &authority), [refusing.address])));
    let ConnectionErrorKind::CertificateTime { detail } = &kind else { panic!("{kind:?}") };
    assert!(detail.starts_with("it becomes valid in "), "{detail}");
    refusing.join();

    let in_3001 = Duration::from_secs(32_535_216_000);
    let ahead = in_3001 - SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let server = server::tls(identity.config(BOTH), |mut tls| tls.write_all(b"!").is_ok());
    assert!(connect_at(&mut connector(&endpoint("hub.example", &authority), [server.address]), ahead).is_ok());
    assert!(server.join());
}

#[test]
fn a_server_that_does_not_speak_tls_is_recognised() {
    let authority = Authority::new();
    let server = server::tcp(|mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    });
    let kind = kind(connect(&mut connector(&endpoint("hub.example", &authority), [server.address])));
    assert_eq!(kind, ConnectionErrorKind::Tls { detail: "the server's answer is not TLS".to_owned() });
    server.join().expect("the answer was sent");
}

#[test]
fn a_server_that_closes_during_the_handshake_is_told_about() {
    let authority = Authority::new();
    let server = server::tcp(|mut socket| {
        let mut hello = [0; 4096];
        socket.read(&mut hello).expect("a hello")
    });
    let kind = kind(connect(&mut connector(&endpoint("hub.example", &authority), [server.address])));
    let detail = "the server closed the connection during the handshake".to_owned();
    assert_eq!(kind, ConnectionErrorKind::Tls { detail });
    server.join();
}

#[test]
fn a_reset_during_the_handshake_is_a_network_failure() {
    let authority = Authority::new();
    let server = server::tcp(|mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        server::reset(socket);
    });
    let kind = kind(connect(&mut connector(&endpoint("hub.example", &authority), [server.address])));
    let ConnectionErrorKind::Network { stage: ConnectStage::Tls, detail } = &kind else { panic!("{kind:?}") };
    assert!(detail.starts_with("127.0.0.1:") && detail.contains("reset"), "{detail}");
    server.join();
}

#[test]
fn a_server_that_is_silent_in_the_handshake_runs_into_the_time_out() {
    let authority = Authority::new();
    let (over, wait) = mpsc::channel::<()>();
    let server = server::tcp(move |_socket| wait.recv().is_err());
    let mut connector = connector(&endpoint("hub.example", &authority), [server.address]);
    let now = Now::system();
    connector.start(now);
    let mut on = Vec::new();
    drive_until(&mut connector, now, |connector| {
        on.clear();
        connector.readiness(&mut on);
        on.iter().any(|readiness| readiness.read)
    });
    assert_eq!(connector.next_deadline(), Some(now.mono + TIMEOUT));
    assert!(connector.poll(now + (TIMEOUT - Duration::from_nanos(1))).is_pending());
    let std::task::Poll::Ready(outcome) = connector.poll(now + TIMEOUT) else { panic!("the time is over") };
    assert_eq!(kind(outcome), ConnectionErrorKind::TimedOut { stage: ConnectStage::Tls, after: TIMEOUT });
    assert_eq!(connector.next_deadline(), None);
    drop(over);
    server.join();
}
