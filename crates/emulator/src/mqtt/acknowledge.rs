//! PUBACKs to the device: at once and in order, unless a fault drops, delays or reorders them (E17, E23).

use std::collections::VecDeque;
use std::time::Duration;

use crate::activity::Activity;
use crate::clock::Now;
use crate::faults::{DropPoint, Fault, Taken};
use crate::hub::HubState;
use crate::mqtt::{Head, State, codec};

/// The PUBACKs that a fault holds back; empty otherwise.
#[derive(Debug, Default)]
pub(super) struct Pubacks {
    /// When each may go, in order.
    waiting: VecDeque<(Duration, u16)>,
    reordering: Option<Reordering>,
}

/// PUBACKs that are collected until there are enough to reverse.
#[derive(Debug)]
struct Reordering {
    window: usize,
    packet_ids: Vec<u16>,
}

impl Pubacks {
    pub(super) fn due(&self) -> Option<Duration> {
        self.waiting.front().map(|(due, _)| *due)
    }

    fn push(&mut self, due: Duration, packet_id: u16) {
        let Some(reordering) = &mut self.reordering else { return self.queue(due, packet_id) };
        reordering.packet_ids.push(packet_id);
        if reordering.packet_ids.len() >= reordering.window {
            let collected = std::mem::take(&mut reordering.packet_ids);
            self.reordering = None;
            collected.into_iter().rev().for_each(|packet_id| self.queue(due, packet_id));
        }
    }

    fn queue(&mut self, due: Duration, packet_id: u16) {
        // None overtakes an earlier one.
        let due = self.waiting.back().map_or(due, |(earlier, _)| due.max(*earlier));
        self.waiting.push_back((due, packet_id));
    }

    fn take_due(&mut self, now: Now) -> Option<u16> {
        if self.due()? > now.elapsed {
            return None;
        }
        self.waiting.pop_front().map(|(_, packet_id)| packet_id)
    }
}

impl Head {
    /// The device's PUBLISH is dealt with.
    pub(super) fn acknowledge(&mut self, hub: &mut HubState, now: Now, packet_id: u16) {
        let mut delay = Duration::ZERO;
        let (connection, identity) = (self.id, self.identity().clone());
        let State::Open(open) = &mut self.state else { return };
        let fired = hub.faults.take(&identity, |fault| match fault {
            Fault::DropPubacks { count } => Some(Taken::one_of(count, Fired::Drop)),
            Fault::DelayPubacks { count, by } => Some(Taken::one_of(count, Fired::Delay { by: *by })),
            Fault::ReorderPubacks { window } => Some(Taken::Last(Fired::Reorder { window: *window })),
            _ => None,
        });
        if let Some(fired) = &fired {
            hub.note_fired(&identity, connection, now, fired.as_fault());
        }
        match fired {
            Some(Fired::Drop) => return,
            Some(Fired::Delay { by }) => delay = by,
            Some(Fired::Reorder { window }) => {
                let window = usize::try_from(window).unwrap_or(usize::MAX);
                open.pubacks.reordering = Some(Reordering { window, packet_ids: Vec::new() });
            }
            None => {}
        }
        open.pubacks.push(now.elapsed.saturating_add(delay), packet_id);
        self.send_due_pubacks(hub, now);
    }

    pub(super) fn send_due_pubacks(&mut self, hub: &mut HubState, now: Now) {
        while let State::Open(open) = &mut self.state {
            let Some(packet_id) = open.pubacks.take_due(now) else { return };
            self.note(hub, Activity::PubackSent { at: now.wall, connection: self.id, packet_id });
            if !self.send(hub, now, codec::puback(packet_id)) || self.drops(hub, now, DropPoint::PubackSent) {
                return;
            }
        }
    }
}

/// What a fault does to one PUBACK.
enum Fired {
    Drop,
    Delay { by: Duration },
    Reorder { window: u32 },
}

impl Fired {
    /// The fault, as it concerns this one PUBACK.
    fn as_fault(&self) -> Fault {
        match self {
            Self::Drop => Fault::DropPubacks { count: 1 },
            Self::Delay { by } => Fault::DelayPubacks { count: 1, by: *by },
            Self::Reorder { window } => Fault::ReorderPubacks { window: *window },
        }
    }
}
