//! A hub that says what no decoder should be given: the connection ends, and the next one works.

use iothub_client::{ConnectionErrorKind, Feature};

use crate::bench::{Bench, Seen, done};

/// A frame on the device's channel: the first is for tokens.
fn frame(body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(8 + body.len()).unwrap();
    [&size.to_be_bytes()[..], &[2, 0, 0, 1], body].concat()
}

/// A list of these encoded values.
fn list(values: &[&[u8]]) -> Vec<u8> {
    let inside = values.concat();
    let size = u32::try_from(4 + inside.len()).unwrap();
    let count = u32::try_from(values.len()).unwrap();
    [&[0xd0][..], &size.to_be_bytes(), &count.to_be_bytes(), &inside].concat()
}

/// Lists in lists. Each level costs nine bytes.
fn nested(size: usize) -> Vec<u8> {
    let mut levels = Vec::new();
    for left in (0..size / 9).rev().map(|level| level * 9) {
        levels.push(0xd0);
        levels.extend(u32::try_from(4 + left).unwrap().to_be_bytes());
        levels.extend([0, 0, 0, u8::from(left > 0)]);
    }
    levels
}

/// A transfer on the link for messages: the first is the one for telemetry.
fn transfer(more: bool, payload: &[u8]) -> Vec<u8> {
    let more = if more { 0x41 } else { 0x42 };
    let fields = list(&[&[0x52, 1], &[0x43], b"\xa0\x01t", &[0x43], &[0x42], &[more]]);
    frame(&[b"\x00\x53\x14", &fields[..], payload].concat())
}

/// The bench whose hub has said this: it is told, and everything works again.
fn is_refused(mut bench: Bench, bytes: &[u8], words: &str) {
    bench.hub_says(bytes);
    match bench.work().as_slice() {
        [Seen::Down(ConnectionErrorKind::Protocol { detail })] => assert!(detail.contains(words), "{detail}"),
        other => panic!("{other:?}"),
    }
    bench.hub_notices();
    bench.connect();
    bench.send_all([1]);
    assert_eq!(bench.work(), [done(1)]);
}

#[test]
fn a_frame_that_is_too_short_for_its_header_ends_the_connection_and_not_the_client() {
    is_refused(Bench::connected(), &[0, 0, 0, 5, 2, 0, 0, 0], "5 bytes");
    is_refused(Bench::connected(), &[0, 0, 0, 4, 2, 0, 0, 0], "4 bytes");
}

#[test]
fn a_performative_that_is_nested_without_end_ends_the_connection_and_not_the_client() {
    let mut properties = list(&[b"\xa3\x01k", &nested(60_000)]);
    properties[0] = 0xd1;
    let mut fields = vec![&[0x40][..]; 10];
    // The windows and numbers of a flow that must be there.
    fields[..4].copy_from_slice(&[&[0x43], &[0x52, 100], &[0x43], &[0x52, 100]]);
    fields.push(&properties);
    let flow = frame(&[b"\x00\x53\x13", &list(&fields)[..]].concat());
    is_refused(Bench::connected(), &flow, "nested too deep");
    is_refused(Bench::connected(), &frame(&[0; 60_000]), "no number of a performative");
}

/// A bench with a link for messages.
fn listening() -> Bench {
    let mut bench = Bench::connected();
    bench.subscribe(&[Feature::CloudToDevice]);
    assert_eq!(bench.work(), []);
    bench
}

#[test]
fn a_message_that_is_nested_without_end_ends_the_connection_and_not_the_client() {
    let value = [b"\x00\x53\x77", &nested(60_000)[..]].concat();
    is_refused(listening(), &transfer(false, &value), "nested too deep");
    for message in [[b"\x00\x53\x77", &nested(900_000)[..]].concat(), vec![0; 900_000]] {
        let mut pieces: Vec<_> = message.chunks(50_000).map(|piece| transfer(true, piece)).collect();
        pieces.push(transfer(false, b""));
        is_refused(listening(), &pieces.concat(), "nested too deep");
    }
}

#[test]
fn a_message_in_pieces_that_is_what_it_says_arrives() {
    let mut bench = listening();
    let text = "text ".repeat(30_000);
    let size = u32::try_from(text.len()).unwrap();
    let message = [&b"\x00\x53\x75\xb0"[..], &size.to_be_bytes(), text.as_bytes()].concat();
    let mut pieces: Vec<_> = message.chunks(50_000).map(|piece| transfer(true, piece)).collect();
    pieces.push(transfer(false, b""));
    bench.hub_says(&pieces.concat());
    match bench.work().as_slice() {
        [Seen::Message(of, _)] => assert!(*of == text),
        other => panic!("{other:?}"),
    }
}
