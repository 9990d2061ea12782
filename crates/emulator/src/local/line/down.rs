//! What a local device is sent: messages, methods, and changes of its desired properties.

use bytes::Bytes;

use crate::activity::{Activity, DisconnectReason};
use crate::clock::Now;
use crate::faults::{DropPoint, Fault, TwinPatchFault};
use crate::hub::HubState;
use crate::hub::c2d::Delivery;
use crate::hub::outbox::{Letter, MAX_PENDING};
use crate::hub::twin::DesiredChange;
use crate::local::line::Line;
use crate::local::{LocalDelivery, LocalEvent, LocalMessage, LocalMethod};

impl Line {
    /// Takes over what the hub has posted. It comes before whatever the hub answers from now on.
    pub(super) fn collect(&mut self, hub: &mut HubState, now: Now) {
        if hub.is_open(self.id) {
            hub.send_waiting_methods(&self.identity, now);
        }
        while let Some(letter) = hub.take_letter(self.id) {
            match letter {
                Letter::Desired(change) => self.desired(hub, now, change),
                Letter::Method { name, rid, body } => self.method(hub, now, name, rid, body),
            }
        }
    }

    fn desired(&mut self, hub: &mut HubState, now: Now, change: DesiredChange) {
        let version = change.version;
        let Some((patch, fault)) = hub.patch_to_send(&self.identity, self.id, now, change.patch) else { return };
        self.note(hub, Activity::DesiredSent { at: now.wall, connection: self.id, version, packet_id: None });
        let event = LocalEvent::DesiredProperties { version, patch: patch.into() };
        if fault == Some(TwinPatchFault::Reorder) {
            return self.later_patches.push(event);
        }
        if fault == Some(TwinPatchFault::Duplicate) {
            self.push(hub, now, event.clone());
        }
        self.push(hub, now, event);
        for held_back in std::mem::take(&mut self.later_patches) {
            self.push(hub, now, held_back);
        }
        self.drops(hub, now, DropPoint::DesiredSent);
    }

    fn method(&mut self, hub: &mut HubState, now: Now, name: String, rid: String, body: Bytes) {
        let twice = self.take_fault(hub, now, |fault| *fault == Fault::MethodDuplicate).is_some();
        let (at, connection) = (now.wall, self.id);
        self.note(hub, Activity::MethodSent { at, connection, name: name.clone(), rid: rid.clone(), packet_id: None });
        let event = LocalEvent::Method(LocalMethod { name, body, request: rid });
        if twice {
            self.push(hub, now, event.clone());
        }
        self.push(hub, now, event);
        self.drops(hub, now, DropPoint::MethodSent);
    }

    pub(super) fn take_message(&mut self, hub: &mut HubState, now: Now) -> Option<LocalEvent> {
        loop {
            let (delivery, qos) = hub.take_message(self.id, now)?;
            // A session that was left over MQTT may ask for QoS 0: then sending completes, and nothing is sent twice (docs/hub-over-mqtt.md 3).
            if qos == 0 {
                hub.complete_message(&self.identity, delivery.sequence, now);
                if delivery.dup {
                    continue;
                }
            }
            let event = self.message(hub, now, &delivery, delivery.dup);
            if qos > 0 && self.take_fault(hub, now, |fault| *fault == Fault::DuplicateDelivery).is_some() {
                let again = self.message(hub, now, &delivery, true);
                self.push(hub, now, again);
            }
            self.drops(hub, now, DropPoint::C2dSent);
            return Some(event);
        }
    }

    fn message(&self, hub: &mut HubState, now: Now, delivery: &Delivery, dup: bool) -> LocalEvent {
        let stored = &delivery.message;
        hub.note_sent(self.id, stored, None, dup, now);
        let system = stored.system(&self.identity).into_iter();
        LocalEvent::Message(LocalMessage {
            input: stored.message.input.clone(),
            body: stored.message.body.clone(),
            properties: stored.message.properties.clone(),
            system: system.map(|(name, value)| (name.to_owned(), value)).collect(),
            redelivered: dup,
            delivery: LocalDelivery { connection: self.id, sequence: delivery.sequence },
        })
    }

    /// Sends the device something. If it does not take what it is sent, the hub gives up.
    pub(super) fn push(&mut self, hub: &mut HubState, now: Now, event: LocalEvent) {
        self.pending_size += event.size();
        self.pending.push_back(event);
        if self.pending_size > MAX_PENDING {
            hub.end(self.id, DisconnectReason::DeviceDoesNotRead { pending: self.pending_size }, now);
        }
    }
}
