//! The engine works wherever the client does.

use std::process::Command;

use super::support::server::{Reply, Server};
use super::support::{Bench, get};

fn session(server: &Server) {
    let mut bench = Bench::plain();
    assert_eq!(bench.get(&server.url("/")).unwrap().body, "hello");
    assert_eq!(bench.get(&format!("http://localhost:{}/", server.port())).unwrap().body, "hello");
}

/// An engine that is dropped with something under way.
fn abandon(server: &Server) {
    let mut bench = Bench::plain();
    bench.start(get(&server.url("/")));
    bench.drive_until("the request", || server.has_request().is_some());
}

#[test]
fn inside_a_single_threaded_runtime() {
    let (server, silent) = (Server::saying("hello"), Server::start(|_| Reply::Silence));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        session(&server);
        abandon(&silent);
    });
}

#[test]
fn inside_a_task_of_a_runtime_with_many_threads() {
    let (server, silent) = (Server::saying("hello"), Server::start(|_| Reply::Silence));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let task = runtime.spawn(async move {
        session(&server);
        abandon(&silent);
    });
    runtime.block_on(task).unwrap();
}

#[test]
fn on_another_thread_than_it_was_made() {
    let server = Server::saying("hello");
    let mut bench = Bench::plain();
    bench.get(&server.url("/")).unwrap();
    let mut engine = bench.engine;
    std::thread::spawn(move || {
        assert_eq!(engine.next_deadline(), None);
        engine.do_work(iothub_core::Now::system());
    })
    .join()
    .unwrap();
}

#[test]
fn the_systems_proxy_is_not_asked() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "requests::one_connection_serves_many_requests"]);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        child.env(name, "http://127.0.0.1:1");
    }
    let output = child.env_remove("no_proxy").env_remove("NO_PROXY").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
