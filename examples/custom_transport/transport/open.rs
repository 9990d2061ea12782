//! One connection, and everything that dies with it: subscriptions, undecided messages, unanswered calls and requests.

use std::collections::{HashMap, VecDeque};

use iothub_client::{
    ConnectionErrorKind, Delivery, Disposition, Feature, Op, OpError, OpId, Reply, Submit, TransportEvent, Unsupported,
};
use iothub_emulator::{
    LocalConnection, LocalDelivery, LocalError, LocalEvent, LocalFeature, LocalMessage, LocalMethod, LocalTwinAnswer,
};
use serde_json::Value;

use super::{NAME, message};

/// How many messages may be undecided. The hub gives 50; more come only of messages that the hub has given up meanwhile.
const MAX_UNDECIDED: usize = 1000;

pub(super) struct Open {
    connection: LocalConnection,
    generation: u32,
    /// What the hub was asked for, whether it granted it or not.
    asked: Vec<Feature>,
    /// Undecided messages by the key that the engine knows, oldest first.
    undecided: VecDeque<(u64, LocalDelivery)>,
    /// Unanswered calls: by their key the hub's request id.
    calls: HashMap<u64, String>,
    /// Requests for the twin, and reports, that the hub has not answered: by request id.
    requests: HashMap<String, OpId>,
    last_key: u64,
    /// The hub has ended the connection, and `take` is about to say so.
    has_ended: bool,
    /// The last slice ended before the hub had nothing more.
    has_more: bool,
}

impl Open {
    pub(super) fn new(connection: LocalConnection, generation: u32) -> Self {
        Self {
            connection,
            generation,
            asked: Vec::new(),
            undecided: VecDeque::new(),
            calls: HashMap::new(),
            requests: HashMap::new(),
            last_key: 0,
            has_ended: false,
            // Nobody is woken for what was there before.
            has_more: true,
        }
    }

    pub(super) fn disconnect(self) {
        self.connection.disconnect();
    }

    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }

    pub(super) fn is_subscribed(&self, wanted: &[Feature]) -> bool {
        self.asked == wanted
    }

    /// Makes the hub's view of what is wanted that of the engine.
    pub(super) fn subscribe(&mut self, wanted: &[Feature], events: &mut VecDeque<TransportEvent>) {
        if self.is_subscribed(wanted) {
            return;
        }
        let before = std::mem::replace(&mut self.asked, wanted.to_vec());
        for feature in before.iter().filter(|feature| !wanted.contains(feature)) {
            // What can go wrong is the connection's end, which `take` tells.
            let _ = in_hubs_words(*feature).map(|feature| self.connection.unsubscribe(feature));
        }
        for feature in wanted.iter().filter(|feature| !before.contains(feature)) {
            let asked = in_hubs_words(*feature).map(|feature| self.connection.subscribe(feature));
            if let Some(Err(error @ LocalError::SubscriptionRefused { .. })) = asked {
                let detail = error.to_string();
                events.push_back(TransportEvent::SubscriptionRefused { feature: *feature, detail });
            }
        }
        self.has_more = true;
    }

    /// Does the operation, of which the transport has only this look. Here the outcome is mostly there at once; it is an
    /// event all the same.
    pub(super) fn submit(&mut self, id: OpId, op: Op<'_>, events: &mut VecDeque<TransportEvent>) -> Submit {
        if self.has_ended {
            return Submit::Full;
        }
        let asked = match op {
            Op::Telemetry(message) => match message::to_hub(message) {
                Ok(telemetry) => self.connection.send(telemetry).map(drop),
                Err(unsupported) => return Submit::Refused(OpError::Unsupported(unsupported)),
            },
            Op::Settle { delivery, disposition } => {
                let at = self.undecided.iter().position(|(key, _)| *key == delivery.key);
                let Some((_, held)) = at.and_then(|at| self.undecided.remove(at)) else {
                    return Submit::Refused(OpError::Stale);
                };
                match disposition {
                    Disposition::Accept => self.connection.complete(held),
                    Disposition::Abandon => self.connection.abandon(held),
                    Disposition::Reject => self.connection.reject(held),
                }
            }
            Op::MethodResponse { delivery, status, body } => {
                let Some(request) = self.calls.remove(&delivery.key) else { return Submit::Refused(OpError::Stale) };
                self.connection.respond(&request, status, body.to_vec())
            }
            // The outcome of these two comes with the hub's answer: `take` tells it.
            Op::TwinGet => {
                let request = self.request(id);
                let asked = self.connection.get_twin(&request);
                return self.asked_for(asked);
            }
            Op::TwinReport(patch) => {
                let request = self.request(id);
                let asked = self.connection.report(&request, patch);
                return self.asked_for(asked);
            }
            _ => {
                let property = "an operation that is newer than this transport";
                return Submit::Refused(OpError::Unsupported(Unsupported::Property { property, transport: NAME }));
            }
        };
        let result = match asked {
            Ok(()) => Ok(Reply::Ack),
            // Nobody can know whether it was done. The end of the connection, which `take` tells, is said for it too.
            Err(LocalError::Closed(_)) => return self.asked_for(asked),
            Err(LocalError::NotHeld) => Err(OpError::Stale),
            Err(other) => Err(OpError::Rejected(other.to_string())),
        };
        events.push_back(TransportEvent::Done { id, result });
        Submit::Taken
    }

    /// What was asked for has no outcome yet.
    fn asked_for(&mut self, asked: Result<(), LocalError>) -> Submit {
        self.has_ended |= asked.is_err();
        self.has_more = true;
        Submit::Taken
    }

    /// A fresh request id for an operation. Ids are never used twice on a connection, so a late answer confuses nobody.
    fn request(&mut self, id: OpId) -> String {
        let request = self.fresh_key().to_string();
        self.requests.insert(request.clone(), id);
        request
    }

    pub(super) fn forget(&mut self, id: OpId) {
        self.requests.retain(|_, op| *op != id);
    }

    /// Takes at most so many events from the hub. The error is the end of the connection.
    pub(super) fn take(
        &mut self,
        at_most: usize,
        events: &mut VecDeque<TransportEvent>,
    ) -> Result<(), ConnectionErrorKind> {
        for _ in 0..at_most {
            let Some(event) = self.connection.next_event() else {
                self.has_more = false;
                return Ok(());
            };
            match event {
                LocalEvent::Message(received) => events.extend(self.message(received)),
                LocalEvent::Method(call) => events.extend(self.method(call)),
                LocalEvent::DesiredProperties { patch, .. } => {
                    events.push_back(TransportEvent::DesiredProperties(patch));
                }
                LocalEvent::TwinAnswer(answer) => events.extend(self.twin_answer(answer)),
                // The hub here would say why; a transport with a network hears only that the other side has closed.
                LocalEvent::Closed(_) => return Err(ConnectionErrorKind::ClosedByPeer),
                _ => {}
            }
        }
        self.has_more = true;
        Ok(())
    }

    /// A message, unless it is the repetition of one that the application still has.
    fn message(&mut self, mut received: LocalMessage) -> Option<TransportEvent> {
        let held = received.delivery;
        if received.redelivered && self.undecided.iter().any(|(_, known)| *known == held) {
            return None;
        }
        if self.undecided.len() >= MAX_UNDECIDED
            && let Some((_, oldest)) = self.undecided.pop_front()
        {
            // It goes back; the application's decision about it will be told to be stale.
            let _ = self.connection.abandon(oldest);
        }
        let delivery = self.delivery();
        self.undecided.push_back((delivery.key, held));
        let input = received.input.take();
        Some(TransportEvent::Message { message: message::from_hub(received), input, delivery })
    }

    /// A call, unless it is the repetition of one that is unanswered.
    fn method(&mut self, call: LocalMethod) -> Option<TransportEvent> {
        if self.calls.values().any(|known| *known == call.request) {
            return None;
        }
        let delivery = self.delivery();
        self.calls.insert(delivery.key, call.request);
        Some(TransportEvent::Method { name: call.name, body: call.body, delivery })
    }

    /// The outcome of a request, unless nobody has made it.
    fn twin_answer(&mut self, answer: LocalTwinAnswer) -> Option<TransportEvent> {
        let id = self.requests.remove(&answer.request)?;
        let result = match answer.status {
            200 => Ok(Reply::Twin(answer.body)),
            204 => Ok(Reply::Reported { version: answer.version }),
            status => Err(OpError::Status { status, detail: words(&answer.body) }),
        };
        Some(TransportEvent::Done { id, result })
    }

    fn delivery(&mut self) -> Delivery {
        Delivery { generation: self.generation, key: self.fresh_key() }
    }

    fn fresh_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }
}

/// What the hub calls this; `None` for what is newer than this transport, which [`capabilities`](super::LocalTransport) does not name.
fn in_hubs_words(feature: Feature) -> Option<LocalFeature> {
    Some(match feature {
        Feature::CloudToDevice => LocalFeature::CloudToDevice,
        Feature::Twin => LocalFeature::TwinAnswers,
        Feature::DesiredProperties => LocalFeature::DesiredProperties,
        Feature::Methods => LocalFeature::Methods,
        Feature::Inputs => LocalFeature::Inputs,
        _ => return None,
    })
}

/// The hub's own words in the body of a refusal.
fn words(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body["message"].as_str().unwrap_or_default().to_owned()
}
