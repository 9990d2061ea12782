//! Messages of one device or module on their way to the hub.
//!
//! The transport's half is the [`Outbox`]: what has no outcome yet, and since when. Between it and the link's task is the
//! [`Line`], in which messages wait for the link, and from which the task takes as many at once as a batch holds.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use iothub_core::{Message, OpId};
use tokio::sync::Notify;

use crate::encode::DATA_OVERHEAD;
use crate::message;

/// How long the hub may leave the oldest message without an outcome, for want of credit or of a disposition: as over MQTT.
pub(crate) const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// A message by whose first property a tester asks the hub for a fault: in a batch, the hub does not look for it.
const FAULT_PROPERTY: &str = "AzIoTHub_FaultOperationType";

/// A message, encoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) id: OpId,
    pub(crate) bytes: Vec<u8>,
    /// It must not share a batch.
    pub(crate) is_alone: bool,
}

impl Outgoing {
    /// Its share of a batch.
    fn size(&self) -> usize {
        self.bytes.len() + DATA_OVERHEAD
    }
}

/// Where messages wait for the link, in the order of sending.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line(Arc<(Mutex<VecDeque<Outgoing>>, Notify)>);

impl Line {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Outgoing>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, outgoing: Outgoing) {
        self.lock().push_back(outgoing);
        self.0.1.notify_one();
    }

    /// Takes a message out. `false` if the task has it already.
    fn remove(&self, id: OpId) -> bool {
        let mut line = self.lock();
        let place = line.iter().position(|outgoing| outgoing.id == id);
        place.and_then(|place| line.remove(place)).is_some()
    }

    /// Waits until there is a message.
    pub(crate) async fn filled(&self) {
        while self.lock().is_empty() {
            self.0.1.notified().await;
        }
    }

    /// Takes the first message, and those behind it that fit into a batch of so many bytes with it.
    pub(crate) fn take(&self, capacity: usize) -> Vec<Outgoing> {
        let mut line = self.lock();
        let mut room = capacity;
        let count = line.iter().take_while(|outgoing| {
            let fits = !outgoing.is_alone && outgoing.size() <= room;
            room = room.saturating_sub(outgoing.size());
            fits
        });
        let count = count.count().max(1).min(line.len());
        line.drain(..count).collect()
    }
}

/// The time, and the number of the slice that is under way or was the last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) now: Instant,
    pub(crate) slice: u64,
}

/// The oldest message without an outcome.
#[derive(Clone, Copy, Debug)]
struct Oldest {
    id: OpId,
    /// When it was submitted, or became the oldest.
    since: Instant,
    /// The slice before it could be sent.
    slice: u64,
}

/// The transport's half: the window.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    line: Line,
    under_way: BTreeSet<OpId>,
    /// Of these, those that the engine has given up. They keep their place until the hub has spoken, so that a hub that never does
    /// is found out, and what it leaves open stays bounded.
    forgotten: BTreeSet<OpId>,
    /// Those that were refused with their batch and are expected again.
    alone: BTreeSet<OpId>,
    oldest: Option<Oldest>,
}

impl Outbox {
    /// Begins anew, for the task that is given the line.
    pub(crate) fn begin(&mut self) -> Line {
        *self = Self::default();
        self.line.clone()
    }

    /// Whether so many messages are under way.
    pub(crate) fn is_full(&self, window: usize) -> bool {
        self.under_way.len() >= window
    }

    pub(crate) fn submit(&mut self, id: OpId, message: &Message, clock: Clock) {
        if !self.under_way.insert(id) {
            return;
        }
        if self.oldest.is_none_or(|oldest| id < oldest.id) {
            self.oldest = Some(Oldest { id, since: clock.now, slice: clock.slice });
        }
        let asks_for_fault = message.properties().next().is_some_and(|(name, _)| name == FAULT_PROPERTY);
        let is_alone = self.alone.remove(&id) || asks_for_fault;
        self.line.put(Outgoing { id, bytes: message::telemetry(message), is_alone });
    }

    /// A message has its outcome. `false` if nobody wants to know.
    pub(crate) fn settle(&mut self, id: OpId, now: Instant) -> bool {
        if !self.under_way.remove(&id) {
            return false;
        }
        if self.oldest.is_some_and(|oldest| oldest.id == id) {
            self.oldest = self.under_way.first().map(|id| Oldest { id: *id, since: now, slice: 0 });
        }
        !self.forgotten.remove(&id)
    }

    /// A message was refused with its batch, and has been settled: it is to go alone when it is submitted again.
    pub(crate) fn send_alone(&mut self, id: OpId) {
        self.alone.insert(id);
    }

    /// The engine has given a message up. One that still waits for the link is not sent any more.
    pub(crate) fn forget(&mut self, id: OpId, now: Instant) {
        self.alone.remove(&id);
        if self.line.remove(id) {
            self.settle(id, now);
        } else if self.under_way.contains(&id) {
            self.forgotten.insert(id);
        }
    }

    /// Everything that was under way is lost, and what still waits for the link is not sent any more.
    pub(crate) fn clear(&mut self) {
        self.line.lock().clear();
        *self = Self::default();
    }

    /// When the hub must have said something about the oldest message.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.oldest.map(|oldest| oldest.since + ACKNOWLEDGEMENT_TIMEOUT)
    }

    /// Whether the hub is late. If it had no chance to answer, its time begins anew. `is_all_said` if nothing waits to leave,
    /// and all that has come is taken in.
    pub(crate) fn is_late(&mut self, clock: Clock, is_all_said: bool) -> bool {
        let Some(oldest) = &mut self.oldest else { return false };
        if oldest.since + ACKNOWLEDGEMENT_TIMEOUT > clock.now {
            return false;
        }
        let had_its_time = is_all_said && clock.slice > oldest.slice + 1;
        if !had_its_time {
            oldest.since = clock.now;
        }
        had_its_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: usize = 3;

    fn start() -> (Outbox, Line, Instant) {
        let mut outbox = Outbox::default();
        let line = outbox.begin();
        (outbox, line, Instant::now())
    }

    fn sends(outbox: &mut Outbox, ids: impl IntoIterator<Item = u64>, size: usize, now: Instant) {
        for id in ids {
            outbox.submit(OpId(id), &Message::new(vec![0; size]), Clock { now, slice: 1 });
        }
    }

    fn taken(line: &Line, capacity: usize) -> Vec<u64> {
        line.take(capacity).into_iter().map(|outgoing| outgoing.id.0).collect()
    }

    fn is_late(outbox: &mut Outbox, now: Instant) -> bool {
        outbox.is_late(Clock { now, slice: 3 }, true)
    }

    #[test]
    fn a_batch_takes_what_waits_in_order_as_far_as_it_fits() {
        let (mut outbox, line, now) = start();
        sends(&mut outbox, 1..=5, 100, now);
        let size = line.lock()[0].size();
        assert_eq!(taken(&line, 2 * size), [1, 2]);
        assert_eq!(taken(&line, 2 * size - 1), [3]);
        assert_eq!(taken(&line, 0), [4], "one that fits into no batch goes all the same");
        assert_eq!(taken(&line, usize::MAX), [5]);
        assert_eq!(taken(&line, usize::MAX), [] as [u64; 0]);
    }

    #[test]
    fn what_must_go_alone_shares_no_batch() {
        let (mut outbox, line, now) = start();
        sends(&mut outbox, [1, 2], 1, now);
        let fault = Message::new("").with_property(FAULT_PROPERTY, "KillTcp").unwrap();
        outbox.submit(OpId(3), &fault, Clock { now, slice: 1 });
        let later = Message::new("").with_property("a", "b").unwrap().with_property(FAULT_PROPERTY, "KillTcp").unwrap();
        outbox.submit(OpId(4), &later, Clock { now, slice: 1 });
        sends(&mut outbox, [5], 1, now);
        assert_eq!([taken(&line, 9999), taken(&line, 9999), taken(&line, 9999)], [vec![1, 2], vec![3], vec![4, 5]]);
        for id in [1, 2] {
            outbox.settle(OpId(id), now);
            outbox.send_alone(OpId(id));
        }
        sends(&mut outbox, [1, 2, 6], 1, now);
        assert_eq!([taken(&line, 9999), taken(&line, 9999), taken(&line, 9999)], [[1], [2], [6]]);
    }

    #[test]
    fn a_forgotten_message_leaves_the_line_but_keeps_its_place_once_it_is_sent() {
        let (mut outbox, line, now) = start();
        sends(&mut outbox, 1..=3, 1, now);
        assert!(outbox.is_full(WINDOW));
        outbox.forget(OpId(3), now);
        assert!(!outbox.is_full(WINDOW));
        assert_eq!(taken(&line, 9999), [1, 2]);
        sends(&mut outbox, [4], 1, now);
        outbox.forget(OpId(1), now);
        assert!(outbox.is_full(WINDOW), "it is on the wire");
        assert!(!outbox.settle(OpId(1), now), "nobody wants to know any more");
        assert!(!outbox.is_full(WINDOW));
        assert!(outbox.settle(OpId(2), now));
        assert!(!outbox.settle(OpId(2), now), "one outcome");
    }

    #[test]
    fn the_hub_is_late_a_minute_after_the_oldest_was_sent_or_became_the_oldest() {
        let (mut outbox, line, start) = start();
        assert_eq!(outbox.due(), None);
        sends(&mut outbox, [1, 2], 1, start);
        taken(&line, 9999);
        let later = start + Duration::from_secs(30);
        outbox.settle(OpId(2), later);
        assert_eq!(outbox.due(), Some(start + ACKNOWLEDGEMENT_TIMEOUT), "progress with others is none with this one");
        sends(&mut outbox, [3], 1, later);
        outbox.settle(OpId(1), later);
        assert_eq!(outbox.due(), Some(later + ACKNOWLEDGEMENT_TIMEOUT));
        let due = later + ACKNOWLEDGEMENT_TIMEOUT;
        assert!(!is_late(&mut outbox, due - Duration::from_millis(1)));
        assert!(is_late(&mut outbox, due));
        outbox.forget(OpId(3), later);
        assert!(!is_late(&mut outbox, due), "it had not left the line");
    }

    #[test]
    fn forgetting_what_the_hub_leaves_open_does_not_excuse_it() {
        let (mut outbox, line, start) = start();
        sends(&mut outbox, [1], 1, start);
        taken(&line, 9999);
        outbox.forget(OpId(1), start);
        assert!(is_late(&mut outbox, start + ACKNOWLEDGEMENT_TIMEOUT));
    }

    #[test]
    fn time_in_which_nothing_could_leave_or_nobody_looked_is_not_the_hubs() {
        for (slice, is_all_said) in [(3, false), (2, true)] {
            let (mut outbox, _, start) = start();
            sends(&mut outbox, [1], 1, start);
            let due = start + ACKNOWLEDGEMENT_TIMEOUT;
            assert!(!outbox.is_late(Clock { now: due, slice }, is_all_said));
            assert_eq!(outbox.due(), Some(due + ACKNOWLEDGEMENT_TIMEOUT));
            assert!(is_late(&mut outbox, due + ACKNOWLEDGEMENT_TIMEOUT));
        }
    }
}
