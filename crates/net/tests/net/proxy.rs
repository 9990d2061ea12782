//! Connections through an HTTP proxy: what it is asked, what it answers, and what is said about it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use iothub_core::{ConnectionError, ConnectionErrorKind, CreateError, Endpoint, Now, Proxy, ProxyError};
use iothub_net::{Connect, Connector, Resolve, WebSocketConnector};
use rustls::{ServerConnection, StreamOwned};

use crate::support::authority::Authority;
use crate::support::log::logged;
use crate::support::server::{self, BOTH, Server, Silent, hello};
use crate::support::websocket::{BINARY, binary, contents, yes};
use crate::support::{TIMEOUT, connect, drive_until, endpoint, greet, kind, read_some, send};

const PASSWORD: &str = "pass word:with \u{fc}mlaut";
/// `user:` and the password in base64.
const CREDENTIALS: &str = "dXNlcjpwYXNzIHdvcmQ6d2l0aCDDvG1sYXV0";

/// Resolves the proxy's name to these addresses, and nothing else.
#[derive(Clone)]
struct ProxyOnly(Vec<SocketAddr>, Arc<Mutex<Vec<String>>>);

impl Resolve for ProxyOnly {
    fn resolve(&mut self, host: &str, port: u16, _waker: &Waker) -> Poll<Result<Vec<SocketAddr>, String>> {
        self.1.lock().unwrap().push(format!("{host} {port}"));
        match host {
            "proxy.example" => Poll::Ready(Ok(self.0.clone())),
            other => Poll::Ready(Err(format!("{other} must not be looked up"))),
        }
    }
}

fn through(mut endpoint: Endpoint, proxy: Proxy) -> Endpoint {
    endpoint.proxy = Some(proxy);
    endpoint
}

fn named() -> Proxy {
    Proxy::new("proxy.example", 3128)
}

/// A connector whose proxy has these addresses.
fn connector(endpoint: &Endpoint, addresses: impl Into<Vec<SocketAddr>>) -> Connector {
    let resolver = ProxyOnly(addresses.into(), Arc::default());
    Connector::new(endpoint, 8883, TIMEOUT, Some(Box::new(resolver))).expect("a good endpoint")
}

/// Reads a request to its end and not a byte further.
fn request(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("the rest of the request");
        head.extend(byte);
    }
    String::from_utf8(head).expect("text")
}

/// A proxy that answers like this and then plays the hub itself; it tells the request, and the name that TLS asked for.
fn tunnel(authority: &Authority, answer: &'static [&'static str]) -> Server<(String, Option<String>)> {
    let config = authority.server(&["hub.example"]).config(BOTH);
    server::tcp(move |mut socket| {
        let request = request(&mut socket);
        for piece in answer {
            socket.write_all(piece.as_bytes()).expect("the client listens");
        }
        let (_, name, _) = hello(StreamOwned::new(ServerConnection::new(config).expect("a connection"), socket));
        (request, name)
    })
}

#[test]
fn the_proxy_is_asked_for_the_hub_and_tls_is_with_the_hub() {
    let authority = Authority::new();
    let proxy = tunnel(&authority, &["HTTP/1.1 200 Connection established\r\n\r\n"]);
    let resolver = ProxyOnly(vec![proxy.address], Arc::default());
    let looked_up = resolver.1.clone();
    let endpoint = through(endpoint("hub.example", &authority), named());
    greet(&mut Connector::new(&endpoint, 8883, TIMEOUT, Some(Box::new(resolver))).expect("a good endpoint"));
    let (request, name) = proxy.join();
    assert_eq!(request, "CONNECT hub.example:8883 HTTP/1.1\r\nHost: hub.example:8883\r\n\r\n");
    assert_eq!(name.as_deref(), Some("hub.example"), "the server's name in TLS");
    assert_eq!(*looked_up.lock().unwrap(), ["proxy.example 3128"], "the proxy looks up the hub");
}

#[test]
fn credentials_are_sent_as_basic_and_shown_nowhere() {
    let authority = Authority::new();
    let proxy = tunnel(&authority, &["HTTP/1.0 200 OK\r\nVia: x\r\n\r\n"]);
    let given = named().with_credentials("user", PASSWORD);
    let endpoint = through(endpoint("hub.example", &authority), given);
    let (shown, log) = logged(|| {
        let mut connector = connector(&endpoint, [proxy.address]);
        greet(&mut connector);
        format!("{connector:?} {endpoint:?}")
    });
    let (request, _) = proxy.join();
    assert_eq!(
        request,
        format!(
            "CONNECT hub.example:8883 HTTP/1.1\r\nHost: hub.example:8883\r\nProxy-Authorization: Basic {CREDENTIALS}\r\n\r\n"
        )
    );
    assert!(log.contains("proxy.example"), "the log says that there is a proxy: {log}");
    for text in [shown, log] {
        assert!(!text.contains("pass word") && !text.contains(CREDENTIALS), "{text}");
    }
}

#[test]
fn an_address_as_proxy_needs_no_resolver_and_an_ipv6_hub_has_brackets() {
    let authority = Authority::new();
    let config = authority.server(&["::1"]).config(BOTH);
    let proxy = server::tcp(move |mut socket| {
        let request = request(&mut socket);
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("the client listens");
        hello(StreamOwned::new(ServerConnection::new(config).expect("a connection"), socket));
        request
    });
    let by_address = Proxy::new(proxy.address.ip().to_string(), proxy.address.port());
    greet(&mut connector(&through(endpoint("[::1]", &authority), by_address), []));
    assert_eq!(proxy.join(), "CONNECT [::1]:8883 HTTP/1.1\r\nHost: [::1]:8883\r\n\r\n");
}

#[test]
fn the_answer_may_come_in_pieces() {
    let authority = Authority::new();
    let answer = &["H", "TTP/1.1 2", "00 OK\r", "\nX-Cache: MISS\r\n\r", "\n"];
    let proxy = tunnel(&authority, answer);
    greet(&mut connector(&through(endpoint("hub.example", &authority), named()), [proxy.address]));
    proxy.join();
}

#[test]
fn a_certificate_of_another_host_is_refused_through_a_proxy_too() {
    let (authority, other) = (Authority::new(), Authority::new());
    let proxy = server::tcp({
        let config = other.server(&["hub.example"]).config(BOTH);
        move |mut socket| {
            request(&mut socket);
            socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("the client listens");
            let mut tls = StreamOwned::new(ServerConnection::new(config).expect("a connection"), socket);
            tls.read(&mut [0; 1]).expect_err("an alert");
        }
    });
    let endpoint = through(endpoint("hub.example", &authority), named());
    let kind = kind(connect(&mut connector(&endpoint, [proxy.address])));
    assert!(matches!(kind, ConnectionErrorKind::UntrustedCertificate { .. }), "{kind:?}");
    proxy.join();
}

/// What an attempt comes to whose proxy answers like this.
fn answered(proxy: Proxy, answer: &'static str) -> (ProxyError, String) {
    let server = server::tcp(move |mut socket| {
        request(&mut socket);
        socket.write_all(answer.as_bytes()).expect("the client listens");
        // Until the client has hung up.
        let _ = socket.read(&mut [0; 1]);
    });
    let endpoint = through(endpoint("hub.example", &Authority::new()), proxy);
    let error = connect(&mut connector(&endpoint, [server.address])).expect_err("it must fail");
    server.join();
    proxy_error(&error)
}

fn proxy_error(error: &ConnectionError) -> (ProxyError, String) {
    let text = error.to_string();
    assert!(text.starts_with("hub.example:8883: the proxy proxy.example:3128 "), "{text}");
    for shown in [&text, &format!("{error:?}")] {
        assert!(!shown.contains("pass word") && !shown.contains(CREDENTIALS), "{shown}");
    }
    match &error.kind {
        ConnectionErrorKind::Proxy { error, .. } => (error.clone(), text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_proxy_that_wants_credentials_says_how_to_give_them() {
    let (error, text) = answered(named(), "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    assert_eq!(error, ProxyError::CredentialsWanted);
    assert!(
        text.ends_with("wants a user name and a password (407); give them with `Proxy::with_credentials`"),
        "{text}"
    );
}

#[test]
fn a_proxy_that_does_not_take_the_credentials_says_what_it_would() {
    let given = || named().with_credentials("user", PASSWORD);
    for (headers, expected) in [
        ("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n", "Basic"),
        ("HTTP/1.1 407 No\r\nproxy-authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n", "Negotiate, NTLM"),
        ("HTTP/1.1 407 No\r\n\r\n", "nothing"),
    ] {
        let (error, text) = answered(given(), headers);
        assert_eq!(error, ProxyError::CredentialsRefused { offered: expected.to_owned() });
        assert!(text.contains("(407, it offers "), "{text}");
    }
}

#[test]
fn a_proxy_that_refuses_is_quoted() {
    for (answer, status, reason, expected) in [
        ("HTTP/1.1 403 Forbidden\r\n\r\n", 403, "Forbidden", "(403 Forbidden)"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", 502, "Bad Gateway", "(502 Bad Gateway)"),
        ("HTTP/1.1 503\r\n\r\n", 503, "", "(503)"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", 101, "Switching Protocols", "(101 Switching Protocols)"),
    ] {
        let (error, text) = answered(named(), answer);
        assert_eq!(error, ProxyError::Refused { status, reason: reason.to_owned() });
        assert!(text.contains(&format!("refused to connect to the hub {expected}; check that its rules")), "{text}");
    }
}

#[test]
fn what_is_no_proxy_is_told_from_its_answer() {
    for (answer, expected) in [
        ("SSH-2.0-OpenSSH_9.2p1\r\n", "invalid HTTP version"),
        ("\u{15}\u{3}\u{1}\0\u{2}\u{2}(", "invalid HTTP version"),
        ("HTTP/1.1 502 Bad\u{7}Gateway\r\n\r\n", "invalid response status"),
        ("HTTP/1.1 200 OK\r\n\r\nhello", "5 bytes follow its answer"),
    ] {
        let (error, text) = answered(named(), answer);
        let ProxyError::NotHttp { detail } = error else { panic!("{error:?}") };
        assert_eq!(detail, expected);
        assert!(text.contains("did not answer as an HTTP proxy does"), "{text}");
    }
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let proxy = server::tcp(|mut socket| {
        request(&mut socket);
        while socket.write_all(b"HTTP/1.1 200 OK").is_ok() {}
    });
    let endpoint = through(endpoint("hub.example", &Authority::new()), named());
    let error = connect(&mut connector(&endpoint, [proxy.address])).expect_err("it must fail");
    let (error, _) = proxy_error(&error);
    assert_eq!(error, ProxyError::NotHttp { detail: "its head is longer than 16 KiB".to_owned() });
    proxy.join();
}

#[test]
fn a_proxy_that_hangs_up_or_breaks_off_is_told_about() {
    let endpoint = through(endpoint("hub.example", &Authority::new()), named());
    let closing = server::tcp(|mut socket| {
        request(&mut socket);
        socket.write_all(b"HTTP/1.1 200").expect("the client listens");
    });
    let error = connect(&mut connector(&endpoint, [closing.address])).expect_err("it must fail");
    assert_eq!(proxy_error(&error).0, ProxyError::Broken { detail: "it closed the connection".to_owned() });
    closing.join();

    let resetting = server::tcp(|mut socket| {
        request(&mut socket);
        server::reset(socket);
    });
    let error = connect(&mut connector(&endpoint, [resetting.address])).expect_err("it must fail");
    let (ProxyError::Broken { detail }, _) = proxy_error(&error) else { panic!("{error:?}") };
    assert!(detail.contains("reset"), "{detail}");
    resetting.join();
}

#[test]
fn a_proxy_that_is_not_there_is_told_from_a_hub_that_is_not() {
    let endpoint = through(endpoint("hub.example", &Authority::new()), named().with_credentials("user", PASSWORD));
    let error = connect(&mut connector(&endpoint, [server::refusing()])).expect_err("nobody listens");
    let (unreachable, text) = proxy_error(&error);
    assert_eq!(unreachable, ProxyError::Unreachable { detail: "the connection was refused".to_owned() });
    assert!(text.contains("cannot be reached (the connection was refused); check that it runs"), "{text}");

    let error = connect(&mut connector(&endpoint, [])).expect_err("no address");
    let detail = "its name could not be resolved: it has no address".to_owned();
    assert_eq!(proxy_error(&error).0, ProxyError::Unreachable { detail });
}

#[test]
fn a_proxy_that_does_not_take_connections_runs_into_the_time_out() {
    let silent = Silent::new();
    let endpoint = through(endpoint("hub.example", &Authority::new()), named());
    let mut connector = connector(&endpoint, [silent.address]);
    let now = Now::system();
    connector.start(now);
    assert!(connector.poll(now).is_pending());
    let Poll::Ready(Err(error)) = connector.poll(now + TIMEOUT) else { panic!("the time is up") };
    let detail = "the TCP connection did not finish within 3600 s".to_owned();
    assert_eq!(proxy_error(&error).0, ProxyError::Unreachable { detail });
}

#[test]
fn a_proxy_that_says_nothing_runs_into_the_time_out_of_this_stage() {
    let proxy = server::tcp(|mut socket| {
        request(&mut socket);
        let _ = socket.read(&mut [0; 1]);
    });
    let endpoint = through(endpoint("hub.example", &Authority::new()), named());
    let mut connector = connector(&endpoint, [proxy.address]);
    let now = Now::system();
    connector.start(now);
    // Once it waits for bytes it has asked.
    drive_until(&mut connector, now, |connector| {
        let mut on = Vec::new();
        connector.readiness(&mut on);
        on[0].read
    });
    assert_eq!(connector.next_deadline(), Some(now.mono + TIMEOUT));
    assert!(connector.poll(now + (TIMEOUT - Duration::from_nanos(1))).is_pending());
    let Poll::Ready(Err(error)) = connector.poll(now + TIMEOUT) else { panic!("the time is up") };
    let (error, text) = proxy_error(&error);
    assert_eq!(error, ProxyError::Silent { after: TIMEOUT });
    assert!(text.contains("did not answer within 3600 s"), "{text}");
    proxy.join();
}

#[test]
fn the_next_address_of_a_proxy_gets_its_chance() {
    let authority = Authority::new();
    let closing = server::tcp(|mut socket| drop(request(&mut socket)));
    let good = tunnel(&authority, &["HTTP/1.1 200 OK\r\n\r\n"]);
    let endpoint = through(endpoint("hub.example", &authority), named());
    greet(&mut connector(&endpoint, [server::refusing(), closing.address, good.address]));
    closing.join();
    good.join();
}

#[test]
fn a_refusal_is_final_for_the_attempt() {
    let refusing = server::tcp(|mut socket| {
        request(&mut socket);
        socket.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").expect("the client listens");
    });
    let endpoint = through(endpoint("hub.example", &Authority::new()), named());
    // Were the second address tried, its refusal would be of less weight; were it silent, the test would never end.
    let silent = Silent::new();
    let error = connect(&mut connector(&endpoint, [refusing.address, silent.address])).expect_err("it must fail");
    assert!(matches!(proxy_error(&error).0, ProxyError::Refused { status: 403, .. }));
    refusing.join();
}

#[test]
fn a_websocket_goes_through_a_proxy() {
    let authority = Authority::new();
    let config = authority.server(&["hub.example"]).config(BOTH);
    let proxy = server::tcp(move |mut socket| {
        let connect = request(&mut socket);
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("the client listens");
        let mut tls = StreamOwned::new(ServerConnection::new(config).expect("a connection"), socket);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            tls.read_exact(&mut byte).expect("the rest of the request");
            head.extend(byte);
        }
        let upgrade = String::from_utf8(head).expect("text");
        tls.write_all(yes(&upgrade).as_bytes()).expect("an answer");
        tls.write_all(&binary(b"hub")).expect("an answer");
        tls.flush().expect("an answer");
        let mut frame = vec![0; 2 + 4 + 5];
        tls.read_exact(&mut frame).expect("a frame");
        (connect, contents(&frame))
    });
    let mut endpoint = through(endpoint("hub.example", &authority), named());
    endpoint.port = Some(443);
    let below = connector(&endpoint, [proxy.address]);
    let mut connector =
        WebSocketConnector::new(Box::new(below), "/$iothub/websocket", "mqtt", TIMEOUT).expect("a good path");
    let mut stream = connect(&mut connector).expect("a connection");
    let mut buf = [0; 16];
    let count = read_some(&mut stream, &mut buf).expect("bytes");
    assert_eq!(&buf[..count], b"hub");
    send(&mut stream, b"hello").expect("a way out");
    let (connect, frames) = proxy.join();
    assert!(connect.starts_with("CONNECT hub.example:443 "), "{connect}");
    assert_eq!(frames, [(BINARY, b"hello".to_vec())]);
}

#[test]
fn a_proxy_that_cannot_be_one_is_refused_at_creation() {
    let refusal = |proxy: Proxy| {
        let endpoint = through(endpoint("hub.example", &Authority::new()), proxy);
        match Connector::new(&endpoint, 8883, TIMEOUT, None) {
            Err(error @ CreateError::Option { option: "proxy", .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    for proxy in [Proxy::new("", 3128), Proxy::new("proxy.example", 0), Proxy::new("http://proxy.example", 3128)] {
        let text = refusal(proxy.clone());
        assert!(text.starts_with(&format!("the option proxy is {proxy}; it must be a DNS name")), "{text}");
    }
    for (user, password) in [("us:er", PASSWORD), ("user\r\n", PASSWORD), ("user", "pass word\n")] {
        let text = refusal(named().with_credentials(user, password));
        assert!(text.contains("colon") && !text.contains("pass word"), "{text}");
    }
}
