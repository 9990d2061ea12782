//! The established session: what each packet means, what is due when, and in which order a slice does it.
//!
//! What the hub publishes is in [`published`], what the engine submits in [`submitted`].

mod published;
mod submitted;

use std::ops::Range;
use std::time::Instant;

use iothub_core::{ConnectStage, ConnectionErrorKind, Feature, Now, OpError, OpId, Readiness, Reply, TransportEvent};
use rumqttc::mqttbytes::v4::{Packet, PubAck};

use self::submitted::Waiting;
use crate::codec::{self, Incoming, violation};
use crate::keep_alive::{Due, KeepAlive};
use crate::leaving::{LANE_LIMIT, Leaving};
use crate::methods::Methods;
use crate::session::Kept;
use crate::settlements::Settlements;
use crate::telemetry::ACKNOWLEDGEMENT_TIMEOUT;
use crate::twin::TwinRequests;
use crate::wire::{Received, Wire};

/// How many bytes one slice reads at most; more is taken by the next.
const READ_PER_SLICE: usize = 256 * 1024;

/// How many events may wait for the engine before no more packets are taken in. It collects all after each slice, so
/// this bounds one slice's worth.
const EVENT_LIMIT: usize = 1024;

/// One connection that the hub has accepted. It ends with the first error that a function returns.
pub(crate) struct Connection {
    wire: Wire,
    generation: u32,
    keep_alive: KeepAlive,
    settlements: Settlements,
    twin: TwinRequests,
    methods: Methods,
    /// What the transport answers by itself: PUBACKs that nothing decides, and calls beyond the bound.
    automatic: Leaving,
    /// The slice ended before the input did.
    input_left: bool,
    /// Which lanes were told to wait, and have not been told that there is room.
    waiting: Waiting,
    /// There is room again.
    room_again: bool,
}

impl Connection {
    /// The hub has said yes. Subscribes first, before the engine can submit anything.
    pub(crate) fn new(wire: Wire, generation: u32, session_present: bool, kept: &mut Kept, now: Now) -> Self {
        if !session_present {
            kept.telemetry.session_lost(&mut kept.ids);
        }
        kept.subscriptions.connected(session_present, kept.options.connect_timeout);
        kept.events.push_back(TransportEvent::Connected { session_present });
        let mut connection = Self {
            wire,
            generation,
            keep_alive: KeepAlive::new(kept.options.keep_alive),
            settlements: Settlements::default(),
            twin: TwinRequests::new(generation, now.wall),
            methods: Methods::default(),
            automatic: Leaving::default(),
            input_left: true,
            waiting: Waiting::default(),
            room_again: false,
        };
        connection.reconcile(kept, now.mono);
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
        self.check_unread_answers()?;
        self.room_again = self.end_waits(kept);
        Ok(())
    }

    /// A peer that lets answers pile up and asks on would make them grow without bound.
    fn check_unread_answers(&self) -> Result<(), ConnectionErrorKind> {
        let unsent = self.automatic.bytes() + self.settlements.unsent();
        if unsent > LANE_LIMIT {
            return Err(violation(format!(
                "it does not read the answers to what it sends: {unsent} bytes of them wait"
            )));
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
            Incoming::Publish(publish) => return self.published(publish, kept, now),
            Incoming::PubAck { id } => match kept.telemetry.acknowledged(id, &mut kept.ids) {
                Ok(Some(id)) => kept.events.push_back(acknowledged(id)),
                Ok(None) => tracing::trace!(packet_id = id, "PUBACK of a message that was given up"),
                Err(()) => tracing::debug!(packet_id = id, "PUBACK of nothing that is in flight is ignored"),
            },
            Incoming::SubAck { id, granted } => {
                let refused = kept.subscriptions.subscribed(id, &granted, &mut kept.ids)?;
                kept.events.extend(refusals(refused, "the hub answered the subscription with failure (0x80)"));
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
        let up_to = self.wire.flushed();
        kept.telemetry.flushed(up_to, now);
        self.twin.flushed(up_to);
        self.automatic.flushed(up_to);
        while let Some(id) = self.settlements.flushed(up_to).or_else(|| self.methods.flushed(up_to)) {
            kept.events.push_back(acknowledged(id));
        }
    }

    /// Brings the hub's subscriptions closer to what is wanted.
    pub(crate) fn reconcile(&mut self, kept: &mut Kept, now: Instant) {
        let Kept { subscriptions, names, ids, events, .. } = kept;
        let impossible = subscriptions.give_up_impossible(&names.topics);
        events.extend(refusals(impossible, "devices have no inputs, and modules no cloud-to-device messages"));
        events.extend(subscriptions.reconcile(&names.topics, ids, self.wire.outgoing(), now));
    }

    fn put_puback(&mut self, packet_id: u16) -> Range<u64> {
        tracing::trace!(packet_id, "PUBACK");
        let start = self.wire.encoded();
        codec::put(&Packet::PubAck(PubAck::new(packet_id)), self.wire.outgoing());
        start..self.wire.encoded()
    }

    /// The engine has given an operation up.
    pub(crate) fn forget(&mut self, id: OpId) {
        self.settlements.forget(id);
        self.twin.forget(id);
        self.methods.forget(id);
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
        let stale = self.settlements.into_stale().chain(self.methods.into_stale());
        kept.events.extend(stale.map(|id| TransportEvent::Done { id, result: Err(OpError::Stale) }));
        kept.telemetry.connection_lost(self.wire.written(), &mut kept.ids);
        kept.subscriptions.disconnected(&mut kept.ids);
    }
}

fn acknowledged(id: OpId) -> TransportEvent {
    TransportEvent::Done { id, result: Ok(Reply::Ack) }
}

fn refusals(features: Vec<Feature>, detail: &str) -> impl Iterator<Item = TransportEvent> {
    features.into_iter().map(|feature| TransportEvent::SubscriptionRefused { feature, detail: detail.to_owned() })
}
