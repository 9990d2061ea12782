//! What a local device sends: telemetry, subscriptions, answers, and requests for its twin.

use bytes::Bytes;

use crate::activity::Activity;
use crate::clock::Now;
use crate::faults::{DropPoint, Fault, TwinReplyFault};
use crate::hub::HubState;
use crate::hub::c2d::Settlement;
use crate::hub::session::{Feature, REFUSED};
use crate::hub::telemetry::Draft;
use crate::hub::twin::reply::Reply;
use crate::local::line::Line;
use crate::local::{LocalDelivery, LocalError, LocalEvent, LocalFeature, LocalTwinAnswer};
use crate::mqtt::topic::filter_of;

/// The QoS of every subscription: messages are locked until they are settled.
const QOS: u8 = 1;

impl Line {
    pub(in crate::local) fn send(
        &mut self,
        hub: &mut HubState,
        now: Now,
        draft: Draft,
    ) -> Result<Option<u64>, LocalError> {
        self.arrives(hub, now)?;
        let draft = draft.checked().map_err(|why| self.end(hub, now, why))?;
        let taken = hub.take_telemetry(self.id, draft, None, false, now).map_err(|why| self.end(hub, now, why))?;
        self.passes(hub, now, DropPoint::PublishStored)?;
        Ok(taken.sequence_number)
    }

    pub(in crate::local) fn subscribe(
        &mut self,
        hub: &mut HubState,
        now: Now,
        feature: LocalFeature,
    ) -> Result<(), LocalError> {
        self.ensure_open(hub, now)?;
        let filter = self.filter(feature)?;
        self.passes(hub, now, DropPoint::SubscribeReceived)?;
        let granted = match self.take_fault(hub, now, |fault| *fault == Fault::RefuseSubscription) {
            Some(_) => REFUSED,
            None => {
                let granted = hub.grant(self.id, &filter, Some(feature.as_hub_has_it()), QOS);
                granted.map_err(|why| self.end(hub, now, why))?
            }
        };
        self.note(hub, Activity::Subscribed { at: now.wall, connection: self.id, filter, granted });
        self.passes(hub, now, DropPoint::SubackSent)?;
        if granted == REFUSED { Err(LocalError::SubscriptionRefused { feature }) } else { Ok(()) }
    }

    pub(in crate::local) fn unsubscribe(
        &mut self,
        hub: &mut HubState,
        now: Now,
        feature: LocalFeature,
    ) -> Result<(), LocalError> {
        self.ensure_open(hub, now)?;
        let filter = self.filter(feature)?;
        hub.unsubscribe(self.id, &filter);
        self.note(hub, Activity::Unsubscribed { at: now.wall, connection: self.id, filter });
        Ok(())
    }

    pub(in crate::local) fn settle(
        &mut self,
        hub: &mut HubState,
        now: Now,
        delivery: LocalDelivery,
        how: Settlement,
    ) -> Result<(), LocalError> {
        self.ensure_open(hub, now)?;
        self.passes(hub, now, DropPoint::PubackReceived)?;
        let held = delivery.connection == self.id && hub.settle(self.id, delivery.sequence, how, now);
        if held { Ok(()) } else { Err(LocalError::NotHeld) }
    }

    pub(in crate::local) fn get_twin(&mut self, hub: &mut HubState, now: Now, request: &str) -> Result<(), LocalError> {
        self.arrives(hub, now)?;
        let (fault, is_listening) = self.reply_fault(hub, now);
        let reply = hub.answer_get(&self.identity, fault, now);
        let (rid, status) = (request.to_owned(), reply.status);
        let answered = is_listening && fault != Some(TwinReplyFault::Drop);
        self.note(hub, Activity::TwinGet { at: now.wall, connection: self.id, rid, status, answered });
        self.answer(hub, now, request, reply, fault, answered)
    }

    pub(in crate::local) fn report(
        &mut self,
        hub: &mut HubState,
        now: Now,
        request: &str,
        patch: &[u8],
    ) -> Result<(), LocalError> {
        self.arrives(hub, now)?;
        let (fault, is_listening) = self.reply_fault(hub, now);
        let reply = hub.answer_report(&self.identity, patch, fault, now);
        let (at, connection, status, version) = (now.wall, self.id, reply.status, reply.version);
        let answered = is_listening && fault != Some(TwinReplyFault::Drop);
        let rid = Some(request.to_owned());
        self.note(hub, Activity::TwinReported { at, connection, rid, status, version, answered });
        self.answer(hub, now, request, reply, fault, answered)
    }

    pub(in crate::local) fn respond(
        &mut self,
        hub: &mut HubState,
        now: Now,
        request: &str,
        status: i32,
        body: &Bytes,
    ) -> Result<(), LocalError> {
        self.arrives(hub, now)?;
        hub.answer_method(self.id, request, &status.to_string(), body, now).map_err(LocalError::Response)
    }

    /// Whether an answer to a twin request is wanted, and what is wrong with it.
    fn reply_fault(&self, hub: &mut HubState, now: Now) -> (Option<TwinReplyFault>, bool) {
        if hub.subscription(self.id, Feature::TwinResponses).is_none() {
            return (None, false);
        }
        let wanted =
            |fault: &Fault| matches!(fault, Fault::TwinReply(kind) if !matches!(kind, TwinReplyFault::Delay(_)));
        match self.take_fault(hub, now, wanted) {
            Some(Fault::TwinReply(fault)) => (Some(fault), true),
            _ => (None, true),
        }
    }

    fn answer(
        &mut self,
        hub: &mut HubState,
        now: Now,
        request: &str,
        reply: Reply,
        fault: Option<TwinReplyFault>,
        answered: bool,
    ) -> Result<(), LocalError> {
        self.passes(hub, now, DropPoint::TwinExecuted)?;
        if !answered {
            return Ok(());
        }
        let Reply { status, version, body } = reply.with(fault);
        let request = match fault {
            Some(TwinReplyFault::UnknownRid) => format!("unknown-{request}"),
            _ => request.to_owned(),
        };
        let answer = LocalEvent::TwinAnswer(LocalTwinAnswer { request, status, version, body: body.into() });
        if fault == Some(TwinReplyFault::Duplicate) {
            self.push(hub, now, answer.clone());
        }
        self.push(hub, now, answer);
        Ok(())
    }

    fn filter(&self, feature: LocalFeature) -> Result<String, LocalError> {
        filter_of(feature.as_hub_has_it(), &self.identity).ok_or(LocalError::NoFeature { feature })
    }
}
