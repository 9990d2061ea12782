//! Ending a connection, and letting a device go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Poll, Waker};
use std::time::Instant;

use iothub_core::{ConnectionError, CreateError, Message, Now, Op, OpId, Readiness, Submit, Transport};
use iothub_net::memory::{self, ScriptedConnect};
use iothub_net::{Connect, Stream};
use iothub_transport_mqtt::{MqttTransport, SessionOptions};

use crate::bench::{Bench, Seen, TOKEN, done, millis, registration, secs, stale};
use crate::wire::{DISCONNECT, puback, publishes, to_device};

#[test]
fn a_disconnect_sends_what_is_left_says_goodbye_and_closes() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    bench.send_all([1]);
    bench.transport.disconnect(bench.slot, bench.now);
    assert_eq!(peer.receive(), b"", "nothing goes on the wire outside do_work");
    assert_eq!(bench.due_in(), Some(millis(0)));
    assert_eq!(bench.work(), [Seen::Disconnected]);
    let sent = peer.receive();
    assert!(sent.ends_with(&DISCONNECT));
    assert_eq!(publishes(&sent).len(), 1);
    assert!(peer.is_closed_by_client());
    assert_eq!(bench.due_in(), None);
    assert_eq!(bench.work(), []);
}

#[test]
fn a_disconnect_does_not_wait_for_a_stuck_socket_for_longer_than_a_second() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    peer.set_capacity(0);
    bench.transport.disconnect(bench.slot, bench.now);
    assert_eq!(bench.work(), []);
    assert_eq!(bench.due_in(), Some(secs(1)));
    // Asking again does not begin again.
    bench.advance(millis(500));
    bench.transport.disconnect(bench.slot, bench.now);
    assert_eq!(bench.due_in(), Some(millis(500)));
    bench.advance(millis(500));
    assert_eq!(bench.work(), [Seen::Disconnected]);
    assert!(peer.is_closed_by_client());
}

#[test]
fn a_disconnect_is_complete_when_the_connection_breaks() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    bench.transport.disconnect(bench.slot, bench.now);
    peer.cut();
    assert_eq!(bench.work(), [Seen::Disconnected]);
}

#[test]
fn a_disconnect_is_answered_in_every_state() {
    let mut bench = Bench::new();
    bench.transport.disconnect(bench.slot, bench.now);
    assert_eq!(bench.events(), [Seen::Disconnected], "idle");
    bench.transport.connect(bench.slot, Some(TOKEN), bench.now);
    assert_eq!(bench.work(), []);
    bench.transport.disconnect(bench.slot, bench.now);
    assert_eq!(bench.events(), [Seen::Disconnected], "while the stream is opened");
    let mut peer = bench.open();
    bench.transport.disconnect(bench.slot, bench.now);
    assert_eq!(bench.events(), [Seen::Disconnected], "while the CONNACK is awaited");
    assert_eq!(peer.receive(), b"");
    assert!(peer.is_closed_by_client());
}

/// Counts how often an attempt is called off.
struct Counting {
    inner: ScriptedConnect,
    cancelled: Arc<AtomicUsize>,
}

impl Connect for Counting {
    fn host(&self) -> &Arc<str> {
        self.inner.host()
    }

    fn port(&self) -> u16 {
        self.inner.port()
    }

    fn set_waker(&mut self, waker: &Waker) {
        self.inner.set_waker(waker);
    }

    fn start(&mut self, now: Now) {
        self.inner.start(now);
    }

    fn poll(&mut self, now: Now) -> Poll<Result<Stream, ConnectionError>> {
        self.inner.poll(now)
    }

    fn cancel(&mut self) {
        self.cancelled.fetch_add(1, Relaxed);
        self.inner.cancel();
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.inner.next_deadline()
    }

    fn readiness(&self, out: &mut Vec<Readiness>) {
        self.inner.readiness(out);
    }
}

#[test]
fn an_attempt_that_nobody_wants_any_more_is_called_off() {
    let (inner, _script) = memory::network("contoso.azure-devices.net", 8883);
    let cancelled = Arc::new(AtomicUsize::new(0));
    let connect = Counting { inner, cancelled: cancelled.clone() };
    let mut transport = MqttTransport::new("mqtt", Box::new(connect), SessionOptions::default()).unwrap();
    let slot = transport.register(registration()).unwrap();
    let now = Now::system();
    transport.connect(slot, None, now);
    transport.do_work(now);
    transport.disconnect(slot, now);
    assert_eq!(cancelled.load(Relaxed), 1);
    transport.connect(slot, None, now);
    transport.do_work(now);
    transport.unregister(slot);
    assert_eq!(cancelled.load(Relaxed), 2);
}

#[test]
fn connecting_while_closing_completes_the_disconnect_first() {
    let mut bench = Bench::new();
    let old = bench.connected();
    bench.transport.disconnect(bench.slot, bench.now);
    bench.transport.connect(bench.slot, Some(TOKEN), bench.now);
    assert_eq!(bench.events(), [Seen::Disconnected]);
    assert!(old.is_closed_by_client());
}

#[test]
fn settlements_leave_with_the_disconnect_or_are_stale() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let all: Vec<u8> = (1..=3).flat_map(|id| to_device(id, "", b"x")).collect();
    let deliveries = bench.deliver(&mut peer, &all);
    bench.accept(1, deliveries[0]);
    bench.accept(3, deliveries[2]);
    bench.transport.disconnect(bench.slot, bench.now);
    assert_eq!(bench.work(), [done(1), stale(3), Seen::Disconnected]);
    assert_eq!(peer.receive(), [&puback(1)[..], &DISCONNECT].concat());
}

#[test]
fn messages_in_flight_at_a_disconnect_are_resent_as_after_a_loss() {
    let mut bench = Bench::new();
    let _peer = bench.connected();
    bench.send_all([1]);
    bench.work();
    bench.transport.disconnect(bench.slot, bench.now);
    assert_eq!(bench.work(), [Seen::Disconnected]);
    let mut peer = bench.connected_to(true);
    bench.send_all([1]);
    bench.work();
    let sent = publishes(&peer.receive());
    assert!(sent[0].dup && sent[0].id == 1);
}

#[test]
fn a_device_that_is_let_go_leaves_in_order_and_is_not_heard_of_again() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    bench.deliver(&mut peer, &to_device(1, "", b"x"));
    peer.send(&to_device(2, "", b"x"));
    bench.transport.do_work(bench.now);
    bench.transport.unregister(bench.slot);
    assert!(peer.is_closed_by_client());
    assert_eq!(peer.receive(), DISCONNECT);
    assert_eq!(bench.work(), []);
    assert_eq!(bench.due_in(), None);
    let message = Message::new("x");
    assert_eq!(bench.transport.submit(bench.slot, OpId(1), Op::Telemetry(&message), bench.now), Submit::Full);
    // Another can take its place, under another slot.
    let slot = bench.transport.register(registration()).unwrap();
    assert_ne!(slot, bench.slot);
    bench.slot = slot;
    bench.connected();
}

#[test]
fn one_connection_carries_one_device() {
    let mut bench = Bench::new();
    match bench.transport.register(registration()) {
        Err(error @ CreateError::Register { transport: "mqtt", .. }) => {
            assert!(error.to_string().contains("another client"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_transport_that_is_dropped_closes_its_connection() {
    let mut bench = Bench::new();
    let peer = bench.connected();
    drop(bench);
    assert!(peer.is_closed_by_client());
}
