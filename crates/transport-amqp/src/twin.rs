//! The twin: requests on one link, replies and changes on another.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::messaging::annotations::OwnedKey;
use fe2o3_amqp_types::messaging::{Body, Data, Message as Wire, MessageAnnotations, MessageId, Properties};
use iothub_core::{Feature, OpError, OpId, Reply, TransportEvent};
use serde_amqp::Value;
use serde_amqp::primitives::Symbol;
use tokio::sync::mpsc;

use crate::links::Step;
use crate::message;
use crate::outlet::{Outlet, Wait};
use crate::pump::{self, News, Parcel, Sent};
use crate::reason::{self, Reason};

const DESIRED: &str = "/notifications/twin/properties/desired";
const REPORTED: &str = "/properties/reported";

/// What is asked of the twin.
#[derive(Debug)]
pub(crate) enum Ask {
    Get(OpId),
    Report(OpId, Vec<u8>),
    /// Whether changes are to be told.
    Changes(bool),
    Forget(OpId),
}

impl Ask {
    /// The operation that is to have an outcome.
    pub(crate) fn id(&self) -> Option<OpId> {
        match self {
            Self::Get(id) | Self::Report(id, _) => Some(*id),
            Self::Changes(_) | Self::Forget(_) => None,
        }
    }
}

enum Waiting {
    Get(OpId),
    Report(OpId),
    Subscribed,
    Unsubscribed,
}

impl Waiting {
    /// The operation that is to have an outcome.
    fn id(&self) -> Option<OpId> {
        match self {
            Self::Get(id) | Self::Report(id) => Some(*id),
            Self::Subscribed | Self::Unsubscribed => None,
        }
    }
}

/// Serves until a link ends, or nothing will be asked any more and all that was has its outcome.
///
/// With `ready` it subscribes to changes before anything else, and says there when the hub has answered. If the hub refuses the
/// links before, nothing that was asked will be done.
pub(crate) async fn run(
    requests: Sender,
    replies: &mut Receiver,
    outlet: Outlet,
    mut asked: mpsc::UnboundedReceiver<Ask>,
    ready: Option<mpsc::UnboundedSender<Step>>,
) -> Result<(), Reason> {
    let (to_hub, parcels) = mpsc::unbounded_channel();
    let subscribes = ready.is_some();
    let mut twin = Twin { to_hub, outlet, last: 0, waiting: BTreeMap::new(), held: VecDeque::new(), ready };
    if subscribes {
        twin.ask(Ask::Changes(true));
    }
    let served = twin.serve(requests, replies, parcels, &mut asked).await;
    if let (Some(_), Err(Reason::Hub(error))) = (&twin.ready, &served)
        && reason::is_refusal(error)
    {
        twin.refuse(asked, &reason::words(error));
    }
    served
}

struct Twin {
    to_hub: mpsc::UnboundedSender<Request>,
    outlet: Outlet,
    last: u64,
    waiting: BTreeMap<String, Waiting>,
    /// What must wait for the hub's answer to the subscription: a whole twin that was fetched before it could miss a change.
    held: VecDeque<Ask>,
    ready: Option<mpsc::UnboundedSender<Step>>,
}

/// A request, called by its correlation id.
type Request = Parcel<String, Data>;

impl Twin {
    async fn serve(
        &mut self,
        requests: Sender,
        replies: &mut Receiver,
        parcels: mpsc::UnboundedReceiver<Request>,
        asked: &mut mpsc::UnboundedReceiver<Ask>,
    ) -> Result<(), Reason> {
        let outlet = self.outlet.clone();
        let (refuse, mut refused) = mpsc::unbounded_channel();
        let pump = pump::run(requests, parcels, move |news| match news {
            News::Waits(waits) => outlet.waits(Wait::TwinCredit, waits),
            News::Of(id, Sent::Refused(words)) => drop(refuse.send((id, words))),
            News::Of(_, Sent::Out) => {}
        });
        tokio::pin!(pump);
        let mut is_let_go = false;
        while !is_let_go || self.is_asked() {
            tokio::select! {
                biased;
                received = replies.recv::<Body<Value>>() => match received {
                    Ok(delivery) => {
                        if let Err(error) = replies.accept(&delivery).await {
                            return Err(error.into());
                        }
                        self.received(delivery.into_message());
                    }
                    Err(error) => return Err(error.into()),
                },
                Some((id, words)) = refused.recv() => self.answered(&id, Err(OpError::Rejected(words)), None),
                ask = asked.recv(), if !is_let_go => match ask {
                    Some(ask) => self.ask(ask),
                    None => is_let_go = true,
                },
                reason = &mut pump => return Err(reason),
            }
        }
        Ok(())
    }

    /// Whether an operation waits for its outcome.
    fn is_asked(&self) -> bool {
        self.held.iter().any(|held| held.id().is_some()) || self.waiting.values().any(|waiting| waiting.id().is_some())
    }

    /// Ends all that was asked.
    fn refuse(&mut self, mut asked: mpsc::UnboundedReceiver<Ask>, words: &str) {
        let later = std::iter::from_fn(|| asked.try_recv().ok());
        let waiting = std::mem::take(&mut self.waiting).into_values().filter_map(|waiting| waiting.id());
        let held = std::mem::take(&mut self.held).into_iter().chain(later).filter_map(|ask| ask.id());
        for id in waiting.chain(held) {
            self.outlet.done(id, Err(OpError::Rejected(words.to_owned())));
        }
    }

    fn is_subscribing(&self) -> bool {
        self.waiting.values().any(|waiting| matches!(waiting, Waiting::Subscribed))
    }

    fn ask(&mut self, ask: Ask) {
        if let Ask::Forget(id) = ask {
            self.held.retain(|held| held.id() != Some(id));
            self.waiting.retain(|_, waiting| waiting.id() != Some(id));
            return;
        }
        if self.is_subscribing() {
            self.held.push_back(ask);
            return;
        }
        match ask {
            Ask::Get(id) => self.request("GET", None, b" ", Waiting::Get(id)),
            Ask::Report(id, patch) => self.request("PATCH", Some(REPORTED), &patch, Waiting::Report(id)),
            Ask::Changes(true) => {
                self.outlet.waits(Wait::Changes, true);
                self.request("PUT", Some(DESIRED), b" ", Waiting::Subscribed);
            }
            Ask::Changes(false) => self.request("DELETE", Some(DESIRED), b" ", Waiting::Unsubscribed),
            Ask::Forget(_) => {}
        }
    }

    fn request(&mut self, operation: &str, resource: Option<&str>, body: &[u8], waiting: Waiting) {
        self.last += 1;
        let id = format!("{operation}-{}", self.last);
        let mut annotations = MessageAnnotations::default();
        for (name, value) in [("operation", Some(operation)), ("resource", resource)] {
            if let Some(value) = value {
                annotations.0.insert(OwnedKey::Symbol(Symbol::from(name)), Value::String(value.to_owned()));
            }
        }
        let message: Wire<Data> = Wire {
            header: None,
            delivery_annotations: None,
            message_annotations: Some(annotations),
            properties: Some(Properties {
                correlation_id: Some(MessageId::String(id.clone())),
                ..Properties::default()
            }),
            application_properties: None,
            body: message::data(body),
            footer: None,
        };
        self.waiting.insert(id.clone(), waiting);
        // If nobody takes it the link has ended, and its end is told.
        let _ = self.to_hub.send(Parcel { key: id, message });
    }

    fn received(&mut self, wire: message::Received) {
        let correlation = wire.properties.as_ref().and_then(|properties| properties.correlation_id.as_ref());
        let Some(correlation) = correlation.map(message::id_text) else {
            match message::body(wire.body) {
                Ok(body) => self.outlet.event(TransportEvent::DesiredProperties(body)),
                // The next one shows the gap.
                Err(detail) => tracing::warn!(detail, "a change of the twin cannot be read"),
            }
            return;
        };
        let number = |name| message::annotation(&wire, name).and_then(message::integer);
        let status = number("status").and_then(|status| u16::try_from(status).ok());
        let version = number("version").and_then(|version| u64::try_from(version).ok());
        let body = message::body(wire.body);
        let answer = match (status, body) {
            (Some(200..300), Ok(body)) => Ok(body),
            (Some(status), Ok(body)) => {
                Err(OpError::Status { status, detail: String::from_utf8_lossy(&body).into_owned() })
            }
            (None, _) => Err(OpError::Rejected("its answer has no status".to_owned())),
            (_, Err(detail)) => Err(OpError::Rejected(format!("its answer cannot be read: {detail}"))),
        };
        self.answered(&correlation, answer, version);
    }

    fn answered(&mut self, correlation: &str, answer: Result<Bytes, OpError>, version: Option<u64>) {
        match self.waiting.remove(correlation) {
            None | Some(Waiting::Unsubscribed) => {}
            Some(Waiting::Get(id)) => self.outlet.done(id, answer.map(Reply::Twin)),
            Some(Waiting::Report(id)) => self.outlet.done(id, answer.map(|_| Reply::Reported { version })),
            Some(Waiting::Subscribed) => {
                if let Err(error) = answer {
                    let (feature, detail) = (Feature::DesiredProperties, error.to_string());
                    self.outlet.event(TransportEvent::SubscriptionRefused { feature, detail });
                }
                self.outlet.waits(Wait::Changes, false);
                if let Some(ready) = self.ready.take() {
                    // Nobody listens to a part that is over.
                    let _ = ready.send(Step::TwinReady);
                }
                for ask in std::mem::take(&mut self.held) {
                    self.ask(ask);
                }
            }
        }
    }
}
