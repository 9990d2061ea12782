//! The proxy for tests, seen by a client that is nobody's: what it answers, what it records, where it leads.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use iothub_emulator::{ProxyAnswer, ProxyConfig, ProxyMode, TestProxy};

/// How long any single wait may take: generous, because it is only ever used up by a failure.
const LIMIT: Duration = Duration::from_secs(30);

fn ask(proxy: &TestProxy, request: &str) -> TcpStream {
    let mut tcp = TcpStream::connect(proxy.address()).unwrap();
    tcp.set_read_timeout(Some(LIMIT)).unwrap();
    tcp.write_all(request.as_bytes()).unwrap();
    tcp
}

fn connect(proxy: &TestProxy, target: &str) -> TcpStream {
    ask(proxy, &format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"))
}

/// The head of the next answer.
fn answer(tcp: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tcp.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

fn rest(mut tcp: &TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match tcp.read_to_end(&mut rest) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => rest,
    }
}

fn statuses(proxy: &TestProxy) -> Vec<ProxyAnswer> {
    proxy.requests().into_iter().map(|request| request.answer).collect()
}

/// A far end, and a proxy that leads to it under the name `far.test`.
fn far_end(config: ProxyConfig) -> (TcpListener, TestProxy) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = TestProxy::start(config.with_host("Far.test", listener.local_addr().unwrap())).unwrap();
    (listener, proxy)
}

#[test]
fn a_tunnel_passes_bytes_both_ways_and_is_on_record_with_both_ends() {
    let (listener, proxy) = far_end(ProxyConfig::new());
    let early = "CONNECT far.test:443 HTTP/1.1\r\nHost: far.test:443\r\n\r\nearly";
    let mut near = ask(&proxy, early);
    assert!(answer(&mut near).starts_with("HTTP/1.1 200 "));
    let (mut far, from) = listener.accept().unwrap();
    let mut received = [0; 5];
    far.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"early");
    far.write_all(b"back").unwrap();
    drop(far);
    assert_eq!(rest(&near), b"back");

    let requests = proxy.wait_for_requests(1, LIMIT).unwrap();
    assert_eq!(requests[0].target, "far.test:443");
    assert_eq!(requests[0].host.as_deref(), Some("far.test:443"));
    assert_eq!((requests[0].offered, requests[0].authorised), (false, true));
    assert_eq!(requests[0].answer, ProxyAnswer::Tunnel { from, to: listener.local_addr().unwrap() });
}

#[test]
fn it_leads_to_this_machine_and_the_given_names_and_nowhere_else() {
    let (listener, proxy) = far_end(ProxyConfig::new());
    let port = listener.local_addr().unwrap().port();
    for target in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "FAR.TEST:1".to_owned()] {
        assert!(answer(&mut connect(&proxy, &target)).starts_with("HTTP/1.1 200 "), "{target}");
        listener.accept().unwrap();
    }
    for target in ["192.0.2.1:443", "elsewhere.test:443", "far.test", "far.test:x"] {
        assert!(answer(&mut connect(&proxy, target)).starts_with("HTTP/1.1 502 "), "{target}");
    }
    assert_eq!(statuses(&proxy)[3..], [ProxyAnswer::Status(502); 4]);
    drop(listener);
    assert!(answer(&mut connect(&proxy, "far.test:443")).starts_with("HTTP/1.1 502 "), "nobody listens");
}

#[test]
fn credentials_are_asked_for_and_may_be_given_on_the_same_connection() {
    let (_listener, proxy) = far_end(ProxyConfig::new().with_credentials("user", "s3cret:"));
    let mut tcp = connect(&proxy, "far.test:443");
    let refusal = answer(&mut tcp);
    assert!(refusal.starts_with("HTTP/1.1 407 ") && refusal.contains("Proxy-Authenticate: Basic realm="), "{refusal}");
    for (value, status) in
        [("Basic dXNlcjp3cm9uZw==", 407), ("Bearer dXNlcjpzM2NyZXQ6", 407), ("basic dXNlcjpzM2NyZXQ6", 200)]
    {
        let request = format!("CONNECT far.test:443 HTTP/1.1\r\nProxy-Authorization: {value}\r\n\r\n");
        tcp.write_all(request.as_bytes()).unwrap();
        assert!(answer(&mut tcp).starts_with(&format!("HTTP/1.1 {status} ")), "{value}");
    }
    let seen: Vec<_> = proxy.requests().iter().map(|request| (request.offered, request.authorised)).collect();
    assert_eq!(seen, [(false, false), (true, false), (true, false), (true, true)]);
    let shown = format!("{proxy:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("dXNlcjpzM2NyZXQ6"), "{shown}");
}

#[test]
fn each_mode_answers_as_it_says_and_can_be_changed() {
    let (_listener, proxy) = far_end(ProxyConfig::new().with_mode(ProxyMode::HangUp));
    assert_eq!(rest(&connect(&proxy, "far.test:443")), b"");

    proxy.set_mode(ProxyMode::AcceptAndHangUp);
    assert!(rest(&connect(&proxy, "far.test:443")).starts_with(b"HTTP/1.1 200 "));

    proxy.set_mode(ProxyMode::Refuse { status: 403 });
    assert!(rest(&connect(&proxy, "far.test:443")).starts_with(b"HTTP/1.1 403 Forbidden\r\n"));

    proxy.set_mode(ProxyMode::Answer(b"220 mail.test ESMTP\r\n\r\n".to_vec()));
    assert_eq!(answer(&mut connect(&proxy, "far.test:443")), "220 mail.test ESMTP\r\n\r\n");

    proxy.set_mode(ProxyMode::Silent);
    let silent = connect(&proxy, "far.test:443");
    let requests = proxy.wait_for_requests(5, LIMIT).unwrap();
    silent.set_nonblocking(true).unwrap();
    assert_eq!((&silent).read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock, "{requests:?}");
    assert!(requests.iter().all(|request| request.authorised));

    proxy.set_mode(ProxyMode::Tunnel);
    assert!(answer(&mut connect(&proxy, "far.test:443")).starts_with("HTTP/1.1 200 "));
}

#[test]
fn cut_tunnels_end_on_both_sides_and_new_ones_work() {
    let (listener, proxy) = far_end(ProxyConfig::new());
    let mut near = connect(&proxy, "far.test:443");
    answer(&mut near);
    let (far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(LIMIT)).unwrap();
    proxy.cut_tunnels();
    assert_eq!((rest(&near), rest(&far)), (Vec::new(), Vec::new()));
    assert!(answer(&mut connect(&proxy, "far.test:443")).starts_with("HTTP/1.1 200 "));
}

#[test]
fn what_is_no_connect_is_refused() {
    let proxy = TestProxy::start(ProxyConfig::new()).unwrap();
    for (request, status) in [
        ("GET http://far.test/ HTTP/1.1\r\nHost: far.test\r\n\r\n".to_owned(), "405"),
        ("\u{1}\u{2}\r\n\r\n".to_owned(), "400"),
        (format!("CONNECT {} HTTP/1.1\r\n\r\n", "x".repeat(20_000)), "431"),
    ] {
        assert!(answer(&mut ask(&proxy, &request)).contains(status), "{status}");
    }
    assert_eq!(proxy.requests(), []);
}

#[test]
fn its_end_closes_its_port_and_its_connections() {
    let (_listener, proxy) = far_end(ProxyConfig::new().with_mode(ProxyMode::Silent));
    let (address, waiting): (SocketAddr, _) = (proxy.address(), connect(&proxy, "far.test:443"));
    proxy.wait_for_requests(1, LIMIT).unwrap();
    let error = proxy.wait_for_requests(2, Duration::ZERO).unwrap_err();
    assert!(error.to_string().contains("1 came"), "{error}");
    drop(proxy);
    assert_eq!(rest(&waiting), b"");
    assert!(TcpStream::connect(address).is_err());
}
