//! What becomes of messages in flight when the connection is lost.

use iothub_core::{ConnectionErrorKind, Message, OpId, Submit, Transport};
use iothub_net::memory::PeerEnd;

use crate::bench::{Bench, Seen, done};
use crate::wire::{puback, publishes};

fn lose(bench: &mut Bench, peer: &mut PeerEnd) {
    peer.close();
    assert_eq!(bench.work(), [Seen::Down(ConnectionErrorKind::ClosedByPeer)]);
}

/// Payload, packet identifier and DUP flag of each publish.
fn sent(peer: &mut PeerEnd) -> Vec<(String, u16, bool)> {
    let publishes = publishes(&peer.receive()).into_iter();
    publishes.map(|sent| (String::from_utf8(sent.payload).unwrap(), sent.id, sent.dup)).collect()
}

#[test]
fn messages_in_flight_are_resent_under_their_identifiers_with_dup_before_new_ones() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    bench.send_all([10, 11, 12]);
    bench.work();
    peer.send(&puback(2));
    assert_eq!(bench.work(), [done(11)]);
    lose(&mut bench, &mut peer);

    let mut peer = bench.connected_to(true);
    bench.send_all([10, 12, 13]);
    bench.work();
    let expected = [("10".to_owned(), 1, true), ("12".to_owned(), 3, true), ("13".to_owned(), 4, false)];
    assert_eq!(sent(&mut peer), expected);
    peer.send(&[puback(1), puback(3), puback(4)].concat());
    assert_eq!(bench.work(), [done(10), done(12), done(13)]);
}

#[test]
fn a_message_is_resent_as_often_as_the_connection_drops() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    bench.send_all([10]);
    bench.work();
    for _ in 0..3 {
        lose(&mut bench, &mut peer);
        peer = bench.connected_to(true);
        bench.send_all([10]);
        bench.work();
        assert_eq!(sent(&mut peer), [("10".to_owned(), 1, true)]);
    }
}

#[test]
fn an_attempt_that_fails_in_between_changes_nothing() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    bench.send_all([10]);
    bench.work();
    lose(&mut bench, &mut peer);
    let mut peer = bench.open();
    peer.send(&[0x20, 2, 0, 3]);
    assert_eq!(bench.work(), [Seen::Down(ConnectionErrorKind::ServerUnavailable)]);
    let mut peer = bench.connected_to(true);
    bench.send_all([10]);
    bench.work();
    assert_eq!(sent(&mut peer), [("10".to_owned(), 1, true)]);
}

#[test]
fn without_the_session_a_resent_message_is_a_new_one() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    bench.send_all([10, 11]);
    bench.work();
    lose(&mut bench, &mut peer);
    let mut peer = bench.connected_to(false);
    bench.send_all([10, 11]);
    bench.work();
    assert_eq!(sent(&mut peer), [("10".to_owned(), 3, false), ("11".to_owned(), 4, false)]);
}

#[test]
fn a_message_that_never_left_is_no_duplicate() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    bench.send_all([10]);
    bench.work();
    peer.close();
    bench.send_all([11]);
    assert_eq!(bench.work(), [Seen::Down(ConnectionErrorKind::ClosedByPeer)]);
    let mut peer = bench.connected_to(true);
    bench.send_all([10, 11]);
    bench.work();
    assert_eq!(sent(&mut peer), [("10".to_owned(), 1, true), ("11".to_owned(), 2, false)]);
}

#[test]
fn a_message_that_left_in_part_is_a_duplicate() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    peer.cut_after_receiving(20);
    bench.send_all([10]);
    match &bench.work()[..] {
        [Seen::Down(ConnectionErrorKind::Broken { .. })] => {}
        other => panic!("{other:?}"),
    }
    let mut peer = bench.connected_to(true);
    bench.send_all([10]);
    bench.work();
    assert_eq!(sent(&mut peer), [("10".to_owned(), 1, true)]);
}

#[test]
fn lost_messages_keep_their_room_in_the_window() {
    let mut bench = Bench::with(|options| options.max_in_flight = 2);
    let mut peer = bench.connected();
    bench.send_all([10, 11]);
    bench.work();
    lose(&mut bench, &mut peer);
    let _peer = bench.connected_to(true);
    assert_eq!(bench.send(12, &Message::new("12")), Submit::Full);
    bench.send_all([10, 11]);
}

#[test]
fn a_message_forgotten_in_flight_leaves_its_identifier_occupied() {
    let mut bench = Bench::with(|options| options.max_in_flight = 1);
    let mut peer = bench.connected();
    bench.send_all([10]);
    bench.work();
    bench.transport.forget(bench.slot, OpId(10));
    assert_eq!(bench.send(11, &Message::new("11")), Submit::Full, "the hub may still be at work on it");
    peer.send(&puback(1));
    assert_eq!(bench.work(), [], "a late outcome is not reported");
    bench.send_all([11]);
    bench.work();
    assert_eq!(sent(&mut peer).last().unwrap(), &("11".to_owned(), 2, false));
}

#[test]
fn a_message_forgotten_in_flight_is_not_expected_again_after_a_loss() {
    let mut bench = Bench::with(|options| options.max_in_flight = 1);
    let mut peer = bench.connected();
    bench.send_all([10]);
    bench.work();
    bench.transport.forget(bench.slot, OpId(10));
    lose(&mut bench, &mut peer);
    let mut peer = bench.connected_to(true);
    bench.send_all([11]);
    bench.work();
    assert_eq!(sent(&mut peer), [("11".to_owned(), 2, false)]);
    peer.send(&puback(1));
    assert_eq!(bench.work(), [], "a late acknowledgement confirms nothing else");
}

#[test]
fn a_message_forgotten_while_offline_leaves_its_room() {
    let mut bench = Bench::with(|options| options.max_in_flight = 1);
    let mut peer = bench.connected();
    bench.send_all([10]);
    bench.work();
    lose(&mut bench, &mut peer);
    bench.transport.forget(bench.slot, OpId(10));
    let _peer = bench.connected_to(true);
    bench.send_all([11]);
}
