//! A connection that has not yet said what it wants: from TCP over TLS, on the HTTPS port through requests, until a head takes
//! it over or it ends.

use std::time::Duration;

use crate::activity::{Activity, ConnectionId, DisconnectReason};
use crate::clock::Now;
use crate::faults::{DropPoint, Fault};
use crate::hub::{HubState, NOBODY};

#[derive(Debug)]
pub(crate) struct Arrival {
    id: ConnectionId,
    deadline: Duration,
    over: bool,
}

impl Arrival {
    /// TCP has been accepted.
    pub(crate) fn new(hub: &mut HubState, now: Now) -> Self {
        let mut arrival = Self { id: hub.next_connection(), deadline: deadline(hub, now), over: false };
        arrival.reach(hub, now, DropPoint::TcpAccepted);
        arrival
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// When it must have said what it wants.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// It has asked for something, and has as long as at first to ask for the next thing.
    pub(crate) fn prolong(&mut self, hub: &HubState, now: Now) {
        self.deadline = deadline(hub, now);
    }

    /// Its life has come this far; a fault may wait here to end it.
    pub(crate) fn reach(&mut self, hub: &mut HubState, now: Now, point: DropPoint) {
        if !self.over && hub.faults.take_early_drop(point) {
            let fault = Fault::Drop { device: None, at: point };
            hub.note(&NOBODY, Activity::FaultFired { at: now.wall, connection: self.id, fault: fault.clone() });
            self.end(hub, now, DisconnectReason::Fault(fault));
        }
    }

    /// Time has passed.
    pub(crate) fn poll(&mut self, hub: &mut HubState, now: Now) {
        if self.deadline <= now.elapsed {
            self.end(hub, now, DisconnectReason::ConnectTimeout);
        }
    }

    pub(crate) fn end(&mut self, hub: &mut HubState, now: Now, why: DisconnectReason) {
        if !self.over {
            self.over = true;
            tracing::debug!(connection = self.id.0, ?why, "connection ends");
            hub.note(&NOBODY, Activity::Disconnected { at: now.wall, connection: self.id, why });
        }
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }
}

fn deadline(hub: &HubState, now: Now) -> Duration {
    now.elapsed.saturating_add(hub.config.connect_timeout)
}
