//! A WebSocket: there is one only where the server has proved that it read the request; the bytes that are read are
//! those of the binary messages, found here by hand; and what the client sends are whole masked frames of what was
//! written, with pongs that were asked for.
//!
//! The script:
//!
//! | Step | What happens |
//! |---|---|
//! | `y` | the server answers the request as it must |
//! | `h <bytes>` | the server sends these bytes; `ACCEPT` in them is the key that the answer must have |
//! | `b`, `f`, `g`, `e`, `t <bytes>` | it sends a binary message, its first fragment, one in the middle, the last, a text |
//! | `i`, `o <bytes>` | it sends a ping, a pong |
//! | `x n <bytes>` | it closes with code 1000 + n and a reason |
//! | `r n` | the client reads pieces of n + 1 bytes until there are no more |
//! | `w <bytes>`, `u` | it writes, it flushes |
//! | `k n` | the network takes 2n bytes until the server reads them |
//! | `l n` | the client gets n bytes at once |
//! | `q`, `z` | the server hangs up, the connection breaks |

use std::io::{ErrorKind, Read, Write};
use std::task::Poll;
use std::time::Duration;

use iothub_core::ConnectionErrorKind;
use iothub_net::memory::{self, PeerEnd};
use iothub_net::{Connect, Stream, WebSocketConnector};

use super::script::Script;
use super::world;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Runs one script.
pub fn run(input: &[u8]) {
    let (below, network) = memory::network(world::HUB, 443);
    let mut peer = network.accept();
    let path = "/$iothub/websocket";
    let mut connector = WebSocketConnector::new(Box::new(below), path, "mqtt", TIMEOUT).expect("a good path");
    connector.start(world::start());
    assert!(connector.poll(world::start()).is_pending());
    let request = String::from_utf8(peer.receive()).expect("a request is text");
    let accept = accept(&request);

    let mut script = Script::new(input);
    let mut answer = Vec::new();
    while let Some(step) = script.step() {
        let sent = answer.len();
        match step {
            'y' => answer.extend(yes(&accept).bytes()),
            'h' => answer.extend(with_accept(script.bytes(), &accept)),
            'q' => peer.close(),
            'z' => peer.cut_after_sent(),
            'l' => peer.limit_reads(script.number()),
            _ => {}
        }
        peer.send(&answer[sent..]);
        match connector.poll(world::start()) {
            Poll::Pending => {}
            Poll::Ready(Err(error)) => return is_told(&error.kind),
            Poll::Ready(Ok(stream)) => {
                let text = String::from_utf8_lossy(&answer);
                assert!(text.contains(&accept), "whoever has not read the request cannot answer it");
                return Session::new(stream, peer, behind_head(&answer).to_vec()).run(script);
            }
        }
    }
    let Poll::Ready(Err(error)) = connector.poll(world::start() + TIMEOUT) else { panic!("it waits for ever") };
    is_told(&error.kind);
}

/// What the request's key is answered with.
fn accept(request: &str) -> String {
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
    tungstenite::handshake::derive_accept_key(key.as_bytes())
}

fn yes(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
}

fn with_accept(bytes: &[u8], accept: &str) -> Vec<u8> {
    let mark = b"ACCEPT";
    match bytes.windows(mark.len()).position(|window| window == mark) {
        Some(at) => [&bytes[..at], accept.as_bytes(), &bytes[at + mark.len()..]].concat(),
        None => bytes.to_vec(),
    }
}

/// What follows the first empty line that is not at the beginning.
fn behind_head(answer: &[u8]) -> &[u8] {
    let start = answer.iter().position(|byte| !b"\r\n".contains(byte)).expect("not only empty lines");
    let mut line = start;
    loop {
        let end = line + answer[line..].iter().position(|byte| *byte == b'\n').expect("another line") + 1;
        if matches!(answer[line..end], [b'\n'] | [b'\r', b'\n']) {
            return &answer[end..];
        }
        line = end;
    }
}

/// The error can stand in a log.
fn is_told(kind: &ConnectionErrorKind) {
    let text = kind.to_string();
    assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.len() < 500, "{text}");
}

/// An open WebSocket, and what its two ends have done so far.
struct Session {
    stream: Stream,
    peer: PeerEnd,
    /// What the server has sent since the answer, and what the client has read of it.
    sent: Vec<u8>,
    read: Vec<u8>,
    /// How reading ended, if it did.
    ended: Option<ErrorKind>,
    /// What the client has written, and what has come of it.
    written: Vec<u8>,
    received: Vec<u8>,
    /// Whether the server still takes bytes.
    hears: bool,
}

impl Session {
    /// `early` is what the server has sent with its answer.
    fn new(stream: Stream, peer: PeerEnd, early: Vec<u8>) -> Self {
        Self {
            stream,
            peer,
            sent: early,
            read: Vec::new(),
            ended: None,
            written: Vec::new(),
            received: Vec::new(),
            hears: true,
        }
    }

    fn run(mut self, mut script: Script<'_>) {
        while let Some(step) = script.step() {
            match step {
                'h' => self.send(script.bytes().to_vec()),
                'b' => self.send(frame(0x82, script.bytes())),
                'f' => self.send(frame(0x02, script.bytes())),
                'g' => self.send(frame(0x00, script.bytes())),
                'e' => self.send(frame(0x80, script.bytes())),
                't' => self.send(frame(0x81, script.bytes())),
                'i' => self.send(frame(0x89, script.bytes())),
                'o' => self.send(frame(0x8A, script.bytes())),
                'x' => {
                    let code = 1000 + script.number() as u16;
                    self.send(frame(0x88, &[&code.to_be_bytes(), script.bytes()].concat()));
                }
                'r' => self.read(script.number() + 1),
                'w' => self.write(script.bytes()),
                'u' => self.flush(),
                'k' => self.peer.set_capacity(script.number() * 2),
                'l' => self.peer.limit_reads(script.number()),
                'q' => {
                    self.take();
                    self.hears = false;
                    self.peer.close();
                }
                'z' => {
                    self.take();
                    self.hears = false;
                    self.peer.cut_after_sent();
                }
                _ => {}
            }
        }
        self.finish();
    }

    fn send(&mut self, bytes: Vec<u8>) {
        self.peer.send(&bytes);
        self.sent.extend(bytes);
    }

    fn read(&mut self, size: usize) {
        let mut buf = vec![0; size];
        loop {
            match self.stream.read(&mut buf) {
                Ok(0) => self.ended = Some(ErrorKind::UnexpectedEof),
                Ok(count) => {
                    assert!(self.ended.is_none(), "bytes after the end");
                    self.read.extend_from_slice(&buf[..count]);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(self.ended.is_none(), "more may come after the end");
                }
                Err(error) => {
                    is_printable(&error.to_string());
                    self.ended = Some(error.kind());
                }
            }
            return;
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        match self.stream.write(bytes) {
            Ok(count) => self.written.extend_from_slice(&bytes[..count]),
            Err(error) => is_printable(&error.to_string()),
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.stream.flush() {
            assert!(error.kind() != ErrorKind::WouldBlock || self.stream.wants_write());
        }
    }

    /// Takes what has come of the client.
    fn take(&mut self) {
        self.received.extend(self.peer.receive());
    }

    fn finish(mut self) {
        self.read(4096);
        if self.hears {
            // As long as the client has something, and the server takes it, there must be progress.
            self.peer.set_capacity(1 << 20);
            self.flush();
            self.take();
        }
        self.stream.shutdown();
        self.take();
        assert!(self.peer.is_closed_by_client());

        let expected = Reading::of(&self.sent);
        assert_eq!(self.read, expected.payload, "the payload of the binary messages");
        match (expected.end, self.ended) {
            (End::Nothing, ended) => assert_eq!(ended.is_some(), !self.hears, "{ended:?}"),
            (End::Closed { normal: true }, ended) => assert_eq!(ended, Some(ErrorKind::UnexpectedEof)),
            (End::Closed { normal: false }, ended) => assert_eq!(ended, Some(ErrorKind::ConnectionAborted)),
            (End::Broken, ended) => assert_eq!(ended, Some(ErrorKind::InvalidData)),
        }
        self.check_frames(&expected.pings);
    }

    /// What the client has sent: frames, masked, of what was written and of pongs that were asked for, and a close last.
    fn check_frames(&self, pings: &[Vec<u8>]) {
        let (mut rest, mut data, mut pings, mut is_closed) = (&self.received[..], Vec::new(), pings.iter(), false);
        while let Some((first, payload, behind)) = client_frame(rest) {
            assert!(!is_closed, "something follows the close");
            match first {
                0x82 => data.extend(payload),
                0x8A => assert!(pings.any(|ping| *ping == payload), "a pong that nobody asked for, or out of order"),
                0x88 => is_closed = true,
                other => panic!("a frame that begins with {other:#04x}"),
            }
            rest = behind;
        }
        assert!(self.written.starts_with(&data), "other bytes than were written");
        if self.hears && self.ended.is_none() {
            assert!(rest.is_empty() && is_closed, "the server takes everything, and hears a goodbye");
            assert_eq!(data, self.written, "all of it");
        }
    }
}

fn is_printable(text: &str) {
    assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.len() < 300, "{text}");
}

/// A server's frame with at most 255 bytes of payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u8;
    let header: &[u8] = if length < 126 { &[first, length] } else { &[first, 126, 0, length] };
    [header, payload].concat()
}

/// The first byte and the payload of a client's first frame, if it is whole, and what is behind it.
fn client_frame(bytes: &[u8]) -> Option<(u8, Vec<u8>, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&second, rest) = rest.split_first()?;
    assert_eq!(second & 0x80, 0x80, "a client's frame is masked");
    let (length, rest) = length(second, rest)?;
    let (mask, rest) = rest.split_at_checked(4)?;
    let (payload, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((first, payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect(), behind))
}

/// The length that the second byte of a frame, and those behind it, say.
fn length(second: u8, rest: &[u8]) -> Option<(u64, &[u8])> {
    let wide = match second & 0x7F {
        126 => 2,
        127 => 8,
        short => return Some((u64::from(short), rest)),
    };
    let (bytes, rest) = rest.split_at_checked(wide)?;
    Some((bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)), rest))
}

/// What a server's bytes mean, read slowly.
struct Reading {
    payload: Vec<u8>,
    pings: Vec<Vec<u8>>,
    end: End,
}

enum End {
    Nothing,
    Closed { normal: bool },
    Broken,
}

impl Reading {
    fn of(mut rest: &[u8]) -> Self {
        let mut reading = Self { payload: Vec::new(), pings: Vec::new(), end: End::Nothing };
        let mut in_message = false;
        while let Some((first, second, behind)) =
            rest.split_first_chunk().map(|([first, second], rest)| (*first, *second, rest))
        {
            let (is_final, opcode) = (first & 0x80 != 0, first & 0x0F);
            let Some((length, behind)) = length(second, behind) else { break };
            let (mask, behind) = match second & 0x80 {
                0 => (&[][..], behind),
                _ => match behind.split_at_checked(4) {
                    Some(split) => split,
                    None => break,
                },
            };
            let is_allowed = mask.is_empty()
                && first & 0x70 == 0
                && length < 1 << 63
                && match opcode {
                    0 => in_message,
                    2 => !in_message,
                    8..=10 => is_final && length <= 125,
                    _ => false,
                };
            if !is_allowed {
                reading.end = End::Broken;
                break;
            }
            let here = usize::try_from(length).unwrap_or(usize::MAX).min(behind.len());
            let (payload, behind) = behind.split_at(here);
            if opcode <= 2 {
                in_message = !is_final;
                reading.payload.extend_from_slice(payload);
            }
            if (here as u64) < length {
                break;
            }
            match (opcode, payload) {
                (9, _) => reading.pings.push(payload.to_vec()),
                (8, []) => reading.end = End::Closed { normal: true },
                (8, [high, low, reason @ ..]) => {
                    let code = u16::from_be_bytes([*high, *low]);
                    let is_sent = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                    let is_good = is_sent && std::str::from_utf8(reason).is_ok();
                    reading.end = if is_good { End::Closed { normal: code <= 1001 } } else { End::Broken };
                }
                (8, [_]) => reading.end = End::Broken,
                _ => {}
            }
            if !matches!(reading.end, End::Nothing) {
                break;
            }
            rest = behind;
        }
        reading
    }
}
