//! Faults that the head executes: scripted ones, and those that messages ask for (docs/hub-over-amqp.md 6).

use std::time::Duration;

use bytes::Bytes;
use fe2o3_amqp_types::definitions::{Error, Role};
use fe2o3_amqp_types::messaging::{Accepted, DeliveryState, Modified, Rejected, Released};

use crate::activity::{AmqpLink, DisconnectReason};
use crate::amqp::condition::{self, error};
use crate::amqp::frame::{self, Layer};
use crate::amqp::link::Place;
use crate::amqp::members::Reordering;
use crate::amqp::telemetry::Asked;
use crate::amqp::transfer::{Received, outcome};
use crate::amqp::{Head, State};
use crate::clock::Now;
use crate::faults::by_message::Protocol;
use crate::faults::{AmqpOutcome, DropPoint, Fault, Taken};
use crate::hub::HubState;
use crate::hub::registry::Identity;
use crate::hub::telemetry::Draft;

/// Something that happens later.
#[derive(Debug)]
pub(super) struct Scheduled {
    pub(super) due: Duration,
    what: Later,
}

#[derive(Debug)]
enum Later {
    /// A fault that a message of this identity has asked for.
    Fault(Identity, Fault),
    /// A reply that a fault holds back.
    Reply(Place, Bytes),
}

impl Head {
    /// Whether the connection is dropped here by a fault; then it is closed.
    pub(super) fn drops(&mut self, hub: &mut HubState, now: Now, owner: &Identity, point: DropPoint) -> bool {
        // One that has ended meanwhile, perhaps by another fault, does not end again: this fault waits for the next one.
        if !matches!(self.state, State::Open(_)) {
            return true;
        }
        match hub.take_drop(owner, self.id, now, point) {
            Some(why) => self.close(hub, now, why),
            None => return false,
        }
        true
    }

    /// The oldest of the wanted faults that waits for this device; it is consumed and recorded.
    pub(super) fn take_fault(
        &self,
        hub: &mut HubState,
        now: Now,
        owner: &Identity,
        wanted: impl Fn(&Fault) -> bool,
    ) -> Option<Fault> {
        hub.take_fault(owner, self.id, now, wanted)
    }

    /// The identity's link of this kind; of a kind that belongs to no identity, any.
    pub(super) fn link_of(&self, identity: &Identity, kind: AmqpLink) -> Option<Place> {
        let State::Open(open) = &self.state else { return None };
        match kind.is_of_an_identity() {
            true => open.members.get(identity)?.links.get(&kind).copied(),
            false => open.services().find(|(_, link)| link.node.kind == kind).map(|(place, _)| place),
        }
    }

    pub(super) fn reply_later(&mut self, now: Now, place: Place, by: Duration, payload: Bytes) {
        if let State::Open(open) = &mut self.state {
            let due = now.elapsed.saturating_add(by);
            open.scheduled.push(Scheduled { due, what: Later::Reply(place, payload) });
        }
    }

    /// A link is gone: what was held back for it is lost.
    pub(super) fn forget_replies(&mut self, gone: Place) {
        if let State::Open(open) = &mut self.state {
            open.scheduled.retain(|scheduled| !matches!(scheduled.what, Later::Reply(place, _) if place == gone));
        }
    }

    /// Does what is due, and executes what waits for the connection as a whole or for one of its links.
    pub(super) fn suffer(&mut self, hub: &mut HubState, now: Now) {
        while let State::Open(open) = &mut self.state {
            if self.outgoing.is_dead() {
                // Lost, like everything that would be sent; kept, it would be due for ever.
                open.scheduled.clear();
                return;
            }
            let due = open.scheduled.iter().position(|scheduled| scheduled.due <= now.elapsed);
            match due.map(|index| open.scheduled.remove(index).what) {
                Some(Later::Reply(place, payload)) => self.reply_on(hub, now, place, payload),
                Some(Later::Fault(identity, fault)) => {
                    hub.note_fired(&identity, self.id, now, fault.clone());
                    self.execute(hub, now, &identity, fault);
                }
                None => match self.injected(hub, now) {
                    Some((identity, fault)) => self.execute(hub, now, &identity, fault),
                    None => return,
                },
            }
        }
    }

    fn injected(&self, hub: &mut HubState, now: Now) -> Option<(Identity, Fault)> {
        if hub.faults.len() == 0 {
            return None;
        }
        let State::Open(open) = &self.state else { return None };
        open.members.keys().find_map(|identity| {
            let wanted = |fault: &Fault| match fault {
                Fault::AmqpDetach { link, .. } => self.link_of(identity, *link).is_some(),
                Fault::AmqpEnd { .. } | Fault::AmqpClose { .. } => true,
                fault => fault.concerns_connection(),
            };
            self.take_fault(hub, now, identity, wanted).map(|fault| (identity.clone(), fault))
        })
    }

    fn execute(&mut self, hub: &mut HubState, now: Now, identity: &Identity, fault: Fault) {
        let as_error = |condition: &Option<String>| {
            condition.as_ref().map(|condition| error(condition, "a fault was injected or asked for"))
        };
        match &fault {
            Fault::HalfOpen => self.outgoing.die(),
            Fault::SplitAt { byte } => self.outgoing.split_after(*byte),
            Fault::Throttle { lasts } => self.begin_trouble(now, identity, *lasts, condition::THROTTLED),
            Fault::Quota { lasts } => self.begin_trouble(now, identity, *lasts, condition::RESOURCE_LIMIT),
            Fault::AuthError { lasts } => self.begin_trouble(now, identity, *lasts, condition::UNAUTHORIZED),
            Fault::AmqpDetach { link, condition } => {
                if let Some(place) = self.link_of(identity, *link) {
                    self.detach(hub, now, place, as_error(condition), &DisconnectReason::Fault(fault.clone()));
                }
            }
            Fault::AmqpEnd { condition } => {
                let State::Open(open) = &self.state else { return };
                let theirs = open.links().find(|(_, link)| link.node.identity.as_ref() == Some(identity));
                if let Some((place, _)) = theirs {
                    let why = DisconnectReason::Fault(fault.clone());
                    self.end_session_because(hub, now, place.channel, as_error(condition), &why);
                }
            }
            Fault::AmqpClose { condition } => {
                self.say_close(as_error(condition));
                self.close(hub, now, DisconnectReason::Fault(fault));
            }
            Fault::OrderlyClose => {
                self.say_close(None);
                self.close(hub, now, DisconnectReason::Fault(fault));
            }
            _ => self.close(hub, now, DisconnectReason::Fault(fault)),
        }
    }

    fn begin_trouble(&mut self, now: Now, identity: &Identity, lasts: Duration, condition: &'static str) {
        if let Some(member) = self.member_mut(identity) {
            member.trouble = Some((now.elapsed.saturating_add(lasts), condition));
        }
    }

    /// With what the identity's telemetry is rejected now.
    pub(super) fn trouble(&mut self, now: Now, identity: &Identity) -> Option<Error> {
        let (until, condition) = self.member(Some(identity))?.trouble?;
        (until > now.elapsed).then(|| error(condition, "a fault was injected or asked for"))
    }

    /// Whether a message asks for a fault by these properties, which is then scheduled.
    pub(super) fn asks_for_fault(
        &mut self,
        hub: &mut HubState,
        now: Now,
        identity: &Identity,
        properties: &[(String, Option<String>)],
    ) -> Asked {
        let State::Open(open) = &mut self.state else { return Asked::Nothing };
        match hub.fault_asked_for(identity, self.id, now, properties, Protocol::Amqp) {
            None => Asked::Nothing,
            Some((delay, fault)) => {
                let kind = match fault {
                    Fault::Throttle { .. } | Fault::Quota { .. } | Fault::AuthError { .. } => Asked::ForFailures,
                    _ => Asked::ForAnEnd,
                };
                let what = Later::Fault(identity.clone(), fault);
                open.scheduled.push(Scheduled { due: now.elapsed.saturating_add(delay), what });
                kind
            }
        }
    }

    /// With what a transfer with these messages is rejected, if a fault wants it so.
    pub(super) fn refused_by_fault(
        &mut self,
        hub: &mut HubState,
        now: Now,
        owner: &Identity,
        drafts: &[Draft],
    ) -> Option<Error> {
        let has = |name: &str| drafts.iter().flat_map(|draft| &draft.properties).any(|(own, _)| own == name);
        let fired = hub.faults.take(owner, |fault| match fault {
            Fault::AmqpRefuseTelemetry { property, condition, count } if has(property) => {
                let fired = (property.clone(), condition.clone());
                Some(Taken::one_of(count, fired))
            }
            _ => None,
        });
        let (property, condition) = fired?;
        let rejected = error(&condition, "a fault was injected");
        let fault = Fault::AmqpRefuseTelemetry { property, condition, count: 1 };
        hub.note_fired(owner, self.id, now, fault);
        Some(rejected)
    }

    /// A transfer of telemetry is dealt with: the outcome of its messages goes out, unless a fault wants it otherwise.
    pub(super) fn acknowledge(
        &mut self,
        hub: &mut HubState,
        now: Now,
        identity: &Identity,
        received: &Received,
        messages: usize,
    ) {
        if received.settled {
            return;
        }
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        let fired = hub.faults.take(identity, |fault| match fault {
            Fault::DropPubacks { count } => Some(Taken::some_of(count, messages, Fault::DropPubacks { count: 1 })),
            Fault::DelayPubacks { count, by } => {
                Some(Taken::some_of(count, messages, Fault::DelayPubacks { count: 1, by: *by }))
            }
            Fault::ReorderPubacks { .. } | Fault::AmqpOutcome(_) => Some(Taken::Last(fault.clone())),
            _ => None,
        });
        if let Some(fault) = &fired {
            hub.note_fired(identity, self.id, now, fault.clone());
        }
        let accepted = DeliveryState::Accepted(Accepted {});
        let outcome_of_it = match fired {
            Some(Fault::DropPubacks { .. }) => return,
            Some(Fault::DelayPubacks { by, .. }) => {
                let late = outcome(received.delivery_id, Role::Receiver, accepted);
                let late = frame::write(Layer::Amqp, received.place.channel, &late, &[]);
                self.outgoing.push_later(now.elapsed.saturating_add(by), late);
                self.drops(hub, now, identity, DropPoint::PubackSent);
                return;
            }
            Some(Fault::ReorderPubacks { window }) => {
                let window = usize::try_from(window).unwrap_or(usize::MAX);
                if let Some(member) = self.member_mut(identity) {
                    member.reordering = Some(Reordering { window, outcomes: Vec::new() });
                }
                accepted
            }
            Some(Fault::AmqpOutcome(wanted)) => state(wanted),
            _ => accepted,
        };
        for (received, outcome) in self.in_order(identity, received, outcome_of_it) {
            self.settle_with(hub, now, &received, outcome);
            if self.drops(hub, now, identity, DropPoint::PubackSent) {
                return;
            }
        }
    }

    /// The outcomes that go out now: this one, unless they are collected; then none, or in the end all in reverse.
    fn in_order(
        &mut self,
        owner: &Identity,
        received: &Received,
        outcome: DeliveryState,
    ) -> Vec<(Received, DeliveryState)> {
        // What came in it is dealt with.
        let received = Received { payload: Bytes::new(), ..received.clone() };
        let Some(member) = self.member_mut(owner) else { return vec![(received, outcome)] };
        let Some(mut reordering) = member.reordering.take() else { return vec![(received, outcome)] };
        reordering.outcomes.push((received, outcome));
        if reordering.outcomes.len() < reordering.window {
            member.reordering = Some(reordering);
            return Vec::new();
        }
        reordering.outcomes.reverse();
        reordering.outcomes
    }
}

fn state(outcome: AmqpOutcome) -> DeliveryState {
    match outcome {
        AmqpOutcome::Rejected { condition } => {
            DeliveryState::Rejected(Rejected { error: Some(error(&condition, "a fault was injected")) })
        }
        AmqpOutcome::Released => DeliveryState::Released(Released {}),
        AmqpOutcome::Modified => DeliveryState::Modified(Modified {
            delivery_failed: Some(true),
            undeliverable_here: None,
            message_annotations: None,
        }),
    }
}
