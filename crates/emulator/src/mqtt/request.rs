//! What twin replies, desired patches and method requests have in common on their way out: QoS, packet ids, and that nothing of it is sent twice.

use std::collections::BTreeSet;

use crate::clock::Now;
use crate::config::DeliveryQos;
use crate::hub::HubState;
use crate::hub::outbox::Letter;
use crate::hub::session::Feature;
use crate::mqtt::{Head, State, codec};

/// Cloud-to-device messages have the packet ids below (`c2d`).
const FIRST_ID: u16 = 0x8000;

/// Packet ids of publishes that wait for their PUBACK.
#[derive(Debug, Default)]
pub(super) struct Unacknowledged {
    count: u16,
    ids: BTreeSet<u16>,
}

impl Unacknowledged {
    fn next(&mut self) -> u16 {
        let id = FIRST_ID | self.count;
        self.count = (self.count + 1) % FIRST_ID;
        self.ids.insert(id);
        id
    }

    /// A PUBACK came; whether it was for one of these.
    pub(super) fn remove(&mut self, packet_id: u16) -> bool {
        self.ids.remove(&packet_id)
    }
}

impl Head {
    /// Sends what the hub has for this connection besides messages.
    pub(super) fn send_letters(&mut self, hub: &mut HubState, now: Now) {
        if let State::Open(open) = &self.state {
            hub.send_waiting_methods(&open.identity, now);
        }
        while let State::Open(_) = self.state {
            match hub.take_letter(self.id) {
                Some(Letter::Desired(change)) => self.send_desired(hub, now, change),
                Some(Letter::Method { name, rid, body }) => self.send_method(hub, now, name, rid, &body),
                None => return,
            }
        }
    }

    /// The packet id for a publish of this feature, if it goes out at QoS 1.
    pub(super) fn request_packet_id(&mut self, hub: &HubState, feature: Feature) -> Option<u16> {
        let setting = if feature == Feature::Methods { hub.config.method_qos } else { hub.config.twin_qos };
        let qos = hub.subscription(self.id, feature).map_or(0, |subscription| subscription.qos);
        match &mut self.state {
            State::Open(open) if setting == DeliveryQos::AsSubscribed && qos > 0 => Some(open.unacknowledged.next()),
            _ => None,
        }
    }

    /// `None`: the topic is too long, because the device's request id or the method's name is.
    pub(super) fn encode_request(topic: &str, body: &[u8], packet_id: Option<u16>, again: bool) -> Option<Vec<u8>> {
        let packet = codec::publish(topic, body, packet_id, again);
        if packet.is_none() {
            tracing::warn!(length = topic.len(), "a topic below $iothub/ is too long to be sent");
        }
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_ids_are_never_those_of_messages_and_begin_again() {
        let mut waiting = Unacknowledged::default();
        let ids: Vec<u16> = (0..0x8001).map(|_| waiting.next()).collect();
        assert_eq!((ids[0], ids[0x7fff], ids[0x8000]), (0x8000, 0xffff, 0x8000));
        assert!(waiting.remove(0x8000));
        assert!(!waiting.remove(0x8000));
        assert!(!waiting.remove(1));
    }
}
