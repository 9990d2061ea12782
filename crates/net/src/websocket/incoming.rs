//! Incoming frames: payload is unpacked in place, control frames are collected, everything else is an error.

use std::fmt;
use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::http::shown;

/// The longest header there is.
const MAX_HEADER: usize = 14;

/// The longest payload of a control frame (RFC 6455, 5.5).
pub(super) const MAX_CONTROL: usize = 125;

/// Unpacks the frames of a server, whatever pieces they come in.
#[derive(Default)]
pub(super) struct Unpacker {
    state: State,
    /// A message whose last frame has not come yet.
    is_in_message: bool,
    /// The payload of a ping that has no answer yet; a newer one takes its place (RFC 6455, 5.5.3).
    ping: Option<Vec<u8>>,
    end: Option<End>,
}

/// Where in a frame the next byte stands.
enum State {
    Header { bytes: [u8; MAX_HEADER], length: usize },
    Data { left: u64 },
    Control { kind: Control, left: usize, payload: Vec<u8> },
}

impl Default for State {
    fn default() -> Self {
        Self::Header { bytes: [0; MAX_HEADER], length: 0 }
    }
}

/// After this, nothing more is unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The server said goodbye.
    Closed { code: Option<u16>, reason: String },
    /// The server broke the rules.
    Broken(Violation),
}

/// A broken rule, and the close code that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: u16,
    what: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server broke the WebSocket protocol: {}", self.what)
    }
}

const fn violation(what: &'static str) -> Violation {
    Violation { code: 1002, what }
}

impl Unpacker {
    /// Takes raw bytes and leaves the payload of the data frames among them at the front; returns how much that is.
    ///
    /// What is wrong with a byte is no reason to lose those before it: [`end`](Self::end) tells afterwards.
    pub(super) fn unpack(&mut self, raw: &mut [u8]) -> usize {
        let (mut from, mut to) = (0, 0);
        while from < raw.len() && self.end.is_none() {
            match &mut self.state {
                State::Data { left } => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(raw.len() - from);
                    raw.copy_within(from..from + count, to);
                    (from, to) = (from + count, to + count);
                    *left -= count as u64;
                    if *left == 0 {
                        self.state = State::default();
                    }
                }
                State::Control { left, payload, .. } => {
                    let count = (*left).min(raw.len() - from);
                    payload.extend_from_slice(&raw[from..from + count]);
                    from += count;
                    *left -= count;
                    if *left == 0 {
                        self.control();
                    }
                }
                State::Header { bytes, length } => {
                    bytes[*length] = raw[from];
                    *length += 1;
                    from += 1;
                    // No header is shorter than two bytes.
                    if *length >= 2 {
                        match FrameHeader::parse(&mut Cursor::new(&bytes[..*length])) {
                            Ok(None) => {}
                            Ok(Some((header, payload))) => self.begin(&header, payload),
                            Err(_) => self.fail(violation("a frame of an unknown kind")),
                        }
                    }
                }
            }
        }
        to
    }

    /// The payload of a ping that wants an answer.
    pub(super) fn take_ping(&mut self) -> Option<Vec<u8>> {
        self.ping.take()
    }

    /// How the conversation ended, once it has.
    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    fn begin(&mut self, header: &FrameHeader, length: u64) {
        match self.admit(header, length) {
            Ok(Some(kind)) => {
                // A control frame that was admitted is short.
                let left = usize::try_from(length).unwrap_or(MAX_CONTROL);
                self.state = State::Control { kind, left, payload: Vec::with_capacity(left) };
                if left == 0 {
                    self.control();
                }
            }
            Ok(None) if length == 0 => self.state = State::default(),
            Ok(None) => self.state = State::Data { left: length },
            Err(violation) => self.fail(violation),
        }
    }

    /// Whether such a frame may come now, and what kind of control frame it is, if it is one.
    fn admit(&mut self, header: &FrameHeader, length: u64) -> Result<Option<Control>, Violation> {
        if header.mask.is_some() {
            return Err(violation("a masked frame, which only a client may send"));
        }
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(violation("a frame of an extension that was not agreed on"));
        }
        if length > i64::MAX as u64 {
            return Err(violation("a frame of more than 2^63 bytes"));
        }
        match header.opcode {
            OpCode::Control(_) if !header.is_final => return Err(violation("a control frame in pieces")),
            OpCode::Control(_) if length > MAX_CONTROL as u64 => {
                return Err(violation("a control frame of more than 125 bytes"));
            }
            OpCode::Control(kind) => return Ok(Some(kind)),
            OpCode::Data(Data::Text) => {
                return Err(Violation { code: 1003, what: "a text message, where only binary ones are expected" });
            }
            OpCode::Data(Data::Binary) if self.is_in_message => {
                return Err(violation("a new message in the middle of another"));
            }
            OpCode::Data(Data::Continue) if !self.is_in_message => {
                return Err(violation("the continuation of no message"));
            }
            OpCode::Data(_) => self.is_in_message = !header.is_final,
        }
        Ok(None)
    }

    /// A control frame is complete.
    fn control(&mut self) {
        let State::Control { kind, payload, .. } = std::mem::take(&mut self.state) else { return };
        match (kind, &payload[..]) {
            (Control::Ping, _) => self.ping = Some(payload),
            (Control::Close, []) => self.end = Some(End::Closed { code: None, reason: String::new() }),
            (Control::Close, [high, low, reason @ ..]) => {
                let code = u16::from_be_bytes([*high, *low]);
                // RFC 6455, 7.4: these are never sent.
                if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                    return self.fail(violation("a close with a code that is never sent"));
                }
                match std::str::from_utf8(reason) {
                    Ok(reason) => self.end = Some(End::Closed { code: Some(code), reason: shown(reason) }),
                    Err(_) => self.fail(violation("a close with a reason that is not UTF-8")),
                }
            }
            (Control::Close, [_]) => self.fail(violation("a close with half a code")),
            // Nobody asked for a pong; unasked ones are allowed and mean nothing.
            (Control::Pong | Control::Reserved(_), _) => {}
        }
    }

    fn fail(&mut self, violation: Violation) {
        self.end = Some(End::Broken(violation));
    }
}
