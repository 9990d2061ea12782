//! The established session: what each packet means, what is due when, and in which order a slice does it.

use std::time::Instant;

use bytes::Bytes;
use iothub_core::{
    ConnectStage, ConnectionErrorKind, Delivery, Disposition, Message, OpError, OpId, Readiness, Submit,
    TransportEvent, Unsupported,
};
use rumqttc::mqttbytes::v4::{Packet, PubAck};

use crate::codec::{self, Incoming, Publish, violation};
use crate::keep_alive::{Due, KeepAlive};
use crate::outgoing;
use crate::session::Kept;
use crate::settlements::{Arrival, Settlements, UNACKNOWLEDGED};
use crate::telemetry::{ACKNOWLEDGEMENT_TIMEOUT, Admission};
use crate::topic;
use crate::wire::{Received, Wire};

/// How many bytes one slice reads at most; more is taken by the next.
const READ_PER_SLICE: usize = 256 * 1024;

/// How many bytes may wait for the stream before telemetry has to wait: one message of the largest size and its topic
/// can follow, so the send buffer stays below 1 MiB.
const SEND_LIMIT: usize = 256 * 1024;

/// How many events may wait for the engine before no more packets are taken in. It collects all after each slice, so
/// this bounds one slice's worth.
const EVENT_LIMIT: usize = 1024;

/// One connection that the hub has accepted. It ends with the first error that a function returns.
pub(crate) struct Connection {
    wire: Wire,
    generation: u32,
    keep_alive: KeepAlive,
    settlements: Settlements,
    /// The slice ended before the input did.
    input_left: bool,
    /// Telemetry was told to wait, and has not been told that there is room.
    telemetry_waits: bool,
    /// There is room again.
    room_again: bool,
}

impl Connection {
    /// The hub has said yes. Subscribes first, before the engine can submit anything.
    pub(crate) fn new(wire: Wire, generation: u32, session_present: bool, kept: &mut Kept, now: Instant) -> Self {
        if !session_present {
            kept.telemetry.session_lost(&mut kept.ids);
        }
        kept.subscriptions.connected(session_present);
        kept.events.push_back(TransportEvent::Connected { session_present });
        let mut connection = Self {
            wire,
            generation,
            keep_alive: KeepAlive::new(kept.options.keep_alive),
            settlements: Settlements::default(),
            input_left: true,
            telemetry_waits: false,
            room_again: false,
        };
        connection.reconcile(kept, now);
        connection
    }

    /// One bounded slice: input, timers, output.
    pub(crate) fn drive(&mut self, kept: &mut Kept, now: Instant) -> Result<(), ConnectionErrorKind> {
        self.room_again = false;
        self.take_input(kept, now)?;
        self.check_timers(kept, now)?;
        let sent = self.wire.send(now);
        self.note_flushed(kept, now);
        sent.map_err(|error| ConnectionErrorKind::Broken { detail: error.to_string() })?;
        if self.telemetry_waits && self.takes_telemetry(kept) {
            self.telemetry_waits = false;
            self.room_again = true;
        }
        Ok(())
    }

    fn take_input(&mut self, kept: &mut Kept, now: Instant) -> Result<(), ConnectionErrorKind> {
        let mut budget = READ_PER_SLICE;
        self.input_left = true;
        loop {
            while kept.events.len() < EVENT_LIMIT
                && let Some(packet) = self.wire.next_packet()?
            {
                self.handle(packet, kept, now)?;
            }
            if kept.events.len() >= EVENT_LIMIT || budget == 0 {
                return Ok(());
            }
            match self.wire.receive() {
                Ok(Received::Bytes(count)) => budget = budget.saturating_sub(count),
                Ok(Received::Nothing) => break,
                Ok(Received::End) => return Err(ConnectionErrorKind::ClosedByPeer),
                Err(error) => return Err(ConnectionErrorKind::Broken { detail: error.to_string() }),
            }
        }
        self.input_left = false;
        Ok(())
    }

    fn handle(&mut self, packet: Incoming, kept: &mut Kept, now: Instant) -> Result<(), ConnectionErrorKind> {
        match packet {
            Incoming::Publish(publish) => return self.message(publish, kept, now),
            Incoming::PubAck { id } => match kept.telemetry.acknowledged(id, &mut kept.ids) {
                Ok(Some(op)) => kept.events.push_back(TransportEvent::Done { id: op, result: Ok(()) }),
                Ok(None) => tracing::trace!(packet_id = id, "PUBACK of a message that was given up"),
                Err(()) => tracing::debug!(packet_id = id, "PUBACK of nothing that is in flight is ignored"),
            },
            Incoming::SubAck { id, granted } => {
                for feature in kept.subscriptions.subscribed(id, &granted, &mut kept.ids)? {
                    let detail = "the hub answered the subscription with failure (0x80)".to_owned();
                    kept.events.push_back(TransportEvent::SubscriptionRefused { feature, detail });
                }
                self.reconcile(kept, now);
            }
            Incoming::UnsubAck { id } => {
                kept.subscriptions.unsubscribed(id, &mut kept.ids);
                self.reconcile(kept, now);
            }
            Incoming::PingResp => self.keep_alive.answered(),
            Incoming::ConnAck { .. } => return Err(violation("a second CONNACK".to_owned())),
        }
        Ok(())
    }

    fn message(&mut self, publish: Publish, kept: &mut Kept, now: Instant) -> Result<(), ConnectionErrorKind> {
        let Some(bag) = kept.device.topics.cloud_to_device_bag(&publish.topic) else {
            // Left unanswered, it could keep the hub from sending others.
            tracing::debug!(topic_bytes = publish.topic.len(), "a message on a topic that nobody asked for is dropped");
            if let Some(packet_id) = publish.id {
                self.put_puback(packet_id);
            }
            return Ok(());
        };
        let key = match publish.id {
            None => UNACKNOWLEDGED,
            Some(packet_id) => match self.settlements.arrived(packet_id, now)? {
                Arrival::New(key) => key,
                Arrival::Again => {
                    tracing::debug!(packet_id, "a message that is here already came again and is ignored");
                    return Ok(());
                }
            },
        };
        // A copy, so that a small message that the application keeps does not keep the whole read buffer.
        let payload = Bytes::copy_from_slice(&publish.payload);
        tracing::trace!(packet_id = ?publish.id, payload_bytes = payload.len(), "a cloud-to-device message came");
        let message = topic::message_from_bag(bag, payload);
        let delivery = Delivery { generation: self.generation, key };
        kept.events.push_back(TransportEvent::Message { message, delivery });
        Ok(())
    }

    fn check_timers(&mut self, kept: &mut Kept, now: Instant) -> Result<(), ConnectionErrorKind> {
        let is_over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let last_sent = self.wire.last_sent();
        // What has come but was not looked at may be the answer that is missed.
        let has_read_all = !self.input_left;
        if has_read_all && is_over(kept.subscriptions.deadline()) {
            let after = kept.options.connect_timeout;
            return Err(ConnectionErrorKind::TimedOut { stage: ConnectStage::Subscribe, after });
        }
        if has_read_all && is_over(kept.telemetry.deadline(last_sent)) {
            return Err(ConnectionErrorKind::NoAcknowledgement { after: ACKNOWLEDGEMENT_TIMEOUT });
        }
        if is_over(self.settlements.deadline()) {
            return Err(self.settlements.held_too_much(now));
        }
        match self.keep_alive.due(last_sent, now) {
            Due::Ping => {
                tracing::trace!("PINGREQ");
                codec::put(&Packet::PingReq, self.wire.outgoing());
            }
            Due::Dead(after) if has_read_all => return Err(ConnectionErrorKind::NoPingResponse { after }),
            Due::Nothing | Due::Dead(_) => {}
        }
        Ok(())
    }

    /// Tells those who wait for it how far the output has come.
    fn note_flushed(&mut self, kept: &mut Kept, now: Instant) {
        kept.telemetry.flushed(self.wire.flushed(), now);
        while let Some(id) = self.settlements.flushed(self.wire.flushed()) {
            kept.events.push_back(TransportEvent::Done { id, result: Ok(()) });
        }
    }

    /// Brings the hub's subscriptions closer to what is wanted.
    pub(crate) fn reconcile(&mut self, kept: &mut Kept, now: Instant) {
        let Kept { subscriptions, device, ids, events, .. } = kept;
        events.extend(subscriptions.reconcile(&device.topics, ids, self.wire.outgoing(), now));
    }

    fn takes_telemetry(&self, kept: &Kept) -> bool {
        self.wire.waiting() < SEND_LIMIT && kept.telemetry.has_room()
    }

    /// Encodes a message whose topic has `topic_len` bytes, or says that it has to wait.
    pub(crate) fn telemetry(
        &mut self,
        id: OpId,
        message: &Message,
        topic_len: usize,
        kept: &mut Kept,
        now: Instant,
    ) -> Submit {
        let admission = match self.wire.waiting() {
            waiting if waiting >= SEND_LIMIT => Admission::Full,
            _ => kept.telemetry.admit(id, &mut kept.ids),
        };
        match admission {
            Admission::Send { packet_id, dup } => {
                let start = self.wire.encoded();
                outgoing::publish(&kept.device.topics, message, topic_len, packet_id, dup, self.wire.outgoing());
                kept.telemetry.launch(id, packet_id, dup, start..self.wire.encoded(), now);
                tracing::trace!(packet_id, dup, payload_bytes = message.payload().len(), "PUBLISH");
                Submit::Taken
            }
            // Its outcome is on its way already.
            Admission::InFlight => Submit::Taken,
            Admission::Full => {
                self.telemetry_waits = true;
                Submit::Full
            }
        }
    }

    /// Settles a message of this connection.
    pub(crate) fn settle(
        &mut self,
        id: OpId,
        delivery: Delivery,
        disposition: Disposition,
        kept: &mut Kept,
        now: Instant,
    ) -> Submit {
        if delivery.generation != self.generation {
            return Submit::Refused(OpError::Stale);
        }
        let done = TransportEvent::Done { id, result: Ok(()) };
        match disposition {
            Disposition::Reject => {
                let transport = kept.name;
                return Submit::Refused(OpError::Unsupported(Unsupported::Disposition { disposition, transport }));
            }
            // At QoS 0 there is nothing to acknowledge.
            _ if delivery.key == UNACKNOWLEDGED => kept.events.push_back(done),
            Disposition::Accept if self.settlements.accept(delivery.key, id, now) => {}
            Disposition::Abandon if self.settlements.abandon(delivery.key) => kept.events.push_back(done),
            _ => return Submit::Refused(OpError::Stale),
        }
        while let Some((packet_id, op)) = self.settlements.release() {
            self.put_puback(packet_id);
            self.settlements.encoded(self.wire.encoded(), op);
        }
        Submit::Taken
    }

    fn put_puback(&mut self, packet_id: u16) {
        tracing::trace!(packet_id, "PUBACK");
        codec::put(&Packet::PubAck(PubAck::new(packet_id)), self.wire.outgoing());
    }

    /// The engine has given a settlement up.
    pub(crate) fn forget(&mut self, id: OpId) {
        self.settlements.forget(id);
    }

    /// When the next slice is due; `now` is the time of the last one.
    pub(crate) fn next_deadline(&self, kept: &Kept, now: Instant) -> Instant {
        if self.input_left || self.room_again || self.wire.has_output_to_try() {
            return now;
        }
        let last_sent = self.wire.last_sent();
        let others = [kept.subscriptions.deadline(), kept.telemetry.deadline(last_sent), self.settlements.deadline()];
        others.into_iter().flatten().fold(self.keep_alive.deadline(last_sent), Instant::min)
    }

    pub(crate) fn readiness(&self, out: &mut Vec<Readiness>) {
        self.wire.readiness(out);
    }

    /// Says goodbye as the next thing after what is encoded already.
    pub(crate) fn put_disconnect(&mut self) {
        codec::put(&Packet::Disconnect, self.wire.outgoing());
    }

    /// Sends what is left, without regard for what comes in; `true` when nothing is left or nothing can be sent.
    pub(crate) fn drain(&mut self, kept: &mut Kept, now: Instant) -> bool {
        let sent = self.wire.send(now);
        self.note_flushed(kept, now);
        // Input that nobody took when the socket closes would make the system reset the connection, and the goodbye
        // could be lost.
        let mut budget = READ_PER_SLICE;
        while budget > 0
            && let Ok(Received::Bytes(count)) = self.wire.discard()
        {
            budget = budget.saturating_sub(count);
        }
        sent.is_err() || self.wire.is_flushed()
    }

    /// Whether there is output that the stream was not yet asked to take.
    pub(crate) fn has_output_to_try(&self) -> bool {
        self.wire.has_output_to_try()
    }

    /// Closes the connection: what had no outcome is stale, or lost and to be submitted again.
    pub(crate) fn end(self, kept: &mut Kept) {
        let stale = self.settlements.into_stale();
        kept.events.extend(stale.map(|id| TransportEvent::Done { id, result: Err(OpError::Stale) }));
        kept.telemetry.connection_lost(self.wire.written(), &mut kept.ids);
        kept.subscriptions.disconnected(&mut kept.ids);
    }
}
