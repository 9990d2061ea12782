//! Cloud-to-device messages out, and what the device makes of them (docs/hub-over-amqp.md 3; E30-E33).

use fe2o3_amqp_types::definitions::Role;
use fe2o3_amqp_types::messaging::{Accepted, DeliveryState, MessageId, Properties, Rejected};
use fe2o3_amqp_types::performatives::Disposition;
use fe2o3_amqp_types::primitives::SimpleValue;
use serde_amqp::Value;

use crate::activity::{Activity, C2dDisposition};
use crate::amqp::condition::{self, error};
use crate::amqp::link::Place;
use crate::amqp::message::{self, Body, Outgoing};
use crate::amqp::send::Parcel;
use crate::amqp::session::{Unsettled, What};
use crate::amqp::transfer::outcome;
use crate::amqp::{Head, State};
use crate::clock::Now;
use crate::escape::escape;
use crate::faults::DropPoint;
use crate::guid;
use crate::hub::HubState;
use crate::hub::c2d::{Delivery, LockId, Settlement};
use crate::hub::registry::Identity;

/// A message that the device has.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) lock: LockId,
    message_id: String,
}

impl Head {
    /// Sends the next message that waits. False: there is none.
    pub(super) fn send_c2d(&mut self, hub: &mut HubState, now: Now, place: Place) -> bool {
        let State::Open(open) = &self.state else { return false };
        let Some(link) = open.link(place) else { return false };
        let Some(identity) = link.node.identity.clone() else { return false };
        let settled = link.sender().is_some_and(|sender| sender.settled);
        let Some(connection) = self.member(Some(&identity)).map(|member| member.connection) else { return false };
        let Some((delivery, _)) = hub.take_c2d(connection, now) else { return false };
        let token = guid::random_bits();
        let message_id = delivery.message.message_id.clone();
        let payload = message(&identity, &delivery, token, hub.config.amqp_first_delivery_count).encode();
        let given = Given { lock: delivery.lock, message_id: message_id.clone() };
        hub.note(
            &identity.device,
            Activity::C2dSent { at: now.wall, connection, message_id, packet_id: None, dup: delivery.dup },
        );
        if settled {
            // Only a fault makes the link so. Sending completes it, as at MQTT's QoS 0.
            hub.settle_c2d(connection, delivery.lock, Settlement::Complete, now);
        }
        self.deliver(hub, now, place, Parcel { tag: guid::dotnet_bytes(token), payload, what: What::C2d(given) });
        !self.drops(hub, now, &identity.device, DropPoint::C2dSent)
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
                if self.drops(hub, now, &identity.device, DropPoint::PubackReceived) {
                    return;
                }
                if !self.settle_message(hub, now, &identity, given, disposition.state.as_ref()) {
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
        given: Given,
        state: Option<&DeliveryState>,
    ) -> bool {
        let Some(connection) = self.member(Some(identity)).map(|member| member.connection) else { return false };
        let (settlement, shown) = match state {
            Some(DeliveryState::Accepted(_)) => (Settlement::Complete, C2dDisposition::Accepted),
            Some(DeliveryState::Rejected(_)) => (Settlement::Reject, C2dDisposition::Rejected),
            Some(DeliveryState::Modified(_)) => (Settlement::Abandon, C2dDisposition::Modified),
            _ => (Settlement::Abandon, C2dDisposition::Released),
        };
        let in_time = hub.settle_c2d(connection, given.lock, settlement, now);
        let (at, message_id) = (now.wall, given.message_id);
        hub.note(&identity.device, Activity::C2dSettled { at, connection, message_id, disposition: shown, in_time });
        in_time
    }
}

fn is_outcome(state: Option<&DeliveryState>) -> bool {
    !matches!(state, None | Some(DeliveryState::Received(_)))
}

fn message(identity: &Identity, delivery: &Delivery, token: u128, first_count: u8) -> Outgoing {
    let stored = &delivery.message;
    let count = u8::try_from(delivery.delivery_count).unwrap_or(u8::MAX).saturating_add(first_count);
    let content = &stored.message;
    // Values are texts: the C SDK rejects a message with any other, so a name without a value gets an empty one.
    let mut application: Vec<(String, SimpleValue)> = content
        .properties
        .iter()
        .map(|(name, value)| (name.clone(), SimpleValue::String(value.clone().unwrap_or_default())))
        .collect();
    if let Some(mode) = content.ack {
        application.push(("iothub-ack".to_owned(), SimpleValue::String(mode.wire().to_owned())));
    }
    Outgoing {
        annotations: vec![
            ("iothub-enqueuedtime", message::timestamp(delivery.enqueued)),
            ("iothub-deliverycount", Value::Ubyte(count)),
            ("x-opt-sequence-number", Value::Ulong(delivery.sequence)),
            ("x-opt-lock-token", Value::String(guid::text(token))),
        ],
        properties: Properties {
            message_id: Some(MessageId::String(stored.message_id.clone())),
            user_id: content.user_id.as_ref().map(|id| id.clone().into_bytes().into()),
            to: Some(devicebound(identity)),
            correlation_id: content.correlation_id.clone().map(MessageId::String),
            content_type: content.content_type.as_deref().map(message::symbol),
            content_encoding: content.content_encoding.as_deref().map(message::symbol),
            absolute_expiry_time: stored.stated_expiry.map(message::timestamp_of),
            ..Properties::default()
        },
        application,
        body: Body::Data(content.body.clone()),
    }
}

/// The `to` of a message to a device.
fn devicebound(identity: &Identity) -> String {
    let module = identity.module.as_ref().map(|module| format!("/modules/{}", escape(module)));
    format!("/devices/{}{}/messages/deviceBound", escape(&identity.device), module.unwrap_or_default())
}
