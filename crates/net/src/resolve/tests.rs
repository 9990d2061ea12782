use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::task::Wake;
use std::thread::Thread;

use super::*;

/// A resolver whose look-ups answer when the test says, and how many were started.
fn resolver() -> (SystemResolver, Sender<Addresses>, Arc<AtomicUsize>) {
    let (answer, answers) = mpsc::channel();
    let answers = Mutex::new(answers);
    let started = Arc::new(AtomicUsize::new(0));
    let count = started.clone();
    let look_up = move |_: &str, _: u16| {
        count.fetch_add(1, Ordering::SeqCst);
        answers.lock().expect("one look-up at a time").recv().unwrap_or_else(|_| Ok(Vec::new()))
    };
    (SystemResolver::with(Arc::new(look_up)), answer, started)
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, last), 8883))
}

/// Wakes the test's thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn waker() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

fn poll(resolver: &mut SystemResolver) -> Poll<Result<Vec<SocketAddr>, String>> {
    resolver.resolve("hub.example", 8883, &waker())
}

/// Waits for the answer as a client does, by being woken.
fn answer(resolver: &mut SystemResolver) -> Result<Vec<SocketAddr>, String> {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        let polled = poll(resolver);
        assert!(Instant::now() < limit, "nobody woke the client");
        match polled {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park_timeout(Duration::from_secs(30)),
        }
    }
}

/// Waits until the look-up has its answer, which nobody takes.
fn wait_for_the_thread(resolver: &SystemResolver) {
    let progress = &resolver.current.as_ref().expect("a look-up").progress;
    while matches!(&*lock(progress), Progress::Running(_)) {
        thread::yield_now();
    }
}

#[test]
fn a_look_up_wakes_whoever_polled_last() {
    let (mut resolver, send, _) = resolver();
    resolver.begin(Now::system());
    assert!(resolver.resolve("hub.example", 8883, Waker::noop()).is_pending());
    assert!(poll(&mut resolver).is_pending());
    send.send(Ok(vec![address(1)])).unwrap();
    assert_eq!(answer(&mut resolver), Ok(vec![address(1)]));
}

#[test]
fn every_attempt_looks_up_anew() {
    let (mut resolver, send, started) = resolver();
    for n in 1..=3 {
        resolver.begin(Now::system());
        send.send(Ok(vec![address(n)])).unwrap();
        assert_eq!(answer(&mut resolver), Ok(vec![address(n)]));
        assert_eq!(started.load(Ordering::SeqCst), usize::from(n));
    }
}

#[test]
fn a_later_attempt_awaits_the_look_up_that_is_under_way() {
    let (mut resolver, send, started) = resolver();
    let now = Now::system();
    for attempt in 0..5 {
        resolver.begin(now + Duration::from_secs(600 * attempt));
        assert!(poll(&mut resolver).is_pending());
    }
    send.send(Ok(vec![address(1)])).unwrap();
    assert_eq!(answer(&mut resolver), Ok(vec![address(1)]));
    assert_eq!(started.load(Ordering::SeqCst), 1);
}

#[test]
fn an_answer_that_came_too_late_serves_the_next_attempt_for_a_minute() {
    for (later, expected) in [(60, address(1)), (61, address(2))] {
        let (mut resolver, send, _) = resolver();
        let now = Now::system();
        resolver.begin(now);
        assert!(poll(&mut resolver).is_pending());
        send.send(Ok(vec![address(1)])).unwrap();
        wait_for_the_thread(&resolver);

        resolver.begin(now + Duration::from_secs(later));
        send.send(Ok(vec![address(2)])).unwrap();
        assert_eq!(answer(&mut resolver), Ok(vec![expected]));
    }
}

#[test]
fn an_error_that_came_too_late_is_forgotten() {
    let (mut resolver, send, _) = resolver();
    let now = Now::system();
    resolver.begin(now);
    assert!(poll(&mut resolver).is_pending());
    send.send(Err(io::Error::other("no name server"))).unwrap();
    wait_for_the_thread(&resolver);

    resolver.begin(now);
    send.send(Ok(vec![address(1)])).unwrap();
    assert_eq!(answer(&mut resolver), Ok(vec![address(1)]));
}

#[test]
fn an_error_is_told_in_the_words_of_the_system() {
    let (mut resolver, send, _) = resolver();
    resolver.begin(Now::system());
    send.send(Err(io::Error::other("Name or service not known"))).unwrap();
    assert_eq!(answer(&mut resolver), Err("Name or service not known".to_owned()));
}

#[test]
fn a_look_up_that_outlives_its_resolver_wakes_nobody() {
    struct Panic;
    impl Wake for Panic {
        fn wake(self: Arc<Self>) {
            panic!("the client is gone");
        }
    }
    let (mut resolver, send, _) = resolver();
    resolver.begin(Now::system());
    assert!(resolver.resolve("hub.example", 8883, &Waker::from(Arc::new(Panic))).is_pending());
    let shared = Arc::downgrade(&resolver.current.as_ref().expect("a look-up").progress);
    drop(resolver);
    assert!(shared.upgrade().is_none(), "nothing of the client is kept");
    let _ = send.send(Ok(Vec::new()));
}
