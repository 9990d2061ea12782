//! Telemetry in and cloud-to-device messages out, with their outcomes and feedback.

use crate::activity::{ConnectionId, PubackEffect};
use crate::clock::Now;
use crate::config::OutOfOrderPuback;
use crate::error::HubError;
use crate::hub::c2d::{Delivery, Ended, LockId, LockTerms, Settlement};
use crate::hub::registry::{Identity, not_found};
use crate::hub::session::Feature;
use crate::hub::telemetry::{Draft, Sender};
use crate::hub::{HubState, feedback};
use crate::message::C2dMessage;
use crate::record::{C2dOutcome, C2dRecord, FeedbackRecord, TelemetryRecord};

impl HubState {
    /// Stores telemetry of an open connection and gives its sequence number.
    pub(crate) fn store_telemetry(&mut self, connection: ConnectionId, draft: Draft, now: Now) -> Option<u64> {
        let sender = self.sender(connection)?.clone();
        Some(self.store(&sender, draft, connection, now))
    }

    pub(super) fn store(&mut self, sender: &Sender, draft: Draft, connection: ConnectionId, now: Now) -> u64 {
        self.last_telemetry += 1;
        let record = sender.record(draft, self.last_telemetry, connection, now);
        self.telemetry.push(&sender.identity.device, record);
        self.wake_listeners();
        self.last_telemetry
    }

    pub(crate) fn telemetry(&self, device: &str) -> impl Iterator<Item = &TelemetryRecord> {
        self.telemetry.of(device)
    }

    pub(crate) fn telemetry_count(&self, device: &str) -> usize {
        self.telemetry.count(device)
    }

    pub(crate) fn all_telemetry(&self) -> Vec<TelemetryRecord> {
        let mut all: Vec<TelemetryRecord> = self.telemetry.all().cloned().collect();
        all.sort_by_key(|record| record.sequence_number);
        all
    }

    /// Enqueues a message that the caller has checked.
    pub(crate) fn send_c2d(
        &mut self,
        device: &str,
        message_id: String,
        message: C2dMessage,
        now: Now,
    ) -> Result<(), HubError> {
        if self.registry.get(device).is_none() {
            return Err(not_found(device));
        }
        let (limit, ttl, created) = (self.config.c2d_queue_limit, self.config.c2d_ttl, self.next_event());
        let queue = self.queues.entry(device.to_owned()).or_default();
        if queue.len() >= limit {
            return Err(HubError::QueueFull { device: device.to_owned(), pending: queue.len(), limit });
        }
        queue.push(message_id, message, ttl, created, now);
        self.find_due();
        self.wake(&Identity::device(device));
        Ok(())
    }

    /// As [`send_c2d`](Self::send_c2d), to a device or a module.
    pub(crate) fn send_c2d_to(
        &mut self,
        identity: &Identity,
        message_id: String,
        message: C2dMessage,
        now: Now,
    ) -> Result<(), HubError> {
        // The registry has no modules yet.
        if identity.module.is_some() {
            return Err(not_found(&identity.device));
        }
        self.send_c2d(&identity.device, message_id, message, now)
    }

    /// Locks and gives the next message to send over this connection, with the QoS of its subscription.
    pub(crate) fn take_c2d(&mut self, connection: ConnectionId, now: Now) -> Option<(Delivery, u8)> {
        let device = self.sender(connection).map(|sender| sender.identity.device.clone())?;
        if !self.queues.get(&device)?.has_waiting() {
            return None;
        }
        if self.config.drop_unmatched {
            self.reject_unmatched(connection, &device, now);
        }
        let qos = self.subscription(connection, Feature::CloudToDevice)?.qos;
        let terms = LockTerms {
            duration: self.config.lock_duration,
            // docs/hub-over-mqtt.md 3; docs/hub-over-amqp.md 3.
            lost_counts: self.config.count_redelivery || self.is_carried(connection),
            expiry_counts: self.is_carried(connection),
        };
        let delivery = self.queues.get_mut(&device)?.take_next(connection, terms, now)?;
        self.find_due();
        Some((delivery, qos))
    }

    /// A PUBACK came from the device.
    pub(crate) fn puback(
        &mut self,
        connection: ConnectionId,
        packet_id: u16,
        now: Now,
    ) -> (PubackEffect, Option<String>) {
        let any_order = self.config.out_of_order_puback == OutOfOrderPuback::Accept;
        let Some(device) = self.sender(connection).map(|sender| sender.identity.device.clone()) else {
            return (PubackEffect::Unknown, None);
        };
        let Some(queue) = self.queues.get_mut(&device) else { return (PubackEffect::Unknown, None) };
        let (effect, ended) = queue.puback(connection, packet_id, any_order);
        let message_id = ended.as_ref().map(|ended| ended.message_id.clone());
        self.record_ended(&device, ended, now);
        (effect, message_id)
    }

    /// The device settles a message that it was given over this connection. False: its lock is no more.
    pub(crate) fn settle_c2d(
        &mut self,
        connection: ConnectionId,
        lock: LockId,
        settlement: Settlement,
        now: Now,
    ) -> bool {
        let Some(identity) = self.sender(connection).map(|sender| sender.identity.clone()) else { return false };
        let max = self.config.max_delivery_count;
        let Some(queue) = self.queues.get_mut(&identity.device) else { return false };
        let Some(ended) = queue.settle(lock, settlement, max) else { return false };
        self.record_ended(&identity.device, ended, now);
        self.find_due();
        self.wake(&identity);
        true
    }

    /// A message was sent at QoS 0: that completes it.
    pub(crate) fn complete_c2d(&mut self, device: &str, sequence: u64, now: Now) {
        let ended = self.queues.get_mut(device).and_then(|queue| queue.complete(sequence));
        self.record_ended(device, ended, now);
    }

    pub(crate) fn c2d_queue(&self, device: &str, now: Now) -> Vec<C2dRecord> {
        self.queues.get(device).map(|queue| queue.records(now)).unwrap_or_default()
    }

    pub(crate) fn c2d_outcomes(&self, device: &str) -> impl Iterator<Item = &C2dOutcome> {
        self.outcomes.of(device)
    }

    /// Removes all pending messages of a device and says how many there were.
    pub(crate) fn purge(&mut self, device: &str, now: Now) -> usize {
        let ended = self.queues.get_mut(device).map(super::c2d::C2dQueue::purge).unwrap_or_default();
        let count = ended.len();
        self.record_ended(device, ended, now);
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

    fn reject_unmatched(&mut self, connection: ConnectionId, device: &str, now: Now) {
        let since = self.session(connection).and_then(|session| session.since(Feature::CloudToDevice));
        let ended = self.queues.get_mut(device).map(|queue| queue.reject_unmatched(since)).unwrap_or_default();
        self.record_ended(device, ended, now);
    }

    pub(super) fn record_ended(&mut self, device: &str, ended: impl IntoIterator<Item = Ended>, now: Now) {
        let mut any_feedback = false;
        for ended in ended {
            let outcome = C2dOutcome { message_id: ended.message_id.clone(), result: ended.result, at: now.wall };
            self.outcomes.push(device, outcome);
            let Some(status) = feedback::status_code(ended.ack, ended.result) else { continue };
            let generation = self.registry.get(device).map(|entry| entry.generation_id.clone()).unwrap_or_default();
            let record = FeedbackRecord {
                enqueued_time: now.wall,
                original_message_id: ended.message_id,
                status_code: status.to_owned(),
                description: status.to_owned(),
                device_id: device.to_owned(),
                device_generation_id: generation,
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
