//! An MQTT broker that only answers: CONNACK, SUBACK, PINGRESP, and a PUBACK for each publish, many in one write; in a
//! WebSocket for whom asks for one.
//!
//! With and without a WebSocket it keeps the same rhythm, which is a good part of a client's cost: what has come of a frame is
//! answered before its rest is there, as by any server that reads a WebSocket as a stream, and a frame of answers leaves in
//! one write with its header. A header in a TLS record of its own would wake the client for nothing.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Sink;
use crate::support::rival::wall_nanos;

/// How many messages a subscriber gets, and how far apart.
pub(crate) const PUSHES: usize = 400;
const PUSH_PAUSE: Duration = Duration::from_millis(3);

/// Where the pushed messages go.
pub(crate) const PUSH_TOPIC: &str = "devices/bench/messages/devicebound/";

/// Starts one.
pub(crate) fn start() -> Sink {
    Sink::listen(serve)
}

/// Serves one connection to its end.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let (mut pending, mut answers) = (Vec::new(), Vec::new());
    let mut chunk = vec![0; 64 * 1024];
    let mut web_socket: Option<Unmasker> = None;
    loop {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        match &mut web_socket {
            Some(unmasker) => unmasker.take(&mut chunk[..count], &mut pending),
            None => pending.extend_from_slice(&chunk[..count]),
        }
        if web_socket.is_none() && pending.starts_with(b"GET ") {
            let Some(answer) = upgrade(&pending) else { continue };
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
            pending.clear();
            web_socket = Some(Unmasker::default());
        }
        let mut done = 0;
        let mut subscribed = false;
        // Room for the longest header, so that header and answers leave in one write.
        answers.resize(HEADROOM, 0);
        while let Some((packet, length)) = packet(&pending[done..]) {
            subscribed |= packet[0] >> 4 == 8;
            answer(packet, &mut answers);
            done += length;
        }
        pending.drain(..done);
        if answers.len() > HEADROOM {
            let start = if web_socket.is_some() { put_header(&mut answers) } else { HEADROOM };
            stream.write_all(&answers[start..]).await?;
            stream.flush().await?;
        }
        answers.clear();
        if subscribed {
            push(&mut stream).await;
        }
    }
}

/// The answer to a whole request for a WebSocket.
fn upgrade(request: &[u8]) -> Option<String> {
    let request = std::str::from_utf8(request).ok().filter(|text| text.ends_with("\r\n\r\n"))?;
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))?;
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    ))
}

/// Takes the payload out of a client's frames as it comes, also of a frame that has only begun.
#[derive(Default)]
struct Unmasker {
    /// A header that has not come whole.
    header: Vec<u8>,
    /// How much of a frame's payload is to come.
    left: usize,
    /// Its mask, turned so that it begins with the next byte.
    mask: [u8; 4],
}

impl Unmasker {
    fn take(&mut self, mut bytes: &mut [u8], payload: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.left == 0 {
                self.header.push(bytes[0]);
                bytes = &mut bytes[1..];
                self.begin();
                continue;
            }
            let (masked, rest) = bytes.split_at_mut(self.left.min(bytes.len()));
            unmask(masked, self.mask);
            payload.extend_from_slice(masked);
            self.left -= masked.len();
            self.mask.rotate_left(masked.len() % 4);
            bytes = rest;
        }
    }

    /// Begins a frame if its header is there: two bytes, the length in two more if it says 126, and the mask.
    fn begin(&mut self) {
        let (length, mask) = match self.header[..] {
            [_, second, high, low, a, b, c, d] if second & 0x7f == 126 => {
                (usize::from(u16::from_be_bytes([high, low])), [a, b, c, d])
            }
            [_, second, a, b, c, d] if second & 0x7f < 126 => (usize::from(second & 0x7f), [a, b, c, d]),
            _ => return,
        };
        (self.left, self.mask) = (length, mask);
        self.header.clear();
    }
}

/// Eight bytes at a time, as every server does: a slow sink would change the client's rhythm.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// The longest header of a binary message of less than 64 KiB.
const HEADROOM: usize = 4;

/// Puts the header right before the message that begins after `HEADROOM` bytes; returns where it begins.
fn put_header(frame: &mut [u8]) -> usize {
    match frame.len() - HEADROOM {
        short @ ..126 => {
            frame[2..HEADROOM].copy_from_slice(&[0x82, short as u8]);
            2
        }
        long => {
            frame[..2].copy_from_slice(&[0x82, 126]);
            frame[2..HEADROOM].copy_from_slice(&(long as u16).to_be_bytes());
            0
        }
    }
}

/// The first packet, its first byte followed by its body, and how long it is with its length.
fn packet(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (mut length, mut at) = (0, 1);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    // The body follows its length, so the type goes with the last byte of that.
    bytes.get(..at + length).map(|whole| (whole, at + length))
}

fn answer(packet: &[u8], out: &mut Vec<u8>) {
    let header = 1 + packet[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let body = &packet[header..];
    match packet[0] >> 4 {
        1 => out.extend([0x20, 2, 0, 0]),
        3 => {
            let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
            out.extend([0x40, 2, body[2 + topic], body[3 + topic]]);
        }
        8 => out.extend([0x90, 3, body[0], body[1], 0]),
        12 => out.extend([0xd0, 0]),
        _ => {}
    }
}

/// Messages with the time of their sending, for who measures how late they are seen.
async fn push(stream: &mut (impl AsyncWrite + Unpin)) {
    for _ in 0..PUSHES {
        tokio::time::sleep(PUSH_PAUSE).await;
        let mut packet = vec![0x30, (2 + PUSH_TOPIC.len() + 8) as u8, 0, PUSH_TOPIC.len() as u8];
        packet.extend_from_slice(PUSH_TOPIC.as_bytes());
        packet.extend(wall_nanos().to_be_bytes());
        if stream.write_all(&packet).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}
