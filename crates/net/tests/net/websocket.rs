//! The byte stream inside a WebSocket.

use std::io::{ErrorKind, Read, Write};

use iothub_net::Stream;

use crate::support::websocket::{
    BINARY, CLOSE, CONTINUE, FIN, PING, PONG, TEXT, binary, close, contents, frame, frames, open,
};

fn read(stream: &mut Stream) -> Result<Vec<u8>, (ErrorKind, String)> {
    let mut buf = vec![0; 1024];
    let read = stream.read(&mut buf).map_err(|error| (error.kind(), error.to_string()))?;
    buf.truncate(read);
    Ok(buf)
}

fn send(stream: &mut Stream, bytes: &[u8]) {
    stream.write_all(bytes).expect("room");
    stream.flush().expect("room");
}

#[test]
fn bytes_go_both_ways() {
    let (mut stream, mut peer) = open();
    send(&mut stream, b"to the hub");
    assert_eq!(contents(&peer.receive()), [(BINARY, b"to the hub".to_vec())]);
    peer.send(&binary(b"to the device"));
    assert_eq!(read(&mut stream), Ok(b"to the device".to_vec()));
    assert_eq!(read(&mut stream).expect_err("nothing more").0, ErrorKind::WouldBlock);
}

#[test]
fn every_length_of_payload_survives_both_ways() {
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 200_000] {
        let (mut stream, mut peer) = open();
        let payload: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        send(&mut stream, &payload);
        let sent = frames(&peer.receive());
        assert_eq!(sent.iter().flat_map(|frame| frame.payload.clone()).collect::<Vec<_>>(), payload);
        assert!(sent.iter().all(|frame| !frame.payload.is_empty() && frame.payload.len() <= 65_536), "{length}");

        peer.send(&binary(&payload));
        let mut received = Vec::new();
        while received.len() < length {
            received.extend(read(&mut stream).expect("the rest"));
        }
        assert_eq!(received, payload);
    }
}

#[test]
fn small_writes_share_a_frame_and_wait_for_the_flush() {
    let (mut stream, mut peer) = open();
    for _ in 0..100 {
        stream.write_all(b"packet").expect("room");
    }
    assert_eq!(peer.receive(), b"");
    assert!(stream.wants_write());
    stream.flush().expect("room");
    assert!(!stream.wants_write());
    assert_eq!(contents(&peer.receive()), [(BINARY, b"packet".repeat(100))]);
}

#[test]
fn every_frame_has_a_mask_of_its_own() {
    let (mut stream, mut peer) = open();
    let mut masks = Vec::new();
    for _ in 0..8 {
        send(&mut stream, b"the same");
        masks.extend(frames(&peer.receive()).into_iter().map(|frame| frame.mask));
    }
    masks.sort_unstable();
    masks.dedup();
    // Two of eight are alike once in 150 million runs.
    assert_eq!(masks.len(), 8);
}

#[test]
fn one_read_may_take_several_frames_and_one_frame_several_reads() {
    let (mut stream, mut peer) = open();
    peer.send(&[binary(b"one"), binary(b""), binary(b"two")].concat());
    assert_eq!(read(&mut stream), Ok(b"onetwo".to_vec()));
    peer.send(&binary(b"three"));
    peer.limit_reads(3);
    let mut received = Vec::new();
    while received.len() < 5 {
        received.extend(read(&mut stream).expect("the rest"));
    }
    assert_eq!(received, b"three");
}

#[test]
fn half_a_frame_is_readable_as_far_as_it_has_come() {
    let (mut stream, mut peer) = open();
    let frame = binary(b"a packet");
    peer.send(&frame[..5]);
    assert_eq!(read(&mut stream), Ok(b"a p".to_vec()));
    assert_eq!(read(&mut stream).expect_err("nothing more").0, ErrorKind::WouldBlock);
    peer.send(&frame[5..]);
    assert_eq!(read(&mut stream), Ok(b"acket".to_vec()));
}

#[test]
fn fragments_are_one_stream_and_control_frames_come_between_them() {
    let (mut stream, mut peer) = open();
    let fragments = [
        frame(BINARY, b"a mess"),
        frame(FIN | PING, b"there?"),
        frame(CONTINUE, b""),
        frame(FIN | PONG, b"unasked"),
        frame(CONTINUE, b"age in "),
        frame(FIN | CONTINUE, b"pieces"),
        binary(", and another".as_bytes()),
    ];
    peer.send(&fragments.concat());
    assert_eq!(read(&mut stream), Ok(b"a message in pieces, and another".to_vec()));
    assert_eq!(contents(&peer.receive()), [(PONG, b"there?".to_vec())]);
}

#[test]
fn a_ping_is_answered_without_a_flush_and_with_its_own_bytes() {
    let (mut stream, mut peer) = open();
    for payload in [&b""[..], b"42", &[7; 125]] {
        peer.send(&frame(FIN | PING, payload));
        assert_eq!(read(&mut stream).expect_err("no data").0, ErrorKind::WouldBlock);
        assert_eq!(contents(&peer.receive()), [(PONG, payload.to_vec())]);
    }
}

#[test]
fn pings_that_cannot_be_answered_yet_get_one_answer_to_the_last() {
    let (mut stream, mut peer) = open();
    peer.set_capacity(0);
    for number in 0..1000_u16 {
        let payload = [&number.to_be_bytes()[..], &[0; 123]].concat();
        peer.send(&frame(FIN | PING, &payload));
        assert_eq!(read(&mut stream).expect_err("no data").0, ErrorKind::WouldBlock);
    }
    assert!(stream.wants_write(), "the owner must know that there is something to flush");
    peer.set_capacity(1 << 20);
    stream.flush().expect("room");
    let pongs = contents(&peer.receive());
    assert!(pongs.len() < 1000 && pongs.iter().all(|(opcode, _)| *opcode == PONG), "{} answers", pongs.len());
    assert_eq!(pongs.last().expect("an answer").1[..2], 999_u16.to_be_bytes());
}

#[test]
fn a_pong_does_not_tear_a_frame_apart() {
    let (mut stream, mut peer) = open();
    peer.set_capacity(10);
    stream.write_all(&[1; 1000]).expect("room");
    assert_eq!(stream.flush().expect_err("no room").kind(), ErrorKind::WouldBlock);
    peer.send(&frame(FIN | PING, b"there?"));
    assert_eq!(read(&mut stream).expect_err("no data").0, ErrorKind::WouldBlock);
    stream.write_all(b"more").expect("room");
    let mut received = peer.receive();
    peer.set_capacity(1 << 20);
    stream.flush().expect("room");
    received.extend(peer.receive());
    assert_eq!(contents(&received), [(BINARY, vec![1; 1000]), (PONG, b"there?".to_vec()), (BINARY, b"more".to_vec())]);
}

#[test]
fn a_peer_that_does_not_read_blocks_the_writer_and_loses_nothing() {
    let (mut stream, mut peer) = open();
    peer.set_capacity(1000);
    let payload: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    let (mut written, mut received) = (0, Vec::new());
    while written < payload.len() {
        match stream.write(&payload[written..]) {
            Ok(count) => written += count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                assert!(written - received.len() < 300 * 1024, "what is held is bounded");
                received.extend(peer.receive());
            }
        }
    }
    while stream.flush().is_err() {
        received.extend(peer.receive());
    }
    received.extend(peer.receive());
    let sent: Vec<u8> = frames(&received).into_iter().flat_map(|frame| frame.payload).collect();
    assert_eq!(sent.len(), payload.len());
    assert!(sent == payload);
}

/// What reading comes to, and the close code that the server gets.
fn broken(bytes: &[u8]) -> (String, u16) {
    let (mut stream, mut peer) = open();
    peer.send(&[&binary(b"before")[..], bytes].concat());
    assert_eq!(read(&mut stream), Ok(b"before".to_vec()), "what came before a fault is read first");
    let (kind, text) = read(&mut stream).expect_err("a broken rule");
    assert_eq!(kind, ErrorKind::InvalidData);
    assert_eq!(read(&mut stream).expect_err("it stays broken").1, text);
    assert_eq!(stream.write(b"more").expect_err("it is over").kind(), ErrorKind::BrokenPipe);
    drop(stream);
    let said = contents(&peer.receive());
    let [(CLOSE, code)] = &said[..] else { panic!("{said:?}") };
    (text, u16::from_be_bytes(code[..].try_into().unwrap()))
}

#[test]
fn what_the_protocol_forbids_is_an_error_that_names_it() {
    let long = |length: u64| [&[FIN | BINARY, 127][..], &length.to_be_bytes()].concat();
    let masked = [FIN | BINARY, 0x81, 1, 2, 3, 4, 5];
    let table: &[(&[u8], &str)] = &[
        (&masked, "a masked frame, which only a client may send"),
        (&frame(FIN | 0x40 | BINARY, b"x"), "a frame of an extension that was not agreed on"),
        (&frame(FIN | 0x20 | BINARY, b"x"), "a frame of an extension that was not agreed on"),
        (&frame(FIN | 0x10 | BINARY, b"x"), "a frame of an extension that was not agreed on"),
        (&frame(FIN | 0x3, b"x"), "a frame of an unknown kind"),
        (&frame(FIN | 0xB, b"x"), "a frame of an unknown kind"),
        (&frame(PING, b"x"), "a control frame in pieces"),
        (&frame(FIN | PING, &[0; 126]), "a control frame of more than 125 bytes"),
        (&frame(FIN | CONTINUE, b"x"), "the continuation of no message"),
        (&[frame(BINARY, b""), binary(b"")].concat(), "a new message in the middle of another"),
        (&long(1 << 63), "a frame of more than 2^63 bytes"),
        (&frame(FIN | CLOSE, b"x"), "a close with half a code"),
        (&close(1005, ""), "a close with a code that is never sent"),
        (&close(999, ""), "a close with a code that is never sent"),
        (&frame(FIN | CLOSE, b"\x03\xe8\xff"), "a close with a reason that is not UTF-8"),
    ];
    for (bytes, expected) in table {
        let (text, code) = broken(bytes);
        assert_eq!((text, code), (format!("the server broke the WebSocket protocol: {expected}"), 1002));
    }
}

#[test]
fn a_text_message_is_refused_as_data_that_is_not_understood() {
    let (text, code) = broken(&frame(FIN | TEXT, b"hello"));
    assert!(text.ends_with("a text message, where only binary ones are expected"), "{text}");
    assert_eq!(code, 1003);
}

#[test]
fn a_frame_that_claims_to_be_huge_is_read_as_it_comes() {
    let (mut stream, mut peer) = open();
    peer.send(&[&[FIN | BINARY, 127][..], &(1_u64 << 62).to_be_bytes(), b"its beginning"].concat());
    assert_eq!(read(&mut stream), Ok(b"its beginning".to_vec()));
}

#[test]
fn a_server_that_sends_nothing_but_control_frames_does_not_hold_the_reader() {
    let flood = [frame(FIN | PING, &[0; 125]), frame(BINARY, b""), frame(FIN | CONTINUE, b"")].concat().repeat(1000);
    let (mut stream, mut peer) = open();
    peer.send(&flood);
    let (kind, text) = read(&mut stream).expect_err("it must end");
    assert_eq!(kind, ErrorKind::InvalidData, "{text}");
    // In portions over time they are fine.
    let (mut stream, mut peer) = open();
    for portion in flood.chunks(4096) {
        peer.send(portion);
        assert_eq!(read(&mut stream).expect_err("no data").0, ErrorKind::WouldBlock);
    }
}

#[test]
fn a_close_in_order_is_an_end_and_is_answered() {
    for (goodbye, answer) in [
        (frame(FIN | CLOSE, b""), vec![]),
        (close(1000, ""), 1000_u16.to_be_bytes().to_vec()),
        (close(1001, "the hub goes away"), 1001_u16.to_be_bytes().to_vec()),
    ] {
        let (mut stream, mut peer) = open();
        stream.write_all(b"not flushed").expect("room");
        peer.send(&[binary(b"last words"), goodbye, binary(b"ignored")].concat());
        assert_eq!(read(&mut stream), Ok(b"last words".to_vec()));
        assert_eq!((read(&mut stream), read(&mut stream)), (Ok(vec![]), Ok(vec![])));
        assert_eq!(stream.write(b"more").expect_err("it is over").kind(), ErrorKind::BrokenPipe);
        drop(stream);
        assert_eq!(contents(&peer.receive()), [(CLOSE, answer)], "answered once, and nothing follows");
    }
}

#[test]
fn a_close_with_a_reason_is_an_error_that_quotes_it() {
    for (code, reason, expected) in [
        (1008, "quota exceeded\n", "the server closed the WebSocket with code 1008 quota exceeded?"),
        (1011, "", "the server closed the WebSocket with code 1011"),
        (4000, "x", "the server closed the WebSocket with code 4000 x"),
    ] {
        let (mut stream, mut peer) = open();
        peer.send(&close(code, reason));
        assert_eq!(read(&mut stream), Err((ErrorKind::ConnectionAborted, expected.to_owned())));
        assert_eq!(contents(&peer.receive()), [(CLOSE, code.to_be_bytes().to_vec())]);
    }
}

#[test]
fn an_end_without_a_close_is_an_end() {
    for bytes in [&b""[..], &binary(b"whole")[..], &binary(b"half")[..3], &frame(BINARY, b"fragment")] {
        let (mut stream, mut peer) = open();
        peer.send(bytes);
        peer.close();
        while read(&mut stream).expect("no fault") != b"" {}
    }
}

#[test]
fn a_connection_that_breaks_is_an_error() {
    let (mut stream, mut peer) = open();
    peer.send(&binary(b"first"));
    peer.cut_after_sent();
    assert_eq!(read(&mut stream), Ok(b"first".to_vec()));
    assert_eq!(read(&mut stream).expect_err("broken").0, ErrorKind::ConnectionReset);
}

#[test]
fn shutdown_sends_what_was_written_says_goodbye_and_hangs_up() {
    let (mut stream, mut peer) = open();
    stream.write_all(b"DISCONNECT").expect("room");
    stream.shutdown();
    let said = contents(&peer.receive());
    assert_eq!(said, [(BINARY, b"DISCONNECT".to_vec()), (CLOSE, 1000_u16.to_be_bytes().to_vec())]);
    assert!(peer.is_closed_by_client());
    assert_eq!(read(&mut stream).expect_err("it was shut down").0, ErrorKind::NotConnected);
}

#[test]
fn shutdown_of_a_stream_whose_peer_does_not_read_ends_all_the_same() {
    let (mut stream, mut peer) = open();
    peer.set_capacity(5);
    stream.write_all(b"a long goodbye").expect("room");
    stream.shutdown();
    assert!(peer.is_closed_by_client());
}

#[test]
fn frames_that_come_with_the_answer_are_not_lost() {
    use crate::support::websocket::{ask, over_memory, yes};
    use iothub_net::Connect;
    let (mut connector, script) = over_memory("hub.example", 443);
    let now = iothub_core::Now::system();
    let (mut peer, request) = ask(&mut connector, &script, now);
    peer.send(&[yes(&request).as_bytes(), &binary(b"early"), &binary(b" bird")[..4]].concat());
    let std::task::Poll::Ready(Ok(mut stream)) = connector.poll(now) else { panic!("the server said yes") };
    assert_eq!(read(&mut stream), Ok(b"early b".to_vec()));
    peer.send(&binary(b" bird")[4..]);
    assert_eq!(read(&mut stream), Ok(b"ird".to_vec()));
}

#[test]
fn debug_shows_host_and_port_only() {
    let (stream, _peer) = open();
    assert_eq!(format!("{stream:?}"), "Stream(hub.example:443)");
}
