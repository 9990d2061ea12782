//! Twin requests from the device with their answers, and desired patches to it (docs/hub-over-amqp.md 3; E37-E39).

use bytes::Bytes;
use fe2o3_amqp_types::messaging::{MessageId, Properties};
use serde_amqp::Value;

use crate::activity::{Activity, AmqpLink, ConnectionId};
use crate::amqp::Head;
use crate::amqp::message::{self, Body, Incoming, Outgoing};
use crate::amqp::transfer::Received;
use crate::clock::Now;
use crate::faults::{DropPoint, Fault, TwinPatchFault, TwinReplyFault};
use crate::hub::HubState;
use crate::hub::outbox::Letter;
use crate::hub::registry::Identity;
use crate::hub::session::Feature;
use crate::hub::twin::DesiredChange;
use crate::hub::twin::reply::Reply;

const REPORTED: &str = "/properties/reported";
const DESIRED_NOTIFICATIONS: &str = "/notifications/twin/properties/desired";

impl Head {
    /// Sends what the hub has for the devices on this connection besides messages.
    pub(super) fn send_letters(&mut self, hub: &mut HubState, now: Now) {
        let crate::amqp::State::Open(open) = &self.state else { return };
        let stirred = open.stirred.iter().filter_map(|identity| Some((identity.clone(), open.members.get(identity)?)));
        let members: Vec<(Identity, ConnectionId)> =
            stirred.map(|(identity, member)| (identity, member.connection)).collect();
        for (identity, connection) in members {
            hub.send_waiting_methods(&identity, now);
            while let Some(letter) = hub.take_letter(connection) {
                match letter {
                    Letter::Desired(change) => self.send_desired(hub, now, &identity, connection, change),
                    Letter::Method { name, rid, body } => self.send_method(hub, now, &identity, name, rid, &body),
                }
            }
        }
    }

    pub(super) fn twin_request(
        &mut self,
        hub: &mut HubState,
        now: Now,
        identity: &Identity,
        received: &Received,
        request: &Incoming,
    ) {
        if self.drops(hub, now, identity, DropPoint::PublishReceived) {
            return;
        }
        let Some(connection) = self.member(Some(identity)).map(|member| member.connection) else { return };
        // The outcome says that it has come; what became of it is the answer's.
        self.settle(hub, now, received, None);
        let annotation = |name: &str| request.annotation(name).and_then(message::text);
        let (operation, resource) = (annotation("operation"), annotation("resource"));
        let (operation, resource) = (operation.as_deref().unwrap_or(""), resource.as_deref().unwrap_or(""));
        let subscribes = matches!((operation, resource), ("PUT" | "DELETE", DESIRED_NOTIFICATIONS));
        let known = subscribes || matches!((operation, resource), ("GET", "") | ("PATCH", REPORTED));
        if !known && !hub.config.amqp_answer_unknown_twin_operation {
            return;
        }
        let answered = self.link_of(identity, AmqpLink::TwinReplies).is_some();
        // A wish for desired patches is what a subscription is over MQTT: the faults of a reply are not for it.
        let fault = match answered {
            false => None,
            true if subscribes => self.delay_of_wish(hub, now, identity),
            true => self.twin_fault(hub, now, identity),
        };
        let reply = match (operation, request.body()) {
            _ if !known => Reply::of_status(hub, now, 400),
            ("GET", _) => hub.answer_get(identity, fault, now),
            ("PATCH", Ok(body)) => {
                let mut reply = hub.answer_report(identity, &body, fault, now);
                if reply.status == 204 {
                    reply.status = hub.config.amqp_report_status;
                }
                reply
            }
            ("PATCH", Err(_)) => Reply::of_status(hub, now, 400),
            ("PUT", _) => {
                hub.subscribe_link(connection, Feature::DesiredPatches);
                Reply::of_status(hub, now, 200)
            }
            _ => {
                hub.unsubscribe_link(connection, Feature::DesiredPatches);
                Reply::of_status(hub, now, 200)
            }
        };
        let id = request.properties.correlation_id.clone();
        let rid = id.as_ref().map(message::id_text).unwrap_or_default();
        let (at, status, version) = (now.wall, reply.status, reply.version);
        let answered = answered && fault != Some(TwinReplyFault::Drop);
        hub.note(
            identity,
            match operation {
                "GET" => Activity::TwinGet { at, connection, rid, status, answered },
                "PATCH" => Activity::TwinReported { at, connection, rid: Some(rid), status, version, answered },
                _ => Activity::DesiredSubscribed { at, connection, subscribed: operation == "PUT", status },
            },
        );
        if !self.drops(hub, now, identity, DropPoint::TwinExecuted) && answered {
            self.twin_reply(hub, now, identity, id, reply, fault);
        }
    }

    fn twin_fault(&self, hub: &mut HubState, now: Now, owner: &Identity) -> Option<TwinReplyFault> {
        match self.take_fault(hub, now, owner, |fault| matches!(fault, Fault::TwinReply(_)))? {
            Fault::TwinReply(fault) => Some(fault),
            _ => None,
        }
    }

    fn delay_of_wish(&self, hub: &mut HubState, now: Now, owner: &Identity) -> Option<TwinReplyFault> {
        match self.take_fault(hub, now, owner, |fault| matches!(fault, Fault::AmqpDelayDesired { .. }))? {
            Fault::AmqpDelayDesired { by } => Some(TwinReplyFault::Delay(by)),
            _ => None,
        }
    }

    fn twin_reply(
        &mut self,
        hub: &mut HubState,
        now: Now,
        identity: &Identity,
        id: Option<MessageId>,
        reply: Reply,
        fault: Option<TwinReplyFault>,
    ) {
        let Some(place) = self.link_of(identity, AmqpLink::TwinReplies) else { return };
        let correlation_id = match fault {
            Some(TwinReplyFault::UnknownRid) => Some(MessageId::String(crate::guid::random())),
            _ => id,
        };
        let reply = reply.with(fault);
        let mut annotations = vec![("status", Value::Int(i32::from(reply.status)))];
        if let Some(version) = reply.version {
            annotations.push(("version", Value::Long(i64::try_from(version).unwrap_or(i64::MAX))));
        }
        let body = if reply.body.is_empty() { Body::None } else { Body::Data(Bytes::from(reply.body)) };
        let properties = Properties { correlation_id, ..Properties::default() };
        let message = Outgoing { annotations, properties, body, ..Outgoing::default() }.encode();
        match fault {
            Some(TwinReplyFault::Delay(by)) => self.reply_later(now, place, by, message),
            Some(TwinReplyFault::Duplicate) => {
                self.reply_on(hub, now, place, message.clone());
                self.reply_on(hub, now, place, message);
            }
            _ => self.reply_on(hub, now, place, message),
        }
    }

    /// Tells the device of changed desired properties: a message without a correlation id.
    fn send_desired(
        &mut self,
        hub: &mut HubState,
        now: Now,
        identity: &Identity,
        connection: ConnectionId,
        change: DesiredChange,
    ) {
        let version = change.version;
        let Some((body, fault)) = hub.patch_to_send(identity, self.id, now, change.patch) else { return };
        let Some(place) = self.link_of(identity, AmqpLink::TwinReplies) else { return };
        let message = Outgoing { body: Body::Data(body.into()), ..Outgoing::default() }.encode();
        hub.note(identity, Activity::DesiredSent { at: now.wall, connection, version, packet_id: None });
        let Some(member) = self.member_mut(identity) else { return };
        if fault == Some(TwinPatchFault::Reorder) {
            return member.later_patches.push(message);
        }
        let mut messages = vec![message.clone()];
        if fault == Some(TwinPatchFault::Duplicate) {
            messages.push(message);
        }
        messages.append(&mut member.later_patches);
        for message in messages {
            self.reply_on(hub, now, place, message);
        }
        self.drops(hub, now, identity, DropPoint::DesiredSent);
    }
}
