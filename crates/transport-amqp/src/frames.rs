//! The frames as they pass between the stream and the protocol's package: what it keeps to itself, and what it would
//! wait for.
//!
//! - It hides the hub's Open; the idle time-out is read here.
//! - It begins one session at a time, and waits a round trip for each, in which no other can begin. So it is told at once
//!   that its Begin is answered, with no window; the hub's own Begin, when it comes, gives the windows, as a Flow. The
//!   hub's channels are renamed to the client's meanwhile.
//! - It ends a link whose messages are longer than the hub said that they would be, as they may be by a few bytes.
//! - It looks up each delivery of a disposition, be it of billions. So one of more than there can be ends the connection.
//!
//! Descriptors are numbers, as everybody writes them.

use std::collections::BTreeMap;

use bytes::{Buf, BytesMut};
use fe2o3_amqp_types::definitions::Role;
use fe2o3_amqp_types::performatives::{Attach, Begin, Disposition, Flow, Open, Performative};

/// More than any frame has that is looked at as a whole: the client's max-frame-size.
const MAX_FRAME: usize = 65_536;
/// What the client takes of one message: what the hub takes of one, whichever link it is on.
const MAX_MESSAGE: u64 = 1024 * 1024;
/// How many deliveries the hub may settle at once: there can be no more in a session, for a device has at most 65,000 messages
/// under way.
const MAX_SETTLED: u32 = 65_536;
/// A channel that no session has.
const NO_CHANNEL: u16 = u16::MAX;

/// A frame's header and the descriptor of what is in it, in the shortest form that there is.
const HEAD: usize = 11;
const HEADER: usize = 8;

const OPEN: u8 = 0x10;
const BEGIN: u8 = 0x11;
const ATTACH: u8 = 0x12;
const DISPOSITION: u8 = 0x15;
const END: u8 = 0x17;

/// What the first bytes of a frame say.
#[derive(Clone, Copy)]
enum Head {
    /// More bytes are needed.
    Short,
    /// Not a frame of AMQP, so long: a protocol header, another protocol, or nothing that can be read.
    Other(usize),
    Frame {
        size: usize,
        /// Where the performative begins.
        body: usize,
        /// Which it is, if there is one.
        code: Option<u8>,
    },
}

impl Head {
    fn of(bytes: &[u8]) -> Self {
        if bytes.len() < HEADER {
            return Self::Short;
        }
        if bytes.starts_with(b"AMQP") {
            return Self::Other(HEADER);
        }
        let size = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        // The data offset counts words of four bytes. Type 0 is AMQP.
        let (body, kind) = (usize::from(bytes[4]) * 4, bytes[5]);
        if size < HEADER || body < HEADER || kind != 0 {
            return Self::Other(size.max(HEADER));
        }
        let rest = &bytes[body.min(bytes.len())..size.max(body).min(bytes.len())];
        let code = match rest {
            [0, 0x53, code, ..] | [0, 0x80, 0, 0, 0, 0, 0, 0, 0, code, ..] => Some(*code),
            _ => None,
        };
        let may_follow = rest.len() < 3 || (rest.len() < 10 && rest[1] == 0x80);
        if code.is_none() && may_follow && bytes.len() < size {
            return Self::Short;
        }
        Self::Frame { size, body, code }
    }
}

fn write(channel: u16, performative: &Performative) -> Option<Vec<u8>> {
    let body = serde_amqp::to_vec(performative).ok()?;
    let size = u32::try_from(HEADER + body.len()).ok()?;
    Some([&size.to_be_bytes()[..], &[2, 0], &channel.to_be_bytes(), &body].concat())
}

/// Bytes from the hub.
#[derive(Default)]
pub(crate) struct Incoming {
    /// The beginning of a frame, too short to know what it is.
    held: BytesMut,
    /// How much of the present frame is still to pass.
    left: usize,
    /// What the package is to read.
    passed: BytesMut,
    /// The client's channel of each of the hub's.
    channels: BTreeMap<u16, u16>,
    /// What the package is told when the present frame has passed.
    early: Vec<u8>,
    idle_time_out: Option<u32>,
    /// Why nothing passes any more.
    refused: Option<String>,
}

impl Incoming {
    /// What the hub said that must not reach the package: the connection is of no use any more.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// The idle time-out that the hub announced, in milliseconds; none is none.
    pub(crate) fn idle_time_out(&self) -> Option<u32> {
        self.idle_time_out.filter(|time_out| *time_out > 0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.passed.is_empty()
    }

    /// What the package is to read.
    pub(crate) fn passed(&mut self) -> &mut BytesMut {
        &mut self.passed
    }

    /// The client has begun a session on this channel: the package need not wait for the hub's answer.
    pub(crate) fn answer_begin(&mut self, channel: u16) {
        let begin = Begin {
            remote_channel: Some(channel),
            next_outgoing_id: 0,
            // Nothing is sent before the hub says how much it takes.
            incoming_window: 0,
            outgoing_window: 0,
            handle_max: u32::MAX.into(),
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        self.early.extend(write(channel, &Performative::Begin(begin)).unwrap_or_default());
        self.pass_early();
    }

    fn pass_early(&mut self) {
        if self.left == 0 && !self.early.is_empty() {
            self.passed.extend_from_slice(&self.early);
            self.early.clear();
        }
    }

    /// Takes bytes as they came.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        while self.refused.is_none() {
            let now = self.left.min(self.held.len());
            self.passed.extend_from_slice(&self.held[..now]);
            self.held.advance(now);
            self.left -= now;
            if self.left > 0 {
                return;
            }
            self.pass_early();
            match Head::of(&self.held) {
                Head::Short => return,
                Head::Other(size) => self.left = size,
                Head::Frame { size, body, code: Some(code @ (OPEN | BEGIN | ATTACH | DISPOSITION)) }
                    if size <= MAX_FRAME =>
                {
                    if self.held.len() < size {
                        return;
                    }
                    self.rename(code);
                    let frame = self.held.split_to(size);
                    self.pass(code, &frame, body);
                }
                Head::Frame { size, code, .. } => {
                    if let Some(code) = code {
                        self.rename(code);
                    }
                    self.left = size;
                }
            }
        }
    }

    /// Gives the frame at hand, if it is of a session, the client's channel of that session.
    fn rename(&mut self, code: u8) {
        if !(ATTACH..=END).contains(&code) {
            return;
        }
        let theirs = u16::from_be_bytes([self.held[6], self.held[7]]);
        let ours = match code {
            END => self.channels.remove(&theirs),
            _ => self.channels.get(&theirs).copied(),
        };
        self.held[6..8].copy_from_slice(&ours.unwrap_or(NO_CHANNEL).to_be_bytes());
    }

    /// Passes on a whole frame that matters, or another in its place.
    fn pass(&mut self, code: u8, frame: &[u8], body: usize) {
        let channel = u16::from_be_bytes([frame[6], frame[7]]);
        let instead = match code {
            OPEN => {
                self.idle_time_out = serde_amqp::from_slice::<Open>(&frame[body..]).ok().and_then(|o| o.idle_time_out);
                None
            }
            BEGIN => serde_amqp::from_slice::<Begin>(&frame[body..]).ok().and_then(|begin| {
                let ours = begin.remote_channel?;
                self.channels.insert(channel, ours);
                write(ours, &Performative::Flow(windows(&begin)))
            }),
            DISPOSITION => {
                self.refused = serde_amqp::from_slice::<Disposition>(&frame[body..]).ok().and_then(|d| too_wide(&d));
                None
            }
            _ => serde_amqp::from_slice::<Attach>(&frame[body..]).ok().and_then(|mut attach| {
                let said = attach.max_message_size.filter(|said| (1..MAX_MESSAGE).contains(said));
                if attach.role != Role::Sender || said.is_none() {
                    return None;
                }
                attach.max_message_size = Some(MAX_MESSAGE);
                write(channel, &Performative::Attach(attach))
            }),
        };
        if self.refused.is_none() {
            self.passed.extend_from_slice(instead.as_deref().unwrap_or(frame));
        }
    }
}

/// What is wrong with a disposition of more deliveries than there can be.
fn too_wide(disposition: &Disposition) -> Option<String> {
    let (first, last) = (disposition.first, disposition.last?);
    let is_too_wide = last.checked_sub(first).is_some_and(|more| more >= MAX_SETTLED);
    is_too_wide.then(|| format!("the hub settled the deliveries {first} to {last} at once, more than there can be"))
}

/// What a Begin says of windows.
fn windows(begin: &Begin) -> Flow {
    Flow {
        // The number that the client's own Begin named.
        next_incoming_id: Some(0),
        incoming_window: begin.incoming_window,
        next_outgoing_id: begin.next_outgoing_id,
        outgoing_window: begin.outgoing_window,
        handle: None,
        delivery_count: None,
        link_credit: None,
        available: None,
        drain: false,
        echo: false,
        properties: None,
    }
}

/// Bytes to the hub.
#[derive(Default)]
pub(crate) struct Outgoing {
    /// The beginning of a frame, too short to know what it is.
    head: Vec<u8>,
    /// How much of the present frame is still to come.
    left: usize,
}

impl Outgoing {
    /// Whether another frame may be put here.
    pub(crate) fn is_at_frame_end(&self) -> bool {
        self.left == 0 && self.head.is_empty()
    }

    /// Looks at bytes that leave; gives the channel of each session that they begin.
    pub(crate) fn look(&mut self, mut bytes: &[u8], mut begun: impl FnMut(u16)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let now = self.left.min(bytes.len());
                self.left -= now;
                bytes.advance(now);
                continue;
            }
            let wanted = if self.head.len() < HEADER { HEADER } else { HEAD };
            let now = wanted.saturating_sub(self.head.len()).clamp(1, bytes.len());
            self.head.extend_from_slice(&bytes[..now]);
            bytes.advance(now);
            let size = match Head::of(&self.head) {
                Head::Short => continue,
                Head::Other(size) => size,
                Head::Frame { size, code, .. } => {
                    if code == Some(BEGIN) {
                        begun(u16::from_be_bytes([self.head[6], self.head[7]]));
                    }
                    size
                }
            };
            self.left = size.saturating_sub(self.head.len());
            self.head.clear();
        }
    }
}

#[cfg(test)]
mod tests;
