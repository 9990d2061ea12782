//! What goes to the peer and when: at once, later, behind another packet, in two pieces, or not at all. It knows nothing of what the packets say.

use std::time::Duration;

use crate::clock::Now;

#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// What may be written now.
    ready: Vec<u8>,
    /// Everything waits for a time.
    gate: Option<Gate>,
    /// Packets that wait alone, in the order in which they were made.
    later: Vec<(Duration, Vec<u8>)>,
    /// Packets that wait for another one to go first.
    behind_next: Vec<u8>,
    /// How many more bytes go before the split.
    split_after: Option<usize>,
    /// Nothing reaches the peer any more.
    dead: bool,
}

#[derive(Debug)]
struct Gate {
    until: Duration,
    held: Vec<u8>,
}

impl Outgoing {
    /// A whole packet, and behind it those that waited for one.
    pub(crate) fn push(&mut self, packet: Vec<u8>) {
        self.push_part(packet);
        let waiting = std::mem::take(&mut self.behind_next);
        self.push_part(waiting);
    }

    /// Bytes that are no whole packet.
    pub(crate) fn push_part(&mut self, bytes: Vec<u8>) {
        let place = self.gate.as_mut().map_or(&mut self.ready, |gate| &mut gate.held);
        if place.is_empty() {
            *place = bytes;
        } else {
            place.extend_from_slice(&bytes);
        }
    }

    pub(crate) fn push_later(&mut self, due: Duration, packet: Vec<u8>) {
        self.later.push((due, packet));
    }

    pub(crate) fn push_behind_next(&mut self, packet: &[u8]) {
        self.behind_next.extend_from_slice(packet);
    }

    /// From now on everything waits until this time.
    pub(crate) fn hold_until(&mut self, until: Duration) {
        self.gate = Some(Gate { until, held: Vec::new() });
    }

    /// So many bytes from now, a new write begins.
    pub(crate) fn split_after(&mut self, bytes: usize) {
        self.split_after = Some(bytes);
    }

    /// The peer is cut off.
    pub(crate) fn die(&mut self) {
        *self = Self { dead: true, ..Self::default() };
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Makes ready what has become due.
    pub(crate) fn release(&mut self, now: Now) {
        if let Some(gate) = self.gate.take_if(|gate| gate.until <= now.elapsed) {
            self.push_part(gate.held);
        }
        let (due, waiting) = std::mem::take(&mut self.later).into_iter().partition(|(due, _)| *due <= now.elapsed);
        self.later = waiting;
        let mut due: Vec<_> = due;
        due.sort_by_key(|(due, _)| *due);
        due.into_iter().for_each(|(_, packet)| self.push(packet));
    }

    /// When [`release`](Self::release) has something to do.
    pub(crate) fn due(&self) -> Option<Duration> {
        let gate = self.gate.as_ref().map(|gate| gate.until);
        self.later.iter().map(|(due, _)| *due).chain(gate).min()
    }

    /// What is to be written in one go.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        if self.dead {
            self.ready.clear();
        }
        match self.split_after {
            Some(bytes) if bytes < self.ready.len() => {
                self.split_after = None;
                let rest = self.ready.split_off(bytes);
                std::mem::replace(&mut self.ready, rest)
            }
            Some(bytes) => {
                self.split_after = Some(bytes - self.ready.len());
                std::mem::take(&mut self.ready)
            }
            None => std::mem::take(&mut self.ready),
        }
    }

    /// Whether the other piece of a split is left.
    pub(crate) fn has_more(&self) -> bool {
        !self.ready.is_empty() && !self.dead
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn at(seconds: u64) -> Now {
        Now { elapsed: Duration::from_secs(seconds), wall: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn a_delayed_packet_goes_when_it_is_due_and_others_pass_it() {
        let mut out = Outgoing::default();
        out.push_later(Duration::from_secs(3), b"third".to_vec());
        out.push_later(Duration::from_secs(2), b"second,".to_vec());
        out.push(b"first".to_vec());
        out.release(at(1));
        assert_eq!((out.take(), out.due()), (b"first".to_vec(), Some(Duration::from_secs(2))));
        out.release(at(3));
        assert_eq!((out.take(), out.due()), (b"second,third".to_vec(), None));
    }

    #[test]
    fn behind_a_gate_everything_waits_in_order() {
        let mut out = Outgoing::default();
        out.hold_until(Duration::from_secs(2));
        out.push(b"a".to_vec());
        out.push(b"b".to_vec());
        out.release(at(1));
        assert_eq!((out.take(), out.due()), (Vec::new(), Some(Duration::from_secs(2))));
        out.release(at(2));
        out.push(b"c".to_vec());
        assert_eq!(out.take(), b"abc");
    }

    #[test]
    fn a_packet_that_is_put_behind_waits_for_a_whole_one() {
        let mut out = Outgoing::default();
        out.push_behind_next(b"late");
        out.push_part(b"half".to_vec());
        assert_eq!(out.take(), b"half");
        out.push(b"whole,".to_vec());
        out.push(b",next".to_vec());
        assert_eq!(out.take(), b"whole,late,next");
    }

    #[test]
    fn a_split_counts_bytes_over_several_writes() {
        let mut out = Outgoing::default();
        out.split_after(5);
        out.push(b"abc".to_vec());
        assert_eq!((out.take(), out.has_more()), (b"abc".to_vec(), false));
        out.push(b"defg".to_vec());
        assert_eq!((out.take(), out.has_more()), (b"de".to_vec(), true));
        assert_eq!((out.take(), out.has_more()), (b"fg".to_vec(), false));
    }

    #[test]
    fn a_peer_that_is_cut_off_gets_nothing() {
        let mut out = Outgoing::default();
        out.push(b"a".to_vec());
        out.push_later(Duration::ZERO, b"b".to_vec());
        out.die();
        out.push(b"c".to_vec());
        out.release(at(9));
        assert_eq!((out.has_more(), out.take()), (false, Vec::new()));
    }
}
