//! The queue by itself.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const LOCK: LockTerms = LockTerms { duration: Duration::from_secs(60), lost_counts: false, expiry_counts: false };
const COUNTED: LockTerms = LockTerms { lost_counts: true, expiry_counts: true, ..LOCK };
const A: ConnectionId = ConnectionId(1);
const B: ConnectionId = ConnectionId(2);

fn at(seconds: u64) -> Now {
    let elapsed = Duration::from_secs(seconds);
    Now { elapsed, wall: SystemTime::UNIX_EPOCH + elapsed }
}

fn queue_of(ids: &[&str]) -> C2dQueue {
    let mut queue = C2dQueue::default();
    for (created, id) in (0..).zip(ids) {
        queue.push((*id).to_owned(), C2dMessage::new("x"), HOUR, created, at(0));
    }
    queue
}

fn take(queue: &mut C2dQueue, by: ConnectionId, now: Now) -> Vec<Delivery> {
    std::iter::from_fn(|| queue.take_next(by, LOCK, now)).collect()
}

fn ids(deliveries: &[Delivery]) -> Vec<(&str, bool)> {
    deliveries.iter().map(|delivery| (delivery.message.message_id.as_str(), delivery.dup)).collect()
}

fn dropped(_: ConnectionId) -> bool {
    false
}

#[test]
fn a_delivered_message_is_invisible_until_it_is_settled_or_its_lock_ends() {
    let mut queue = queue_of(&["m1", "m2"]);
    assert_eq!(ids(&take(&mut queue, A, at(0))), [("m1", false), ("m2", false)]);
    assert!(take(&mut queue, A, at(59)).is_empty());
    queue.advance(at(60), 10, dropped);
    assert_eq!(ids(&take(&mut queue, A, at(60))), [("m1", true), ("m2", true)]);
    assert_eq!(queue.records(at(60))[0].delivery_count, 0);
}

#[test]
fn a_held_lock_does_not_end_while_its_connection_lives() {
    let mut queue = queue_of(&["m1"]);
    take(&mut queue, A, at(0));
    queue.advance(at(600), 10, |by| by == A);
    assert!(!queue.has_waiting());
    queue.advance(at(600), 10, dropped);
    assert!(queue.has_waiting());
}

#[test]
fn a_puback_completes_only_the_oldest_in_flight_unless_any_order_is_allowed() {
    let mut queue = queue_of(&["m1", "m2", "m3"]);
    let sent = take(&mut queue, A, at(0));
    assert_eq!(queue.puback(A, sent[1].packet_id, false).0, PubackEffect::OutOfOrder);
    assert_eq!(queue.puback(A, 999, false).0, PubackEffect::Unknown);
    assert_eq!(queue.puback(B, sent[0].packet_id, false).0, PubackEffect::Unknown);
    assert_eq!(queue.puback(A, sent[0].packet_id, false).1.unwrap().message.message_id, "m1");
    assert_eq!(queue.puback(A, sent[2].packet_id, true).1.unwrap().message.message_id, "m3");
    assert_eq!(queue.len(), 1);
}

#[test]
fn after_a_reconnect_the_same_packet_ids_come_again_with_dup_before_anything_new() {
    let mut queue = queue_of(&["m1"]);
    let first = take(&mut queue, A, at(0));
    queue.release(A, 10);
    queue.push("m2".into(), C2dMessage::new("x"), HOUR, 9, at(1));
    let second = take(&mut queue, B, at(1));
    assert_eq!(ids(&second), [("m1", true), ("m2", false)]);
    assert_eq!(first[0].packet_id, second[0].packet_id);
}

#[test]
fn a_message_expires_while_it_waits_but_not_while_it_is_locked() {
    let mut queue = queue_of(&[]);
    queue.push("m1".into(), C2dMessage::new("x").ttl(Duration::from_secs(10)), HOUR, 0, at(0));
    take(&mut queue, A, at(0));
    assert!(queue.advance(at(30), 10, dropped).is_empty());
    let ended = queue.advance(at(60), 10, dropped);
    assert_eq!(ended[0].result, C2dResult::Expired);
}

#[test]
fn a_message_that_is_given_back_too_often_ends_if_that_counts() {
    let mut queue = queue_of(&["m1"]);
    queue.take_next(A, COUNTED, at(0)).unwrap();
    assert!(queue.release(A, 3).is_empty());
    queue.take_next(B, COUNTED, at(0)).unwrap();
    assert!(queue.advance(at(60), 3, dropped).is_empty());
    let sent = queue.take_next(B, COUNTED, at(60)).unwrap();
    assert_eq!(sent.delivery_count, 2);
    assert_eq!(
        queue.settle(B, sent.sequence, Settlement::Abandon, 3).unwrap().ended.unwrap().result,
        C2dResult::DeliveryCountExceeded
    );
}

#[test]
fn a_message_comes_again_under_another_lock() {
    let mut queue = queue_of(&["m1"]);
    let first = take(&mut queue, A, at(0)).remove(0);
    queue.advance(at(60), 10, dropped);
    assert!(!queue.has_lock(first.lock));
    let second = take(&mut queue, A, at(60)).remove(0);
    assert!(queue.has_lock(second.lock) && !queue.has_lock(first.lock));
}

#[test]
fn packet_ids_stay_valid_when_sequence_numbers_wrap() {
    assert_eq!(packet_id(0x3fff), 0x4000);
    assert_eq!(packet_id(0x4000), 1);
}
