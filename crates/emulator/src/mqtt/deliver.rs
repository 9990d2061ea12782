//! Cloud-to-device messages and input messages out, and their PUBACKs in (docs/hub-over-mqtt.md 3, 6; E24-E28, E41).

use crate::activity::{Activity, DisconnectReason, PubackEffect};
use crate::clock::Now;
use crate::config::OutOfOrderPuback;
use crate::faults::{DropPoint, Fault};
use crate::hub::HubState;
use crate::hub::c2d::Delivery;
use crate::mqtt::bag::delivery_topic;
use crate::mqtt::{Head, State, codec};

impl Head {
    /// Sends every message that waits and that the session wants.
    pub(super) fn deliver(&mut self, hub: &mut HubState, now: Now) {
        while let State::Open(_) = self.state {
            let Some((delivery, qos)) = hub.take_message(self.id, now) else { return };
            if qos == 0 {
                self.deliver_at_most_once(hub, now, &delivery);
            } else {
                self.deliver_at_least_once(hub, now, &delivery);
            }
        }
    }

    /// Sending completes the message. One that was sent before, at QoS 1, is completed unsent, as the protocol gateway does (docs/hub-over-mqtt.md 3).
    fn deliver_at_most_once(&mut self, hub: &mut HubState, now: Now, delivery: &Delivery) {
        hub.complete_message(&self.identity().clone(), delivery.sequence, now);
        if !delivery.dup {
            self.send_message(hub, now, delivery, None, false);
        }
    }

    fn deliver_at_least_once(&mut self, hub: &mut HubState, now: Now, delivery: &Delivery) {
        let packet_id = Some(delivery.packet_id);
        if self.send_message(hub, now, delivery, packet_id, delivery.dup)
            && self.fault_fires(hub, now, &Fault::DuplicateDelivery)
        {
            self.send_message(hub, now, delivery, packet_id, true);
        }
    }

    fn send_message(
        &mut self,
        hub: &mut HubState,
        now: Now,
        delivery: &Delivery,
        packet_id: Option<u16>,
        dup: bool,
    ) -> bool {
        let topic = delivery_topic(self.identity(), &delivery.message);
        let Some(packet) = codec::publish(&topic, &delivery.message.message.body, packet_id, dup) else {
            // The length is checked before it is enqueued, so this is a defect of the emulator.
            tracing::error!(message_id = delivery.message.message_id, "a message does not fit into a packet");
            return false;
        };
        hub.note_sent(self.id, &delivery.message, packet_id, dup, now);
        self.send(hub, now, packet) && !self.drops(hub, now, DropPoint::C2dSent)
    }

    /// PUBACK completes the oldest message in flight; what another one does is configured.
    pub(super) fn puback(&mut self, hub: &mut HubState, now: Now, packet_id: u16) {
        if self.drops(hub, now, DropPoint::PubackReceived) {
            return;
        }
        let State::Open(open) = &mut self.state else { return };
        let (effect, message) = match open.unacknowledged.remove(packet_id) {
            true => (PubackEffect::Completed, None),
            false => hub.puback(self.id, packet_id, now),
        };
        self.note(hub, Activity::PubackReceived { at: now.wall, connection: self.id, packet_id, effect });
        if let Some(message) = message {
            hub.note_completed(self.id, &message, now);
        }
        if effect == PubackEffect::OutOfOrder && hub.config.out_of_order_puback == OutOfOrderPuback::Close {
            self.close(hub, now, DisconnectReason::PubackOutOfOrder { packet_id });
        }
    }
}
