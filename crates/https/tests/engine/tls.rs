//! HTTPS: whom the engine trusts, and what it shows.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use iothub_core::{ConnectionErrorKind, HttpError, HttpProvider, Now, OpId, Trust};
use iothub_https::Https;
use rustls::ServerConfig;

use super::support::authority::Authority;
use super::support::server::{Reply, Server, answer};
use super::support::{Answer, Bench, LIMIT, get};

const YEARS: Duration = Duration::from_secs(365 * 86_400);

fn server(config: ServerConfig) -> Server {
    Server::tls(config, |_| Reply::Send(answer(200, "secret")))
}

fn ask(server: &Server, trust: &Trust) -> Answer {
    Bench::with(&Https::new().port(server.port()), trust).get("https://localhost/")
}

fn kind(answer: Answer) -> ConnectionErrorKind {
    match answer {
        Err(HttpError::NotConnected { kind, .. }) => kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_whose_authority_is_trusted_answers_on_the_port_that_stands_for_443() {
    let authority = Authority::new("ours");
    let server = server(authority.server("localhost"));
    assert_eq!(ask(&server, &authority.trust()).unwrap().body, "secret");
    assert_eq!(server.request().header("host"), Some(&*format!("localhost:{}", server.port())));

    let mut bench = Bench::with(&Https::new(), &authority.trust());
    assert_eq!(bench.get(&format!("https://localhost:{}/", server.port())).unwrap().body, "secret");
}

#[test]
fn any_other_server_is_refused_and_hears_nothing() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = server(theirs.server("localhost"));
    for trust in [ours.trust(), Trust::Nobody] {
        let kind = kind(ask(&server, &trust));
        assert!(matches!(kind, ConnectionErrorKind::UntrustedCertificate { .. }), "{kind}");
    }
    assert!(server.has_request().is_none());
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new("ours");
    let kind = kind(ask(&server(authority.server("elsewhere.example")), &authority.trust()));
    assert!(matches!(kind, ConnectionErrorKind::WrongHostName { .. }), "{kind}");
}

#[test]
fn certificates_are_judged_by_the_clock_that_is_passed_in() {
    let authority = Authority::new("ours");
    let server = server(authority.server("localhost"));
    let mut bench = Bench::with(&Https::new().port(server.port()), &authority.trust());
    let (id, now) = (OpId(1), Now::system());
    bench.engine.start(id, get("https://localhost/"), now.mono + LIMIT, now);
    let late = Now { wall: now.wall + 3000 * YEARS, ..now };
    let limit = Instant::now() + LIMIT;
    let kind = loop {
        bench.engine.do_work(late);
        if let Some((_, answer)) = bench.engine.poll() {
            break kind(answer);
        }
        assert!(Instant::now() < limit, "no answer came");
    };
    assert!(matches!(kind, ConnectionErrorKind::CertificateTime { .. }), "{kind}");
}

#[test]
fn trust_can_be_set_later() {
    let authority = Authority::new("ours");
    let server = server(authority.server("localhost"));
    let mut bench = Bench::with(&Https::new().port(server.port()), &Trust::Nobody);
    bench.get("https://localhost/").unwrap_err();
    bench.engine.set_tls(&authority.trust(), None).unwrap();
    assert_eq!(bench.get("https://localhost/").unwrap().body, "secret");
    bench.engine.set_tls(&Trust::Nobody, None).unwrap();
    bench.get("https://localhost/").unwrap_err();
}

#[test]
fn trust_that_cannot_be_used_is_refused_and_the_old_stays() {
    let authority = Authority::new("ours");
    let server = server(authority.server("localhost"));
    let mut bench = Bench::with(&Https::new().port(server.port()), &authority.trust());
    let error = bench.engine.set_tls(&Trust::Pem("no certificate".to_owned()), None).unwrap_err();
    assert!(error.to_string().contains("trusted_certs"), "{error}");
    bench.get("https://localhost/").unwrap();
    assert!(Https::new().engine(&Trust::Pem(String::new()), None).is_err());
}

#[test]
fn a_client_certificate_is_shown_to_a_server_that_wants_one() {
    let authority = Authority::new("ours");
    let server = server(authority.server_for_clients("localhost"));
    let mut bench = Bench::with(&Https::new().port(server.port()), &authority.trust());
    let error = bench.get("https://localhost/").unwrap_err();
    // With TLS 1.3 the server says so after the handshake, and may have closed before its words are read.
    assert!(matches!(error, HttpError::NotConnected { .. } | HttpError::Broken { .. }), "{error:?}");
    bench.engine.set_tls(&authority.trust(), Some(&authority.client())).unwrap();
    assert_eq!(bench.get("https://localhost/").unwrap().body, "secret");
}

#[test]
fn a_server_without_tls_is_named_as_such() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut bench = Bench::with(&Https::new().port(port), &Trust::Nobody);
    let kind = kind(bench.get("https://localhost/"));
    assert!(matches!(&kind, ConnectionErrorKind::Tls { detail } if detail.contains("not TLS")), "{kind}");
    server.join().unwrap();
}

#[test]
fn port_0_is_refused_at_creation() {
    let error = Https::new().port(0).engine(&Trust::Nobody, None).err().unwrap();
    assert!(error.to_string().contains("port"), "{error}");
}
