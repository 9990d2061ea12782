//! Faults that a head executes: whether one waits for it, and those that concern the connection as a whole (E42-E45).

use std::time::Duration;

use crate::activity::DisconnectReason;
use crate::clock::Now;
use crate::faults::by_message::Protocol;
use crate::faults::{DropPoint, Fault};
use crate::hub::HubState;
use crate::hub::telemetry::Draft;
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
        let dropped = hub.take_drop(self.identity(), self.id, now, point);
        let drops = dropped.is_some();
        if let Some(why) = dropped {
            self.close(hub, now, why);
        }
        drops
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
                    hub.note_fired(&open.identity, self.id, now, fault.clone());
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
        let State::Open(open) = &mut self.state else { return false };
        let asked = hub.fault_asked_for(&open.identity, self.id, now, &draft.properties, Protocol::Mqtt);
        let is_asked = asked.is_some();
        open.scheduled.extend(asked.map(|(delay, fault)| Scheduled { due: now.elapsed.saturating_add(delay), fault }));
        is_asked
    }
}
