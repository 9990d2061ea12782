//! The bytes of a server in every way in which a network may cut them: what comes out is always the same.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::task::Poll;

use iothub_core::Now;
use iothub_net::memory::PeerEnd;
use iothub_net::{Connect, Stream};

use crate::support::websocket::{
    BINARY, CLOSE, CONTINUE, FIN, PING, PONG, ask, binary, close, contents, frame, over_memory, yes,
};

/// What a client made of a session.
#[derive(Debug, Default)]
struct Outcome {
    /// The bytes that were read.
    read: Vec<u8>,
    /// The frames that the client sent by itself.
    sent: Vec<(u8, Vec<u8>)>,
    /// How reading ended.
    end: String,
}

/// An MQTT session after the upgrade, as a hub and the proxies on the way may frame it: CONNACK, SUBACK, a message in
/// fragments with pings between them, many PUBACKs, one by one and together, an answer to a twin request, PINGRESP.
fn session() -> Vec<u8> {
    let publish = |topic: &str, payload: &str| {
        let length = 2 + topic.len() + payload.len();
        let mut packet = vec![0x30, (length % 128 + 128) as u8, (length / 128) as u8, 0, topic.len() as u8];
        packet.extend(topic.bytes().chain(payload.bytes()));
        packet
    };
    let message = publish("devices/dev1/messages/devicebound/%24.mid=m1&prop1=v%201", &"hello c2d ".repeat(20));
    let (first, rest) = message.split_at(70);
    let (second, third) = rest.split_at(1);
    let twin = publish("$iothub/twin/res/200/?$rid=4", r#"{"desired":{"$version":2},"reported":{"$version":1}}"#);
    [
        binary(&[0x20, 2, 0, 0]),
        frame(FIN | PING, b"are you there?"),
        binary(&[0x90, 3, 0, 1, 1]),
        frame(BINARY, first),
        frame(FIN | PING, b""),
        frame(CONTINUE, second),
        frame(CONTINUE, b""),
        frame(FIN | PONG, b"unasked"),
        frame(FIN | CONTINUE, third),
        (1..=9).flat_map(|id| binary(&[0x40, 2, 0, id])).collect(),
        binary(&(10..=60).flat_map(|id| [0x40, 2, 0, id]).collect::<Vec<_>>()),
        binary(&twin),
        frame(FIN | PING, &[7; 125]),
        binary(&[0xd0, 0]),
    ]
    .concat()
}

/// The payload of the session's data frames.
fn packets() -> Vec<u8> {
    let mut all = Vec::new();
    let session = session();
    let mut at = 0;
    while at < session.len() {
        let (length, header) = match session[at + 1] {
            126 => (usize::from(u16::from_be_bytes([session[at + 2], session[at + 3]])), 4),
            short => (usize::from(short), 2),
        };
        let payload = &session[at + header..][..length];
        if matches!(session[at] & 0x0F, BINARY | CONTINUE) {
            all.extend_from_slice(payload);
        }
        at += header + length;
    }
    all
}

/// Reads until nothing comes any more; `true` when that is for good.
fn read_all(stream: &mut Stream, outcome: &mut Outcome) -> bool {
    let mut buf = [0; 300];
    loop {
        match stream.read(&mut buf) {
            Ok(0) => outcome.end = "end".to_owned(),
            Ok(count) => {
                outcome.read.extend_from_slice(&buf[..count]);
                continue;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => outcome.end = error.to_string(),
        }
        return true;
    }
}

/// Connects to a server whose answer and frames come in pieces of these sizes, and which then hangs up.
fn run(frames: &[u8], mut sizes: impl FnMut(usize) -> usize) -> Outcome {
    let (mut connector, script) = over_memory("hub.example", 443);
    let now = Now::system();
    let (mut peer, request) = ask(&mut connector, &script, now);
    let bytes = [yes(&request).as_bytes(), frames].concat();
    let mut left = &bytes[..];
    let mut next = |peer: &mut PeerEnd| {
        let (piece, rest) = left.split_at(sizes(left.len()).clamp(1.min(left.len()), left.len()));
        left = rest;
        peer.send(piece);
        !piece.is_empty()
    };
    let mut outcome = Outcome::default();
    let mut stream = loop {
        assert!(next(&mut peer), "the whole answer is no answer");
        if let Poll::Ready(result) = connector.poll(now) {
            break result.expect("a good answer");
        }
    };
    let mut is_over = read_all(&mut stream, &mut outcome);
    while !is_over && next(&mut peer) {
        is_over = read_all(&mut stream, &mut outcome);
    }
    outcome.sent = contents(&peer.receive());
    peer.close();
    read_all(&mut stream, &mut outcome);
    outcome
}

/// The answer's length, which is the same for every key.
fn answer_length() -> usize {
    let (mut connector, script) = over_memory("hub.example", 443);
    let (_peer, request) = ask(&mut connector, &script, Now::system());
    yes(&request).len()
}

/// Where every byte comes alone, every ping is answered.
fn byte_by_byte(frames: &[u8]) -> Outcome {
    run(frames, |_| 1)
}

#[test]
fn byte_by_byte_the_session_is_what_it_should_be() {
    let outcome = byte_by_byte(&session());
    assert_eq!((outcome.read, &*outcome.end), (packets(), "end"));
    let pongs = [b"are you there?".to_vec(), vec![], vec![7; 125]].map(|payload| (PONG, payload));
    assert_eq!(outcome.sent, pongs);
}

/// What must not depend on the cuts. Which pings are answered may: a newer one takes the place of one that waits.
fn check(outcome: &Outcome, expected: &Outcome, what: &dyn std::fmt::Display) {
    assert_eq!(outcome.read, expected.read, "{what}");
    assert_eq!(outcome.end, expected.end, "{what}");
    let mut answers = expected.sent.iter();
    assert!(outcome.sent.iter().all(|sent| answers.any(|answer| answer == sent)), "{what}: {:?}", outcome.sent);
    // A server that has broken the rules gets no answer to what it sent with that.
    if !expected.end.contains("broke the WebSocket protocol") {
        assert_eq!(outcome.sent.last(), expected.sent.last(), "{what}");
    }
}

#[test]
fn the_session_may_be_cut_in_two_anywhere() {
    for ending in [&b""[..], &close(1000, "done"), &close(1008, "no more"), &[FIN | 0x3, 0]] {
        let frames = [&session()[..], ending].concat();
        let expected = byte_by_byte(&frames);
        for first in 1..=answer_length() + frames.len() {
            let mut sizes = [first].into_iter();
            check(&run(&frames, |left| sizes.next().unwrap_or(left)), &expected, &first);
        }
    }
}

#[test]
fn the_session_may_be_cut_in_many_pieces_and_end_anywhere() {
    let session = session();
    let goodbyes: [&[u8]; 4] = [b"", &close(1000, ""), &close(1011, "sorry"), &frame(FIN | CLOSE, b"")];
    let mut expected = BTreeMap::new();
    for seed in 0..10_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let end = if random.bool() { session.len() } else { random.usize(0..session.len()) };
        let goodbye = random.usize(0..goodbyes.len());
        let frames = [&session[..end], goodbyes[goodbye]].concat();
        let largest = [5, 30, 500][random.usize(0..3)];
        let expected = expected.entry((end, goodbye)).or_insert_with(|| byte_by_byte(&frames));
        check(&run(&frames, |_| random.usize(1..=largest)), expected, &seed);
    }
}
