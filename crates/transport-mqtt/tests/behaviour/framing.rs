//! Packets do not care how the stream is cut into pieces, and rubbish does no harm.

use iothub_core::{Feature, Message, Transport};

use crate::bench::{Bench, Seen, TOKEN};
use crate::wire::{PINGRESP, connack, puback, publish, suback, to_device};

/// Everything that a hub sends in a short session in which two messages go out.
fn session() -> Vec<u8> {
    [
        connack(true),
        to_device(7, "%24.mid=m&a=1", b"first"),
        suback(1, &[1]),
        puback(3),
        PINGRESP.to_vec(),
        publish(0x30, "devices/dev-1/messages/devicebound/b", None, &[9; 300]),
        puback(2),
        to_device(8, "", b""),
        publish(0x32, "$iothub/unknown", Some(9), b"{}"),
    ]
    .concat()
}

/// Plays the session with the hub's bytes in the given pieces; the events, and what the hub received.
fn play(pieces: &[&[u8]]) -> (Vec<Seen>, Vec<u8>) {
    let mut bench = Bench::new();
    bench.transport.subscribe(bench.slot, &[Feature::CloudToDevice]);
    let mut peer = bench.script.accept();
    bench.transport.connect(bench.slot, Some(TOKEN), bench.now);
    let mut seen = bench.settle_down();
    let mut sent = false;
    for piece in pieces {
        peer.send(piece);
        seen.extend(bench.settle_down());
        // The two messages are out before the hub acknowledges anything.
        if !sent && seen.contains(&Seen::Connected(true)) {
            sent = true;
            for id in [1, 2] {
                // With damaged input the connection may be gone already.
                bench.send(id, &Message::new("x"));
            }
            seen.extend(bench.settle_down());
        }
    }
    (seen, peer.receive())
}

#[test]
fn every_split_of_a_session_in_two_gives_the_same_events() {
    let bytes = session();
    let (connack, rest) = bytes.split_at(4);
    let expected = play(&[connack, rest]);
    assert_eq!(expected.0.len(), 7, "{:?}", expected.0);
    for at in 0..=rest.len() {
        let (first, second) = rest.split_at(at);
        assert_eq!(play(&[connack, first, second]), expected, "split at {at}");
    }
    for at in 0..=connack.len() {
        let (first, second) = connack.split_at(at);
        assert_eq!(play(&[first, second, rest]), expected, "CONNACK split at {at}");
    }
    let bytewise: Vec<_> = bytes.chunks(1).collect();
    assert_eq!(play(&bytewise), expected);
}

#[test]
fn reads_and_writes_of_one_byte_change_nothing() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    peer.limit_reads(1);
    peer.limit_writes(1);
    peer.send(&to_device(7, "a=1", b"first"));
    let seen = bench.settle_down();
    assert!(matches!(&seen[..], [Seen::Message(message, _)] if message.payload() == "first"), "{seen:?}");
    bench.send(1, &Message::new("x"));
    bench.settle_down();
    assert_eq!(peer.receive(), publish(0x32, "devices/dev-1/messages/events/", Some(1), b"x"));
}

/// A small generator of reproducible noise (xorshift).
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[test]
fn damaged_input_ends_in_events_and_never_in_a_panic() {
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    for _ in 0..3000 {
        let mut bytes = session();
        for _ in 0..=noise.below(4) {
            let at = noise.below(bytes.len());
            match noise.below(3) {
                0 => bytes[at] = noise.below(256) as u8,
                1 => bytes[at] ^= 1 << noise.below(8),
                _ => bytes.truncate(at + 1),
            }
        }
        let (connack, rest) = bytes.split_at(bytes.len().min(4));
        let (seen, _) = play(&[connack, rest]);
        let downs = seen.iter().filter(|seen| matches!(seen, Seen::Down(_))).count();
        assert!(downs <= 1, "{seen:?}");
    }
}
