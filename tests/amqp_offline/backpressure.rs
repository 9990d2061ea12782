//! A socket that takes nothing more, while the client has much to say.

use iothub_client::{ConnectionErrorKind, Message, Submit};

use crate::bench::{Bench, Seen, done};

/// An AMQP frame without a body.
const EMPTY: &[u8] = &[0, 0, 0, 8, 2, 0, 0, 0];
const COUNT: u64 = 30;

/// Sends much.
fn send(bench: &mut Bench) {
    for id in 1..=COUNT {
        assert_eq!(bench.send(id, &Message::new(vec![0; 10_000])), Submit::Taken);
    }
}

/// A bench that has more to say than there is room for, and whose hub speaks all the same.
fn full() -> Bench {
    let mut bench = Bench::connected();
    bench.set_capacity(1000);
    send(&mut bench);
    bench.speak();
    for _ in 0..3 {
        bench.hub_says(EMPTY);
        bench.speak();
    }
    bench
}

#[test]
fn a_stream_that_breaks_while_the_client_waits_for_room_is_told_at_once() {
    let mut bench = full();
    bench.cut_after(0);
    let seen = bench.work();
    assert!(matches!(&seen[..], [Seen::Down(ConnectionErrorKind::Broken { .. })]), "{seen:?}");
    bench.hub_notices();
    bench.connect();
    send(&mut bench);
    assert_eq!(bench.work(), (1..=COUNT).map(done).collect::<Vec<_>>());
}

#[test]
fn what_waited_for_room_goes_when_there_is_some() {
    let mut bench = full();
    bench.set_capacity(100_000);
    assert_eq!(bench.work(), (1..=COUNT).map(done).collect::<Vec<_>>());
    assert_eq!(bench.stored().len() as u64, COUNT);
}
