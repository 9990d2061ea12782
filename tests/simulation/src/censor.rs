//! A hub that leaves out answers over AMQP: its frames of some kinds get lost, and everything else goes on.

use std::collections::{BTreeMap, BTreeSet};

/// What the hub says over AMQP and [`Sim::withhold`](crate::Sim::withhold) keeps from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// That a session is begun; with it is lost whatever is said in that session.
    Begin,
    /// Credit, and how much the session takes.
    Flow,
    /// That a link is detached, as the client has asked.
    Detach,
    /// That a session is ended, as the client has asked.
    End,
    /// That the connection is closed, as the client has asked. The stream stays open.
    Close,
}

impl Answer {
    fn of(code: u8) -> Option<Self> {
        Some(match code {
            0x11 => Self::Begin,
            0x13 => Self::Flow,
            0x16 => Self::Detach,
            0x17 => Self::End,
            0x18 => Self::Close,
            _ => return None,
        })
    }
}

/// Between the client and the hub of one connection.
#[derive(Default)]
pub(crate) struct Censor {
    /// Something is withheld, or was.
    is_at_work: bool,
    withheld: Vec<Answer>,
    /// The channels of the sessions whose Begin was withheld.
    silenced: BTreeSet<u16>,
    /// How often the client has said it more often than the hub, by channel.
    asked: BTreeMap<(Answer, u16), i32>,
    /// The answer to the client's Close was withheld.
    hides_the_end: bool,
    from_client: Frames,
    from_hub: Frames,
}

impl Censor {
    /// Withholds this from now on, and nothing else. A session whose Begin was withheld stays silent.
    pub(crate) fn withhold(&mut self, answers: &[Answer]) {
        if !self.is_at_work {
            // The hub has answered by now whatever has come to it.
            self.asked.clear();
        }
        self.is_at_work |= !answers.is_empty();
        self.withheld = answers.to_vec();
    }

    /// Whether the end of the stream is withheld too.
    pub(crate) fn hides_the_end(&self) -> bool {
        self.hides_the_end
    }

    /// Looks at what comes to the hub.
    pub(crate) fn look(&mut self, bytes: &[u8]) {
        self.from_client.0.extend(bytes);
        while let Some(frame) = self.from_client.next() {
            if let Some((channel, Some(answer))) = read(&frame) {
                *self.asked.entry((answer, channel)).or_default() += 1;
            }
        }
    }

    /// What is left of what the hub has said. Of a frame that is not whole, nothing, unless it will never be.
    pub(crate) fn pass(&mut self, bytes: Vec<u8>, is_closed: bool) -> Vec<u8> {
        if !self.is_at_work {
            return bytes;
        }
        self.from_hub.0.extend(bytes);
        let mut passed = Vec::new();
        while let Some(frame) = self.from_hub.next() {
            if self.passes(&frame) {
                passed.extend(frame);
            }
        }
        if is_closed {
            passed.append(&mut self.from_hub.0);
        }
        passed
    }

    fn passes(&mut self, frame: &[u8]) -> bool {
        let Some((channel, answer)) = read(frame) else { return true };
        let Some(answer) = answer else { return !self.silenced.contains(&channel) };
        let asked = self.asked.entry((answer, channel)).or_default();
        *asked -= 1;
        // Who says the others second has answered.
        let is_answer = matches!(answer, Answer::Begin | Answer::Flow) || *asked >= 0;
        let is_withheld = is_answer && self.withheld.contains(&answer);
        if answer == Answer::Begin {
            self.silenced.remove(&channel);
            self.silenced.extend(is_withheld.then_some(channel));
        }
        self.hides_the_end |= is_withheld && answer == Answer::Close;
        !is_withheld && !self.silenced.contains(&channel)
    }
}

/// Bytes one way, which begin with a frame.
#[derive(Default)]
struct Frames(Vec<u8>);

impl Frames {
    /// The next frame, or the protocol header, if it is whole.
    fn next(&mut self) -> Option<Vec<u8>> {
        let length = match self.0[..] {
            [b'A', b'M', b'Q', b'P', ..] => 8,
            [a, b, c, d, ..] => u32::from_be_bytes([a, b, c, d]) as usize,
            _ => return None,
        };
        (length <= self.0.len()).then(|| self.0.drain(..length).collect())
    }
}

/// The channel of a frame, and what it says of what can be withheld; `None` for a protocol header, a frame of SASL and an empty one.
fn read(frame: &[u8]) -> Option<(u16, Option<Answer>)> {
    if frame.starts_with(b"AMQP") || frame[5] != 0 {
        return None;
    }
    // Descriptors are small numbers.
    let code = frame.get(usize::from(frame[4]) * 4 + 2)?;
    Some((u16::from_be_bytes([frame[6], frame[7]]), Answer::of(*code)))
}
