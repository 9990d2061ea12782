//! What the engine submits: each lane by itself takes an operation, or tells it to wait.
//!
//! The lanes share one send buffer, and each counts its own bytes in it, so that a lane that is full does not keep another
//! from being taken.

use std::time::Instant;

use iothub_core::{Delivery, Disposition, Feature, Message, OpError, OpId, Submit, Unsupported};

use super::{Connection, acknowledged};
use crate::hub_topic;
use crate::leaving::LANE_LIMIT;
use crate::outgoing;
use crate::session::Kept;
use crate::settlements::UNACKNOWLEDGED;
use crate::subscriptions::Standing;
use crate::telemetry::Admission;
use crate::twin::Kind;

/// Which lanes were told to wait.
#[derive(Default)]
pub(super) struct Waiting {
    telemetry: bool,
    twin: Option<Kind>,
    methods: bool,
}

/// Whether a twin request can be made.
enum Twin {
    Yes,
    Wait,
    No(&'static str),
}

impl Connection {
    /// Ends the waits of lanes that have room again; whether there was one.
    pub(super) fn end_waits(&mut self, kept: &Kept) -> bool {
        let telemetry = self.waiting.telemetry && self.unsent_telemetry() < LANE_LIMIT && kept.telemetry.has_room();
        let twin = self.waiting.twin.is_some_and(|kind| !matches!(self.takes_twin(kind, kept), Twin::Wait));
        let methods = self.waiting.methods && self.methods.has_room();
        self.waiting.telemetry &= !telemetry;
        self.waiting.methods &= !methods;
        if twin {
            self.waiting.twin = None;
        }
        telemetry || twin || methods
    }

    /// What of the send buffer is telemetry's. (The few bytes of subscriptions and pings count for it.)
    fn unsent_telemetry(&self) -> usize {
        let others = self.twin.unsent() + self.methods.unsent() + self.settlements.unsent() + self.automatic.bytes();
        self.wire.waiting().saturating_sub(others)
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
        let admission = match self.unsent_telemetry() {
            unsent if unsent >= LANE_LIMIT => Admission::Full,
            _ => kept.telemetry.admit(id, &mut kept.ids),
        };
        match admission {
            Admission::Send { packet_id, dup } => {
                let start = self.wire.encoded();
                outgoing::publish(&kept.names.topics, message, topic_len, packet_id, dup, self.wire.outgoing());
                kept.telemetry.launch(id, packet_id, dup, start..self.wire.encoded(), now);
                tracing::trace!(packet_id, dup, payload_bytes = message.payload().len(), "PUBLISH");
                Submit::Taken
            }
            // Its outcome is on its way already.
            Admission::InFlight => Submit::Taken,
            Admission::Full => {
                self.waiting.telemetry = true;
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
        match disposition {
            Disposition::Reject => {
                let transport = kept.transport;
                return Submit::Refused(OpError::Unsupported(Unsupported::Disposition { disposition, transport }));
            }
            // At QoS 0 there is nothing to acknowledge.
            _ if delivery.key == UNACKNOWLEDGED => kept.events.push_back(acknowledged(id)),
            Disposition::Accept if self.settlements.accept(delivery.key, id, now) => {}
            Disposition::Abandon if self.settlements.abandon(delivery.key) => kept.events.push_back(acknowledged(id)),
            _ => return Submit::Refused(OpError::Stale),
        }
        while let Some((packet_id, op)) = self.settlements.release() {
            let place = self.put_puback(packet_id);
            self.settlements.encoded(place, op);
        }
        Submit::Taken
    }

    /// Asks for the twin, or sends a patch of the reported properties.
    pub(crate) fn twin(&mut self, id: OpId, kind: Kind, body: &[u8], kept: &Kept) -> Submit {
        if self.twin.is_open(id) {
            return Submit::Taken;
        }
        match self.takes_twin(kind, kept) {
            Twin::Yes => {}
            Twin::Wait => {
                self.waiting.twin = Some(kind);
                return Submit::Full;
            }
            Twin::No(reason) => return Submit::Refused(OpError::Rejected(reason.to_owned())),
        }
        let start = self.wire.encoded();
        let rid = self.twin.open(id, kind);
        tracing::trace!(rid, ?kind, bytes = body.len(), "twin request");
        let topic = match kind {
            Kind::Get => hub_topic::twin_get(rid),
            Kind::Report => hub_topic::twin_report(rid),
        };
        outgoing::publish_once(&topic, body, self.wire.outgoing());
        self.twin.encoded(start..self.wire.encoded());
        Submit::Taken
    }

    /// The hub answers only those who have subscribed to the answers, and drops changes that come before the
    /// subscription to them: a request waits for the hub's word on both, else a change between the whole twin and the
    /// subscription would be missed.
    fn takes_twin(&self, kind: Kind, kept: &Kept) -> Twin {
        let changes_awaited = kept.subscriptions.standing(Feature::DesiredProperties) == Standing::Awaited;
        match kept.subscriptions.standing(Feature::Twin) {
            Standing::Unwanted => Twin::No("the answers to twin requests are not subscribed to"),
            Standing::Refused => Twin::No("the hub refused the subscription to the answers to twin requests"),
            Standing::Awaited => Twin::Wait,
            Standing::Granted if kind == Kind::Get && changes_awaited => Twin::Wait,
            Standing::Granted if !self.twin.has_room() => Twin::Wait,
            Standing::Granted => Twin::Yes,
        }
    }

    /// Answers a call of this connection.
    pub(crate) fn respond(&mut self, id: OpId, delivery: Delivery, status: i32, body: &[u8]) -> Submit {
        if delivery.generation != self.generation {
            return Submit::Refused(OpError::Stale);
        }
        if !self.methods.has_room() {
            self.waiting.methods = true;
            return Submit::Full;
        }
        let Some(rid) = self.methods.answer(delivery.key) else { return Submit::Refused(OpError::Stale) };
        tracing::trace!(%rid, status, bytes = body.len(), "answer to a method");
        let start = self.wire.encoded();
        outgoing::publish_once(&hub_topic::method_response(status, &rid), body, self.wire.outgoing());
        self.methods.encoded(start..self.wire.encoded(), id);
        Submit::Taken
    }
}
