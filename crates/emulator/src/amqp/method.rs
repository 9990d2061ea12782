//! Method requests to the device and its responses (docs/hub-over-amqp.md 3; E40-E42).

use bytes::Bytes;
use fe2o3_amqp_types::messaging::{MessageId, Properties};
use fe2o3_amqp_types::primitives::SimpleValue;
use serde_amqp::primitives::Uuid;

use crate::activity::{Activity, AmqpLink};
use crate::amqp::Head;
use crate::amqp::message::{self, Body, Incoming, Outgoing};
use crate::amqp::transfer::Received;
use crate::clock::Now;
use crate::faults::{DropPoint, Fault};
use crate::guid;
use crate::hub::HubState;
use crate::hub::registry::Identity;

impl Head {
    pub(super) fn send_method(
        &mut self,
        hub: &mut HubState,
        now: Now,
        identity: &Identity,
        name: String,
        rid: String,
        body: &Bytes,
    ) {
        let wanted = |fault: &Fault| matches!(fault, Fault::MethodDuplicate | Fault::LateMethod { .. });
        let fault = self.take_fault(hub, now, identity, wanted);
        let Some(place) = self.link_of(identity, AmqpLink::MethodRequests) else { return };
        let Some(connection) = self.member(Some(identity)).map(|member| member.connection) else { return };
        let uuid = Uuid::from(guid::parse(&rid).unwrap_or_default().to_be_bytes());
        let request = Outgoing {
            properties: Properties { correlation_id: Some(MessageId::Uuid(uuid)), ..Properties::default() },
            application: vec![("IoThub-methodname".to_owned(), SimpleValue::String(name.clone()))],
            body: Body::Data(body.clone()),
            ..Outgoing::default()
        };
        let request = request.encode();
        hub.note(identity, Activity::MethodSent { at: now.wall, connection, name, rid, packet_id: None });
        match fault {
            Some(Fault::LateMethod { by }) => {
                return self.reply_later(now, place, by, request);
            }
            Some(Fault::MethodDuplicate) => {
                self.reply_on(hub, now, place, request.clone());
                self.reply_on(hub, now, place, request);
            }
            _ => self.reply_on(hub, now, place, request),
        }
        self.drops(hub, now, identity, DropPoint::MethodSent);
    }

    pub(super) fn method_response(
        &mut self,
        hub: &mut HubState,
        now: Now,
        identity: &Identity,
        received: &Received,
        response: &Incoming,
    ) {
        let Some(connection) = self.member(Some(identity)).map(|member| member.connection) else { return };
        self.settle(hub, now, received, None);
        let at = now.wall;
        let misanswered = |rid: Option<String>, problem: &str| Activity::MethodMisanswered {
            at,
            connection,
            rid,
            problem: problem.to_owned(),
        };
        let rid = response.properties.correlation_id.as_ref().map(message::id_text);
        let status = response.application("IoThub-status").and_then(message::integer);
        let activity = match (rid, status, response.body()) {
            (None, ..) => misanswered(None, "it has no correlation-id"),
            (rid, None, _) => misanswered(rid, "IoThub-status is no integer"),
            (rid, _, Err(problem)) => misanswered(rid, problem),
            (Some(rid), Some(status), Ok(body)) => {
                // What is wrong with it is on record, and the device is not told.
                let _ = hub.answer_method(connection, &rid, &status.to_string(), &body, now);
                return;
            }
        };
        hub.note(identity, activity);
    }
}
