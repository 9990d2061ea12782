//! Cloud-to-device messages out, and what the device makes of them (docs/hub-over-amqp.md 3; E30-E33).

use fe2o3_amqp_types::definitions::Role;
use fe2o3_amqp_types::messaging::{Accepted, DeliveryState, MessageId, Properties, Rejected};
use fe2o3_amqp_types::performatives::Disposition;
use fe2o3_amqp_types::primitives::SimpleValue;
use serde_amqp::Value;

use crate::activity::{AmqpLink, ConnectionId};
use crate::amqp::condition::{self, error};
use crate::amqp::link::Place;
use crate::amqp::message::{self, Body, Outgoing};
use crate::amqp::send::Parcel;
use crate::amqp::session::{Unsettled, What};
use crate::amqp::transfer::outcome;
use crate::amqp::{Head, State};
use crate::clock::Now;
use crate::escape::escape;
use crate::faults::{DropPoint, Fault};
use crate::guid;
use crate::hub::HubState;
use crate::hub::c2d::{Delivery, LockId, Settlement};
use crate::hub::registry::Identity;

/// A message that the device has.
#[derive(Clone, Debug)]
pub(super) struct Given {
    lock: LockId,
    sequence: u64,
}

impl Given {
    /// False: the lock is no more.
    pub(super) fn settle(&self, hub: &mut HubState, by: ConnectionId, how: Settlement, now: Now) -> bool {
        hub.has_lock(by, self.lock) && hub.settle(by, self.sequence, how, now)
    }
}

impl Head {
    /// Sends the next message that waits. False: there is none.
    pub(super) fn send_c2d(&mut self, hub: &mut HubState, now: Now, place: Place) -> bool {
        let State::Open(open) = &self.state else { return false };
        let Some(link) = open.link(place) else { return false };
        let Some(identity) = link.node.identity.clone() else { return false };
        let settled = link.sender().is_some_and(|sender| sender.settled);
        let Some(connection) = self.member(Some(&identity)).map(|member| member.connection) else { return false };
        // What the hub keeps for a module is for its inputs.
        if (link.node.kind == AmqpLink::Inputs) != identity.module.is_some() {
            return false;
        }
        let Some((delivery, _)) = hub.take_message(connection, now) else { return false };
        let token = guid::random_bits();
        let payload = message(&identity, &delivery, token, hub.config.amqp_first_delivery_count).encode();
        let given = Given { lock: delivery.lock, sequence: delivery.sequence };
        hub.note_sent(connection, &delivery.message, None, delivery.dup, now);
        if settled {
            // Only a fault makes the link so. Sending completes it, as at MQTT's QoS 0.
            given.settle(hub, connection, Settlement::Complete, now);
        }
        self.deliver(hub, now, place, Parcel { tag: guid::dotnet_bytes(token), payload, what: What::C2d(given) });
        !self.drops(hub, now, &identity, DropPoint::C2dSent)
    }

    /// The peer says what became of one delivery.
    pub(super) fn settled_by_peer(
        &mut self,
        hub: &mut HubState,
        now: Now,
        channel: u16,
        id: u32,
        disposition: &Disposition,
    ) {
        // Received is no outcome: more will follow.
        if !disposition.settled && !is_outcome(disposition.state.as_ref()) {
            return;
        }
        let State::Open(open) = &mut self.state else { return };
        let Some(session) = open.sessions.get_mut(&channel) else { return };
        let Some(Unsettled { handle, what }) = session.unsettled.remove(&id) else { return };
        let identity = session.links.get(&handle).and_then(|link| link.node.identity.clone());
        let accepted = matches!(disposition.state, Some(DeliveryState::Accepted(_)));
        let mut answer = disposition.state.clone().unwrap_or(DeliveryState::Accepted(Accepted {}));
        match (what, identity) {
            (What::Feedback(records), _) if !accepted => hub.give_back_feedback(records),
            (What::C2d(given), Some(identity)) => {
                if self.drops(hub, now, &identity, DropPoint::PubackReceived) {
                    return;
                }
                let lost = self.take_fault(hub, now, &identity, |fault| *fault == Fault::DuplicateDelivery).is_some();
                let settlement = if lost { Settlement::Lost } else { settlement(disposition.state.as_ref()) };
                if !self.settle_message(hub, now, &identity, &given, settlement) {
                    let lost = error(condition::LOCK_LOST, "the lock of the message is over");
                    answer = DeliveryState::Rejected(Rejected { error: Some(lost) });
                }
            }
            _ => {}
        }
        // A peer that has not settled waits for the hub to do so (E32).
        if !disposition.settled {
            self.say(now, channel, outcome(id, Role::Sender, answer));
        }
    }

    /// False: the message is no longer this device's to settle.
    fn settle_message(
        &mut self,
        hub: &mut HubState,
        now: Now,
        identity: &Identity,
        given: &Given,
        settlement: Settlement,
    ) -> bool {
        let Some(connection) = self.member(Some(identity)).map(|member| member.connection) else { return false };
        given.settle(hub, connection, settlement, now)
    }
}

fn settlement(state: Option<&DeliveryState>) -> Settlement {
    match state {
        Some(DeliveryState::Accepted(_)) => Settlement::Complete,
        Some(DeliveryState::Rejected(_)) => Settlement::Reject,
        _ => Settlement::Abandon,
    }
}

fn is_outcome(state: Option<&DeliveryState>) -> bool {
    !matches!(state, None | Some(DeliveryState::Received(_)))
}

/// System properties that travel as application properties; what is neither here nor a property of AMQP's own is an annotation.
const IN_APPLICATION: [&str; 4] =
    ["iothub-ack", "iothub-message-schema", "iothub-creation-time-utc", "iothub-operation"];

fn message(identity: &Identity, delivery: &Delivery, token: u128, first_count: u8) -> Outgoing {
    let stored = &delivery.message;
    let count = u8::try_from(delivery.delivery_count).unwrap_or(u8::MAX).saturating_add(first_count);
    // Values are texts: the C SDK rejects a message with any other, so a name without a value gets an empty one.
    let properties = stored.message.properties.iter();
    let mut application: Vec<(String, SimpleValue)> = properties
        .map(|(name, value)| (name.clone(), SimpleValue::String(value.clone().unwrap_or_default())))
        .collect();
    let mut annotations = vec![
        ("iothub-enqueuedtime", message::timestamp(delivery.enqueued)),
        ("iothub-deliverycount", Value::Ubyte(count)),
        ("x-opt-sequence-number", Value::Ulong(delivery.sequence)),
        ("x-opt-lock-token", Value::String(guid::text(token))),
    ];
    if let Some(input) = &stored.message.input {
        annotations.push(("x-opt-input-name", Value::String(input.clone())));
    }
    let mut properties = Properties::default();
    for (name, value) in stored.system(identity) {
        match name {
            "message-id" => properties.message_id = Some(MessageId::String(value)),
            "correlation-id" => properties.correlation_id = Some(MessageId::String(value)),
            "user-id" => properties.user_id = Some(value.into_bytes().into()),
            "content-type" => properties.content_type = Some(message::symbol(&value)),
            "content-encoding" => properties.content_encoding = Some(message::symbol(&value)),
            "absolute-expiry-time" => {
                properties.absolute_expiry_time = stored.stated_expiry.map(message::timestamp_of);
            }
            // What a route passes on is the sender's; a cloud-to-device message's is the hub's, with the id escaped.
            "to" if stored.message.input.is_some() => properties.to = Some(value),
            "to" => properties.to = Some(format!("/devices/{}/messages/deviceBound", escape(&identity.device))),
            name if IN_APPLICATION.contains(&name) => {
                application.push((name.to_owned(), SimpleValue::String(value)));
            }
            name => annotations.push((name, Value::String(value))),
        }
    }
    Outgoing { annotations, properties, application, body: Body::Data(stored.message.body.clone()) }
}
