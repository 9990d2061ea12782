//! From a host name to one address that answers.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use iothub_core::{ConnectStage, ConnectionErrorKind, Now, Platform, Readiness};
use iothub_net::{Connect, Connector, Resolve, SystemPlatform};

use crate::support::authority::Authority;
use crate::support::server::{self, BOTH, Silent, refusing};
use crate::support::{GENEROUS, Scripted, TIMEOUT, connect, connector, drive, endpoint, kind};

#[test]
fn a_refused_port_is_an_error() {
    let authority = Authority::new();
    let outcome = connect(&mut connector(&endpoint("hub.example", &authority), [refusing()]));
    assert_eq!(kind(outcome), ConnectionErrorKind::Refused);
}

#[test]
fn the_next_address_gets_its_chance_when_one_refuses() {
    let authority = Authority::new();
    let server = server::tls(authority.server(&["hub.example"]).config(BOTH), |mut tls| tls.write_all(b"!").is_ok());
    let addresses = [refusing(), refusing(), server.address];
    assert!(connect(&mut connector(&endpoint("hub.example", &authority), addresses)).is_ok());
    assert!(server.join());
}

#[test]
fn the_next_address_gets_its_chance_when_one_is_silent() {
    let authority = Authority::new();
    let silent = Silent::new();
    let server = server::tls(authority.server(&["hub.example"]).config(BOTH), |mut tls| tls.write_all(b"!").is_ok());
    let mut connector = connector(&endpoint("hub.example", &authority), [silent.address, server.address]);
    let now = Now::system();
    connector.start(now);
    assert!(connector.poll(now).is_pending());
    assert_eq!(connector.next_deadline(), Some(now.mono + TIMEOUT));
    let mut platform = SystemPlatform::new().unwrap();
    assert!(drive(&mut connector, &mut platform, TIMEOUT).is_ok());
    assert!(server.join());
}

#[test]
fn the_next_address_gets_its_chance_when_one_breaks_off_the_handshake() {
    let authority = Authority::new();
    let broken = server::tcp(|mut socket| socket.read(&mut [0; 4096]).expect("a hello"));
    let server = server::tls(authority.server(&["hub.example"]).config(BOTH), |mut tls| tls.write_all(b"!").is_ok());
    let addresses = [broken.address, server.address];
    assert!(connect(&mut connector(&endpoint("hub.example", &authority), addresses)).is_ok());
    broken.join();
    assert!(server.join());
}

#[test]
fn silence_tells_more_than_a_refusal() {
    let authority = Authority::new();
    let silent = Silent::new();
    let mut connector = connector(&endpoint("hub.example", &authority), [silent.address, refusing()]);
    let now = Now::system();
    connector.start(now);
    assert!(connector.poll(now).is_pending());
    let mut platform = SystemPlatform::new().unwrap();
    let outcome = drive(&mut connector, &mut platform, TIMEOUT);
    assert_eq!(kind(outcome), ConnectionErrorKind::TimedOut { stage: ConnectStage::Tcp, after: TIMEOUT });
}

#[test]
fn a_resolver_that_fails_is_quoted() {
    let authority = Authority::new();
    let resolver = Scripted([Err("no such host".to_owned()), Ok(Vec::new())].into());
    let endpoint = endpoint("hub.example", &authority);
    let mut connector = Connector::new(&endpoint, 8883, TIMEOUT, Some(Box::new(resolver))).unwrap();
    assert_eq!(kind(connect(&mut connector)), ConnectionErrorKind::Dns { detail: "no such host".to_owned() });
    assert_eq!(kind(connect(&mut connector)), ConnectionErrorKind::Dns { detail: "it has no address".to_owned() });
}

/// Never answers.
struct Dead;

impl Resolve for Dead {
    fn resolve(&mut self, _host: &str, _port: u16, _waker: &Waker) -> Poll<Result<Vec<SocketAddr>, String>> {
        Poll::Pending
    }
}

#[test]
fn a_resolver_that_is_silent_runs_into_the_time_out() {
    let authority = Authority::new();
    let endpoint = endpoint("hub.example", &authority);
    let mut connector = Connector::new(&endpoint, 8883, TIMEOUT, Some(Box::new(Dead))).unwrap();
    let now = Now::system();
    connector.start(now);
    assert_eq!(connector.next_deadline(), Some(now.mono), "a fresh attempt is work to do now");
    assert!(connector.poll(now).is_pending());
    assert_eq!(connector.next_deadline(), Some(now.mono + TIMEOUT));
    let Poll::Ready(outcome) = connector.poll(now + TIMEOUT) else { panic!("the time is over") };
    assert_eq!(kind(outcome), ConnectionErrorKind::TimedOut { stage: ConnectStage::Resolve, after: TIMEOUT });
}

#[test]
fn another_time_out_holds_from_the_next_attempt_on() {
    let authority = Authority::new();
    let endpoint = endpoint("hub.example", &authority);
    let mut connector = Connector::new(&endpoint, 8883, TIMEOUT, Some(Box::new(Dead))).unwrap();
    let now = Now::system();
    connector.set_timeout(TIMEOUT * 2);
    connector.start(now);
    assert!(connector.poll(now + TIMEOUT).is_pending());
    assert!(connector.poll(now + TIMEOUT * 2).is_pending());
    let Poll::Ready(outcome) = connector.poll(now + TIMEOUT * 3) else { panic!("the time is over") };
    assert_eq!(kind(outcome), ConnectionErrorKind::TimedOut { stage: ConnectStage::Resolve, after: TIMEOUT * 2 });
}

#[test]
fn a_cancelled_attempt_waits_for_nothing() {
    let authority = Authority::new();
    let endpoint = endpoint("hub.example", &authority);
    let mut connector = Connector::new(&endpoint, 8883, TIMEOUT, Some(Box::new(Dead))).unwrap();
    let now = Now::system();
    connector.start(now);
    assert!(connector.poll(now).is_pending());
    connector.cancel();
    assert_eq!(connector.next_deadline(), None);
    assert!(connector.poll(now + 2 * TIMEOUT).is_pending());
}

#[test]
fn starting_anew_drops_the_attempt_under_way_though_its_descriptor_is_still_held() {
    let authority = Authority::new();
    let first = server::tcp(|mut socket| {
        let mut all = Vec::new();
        socket.read_to_end(&mut all).map(|_| ())
    });
    let second = server::tls(authority.server(&["hub.example"]).config(BOTH), |mut tls| tls.write_all(b"!").is_ok());
    let resolver = Scripted([Ok(vec![first.address]), Ok(vec![second.address])].into());
    let endpoint = endpoint("hub.example", &authority);
    let mut connector = Connector::new(&endpoint, 8883, TIMEOUT, Some(Box::new(resolver))).unwrap();
    let now = Now::system();
    connector.start(now);
    let mut held: Vec<Readiness> = Vec::new();
    crate::support::drive_until(&mut connector, now, |connector| {
        connector.readiness(&mut held);
        held.iter().any(|readiness| readiness.read)
    });
    assert!(connect(&mut connector).is_ok());
    first.join().expect("the end of the first connection");
    assert!(second.join());
    drop(held);
}

/// How many threads of the resolver this process has.
fn resolver_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "iothub-resolver").count()
}

/// Counts the attempts that it is told of.
struct Counting(Arc<AtomicUsize>);

impl Resolve for Counting {
    fn begin(&mut self, _now: Now) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn resolve(&mut self, _host: &str, _port: u16, _waker: &Waker) -> Poll<Result<Vec<SocketAddr>, String>> {
        Poll::Ready(Ok(vec![refusing()]))
    }
}

#[test]
fn the_resolver_is_told_of_every_attempt() {
    let authority = Authority::new();
    let attempts = Arc::new(AtomicUsize::new(0));
    let resolver = Box::new(Counting(attempts.clone()));
    let mut connector = Connector::new(&endpoint("hub.example", &authority), 8883, TIMEOUT, Some(resolver)).unwrap();
    for attempt in 1..=3 {
        assert_eq!(kind(connect(&mut connector)), ConnectionErrorKind::Refused);
        assert_eq!(attempts.load(Ordering::Relaxed), attempt);
    }
}

/// Answers when told, from another thread.
#[derive(Clone, Default)]
struct OnCall(Arc<Mutex<(Option<SocketAddr>, Option<Waker>)>>);

impl OnCall {
    fn answer(&self, address: SocketAddr) {
        let mut shared = self.0.lock().unwrap();
        shared.0 = Some(address);
        shared.1.take().expect("a client that waits").wake();
    }
}

impl Resolve for OnCall {
    fn resolve(&mut self, _host: &str, _port: u16, waker: &Waker) -> Poll<Result<Vec<SocketAddr>, String>> {
        let mut shared = self.0.lock().unwrap();
        match shared.0 {
            Some(address) => Poll::Ready(Ok(vec![address])),
            None => {
                shared.1 = Some(waker.clone());
                Poll::Pending
            }
        }
    }
}

#[test]
fn a_look_up_that_finishes_wakes_the_client() {
    let authority = Authority::new();
    let server = server::tls(authority.server(&["hub.example"]).config(BOTH), |mut tls| tls.write_all(b"!").is_ok());
    let resolver = OnCall::default();
    let endpoint = endpoint("hub.example", &authority);
    let mut connector = Connector::new(&endpoint, 8883, TIMEOUT, Some(Box::new(resolver.clone()))).unwrap();
    let mut platform = SystemPlatform::new().unwrap();
    connector.set_waker(&platform.waker());
    connector.start(platform.now());
    assert!(connector.poll(platform.now()).is_pending());
    // There is no descriptor to watch yet: only the waker can end the park.
    let mut on = Vec::new();
    connector.readiness(&mut on);
    assert!(on.is_empty());
    let address = server.address;
    let thread = std::thread::spawn(move || resolver.answer(address));
    let limit = Instant::now() + GENEROUS;
    platform.park(&on, Some(limit));
    assert!(Instant::now() < limit, "the look-up did not wake the client");
    thread.join().unwrap();
    assert!(drive(&mut connector, &mut platform, Duration::ZERO).is_ok());
    assert!(server.join());
}

/// The only test of this program that uses the operating system's resolver, so that it can count threads.
#[test]
fn the_system_resolver_connects_and_leaves_no_thread() {
    let authority = Authority::new();
    let server = server::tls(authority.server(&["localhost"]).config(BOTH), |mut tls| tls.write_all(b"!").is_ok());
    let endpoint = endpoint("localhost", &authority);
    let mut connector = Connector::new(&endpoint, server.address.port(), TIMEOUT, None).unwrap();
    assert!(connect(&mut connector).is_ok());
    assert!(server.join());
    let limit = Instant::now() + GENEROUS;
    while resolver_threads() > 0 {
        assert!(Instant::now() < limit, "the resolver's thread stays");
        std::thread::yield_now();
    }
}
