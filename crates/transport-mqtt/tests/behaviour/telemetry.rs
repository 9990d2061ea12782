//! Messages to the hub: their bytes, the window, the limits.

use iothub_core::{ConnectionErrorKind, Message, Op, OpError, Submit, Transport, Unsupported, limits};

use crate::bench::{Bench, Seen, done, millis, secs};
use crate::wire::{puback, publish, publishes, split};

const TOPIC: &str = "devices/dev-1/messages/events/";

#[test]
fn a_message_goes_out_exactly_as_its_properties_say() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let message = Message::new(&b"\0hello"[..])
        .with_property("k 1", "v&1")
        .and_then(|m| m.with_property("empty", ""))
        .and_then(|m| m.with_message_id("mid1"))
        .and_then(|m| m.with_content_type("application/json"))
        .unwrap();
    assert_eq!(bench.send(1, &message), Submit::Taken);
    assert_eq!(peer.receive(), b"", "nothing goes on the wire outside do_work");
    assert_eq!(bench.due_in(), Some(millis(0)), "there is work to do");
    assert_eq!(bench.work(), []);
    let topic = format!("{TOPIC}%24.mid=mid1&%24.ct=application%2Fjson&k%201=v%261&empty=");
    assert_eq!(peer.receive(), publish(0x32, &topic, Some(1), b"\0hello"));
    peer.send(&puback(1));
    assert_eq!(bench.work(), [done(1)]);
}

#[test]
fn a_hundred_messages_leave_in_one_flush() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let before = peer.flushes();
    bench.send_all(1..=100);
    bench.work();
    assert_eq!(peer.flushes(), before + 1);
    let sent = publishes(&peer.receive());
    let payloads: Vec<_> = sent.iter().map(|sent| String::from_utf8(sent.payload.clone()).unwrap()).collect();
    assert_eq!(payloads, (1..=100).map(|id| id.to_string()).collect::<Vec<_>>());
}

#[test]
fn acknowledgements_may_come_in_any_order() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    bench.send_all([11, 12, 13]);
    bench.work();
    peer.send(&[puback(3), puback(1), puback(2)].concat());
    assert_eq!(bench.work(), [done(13), done(11), done(12)]);
}

#[test]
fn an_acknowledgement_of_nothing_is_ignored() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    bench.send_all([1]);
    bench.work();
    peer.send(&[puback(2), puback(1), puback(1)].concat());
    assert_eq!(bench.work(), [done(1)]);
    assert_eq!(bench.work(), []);
}

#[test]
fn a_full_window_takes_no_more_and_says_when_there_is_room() {
    let mut bench = Bench::with(|options| options.max_in_flight = 2);
    let mut peer = bench.connected();
    bench.send_all([1, 2]);
    assert_eq!(bench.send(3, &Message::new("3")), Submit::Full);
    bench.settle_down();
    assert!(bench.due_in() > Some(secs(1)), "waiting for the hub is not work");
    peer.send(&puback(2));
    assert_eq!(bench.work(), [done(2)]);
    assert_eq!(bench.due_in(), Some(millis(0)), "there is room");
    bench.send_all([3]);
    assert_eq!(bench.send(4, &Message::new("4")), Submit::Full);
}

#[test]
fn identifiers_wrap_around_and_skip_those_in_flight() {
    let mut bench = Bench::with(|options| options.max_in_flight = 2);
    let mut peer = bench.connected();
    bench.send_all([0]);
    bench.work();
    assert_eq!(publishes(&peer.receive())[0].id, 1);
    for op in 1..=65_540 {
        bench.send_all([op]);
        bench.work();
        let id = publishes(&peer.receive())[0].id;
        assert!(id > 1, "1 is in flight, 0 is none");
        assert_eq!(id, if op < 65_535 { op as u16 + 1 } else { (op - 65_533) as u16 });
        peer.send(&puback(id));
        assert_eq!(bench.work(), [done(op)]);
    }
}

#[test]
fn before_the_connack_there_is_no_room() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(1, &Message::new("1")), Submit::Full);
    let peer = bench.open();
    assert_eq!(bench.send(1, &Message::new("1")), Submit::Full);
    drop(peer);
    bench.work();
    assert_eq!(bench.send(1, &Message::new("1")), Submit::Full);
}

#[test]
fn the_size_limit_is_exact() {
    let mut bench = Bench::new();
    bench.connected();
    let sized = |payload: usize| {
        Message::new(vec![0; payload]).with_property("ab", "cde").and_then(|m| m.with_message_id("1234567")).unwrap()
    };
    let limit = limits::MAX_TELEMETRY_SIZE;
    let (fits, too_large) = (sized(limit - 12), sized(limit - 11));
    assert_eq!(bench.transport.check(&Op::Telemetry(&fits)), Ok(()));
    let error = Unsupported::MessageTooLarge { size: limit + 1, limit };
    assert_eq!(bench.transport.check(&Op::Telemetry(&too_large)), Err(error.clone()));
    assert_eq!(bench.send(1, &too_large), Submit::Refused(OpError::Unsupported(error)));
    assert_eq!(bench.send(2, &fits), Submit::Taken);
}

#[test]
fn the_topic_limit_is_exact_and_counts_encoded_bytes() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    // "k=" and the value, of which each space takes three bytes.
    let room = 65_535 - TOPIC.len() - 2;
    let with = |value: String| Message::new("x").with_property("k", value).unwrap();
    let spaces = room / 3;
    let fits = with(" ".repeat(spaces) + &"v".repeat(room % 3));
    let too_long = with(" ".repeat(spaces) + &"v".repeat(room % 3 + 1));
    let error = Unsupported::TopicTooLong { length: 65_536, limit: 65_535 };
    assert_eq!(bench.transport.check(&Op::Telemetry(&fits)), Ok(()));
    assert_eq!(bench.transport.check(&Op::Telemetry(&too_long)), Err(error.clone()));
    assert_eq!(bench.send(1, &too_long), Submit::Refused(OpError::Unsupported(error)));
    bench.send(2, &fits);
    bench.settle_down();
    assert_eq!(publishes(&peer.receive())[0].topic.len(), 65_535);
}

#[test]
fn the_send_buffer_is_bounded_and_drains_when_the_hub_reads() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    peer.set_capacity(0);
    let large = Message::new(vec![7; 100_000]);
    let mut taken = 0;
    while bench.send(taken, &large) == Submit::Taken {
        taken += 1;
        bench.work();
        assert!(taken < 10, "the buffer does not end");
    }
    assert!(taken >= 3);
    assert!(bench.due_in() > Some(secs(1)), "a full socket is not polled");
    // As the hub reads, everything arrives, whole and in order.
    peer.set_capacity(1000);
    let mut received = Vec::new();
    for _ in 0..taken * 101 {
        assert_eq!(bench.work(), []);
        received.extend(peer.receive());
    }
    assert_eq!(split(&received).len() as u64, taken);
    assert!(publishes(&received).iter().all(|sent| sent.payload == vec![7; 100_000]));
    assert_eq!(bench.send(taken, &large), Submit::Taken);
}

#[test]
fn a_message_that_stays_unacknowledged_ends_the_connection_after_a_minute() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    bench.send_all([1]);
    bench.work();
    bench.advance(secs(30));
    bench.send_all([2]);
    bench.work();
    peer.send(&puback(2));
    assert_eq!(bench.work(), [done(2)]);
    assert_eq!(bench.due_in(), Some(secs(30)));
    bench.advance(secs(30) - millis(1));
    assert_eq!(bench.work(), []);
    bench.advance(millis(1));
    let silent = ConnectionErrorKind::NoAcknowledgement { after: secs(60) };
    assert_eq!(bench.work(), [Seen::Down(silent)], "the one that has its outcome does not hide the other");
    assert!(peer.is_closed_by_client());
}

#[test]
fn a_message_that_leaves_slowly_is_not_taken_for_unacknowledged() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    peer.set_capacity(2000);
    let large = Message::new(vec![7; 250_000]);
    assert_eq!(bench.send(1, &large), Submit::Taken);
    let mut received = 0;
    while received < 250_000 {
        assert_eq!(bench.work(), []);
        received += peer.receive().len();
        bench.advance(secs(1));
    }
    // Only now does the hub have to answer.
    bench.work();
    bench.advance(secs(58));
    peer.send(&puback(1));
    assert_eq!(bench.work(), [done(1)]);
}

#[test]
fn an_acknowledgement_that_is_there_counts_however_late_the_slice_is() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    bench.send_all([1]);
    bench.work();
    peer.send(&puback(1));
    bench.advance(secs(600));
    assert_eq!(bench.work(), [done(1)]);
}

#[test]
fn the_same_operation_submitted_twice_is_sent_once() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    bench.send_all([1, 1]);
    bench.work();
    assert_eq!(publishes(&peer.receive()).len(), 1);
}

#[test]
fn a_flood_of_input_is_taken_in_bounded_slices_that_ask_for_the_next() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let ignored = puback(7);
    peer.send(&ignored.repeat(600_000 / ignored.len()));
    let mut slices = 1;
    bench.work();
    while bench.due_in() == Some(millis(0)) {
        bench.work();
        slices += 1;
    }
    assert_eq!(slices, 3);
    // And so is a flood of events, even of an engine that does not collect them.
    let message = publish(0x30, "devices/dev-1/messages/devicebound/", None, b"");
    peer.send(&message.repeat(5000));
    for _ in 0..10 {
        bench.transport.do_work(bench.now);
    }
    let mut counts = vec![bench.events().len()];
    while bench.due_in() == Some(millis(0)) {
        counts.push(bench.work().len());
    }
    assert_eq!(counts, [1024, 1024, 1024, 1024, 904]);
}
