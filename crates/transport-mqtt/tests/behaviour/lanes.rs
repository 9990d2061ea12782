//! Telemetry, twin requests, answers to methods and settlements do not stand in each other's way.

use iothub_core::{Delivery, Feature, Message, Op, Submit};
use iothub_net::memory::PeerEnd;

use crate::bench::{Bench, Seen, done, millis, secs};
use crate::wire::{puback, publish_once, publishes_of_qos_1, split, to_device};

const ALL: &[Feature] = &[Feature::CloudToDevice, Feature::Twin, Feature::DesiredProperties, Feature::Methods];

/// A patch of the largest size.
fn patch() -> Vec<u8> {
    vec![b' '; iothub_core::limits::MAX_TWIN_SECTION]
}

/// A connection with a message and some calls that can be answered.
fn ready(calls: u32) -> (Bench, PeerEnd, Delivery, Vec<Delivery>) {
    let mut bench = Bench::with(|options| options.max_in_flight = 100);
    let mut peer = bench.subscribed_to(ALL);
    let message = bench.deliver(&mut peer, &to_device(1, "", b"x"))[0];
    for rid in 1..=calls {
        peer.send(&publish_once(&format!("$iothub/methods/POST/m/?$rid={rid}"), b""));
    }
    let delivery = |seen| match seen {
        Seen::Method(_, _, delivery) => delivery,
        other => panic!("{other:?}"),
    };
    let calls = bench.settle_down().into_iter().map(delivery).collect();
    (bench, peer, message, calls)
}

fn respond(bench: &mut Bench, id: u64, delivery: Delivery, size: usize) -> Submit {
    bench.submit(id, Op::MethodResponse { delivery, status: 200, body: &vec![b'1'; size] })
}

fn assert_room_is_told_once(bench: &mut Bench) {
    assert_eq!(bench.due_in(), Some(millis(0)), "there is room");
    assert_eq!(bench.work(), []);
    assert!(bench.due_in() > Some(secs(1)), "whoever does not use it is not woken again");
}

#[test]
fn a_full_telemetry_window_delays_nothing_else() {
    let (mut bench, mut peer, message, calls) = ready(1);
    bench.send_all(1..=100);
    assert_eq!(bench.send(101, &Message::new("x")), Submit::Full);
    assert_eq!(bench.submit(201, Op::TwinGet), Submit::Taken);
    assert_eq!(respond(&mut bench, 202, calls[0], 1), Submit::Taken);
    bench.accept(203, message);
    assert_eq!(bench.work(), [done(203), done(202)]);
    assert_eq!(split(&peer.receive()).len(), 103);
}

#[test]
fn a_send_buffer_full_of_telemetry_takes_everything_else() {
    let (mut bench, mut peer, message, calls) = ready(1);
    peer.set_capacity(0);
    let large = Message::new(vec![7; 100_000]);
    let mut taken = 0;
    // The stream takes some into a buffer of its own.
    while bench.send(taken, &large) == Submit::Taken {
        taken += 1;
        assert_eq!(bench.settle_down(), []);
        assert!(taken < 10, "the buffer does not end");
    }
    assert_eq!(bench.submit(201, Op::TwinReport(&patch())), Submit::Taken);
    assert_eq!(respond(&mut bench, 202, calls[0], 1), Submit::Taken);
    bench.accept(203, message);
    assert_eq!(bench.send(taken, &large), Submit::Full, "it is as full as it was");
    assert_eq!(bench.settle_down(), []);
    assert!(bench.due_in() > Some(secs(1)), "a full socket is not polled");
    peer.set_capacity(usize::MAX);
    assert_eq!(bench.work(), [done(203), done(202)]);
    assert_eq!(split(&peer.receive()).len() as u64, taken + 3);
    assert_room_is_told_once(&mut bench);
    assert_eq!(bench.send(taken, &large), Submit::Taken);
}

#[test]
fn twin_requests_that_do_not_get_out_delay_only_twin_requests() {
    let (mut bench, mut peer, message, calls) = ready(1);
    peer.set_capacity(0);
    let taken = (301..400).take_while(|id| bench.submit(*id, Op::TwinReport(&patch())) == Submit::Taken).count();
    assert_eq!(taken, 8, "256 KiB, with their topics");
    assert_eq!(bench.send(1, &Message::new(vec![7; 200_000])), Submit::Taken);
    assert_eq!(bench.send(2, &Message::new("x")), Submit::Taken);
    assert_eq!(respond(&mut bench, 202, calls[0], 1), Submit::Taken);
    bench.accept(203, message);
    assert_eq!(bench.submit(400, Op::TwinGet), Submit::Full);
    assert_eq!(bench.settle_down(), []);
    assert!(bench.due_in() > Some(secs(1)), "a full socket is not polled");
    peer.set_capacity(usize::MAX);
    assert_eq!(bench.work(), [done(203), done(202)]);
    assert_room_is_told_once(&mut bench);
    assert_eq!(bench.submit(400, Op::TwinGet), Submit::Taken);
    assert_eq!(split(&peer.receive()).len(), 12);
}

#[test]
fn answers_to_methods_that_do_not_get_out_delay_only_such_answers() {
    let (mut bench, mut peer, message, calls) = ready(10);
    peer.set_capacity(0);
    let mut ids = 501..;
    let mut respond_next = |bench: &mut Bench, call| respond(bench, ids.next().unwrap(), call, 100_000);
    let taken = calls.iter().take_while(|call| respond_next(&mut bench, **call) == Submit::Taken).count();
    assert_eq!(taken, 3, "256 KiB and one more");
    assert_eq!(bench.send(1, &Message::new("x")), Submit::Taken);
    assert_eq!(bench.submit(201, Op::TwinGet), Submit::Taken);
    bench.accept(203, message);
    assert_eq!(bench.settle_down(), []);
    assert!(bench.due_in() > Some(secs(1)), "a full socket is not polled");
    peer.set_capacity(usize::MAX);
    assert_eq!(bench.work(), [done(203), done(501), done(502), done(503)]);
    assert_room_is_told_once(&mut bench);
    assert_eq!(respond(&mut bench, 600, calls[3], 1), Submit::Taken, "a call that had to wait can still be answered");
    assert_eq!(split(&peer.receive()).len(), 6);
}

#[test]
fn an_undecided_message_holds_only_later_messages() {
    let (mut bench, mut peer, _undecided, calls) = ready(1);
    let later = bench.deliver(&mut peer, &to_device(2, "", b"x"))[0];
    bench.accept(203, later);
    bench.send_all([1]);
    assert_eq!(bench.submit(201, Op::TwinGet), Submit::Taken);
    assert_eq!(respond(&mut bench, 202, calls[0], 1), Submit::Taken);
    peer.send(&publish_once("$iothub/twin/PATCH/properties/desired/?$version=2", b"{}"));
    assert_eq!(bench.work(), [Seen::DesiredProperties("{}".into()), done(202)]);
    let sent = peer.receive();
    assert_eq!((publishes_of_qos_1(&sent).len(), split(&sent).len()), (1, 3));
    peer.send(&puback(publishes_of_qos_1(&sent)[0].id));
    assert_eq!(bench.work(), [done(1)]);
}
