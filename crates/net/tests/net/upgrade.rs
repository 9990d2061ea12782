//! The upgrade to a WebSocket: what is asked, and which answers are good.

use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use iothub_core::{
    ClientCertificate, ConnectStage, ConnectionError, ConnectionErrorKind, CreateError, Now, Readiness, Trust,
    WebSocketError,
};
use iothub_net::{Connect, Stream, TcpKeepAlive, WebSocketConnector, memory};

use crate::support::TIMEOUT;
use crate::support::websocket::{accept_key, answered, ask, over_memory, yes};

fn refused(answer: impl FnOnce(&str) -> String) -> ConnectionErrorKind {
    match answered(answer) {
        Poll::Ready(Err(error)) => {
            assert_eq!((&*error.host, error.port), ("hub.example", 443));
            error.kind
        }
        other => panic!("{other:?}"),
    }
}

fn error(answer: impl FnOnce(&str) -> String) -> WebSocketError {
    match refused(answer) {
        ConnectionErrorKind::WebSocket(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_request_is_that_of_the_official_sdks() {
    let (mut connector, script) = over_memory("hub.example", 443);
    let (_peer, request) = ask(&mut connector, &script, Now::system());
    let lines: Vec<_> = request.split("\r\n").collect();
    let [get, host, upgrade, connection, key, subprotocol, version, "", ""] = lines[..] else { panic!("{request}") };
    assert_eq!(get, "GET /$iothub/websocket HTTP/1.1");
    assert_eq!(host, "Host: hub.example");
    assert_eq!((upgrade, connection), ("Upgrade: websocket", "Connection: Upgrade"));
    assert_eq!(subprotocol, "Sec-WebSocket-Protocol: mqtt");
    assert_eq!(version, "Sec-WebSocket-Version: 13");
    // 16 bytes in base64.
    let key = key.strip_prefix("Sec-WebSocket-Key: ").expect("a key");
    assert!(key.len() == 24 && key.ends_with("=="), "{key}");
}

#[test]
fn every_request_has_another_key() {
    let (mut connector, script) = over_memory("hub.example", 443);
    let keys: Vec<_> = (0..2).map(|_| ask(&mut connector, &script, Now::system()).1).collect();
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn a_port_of_its_own_and_an_ipv6_address_stand_in_the_request_as_they_must() {
    for (host, port, expected) in [
        ("hub.example", 8443, "Host: hub.example:8443\r\n"),
        ("::1", 443, "Host: [::1]\r\n"),
        ("::1", 1, "Host: [::1]:1\r\n"),
    ] {
        let (mut connector, script) = over_memory(host, port);
        let (_peer, request) = ask(&mut connector, &script, Now::system());
        assert!(request.contains(expected), "{request}");
    }
}

#[test]
fn path_and_subprotocol_are_the_callers() {
    let (connect, script) = memory::network("hub.example", 443);
    let path = "/$iothub/websocket?iothub-no-client-cert=true";
    let mut connector = WebSocketConnector::new(Box::new(connect), path, "AMQPWSB10", TIMEOUT).expect("a good path");
    let (_peer, request) = ask(&mut connector, &script, Now::system());
    assert!(request.starts_with("GET /$iothub/websocket?iothub-no-client-cert=true HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nSec-WebSocket-Protocol: AMQPWSB10\r\n"), "{request}");
}

#[test]
fn a_path_or_subprotocol_that_would_break_the_request_is_refused() {
    let refusal = |path: &str, subprotocol: &str| {
        let (connect, _script) = memory::network("hub.example", 443);
        match WebSocketConnector::new(Box::new(connect), path, subprotocol, TIMEOUT) {
            Err(CreateError::Option { option, .. }) => option,
            other => panic!("{other:?}"),
        }
    };
    for path in ["", "websocket", "/a b", "/a\r\nX: 1", "/\u{e9}"] {
        assert_eq!(refusal(path, "mqtt"), "path");
    }
    for subprotocol in ["", "mqtt, amqp", "m\r\n"] {
        assert_eq!(refusal("/", subprotocol), "subprotocol");
    }
}

#[test]
fn the_accept_key_is_that_of_the_standards_example() {
    let key = accept_key("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    assert_eq!(key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn good_answers_come_in_many_shapes() {
    let good: [fn(&str) -> String; 5] = [
        yes,
        |request| yes(request).to_lowercase().replace(&accept_key(request).to_lowercase(), &accept_key(request)),
        |request| yes(request).replace("Connection: Upgrade", "Connection: keep-alive, upgrade"),
        |request| yes(request).replace("Upgrade: websocket", "Upgrade: WebSocket").replace(": mqtt", ": MQTT"),
        |request| yes(request).replace("\r\n\r\n", "\r\nServer: a hub\r\nSec-WebSocket-Extensions:\r\n\r\n"),
    ];
    for answer in good {
        // HTTP/1.1 itself has no lower case.
        let outcome = answered(|request| answer(request).replace("http/1.1", "HTTP/1.1"));
        assert!(matches!(outcome, Poll::Ready(Ok(_))), "{outcome:?}");
    }
}

#[test]
fn an_answer_with_another_status_is_a_refusal() {
    let refused = error(|_| "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nsorry".to_owned());
    assert_eq!(refused, WebSocketError::Refused { status: 404, reason: "Not Found".to_owned() });
    let ok = error(|_| "HTTP/1.1 200 OK\r\n\r\n<html>".to_owned());
    assert_eq!(ok, WebSocketError::Refused { status: 200, reason: "OK".to_owned() });
}

#[test]
fn every_header_that_must_be_there_is_looked_at() {
    for (good, bad, name) in [
        ("Upgrade: websocket", "Upgrade: h2c", "Upgrade"),
        ("Upgrade: websocket\r\n", "", "Upgrade"),
        ("Connection: Upgrade", "Connection: close", "Connection"),
        ("Connection: Upgrade\r\n", "", "Connection"),
        ("Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: x", "Sec-WebSocket-Accept"),
        ("Sec-WebSocket-Accept: ", "X-Accept: ", "Sec-WebSocket-Accept"),
    ] {
        assert_eq!(error(|request| yes(request).replacen(good, bad, 1)), WebSocketError::Header { name }, "{bad}");
    }
}

#[test]
fn a_server_that_speaks_something_else_inside_is_refused() {
    let wrong =
        |answered: &str| WebSocketError::Subprotocol { wanted: "mqtt".to_owned(), answered: answered.to_owned() };
    let answer = |line: &'static str| error(|request| yes(request).replace("Sec-WebSocket-Protocol: mqtt\r\n", line));
    assert_eq!(answer(""), wrong("none"));
    assert_eq!(answer("Sec-WebSocket-Protocol: amqp\r\n"), wrong("amqp"));
    assert_eq!(answer("Sec-WebSocket-Protocol: mqtt, amqp\r\n"), wrong("mqtt, amqp"));
    let extension = answer("Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Extensions: permessage-deflate\r\n");
    assert_eq!(extension, WebSocketError::Extension { name: "permessage-deflate".to_owned() });
}

#[test]
fn what_is_no_http_is_refused() {
    let not_http = |text: &str| match error(|_| text.to_owned()) {
        WebSocketError::NotHttp { detail } => detail,
        other => panic!("{other:?}"),
    };
    assert_eq!(not_http("SSH-2.0-OpenSSH_9.2\r\n"), "invalid HTTP version");
    assert_eq!(not_http(&format!("HTTP/1.1 101 {}", "x".repeat(20_000))), "its head is longer than 16 KiB");
}

#[test]
fn a_server_that_hangs_up_or_breaks_off_is_a_network_failure() {
    for (cut, expected) in [(false, "the server closed the connection"), (true, "connection reset")] {
        let (mut connector, script) = over_memory("hub.example", 443);
        let now = Now::system();
        let (mut peer, _) = ask(&mut connector, &script, now);
        peer.send(b"HTTP/1.1 101");
        if cut {
            peer.cut_after_sent()
        } else {
            peer.close()
        }
        let Poll::Ready(Err(error)) = connector.poll(now) else { panic!("it must fail") };
        let ConnectionErrorKind::Network { stage: ConnectStage::Upgrade, detail } = error.kind else { panic!() };
        assert_eq!(detail, expected);
    }
}

#[test]
fn a_silent_server_runs_into_the_time_out_of_this_stage() {
    let (mut connector, script) = over_memory("hub.example", 443);
    let now = Now::system();
    let (_peer, _) = ask(&mut connector, &script, now);
    assert_eq!(connector.next_deadline(), Some(now.mono + TIMEOUT));
    assert!(connector.poll(now + (TIMEOUT - Duration::from_nanos(1))).is_pending());
    let Poll::Ready(Err(error)) = connector.poll(now + TIMEOUT) else { panic!("the time is up") };
    assert_eq!(error.kind, ConnectionErrorKind::TimedOut { stage: ConnectStage::Upgrade, after: TIMEOUT });
    assert_eq!(connector.next_deadline(), None);

    connector.set_timeout(Duration::from_secs(1));
    let (_peer, _) = ask(&mut connector, &script, now);
    assert_eq!(connector.next_deadline(), Some(now.mono + Duration::from_secs(1)));
}

#[test]
fn a_cancelled_attempt_hangs_up() {
    let (mut connector, script) = over_memory("hub.example", 443);
    let now = Now::system();
    let (peer, _) = ask(&mut connector, &script, now);
    connector.cancel();
    assert!(peer.is_closed_by_client());
    assert!(connector.poll(now).is_pending());
    assert_eq!(connector.next_deadline(), None);
    // The next attempt has nothing of it.
    let (mut peer, request) = ask(&mut connector, &script, now);
    peer.send(yes(&request).as_bytes());
    assert!(matches!(connector.poll(now), Poll::Ready(Ok(_))));
}

#[test]
fn a_failure_below_is_passed_on() {
    let (mut connector, script) = over_memory("hub.example", 443);
    script.fail(ConnectionErrorKind::Refused);
    let now = Now::system();
    connector.start(now);
    let Poll::Ready(Err(error)) = connector.poll(now) else { panic!("it was scripted to fail") };
    assert_eq!(error.kind, ConnectionErrorKind::Refused);
}

#[test]
fn a_request_that_does_not_fit_at_once_goes_in_pieces() {
    let (mut connector, script) = over_memory("hub.example", 443);
    let now = Now::system();
    let mut peer = script.accept();
    peer.limit_writes(7);
    peer.set_capacity(10);
    connector.start(now);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        assert!(connector.poll(now).is_pending());
        request.extend(peer.receive());
    }
    peer.send(yes(&String::from_utf8(request).expect("text")).as_bytes());
    assert!(matches!(connector.poll(now), Poll::Ready(Ok(_))));
}

#[test]
fn debug_shows_where_and_what_and_nothing_else() {
    let (connector, _) = over_memory("hub.example", 443);
    assert_eq!(format!("{connector:?}"), "WebSocketConnector(hub.example:443/$iothub/websocket mqtt)");
}

/// Notes what it is told, and connects to nobody.
struct Noting(Arc<str>, Arc<Mutex<Vec<&'static str>>>);

impl Noting {
    fn note(&self, what: &'static str) {
        self.1.lock().unwrap().push(what);
    }
}

impl Connect for Noting {
    fn host(&self) -> &Arc<str> {
        &self.0
    }

    fn port(&self) -> u16 {
        443
    }

    fn set_waker(&mut self, _: &Waker) {
        self.note("waker");
    }

    fn set_timeout(&mut self, _: Duration) {
        self.note("timeout");
    }

    fn set_tcp_keep_alive(&mut self, _: TcpKeepAlive) {
        self.note("tcp keep-alive");
    }

    fn set_certificate(&mut self, _: Option<&ClientCertificate>) -> Result<(), CreateError> {
        self.note("certificate");
        Ok(())
    }

    fn set_trust(&mut self, _: &Trust) -> Result<(), CreateError> {
        self.note("trust");
        Ok(())
    }

    fn start(&mut self, _: Now) {
        self.note("start");
    }

    fn poll(&mut self, _: Now) -> Poll<Result<Stream, ConnectionError>> {
        self.note("poll");
        Poll::Pending
    }

    fn cancel(&mut self) {
        self.note("cancel");
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.note("deadline");
        None
    }

    fn readiness(&self, _: &mut Vec<Readiness>) {
        self.note("readiness");
    }
}

#[test]
fn whatever_it_is_told_the_connection_below_is_told() {
    let notes = Arc::default();
    let below = Noting("hub.example".into(), Arc::clone(&notes));
    let mut connector = WebSocketConnector::new(Box::new(below), "/", "mqtt", TIMEOUT).expect("a good path");
    let now = Now::system();
    connector.set_waker(Waker::noop());
    connector.set_timeout(TIMEOUT);
    connector.set_tcp_keep_alive(TcpKeepAlive::default());
    connector.set_certificate(None).expect("it takes any");
    connector.set_trust(&Trust::System).expect("it takes any");
    connector.start(now);
    assert!(connector.poll(now).is_pending());
    assert_eq!(connector.next_deadline(), None);
    connector.readiness(&mut Vec::new());
    connector.cancel();
    let expected = [
        "waker",
        "timeout",
        "tcp keep-alive",
        "certificate",
        "trust",
        "start",
        "poll",
        "deadline",
        "readiness",
        "cancel",
    ];
    assert_eq!(*notes.lock().unwrap(), expected);
}
