//! The front end of a hub that speaks WebSocket: HTTP and frames on the network's side, the protocol's bytes on the hub's. It frames
//! as a network may: messages in pieces, pings between them, a goodbye or none.

use tungstenite::handshake::derive_accept_key;

/// One connection's front end.
pub(crate) struct Front {
    subprotocol: &'static str,
    random: fastrand::Rng,
    /// What the client sent and is not used yet: a part of its request, then of a frame.
    received: Vec<u8>,
    is_open: bool,
    /// What goes to the client next.
    answers: Vec<u8>,
}

impl Front {
    pub(crate) fn new(subprotocol: &'static str, random: fastrand::Rng) -> Self {
        Self { subprotocol, random, received: Vec::new(), is_open: false, answers: Vec::new() }
    }

    /// Takes what came from the client, and gives the bytes inside.
    pub(crate) fn unwrap(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.received.extend_from_slice(bytes);
        if !self.is_open {
            let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") else { return Vec::new() };
            let request: Vec<u8> = self.received.drain(..end + 4).collect();
            self.answers.extend(answer(&String::from_utf8_lossy(&request), self.subprotocol).bytes());
            self.is_open = true;
        }
        let mut plain = Vec::new();
        while let Some((opcode, payload, length)) = frame(&self.received) {
            self.received.drain(..length);
            match opcode {
                0x2 => plain.extend(payload),
                // Answers to our pings, and a goodbye, which the end of the connection follows.
                0x8 | 0xA => {}
                other => panic!("the client sends a frame of kind {other:#x}"),
            }
        }
        plain
    }

    /// What goes to the client when the hub has written this.
    pub(crate) fn wrap(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.answers);
        if plain.is_empty() {
            return bytes;
        }
        let cut = if self.random.u8(0..4) == 0 { self.random.usize(0..=plain.len()) } else { plain.len() };
        let (first, second) = plain.split_at(cut);
        if second.is_empty() {
            put(&mut bytes, 0x82, first);
        } else {
            put(&mut bytes, 0x02, first);
            put(&mut bytes, 0x89, b"are you there?");
            put(&mut bytes, 0x80, second);
        }
        bytes
    }

    /// What goes to the client when the hub closes: some servers say goodbye.
    pub(crate) fn goodbye(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.is_open && self.random.bool() {
            put(&mut bytes, 0x88, &1001_u16.to_be_bytes());
        }
        bytes
    }
}

fn answer(request: &str, subprotocol: &str) -> String {
    assert!(request.starts_with("GET /$iothub/websocket HTTP/1.1\r\n"), "{request}");
    let offer = format!("Sec-WebSocket-Protocol: {subprotocol}");
    assert!(request.lines().any(|line| line == offer), "{request}");
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
    let accept = derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    )
}

fn put(bytes: &mut Vec<u8>, first: u8, payload: &[u8]) {
    bytes.push(first);
    match payload.len() {
        short @ ..126 => bytes.push(short as u8),
        middle @ ..65_536 => {
            bytes.push(126);
            bytes.extend((middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
}

/// Kind and payload of the first frame, if it is whole, and its length.
fn frame(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let [first, second, ..] = *bytes else { return None };
    assert_eq!((first & 0xF0, second & 0x80), (0x80, 0x80), "the client's frames are whole and masked");
    let (length, header) = match second & 0x7F {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
        short => (usize::from(short), 2),
    };
    let mask = bytes.get(header..header + 4)?;
    let payload = bytes.get(header + 4..header + 4 + length)?;
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    Some((first & 0x0F, payload, header + 4 + length))
}
