//! Transfers in: parts are put together, credit is kept, and the outcome goes out (docs/hub-over-amqp.md 3; E8, E21, E29).

use bytes::{Bytes, BytesMut};
use fe2o3_amqp_types::definitions::{Error, Handle, Role};
use fe2o3_amqp_types::messaging::{Accepted, DeliveryState, Rejected};
use fe2o3_amqp_types::performatives::{Disposition, Performative, Transfer};

use crate::activity::{AmqpLink, DisconnectReason};
use crate::amqp::condition::{self, error};
use crate::amqp::frame::{self, Layer};
use crate::amqp::link::{End, Partial, Place};
use crate::amqp::message::Incoming;
use crate::amqp::{Head, State};
use crate::clock::Now;
use crate::hub::HubState;

/// A whole message that came, before anything is done with it.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) place: Place,
    pub(super) delivery_id: u32,
    pub(super) message_format: u32,
    /// Then nobody waits for an outcome.
    pub(super) settled: bool,
    pub(super) payload: Bytes,
}

impl Head {
    pub(super) fn transfer(&mut self, hub: &mut HubState, now: Now, channel: u16, transfer: &Transfer, payload: Bytes) {
        let Handle(handle) = transfer.handle;
        let place = Place { channel, handle };
        let State::Open(open) = &mut self.state else { return };
        let Some(session) = open.sessions.get_mut(&channel) else { return };
        if session.detaching.contains(&handle) {
            return;
        }
        let Some(link) = session.links.get_mut(&handle) else {
            let text = format!("no link has the handle {handle}");
            return self.end_session(hub, now, channel, Some(error(condition::UNATTACHED_HANDLE, text)));
        };
        let End::Receiver(receiver) = &mut link.end else {
            let text = "a transfer on a link on which the hub sends";
            return self.end_session(hub, now, channel, Some(error(condition::NOT_ALLOWED, text)));
        };
        let mut partial = match receiver.partial.take() {
            Some(partial) => partial,
            None => {
                let Some(delivery_id) = transfer.delivery_id else {
                    let text = "the first transfer of a delivery has no delivery-id";
                    return self.end_session(hub, now, channel, Some(error(condition::INVALID_FIELD, text)));
                };
                let Some(left) = receiver.credit.checked_sub(1) else {
                    let text = "a message beyond the link's credit";
                    let error = error(condition::TRANSFER_LIMIT, text);
                    return self.detach(hub, now, place, Some(error), &violation(text));
                };
                receiver.credit = left;
                receiver.delivery_count = receiver.delivery_count.wrapping_add(1);
                Partial {
                    delivery_id,
                    message_format: transfer.message_format.unwrap_or(0),
                    settled: false,
                    payload: BytesMut::new(),
                }
            }
        };
        if transfer.aborted {
            return self.top_up(now, place);
        }
        partial.settled |= transfer.settled.unwrap_or(false);
        if partial.payload.len() as u64 + payload.len() as u64 > hub.config.amqp_max_message_size {
            let text = "a message over the link's max-message-size";
            return self.detach(hub, now, place, Some(error(condition::MESSAGE_SIZE, text)), &violation(text));
        }
        if transfer.more || !partial.payload.is_empty() {
            partial.payload.extend_from_slice(&payload);
        }
        if transfer.more {
            receiver.partial = Some(partial);
            return;
        }
        let Partial { delivery_id, message_format, settled, payload: parts } = partial;
        let payload = if parts.is_empty() { payload } else { parts.freeze() };
        self.top_up(now, place);
        self.received(hub, now, Received { place, delivery_id, message_format, settled, payload });
    }

    /// Gives new credit before the old one is used up.
    fn top_up(&mut self, now: Now, place: Place) {
        let State::Open(open) = &mut self.state else { return };
        let Some(End::Receiver(receiver)) = open.link_mut(place).map(|link| &mut link.end) else { return };
        if receiver.credit < receiver.full_credit.div_ceil(2) {
            receiver.credit = receiver.full_credit;
            self.say_flow(now, place.channel, Some(place.handle));
        }
    }

    fn received(&mut self, hub: &mut HubState, now: Now, received: Received) {
        let State::Open(open) = &self.state else { return };
        let Some(link) = open.link(received.place) else { return };
        let (kind, identity) = (link.node.kind, link.node.identity.clone());
        if let (AmqpLink::Telemetry, Some(identity)) = (kind, &identity) {
            return self.telemetry(hub, now, identity, &received);
        }
        let message = match Incoming::read(&received.payload) {
            Ok(message) => message,
            Err(why) => {
                let rejected = Some(error(condition::DECODE_ERROR, why));
                return self.settle(hub, now, &received, rejected);
            }
        };
        match (kind, identity) {
            (AmqpLink::TokenRequests, _) => self.put_token(hub, now, &received, &message),
            (AmqpLink::ServiceMessages, _) => self.service_message(hub, now, &received, &message),
            (AmqpLink::ManagementRequests, _) => self.management(hub, now, &received, &message),
            (AmqpLink::TwinRequests, Some(identity)) => self.twin_request(hub, now, &identity, &received, &message),
            (AmqpLink::MethodResponses, Some(identity)) => {
                self.method_response(hub, now, &identity, &received, &message);
            }
            // On the others it is the hub that sends.
            _ => {}
        }
    }

    /// Says what became of a message, if anybody waits for it: accepted, or rejected with an error.
    pub(super) fn settle(&mut self, hub: &mut HubState, now: Now, received: &Received, rejected: Option<Error>) {
        let state = match rejected {
            None => DeliveryState::Accepted(Accepted {}),
            Some(error) => DeliveryState::Rejected(Rejected { error: Some(error) }),
        };
        self.settle_with(hub, now, received, state);
    }

    pub(super) fn settle_with(&mut self, hub: &mut HubState, now: Now, received: &Received, state: DeliveryState) {
        if received.settled {
            return;
        }
        let State::Open(open) = &self.state else { return };
        let owner = open.link(received.place).and_then(|link| link.node.identity.clone());
        let disposition = outcome(received.delivery_id, Role::Receiver, state);
        let frame = frame::write(Layer::Amqp, received.place.channel, &disposition, &[]);
        self.push_or_break_off(hub, now, owner.as_ref(), frame);
    }
}

/// The settled outcome of one delivery.
pub(super) fn outcome(delivery_id: u32, role: Role, state: DeliveryState) -> Performative {
    Performative::Disposition(Disposition {
        role,
        first: delivery_id,
        last: None,
        settled: true,
        state: Some(state),
        batchable: false,
    })
}

fn violation(text: &str) -> DisconnectReason {
    DisconnectReason::ProtocolViolation(text.to_owned())
}
