//! Staying connected while there is nothing to say.

use iothub_core::{ConnectionErrorKind, Transport};

use crate::bench::{Bench, Seen, done, millis, secs};
use crate::wire::{PINGREQ, PINGRESP, puback, publishes};

#[test]
fn an_idle_connection_pings_a_little_before_the_interval_ends() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    assert_eq!(bench.due_in(), Some(secs(235)));
    bench.advance(secs(235) - millis(1));
    assert_eq!(bench.work(), []);
    assert_eq!(peer.receive(), b"");
    bench.advance(millis(1));
    assert_eq!(bench.work(), []);
    assert_eq!(peer.receive(), PINGREQ);
    assert_eq!(bench.due_in(), Some(secs(80)), "half the interval, at most 80 s");
    peer.send(&PINGRESP);
    assert_eq!(bench.work(), []);
    assert_eq!(bench.due_in(), Some(secs(235)));
}

#[test]
fn a_hub_that_does_not_answer_is_dead() {
    let mut bench = Bench::with(|options| options.keep_alive = secs(10));
    let mut peer = bench.connected();
    bench.advance(millis(9500));
    bench.work();
    assert_eq!(peer.receive(), PINGREQ);
    assert_eq!(bench.due_in(), Some(secs(5)));
    bench.advance(secs(5));
    assert_eq!(bench.work(), [Seen::Down(ConnectionErrorKind::NoPingResponse { after: secs(5) })]);
    assert!(peer.is_closed_by_client());
}

#[test]
fn an_answer_that_is_there_counts_however_late_the_slice_is() {
    let mut bench = Bench::with(|options| options.keep_alive = secs(10));
    let mut peer = bench.connected();
    bench.advance(secs(10));
    bench.work();
    peer.receive();
    peer.send(&PINGRESP);
    bench.advance(secs(600));
    assert_eq!(bench.work(), []);
    assert_eq!(peer.receive(), PINGREQ);
}

#[test]
fn what_is_sent_puts_the_ping_off_and_what_is_received_does_not() {
    let mut bench = Bench::with(|options| options.keep_alive = secs(10));
    let mut peer = bench.connected();
    bench.advance(secs(5));
    bench.send_all([1]);
    bench.work();
    assert_eq!(bench.due_in(), Some(millis(9500)));
    bench.advance(secs(5));
    peer.send(&puback(1));
    assert_eq!(bench.work(), [done(1)]);
    assert_eq!(bench.due_in(), Some(millis(4500)));
}

#[test]
fn the_interval_counts_from_when_the_last_bytes_left() {
    let mut bench = Bench::with(|options| options.keep_alive = secs(10));
    let mut peer = bench.connected();
    peer.set_capacity(0);
    bench.send_all([1]);
    bench.work();
    bench.advance(secs(4));
    peer.set_capacity(1000);
    bench.work();
    assert_eq!(publishes(&peer.receive()).len(), 1);
    assert_eq!(bench.due_in(), Some(millis(9500)));
}

#[test]
fn a_ping_that_cannot_leave_is_a_dead_connection_too() {
    let mut bench = Bench::with(|options| options.keep_alive = secs(10));
    let peer = &mut bench.connected();
    peer.set_capacity(0);
    bench.advance(millis(9500));
    assert_eq!(bench.work(), []);
    bench.advance(secs(5));
    assert_eq!(bench.work(), [Seen::Down(ConnectionErrorKind::NoPingResponse { after: secs(5) })]);
}

#[test]
fn an_idle_connection_wakes_at_keep_alive_rate_only() {
    let mut bench = Bench::with(|options| options.keep_alive = secs(1));
    let mut peer = bench.connected();
    let end = bench.now + secs(10);
    let mut wakes = 0;
    while let Some(due) = bench.due_in()
        && bench.now.mono + due <= end.mono
    {
        bench.advance(due);
        assert_eq!(bench.work(), []);
        wakes += 1;
        if peer.receive() == PINGREQ {
            peer.send(&PINGRESP);
            bench.work();
            wakes += 1;
        }
    }
    assert_eq!(wakes, 20);
    let mut watched = Vec::new();
    bench.transport.readiness(&mut watched);
    assert!(watched.is_empty(), "memory has no descriptors");
}
