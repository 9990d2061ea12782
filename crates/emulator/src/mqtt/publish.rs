//! PUBLISH from the device: telemetry (docs/hub-over-mqtt.md 2), and what the hub does with every other topic.

use bytes::Bytes;

use crate::activity::{Activity, DisconnectReason};
use crate::clock::Now;
use crate::config::UnknownTopic;
use crate::faults::DropPoint;
use crate::hub::HubState;
use crate::hub::telemetry::Draft;
use crate::mqtt::bag::Bag;
use crate::mqtt::codec::Publish;
use crate::mqtt::topic::Target;
use crate::mqtt::{Head, State};

impl Head {
    pub(super) fn publish(&mut self, hub: &mut HubState, now: Now, publish: Publish) {
        if self.drops(hub, now, DropPoint::PublishReceived) {
            return;
        }
        if publish.qos == 2 {
            return self.close(hub, now, DisconnectReason::Qos2);
        }
        let State::Open(open) = &self.state else { return };
        let acknowledged = match Target::of(&publish.topic, &open.identity) {
            Target::Telemetry { bag } => {
                let draft = draft(hub, bag, publish.payload.clone());
                self.telemetry(hub, now, &publish, draft)
            }
            // MQTT allows no wildcard in any topic; but the C SDK sends bags as they are by default, and a `+` in one is a plus (docs/hub-over-mqtt.md 2.2).
            _ if publish.topic.contains(['+', '#']) => {
                self.violate(hub, now, format!("a wildcard in the topic '{}' of a PUBLISH", publish.topic));
                false
            }
            Target::IotHub(rest) => self.iothub(hub, now, rest, &publish.topic, &publish.payload),
            Target::Unknown => self.unknown_topic(hub, now, &publish),
        };
        if let (true, Some(packet_id)) = (acknowledged, publish.packet_id) {
            self.acknowledge(hub, now, packet_id);
        }
    }

    /// Takes a message. True: it is to be acknowledged.
    fn telemetry(
        &mut self,
        hub: &mut HubState,
        now: Now,
        publish: &Publish,
        draft: Result<Draft, DisconnectReason>,
    ) -> bool {
        let mut draft = match draft {
            Ok(draft) => draft,
            Err(why) => {
                self.close(hub, now, why);
                return false;
            }
        };
        let asks_for_fault = self.asks_for_fault(hub, now, &draft);
        // Neither is acted on: nothing is retained, and a repeated message is stored again (docs/hub-over-mqtt.md 2.4).
        if publish.retain {
            draft.mark("mqtt-retain", "true");
        }
        if publish.dup {
            draft.mark("mqtt-dup", "true");
        }
        if let Err(why) = hub.take_telemetry(self.id, draft, publish.packet_id, publish.dup, now) {
            self.close(hub, now, why);
            return false;
        }
        !self.drops(hub, now, DropPoint::PublishStored) && (!asks_for_fault || hub.config.ack_fault_message)
    }

    fn unknown_topic(&mut self, hub: &mut HubState, now: Now, publish: &Publish) -> bool {
        match hub.config.unknown_topic {
            UnknownTopic::Close => {
                self.close(hub, now, DisconnectReason::UnknownTopic(publish.topic.clone()));
                false
            }
            UnknownTopic::DropAndAck => {
                self.note(
                    hub,
                    Activity::PublishDropped { at: now.wall, connection: self.id, topic: publish.topic.clone() },
                );
                true
            }
            UnknownTopic::LegacyUnmatched => {
                let mut draft = Draft { body: publish.payload.clone(), ..Draft::default() };
                draft.mark("$PG.Unmatched", "True");
                draft.mark("$PG.Subject", &publish.topic);
                self.telemetry(hub, now, publish, draft.checked())
            }
        }
    }
}

/// The message of a telemetry topic's bag and a payload; the error ends the connection.
pub(super) fn draft(hub: &HubState, bag: &str, body: Bytes) -> Result<Draft, DisconnectReason> {
    let bag = Bag::decode(bag, hub.config.duplicate_system_property).map_err(|name| {
        DisconnectReason::ProtocolViolation(format!("telemetry has the system property {name} twice"))
    })?;
    Draft { body, properties: bag.properties, system: bag.system }.checked()
}
