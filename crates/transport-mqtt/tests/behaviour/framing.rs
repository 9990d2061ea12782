//! Packets do not care how the stream is cut into pieces, and rubbish does no harm.

use iothub_core::{Feature, Message, Op, Transport};

use crate::bench::{Bench, Seen, TOKEN};
use crate::wire::{PINGRESP, connack, puback, publish, publish_once, suback, to_device};

/// Everything that a hub sends in a short session. Behind the first part two messages go out, behind the second two twin
/// requests, and at the end the first call of a method is answered.
fn session() -> [Vec<u8>; 3] {
    let opened = [to_device(7, "%24.mid=m&a=1", b"first"), suback(1, &[1, 0, 0, 0]), puback(3)];
    let rest = [
        publish_once("$iothub/twin/PATCH/properties/desired/?$version=2", br#"{"k":1,"$version":2}"#),
        publish_once("$iothub/twin/res/200/?$rid=1000-1-1", br#"{"desired":{"$version":2},"reported":{}}"#),
        PINGRESP.to_vec(),
        publish_once("$iothub/methods/POST/reboot/?$rid=1", br#"{"in":5}"#),
        publish(0x30, "devices/dev-1/messages/devicebound/b", None, &[9; 300]),
        puback(2),
        publish(0x32, "$iothub/methods/POST/stop/?$rid=2", Some(10), b""),
        to_device(8, "", b""),
        publish_once("$iothub/twin/res/204/?$rid=1000-1-2&$version=5", b""),
        publish(0x32, "$iothub/unknown", Some(9), b"{}"),
    ];
    [connack(true), opened.concat(), rest.concat()]
}

/// Plays the session with the parts of the hub's bytes in the given pieces; the events, and what the hub received.
fn play(parts: [&[&[u8]]; 3]) -> (Vec<Seen>, Vec<u8>) {
    let mut bench = Bench::new();
    bench.want(&[Feature::CloudToDevice, Feature::Twin, Feature::DesiredProperties, Feature::Methods]);
    let mut peer = bench.script.accept();
    bench.transport.connect(bench.slot, Some(TOKEN), bench.now);
    let mut seen = bench.settle_down();
    for (part, pieces) in parts.into_iter().enumerate() {
        for piece in pieces {
            peer.send(piece);
            seen.extend(bench.settle_down());
        }
        // With damaged input the connection may be gone already, and nothing is taken.
        match part {
            0 => {
                bench.send(1, &Message::new("x"));
                bench.send(2, &Message::new("x"));
            }
            1 => {
                bench.submit(3, Op::TwinGet);
                bench.submit(4, Op::TwinReport(br#"{"a":1}"#));
            }
            _ => {
                let call = seen.iter().find_map(|seen| match seen {
                    Seen::Method(_, _, delivery) => Some(*delivery),
                    _ => None,
                });
                if let Some(delivery) = call {
                    bench.submit(5, Op::MethodResponse { delivery, status: 200, body: b"null" });
                }
            }
        }
        seen.extend(bench.settle_down());
    }
    (seen, peer.receive())
}

#[test]
fn every_split_of_a_session_in_two_gives_the_same_events() {
    let parts = session();
    let whole: [&[u8]; 3] = [&parts[0], &parts[1], &parts[2]];
    let expected = play([&whole[..1], &whole[1..2], &whole[2..]]);
    // Connected, ready, three messages, two PUBACKs, a change, two answers, two calls, one response.
    assert_eq!(expected.0.len(), 13, "{:?}", expected.0);
    for part in 0..3 {
        for at in 0..=whole[part].len() {
            let (first, second) = whole[part].split_at(at);
            let pieces = [first, second];
            let mut split = [&whole[..1], &whole[1..2], &whole[2..]];
            split[part] = &pieces;
            assert_eq!(play(split), expected, "part {part} split at {at}");
        }
    }
    let bytewise = whole.map(|part| part.chunks(1).collect::<Vec<_>>());
    assert_eq!(play([&bytewise[0], &bytewise[1], &bytewise[2]]), expected);
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
        let mut parts = session();
        for _ in 0..=noise.below(4) {
            // The long last part more often than the others.
            let part = &mut parts[[0, 1, 2, 2, 2][noise.below(5)]];
            let at = noise.below(part.len());
            match noise.below(3) {
                0 => part[at] = noise.below(256) as u8,
                1 => part[at] ^= 1 << noise.below(8),
                _ => part.truncate(at + 1),
            }
        }
        let (seen, _) = play([&[&parts[0]], &[&parts[1]], &[&parts[2]]]);
        let downs = seen.iter().filter(|seen| matches!(seen, Seen::Down(_))).count();
        assert!(downs <= 1, "{seen:?}");
    }
}
