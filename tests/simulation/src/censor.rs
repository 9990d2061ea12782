//! A hub that leaves out answers over AMQP: its frames of some kinds get lost, and everything else goes on.

use std::collections::BTreeSet;

/// What the hub says over AMQP, and a [`Sim`](crate::Sim) can withhold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// That a session is begun; with it is lost whatever is said in that session.
    Begin,
    /// Credit, and how much the session takes.
    Flow,
    /// That a link is detached.
    Detach,
    /// That a session is ended.
    End,
    /// That the connection is closed; the stream stays open.
    Close,
}

impl Answer {
    /// The code of its performative.
    fn code(self) -> u8 {
        match self {
            Self::Begin => 0x11,
            Self::Flow => 0x13,
            Self::Detach => 0x16,
            Self::End => 0x17,
            Self::Close => 0x18,
        }
    }
}

/// Between the hub and the network of one connection.
#[derive(Default)]
pub(crate) struct Censor {
    withheld: Vec<Answer>,
    /// The hub's channels of the sessions whose Begin was withheld.
    silenced: BTreeSet<u16>,
}

impl Censor {
    /// Withholds this from now on, and nothing else. A session whose Begin was withheld stays silent.
    pub(crate) fn withhold(&mut self, answers: &[Answer]) {
        self.withheld = answers.to_vec();
    }

    /// Whether the end of the stream is withheld too, for the hub's last word is.
    pub(crate) fn hides_the_end(&self) -> bool {
        self.withheld.contains(&Answer::Close)
    }

    /// What is left of the hub's output, which is whole frames.
    pub(crate) fn pass(&mut self, output: Vec<u8>) -> Vec<u8> {
        if self.withheld.is_empty() && self.silenced.is_empty() {
            return output;
        }
        let (mut passed, mut rest) = (Vec::new(), &output[..]);
        while !rest.is_empty() {
            let (frame, after) = rest.split_at(length(rest));
            if self.passes(frame) {
                passed.extend(frame);
            }
            rest = after;
        }
        passed
    }

    fn passes(&mut self, frame: &[u8]) -> bool {
        // A protocol header, or SASL.
        if frame.starts_with(b"AMQP") || frame[5] != 0 {
            return true;
        }
        let channel = u16::from_be_bytes([frame[6], frame[7]]);
        // Descriptors are small numbers. An empty frame has none.
        let Some(code) = frame.get(usize::from(frame[4]) * 4 + 2) else { return true };
        let is = |answer: Answer| *code == answer.code();
        let is_withheld = self.withheld.iter().any(|answer| is(*answer));
        if is(Answer::Begin) {
            if is_withheld {
                self.silenced.insert(channel);
            } else {
                self.silenced.remove(&channel);
            }
        }
        !is_withheld && !self.silenced.contains(&channel)
    }
}

/// How long the first frame is, or the protocol header.
fn length(bytes: &[u8]) -> usize {
    match bytes {
        [b'A', b'M', b'Q', b'P', ..] => 8,
        [a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]) as usize,
        _ => panic!("the hub has written a part of a frame"),
    }
}
