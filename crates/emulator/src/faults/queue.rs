//! The faults that have not happened yet. One waits until a connection or packet comes that it applies to; then it is consumed.

use crate::faults::{DropPoint, Fault, FaultId};
use crate::hub::registry::Identity;

/// The faults that have not happened yet.
#[derive(Debug, Default)]
pub(crate) struct FaultQueue {
    next: u64,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    only: Option<Identity>,
    fault: Fault,
}

impl FaultQueue {
    pub(crate) fn push(&mut self, only: Option<Identity>, fault: Fault) -> FaultId {
        // A fault that names its device itself and one injected for a device are the same thing.
        let only = match &fault {
            Fault::Drop { device: Some(own), .. } => Some(Identity::of_client_id(own)),
            _ => only,
        };
        self.next += 1;
        let nothing = matches!(
            fault,
            Fault::DropPubacks { count: 0 }
                | Fault::DelayPubacks { count: 0, .. }
                | Fault::AmqpRefuseTelemetry { count: 0, .. }
                | Fault::ReorderPubacks { window: 0 }
                | Fault::FragmentMessages { size: 0 }
        );
        if !nothing {
            self.waiting.push(Waiting { only, fault });
        }
        FaultId(self.next)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Takes the oldest fault that `wanted` picks, if it applies to this identity.
    pub(crate) fn take<T>(
        &mut self,
        identity: &Identity,
        mut wanted: impl FnMut(&mut Fault) -> Option<Taken<T>>,
    ) -> Option<T> {
        for index in 0..self.waiting.len() {
            let waiting = &mut self.waiting[index];
            if waiting.only.as_ref().is_some_and(|only| only != identity) {
                continue;
            }
            match wanted(&mut waiting.fault) {
                Some(Taken::Last(value)) => {
                    self.waiting.remove(index);
                    return Some(value);
                }
                Some(Taken::More(value)) => return Some(value),
                None => {}
            }
        }
        None
    }

    /// Whether the identity's connection is to be dropped here; the fault is consumed.
    pub(crate) fn take_drop(&mut self, identity: &Identity, point: DropPoint) -> bool {
        self.take(identity, |fault| matches!(fault, Fault::Drop { at, .. } if *at == point).then_some(Taken::Last(())))
            .is_some()
    }

    /// As [`take_drop`](Self::take_drop), while no identity is known yet.
    pub(crate) fn take_early_drop(&mut self, point: DropPoint) -> bool {
        self.take_early(|fault| matches!(fault, Fault::Drop { at, .. } if *at == point)).is_some()
    }

    /// Takes the oldest of the wanted faults, while no device is known yet.
    pub(crate) fn take_early(&mut self, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let found = self.waiting.iter().position(|waiting| wanted(&waiting.fault));
        found.map(|index| self.waiting.remove(index).fault)
    }
}

/// What a fault gave, and whether it has more to give.
#[derive(Debug)]
pub(crate) enum Taken<T> {
    /// It is used up.
    Last(T),
    /// It stays in the queue.
    More(T),
}

impl<T> Taken<T> {
    /// One of the `count` times that a fault fires.
    pub(crate) fn one_of(count: &mut u32, value: T) -> Self {
        Self::some_of(count, 1, value)
    }

    /// So many of the `count` times that a fault fires, or as many as there are.
    pub(crate) fn some_of(count: &mut u32, times: u32, value: T) -> Self {
        *count = count.saturating_sub(times);
        if *count == 0 { Self::Last(value) } else { Self::More(value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop_at(device: Option<&str>, at: DropPoint) -> Fault {
        Fault::Drop { device: device.map(str::to_owned), at }
    }

    #[test]
    fn a_fault_is_used_up_by_the_first_thing_that_it_applies_to() {
        let mut queue = FaultQueue::default();
        let (device, module) = (Identity::device("d"), Identity::module("d", "m"));
        for (name, own, other) in [("d", &device, &module), ("d/m", &module, &device)] {
            queue.push(None, drop_at(Some(name), DropPoint::ConnackSent));
            assert!(!queue.take_drop(other, DropPoint::ConnackSent));
            assert!(!queue.take_drop(own, DropPoint::SubackSent));
            assert!(queue.take_drop(own, DropPoint::ConnackSent));
            assert!(!queue.take_drop(own, DropPoint::ConnackSent));
        }
    }

    #[test]
    fn before_a_device_is_known_the_device_of_a_fault_is_not_looked_at() {
        let mut queue = FaultQueue::default();
        queue.push(None, drop_at(Some("d"), DropPoint::TcpAccepted));
        assert!(queue.take_early_drop(DropPoint::TcpAccepted));
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_fault_without_anything_to_do_is_not_queued_but_named() {
        let mut queue = FaultQueue::default();
        let none = queue.push(None, Fault::DropPubacks { count: 0 });
        let other = queue.push(None, Fault::ReorderPubacks { window: 0 });
        assert_ne!(none, other);
        assert_eq!(queue.len(), 0);
    }
}
