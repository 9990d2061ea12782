//! A lane: operations of one sort, bounded, in order, with deadlines.
//!
//! There is one for telemetry and one for twin requests. An operation stays in it from acceptance to outcome, also
//! while the transport has it: this is the only copy. Confirmations that were asked for but not yet read still take
//! their room, so that memory stays bounded.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::message::Message;
use crate::transport::OpId;

/// What a lane carries.
pub(crate) trait Item {
    /// How many bytes it counts for.
    fn size(&self) -> usize;
}

impl Item for Message {
    fn size(&self) -> usize {
        Message::size(self)
    }
}

/// How much a lane may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

/// Which bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    Count,
    Bytes,
}

/// An operation that has left its lane, with what was stored beside it.
pub(crate) struct Resolved<T, C> {
    pub(crate) id: OpId,
    pub(crate) item: T,
    pub(crate) confirm: C,
    /// Whether it was ever handed to the transport, so that the hub may have it.
    pub(crate) was_submitted: bool,
}

struct Entry<T, C> {
    id: OpId,
    /// `None` once resolved; the empty place goes when it reaches the front, or when there are many.
    pending: Option<Pending<T, C>>,
}

struct Pending<T, C> {
    item: T,
    confirm: C,
    /// When it must have its outcome, from its acceptance on.
    expires: Option<Instant>,
    /// When the hub must have answered, while it is with the transport.
    answer_by: Option<Instant>,
    was_submitted: bool,
}

pub(crate) struct Lane<T, C> {
    bounds: Bounds,
    /// Ids ascend.
    entries: VecDeque<Entry<T, C>>,
    /// Entries before this index are submitted or resolved.
    next: usize,
    expiries: BTreeSet<(Instant, OpId)>,
    /// Operations without an outcome.
    pending: usize,
    /// Bytes of those, and of unread confirmations.
    bytes: usize,
    /// Confirmations that the application has not read.
    unread: usize,
}

impl<T: Item, C> Lane<T, C> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, entries: VecDeque::new(), next: 0, expiries: BTreeSet::new(), pending: 0, bytes: 0, unread: 0 }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether every operation has its outcome.
    pub(crate) fn is_drained(&self) -> bool {
        self.pending == 0
    }

    /// Whether an operation waits to be submitted.
    pub(crate) fn has_waiting(&self) -> bool {
        self.next < self.entries.len()
    }

    /// Whether an operation of this size would exceed a bound.
    pub(crate) fn overflow(&self, size: usize) -> Option<Overflow> {
        if self.pending + self.unread >= self.bounds.count {
            return Some(Overflow::Count);
        }
        (self.bytes + size > self.bounds.bytes).then_some(Overflow::Bytes)
    }

    /// Appends an operation that the caller has checked with [`overflow`](Self::overflow). Ids must ascend.
    pub(crate) fn push(&mut self, id: OpId, item: T, confirm: C, expires: Option<Instant>) {
        self.bytes += item.size();
        self.pending += 1;
        self.expiries.extend(expires.map(|at| (at, id)));
        let pending = Pending { item, confirm, expires, answer_by: None, was_submitted: false };
        self.entries.push_back(Entry { id, pending: Some(pending) });
    }

    /// The next operation to submit.
    pub(crate) fn front_waiting(&mut self) -> Option<(OpId, &T)> {
        while self.entries.get(self.next).is_some_and(|entry| entry.pending.is_none()) {
            self.next += 1;
        }
        let entry = self.entries.get(self.next)?;
        Some((entry.id, &entry.pending.as_ref()?.item))
    }

    /// The operation of [`front_waiting`](Self::front_waiting) is with the transport now, which shall have the hub's
    /// answer until then.
    pub(crate) fn mark_submitted(&mut self, answer_by: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(self.next) else { return };
        let Some(pending) = entry.pending.as_mut() else { return };
        pending.was_submitted = true;
        pending.answer_by = answer_by;
        self.expiries.extend(answer_by.map(|at| (at, entry.id)));
        self.next += 1;
    }

    /// How many operations the transport has.
    pub(crate) fn in_flight(&self) -> usize {
        self.entries.iter().take(self.next).filter(|entry| entry.pending.is_some()).count()
    }

    /// The transport has lost everything: all wait again, in their order. Returns how many had been submitted.
    pub(crate) fn requeue(&mut self) -> usize {
        let lost = self.in_flight();
        for entry in self.entries.iter_mut().take(self.next) {
            if let Some(at) = entry.pending.as_mut().and_then(|pending| pending.answer_by.take()) {
                self.expiries.remove(&(at, entry.id));
            }
        }
        self.next = 0;
        lost
    }

    /// An operation that was submitted and has no outcome.
    pub(crate) fn submitted(&self, id: OpId) -> Option<&T> {
        let index = self.entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        let pending = self.entries[index].pending.as_ref().filter(|_| index < self.next)?;
        Some(&pending.item)
    }

    /// Takes an operation out. `None` if it has had its outcome, or is of another lane.
    pub(crate) fn resolve(&mut self, id: OpId) -> Option<Resolved<T, C>> {
        // Outcomes come in order, nearly always.
        let index = match self.entries.front()?.id == id {
            true => 0,
            false => self.entries.binary_search_by_key(&id, |entry| entry.id).ok()?,
        };
        let pending = self.entries[index].pending.take()?;
        self.pending -= 1;
        self.bytes -= pending.item.size();
        if let Some(at) = pending.expires {
            self.expiries.remove(&(at, id));
        }
        if let Some(at) = pending.answer_by {
            self.expiries.remove(&(at, id));
        }
        self.clear_places();
        Some(Resolved { id, item: pending.item, confirm: pending.confirm, was_submitted: pending.was_submitted })
    }

    /// Drops the empty places at the front, and all when they are most of the queue.
    fn clear_places(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.pending.is_none()) {
            self.entries.pop_front();
            self.next = self.next.saturating_sub(1);
        }
        if self.entries.len() > 2 * self.pending + 64 {
            let submitted = self.in_flight();
            self.entries.retain(|entry| entry.pending.is_some());
            self.next = submitted;
        }
    }

    /// Takes out an operation whose deadline has passed.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<Resolved<T, C>> {
        let (at, id) = self.expiries.first().copied()?;
        if at > now {
            return None;
        }
        self.resolve(id)
    }

    /// Takes out the oldest operation.
    pub(crate) fn pop(&mut self) -> Option<Resolved<T, C>> {
        let id = self.entries.front()?.id;
        self.resolve(id)
    }

    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// A confirmation of this many bytes waits to be read.
    pub(crate) fn hold_confirmation(&mut self, bytes: usize) {
        self.unread += 1;
        self.bytes += bytes;
    }

    /// It has been read.
    pub(crate) fn release_confirmation(&mut self, bytes: usize) {
        self.unread = self.unread.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// When an operation that was accepted at `now` expires: a deadline is missed *after* the time-out, not at it, as in
/// the C SDK.
pub(crate) fn expiry(now: Instant, timeout: Duration) -> Option<Instant> {
    now.checked_add(timeout)?.checked_add(Duration::from_nanos(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(count: usize, bytes: usize) -> Lane<Message, ()> {
        Lane::new(Bounds { count, bytes })
    }

    fn push(queue: &mut Lane<Message, ()>, id: u64) {
        queue.push(OpId(id), Message::new(vec![0; 10]), (), None);
    }

    fn submit_all(queue: &mut Lane<Message, ()>) -> Vec<u64> {
        let mut ids = Vec::new();
        while let Some((id, _)) = queue.front_waiting() {
            ids.push(id.0);
            queue.mark_submitted(None);
        }
        ids
    }

    #[test]
    fn both_bounds_hold_until_the_outcome_and_for_unread_confirmations() {
        let mut queue = queue(2, 25);
        push(&mut queue, 1);
        assert_eq!(queue.overflow(15), None);
        assert_eq!(queue.overflow(16), Some(Overflow::Bytes));
        push(&mut queue, 2);
        assert_eq!(queue.overflow(0), Some(Overflow::Count));
        submit_all(&mut queue);
        assert_eq!(queue.overflow(0), Some(Overflow::Count));
        queue.resolve(OpId(1));
        queue.hold_confirmation(10);
        assert_eq!(queue.overflow(0), Some(Overflow::Count));
        queue.release_confirmation(10);
        assert_eq!(queue.overflow(0), None);
    }

    #[test]
    fn after_a_loss_all_unresolved_come_again_in_order_before_the_new() {
        let mut queue = queue(10, 1000);
        (1..=4).for_each(|id| push(&mut queue, id));
        assert_eq!(submit_all(&mut queue), [1, 2, 3, 4]);
        queue.resolve(OpId(2));
        push(&mut queue, 5);
        assert_eq!(queue.requeue(), 3);
        assert_eq!(submit_all(&mut queue), [1, 3, 4, 5]);
    }

    #[test]
    fn outcomes_out_of_order_leave_no_gap_behind() {
        let mut queue = queue(10, 1000);
        (1..=3).for_each(|id| push(&mut queue, id));
        submit_all(&mut queue);
        for id in [3, 1, 2] {
            assert!(queue.resolve(OpId(id)).is_some());
            assert!(queue.resolve(OpId(id)).is_none(), "an outcome came twice");
        }
        assert!(queue.is_drained() && queue.entries.is_empty() && queue.bytes == 0);
        push(&mut queue, 4);
        assert_eq!(submit_all(&mut queue), [4]);
    }

    #[test]
    fn a_resolved_message_leaves_no_deadline_behind() {
        let mut queue = queue(10, 1000);
        let now = Instant::now();
        queue.push(OpId(1), Message::new("a"), (), expiry(now, Duration::from_secs(1)));
        queue.resolve(OpId(1));
        assert_eq!(queue.next_expiry(), None);
        assert!(queue.pop_expired(now + Duration::from_secs(2)).is_none());
    }

    #[test]
    fn a_deadline_is_missed_after_the_timeout_not_at_it() {
        let mut queue = queue(10, 1000);
        let now = Instant::now();
        let timeout = Duration::from_secs(1);
        queue.push(OpId(1), Message::new("a"), (), expiry(now, timeout));
        assert!(queue.pop_expired(now + timeout).is_none());
        assert!(queue.pop_expired(now + timeout + Duration::from_nanos(1)).is_some());
    }

    #[test]
    fn an_answer_is_awaited_only_while_the_transport_has_the_operation() {
        let mut queue = queue(10, 1000);
        let now = Instant::now();
        push(&mut queue, 1);
        queue.front_waiting();
        queue.mark_submitted(Some(now));
        assert_eq!(queue.next_expiry(), Some(now));
        queue.requeue();
        assert_eq!(queue.next_expiry(), None);
        queue.front_waiting();
        queue.mark_submitted(Some(now));
        assert_eq!(queue.pop_expired(now).map(|late| late.id), Some(OpId(1)));
        assert_eq!(queue.next_expiry(), None);
    }

    #[test]
    fn one_that_is_never_resolved_does_not_make_the_others_pile_up() {
        let mut queue = queue(10, 1000);
        push(&mut queue, 1);
        for id in 2..10_000 {
            push(&mut queue, id);
            submit_all(&mut queue);
            queue.resolve(OpId(id));
        }
        assert!(queue.entries.len() < 100, "{}", queue.entries.len());
        push(&mut queue, 10_000);
        assert_eq!(submit_all(&mut queue), [10_000]);
        assert_eq!(queue.requeue(), 2);
        assert_eq!(submit_all(&mut queue), [1, 10_000]);
    }
}
