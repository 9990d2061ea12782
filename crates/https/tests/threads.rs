//! Which threads the engine starts. One test, because it counts the threads of the process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use iothub_core::{HttpMethod, HttpProvider, HttpRequest, Now, OpId, Platform, Trust};
use iothub_https::Https;
use iothub_net::SystemPlatform;

const LIMIT: Duration = Duration::from_secs(30);

/// Ids and names of the threads of this process.
fn threads() -> BTreeSet<(String, String)> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return BTreeSet::new() };
    let name = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        Some((task.file_name().to_string_lossy().into_owned(), name.trim().to_owned()))
    };
    tasks.flatten().filter_map(name).collect()
}

/// The names of the threads that come up while a request to this host is answered; the server is part of the loop.
fn started_by_a_request_to(host: &str) -> BTreeSet<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let before = threads();
    let mut started = BTreeSet::new();
    let mut engine = Https::new().engine(&Trust::Nobody, None).unwrap();
    let mut platform = SystemPlatform::new().unwrap();
    let url = format!("http://{host}:{}/", listener.local_addr().unwrap().port());
    let now = Now::system();
    engine.start(OpId(1), HttpRequest::new(HttpMethod::Get, url), now.mono + LIMIT, now);
    let limit = Instant::now() + LIMIT;
    let mut connection = None;
    loop {
        assert!(Instant::now() < limit, "no answer came");
        engine.do_work(Now::system());
        started.extend(threads().difference(&before).map(|(_, name)| name.clone()));
        if let Some((_, answer)) = engine.poll() {
            answer.unwrap();
            return started;
        }
        if connection.is_none() {
            connection = listener.accept().ok();
            if let Some((stream, _)) = &mut connection {
                stream.set_nonblocking(true).unwrap();
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            }
        }
        if let Some((stream, _)) = &mut connection {
            let _ = stream.read(&mut [0; 4096]);
        }
        platform.park(&[], engine.next_deadline());
    }
}

/// A thread bears its parent's name until it has set its own.
fn check(started: &BTreeSet<String>, allowed: &[&str]) {
    let parent = std::fs::read_to_string("/proc/thread-self/comm").unwrap_or_default();
    let is_allowed = |name: &String| name == parent.trim() || allowed.contains(&name.as_str());
    assert!(started.iter().all(is_allowed), "{started:?} beside {allowed:?}");
}

#[test]
fn the_engine_starts_no_thread_but_the_resolvers_and_inside_a_runtime_one_for_a_slice() {
    assert_eq!(started_by_a_request_to("127.0.0.1"), BTreeSet::new());
    check(&started_by_a_request_to("localhost"), &["iothub-resolver"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { check(&started_by_a_request_to("127.0.0.1"), &["iothub-https"]) });
}
