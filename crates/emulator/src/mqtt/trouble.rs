//! Faults that a head executes: whether one waits for it, and those that concern the connection as a whole (E42-E45).

use std::time::{Duration, SystemTime};

use crate::activity::{Activity, DisconnectReason};
use crate::clock::Now;
use crate::faults::{DropPoint, Fault, by_message};
use crate::hub::telemetry::Draft;
use crate::hub::{HubState, NOBODY};
use crate::mqtt::{Head, State};

/// A fault that a message has asked for.
#[derive(Debug)]
pub(super) struct Scheduled {
    pub(super) due: Duration,
    fault: Fault,
}

impl Head {
    /// Whether the connection is dropped here by a fault; then it is closed.
    pub(super) fn drops(&mut self, hub: &mut HubState, now: Now, point: DropPoint) -> bool {
        let drops = hub.faults.take_drop(self.identity(), point);
        if drops {
            self.drop_for(hub, now, point);
        }
        drops
    }

    pub(super) fn drop_for(&mut self, hub: &mut HubState, now: Now, at: DropPoint) {
        let device = Some(self.identity()).filter(|identity| **identity != NOBODY).map(ToString::to_string);
        self.end_for(hub, now, Fault::Drop { device, at });
    }

    /// Whether this fault waits for the connection; it is consumed.
    pub(super) fn fault_fires(&self, hub: &mut HubState, now: Now, fault: &Fault) -> bool {
        self.take_fault(hub, now, |waiting| waiting == fault).is_some()
    }

    /// The oldest of the wanted faults that waits for the connection; it is consumed and recorded.
    pub(super) fn take_fault(&self, hub: &mut HubState, now: Now, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        hub.take_fault(self.identity(), self.id, now, wanted)
    }

    /// Sends a packet as a fault of its own says: not at all, later, behind the next one; or simply, without a fault. False: the connection is closed.
    pub(super) fn send_troubled(
        &mut self,
        hub: &mut HubState,
        now: Now,
        packet: Vec<u8>,
        fault: Option<Fault>,
    ) -> bool {
        match fault {
            None => return self.send(hub, now, packet),
            Some(Fault::DelaySuback { by } | Fault::DelayPingresp { by }) => {
                self.outgoing.push_later(now.elapsed.saturating_add(by), packet);
            }
            Some(Fault::ReorderConnack | Fault::ReorderSuback | Fault::ReorderPingresp) => {
                self.outgoing.push_behind_next(&packet);
            }
            Some(_) => {}
        }
        true
    }

    /// Executes what waits for the connection as a whole.
    pub(super) fn suffer(&mut self, hub: &mut HubState, now: Now) {
        while let State::Open(open) = &mut self.state {
            if self.outgoing.is_dead() {
                return;
            }
            let asked = open.scheduled.iter().position(|scheduled| scheduled.due <= now.elapsed);
            let fault = match asked {
                Some(index) => {
                    let fault = open.scheduled.remove(index).fault;
                    let activity = Activity::FaultFired { at: now.wall, connection: self.id, fault: fault.clone() };
                    self.note(hub, activity);
                    fault
                }
                None => match self.take_fault(hub, now, Fault::concerns_connection) {
                    Some(fault) => fault,
                    None => return,
                },
            };
            match fault {
                Fault::HalfOpen => self.outgoing.die(),
                Fault::SplitAt { byte } => self.outgoing.split_after(byte),
                fault => self.close(hub, now, DisconnectReason::Fault(fault)),
            }
        }
    }

    /// Whether telemetry asks for a fault (E42), which is then scheduled.
    pub(super) fn asks_for_fault(&mut self, hub: &mut HubState, now: Now, draft: &Draft) -> bool {
        if !hub.config.message_faults {
            return false;
        }
        let (at, connection) = (now.wall, self.id);
        let State::Open(open) = &mut self.state else { return false };
        match by_message::asked(&draft.properties, by_message::Protocol::Mqtt) {
            None => false,
            Some(Ok(asked)) => {
                let due = now.elapsed.saturating_add(asked.delay);
                open.scheduled.push(Scheduled { due, fault: asked.fault.clone() });
                let due: SystemTime = now.wall.checked_add(asked.delay).unwrap_or(now.wall);
                let (fault, reason) = (asked.fault, asked.reason);
                self.note(hub, Activity::FaultScheduled { at, connection, fault, due, reason });
                true
            }
            Some(Err(by_message::Ignored { operation, problem })) => {
                self.note(hub, Activity::FaultIgnored { at, connection, operation, problem });
                false
            }
        }
    }

    fn end_for(&mut self, hub: &mut HubState, now: Now, fault: Fault) {
        self.note(hub, Activity::FaultFired { at: now.wall, connection: self.id, fault: fault.clone() });
        self.close(hub, now, DisconnectReason::Fault(fault));
    }
}
