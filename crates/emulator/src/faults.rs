//! Faults that a test injects. A fault waits in a queue until a connection or packet comes that it applies to; then it is consumed.

use std::time::Duration;

/// Names an injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(pub(crate) u64);

/// Where in its life a connection is dropped: TCP is closed without a packet. What the hub answered before is still sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropPoint {
    /// TCP was accepted, before TLS. No device is known yet: a fault's device is not looked at.
    TcpAccepted,
    /// TLS is up, before any MQTT packet. No device is known yet: a fault's device is not looked at.
    TlsEstablished,
    /// An acceptable CONNECT has come; no CONNACK.
    ConnectReceived,
    /// CONNACK 0 is sent.
    ConnackSent,
    /// A SUBSCRIBE has come; it is not acted on.
    SubscribeReceived,
    /// SUBACK is sent, and the session has the subscription.
    SubackSent,
    /// A PUBLISH has come; it is not stored.
    PublishReceived,
    /// A PUBLISH is stored; its PUBACK is withheld.
    PublishStored,
    /// A PUBACK is sent to the device.
    PubackSent,
    /// A cloud-to-device message is sent to the device.
    C2dSent,
    /// A PUBACK has come from the device; it is not acted on.
    PubackReceived,
    /// The first half of a hub-to-device packet is sent: the next one after CONNACK, whichever it is.
    MidPacket,
}

/// Something that goes wrong once. See [`Hub::inject`](crate::Hub::inject) and [`Hub::inject_for`](crate::Hub::inject_for).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The connection is dropped at this point.
    Drop {
        /// Of this device; `None`: of the next one, whichever it is.
        device: Option<String>,
        /// Where.
        at: DropPoint,
    },
    /// The next acceptable CONNECT is never answered; the connection stays open and silent. No session is touched.
    WithholdConnack,
    /// The next acceptable CONNECT is refused with this return code (1 to 5), then the connection is closed.
    RefuseConnect {
        /// The CONNACK return code.
        code: u8,
    },
    /// The next `count` PUBACKs to the device are not sent. Their messages are stored.
    DropPubacks {
        /// How many.
        count: u32,
    },
    /// The next `count` PUBACKs to the device are sent so much later by the hub's clock. PUBACKs keep their order, so later ones wait behind.
    DelayPubacks {
        /// How many.
        count: u32,
        /// How much later.
        by: Duration,
    },
    /// The next `window` PUBACKs to the device are collected and sent in reverse order once all of them are due.
    ReorderPubacks {
        /// How many.
        window: u32,
    },
    /// The next SUBSCRIBE gets no SUBACK, though its filters are granted.
    WithholdSuback,
    /// The next PINGREQ gets no PINGRESP.
    WithholdPingresp,
    /// Every filter of the next SUBSCRIBE is refused with 0x80.
    RefuseSubscription,
    /// The hub has forgotten the session: the next accepted CONNECT is answered with session present 0 and has no subscriptions.
    SessionLost,
    /// The next QoS 1 cloud-to-device message is sent twice, the second time with DUP.
    DuplicateDelivery,
}

/// The faults that have not happened yet.
#[derive(Debug, Default)]
pub(crate) struct FaultQueue {
    next: u64,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    device: Option<String>,
    fault: Fault,
}

impl FaultQueue {
    pub(crate) fn push(&mut self, device: Option<String>, fault: Fault) -> FaultId {
        // A fault that names its device itself and one injected for a device are the same thing.
        let device = match &fault {
            Fault::Drop { device: Some(own), .. } => Some(own.clone()),
            _ => device,
        };
        self.next += 1;
        let nothing = matches!(
            fault,
            Fault::DropPubacks { count: 0 }
                | Fault::DelayPubacks { count: 0, .. }
                | Fault::ReorderPubacks { window: 0 }
        );
        if !nothing {
            self.waiting.push(Waiting { device, fault });
        }
        FaultId(self.next)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Takes the oldest fault that `wanted` picks, if it applies to this device.
    pub(crate) fn take<T>(
        &mut self,
        device: &str,
        mut wanted: impl FnMut(&mut Fault) -> Option<Taken<T>>,
    ) -> Option<T> {
        for index in 0..self.waiting.len() {
            let waiting = &mut self.waiting[index];
            if waiting.device.as_deref().is_some_and(|only| only != device) {
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

    /// Whether a fault that is the same as `kind` applies to this device; it is consumed.
    pub(crate) fn take_equal(&mut self, device: &str, kind: &Fault) -> bool {
        self.take(device, |fault| (fault == kind).then_some(Taken::Last(()))).is_some()
    }

    /// Whether the device's connection is to be dropped here; the fault is consumed.
    pub(crate) fn take_drop(&mut self, device: &str, point: DropPoint) -> bool {
        self.take(device, |fault| matches!(fault, Fault::Drop { at, .. } if *at == point).then_some(Taken::Last(())))
            .is_some()
    }

    /// As [`take_drop`](Self::take_drop), while no device is known yet.
    pub(crate) fn take_early_drop(&mut self, point: DropPoint) -> bool {
        let found =
            self.waiting.iter().position(|waiting| matches!(waiting.fault, Fault::Drop { at, .. } if at == point));
        found.map(|index| self.waiting.remove(index)).is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn drop_at(device: Option<&str>, at: DropPoint) -> Fault {
        Fault::Drop { device: device.map(str::to_owned), at }
    }

    #[test]
    fn a_fault_is_used_up_by_the_first_thing_that_it_applies_to() {
        let mut queue = FaultQueue::default();
        queue.push(None, drop_at(Some("d"), DropPoint::ConnackSent));
        assert!(!queue.take_drop("e", DropPoint::ConnackSent));
        assert!(!queue.take_drop("d", DropPoint::SubackSent));
        assert!(queue.take_drop("d", DropPoint::ConnackSent));
        assert!(!queue.take_drop("d", DropPoint::ConnackSent));
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
