//! The HTTPS head: how a request on the HTTPS port is answered. Requests in, answers out; no socket, no runtime, no clock.

mod refusal;
#[cfg(test)]
mod tests;
mod upgrade;

use hyper::{Request, Response};

use crate::activity::Activity;
use crate::arrival::Arrival;
use crate::clock::Now;
use crate::faults::{DropPoint, Fault};
use crate::hub::{HubState, NOBODY};

use refusal::Refusal;
pub(crate) use upgrade::{Protocol, Upgrade};

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It is answered, and the next request may come.
    Respond(Response<String>),
    /// It is answered with 101: the connection is a WebSocket from here on.
    Switch(Response<String>, Upgrade),
    /// It is not answered: the connection has ended.
    Nothing,
}

/// Answers a request. Its body is not looked at.
pub(crate) fn answer<B>(hub: &mut HubState, now: Now, arrival: &mut Arrival, request: &Request<B>) -> Answer {
    arrival.prolong(hub, now);
    let outcome = if upgrade::is_asked_for(request) {
        arrival.reach(hub, now, DropPoint::UpgradeReceived);
        if arrival.is_over() {
            return Answer::Nothing;
        }
        match injected_refusal(hub, now, arrival) {
            Some(refusal) => Err(refusal),
            None => upgrade::accept(request),
        }
    } else {
        Err(Refusal::without_upgrade(request))
    };
    match outcome {
        Ok(mut upgrade) => {
            upgrade.frame_size = injected_frame_size(hub, now, arrival);
            Answer::Switch(upgrade.response(), upgrade)
        }
        Err(refusal) => {
            tracing::debug!(connection = arrival.id().0, status = refusal.status.as_u16(), refusal.why, "refused");
            hub.note(&NOBODY, refusal.activity(now, arrival.id(), request));
            Answer::Respond(refusal.response())
        }
    }
}

fn injected_refusal(hub: &mut HubState, now: Now, arrival: &Arrival) -> Option<Refusal> {
    match take_fault(hub, now, arrival, |fault| matches!(fault, Fault::RefuseUpgrade { .. })) {
        Some(Fault::RefuseUpgrade { status }) => Some(Refusal::injected(status)),
        _ => None,
    }
}

fn injected_frame_size(hub: &mut HubState, now: Now, arrival: &Arrival) -> Option<usize> {
    match take_fault(hub, now, arrival, |fault| matches!(fault, Fault::FragmentMessages { .. })) {
        Some(Fault::FragmentMessages { size }) => Some(size),
        _ => None,
    }
}

fn take_fault(hub: &mut HubState, now: Now, arrival: &Arrival, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
    let fault = hub.faults.take_early(wanted)?;
    hub.note(&NOBODY, Activity::FaultFired { at: now.wall, connection: arrival.id(), fault: fault.clone() });
    Some(fault)
}
