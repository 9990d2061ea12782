//! The server's side of a WebSocket in memory: plain functions over bytes, written for the tests alone.

use std::task::Poll;
use std::time::Duration;

use iothub_core::{ConnectionError, Now};
use iothub_net::memory::{self, PeerEnd, Script};
use iothub_net::{Connect, Stream, WebSocketConnector};

use super::TIMEOUT;

pub(crate) const CONTINUE: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// Set in the first byte of a message's last frame.
pub(crate) const FIN: u8 = 0x80;

/// A server's frame: `first` is its first byte.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ ..126 => frame.push(short as u8),
        middle @ ..65_536 => {
            frame.push(126);
            frame.extend((middle as u16).to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// A whole binary message.
pub(crate) fn binary(payload: &[u8]) -> Vec<u8> {
    frame(FIN | BINARY, payload)
}

/// A close with a code and a reason.
pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// A frame of the client, unmasked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) mask: [u8; 4],
    pub(crate) payload: Vec<u8>,
}

/// The frames of a client; they must be whole, final and masked.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        assert_eq!(first & 0xF0, FIN, "a client's frame is a whole message of no extension");
        assert_ne!(second & 0x80, 0, "a client's frame is masked");
        let (length, rest) = match second & 0x7F {
            126 => (u64::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()), &rest[8..]),
            short => (u64::from(short), rest),
        };
        let (mask, rest) = rest.split_at(4);
        let (payload, rest) = rest.split_at(length as usize);
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        frames.push(Frame { opcode: first & 0x0F, mask: mask.try_into().unwrap(), payload });
        bytes = rest;
    }
    assert_eq!(bytes, b"", "half a frame");
    frames
}

/// The frames' opcodes and payloads.
pub(crate) fn contents(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    frames(bytes).into_iter().map(|frame| (frame.opcode, frame.payload)).collect()
}

/// What the key of this request is answered with.
pub(crate) fn accept_key(request: &str) -> String {
    let line = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
    tungstenite::handshake::derive_accept_key(line.as_bytes())
}

/// The answer of a server that says yes.
pub(crate) fn yes(request: &str) -> String {
    let accept = accept_key(request);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
}

/// A connector over memory.
pub(crate) fn over_memory(host: &str, port: u16) -> (WebSocketConnector, Script) {
    let (connect, script) = memory::network(host, port);
    let connector = WebSocketConnector::new(Box::new(connect), "/$iothub/websocket", "mqtt", TIMEOUT);
    (connector.expect("a good path"), script)
}

/// Begins to connect, and returns the request.
pub(crate) fn ask(connector: &mut WebSocketConnector, script: &Script, now: Now) -> (PeerEnd, String) {
    let mut peer = script.accept();
    connector.start(now);
    assert!(connector.poll(now).is_pending());
    let request = String::from_utf8(peer.receive()).expect("text");
    (peer, request)
}

/// What an attempt comes to whose request is answered like this.
pub(crate) fn answered(answer: impl FnOnce(&str) -> String) -> Poll<Result<Stream, ConnectionError>> {
    let (mut connector, script) = over_memory("hub.example", 443);
    let now = Now::system();
    let (mut peer, request) = ask(&mut connector, &script, now);
    peer.send(answer(&request).as_bytes());
    connector.poll(now + Duration::ZERO)
}

/// An open WebSocket and its other end.
pub(crate) fn open() -> (Stream, PeerEnd) {
    let (mut connector, script) = over_memory("hub.example", 443);
    let now = Now::system();
    let (mut peer, request) = ask(&mut connector, &script, now);
    peer.send(yes(&request).as_bytes());
    let Poll::Ready(Ok(stream)) = connector.poll(now) else { panic!("the server said yes") };
    (stream, peer)
}
