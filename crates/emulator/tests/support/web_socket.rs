//! The HTTPS port from outside: requests as text, answers as they came, and WebSocket frames written and read byte by byte.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use iothub_emulator::Hub;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::peer::tcp_to;
use super::tls::TlsOptions;

/// The path of IoT Hub's WebSocket.
pub(crate) const PATH: &str = "/$iothub/websocket";

/// The opcodes of RFC 6455 5.2.
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
/// The bit of a frame that ends its message.
pub(crate) const FIN: u8 = 0x80;

/// The key of RFC 6455 1.3, and what it is answered with.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Any mask will do.
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A connection to the HTTPS port.
pub(crate) struct Https {
    tls: StreamOwned<ClientConnection, TcpStream>,
    received: Vec<u8>,
}

/// An answer without its body's meaning.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Https {
    pub(crate) fn open(hub: &Hub) -> Self {
        Self::open_with(hub, &TlsOptions::default())
    }

    pub(crate) fn open_with(hub: &Hub, options: &TlsOptions) -> Self {
        Self::open_on(tcp_to(hub.https_address()), hub, options)
    }

    /// On a TCP connection that leads to the port.
    pub(crate) fn open_on(mut tcp: TcpStream, hub: &Hub, options: &TlsOptions) -> Self {
        let name = ServerName::try_from(hub.host_name()).expect("the host name is a DNS name");
        let mut tls =
            ClientConnection::new(options.config(&hub.ca_pem()), name).expect("the name fits the configuration");
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).expect("the hub answers the handshake");
        }
        Self { tls: StreamOwned::new(tls, tcp), received: Vec::new() }
    }

    /// This end of TCP.
    pub(crate) fn address(&self) -> SocketAddr {
        self.tls.sock.local_addr().expect("the socket is bound")
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.tls.write_all(bytes).and_then(|()| self.tls.flush()).expect("the hub reads what is sent");
    }

    /// Sends the head of a request, given by its lines.
    pub(crate) fn send_request(&mut self, lines: &[impl AsRef<str>]) {
        let head: String = lines.iter().map(|line| format!("{}\r\n", line.as_ref())).collect();
        self.send(format!("{head}\r\n").as_bytes());
    }

    /// Sends a request and reads the answer.
    pub(crate) fn ask(&mut self, lines: &[impl AsRef<str>]) -> Answer {
        self.send_request(lines);
        self.answer().expect("the hub answers")
    }

    /// The next answer, or `None` at the end of the connection.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            match self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end,
                None if self.fill() => {}
                None => return None,
            }
        };
        let head: Vec<u8> = self.received.drain(..end + 4).collect();
        let head = String::from_utf8(head).expect("the head is text");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.into(), value.into()));
        let answer = Answer { status: status.expect("a status line"), headers: headers.collect() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().expect("a number"));
        while self.received.len() < length {
            assert!(self.fill(), "the hub closes in the middle of a body");
        }
        self.received.drain(..length);
        Some(answer)
    }

    /// Asks for a WebSocket, which must be granted.
    pub(crate) fn upgrade(mut self, path: &str, subprotocol: &str) -> WebSocket {
        self.send_request(&request(path, subprotocol));
        let (answer, web_socket) = self.upgraded();
        assert_eq!(answer.header("sec-websocket-protocol"), Some(subprotocol));
        web_socket
    }

    /// The WebSocket that an answer grants, which must come.
    pub(crate) fn upgraded(mut self) -> (Answer, WebSocket) {
        let answer = self.answer().expect("the hub answers");
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT));
        assert_eq!(answer.header("sec-websocket-extensions"), None);
        (answer, WebSocket { https: self, payload: Vec::new() })
    }

    fn fill(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        match self.tls.read(&mut chunk) {
            Ok(0) => false,
            Ok(count) => {
                self.received.extend_from_slice(&chunk[..count]);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("the hub neither answers nor closes"),
            Err(_) => false,
        }
    }
}

/// A request for a WebSocket with which nothing is wrong.
pub(crate) fn request(path: &str, subprotocol: &str) -> Vec<String> {
    vec![
        format!("GET {path} HTTP/1.1"),
        "Host: hub.localtest".to_owned(),
        "Upgrade: websocket".to_owned(),
        "Connection: Upgrade".to_owned(),
        format!("Sec-WebSocket-Key: {KEY}"),
        format!("Sec-WebSocket-Protocol: {subprotocol}"),
        "Sec-WebSocket-Version: 13".to_owned(),
    ]
}

/// A frame from the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// FIN and opcode.
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of a close frame.
    pub(crate) fn close_code(&self) -> Option<u16> {
        (self.first == FIN | CLOSE).then(|| u16::from_be_bytes([self.payload[0], self.payload[1]]))
    }
}

/// A WebSocket. As a stream it writes a binary message a write, and reads what binary messages hold.
pub(crate) struct WebSocket {
    https: Https,
    payload: Vec<u8>,
}

impl WebSocket {
    pub(crate) fn open(hub: &Hub) -> Self {
        Https::open(hub).upgrade(PATH, "mqtt")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.https.address()
    }

    pub(crate) fn tls_mut(&mut self) -> &mut StreamOwned<ClientConnection, TcpStream> {
        &mut self.https.tls
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.https.send(bytes);
    }

    /// Writes bytes to a hub that may well not read them.
    pub(crate) fn try_send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.https.tls.write_all(bytes).and_then(|()| self.https.tls.flush())
    }

    pub(crate) fn give_up_writing_after(&mut self, limit: Duration) {
        self.https.tls.sock.set_write_timeout(Some(limit)).expect("the socket takes options");
    }

    pub(crate) fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.https.send(&frame(first, payload));
    }

    /// The next frame, or `None` at the end of the connection.
    pub(crate) fn read_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = take_frame(&mut self.https.received) {
                return Some(frame);
            }
            if !self.https.fill() {
                assert!(self.https.received.is_empty(), "the hub closes in the middle of a frame");
                return None;
            }
        }
    }

    /// All frames until the hub closes. A goodbye is answered.
    pub(crate) fn read_until_closed(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| {
            let frame = self.read_frame()?;
            self.answer_goodbye(&frame);
            Some(frame)
        })
        .collect()
    }

    fn answer_goodbye(&mut self, frame: &Frame) {
        if frame.first == FIN | CLOSE {
            // If it answered ours, the hub may have closed already.
            let _ = self.write_frame(FIN | CLOSE, &frame.payload);
        }
    }

    fn write_frame(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        self.try_send_bytes(&frame(first, payload))
    }
}

impl Read for WebSocket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.payload.is_empty() {
            match self.read_frame() {
                Some(frame) if matches!(frame.first & 0x0F, CONTINUATION | BINARY) => self.payload = frame.payload,
                Some(frame) if frame.first == FIN | CLOSE => self.answer_goodbye(&frame),
                Some(other) => panic!("instead of a binary message came {other:?}"),
                None => return Ok(0),
            }
        }
        let length = buf.len().min(self.payload.len());
        buf[..length].copy_from_slice(&self.payload[..length]);
        self.payload.drain(..length);
        Ok(length)
    }
}

impl Write for WebSocket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_frame(FIN | BINARY, buf)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.https.tls.flush()
    }
}

/// A masked frame.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | u8::try_from(length).expect("it fits")),
        length @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).expect("it fits").to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Takes a whole frame from the front of what was received. A hub never masks, and sets no reserved bit.
fn take_frame(received: &mut Vec<u8>) -> Option<Frame> {
    let (&first, &second) = (received.first()?, received.get(1)?);
    assert_eq!((first & 0x70, second & 0x80), (0, 0), "a frame that begins with {first:#04x} {second:#04x}");
    let (header, length) = match second {
        126 => (4, usize::from(u16::from_be_bytes(received.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(received.get(2..10)?.try_into().ok()?)).ok()?),
        short => (2, usize::from(short)),
    };
    if received.len() < header + length {
        return None;
    }
    let payload = received.drain(..header + length).skip(header).collect();
    Some(Frame { first, payload })
}
