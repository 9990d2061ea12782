//! Messages from the hub, up to the engine.

use iothub_core::{ConnectionErrorKind, SystemProperty};

use crate::bench::{Bench, Seen};
use crate::wire::{puback, publish, to_device};

fn only_message(seen: Vec<Seen>) -> iothub_core::Message {
    match <[Seen; 1]>::try_from(seen) {
        Ok([Seen::Message(message, _)]) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn properties_are_decoded_and_sorted_into_system_and_application() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let bag = "%24.mid=m1&%24.to=%2Fdevices%2Fdev-1%2Fmessages%2FdeviceBound&%24.exp=2026-01-02T03%3A04%3A05Z\
               &%24.ce=utf-8&iothub-ack=full&prop1=v%201&none&empty=&%24.new=n&bad=%zz";
    peer.send(&to_device(101, bag, b"hello c2d"));
    let message = only_message(bench.work());
    assert_eq!(message.payload(), "hello c2d");
    let system = [
        (SystemProperty::MessageId, "m1"),
        (SystemProperty::ContentEncoding, "utf-8"),
        (SystemProperty::To, "/devices/dev-1/messages/deviceBound"),
        (SystemProperty::ExpiryTime, "2026-01-02T03:04:05Z"),
        (SystemProperty::Ack, "full"),
    ];
    assert_eq!(message.system_properties().collect::<Vec<_>>(), system);
    let application = [("prop1", "v 1"), ("none", ""), ("empty", ""), ("$.new", "n"), ("bad", "%zz")];
    assert_eq!(message.properties().collect::<Vec<_>>(), application);
}

#[test]
fn a_message_without_properties_and_payload_is_one() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    peer.send(&to_device(1, "", b""));
    let message = only_message(bench.work());
    assert!(message.payload().is_empty() && message.properties().len() == 0);
}

#[test]
fn arrival_alone_is_not_acknowledged() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    bench.deliver(&mut peer, &to_device(1, "", b"x"));
    bench.settle_down();
    assert_eq!(peer.receive(), b"");
}

#[test]
fn messages_on_other_topics_are_acknowledged_at_once_even_behind_an_undecided_one() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    bench.deliver(&mut peer, &to_device(1, "", b"x"));
    let others = ["$iothub/methods/POST/m", "devices/dev-2/messages/devicebound/", "x"];
    peer.send(&publish(0x30, others[0], None, b""));
    for (topic, id) in others.into_iter().zip(7..) {
        peer.send(&publish(0x32, topic, Some(id), b"{}"));
    }
    assert_eq!(bench.work(), []);
    assert_eq!(peer.receive(), [puback(7), puback(8), puback(9)].concat());
}

#[test]
fn a_repetition_of_an_undecided_message_is_not_delivered_twice() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let delivery = bench.deliver(&mut peer, &to_device(1, "a=1", b"x"))[0];
    let again = publish(0x3A, "devices/dev-1/messages/devicebound/a=1", Some(1), b"x");
    peer.send(&[again.clone(), to_device(1, "a=1", b"x")].concat());
    assert_eq!(bench.work(), []);
    bench.accept(5, delivery);
    bench.work();
    assert_eq!(peer.receive(), puback(1));
    // Once it is acknowledged, the identifier is free for another message.
    let later = bench.deliver(&mut peer, &again);
    assert!(later.len() == 1 && later[0] != delivery);
}

#[test]
fn more_messages_than_the_hub_may_queue_end_the_connection() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let all: Vec<u8> = (1..=50).flat_map(|id| to_device(id, "", b"x")).collect();
    let deliveries = bench.deliver(&mut peer, &all);
    assert_eq!(deliveries.len(), 50);
    bench.accept(5, deliveries[9]);
    assert_eq!(bench.work(), []);
    peer.send(&to_device(51, "", b"x"));
    match &bench.work()[..] {
        [Seen::Done(5, Err(_)), Seen::Down(ConnectionErrorKind::SettlementsHeld { held: 1, .. })] => {}
        other => panic!("{other:?}"),
    }
}
