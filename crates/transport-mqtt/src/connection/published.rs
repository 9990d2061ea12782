//! What the hub publishes, sorted by its topic from the first packet on: a hub that has kept the session sends before
//! anything was subscribed.
//!
//! Messages to the device or to the module's inputs are acknowledged when they are settled. Everything else that comes
//! at QoS 1 is acknowledged at once, also behind an undecided message: held back, it would keep an Edge gateway from
//! sending anything further.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use iothub_core::{ConnectionErrorKind, Delivery, TransportEvent};

use super::Connection;
use crate::codec::Publish;
use crate::hub_topic::{self, HubTopic};
use crate::methods::Call;
use crate::outgoing;
use crate::session::Kept;
use crate::settlements::{Arrival, UNACKNOWLEDGED};
use crate::topic::{self, MessageTopic};

impl Connection {
    pub(super) fn published(
        &mut self,
        publish: Publish,
        kept: &mut Kept,
        now: Instant,
    ) -> Result<(), ConnectionErrorKind> {
        if let Some(topic) = kept.names.topics.parse(&publish.topic) {
            return self.message(&topic, &publish, &mut kept.events, now);
        }
        if let Some(packet_id) = publish.id {
            let place = self.put_puback(packet_id);
            self.automatic.put(place, None);
        }
        match hub_topic::parse(&publish.topic) {
            Some(HubTopic::TwinAnswer { status, rid, version }) => {
                match self.twin.answered(rid, status, version, &publish.payload) {
                    Some((id, result)) => kept.events.push_back(TransportEvent::Done { id, result }),
                    None => tracing::trace!(rid, status, "an answer to no twin request of this connection is ignored"),
                }
            }
            Some(HubTopic::DesiredProperties) => {
                // A copy, as below.
                let body = Bytes::copy_from_slice(&publish.payload);
                kept.events.push_back(TransportEvent::DesiredProperties(body));
            }
            Some(HubTopic::Method { name, rid }) => self.method_called(name, rid, &publish.payload, kept),
            None => {
                tracing::debug!(
                    topic_bytes = publish.topic.len(),
                    "what came on a topic that means nothing is dropped"
                );
            }
        }
        Ok(())
    }

    fn message(
        &mut self,
        topic: &MessageTopic<'_>,
        publish: &Publish,
        events: &mut VecDeque<TransportEvent>,
        now: Instant,
    ) -> Result<(), ConnectionErrorKind> {
        let key = match publish.id {
            None => UNACKNOWLEDGED,
            Some(packet_id) => match self.settlements.arrived(packet_id, now)? {
                Arrival::New(key) => key,
                Arrival::Again => {
                    tracing::debug!(packet_id, "a message that is here already came again and is ignored");
                    return Ok(());
                }
            },
        };
        // A copy, so that a small message that the application keeps does not keep the whole read buffer.
        let payload = Bytes::copy_from_slice(&publish.payload);
        tracing::trace!(packet_id = ?publish.id, payload_bytes = payload.len(), "a message came");
        let message = topic::message_from_bag(topic.bag, payload);
        let input = topic.input.map(str::to_owned);
        let delivery = Delivery { generation: self.generation, key };
        events.push_back(TransportEvent::Message { message, input, delivery });
        Ok(())
    }

    /// The name is handed up as it stands in the topic, as the SDKs in C, C# and for Node do.
    fn method_called(&mut self, name: &str, rid: &str, payload: &[u8], kept: &mut Kept) {
        match self.methods.called(rid) {
            Call::New(key) => {
                let body = Bytes::copy_from_slice(payload);
                let delivery = Delivery { generation: self.generation, key };
                kept.events.push_back(TransportEvent::Method { name: name.to_owned(), body, delivery });
            }
            Call::Again => tracing::debug!(rid, "a call that is here already came again and is ignored"),
            Call::TooMany => {
                tracing::debug!(rid, "a call is answered 429, because too many are unanswered");
                let start = self.wire.encoded();
                let body = br#"{"message":"too many calls are unanswered"}"#;
                outgoing::publish_once(&hub_topic::method_response(429, rid), body, self.wire.outgoing());
                self.automatic.put(start..self.wire.encoded(), None);
            }
        }
    }
}
