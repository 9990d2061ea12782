//! Telemetry in, cloud-to-device and input messages out, with their outcomes and feedback.

use std::sync::Arc;
use std::time::Duration;

use crate::activity::{Activity, ConnectionId, PubackEffect};
use crate::clock::Now;
use crate::config::OutOfOrderPuback;
use crate::error::HubError;
use crate::hub::c2d::{Delivery, Ended, LockId, LockTerms, Settled, Settlement, StoredMessage};
use crate::hub::registry::{Identity, not_found};
use crate::hub::session::Feature;
use crate::hub::telemetry::{Draft, Sender};
use crate::hub::{HubState, feedback};
use crate::message::C2dMessage;
use crate::record::{C2dOutcome, C2dRecord, FeedbackRecord, TelemetryRecord};

impl HubState {
    /// Stores a message and gives its sequence number.
    pub(super) fn store(&mut self, sender: &Sender, draft: Draft, connection: ConnectionId, now: Now) -> u64 {
        self.last_telemetry += 1;
        let record = sender.record(draft, self.last_telemetry, connection, now);
        self.telemetry.push(&sender.identity, record);
        self.wake_listeners();
        self.last_telemetry
    }

    pub(crate) fn telemetry(&self, identity: &Identity) -> impl Iterator<Item = &TelemetryRecord> {
        self.telemetry.of(identity)
    }

    pub(crate) fn telemetry_count(&self, identity: &Identity) -> usize {
        self.telemetry.count(identity)
    }

    pub(crate) fn all_telemetry(&self) -> Vec<TelemetryRecord> {
        let mut all: Vec<TelemetryRecord> = self.telemetry.all().cloned().collect();
        all.sort_by_key(|record| record.sequence_number);
        all
    }

    /// Enqueues a cloud-to-device message that the caller has checked.
    pub(crate) fn send_c2d(
        &mut self,
        device: &str,
        message_id: String,
        message: C2dMessage,
        now: Now,
    ) -> Result<(), HubError> {
        let identity = Identity::device(device);
        if !self.registry.knows(&identity) {
            return Err(not_found(&identity));
        }
        self.check_room(&identity, self.config.c2d_queue_limit)?;
        self.enqueue(&identity, message_id, message, self.config.c2d_ttl, now);
        Ok(())
    }

    /// Refuses when so many messages are pending for this device or module.
    pub(super) fn check_room(&self, identity: &Identity, limit: usize) -> Result<(), HubError> {
        match self.pending(identity) {
            pending if pending >= limit => Err(HubError::QueueFull { device: identity.to_string(), pending, limit }),
            _ => Ok(()),
        }
    }

    /// Puts a message behind those that wait for this device or module.
    pub(super) fn enqueue(
        &mut self,
        identity: &Identity,
        message_id: String,
        message: C2dMessage,
        ttl: Duration,
        now: Now,
    ) {
        let created = self.next_event();
        self.queues.entry(identity.clone()).or_default().push(message_id, message, ttl, created, now);
        self.find_due();
        self.wake(identity);
    }

    /// How many messages are pending for this device or module.
    pub(super) fn pending(&self, identity: &Identity) -> usize {
        self.queues.get(identity).map_or(0, super::c2d::C2dQueue::len)
    }

    /// Locks and gives the next message to send over this connection, with the QoS of its subscription: cloud-to-device to a device, input messages to a module.
    pub(crate) fn take_message(&mut self, connection: ConnectionId, now: Now) -> Option<(Delivery, u8)> {
        let identity = self.sender(connection).map(|sender| sender.identity.clone())?;
        if !self.queues.get(&identity)?.has_waiting() {
            return None;
        }
        let feature = Feature::messages_of(&identity);
        if self.config.drop_unmatched {
            self.reject_unmatched(connection, feature, &identity, now);
        }
        let qos = self.subscription(connection, feature)?.qos;
        let terms = LockTerms {
            duration: self.config.lock_duration,
            // docs/hub-over-mqtt.md 3; docs/hub-over-amqp.md 3.
            lost_counts: self.config.count_redelivery || self.is_carried(connection),
            expiry_counts: self.is_carried(connection),
        };
        let delivery = self.queues.get_mut(&identity)?.take_next(connection, terms, now)?;
        self.find_due();
        Some((delivery, qos))
    }

    /// A PUBACK came from the device or module. The message is the one that it completed.
    pub(crate) fn puback(
        &mut self,
        connection: ConnectionId,
        packet_id: u16,
        now: Now,
    ) -> (PubackEffect, Option<Arc<StoredMessage>>) {
        let any_order = self.config.out_of_order_puback == OutOfOrderPuback::Accept;
        let Some(identity) = self.sender(connection).map(|sender| sender.identity.clone()) else {
            return (PubackEffect::Unknown, None);
        };
        let Some(queue) = self.queues.get_mut(&identity) else { return (PubackEffect::Unknown, None) };
        let (effect, ended) = queue.puback(connection, packet_id, any_order);
        let message = ended.as_ref().map(|ended| Arc::clone(&ended.message));
        self.record_ended(&identity, ended, now);
        (effect, message)
    }

    /// Whether this connection still has a message under this lock.
    pub(crate) fn has_lock(&self, connection: ConnectionId, lock: LockId) -> bool {
        let queue = self.sender(connection).and_then(|sender| self.queues.get(&sender.identity));
        queue.is_some_and(|queue| queue.has_lock(lock))
    }

    /// The device or module has decided about a message that it was sent over this connection. False: the connection does not hold it (any more).
    pub(crate) fn settle(&mut self, connection: ConnectionId, sequence: u64, how: Settlement, now: Now) -> bool {
        let Some(identity) = self.sender(connection).map(|sender| sender.identity.clone()) else { return false };
        let max_count = self.config.max_delivery_count;
        let queue = self.queues.get_mut(&identity);
        let settled = queue.and_then(|queue| queue.settle(connection, sequence, how, max_count));
        let Some(Settled { message, ended }) = settled else { return false };
        let (at, message_id) = (now.wall, message.message_id.clone());
        match how {
            Settlement::Complete => self.note_completed(connection, &message, now),
            Settlement::Abandon => {
                self.note(&identity, Activity::MessageAbandoned { at, connection, message_id });
                self.wake(&identity);
            }
            Settlement::Lost => self.wake(&identity),
            Settlement::Reject => self.note(&identity, Activity::MessageRejected { at, connection, message_id }),
        }
        self.record_ended(&identity, ended, now);
        self.find_due();
        true
    }

    /// Records that a message was sent over this connection.
    pub(crate) fn note_sent(
        &mut self,
        connection: ConnectionId,
        message: &StoredMessage,
        packet_id: Option<u16>,
        dup: bool,
        now: Now,
    ) {
        let Some(identity) = self.sender(connection).map(|sender| sender.identity.clone()) else { return };
        let (at, message_id) = (now.wall, message.message_id.clone());
        let activity = match message.message.input.clone() {
            None => Activity::C2dSent { at, connection, message_id, packet_id, dup },
            Some(input) => Activity::InputSent { at, connection, input, message_id, packet_id, dup },
        };
        self.note(&identity, activity);
    }

    /// Records that a message was completed over this connection.
    pub(crate) fn note_completed(&mut self, connection: ConnectionId, message: &StoredMessage, now: Now) {
        let Some(identity) = self.sender(connection).map(|sender| sender.identity.clone()) else { return };
        let (at, message_id) = (now.wall, message.message_id.clone());
        let activity = match message.message.input.clone() {
            None => Activity::C2dAcked { at, connection, message_id },
            Some(input) => Activity::InputAcked { at, connection, input, message_id },
        };
        self.note(&identity, activity);
    }

    /// A message was sent at QoS 0: that completes it.
    pub(crate) fn complete_message(&mut self, identity: &Identity, sequence: u64, now: Now) {
        let ended = self.queues.get_mut(identity).and_then(|queue| queue.complete(sequence));
        self.record_ended(identity, ended, now);
    }

    /// The messages that are pending for this device or module.
    pub(crate) fn queue(&self, identity: &Identity, now: Now) -> Vec<C2dRecord> {
        self.queues.get(identity).map(|queue| queue.records(now)).unwrap_or_default()
    }

    pub(crate) fn outcomes(&self, identity: &Identity) -> impl Iterator<Item = &C2dOutcome> {
        self.outcomes.of(identity)
    }

    /// Removes all pending messages of a device or module and says how many there were.
    pub(crate) fn purge(&mut self, identity: &Identity, now: Now) -> usize {
        let ended = self.queues.get_mut(identity).map(super::c2d::C2dQueue::purge).unwrap_or_default();
        let count = ended.len();
        self.record_ended(identity, ended, now);
        count
    }

    pub(crate) fn read_feedback(&mut self) -> Vec<FeedbackRecord> {
        self.feedback.take_ready()
    }

    pub(crate) fn flush_feedback(&mut self) {
        self.feedback.flush();
        self.wake_listeners();
    }

    /// The oldest records that are ready, so many at most.
    pub(crate) fn take_feedback(&mut self, most: usize) -> Vec<FeedbackRecord> {
        self.feedback.take_some(most)
    }

    /// They were read and not settled: they come again, before all others.
    pub(crate) fn give_back_feedback(&mut self, records: Vec<FeedbackRecord>) {
        self.feedback.give_back(records);
        self.wake_listeners();
    }

    fn reject_unmatched(&mut self, connection: ConnectionId, feature: Feature, identity: &Identity, now: Now) {
        let since = self.session(connection).and_then(|session| session.since(feature));
        let ended = self.queues.get_mut(identity).map(|queue| queue.reject_unmatched(since)).unwrap_or_default();
        self.record_ended(identity, ended, now);
    }

    pub(super) fn record_ended(&mut self, identity: &Identity, ended: impl IntoIterator<Item = Ended>, now: Now) {
        let mut any_feedback = false;
        for Ended { message, result } in ended {
            let (message_id, input) = (message.message_id.clone(), message.message.input.clone());
            self.outcomes.push(identity, C2dOutcome { message_id, input, result, at: now.wall });
            let Some(status) = feedback::status_code(message.message.ack, result) else { continue };
            let device = self.registry.get(&identity.device);
            let record = FeedbackRecord {
                enqueued_time: now.wall,
                original_message_id: message.message_id.clone(),
                status_code: status.to_owned(),
                description: status.to_owned(),
                device_id: identity.device.clone(),
                device_generation_id: device.map(|entry| entry.generation_id.clone()).unwrap_or_default(),
            };
            self.feedback.push(record, now);
            any_feedback = true;
        }
        if any_feedback {
            self.find_due();
            self.wake_listeners();
        }
    }
}
