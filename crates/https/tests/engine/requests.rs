//! Requests and answers.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use iothub_core::{HttpError, HttpMethod, HttpRequest, Now};

use super::support::server::{Reply, Server, answer};
use super::support::{Bench, get};

/// A path for a socket that nobody else uses.
fn socket_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("iothub-https-{}-{name}.sock", std::process::id()))
}

#[test]
fn a_request_reaches_the_server_and_its_answer_comes_back() {
    let server = Server::start(|_| Reply::Send(answer(207, "{\"a\":1}")));
    let mut bench = Bench::plain();
    let request = HttpRequest::new(HttpMethod::Post, server.url("/a%2Fb/c?d=e"))
        .with_header("Authorization", "SharedAccessSignature sr=x")
        .with_header("x-ms-edge-moduleId", "d/m")
        .with_body("hello");
    let response = bench.ask(request).unwrap();
    assert_eq!((response.status, &response.body[..]), (207, b"{\"a\":1}".as_slice()));
    assert_eq!(response.header("x-told"), Some("yes"));

    let request = server.request();
    assert_eq!(request.line, "POST /a%2Fb/c?d=e HTTP/1.1");
    assert_eq!(request.body, b"hello");
    assert_eq!(request.header("authorization"), Some("SharedAccessSignature sr=x"));
    assert_eq!(request.header("x-ms-edge-moduleid"), Some("d/m"));
    assert_eq!(request.header("content-length"), Some("5"));
    assert_eq!(request.header("host"), Some(&*format!("127.0.0.1:{}", server.port())));
}

#[test]
fn every_method_is_sent_and_an_empty_body_is_none() {
    let server = Server::saying("");
    let mut bench = Bench::plain();
    for method in [HttpMethod::Get, HttpMethod::Post, HttpMethod::Put, HttpMethod::Delete] {
        assert!(bench.ask(HttpRequest::new(method, server.url("/"))).unwrap().is_success());
        let request = server.request();
        assert_eq!((request.line, request.body.len()), (format!("{method} / HTTP/1.1"), 0));
    }
}

#[test]
fn nothing_moves_before_do_work() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut bench = Bench::plain();
    bench.start(get(&format!("http://{}/", listener.local_addr().unwrap())));
    assert!(listener.accept().is_err());
    assert!(bench.engine.next_deadline().is_some_and(|due| due <= std::time::Instant::now()), "work is due");
    bench.drive_until("the connection", || listener.accept().is_ok());
}

#[test]
fn an_idle_engine_wants_nothing() {
    let server = Server::saying("hello");
    let mut bench = Bench::plain();
    assert_eq!(bench.engine.next_deadline(), None);
    bench.get(&server.url("/")).unwrap();
    assert_eq!(bench.engine.next_deadline(), None);
    bench.engine.do_work(Now::system());
    assert_eq!(bench.engine.next_deadline(), None);
}

#[test]
fn while_something_is_under_way_the_engine_ticks() {
    let server = Server::start(|_| Reply::Silence);
    let mut bench = Bench::plain();
    bench.start(get(&server.url("/")));
    let now = Now::system();
    bench.engine.do_work(now);
    assert_eq!(bench.engine.next_deadline(), Some(now.mono + std::time::Duration::from_millis(5)));
}

#[test]
fn one_connection_serves_many_requests() {
    let server = Server::saying("hello");
    let mut bench = Bench::plain();
    for _ in 0..10 {
        bench.get(&server.url("/")).unwrap();
        assert_eq!(server.request().connection, 1);
    }
}

#[test]
fn requests_at_once_are_told_apart() {
    let server = Server::start(|request| Reply::Send(answer(200, &request.line)));
    let mut bench = Bench::plain();
    let mut waiting: Vec<_> =
        (0..20).map(|n| (bench.start(get(&server.url(&format!("/{n}")))), format!("GET /{n} HTTP/1.1"))).collect();
    while !waiting.is_empty() {
        let (id, answer) = bench.next();
        let at = waiting.iter().position(|(waiting, _)| *waiting == id).expect("one answer each");
        assert_eq!(answer.unwrap().body, waiting.swap_remove(at).1);
    }
}

#[test]
fn an_answer_that_comes_in_pieces_is_put_together() {
    let (go_on, gone_on) = channel();
    let gone_on = Mutex::new(Some(gone_on));
    let server = Server::start(move |_| {
        let first = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".to_vec();
        Reply::Pause(first, gone_on.lock().unwrap().take().unwrap(), b"3\r\ndef\r\n0\r\n\r\n".to_vec())
    });
    let mut bench = Bench::plain();
    bench.start(get(&server.url("/")));
    let mut seen = false;
    bench.drive_until("the request", || {
        seen |= server.has_request().is_some();
        seen
    });
    for _ in 0..10 {
        bench.engine.do_work(Now::system());
        assert!(bench.engine.poll().is_none());
    }
    go_on.send(()).unwrap();
    assert_eq!(bench.next().1.unwrap().body, "abcdef");
}

#[test]
fn a_unix_socket_is_spoken_through() {
    let (first, second) = (socket_path("first"), socket_path("second"));
    let servers = [("first", &first), ("second", &second)]
        .map(|(name, path)| Server::unix(path, move |_| Reply::Send(answer(200, name))));
    let mut bench = Bench::plain();
    for (path, name) in [(&first, "first"), (&first, "first"), (&second, "second"), (&first, "first")] {
        let mut request = get("http://localhost/modules?api-version=1");
        request.socket = Some(path.clone());
        assert_eq!(bench.ask(request).unwrap().body, name);
    }
    let requests = [&servers[0], &servers[0], &servers[1]].map(Server::request);
    assert_eq!(requests.each_ref().map(|request| request.connection), [1, 1, 1], "a socket's connection is kept");
    assert_eq!(requests[0].line, "GET /modules?api-version=1 HTTP/1.1");
    assert_eq!(requests[0].header("host"), Some("localhost"));
}

#[test]
fn a_socket_that_is_not_there_is_named() {
    let mut request = get("http://localhost/");
    request.socket = Some(socket_path("missing"));
    let error = Bench::plain().ask(request).unwrap_err();
    assert!(matches!(&error, HttpError::Socket { .. }), "{error:?}");
    assert!(error.to_string().contains("-missing.sock cannot be opened (No such file"), "{error}");
    assert!(!error.maybe_sent());
}

#[test]
fn a_redirect_is_an_answer_like_any_other() {
    let server =
        Server::start(|_| Reply::Send(b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n".to_vec()));
    let mut bench = Bench::plain();
    let response = bench.get(&server.url("/a")).unwrap();
    assert_eq!((response.status, response.header("location")), (302, Some("/b")));
    server.request();
    assert!(server.has_request().is_none());
}

#[test]
fn an_answer_larger_than_asked_for_is_an_error() {
    let length = Server::start(|_| Reply::Send(answer(200, "0123456789")));
    let chunked = Server::start(|_| {
        Reply::Send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n".to_vec(),
        )
    });
    for server in [&length, &chunked] {
        let mut request = get(&server.url("/"));
        request.max_response = 9;
        let error = Bench::plain().ask(request.clone()).unwrap_err();
        assert!(matches!(error, HttpError::TooLarge { limit: 9, .. }), "{error:?}");
        request.max_response = 10;
        assert_eq!(Bench::plain().ask(request).unwrap().body, "0123456789");
    }
}

#[test]
fn a_large_body_goes_up_and_comes_down() {
    let server = Server::start(|request| {
        let body = String::from_utf8(request.body.clone()).unwrap();
        Reply::Send(answer(200, &body))
    });
    let body = "x".repeat(4 << 20);
    let mut request = HttpRequest::new(HttpMethod::Put, server.url("/")).with_body(body.clone());
    request.max_response = body.len();
    let response = Bench::plain().ask(request).unwrap();
    assert!(response.body == body, "{} bytes", response.body.len());
}

#[test]
fn what_http_cannot_carry_is_an_error_at_once() {
    let wrong = [
        get("no url"),
        get("ftp://localhost/"),
        get("http://"),
        get("http://127.0.0.1:1/").with_header("a b", "c"),
        get("http://127.0.0.1:1/").with_header("a", "geheim\r\nb: c"),
    ];
    let mut bench = Bench::plain();
    for request in wrong {
        let id = bench.start(request);
        let (answered, error) = bench.engine.poll().expect("without do_work");
        let error = error.unwrap_err();
        assert_eq!(answered, id);
        assert!(matches!(&error, HttpError::Malformed { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("geheim"));
    }
}

#[test]
fn a_header_that_is_not_text_is_delivered_all_the_same() {
    let server =
        Server::start(|_| Reply::Send(b"HTTP/1.1 200 OK\r\nX-Odd: a\xffb\r\nContent-Length: 0\r\n\r\n".to_vec()));
    let response = Bench::plain().get(&server.url("/")).unwrap();
    assert_eq!(response.header("x-odd"), Some("a\u{fffd}b"));
}
