//! Decisions about received messages, and the PUBACKs that follow from them.

use iothub_core::{ConnectionErrorKind, Delivery, Disposition, Op, OpError, OpId, Submit, Transport, Unsupported};

use crate::bench::{Bench, Seen, done, millis, secs, stale};
use crate::wire::{puback, publish, to_device};

/// Delivers messages with the identifiers 1, 2, ...
fn delivered<const N: usize>(bench: &mut Bench, peer: &mut iothub_net::memory::PeerEnd) -> [Delivery; N] {
    let all: Vec<u8> = (1..=N as u16).flat_map(|id| to_device(id, "", b"x")).collect();
    bench.deliver(peer, &all).try_into().unwrap()
}

#[test]
fn accepting_acknowledges_and_is_done_when_the_puback_has_left() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let [delivery] = delivered(&mut bench, &mut peer);
    peer.set_capacity(0);
    bench.accept(5, delivery);
    assert_eq!(bench.work(), [], "the socket is full");
    peer.set_capacity(100);
    assert_eq!(bench.work(), [done(5)]);
    assert_eq!(peer.receive(), puback(1));
}

#[test]
fn pubacks_keep_the_order_of_arrival_whatever_the_order_of_decisions() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let [first, second, third] = delivered(&mut bench, &mut peer);
    bench.accept(3, third);
    bench.accept(2, second);
    assert_eq!(bench.settle_down(), [], "held by the first");
    assert_eq!(peer.receive(), b"");
    bench.accept(1, first);
    assert_eq!(bench.work(), [done(1), done(2), done(3)]);
    assert_eq!(peer.receive(), [puback(1), puback(2), puback(3)].concat());
}

#[test]
fn an_abandoned_message_leaves_the_order_and_is_never_acknowledged() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let [first, second] = delivered(&mut bench, &mut peer);
    bench.accept(2, second);
    assert_eq!(bench.settle(1, first, Disposition::Abandon), Submit::Taken);
    assert_eq!(bench.work(), [done(1), done(2)]);
    assert_eq!(peer.receive(), puback(2));
    // The hub may deliver it again on this connection; that is a new delivery.
    let again = bench.deliver(&mut peer, &publish(0x3A, "devices/dev-1/messages/devicebound/", Some(1), b"x"));
    bench.accept(3, again[0]);
    assert_eq!(bench.work(), [done(3)]);
    assert_eq!(peer.receive(), puback(1));
}

#[test]
fn rejecting_does_not_exist() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let [delivery] = delivered(&mut bench, &mut peer);
    let error = Unsupported::Disposition { disposition: Disposition::Reject, transport: "mqtt" };
    let op = Op::Settle { delivery, disposition: Disposition::Reject };
    assert_eq!(bench.transport.check(&op), Err(error.clone()));
    assert_eq!(bench.settle(1, delivery, Disposition::Reject), Submit::Refused(OpError::Unsupported(error)));
    for disposition in [Disposition::Accept, Disposition::Abandon] {
        assert_eq!(bench.transport.check(&Op::Settle { delivery, disposition }), Ok(()));
    }
    bench.accept(2, delivery);
    assert_eq!(bench.work(), [done(2)], "the message is still there to be decided");
}

#[test]
fn a_message_of_qos_0_needs_no_puback_and_settling_it_succeeds() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let message = publish(0x30, "devices/dev-1/messages/devicebound/a=1", None, b"x");
    let deliveries = bench.deliver(&mut peer, &message.repeat(2));
    bench.accept(1, deliveries[0]);
    assert_eq!(bench.settle(2, deliveries[1], Disposition::Abandon), Submit::Taken);
    assert_eq!(bench.work(), [done(1), done(2)]);
    assert_eq!(peer.receive(), b"");
}

#[test]
fn an_answer_for_another_connection_is_stale_and_never_on_the_wire() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let [delivery] = delivered(&mut bench, &mut peer);
    peer.close();
    bench.work();
    assert_eq!(bench.settle(1, delivery, Disposition::Accept), Submit::Refused(OpError::Stale), "not connected");
    let mut peer = bench.connected_to(true);
    let [again] = delivered(&mut bench, &mut peer);
    assert_ne!(again.generation, delivery.generation);
    assert_eq!(bench.settle(2, delivery, Disposition::Accept), Submit::Refused(OpError::Stale));
    bench.settle_down();
    assert_eq!(peer.receive(), b"");
}

#[test]
fn a_message_cannot_be_decided_twice() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let [first, second] = delivered(&mut bench, &mut peer);
    bench.accept(2, second);
    assert_eq!(bench.settle(3, second, Disposition::Abandon), Submit::Refused(OpError::Stale));
    bench.accept(1, first);
    assert_eq!(bench.work(), [done(1), done(2)]);
    assert_eq!(bench.settle(4, first, Disposition::Accept), Submit::Refused(OpError::Stale));
}

#[test]
fn what_was_accepted_but_not_acknowledged_is_stale_when_the_connection_ends() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let [first, second, third] = delivered(&mut bench, &mut peer);
    bench.accept(1, first);
    assert_eq!(bench.work(), [done(1)]);
    bench.accept(3, third);
    bench.work();
    peer.close();
    bench.accept(2, second);
    let lost = Seen::Down(ConnectionErrorKind::ClosedByPeer);
    assert_eq!(bench.work(), [stale(2), stale(3), lost]);
    assert_eq!(peer.receive(), puback(1));
}

#[test]
fn a_settlement_that_was_given_up_has_no_outcome_but_stays_decided() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let [first, second] = delivered(&mut bench, &mut peer);
    bench.accept(2, second);
    bench.transport.forget(bench.slot, OpId(2));
    bench.accept(1, first);
    assert_eq!(bench.work(), [done(1)]);
    assert_eq!(peer.receive(), [puback(1), puback(2)].concat());
}

#[test]
fn a_hub_that_delivers_on_and_does_not_read_the_acknowledgements_loses_the_connection() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    peer.set_capacity(0);
    // 256 KiB, and what the in-memory stream holds.
    let limit = 256 * 1024 / puback(1).len();
    let mut accepted = 0;
    let down = loop {
        peer.send(&to_device(1, "", b"x"));
        match &bench.work()[..] {
            [Seen::Message(_, delivery)] => {
                accepted += 1;
                bench.accept(accepted, *delivery);
            }
            other => break format!("{:?}", other.last()),
        }
        assert!(accepted < 2 * limit as u64, "the buffer does not end");
    };
    assert!(accepted >= limit as u64 && down.contains("does not read the answers"), "{accepted} {down}");
}

#[test]
fn an_undecided_message_may_hold_later_acknowledgements_for_a_minute() {
    let mut bench = Bench::with(|options| options.keep_alive = secs(1177));
    let mut peer = bench.connected();
    let [_undecided, second, third] = delivered(&mut bench, &mut peer);
    bench.advance(secs(100));
    assert_eq!(bench.work(), [], "undecided alone harms nobody");
    bench.accept(2, second);
    bench.work();
    assert_eq!(bench.due_in(), Some(secs(60)));
    bench.advance(secs(59));
    bench.accept(3, third);
    assert_eq!(bench.work(), []);
    assert_eq!(bench.due_in(), Some(secs(1)));
    bench.advance(secs(1));
    let held = ConnectionErrorKind::SettlementsHeld { held: 2, held_for: secs(60) };
    assert_eq!(bench.work(), [stale(2), stale(3), Seen::Down(held)]);
    assert!(peer.is_closed_by_client());
    assert!(bench.due_in().is_none_or(|due| due > millis(0)));
}
