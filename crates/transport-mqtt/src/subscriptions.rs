//! What the client wants to receive, reconciled with what the hub has granted.
//!
//! One packet at a time: a SUBSCRIBE with every filter that is missing, then an UNSUBSCRIBE with every one that is too
//! many. On each connection everything is subscribed anew, whether or not the hub kept the session. What the
//! application gave up while offline is unsubscribed on the next connection; filters that an earlier run of the
//! program left in the session are not touched, for without them the hub drops what it has queued.
//!
//! Messages to the device or to the module's inputs are asked for at QoS 1, because the acknowledgement is what settles
//! them. Twin and methods are asked for at QoS 0, as by the C and Node SDKs: nothing of theirs is worth a repetition,
//! since an answer or a call means nothing on the next connection and the twin is fetched anew there. At QoS 1 a hub
//! could queue them in the session, and their acknowledgements, which go at once, would pass those of undecided
//! messages: MQTT 3.1.1 (4.6) has no place for that, and some hubs ignore an acknowledgement out of order. A hub that
//! sends them at QoS 1 all the same gets its acknowledgements at once.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use iothub_core::{ConnectionErrorKind, Feature, TransportEvent};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Subscribe, SubscribeFilter, Unsubscribe};

use crate::codec::{self, violation};
use crate::hub_topic;
use crate::packet_ids::PacketIds;
use crate::topic::Topics;

/// What can be subscribed to, in the order in which it is.
pub(crate) const FEATURES: &[Feature] =
    &[Feature::CloudToDevice, Feature::Inputs, Feature::Twin, Feature::DesiredProperties, Feature::Methods];

/// How a feature stands on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody wants it.
    Unwanted,
    /// The hub has not answered yet.
    Awaited,
    /// The hub has granted it.
    Granted,
    /// The hub has refused it.
    Refused,
}

/// A packet that awaits its answer.
struct Pending {
    packet_id: u16,
    request: Request,
    features: Vec<Feature>,
    answer_by: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    Subscribe,
    Unsubscribe,
}

pub(crate) struct Subscriptions {
    wanted: Vec<Feature>,
    /// What the hub's session holds of ours, as far as this client knows.
    in_session: Vec<Feature>,
    /// What was asked for on this connection and answered, granted or not.
    answered: Vec<Feature>,
    pending: Option<Pending>,
    /// `Ready` was reported for what is wanted now.
    ready: bool,
    timeout: Duration,
}

impl Subscriptions {
    pub(crate) fn new() -> Self {
        Self {
            wanted: vec![],
            in_session: vec![],
            answered: vec![],
            pending: None,
            ready: false,
            timeout: Duration::ZERO,
        }
    }

    /// Sets what is wanted; [`reconcile`](Self::reconcile) acts on it.
    pub(crate) fn want(&mut self, features: &[Feature]) {
        // The engine asks for nothing that the capabilities do not list.
        self.wanted = FEATURES.iter().filter(|feature| features.contains(feature)).copied().collect();
        // Asked for again later, it is subscribed again.
        self.answered.retain(|feature| self.wanted.contains(feature));
    }

    /// A connection is established, on which an answer may take this long.
    pub(crate) fn connected(&mut self, session_present: bool, timeout: Duration) {
        self.timeout = timeout;
        if !session_present {
            self.in_session.clear();
        }
    }

    /// The connection is gone.
    pub(crate) fn disconnected(&mut self, ids: &mut PacketIds) {
        if let Some(pending) = self.pending.take() {
            ids.give_back(pending.packet_id);
        }
        self.answered.clear();
        self.ready = false;
    }

    /// Gives up what is wanted and does not exist for such a client, as if the hub had refused it on this connection.
    pub(crate) fn give_up_impossible(&mut self, topics: &Topics) -> Vec<Feature> {
        let mut impossible = without(&self.wanted, &self.answered);
        impossible.retain(|&feature| filter(feature, topics).is_none());
        self.answered.extend(&impossible);
        impossible
    }

    /// Sends the next packet that brings the hub closer to what is wanted, unless one is under way. Returns `Ready`
    /// when nothing is missing any more.
    pub(crate) fn reconcile(
        &mut self,
        topics: &Topics,
        ids: &mut PacketIds,
        out: &mut BytesMut,
        now: Instant,
    ) -> Option<TransportEvent> {
        if self.pending.is_some() {
            return None;
        }
        let missing = without(&self.wanted, &self.answered);
        if !missing.is_empty() {
            self.ready = false;
            self.request(Request::Subscribe, missing, topics, ids, out, now);
            return None;
        }
        let surplus = without(&self.in_session, &self.wanted);
        if !surplus.is_empty() {
            self.request(Request::Unsubscribe, surplus, topics, ids, out, now);
        }
        (!std::mem::replace(&mut self.ready, true)).then_some(TransportEvent::Ready)
    }

    fn request(
        &mut self,
        request: Request,
        features: Vec<Feature>,
        topics: &Topics,
        ids: &mut PacketIds,
        out: &mut BytesMut,
        now: Instant,
    ) {
        // The telemetry window leaves identifiers free; see `SessionOptions::max_in_flight`.
        let Some(packet_id) = ids.take() else { return };
        let filters = features.iter().filter_map(|&feature| filter(feature, topics));
        let packet = match request {
            Request::Subscribe => {
                let filters = filters.map(|(filter, qos)| SubscribeFilter::new(filter, qos)).collect();
                Packet::Subscribe(Subscribe { pkid: packet_id, filters })
            }
            Request::Unsubscribe => {
                let topics = filters.map(|(filter, _)| filter).collect();
                Packet::Unsubscribe(Unsubscribe { pkid: packet_id, topics })
            }
        };
        codec::put(&packet, out);
        if request == Request::Subscribe {
            // From here on the hub may hold it, whether or not the answer arrives.
            self.in_session.extend(without(&features, &self.in_session));
        }
        self.pending = Some(Pending { packet_id, request, features, answer_by: now + self.timeout });
    }

    /// A SUBACK came. Returns the features that the hub refused.
    pub(crate) fn subscribed(
        &mut self,
        packet_id: u16,
        granted: &[bool],
        ids: &mut PacketIds,
    ) -> Result<Vec<Feature>, ConnectionErrorKind> {
        let Some(pending) = self.answer(packet_id, Request::Subscribe, ids) else { return Ok(vec![]) };
        if granted.len() != pending.features.len() {
            return Err(violation(format!(
                "a SUBACK with {} results for {} filters",
                granted.len(),
                pending.features.len()
            )));
        }
        let results = pending.features.iter().zip(granted);
        let refused: Vec<_> = results.filter(|(_, granted)| !**granted).map(|(feature, _)| *feature).collect();
        self.in_session.retain(|feature| !refused.contains(feature));
        // What is no longer wanted must count as missing if it is wanted again.
        self.answered.extend(pending.features.iter().filter(|feature| self.wanted.contains(feature)));
        Ok(refused)
    }

    /// An UNSUBACK came.
    pub(crate) fn unsubscribed(&mut self, packet_id: u16, ids: &mut PacketIds) {
        if let Some(pending) = self.answer(packet_id, Request::Unsubscribe, ids) {
            self.in_session.retain(|feature| !pending.features.contains(feature));
        }
    }

    /// Takes the pending packet if this is its answer. Others are ignored: they ask for nothing.
    fn answer(&mut self, packet_id: u16, request: Request, ids: &mut PacketIds) -> Option<Pending> {
        let pending = self.pending.take_if(|pending| pending.packet_id == packet_id && pending.request == request);
        match &pending {
            Some(_) => ids.give_back(packet_id),
            None => tracing::debug!(packet_id, "an answer to no subscription of ours is ignored"),
        }
        pending
    }

    /// How a feature stands on this connection.
    pub(crate) fn standing(&self, feature: Feature) -> Standing {
        if !self.wanted.contains(&feature) {
            Standing::Unwanted
        } else if !self.answered.contains(&feature) {
            Standing::Awaited
        } else if self.in_session.contains(&feature) {
            Standing::Granted
        } else {
            Standing::Refused
        }
    }

    /// When the answer that is awaited is late.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.pending.as_ref().map(|pending| pending.answer_by)
    }
}

fn without(features: &[Feature], others: &[Feature]) -> Vec<Feature> {
    features.iter().filter(|feature| !others.contains(feature)).copied().collect()
}

/// The topic filter under which a feature's messages come, and the quality of service to ask for; `None` for what does
/// not exist for such a client.
fn filter(feature: Feature, topics: &Topics) -> Option<(String, QoS)> {
    match feature {
        Feature::Twin => Some((hub_topic::TWIN_FILTER.to_owned(), QoS::AtMostOnce)),
        Feature::DesiredProperties => Some((hub_topic::DESIRED_FILTER.to_owned(), QoS::AtMostOnce)),
        Feature::Methods => Some((hub_topic::METHODS_FILTER.to_owned(), QoS::AtMostOnce)),
        _ => topics.filter(feature).map(|filter| (filter, QoS::AtLeastOnce)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_free_again_after_the_answer_or_the_end_of_the_connection() {
        let (mut ids, mut out) = (PacketIds::default(), BytesMut::new());
        let mut subscriptions = Subscriptions::new();
        let topics = Topics::new("dev-1", None);
        let now = Instant::now();
        let mut next = |subscriptions: &mut Subscriptions, ids: &mut PacketIds| {
            out.clear();
            subscriptions.reconcile(&topics, ids, &mut out, now);
            u16::from_be_bytes([out[2], out[3]])
        };
        subscriptions.want(&[Feature::CloudToDevice]);
        let id = next(&mut subscriptions, &mut ids);
        assert_eq!(subscriptions.subscribed(id, &[true], &mut ids), Ok(vec![]));
        subscriptions.want(&[]);
        let id = next(&mut subscriptions, &mut ids);
        subscriptions.unsubscribed(id, &mut ids);
        subscriptions.want(&[Feature::CloudToDevice]);
        next(&mut subscriptions, &mut ids);
        subscriptions.disconnected(&mut ids);
        assert_eq!(std::iter::from_fn(|| ids.take()).count(), PacketIds::ALL);
    }
}
