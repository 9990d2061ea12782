//! What a network can do to the bytes, as values; `link` does it.

use std::ops::Range;
use std::time::Duration;

/// In which direction bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the hub.
    Up,
    /// From the hub to the client.
    Down,
}

/// How the bytes of a connection travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// How long each piece takes; pieces never overtake each other. Default: no time.
    pub latency: Range<Duration>,
    /// What is written at once arrives in pieces of at most this many bytes, each by itself. Default: as it was written.
    pub piece: Option<usize>,
    /// Pieces that are due at the same time arrive as one. Default: each by itself.
    pub merge: bool,
    /// How many bytes may lie between the client and the network. Default: 256 KiB, as in a socket's buffers.
    pub buffer: usize,
}

impl Default for Path {
    fn default() -> Self {
        Self { latency: Duration::ZERO..Duration::ZERO, piece: None, merge: false, buffer: 256 * 1024 }
    }
}

impl Path {
    /// How long the next piece takes.
    pub(crate) fn delay(&self, random: &mut fastrand::Rng) -> Duration {
        let Range { start, end } = &self.latency;
        let spread = end.saturating_sub(*start).as_micros();
        match u64::try_from(spread) {
            Ok(spread @ 1..) => *start + Duration::from_micros(random.u64(0..spread)),
            _ => *start,
        }
    }
}

/// How attempts to connect end before a byte is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The port is closed.
    Refused,
    /// Nobody answers; the attempt fails after this time.
    Silent(Duration),
}
