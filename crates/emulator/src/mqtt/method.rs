//! Method requests to the device and its responses (docs/hub-over-mqtt.md 5; E38-E40).

use bytes::Bytes;

use crate::activity::Activity;
use crate::clock::Now;
use crate::faults::{DropPoint, Fault};
use crate::hub::HubState;
use crate::hub::session::Feature;
use crate::mqtt::Head;

impl Head {
    pub(super) fn send_method(&mut self, hub: &mut HubState, now: Now, name: String, rid: String, body: &Bytes) {
        let fault =
            self.take_fault(hub, now, |fault| matches!(fault, Fault::MethodDuplicate | Fault::LateMethod { .. }));
        // Nothing follows the request id: the C SDK takes all that is there (docs/hub-over-mqtt.md 5).
        let topic = format!("$iothub/methods/POST/{name}/?$rid={rid}");
        let packet_id = self.request_packet_id(hub, Feature::Methods);
        let Some(packet) = Self::encode_request(&topic, body, packet_id, false) else { return };
        self.note(hub, Activity::MethodSent { at: now.wall, connection: self.id, name, rid, packet_id });
        let sent = match fault {
            Some(Fault::LateMethod { by }) => {
                return self.outgoing.push_later(now.elapsed.saturating_add(by), packet);
            }
            Some(Fault::MethodDuplicate) => {
                let again = Self::encode_request(&topic, body, packet_id, true).unwrap_or_default();
                self.send(hub, now, packet) && self.send(hub, now, again)
            }
            _ => self.send(hub, now, packet),
        };
        if sent {
            self.drops(hub, now, DropPoint::MethodSent);
        }
    }

    /// Whatever it says, the device has done its part: it is acknowledged.
    pub(super) fn method_response(
        &mut self,
        hub: &mut HubState,
        now: Now,
        status: &str,
        rid: Option<&str>,
        body: &Bytes,
    ) {
        let (at, connection) = (now.wall, self.id);
        let Some(rid) = rid else {
            let problem = "it has no $rid".to_owned();
            return self.note(hub, Activity::MethodMisanswered { at, connection, rid: None, problem });
        };
        // What is wrong with it is on record, and its caller hears of it. The device does not.
        let _ = hub.answer_method(connection, rid, status, body, now);
    }
}
