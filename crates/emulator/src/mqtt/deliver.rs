//! Cloud-to-device messages out, and their PUBACKs in (docs/hub-over-mqtt.md 3; E24-E28).

use crate::activity::{Activity, DisconnectReason, PubackEffect};
use crate::clock::Now;
use crate::config::OutOfOrderPuback;
use crate::faults::{DropPoint, Fault};
use crate::hub::HubState;
use crate::hub::c2d::Delivery;
use crate::mqtt::bag::devicebound_topic;
use crate::mqtt::{Head, State, codec};

impl Head {
    /// Sends every message that waits and that the session wants.
    pub(super) fn deliver(&mut self, hub: &mut HubState, now: Now) {
        while let State::Open(_) = self.state {
            let Some((delivery, qos)) = hub.take_c2d(self.id, now) else { return };
            if qos == 0 {
                self.deliver_at_most_once(hub, now, &delivery);
            } else {
                self.deliver_at_least_once(hub, now, &delivery);
            }
        }
    }

    /// Sending completes the message. One that was sent before, at QoS 1, is completed unsent, as the protocol gateway does (docs/hub-over-mqtt.md 3).
    fn deliver_at_most_once(&mut self, hub: &mut HubState, now: Now, delivery: &Delivery) {
        let device = self.device().to_owned();
        hub.complete_c2d(&device, delivery.sequence, now);
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
        let topic = devicebound_topic(self.device(), &delivery.message);
        let Some(packet) = codec::publish(&topic, &delivery.message.message.body, packet_id, dup) else {
            // The service side checks the length before it enqueues, so this is a defect of the emulator.
            tracing::error!(
                message_id = delivery.message.message_id,
                "a cloud-to-device message does not fit into a packet"
            );
            return false;
        };
        let message_id = delivery.message.message_id.clone();
        self.note(hub, Activity::C2dSent { at: now.wall, connection: self.id, message_id, packet_id, dup });
        self.send(hub, now, packet) && !self.drops(hub, now, DropPoint::C2dSent)
    }

    /// PUBACK completes the oldest message in flight; what another one does is configured.
    pub(super) fn puback(&mut self, hub: &mut HubState, now: Now, packet_id: u16) {
        if self.drops(hub, now, DropPoint::PubackReceived) {
            return;
        }
        let State::Open(open) = &mut self.state else { return };
        let (effect, message_id) = match open.unacknowledged.remove(packet_id) {
            true => (PubackEffect::Completed, None),
            false => hub.puback(self.id, packet_id, now),
        };
        self.note(hub, Activity::PubackReceived { at: now.wall, connection: self.id, packet_id, effect });
        if let Some(message_id) = message_id {
            self.note(hub, Activity::C2dAcked { at: now.wall, connection: self.id, message_id });
        }
        if effect == PubackEffect::OutOfOrder && hub.config.out_of_order_puback == OutOfOrderPuback::Close {
            self.close(hub, now, DisconnectReason::PubackOutOfOrder { packet_id });
        }
    }
}
