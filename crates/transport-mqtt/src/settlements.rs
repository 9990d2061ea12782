//! Messages to the device or to the module's inputs that await their PUBACK, in the order in which they came.
//!
//! MQTT knows one answer to a message, the PUBACK, and wants PUBACKs in the order of arrival (3.1.1, 4.6). So:
//!
//! - An accepted message is acknowledged when every earlier one is decided; until then its acknowledgement is held.
//! - An abandoned message leaves the order and is never acknowledged; the hub delivers it again later.
//! - A message that comes again under an identifier that still awaits its PUBACK is the same message, whatever its
//!   DUP flag says (the hub repeats a message whose lock ran out), and is not delivered twice.
//!
//! A settlement has its outcome when its PUBACK has left the client; one that had not when the connection ended is
//! stale.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use iothub_core::{ConnectionErrorKind, OpId};

use crate::leaving::Leaving;

/// How many messages may await their PUBACK: the hub queues at most 50 for a device (quotas), so a hub that keeps to
/// its own limit never exceeds this. IoT Edge is set to 10
/// (`IotHubClient.MaxPendingOutboundMessages`).
pub(crate) const MAX_OUTSTANDING: usize = 50;

/// How long an acknowledgement may be held by an undecided message: as long as the hub locks a message (60 s, fixed).
pub(crate) const MAX_HELD: Duration = Duration::from_secs(60);

/// The key of a message that came without a packet identifier, at QoS 0.
pub(crate) const UNACKNOWLEDGED: u64 = 0;

/// What a message with a packet identifier is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// New, known under this key.
    New(u64),
    /// The same again.
    Again,
}

struct Delivered {
    packet_id: u16,
    key: u64,
    accepted: Option<Accepted>,
}

#[derive(Clone, Copy)]
struct Accepted {
    /// `None` once it is forgotten.
    op: Option<OpId>,
    at: Instant,
}

#[derive(Default)]
pub(crate) struct Settlements {
    order: VecDeque<Delivered>,
    last_key: u64,
    /// PUBACKs on their way out.
    leaving: Leaving,
}

impl Settlements {
    /// A message came. Fails when too many await their PUBACK.
    pub(crate) fn arrived(&mut self, packet_id: u16, now: Instant) -> Result<Arrival, ConnectionErrorKind> {
        if self.order.iter().any(|delivered| delivered.packet_id == packet_id) {
            return Ok(Arrival::Again);
        }
        if self.order.len() == MAX_OUTSTANDING {
            return Err(self.held_too_much(now));
        }
        self.last_key += 1;
        self.order.push_back(Delivered { packet_id, key: self.last_key, accepted: None });
        Ok(Arrival::New(self.last_key))
    }

    /// The message is accepted; `false` if no undecided message has this key.
    pub(crate) fn accept(&mut self, key: u64, op: OpId, now: Instant) -> bool {
        match self.undecided(key) {
            Some(at) => {
                self.order[at].accepted = Some(Accepted { op: Some(op), at: now });
                true
            }
            None => false,
        }
    }

    /// The message is abandoned; `false` if no undecided message has this key.
    pub(crate) fn abandon(&mut self, key: u64) -> bool {
        self.undecided(key).and_then(|at| self.order.remove(at)).is_some()
    }

    fn undecided(&self, key: u64) -> Option<usize> {
        self.order.iter().position(|delivered| delivered.key == key && delivered.accepted.is_none())
    }

    /// The next message whose PUBACK may go: its packet identifier and its operation.
    pub(crate) fn release(&mut self) -> Option<(u16, Option<OpId>)> {
        let accepted = self.order.front()?.accepted?;
        self.order.pop_front().map(|delivered| (delivered.packet_id, accepted.op))
    }

    /// A released PUBACK was encoded at this place of the stream.
    pub(crate) fn encoded(&mut self, place: Range<u64>, op: Option<OpId>) {
        self.leaving.put(place, op);
    }

    /// How many bytes of PUBACKs have not left.
    pub(crate) fn unsent(&self) -> usize {
        self.leaving.bytes()
    }

    /// The next operation whose PUBACK has left, given up to which place of the stream everything has.
    pub(crate) fn flushed(&mut self, up_to: u64) -> Option<OpId> {
        self.leaving.flushed(up_to)
    }

    /// The engine wants no outcome for the operation; what was decided stays decided.
    pub(crate) fn forget(&mut self, op: OpId) {
        let held = self.order.iter_mut().filter_map(|delivered| delivered.accepted.as_mut()).map(|held| &mut held.op);
        held.filter(|known| **known == Some(op)).for_each(|known| *known = None);
        self.leaving.forget(op);
    }

    /// When the oldest held acknowledgement has been held for too long.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.held_since().map(|since| since + MAX_HELD)
    }

    fn held_since(&self) -> Option<Instant> {
        self.order.iter().filter_map(|delivered| delivered.accepted).map(|accepted| accepted.at).min()
    }

    /// Why the connection must end when the bounds are exceeded.
    pub(crate) fn held_too_much(&self, now: Instant) -> ConnectionErrorKind {
        ConnectionErrorKind::SettlementsHeld {
            held: self.order.iter().filter(|delivered| delivered.accepted.is_some()).count(),
            held_for: self.held_since().map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
        }
    }

    /// The operations that no longer can have the outcome they wanted, because the connection is gone.
    pub(crate) fn into_stale(self) -> impl Iterator<Item = OpId> {
        self.leaving.into_ops().chain(self.order.into_iter().filter_map(|delivered| delivered.accepted?.op))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrive(settlements: &mut Settlements, packet_id: u16) -> u64 {
        match settlements.arrived(packet_id, Instant::now()).unwrap() {
            Arrival::New(key) => key,
            Arrival::Again => panic!("{packet_id} was there already"),
        }
    }

    fn accept(settlements: &mut Settlements, key: u64) {
        assert!(settlements.accept(key, OpId(key), Instant::now()));
    }

    /// The packet identifiers that may go now.
    fn released(settlements: &mut Settlements) -> Vec<u16> {
        std::iter::from_fn(|| settlements.release()).map(|(packet_id, _)| packet_id).collect()
    }

    #[test]
    fn acknowledgements_go_in_the_order_of_arrival() {
        let mut s = Settlements::default();
        let keys = [7, 8, 9].map(|id| arrive(&mut s, id));
        accept(&mut s, keys[1]);
        accept(&mut s, keys[2]);
        assert_eq!(released(&mut s), [0u16; 0]);
        accept(&mut s, keys[0]);
        assert_eq!(released(&mut s), [7, 8, 9]);
    }

    #[test]
    fn an_abandoned_message_leaves_the_order() {
        let mut s = Settlements::default();
        let keys = [7, 8, 9].map(|id| arrive(&mut s, id));
        accept(&mut s, keys[2]);
        assert!(s.abandon(keys[0]));
        assert!(s.abandon(keys[1]));
        assert_eq!(released(&mut s), [9]);
        // Its identifier is a new delivery's when it comes again.
        assert_ne!(arrive(&mut s, 7), keys[0]);
    }

    #[test]
    fn a_message_is_decided_once() {
        let mut s = Settlements::default();
        let key = arrive(&mut s, 7);
        accept(&mut s, key);
        assert!(!s.accept(key, OpId(9), Instant::now()));
        assert!(!s.abandon(key));
        assert!(!s.abandon(99));
    }

    #[test]
    fn the_same_identifier_is_the_same_message_until_it_is_acknowledged() {
        let mut s = Settlements::default();
        arrive(&mut s, 6);
        let key = arrive(&mut s, 7);
        assert_eq!(s.arrived(7, Instant::now()), Ok(Arrival::Again));
        accept(&mut s, key);
        assert_eq!(s.arrived(7, Instant::now()), Ok(Arrival::Again));
    }

    #[test]
    fn what_has_no_outcome_when_the_connection_ends_is_stale_and_the_forgotten_stays_silent() {
        let mut s = Settlements::default();
        let keys = [6, 7, 8].map(|id| arrive(&mut s, id));
        s.encoded(0..4, Some(OpId(100)));
        accept(&mut s, keys[1]);
        accept(&mut s, keys[2]);
        s.forget(OpId(keys[1]));
        assert_eq!(s.into_stale().collect::<Vec<_>>(), [OpId(100), OpId(keys[2])]);
    }

    #[test]
    fn fifty_may_wait_and_a_held_one_for_a_minute() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut s = Settlements::default();
        let keys: Vec<_> = (1..=50).map(|id| arrive(&mut s, id)).collect();
        assert_eq!(s.deadline(), None);
        assert!(s.accept(keys[9], OpId(9), at(3)));
        assert!(s.accept(keys[5], OpId(5), at(4)));
        assert_eq!(s.deadline(), Some(at(63)));
        let held = ConnectionErrorKind::SettlementsHeld { held: 2, held_for: Duration::from_secs(7) };
        assert_eq!(s.arrived(51, at(10)), Err(held));
    }
}
