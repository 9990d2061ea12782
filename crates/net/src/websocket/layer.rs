//! The byte stream inside a WebSocket.

use std::io::{self, Read, Write};

use iothub_core::Readiness;
use tungstenite::protocol::frame::coding::Control;

use super::incoming::{End, Unpacker};
use super::outgoing::Outgoing;
use crate::Stream;
use crate::stream::Layer;
use crate::tcp::would_block_is_fine;

/// How many bytes one read takes that bring nothing to its caller, before the server is said to do nothing else.
const MAX_FRUITLESS: usize = 64 * 1024;

/// The close code for an end in order.
const NORMAL: u16 = 1000;

/// The other code for an end in order: the server goes away.
const GOING_AWAY: u16 = 1001;

pub(super) struct WebSocketLayer {
    below: Stream,
    /// What came with the answer to the upgrade, and is read first.
    early: Vec<u8>,
    incoming: Unpacker,
    outgoing: Outgoing,
    /// A close is on its way, so nothing may follow it.
    is_closing: bool,
}

impl WebSocketLayer {
    pub(super) fn new(below: Stream, early: Vec<u8>) -> Self {
        Self { below, early, incoming: Unpacker::default(), outgoing: Outgoing::new(), is_closing: false }
    }

    /// Raw bytes, as they came.
    fn receive(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.early.is_empty() {
            return self.below.read(buf);
        }
        let count = buf.len().min(self.early.len());
        buf[..count].copy_from_slice(&self.early[..count]);
        self.early.drain(..count);
        Ok(count)
    }

    /// Answers what wants an answer. A stream that takes none now gets it with the next flush; one that is broken says
    /// so to whoever uses it next.
    fn answer(&mut self) {
        if self.is_closing {
            return;
        }
        match self.incoming.end() {
            Some(End::Closed { code, .. }) => {
                let code = code.map(u16::to_be_bytes);
                self.say_goodbye(code.map_or_else(Vec::new, |code| code.to_vec()));
            }
            Some(End::Broken(_)) => {}
            None => match self.incoming.take_ping() {
                Some(payload) => self.outgoing.put_control(Control::Pong, payload),
                None => return,
            },
        }
        let _ = self.outgoing.push(&mut self.below);
    }

    fn say_goodbye(&mut self, payload: Vec<u8>) {
        self.is_closing = true;
        self.outgoing.drop_collected();
        self.outgoing.put_control(Control::Close, payload);
    }

    /// What reading comes to, once the server has said its last.
    fn outcome(end: &End) -> io::Result<usize> {
        match end {
            End::Closed { code: None | Some(NORMAL | GOING_AWAY), .. } => Ok(0),
            End::Closed { code: Some(code), reason } => {
                let space = if reason.is_empty() { "" } else { " " };
                let text = format!("the server closed the WebSocket with code {code}{space}{reason}");
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, text))
            }
            End::Broken(violation) => Err(io::Error::new(io::ErrorKind::InvalidData, violation.to_string())),
        }
    }
}

impl Read for WebSocketLayer {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut fruitless = 0;
        loop {
            if let Some(end) = self.incoming.end() {
                return Self::outcome(end);
            }
            let raw = self.receive(buf)?;
            if raw == 0 {
                // Servers leave without a goodbye, and a protocol that needs more than an end has its own.
                return Ok(0);
            }
            let payload = self.incoming.unpack(&mut buf[..raw]);
            self.answer();
            if payload > 0 {
                return Ok(payload);
            }
            fruitless += raw;
            if fruitless > MAX_FRUITLESS {
                let text = "the server sends control frames and empty ones without end";
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        }
    }
}

impl Write for WebSocketLayer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.is_closing || self.incoming.end().is_some() {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the WebSocket is closed"));
        }
        let taken = self.outgoing.collect(buf);
        if taken > 0 || buf.is_empty() {
            return Ok(taken);
        }
        self.outgoing.push(&mut self.below).or_else(would_block_is_fine)?;
        match self.outgoing.collect(buf) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.outgoing.push(&mut self.below)
    }
}

impl Layer for WebSocketLayer {
    fn wants_write(&self) -> bool {
        self.outgoing.is_waiting() || self.below.wants_write()
    }

    fn readiness(&self, read: bool, write: bool, out: &mut Vec<Readiness>) {
        self.below.readiness(read, write, out);
    }

    fn shutdown(&mut self) {
        // Best effort: a peer that takes no more bytes must not hold up the end.
        let is_sent = self.outgoing.push(&mut self.below).is_ok();
        if is_sent && !self.is_closing {
            let code = match self.incoming.end() {
                Some(End::Broken(violation)) => violation.code,
                _ => NORMAL,
            };
            self.say_goodbye(code.to_be_bytes().to_vec());
            let _ = self.outgoing.push(&mut self.below);
        }
        self.below.shutdown();
    }
}
