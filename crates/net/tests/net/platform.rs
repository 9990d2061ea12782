//! Parking and waking for real.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use iothub_core::{Platform, Readiness};
use iothub_net::SystemPlatform;

use crate::support::GENEROUS;

fn platform() -> SystemPlatform {
    SystemPlatform::new().expect("a platform")
}

/// Parks, and fails unless something but the time ended it.
fn must_wake(platform: &mut SystemPlatform, on: &[Readiness]) {
    let limit = Instant::now() + GENEROUS;
    platform.park(on, Some(limit));
    assert!(Instant::now() < limit, "nothing ended the park");
}

/// Whether a park ends before a moment that is close but ahead.
fn sleeps(platform: &mut SystemPlatform, on: &[Readiness]) -> bool {
    let until = Instant::now() + Duration::from_millis(5);
    platform.park(on, Some(until));
    Instant::now() >= until
}

fn descriptor() -> (UnixStream, Arc<UnixStream>) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    (ours, Arc::new(theirs))
}

/// How many bytes wait behind the waker's descriptor.
fn bytes_waiting(platform: &SystemPlatform) -> u64 {
    let mut on = Vec::new();
    platform.readiness(&mut on);
    rustix::io::ioctl_fionread(&*on[0].source).expect("a socket")
}

#[test]
fn a_waker_ends_the_park_from_another_thread() {
    let mut platform = platform();
    let waker = platform.waker();
    let thread = thread::spawn(move || waker.wake());
    must_wake(&mut platform, &[]);
    thread.join().unwrap();
}

#[test]
fn a_wake_before_the_park_ends_it_until_it_is_taken_back() {
    let mut platform = platform();
    platform.waker().wake();
    must_wake(&mut platform, &[]);
    must_wake(&mut platform, &[]);
    platform.clear_wakes();
    assert!(sleeps(&mut platform, &[]));
    platform.waker().wake();
    must_wake(&mut platform, &[]);
}

#[test]
fn many_wakes_are_one_byte() {
    let mut platform = platform();
    let waker = platform.waker();
    for _ in 0..10_000 {
        waker.wake_by_ref();
    }
    assert_eq!(bytes_waiting(&platform), 1);
    platform.clear_wakes();
    assert_eq!(bytes_waiting(&platform), 0);
    waker.wake();
    assert_eq!(bytes_waiting(&platform), 1);
}

#[test]
fn no_wake_is_lost_and_none_stays_behind_when_threads_race() {
    const WAKES: u32 = 20_000;
    let mut platform = platform();
    let seen = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (waker, seen) = (platform.waker(), seen.clone());
            thread::spawn(move || {
                for _ in 0..WAKES {
                    seen.fetch_add(1, Ordering::Relaxed);
                    waker.wake_by_ref();
                }
            })
        })
        .collect();
    loop {
        platform.clear_wakes();
        if seen.load(Ordering::Relaxed) == 2 * WAKES {
            break;
        }
        must_wake(&mut platform, &[]);
    }
    for thread in threads {
        thread.join().unwrap();
    }
    platform.clear_wakes();
    assert_eq!(bytes_waiting(&platform), 0);
}

/// A byte that stays behind would end every later park at once.
#[test]
fn a_wake_in_the_middle_of_taking_wakes_back_leaves_no_byte_behind() {
    const ROUNDS: u32 = 20_000;
    let mut platform = platform();
    let waker = platform.waker();
    let (asked, done) = (AtomicU32::new(0), AtomicU32::new(0));
    let mut left_behind = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                while asked.load(Ordering::Acquire) < round {
                    thread::yield_now();
                }
                waker.wake_by_ref();
                done.store(round, Ordering::Release);
            }
        });
        for round in 1..=ROUNDS {
            asked.store(round, Ordering::Release);
            while done.load(Ordering::Acquire) < round {
                platform.clear_wakes();
            }
            platform.clear_wakes();
            left_behind += bytes_waiting(&platform);
        }
    });
    assert_eq!(left_behind, 0);
}

#[test]
fn a_park_does_not_end_before_its_time() {
    let mut platform = platform();
    for nanoseconds in [1, 999, 400_000, 1_000_001, 3_999_999] {
        let until = Instant::now() + Duration::from_nanos(nanoseconds);
        platform.park(&[], Some(until));
        assert!(Instant::now() >= until);
    }
    platform.park(&[], Some(Instant::now()));
}

#[test]
fn a_readable_descriptor_ends_the_park() {
    let mut platform = platform();
    let (mut ours, theirs) = descriptor();
    let (_other, idle) = descriptor();
    let on =
        [Readiness { source: idle, read: true, write: false }, Readiness { source: theirs, read: true, write: false }];
    assert!(sleeps(&mut platform, &on));
    let thread = thread::spawn(move || {
        ours.write_all(b"x").unwrap();
        ours
    });
    must_wake(&mut platform, &on);
    thread.join().unwrap();
}

#[test]
fn a_writable_descriptor_ends_the_park_only_where_asked_for() {
    let mut platform = platform();
    let (_ours, theirs) = descriptor();
    assert!(sleeps(&mut platform, &[Readiness { source: theirs.clone(), read: true, write: false }]));
    must_wake(&mut platform, &[Readiness { source: theirs, read: true, write: true }]);
}

#[test]
fn a_hang_up_that_nobody_waits_for_does_not_end_the_park() {
    let mut platform = platform();
    let (ours, theirs) = descriptor();
    drop(ours);
    assert!(sleeps(&mut platform, &[Readiness { source: theirs.clone(), read: false, write: false }]));
    must_wake(&mut platform, &[Readiness { source: theirs, read: true, write: false }]);
}

#[test]
fn one_client_can_park_on_the_waker_of_another() {
    let (mut one, other) = (platform(), platform());
    let mut on = Vec::new();
    other.readiness(&mut on);
    assert!(sleeps(&mut one, &on));
    let waker = other.waker();
    thread::spawn(move || waker.wake()).join().unwrap();
    must_wake(&mut one, &on);
}

#[test]
fn a_waker_outlives_its_platform() {
    let waker = platform().waker();
    waker.wake();
}
