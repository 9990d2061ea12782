//! Direct methods: calls, and the answers to them.

use iothub_core::{ConnectionErrorKind, Delivery, Feature, Op, OpError, OpId, Submit, Transport, Unsupported, limits};
use iothub_net::memory::PeerEnd;

use crate::bench::{Bench, Seen, assert_violation, done, millis, secs, stale};
use crate::wire::{DISCONNECT, connack, puback, publish, publish_once, split, to_device};

fn call(name: &str, rid: &str) -> Vec<u8> {
    publish_once(&format!("$iothub/methods/POST/{name}/?$rid={rid}"), br#"{"a":1}"#)
}

fn answer(status: i32, rid: &str, body: &[u8]) -> Vec<u8> {
    publish_once(&format!("$iothub/methods/res/{status}/?$rid={rid}"), body)
}

fn respond(bench: &mut Bench, id: u64, delivery: Delivery) -> Submit {
    bench.submit(id, Op::MethodResponse { delivery, status: 200, body: b"null" })
}

fn answered(bench: &mut Bench, id: u64, delivery: Delivery) {
    assert_eq!(respond(bench, id, delivery), Submit::Taken);
}

fn ready() -> (Bench, PeerEnd) {
    let mut bench = Bench::new();
    let peer = bench.subscribed_to(&[Feature::Methods]);
    (bench, peer)
}

/// The hub sends this, and calls are all that comes of it.
fn called(bench: &mut Bench, peer: &mut PeerEnd, bytes: &[u8]) -> Vec<Delivery> {
    peer.send(bytes);
    let delivery = |seen| match seen {
        Seen::Method(_, _, delivery) => delivery,
        other => panic!("{other:?}"),
    };
    bench.settle_down().into_iter().map(delivery).collect()
}

fn only(bench: &mut Bench, peer: &mut PeerEnd, rid: &str) -> Delivery {
    let [delivery] = called(bench, peer, &call("m", rid)).try_into().unwrap();
    delivery
}

#[test]
fn a_call_is_handed_up_with_name_and_body_and_answered_under_its_request_id() {
    let (mut bench, mut peer) = ready();
    peer.send(&call("reboot", "1f"));
    let delivery = match &bench.work()[..] {
        [Seen::Method(name, body, delivery)] if name == "reboot" && body == r#"{"a":1}"# => *delivery,
        other => panic!("{other:?}"),
    };
    let body = br#"{"ok":1}"#;
    assert_eq!(bench.submit(5, Op::MethodResponse { delivery, status: 202, body }), Submit::Taken);
    assert_eq!(peer.receive(), b"", "nothing goes on the wire outside do_work");
    assert_eq!(bench.due_in(), Some(millis(0)), "there is work to do");
    assert_eq!(bench.work(), [done(5)]);
    assert_eq!(peer.receive(), answer(202, "1f", body));
}

#[test]
fn a_name_stays_as_it_is_in_the_topic_and_body_status_and_request_id_may_be_anything() {
    let (mut bench, mut peer) = ready();
    let rid = "0E3F-\u{e9} &x=1";
    peer.send(&publish_once(&format!("$iothub/methods/POST/comp*get%20it now/?$rid={rid}"), b""));
    let delivery = match &bench.work()[..] {
        [Seen::Method(name, body, delivery)] if name == "comp*get%20it now" && body.is_empty() => *delivery,
        other => panic!("{other:?}"),
    };
    assert_eq!(bench.submit(5, Op::MethodResponse { delivery, status: -7, body: b"" }), Submit::Taken);
    assert_eq!(bench.work(), [done(5)]);
    assert_eq!(peer.receive(), answer(-7, rid, b""));
}

#[test]
fn answers_go_in_the_order_in_which_they_are_given() {
    let (mut bench, mut peer) = ready();
    let calls = called(&mut bench, &mut peer, &[call("m", "1"), call("m", "2"), call("m", "3")].concat());
    for (id, at) in [(5, 2), (6, 0), (7, 1)] {
        answered(&mut bench, id, calls[at]);
    }
    assert_eq!(bench.work(), [done(5), done(6), done(7)]);
    let expected = [answer(200, "3", b"null"), answer(200, "1", b"null"), answer(200, "2", b"null")];
    assert_eq!(peer.receive(), expected.concat());
}

#[test]
fn an_answer_is_done_when_its_bytes_have_left() {
    let (mut bench, mut peer) = ready();
    let delivery = only(&mut bench, &mut peer, "1");
    peer.set_capacity(10);
    answered(&mut bench, 5, delivery);
    assert_eq!(bench.work(), [], "the socket is full");
    let mut received = peer.receive();
    peer.set_capacity(1000);
    assert_eq!(bench.work(), [done(5)]);
    received.extend(peer.receive());
    assert_eq!(received, answer(200, "1", b"null"));
}

#[test]
fn a_call_is_answered_once() {
    let (mut bench, mut peer) = ready();
    let delivery = only(&mut bench, &mut peer, "1");
    answered(&mut bench, 5, delivery);
    assert_eq!(respond(&mut bench, 6, delivery), Submit::Refused(OpError::Stale));
    let unknown = Delivery { key: 99, ..delivery };
    assert_eq!(respond(&mut bench, 7, unknown), Submit::Refused(OpError::Stale));
    assert_eq!(bench.work(), [done(5)]);
    assert_eq!(split(&peer.receive()).len(), 1);
}

#[test]
fn a_call_that_comes_again_while_it_is_unanswered_is_not_handed_up_twice() {
    let (mut bench, mut peer) = ready();
    let delivery = only(&mut bench, &mut peer, "1");
    let again = publish(0x3A, "$iothub/methods/POST/m/?$rid=1", Some(9), b"{}");
    assert_eq!(called(&mut bench, &mut peer, &[again, call("m", "1")].concat()), []);
    assert_eq!(peer.receive(), puback(9));
    answered(&mut bench, 5, delivery);
    assert_eq!(bench.work(), [done(5)]);
    // Answered, the hub may use the request id for another call.
    assert_ne!(only(&mut bench, &mut peer, "1"), delivery);
}

#[test]
fn a_call_at_qos_1_is_acknowledged_at_once_even_behind_an_undecided_message() {
    let (mut bench, mut peer) = ready();
    bench.deliver(&mut peer, &to_device(1, "", b"x"));
    let bytes = publish(0x32, "$iothub/methods/POST/m/?$rid=1", Some(7), b"");
    assert_eq!(called(&mut bench, &mut peer, &bytes).len(), 1);
    assert_eq!(peer.receive(), puback(7));
}

#[test]
fn a_call_may_come_right_behind_the_connack() {
    let mut bench = Bench::new();
    let mut peer = bench.open();
    peer.send(&[connack(true), call("m", "1")].concat());
    match &bench.work()[..] {
        [Seen::Connected(true), Seen::Ready, Seen::Method(..)] => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_answered_is_ignored() {
    let (mut bench, mut peer) = ready();
    let long = format!("m/?$rid={}", "r".repeat(300));
    for tail in ["", "m", "m/", "m/?$rid=", "m/?$rid=a+b", "m/?$rid=#", "m/?rid=1", &long] {
        peer.send(&publish_once(&format!("$iothub/methods/POST/{tail}"), b"{}"));
    }
    assert_eq!(bench.settle_down(), []);
    assert_eq!(peer.receive(), b"");
}

#[test]
fn an_answer_for_another_connection_is_stale_and_never_on_the_wire() {
    let (mut bench, mut peer) = ready();
    let delivery = only(&mut bench, &mut peer, "1");
    peer.close();
    bench.work();
    assert_eq!(respond(&mut bench, 5, delivery), Submit::Refused(OpError::Stale), "not connected");
    let mut peer = bench.subscribed_to(&[Feature::Methods]);
    let again = only(&mut bench, &mut peer, "1");
    assert_eq!(again.key, delivery.key);
    assert_eq!(respond(&mut bench, 6, delivery), Submit::Refused(OpError::Stale));
    bench.settle_down();
    assert_eq!(peer.receive(), b"");
    answered(&mut bench, 7, again);
    assert_eq!(bench.work(), [done(7)]);
}

#[test]
fn an_answer_that_did_not_leave_before_the_connection_ended_is_stale() {
    let (mut bench, mut peer) = ready();
    let calls = called(&mut bench, &mut peer, &[call("m", "1"), call("m", "2")].concat());
    answered(&mut bench, 5, calls[0]);
    assert_eq!(bench.work(), [done(5)]);
    peer.close();
    answered(&mut bench, 6, calls[1]);
    assert_eq!(bench.work(), [stale(6), Seen::Down(ConnectionErrorKind::ClosedByPeer)]);
}

#[test]
fn an_answer_leaves_with_the_disconnect() {
    let (mut bench, mut peer) = ready();
    let calls = called(&mut bench, &mut peer, &[call("m", "1"), call("m", "2")].concat());
    answered(&mut bench, 5, calls[0]);
    bench.transport.disconnect(bench.slot, bench.now);
    assert_eq!(respond(&mut bench, 6, calls[1]), Submit::Refused(OpError::Stale), "too late");
    assert_eq!(bench.work(), [done(5), Seen::Disconnected]);
    assert_eq!(peer.receive(), [&answer(200, "1", b"null")[..], &DISCONNECT].concat());
}

#[test]
fn an_answer_that_was_given_up_goes_without_an_outcome() {
    let (mut bench, mut peer) = ready();
    let delivery = only(&mut bench, &mut peer, "1");
    answered(&mut bench, 5, delivery);
    bench.transport.forget(bench.slot, OpId(5));
    assert_eq!(bench.work(), []);
    assert_eq!(peer.receive(), answer(200, "1", b"null"));
}

#[test]
fn an_answer_larger_than_the_hub_takes_is_refused_and_the_call_can_still_be_answered() {
    let (mut bench, mut peer) = ready();
    let delivery = only(&mut bench, &mut peer, "1");
    let limit = limits::MAX_METHOD_PAYLOAD;
    let body = vec![b' '; limit + 1];
    let too_large = Op::MethodResponse { delivery, status: 200, body: &body };
    let error = Unsupported::MessageTooLarge { size: limit + 1, limit };
    assert_eq!(bench.transport.check(&too_large), Err(error.clone()));
    assert_eq!(bench.submit(5, too_large), Submit::Refused(OpError::Unsupported(error)));
    let fits = Op::MethodResponse { delivery, status: 200, body: &body[1..] };
    assert_eq!(bench.transport.check(&fits), Ok(()));
    assert_eq!(bench.submit(6, fits), Submit::Taken);
}

#[test]
fn more_than_a_thousand_unanswered_calls_are_answered_429_and_the_others_stay() {
    let (mut bench, mut peer) = ready();
    let all: Vec<u8> = (1..=1002).flat_map(|rid: u32| call("m", &rid.to_string())).collect();
    let calls = called(&mut bench, &mut peer, &all);
    assert_eq!(calls.len(), 1000);
    let body = br#"{"message":"too many calls are unanswered"}"#;
    assert_eq!(peer.receive(), [answer(429, "1001", body), answer(429, "1002", body)].concat());
    answered(&mut bench, 5, calls[999]);
    assert_eq!(bench.work(), [done(5)]);
    assert_eq!(peer.receive(), answer(200, "1000", b"null"));
    assert_eq!(called(&mut bench, &mut peer, &call("m", "1003")).len(), 1);
}

#[test]
fn a_hub_that_calls_on_and_does_not_read_the_answers_loses_the_connection() {
    let (mut bench, mut peer) = ready();
    peer.set_capacity(0);
    let mut seen = Vec::new();
    for rid in 1..20_000 {
        peer.send(&call("m", &rid.to_string()));
        if rid % 1000 == 0 {
            seen = bench.settle_down();
            if !matches!(seen.first(), Some(Seen::Method(..)) | None) {
                break;
            }
        }
    }
    assert_violation(&seen, "does not read the answers");
}

#[test]
fn a_hub_that_wants_acknowledgements_and_does_not_read_them_loses_the_connection() {
    let (mut bench, mut peer) = ready();
    peer.set_capacity(0);
    for _ in 0..9 {
        peer.send(&publish(0x32, "x", Some(7), b"").repeat(10_000));
    }
    assert_violation(&bench.settle_down(), "does not read the answers");
    // One that reads them may have as many as it likes.
    let (mut bench, mut peer) = ready();
    for _ in 0..9 {
        peer.send(&publish(0x32, "x", Some(7), b"").repeat(10_000));
        assert_eq!(bench.settle_down(), []);
        assert_eq!(peer.receive(), puback(7).repeat(10_000));
    }
}

#[test]
fn a_hub_that_reads_late_keeps_its_connection() {
    let (mut bench, mut peer) = ready();
    peer.set_capacity(0);
    let all: Vec<u8> = (1..=2000).flat_map(|rid: u32| call("m", &rid.to_string())).collect();
    assert_eq!(called(&mut bench, &mut peer, &all).len(), 1000);
    peer.set_capacity(10_000_000);
    bench.advance(secs(1));
    assert_eq!(bench.settle_down(), []);
    assert_eq!(split(&peer.receive()).len(), 1000);
}
