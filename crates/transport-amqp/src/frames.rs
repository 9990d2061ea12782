//! The frames as they pass between the stream and the protocol's package: what it keeps to itself, what it would wait for,
//! and what it could not bear.
//!
//! - It hides the hub's Open; the idle time-out is read here.
//! - It begins one session at a time, and waits a round trip for each, in which no other can begin. So it is told at once
//!   that its Begin is answered, with no window; the hub's own Begin, when it comes, gives the windows, as a Flow. The
//!   hub's channels are renamed to the client's meanwhile.
//! - It ends a link whose messages are longer than the hub said that they would be, as they may be by a few bytes.
//! - It looks up each delivery of a disposition, be it of billions. So one of more than there can be ends the connection.
//! - It panics at a frame that is too short for its header, and decodes values however deep they are nested, up to the end
//!   of the stack. So a frame is held until it is whole, and its performative and each message are looked at before they
//!   pass: what is not well-formed ends the connection.
//!
//! Descriptors of performatives are numbers, as everybody writes them.

use std::collections::BTreeMap;

use bytes::{Buf, BytesMut};
use fe2o3_amqp_types::definitions::Role;
use fe2o3_amqp_types::performatives::{Attach, Begin, Detach, Disposition, Flow, Open, Performative, Transfer};
use serde_amqp::serde::de::DeserializeOwned;

mod messages;
mod wellformed;

use messages::Messages;

/// The largest frame that the hub may send: the client's max-frame-size.
const MAX_FRAME: usize = 65_536;
/// What the client takes of one message: what the hub takes of one, whichever link it is on.
const MAX_MESSAGE: u64 = 1024 * 1024;
/// How many deliveries the hub may settle at once: there can be no more in a session, for a device has at most 65,000 messages
/// under way.
const MAX_SETTLED: u32 = 65_536;
/// A channel that no session has.
const NO_CHANNEL: u16 = u16::MAX;

/// What the hub says first if it speaks AMQP, and as long as what any hub says first.
const PROTOCOL: &[u8; 8] = b"AMQP\x00\x01\x00\x00";
const HEADER: usize = 8;
/// The data offset of four-byte words, behind which the performative begins, and the type of AMQP's own frames.
const PLAIN: [u8; 2] = [2, 0];

const OPEN: u8 = 0x10;
const BEGIN: u8 = 0x11;
const ATTACH: u8 = 0x12;
const TRANSFER: u8 = 0x14;
const DISPOSITION: u8 = 0x15;
const DETACH: u8 = 0x16;
const END: u8 = 0x17;

fn write(channel: u16, performative: &Performative) -> Option<Vec<u8>> {
    let body = serde_amqp::to_vec(performative).ok()?;
    let size = u32::try_from(HEADER + body.len()).ok()?;
    Some([&size.to_be_bytes()[..], &PLAIN, &channel.to_be_bytes(), &body].concat())
}

fn read<T: DeserializeOwned>(performative: &[u8]) -> Result<T, String> {
    serde_amqp::from_slice(performative).map_err(|error| unreadable(&error.to_string()))
}

fn unreadable(why: &str) -> String {
    format!("the hub sent a frame that cannot be read: {why}")
}

/// What comes next.
#[derive(Clone, Copy, Default)]
enum Stage {
    #[default]
    Header,
    Frames,
    /// Another protocol. The package reads no more than its header.
    Foreign,
}

/// Bytes from the hub.
#[derive(Default)]
pub(crate) struct Incoming {
    stage: Stage,
    /// The beginning of a frame.
    held: BytesMut,
    /// What the package is to read: whole frames.
    passed: BytesMut,
    /// The client's channel of each of the hub's.
    channels: BTreeMap<u16, u16>,
    messages: Messages,
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
        self.passed.extend(write(channel, &Performative::Begin(begin)).unwrap_or_default());
    }

    /// Takes bytes as they came.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        while self.refused.is_none() {
            match self.next() {
                Ok(true) => {}
                Ok(false) => return,
                Err(why) => self.refused = Some(why),
            }
        }
    }

    /// Passes on what comes next. Whether it is there.
    fn next(&mut self) -> Result<bool, String> {
        let size = match self.stage {
            Stage::Header => HEADER,
            Stage::Foreign => self.held.len().max(1),
            Stage::Frames => {
                let Some(size) = self.held.first_chunk() else { return Ok(false) };
                let size = u32::from_be_bytes(*size) as usize;
                if !(HEADER..=MAX_FRAME).contains(&size) {
                    return Err(format!("the hub sent a frame of {size} bytes, not of {HEADER} to {MAX_FRAME}"));
                }
                size
            }
        };
        if self.held.len() < size {
            return Ok(false);
        }
        let bytes = self.held.split_to(size);
        match self.stage {
            Stage::Frames => self.pass(bytes)?,
            Stage::Header => {
                self.stage = if bytes == PROTOCOL[..] { Stage::Frames } else { Stage::Foreign };
                self.passed.extend_from_slice(&bytes);
            }
            Stage::Foreign => self.passed.extend_from_slice(&bytes),
        }
        Ok(true)
    }

    /// Passes on a whole frame, or another in its place.
    fn pass(&mut self, mut frame: BytesMut) -> Result<(), String> {
        if frame[4..6] != PLAIN {
            return Err(unreadable(&format!("its header has a data offset of {} and the type {}", frame[4], frame[5])));
        }
        if frame.len() > HEADER {
            let (ours, instead) = self.look(&frame)?;
            if let Some(instead) = instead {
                self.passed.extend_from_slice(&instead);
                return Ok(());
            }
            frame[6..8].copy_from_slice(&ours.to_be_bytes());
        }
        self.passed.extend_from_slice(&frame);
        Ok(())
    }

    /// Looks at a whole frame with a performative. Gives the channel on which the package is to see it, or the frame that
    /// is to pass in its place.
    fn look(&mut self, frame: &[u8]) -> Result<(u16, Option<Vec<u8>>), String> {
        let theirs = u16::from_be_bytes([frame[6], frame[7]]);
        let wellformed::Body { code, performative, payload } =
            wellformed::body(&frame[HEADER..]).map_err(unreadable)?;
        // The client's channel of the session that the frame is of.
        let ours = match code {
            END => self.channels.remove(&theirs),
            ATTACH..END => self.channels.get(&theirs).copied(),
            _ => Some(theirs),
        };
        let ours = ours.unwrap_or(NO_CHANNEL);
        let instead = match code {
            OPEN => {
                self.idle_time_out = read::<Open>(performative)?.idle_time_out;
                None
            }
            BEGIN => {
                let begin: Begin = read(performative)?;
                begin.remote_channel.and_then(|ours| {
                    self.channels.insert(theirs, ours);
                    write(ours, &Performative::Flow(windows(&begin)))
                })
            }
            ATTACH => {
                let attach: Attach = read(performative)?;
                self.messages.forget(ours, attach.handle.0);
                roomy(attach).and_then(|attach| write(ours, &Performative::Attach(attach)))
            }
            TRANSFER => {
                self.messages.take(ours, &read::<Transfer>(performative)?, payload).map_err(unreadable)?;
                None
            }
            DISPOSITION => {
                if let Some(why) = too_wide(&read(performative)?) {
                    return Err(why);
                }
                None
            }
            DETACH => {
                self.messages.forget(ours, read::<Detach>(performative)?.handle.0);
                None
            }
            END => {
                self.messages.forget_session(ours);
                None
            }
            _ => None,
        };
        Ok((ours, instead))
    }
}

/// An attach whose messages may be as long as they come, if it says otherwise.
fn roomy(mut attach: Attach) -> Option<Attach> {
    let said = attach.max_message_size.filter(|said| (1..MAX_MESSAGE).contains(said));
    if attach.role != Role::Sender || said.is_none() {
        return None;
    }
    attach.max_message_size = Some(MAX_MESSAGE);
    Some(attach)
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

    /// Looks at bytes that leave, which the package has written; gives the channel of each session that they begin.
    pub(crate) fn look(&mut self, mut bytes: &[u8], mut begun: impl FnMut(u16)) {
        while !bytes.is_empty() {
            let now = self.left.min(bytes.len());
            if now > 0 {
                self.left -= now;
                bytes.advance(now);
                continue;
            }
            self.head.push(bytes[0]);
            bytes.advance(1);
            let size = match *self.head {
                _ if self.head.len() < HEADER => continue,
                [b'A', b'M', b'Q', b'P', ..] => HEADER,
                [a, b, c, d, ..] => u32::from_be_bytes([a, b, c, d]) as usize,
                _ => continue,
            };
            // The header is followed by the descriptor of what is in the frame.
            if self.head.len() < size.min(HEADER + 3) {
                continue;
            }
            if let [.., high, low, 0, 0x53, BEGIN] = *self.head {
                begun(u16::from_be_bytes([high, low]));
            }
            self.left = size.saturating_sub(self.head.len());
            self.head.clear();
        }
    }
}

#[cfg(test)]
mod tests;
