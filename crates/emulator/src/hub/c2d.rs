//! One device's queue of cloud-to-device messages, or one module's of input messages: locks, redelivery, time to live
//! (docs/hub-over-mqtt.md 3, 6). It knows nothing of packets but their ids.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::activity::{ConnectionId, PubackEffect};
use crate::clock::{Now, iso8601};
use crate::hub::registry::Identity;
use crate::hub::telemetry::{SENDING_DEVICE, SENDING_MODULE};
use crate::message::{C2dMessage, Expiry};
use crate::record::{C2dRecord, C2dResult, C2dState};

/// A message as it is stored: with its id, and its expiry if the service gave one.
#[derive(Debug)]
pub(crate) struct StoredMessage {
    pub(crate) message_id: String,
    pub(crate) message: C2dMessage,
    /// Only if the service set it: then the device is told.
    pub(crate) stated_expiry: Option<SystemTime>,
}

impl StoredMessage {
    /// The system properties that the device or module is told, by their names in records, in the order seen on the real hub (docs/hub-over-mqtt.md 3, 6).
    pub(crate) fn system(&self, identity: &Identity) -> Vec<(&'static str, String)> {
        let message = &self.message;
        let expiry = ("absolute-expiry-time", self.stated_expiry.map(iso8601));
        let mut all = Vec::new();
        if message.input.is_none() {
            let to = format!("/devices/{}/messages/devicebound", identity.device);
            all.extend([("message-id", Some(self.message_id.clone())), expiry, ("to", Some(to))]);
        } else {
            let sender = message.sender.as_ref();
            all.extend([
                (SENDING_DEVICE, sender.map(|sender| sender.device.clone())),
                (SENDING_MODULE, sender.and_then(|sender| sender.module.clone())),
                // Not the one that the hub has made up.
                ("message-id", message.message_id.clone()),
                expiry,
            ]);
            all.extend(message.passed_on.iter().map(|(name, value)| (*name, Some(value.clone()))));
        }
        all.extend([
            ("correlation-id", message.correlation_id.clone()),
            ("user-id", message.user_id.clone()),
            ("content-type", message.content_type.clone()),
            ("content-encoding", message.content_encoding.clone()),
            ("iothub-ack", message.ack.map(|mode| mode.wire().to_owned())),
        ]);
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

#[derive(Debug)]
struct Entry {
    sequence: u64,
    message: Arc<StoredMessage>,
    enqueued: SystemTime,
    expires: SystemTime,
    /// Its place among all events of the hub, to tell which subscriptions are older.
    created: u64,
    delivery_count: u32,
    /// Whether it was sent before: then the next time it has DUP.
    sent_before: bool,
    place: Place,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Enqueued,
    Locked(Lock),
}

/// Who has a message, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lock {
    id: LockId,
    by: ConnectionId,
    until: Duration,
    terms: LockTerms,
}

/// Names one lock of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LockId(u64);

/// How long a message is locked, and what counts as giving it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockTerms {
    pub(crate) duration: Duration,
    /// The end of the connection does.
    pub(crate) lost_counts: bool,
    /// The end of the lock does.
    pub(crate) expiry_counts: bool,
}

impl Entry {
    fn locked_by(&self, connection: ConnectionId) -> bool {
        matches!(self.place, Place::Locked(lock) if lock.by == connection)
    }

    fn give_back(&mut self, counts: bool) {
        self.place = Place::Enqueued;
        self.delivery_count += u32::from(counts);
    }
}

/// A message to be sent now.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) message: Arc<StoredMessage>,
    pub(crate) packet_id: u16,
    pub(crate) dup: bool,
    pub(crate) sequence: u64,
    pub(crate) lock: LockId,
    pub(crate) enqueued: SystemTime,
    /// How often it was given back before.
    pub(crate) delivery_count: u32,
}

/// What a device decides about a message. Over MQTT there is only the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// It is done.
    Complete,
    /// It is to come again, which counts (docs/hub-over-mqtt.md 3).
    Abandon,
    /// It is not wanted.
    Reject,
    /// What the device decided is lost at the hub: it waits again. A fault.
    Lost,
}

/// What a decision did.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) message: Arc<StoredMessage>,
    /// Unless it waits again.
    pub(crate) ended: Option<Ended>,
}

/// A message that has left the queue.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) message: Arc<StoredMessage>,
    pub(crate) result: C2dResult,
}

#[derive(Debug, Default)]
pub(crate) struct C2dQueue {
    last_sequence: u64,
    last_lock: u64,
    entries: VecDeque<Entry>,
}

/// The next moments at which something is due, one for each kind of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) elapsed: Option<Duration>,
    pub(crate) wall: Option<SystemTime>,
}

impl Due {
    pub(crate) fn at_elapsed(&mut self, deadline: Duration) {
        self.elapsed = Some(self.elapsed.map_or(deadline, |known| known.min(deadline)));
    }

    pub(crate) fn at_wall(&mut self, date: SystemTime) {
        self.wall = Some(self.wall.map_or(date, |known| known.min(date)));
    }

    pub(crate) fn reached(&self, now: Now) -> bool {
        self.elapsed.is_some_and(|deadline| deadline <= now.elapsed) || self.wall.is_some_and(|date| date <= now.wall)
    }

    /// How long until the first of them, if time just passes.
    pub(crate) fn timeout(&self, now: Now) -> Option<Duration> {
        let elapsed = self.elapsed.map(|deadline| now.until_elapsed(deadline));
        let wall = self.wall.map(|date| now.until_wall(date));
        elapsed.into_iter().chain(wall).min()
    }
}

impl C2dQueue {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn push(
        &mut self,
        message_id: String,
        message: C2dMessage,
        default_ttl: Duration,
        created: u64,
        now: Now,
    ) {
        let stated_expiry = match message.expiry {
            Some(Expiry::At(date)) => Some(date),
            Some(Expiry::After(ttl)) => Some(later(now.wall, ttl)),
            None => None,
        };
        self.last_sequence += 1;
        self.entries.push_back(Entry {
            sequence: self.last_sequence,
            enqueued: now.wall,
            expires: stated_expiry.unwrap_or_else(|| later(now.wall, default_ttl)),
            message: Arc::new(StoredMessage { message_id, message, stated_expiry }),
            created,
            delivery_count: 0,
            sent_before: false,
            place: Place::Enqueued,
        });
    }

    /// Locks the oldest message that waits, and gives it.
    pub(crate) fn take_next(&mut self, by: ConnectionId, terms: LockTerms, now: Now) -> Option<Delivery> {
        let entry = self.entries.iter_mut().find(|entry| entry.place == Place::Enqueued)?;
        self.last_lock += 1;
        let id = LockId(self.last_lock);
        entry.place = Place::Locked(Lock { id, by, until: now.elapsed.saturating_add(terms.duration), terms });
        let dup = std::mem::replace(&mut entry.sent_before, true);
        Some(Delivery {
            message: Arc::clone(&entry.message),
            packet_id: packet_id(entry.sequence),
            dup,
            sequence: entry.sequence,
            lock: id,
            enqueued: entry.enqueued,
            delivery_count: entry.delivery_count,
        })
    }

    /// Ends the waiting messages that are older than the subscription, or all if there is none.
    pub(crate) fn reject_unmatched(&mut self, subscribed: Option<u64>) -> Vec<Ended> {
        self.end_where(C2dResult::Rejected, |entry| {
            entry.place == Place::Enqueued && subscribed.is_none_or(|since| entry.created < since)
        })
    }

    /// A PUBACK came. `any_order` completes it wherever it stands in the queue.
    pub(crate) fn puback(&mut self, by: ConnectionId, id: u16, any_order: bool) -> (PubackEffect, Option<Ended>) {
        let mut in_flight = self.entries.iter().filter(|entry| entry.locked_by(by));
        let Some(position) = in_flight.position(|entry| packet_id(entry.sequence) == id) else {
            return (PubackEffect::Unknown, None);
        };
        if position > 0 && !any_order {
            return (PubackEffect::OutOfOrder, None);
        }
        let sequence = self
            .entries
            .iter()
            .find(|entry| entry.locked_by(by) && packet_id(entry.sequence) == id)
            .map(|entry| entry.sequence);
        let ended = sequence.and_then(|sequence| self.complete(sequence));
        (PubackEffect::Completed, ended)
    }

    /// The device is done with this message.
    pub(crate) fn complete(&mut self, sequence: u64) -> Option<Ended> {
        self.end_where(C2dResult::Completed, |entry| entry.sequence == sequence).pop()
    }

    /// Whether this lock still is.
    pub(crate) fn has_lock(&self, id: LockId) -> bool {
        self.entries.iter().any(|entry| matches!(entry.place, Place::Locked(lock) if lock.id == id))
    }

    /// The device has decided about a message that this connection holds. `None`: it does not hold it.
    pub(crate) fn settle(
        &mut self,
        by: ConnectionId,
        sequence: u64,
        how: Settlement,
        max_count: u32,
    ) -> Option<Settled> {
        let entry = self.entries.iter_mut().find(|entry| entry.sequence == sequence && entry.locked_by(by))?;
        let message = Arc::clone(&entry.message);
        let ended = match how {
            Settlement::Complete => self.complete(sequence),
            Settlement::Reject => self.end_where(C2dResult::Rejected, |entry| entry.sequence == sequence).pop(),
            Settlement::Abandon | Settlement::Lost => {
                entry.give_back(true);
                self.end_exhausted(max_count).pop()
            }
        };
        Some(Settled { message, ended })
    }

    /// A connection ended: its messages wait again.
    pub(crate) fn release(&mut self, by: ConnectionId, max_count: u32) -> Vec<Ended> {
        for entry in &mut self.entries {
            if let Place::Locked(lock) = entry.place
                && lock.by == by
            {
                entry.give_back(lock.terms.lost_counts);
            }
        }
        self.end_exhausted(max_count)
    }

    fn end_exhausted(&mut self, max_count: u32) -> Vec<Ended> {
        self.end_where(C2dResult::DeliveryCountExceeded, |entry| {
            entry.place == Place::Enqueued && entry.delivery_count >= max_count
        })
    }

    /// Ends locks that are over, unless `holds` says that their connection keeps them; then ends what was given back too often, and what has expired
    /// and is not locked.
    pub(crate) fn advance(&mut self, now: Now, max_count: u32, holds: impl Fn(ConnectionId) -> bool) -> Vec<Ended> {
        for entry in &mut self.entries {
            if let Place::Locked(lock) = entry.place
                && lock.until <= now.elapsed
                && !holds(lock.by)
            {
                entry.give_back(lock.terms.expiry_counts);
            }
        }
        let mut ended = self.end_exhausted(max_count);
        let expired = |entry: &Entry| entry.place == Place::Enqueued && entry.expires <= now.wall;
        ended.extend(self.end_where(C2dResult::Expired, expired));
        ended
    }

    /// When [`advance`](Self::advance) has something to do.
    pub(crate) fn due(&self, due: &mut Due, holds: impl Fn(ConnectionId) -> bool) {
        for entry in &self.entries {
            match entry.place {
                Place::Enqueued => due.at_wall(entry.expires),
                Place::Locked(lock) if !holds(lock.by) => due.at_elapsed(lock.until),
                Place::Locked(_) => {}
            }
        }
    }

    pub(crate) fn has_waiting(&self) -> bool {
        self.entries.iter().any(|entry| entry.place == Place::Enqueued)
    }

    pub(crate) fn purge(&mut self) -> Vec<Ended> {
        self.end_where(C2dResult::Purged, |_| true)
    }

    pub(crate) fn records(&self, now: Now) -> Vec<C2dRecord> {
        let record = |entry: &Entry| C2dRecord {
            message_id: entry.message.message_id.clone(),
            input: entry.message.message.input.clone(),
            sequence_number: entry.sequence,
            state: match entry.place {
                Place::Enqueued => C2dState::Enqueued,
                Place::Locked(lock) => C2dState::Invisible { until: later(now.wall, now.until_elapsed(lock.until)) },
            },
            delivery_count: entry.delivery_count,
            enqueued: entry.enqueued,
            expires: entry.expires,
        };
        self.entries.iter().map(record).collect()
    }

    fn end_where(&mut self, result: C2dResult, mut which: impl FnMut(&Entry) -> bool) -> Vec<Ended> {
        let mut ended = Vec::new();
        self.entries.retain(|entry| {
            let ends = which(entry);
            if ends {
                ended.push(Ended { message: Arc::clone(&entry.message), result });
            }
            !ends
        });
        ended
    }
}

/// The packet id of a message, as the protocol gateway makes it (docs/hub-over-mqtt.md 3): the same at each redelivery, and never 0.
fn packet_id(sequence: u64) -> u16 {
    u16::try_from(sequence & 0x3fff).unwrap_or(0) + 1
}

fn later(date: SystemTime, by: Duration) -> SystemTime {
    date.checked_add(by).unwrap_or(date)
}
