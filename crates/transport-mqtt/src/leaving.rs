//! Packets of one lane that are encoded and have not left the client: how many bytes they are, and whose outcome waits
//! for them to leave. It knows places in the stream, and nothing of packets.

use std::collections::VecDeque;
use std::ops::Range;

use iothub_core::OpId;

/// How many bytes of one lane may wait to leave before it has to wait: one more packet of the largest size can follow,
/// so a telemetry message of 256 KiB and its topic, a patch of 32 KiB, or a response of 128 KiB.
pub(crate) const LANE_LIMIT: usize = 256 * 1024;

struct Packet {
    /// Where in the stream its bytes are.
    place: Range<u64>,
    /// The operation that is done when they have left; `None` if none is, or none any more.
    op: Option<OpId>,
}

#[derive(Default)]
pub(crate) struct Leaving {
    /// In the order of encoding.
    packets: VecDeque<Packet>,
    bytes: u64,
}

impl Leaving {
    /// A packet was encoded at this place of the stream.
    pub(crate) fn put(&mut self, place: Range<u64>, op: Option<OpId>) {
        self.bytes += place.end - place.start;
        self.packets.push_back(Packet { place, op });
    }

    /// How many bytes have not left; a packet counts whole until its last byte has.
    pub(crate) fn bytes(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }

    /// The next operation whose packet has left, given up to which place of the stream everything has. Call it until
    /// there is none.
    pub(crate) fn flushed(&mut self, up_to: u64) -> Option<OpId> {
        while self.packets.front().is_some_and(|packet| packet.place.end <= up_to) {
            let packet = self.packets.pop_front()?;
            self.bytes -= packet.place.end - packet.place.start;
            if packet.op.is_some() {
                return packet.op;
            }
        }
        None
    }

    /// Nobody wants an outcome for the operation; its packet goes all the same.
    pub(crate) fn forget(&mut self, op: OpId) {
        for packet in self.packets.iter_mut().filter(|packet| packet.op == Some(op)) {
            packet.op = None;
        }
    }

    /// The operations whose packets have not left.
    pub(crate) fn into_ops(self) -> impl Iterator<Item = OpId> {
        self.packets.into_iter().filter_map(|packet| packet.op)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_waits_until_the_last_byte_has_left() {
        let mut leaving = Leaving::default();
        leaving.put(0..4, Some(OpId(1)));
        leaving.put(4..8, None);
        leaving.put(10..12, Some(OpId(3)));
        assert_eq!(leaving.bytes(), 10);
        assert_eq!(leaving.flushed(3), None);
        assert_eq!(leaving.flushed(8), Some(OpId(1)));
        assert_eq!(leaving.flushed(8), None);
        assert_eq!(leaving.bytes(), 2);
        assert_eq!(leaving.flushed(12), Some(OpId(3)));
        assert_eq!(leaving.bytes(), 0);
    }

    #[test]
    fn the_forgotten_stays_silent_but_counts_until_it_has_left() {
        let mut leaving = Leaving::default();
        leaving.put(0..4, Some(OpId(1)));
        leaving.put(4..8, Some(OpId(2)));
        leaving.forget(OpId(1));
        assert_eq!(leaving.bytes(), 8);
        assert_eq!(leaving.flushed(4), None);
        assert_eq!(leaving.into_ops().collect::<Vec<_>>(), [OpId(2)]);
    }
}
