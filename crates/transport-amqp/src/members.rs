//! All registered devices and modules, and which of them there is something to do for.
//!
//! A shared transport is driven once for each of its clients, so nothing here may look at every member each time.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Instant;

use iothub_core::{Slot, TransportEvent};

use crate::member::{Member, State};

#[derive(Default)]
pub(crate) struct Members {
    by_slot: BTreeMap<Slot, Member>,
    next: u32,
    /// There was more than one at some time: whose work produces an event need not be whom it is for.
    is_shared: bool,
    /// What their tokens are for: one member for each.
    audiences: HashSet<String>,
    waiting: BTreeSet<Slot>,
    /// Those for whom there is a connection, or is to be one.
    in_use: BTreeSet<Slot>,
    /// When the hub must have answered them, soonest first.
    due: BTreeSet<(Instant, Slot)>,
}

/// Where a member stands in the lists.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Standing {
    is_waiting: bool,
    is_in_use: bool,
    due: Option<Instant>,
}

impl Standing {
    fn of(member: &Member) -> Self {
        Self {
            is_waiting: matches!(member.state, State::Waiting { .. }),
            is_in_use: !matches!(member.state, State::Idle),
            due: member.due(),
        }
    }
}

impl Members {
    pub(crate) fn len(&self) -> usize {
        self.by_slot.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_slot.is_empty()
    }

    /// Whether one with these tokens is here.
    pub(crate) fn has(&self, audience: &str) -> bool {
        self.audiences.contains(audience)
    }

    pub(crate) fn insert(&mut self, member: Member) -> Slot {
        let slot = Slot(self.next);
        self.next = self.next.wrapping_add(1);
        self.audiences.insert(member.names.audience());
        self.is_shared |= !self.by_slot.is_empty();
        self.by_slot.insert(slot, member);
        slot
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        // Out of the lists first.
        self.change(slot, |member| member.state = State::Idle);
        if let Some(member) = self.by_slot.remove(&slot) {
            self.audiences.remove(&member.names.audience());
        }
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Member> {
        self.by_slot.get(&slot)
    }

    /// The one that has been here longest.
    pub(crate) fn first(&self) -> Option<&Member> {
        self.by_slot.values().next()
    }

    /// The only way to change one, so that the lists stay right.
    pub(crate) fn change<T>(&mut self, slot: Slot, change: impl FnOnce(&mut Member) -> T) -> Option<T> {
        let member = self.by_slot.get_mut(&slot)?;
        let (before, told) = (Standing::of(member), member.events_waiting());
        let result = change(member);
        // Whoever is alone drives the transport itself, and looks for its events when it has.
        if self.is_shared && member.events_waiting() > told {
            member.waker.wake_by_ref();
        }
        let after = Standing::of(member);
        if before != after {
            self.list(slot, before, after);
        }
        Some(result)
    }

    fn list(&mut self, slot: Slot, before: Standing, after: Standing) {
        for (list, was, is) in [
            (&mut self.waiting, before.is_waiting, after.is_waiting),
            (&mut self.in_use, before.is_in_use, after.is_in_use),
        ] {
            match (was, is) {
                (false, true) => drop(list.insert(slot)),
                (true, false) => drop(list.remove(&slot)),
                _ => {}
            }
        }
        if let Some(due) = before.due {
            self.due.remove(&(due, slot));
        }
        if let Some(due) = after.due {
            self.due.insert((due, slot));
        }
    }

    /// The hub that waiting members want, and whether they prove themselves by tokens; `None` if nobody waits.
    pub(crate) fn wanted(&self) -> Option<(String, bool)> {
        let member = self.by_slot.get(self.waiting.first()?)?;
        match &member.state {
            State::Waiting { token } => Some((member.names.hub().to_owned(), token.is_some())),
            _ => None,
        }
    }

    pub(crate) fn is_any_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn is_any_in_use(&self) -> bool {
        !self.in_use.is_empty()
    }

    /// Those that wait for the connection.
    pub(crate) fn waiting(&self) -> Vec<Slot> {
        self.waiting.iter().copied().collect()
    }

    /// Those for whom there is a connection, or is to be one.
    pub(crate) fn in_use(&self) -> Vec<Slot> {
        self.in_use.iter().copied().collect()
    }

    /// Whether somebody else needs the connection, now or next.
    pub(crate) fn others_need_it(&self, than: Slot) -> bool {
        let needs =
            |slot: &&Slot| **slot != than && !matches!(self.get(**slot).map(|m| &m.state), Some(State::Closing));
        self.in_use.iter().any(|slot| needs(&slot))
    }

    /// The soonest moment that something is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// One that has waited for the hub until now.
    pub(crate) fn late(&self, now: Instant) -> Option<Slot> {
        self.due.first().filter(|(due, _)| *due <= now).map(|(_, slot)| *slot)
    }

    pub(crate) fn poll_event(&mut self, slot: Slot) -> Option<TransportEvent> {
        self.by_slot.get_mut(&slot)?.poll_event()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use iothub_core::{Identity, Registration};

    use super::*;
    use crate::names::Names;
    use crate::wakes::Count;

    fn insert(members: &mut Members, id: &str) -> (Slot, Arc<Count>) {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let registration = Registration::new(Identity::device("hub.example", id), "test", waker.clone());
        (members.insert(Member::new(Names::new(&registration), waker)), count)
    }

    #[test]
    fn a_member_is_woken_for_its_events_unless_it_is_alone_and_drives_the_transport_itself() {
        let mut members = Members::default();
        let (one, wakes_of_one) = insert(&mut members, "one");
        let tell = |members: &mut Members| {
            members.change(one, |member| member.ends(TransportEvent::Disconnected));
            wakes_of_one.so_far()
        };
        assert_eq!(tell(&mut members), 0);
        let (other, wakes_of_other) = insert(&mut members, "other");
        assert_eq!(tell(&mut members), 1);
        members.change(one, |member| member.subscribe(&[]));
        assert_eq!(tell(&mut members), 2, "for events only");
        assert_eq!(wakes_of_other.so_far(), 0);
        members.remove(other);
        assert_eq!(tell(&mut members), 3, "what the other did last may have been for this one");
    }
}
