//! The twin: requests on one link, replies and changes on another.

use std::collections::{BTreeMap, VecDeque};

use fe2o3_amqp::{Receiver, Sendable, Sender};
use fe2o3_amqp_types::messaging::annotations::OwnedKey;
use fe2o3_amqp_types::messaging::{Body, Data, Message as Wire, MessageAnnotations, MessageId, Properties};
use iothub_core::{ConnectStage, Feature, OpError, OpId, Reply, TransportEvent};
use serde_amqp::Value;
use serde_amqp::primitives::Symbol;
use tokio::sync::mpsc;

use crate::message;
use crate::outlet::{OfDevice, Outlet, Wait};
use crate::reason::Reason;

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

enum Waiting {
    Get(OpId),
    Report(OpId),
    Subscribed,
    Unsubscribed,
}

pub(crate) struct Twin {
    requests: Sender,
    replies: Receiver,
    outlet: Outlet,
    last: u64,
    waiting: BTreeMap<String, Waiting>,
    /// What must wait for the hub's answer to the subscription: a whole twin that was fetched before it could miss a change.
    held: VecDeque<Ask>,
}

impl Twin {
    pub(crate) fn new(requests: Sender, replies: Receiver, outlet: Outlet) -> Self {
        Self { requests, replies, outlet, last: 0, waiting: BTreeMap::new(), held: VecDeque::new() }
    }

    /// Serves until a link ends. `asked` closes when the links are to end.
    pub(crate) async fn run(mut self, mut asked: mpsc::UnboundedReceiver<Ask>) -> Reason {
        loop {
            let step = tokio::select! {
                biased;
                received = self.replies.recv::<Body<Value>>() => match received {
                    Ok(delivery) => match self.replies.accept(&delivery).await {
                        Ok(()) => self.received(delivery.into_message()).await,
                        Err(error) => Err(error.into()),
                    },
                    Err(error) => Err(error.into()),
                },
                ask = asked.recv() => match ask {
                    Some(ask) => self.ask(ask).await,
                    None => return Reason::WithItsParent,
                },
                ended = self.requests.on_detach() => Err(ended.into()),
            };
            if let Err(reason) = step {
                return reason;
            }
        }
    }

    fn is_subscribing(&self) -> bool {
        self.waiting.values().any(|waiting| matches!(waiting, Waiting::Subscribed))
    }

    async fn ask(&mut self, ask: Ask) -> Result<(), Reason> {
        if let Ask::Forget(id) = ask {
            self.held.retain(|held| !matches!(held, Ask::Get(of) | Ask::Report(of, _) if *of == id));
            self.waiting.retain(|_, waiting| !matches!(waiting, Waiting::Get(of) | Waiting::Report(of) if *of == id));
            return Ok(());
        }
        if self.is_subscribing() {
            self.held.push_back(ask);
            return Ok(());
        }
        match ask {
            Ask::Get(id) => self.request("GET", None, b" ", Waiting::Get(id)).await,
            Ask::Report(id, patch) => self.request("PATCH", Some(REPORTED), &patch, Waiting::Report(id)).await,
            Ask::Changes(true) => {
                self.outlet.tell(OfDevice::Stage(Wait::Changes, ConnectStage::Subscribe));
                self.request("PUT", Some(DESIRED), b" ", Waiting::Subscribed).await
            }
            Ask::Changes(false) => self.request("DELETE", Some(DESIRED), b" ", Waiting::Unsubscribed).await,
            Ask::Forget(_) => Ok(()),
        }
    }

    async fn request(
        &mut self,
        operation: &str,
        resource: Option<&str>,
        body: &[u8],
        waiting: Waiting,
    ) -> Result<(), Reason> {
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
        self.waiting.insert(id, waiting);
        self.requests.send_batchable(Sendable::builder().message(message).build()).await?;
        Ok(())
    }

    async fn received(&mut self, wire: message::Received) -> Result<(), Reason> {
        let correlation = wire.properties.as_ref().and_then(|properties| properties.correlation_id.as_ref());
        let Some(correlation) = correlation.map(message::id_text) else {
            if let Ok(body) = message::body(wire.body) {
                self.outlet.event(TransportEvent::DesiredProperties(body));
            }
            return Ok(());
        };
        let Some(waiting) = self.waiting.remove(&correlation) else { return Ok(()) };
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
        match waiting {
            Waiting::Get(id) => self.outlet.done(id, answer.map(Reply::Twin)),
            Waiting::Report(id) => self.outlet.done(id, answer.map(|_| Reply::Reported { version })),
            Waiting::Unsubscribed => {}
            Waiting::Subscribed => {
                if let Err(error) = answer {
                    let (feature, detail) = (Feature::DesiredProperties, error.to_string());
                    self.outlet.event(TransportEvent::SubscriptionRefused { feature, detail });
                }
                self.outlet.tell(OfDevice::Settled(Wait::Changes));
                for ask in std::mem::take(&mut self.held) {
                    Box::pin(self.ask(ask)).await?;
                }
            }
        }
        Ok(())
    }

    /// Subscribes to changes before anything else, and waits for the answer.
    pub(crate) async fn subscribed(mut self) -> Result<Self, Reason> {
        self.ask(Ask::Changes(true)).await?;
        while self.is_subscribing() {
            let delivery = self.replies.recv::<Body<Value>>().await?;
            self.replies.accept(&delivery).await?;
            self.received(delivery.into_message()).await?;
        }
        Ok(self)
    }
}
