//! How requests end that have no answer.

use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use iothub_core::{ConnectionErrorKind, HttpError, HttpRequest, Now, OpId};

use super::support::server::{Reply, Server, answer};
use super::support::{Bench, LIMIT, get};

const ID: OpId = OpId(7);

/// A request under way, whose server says nothing.
fn unanswered(bench: &mut Bench, server: &Server) -> Now {
    let now = Now::system();
    bench.engine.start(ID, get(&server.url("/")), now.mono + LIMIT, now);
    bench.drive_until("the request", || server.has_request().is_some());
    now
}

#[test]
fn at_its_deadline_a_request_has_timed_out_by_the_time_that_is_passed_in() {
    let server = Server::start(|_| Reply::Silence);
    let mut bench = Bench::plain();
    let now = unanswered(&mut bench, &server);
    bench.engine.do_work(now + (LIMIT - Duration::from_nanos(1)));
    assert!(bench.engine.poll().is_none());
    bench.engine.do_work(now + LIMIT);
    let Some((ID, Err(error))) = bench.engine.poll() else { panic!() };
    assert_eq!(error, HttpError::TimedOut { peer: format!("127.0.0.1:{}", server.port()) });
    assert!(error.maybe_sent());
    assert_eq!(bench.engine.next_deadline(), None);
    assert!(bench.engine.poll().is_none());
}

#[test]
fn the_deadline_is_what_is_waited_for_when_it_comes_before_the_tick() {
    let server = Server::start(|_| Reply::Silence);
    let mut bench = Bench::plain();
    let now = unanswered(&mut bench, &server);
    bench.engine.do_work(now + (LIMIT - Duration::from_millis(2)));
    assert_eq!(bench.engine.next_deadline(), Some(now.mono + LIMIT));
}

#[test]
fn a_request_that_is_late_before_its_first_slice_never_goes_out() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut bench = Bench::plain();
    let now = Now::system();
    bench.engine.start(ID, get(&format!("http://{}/", listener.local_addr().unwrap())), now.mono, now);
    bench.engine.do_work(now);
    assert!(matches!(bench.engine.poll(), Some((ID, Err(HttpError::TimedOut { .. })))));
    bench.engine.do_work(now);
    assert!(listener.accept().is_err());
}

#[test]
fn a_cancelled_request_has_no_result_and_its_connection_ends() {
    let server = Server::start(|_| Reply::Silence);
    let mut bench = Bench::plain();
    unanswered(&mut bench, &server);
    bench.engine.cancel(ID);
    assert_eq!(bench.engine.next_deadline(), None);
    assert!(bench.engine.poll().is_none());
    // The next slice, for whatever, ends it.
    let other = Server::saying("hello");
    bench.get(&other.url("/")).unwrap();
    server.end();
    bench.engine.cancel(ID);
}

#[test]
fn a_result_that_nobody_took_is_gone_after_a_cancel() {
    let server = Server::saying("hello");
    let mut bench = Bench::plain();
    let now = Now::system();
    bench.engine.start(ID, get(&server.url("/")), now.mono + LIMIT, now);
    let mut due_at_once = false;
    for _ in 0..100_000 {
        let now = Now::system();
        bench.engine.do_work(now);
        // A result that waits makes work due now, an open request only after a tick.
        due_at_once = bench.engine.next_deadline() == Some(now.mono);
        if due_at_once {
            break;
        }
    }
    assert!(due_at_once);
    bench.engine.cancel(ID);
    assert!(bench.engine.poll().is_none());
}

#[test]
fn dropping_the_engine_ends_its_connections() {
    let server = Server::start(|_| Reply::Silence);
    let mut bench = Bench::plain();
    unanswered(&mut bench, &server);
    drop(bench);
    server.end();
}

#[test]
fn a_server_that_closes_without_an_answer_is_not_asked_twice() {
    let server = Server::start(|_| Reply::Close(Vec::new()));
    let error = Bench::plain().get(&server.url("/")).unwrap_err();
    assert!(matches!(&error, HttpError::Broken { .. }), "{error:?}");
    assert!(error.maybe_sent());
    server.request();
    assert!(server.has_request().is_none());
}

#[test]
fn an_answer_that_is_cut_off_is_none() {
    let server = Server::start(|_| Reply::Close(answer(200, "0123456789")[..60].to_vec()));
    let error = Bench::plain().get(&server.url("/")).unwrap_err();
    assert!(matches!(&error, HttpError::Broken { .. }), "{error:?}");
}

#[test]
fn an_answer_that_is_no_http_is_an_error() {
    let server = Server::start(|_| Reply::Close(b"220 smtp.example ESMTP\r\n".to_vec()));
    let error = Bench::plain().get(&server.url("/")).unwrap_err();
    assert!(matches!(&error, HttpError::Broken { .. }), "{error:?}");
}

#[test]
fn a_connection_that_was_closed_while_idle_is_not_used_again() {
    let (tell, told) = channel();
    let told = Mutex::new(vec![told]);
    let server = Server::start(move |_| match told.lock().unwrap().pop() {
        Some(told) => Reply::CloseLater(answer(200, "hello"), told),
        None => Reply::Send(answer(200, "hello again")),
    });
    let mut bench = Bench::plain();
    assert_eq!(bench.get(&server.url("/")).unwrap().body, "hello");
    tell.send(()).unwrap();
    assert_eq!(server.end(), 1);
    assert_eq!(bench.get(&server.url("/")).unwrap().body, "hello again");
    assert_eq!([server.request(), server.request()].map(|request| request.connection), [1, 2]);
}

#[test]
fn a_closed_port_refuses() {
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let error = Bench::plain().get(&format!("http://127.0.0.1:{port}/?sig=geheim")).unwrap_err();
    let peer = format!("127.0.0.1:{port}");
    assert_eq!(error, HttpError::NotConnected { peer, kind: ConnectionErrorKind::Refused });
    assert!(!error.maybe_sent());
}

#[test]
fn no_error_repeats_the_query() {
    let server = Server::start(|_| Reply::Close(Vec::new()));
    let request: HttpRequest = get(&server.url("/?sig=geheim")).with_header("Authorization", "geheim");
    let error = Bench::plain().ask(request).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("geheim"), "{error:?}");
}
