//! Direct methods: calls on one link, answers on another.

use std::collections::BTreeMap;

use fe2o3_amqp::{Receiver, Sendable, Sender};
use fe2o3_amqp_types::messaging::{ApplicationProperties, Body, Data, Message as Wire, MessageId, Properties};
use fe2o3_amqp_types::primitives::SimpleValue;
use iothub_core::{Delivery, OpError, OpId, Reply, TransportEvent};
use serde_amqp::Value;
use tokio::sync::mpsc;

use crate::message;
use crate::outlet::Outlet;
use crate::reason::Reason;

/// How many calls may be unanswered; more are answered 429.
const UNANSWERED: usize = 1_000;

/// The answer to a call.
pub(crate) struct Answer {
    pub(crate) id: OpId,
    pub(crate) key: u64,
    pub(crate) status: i32,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Methods {
    calls: Receiver,
    answers: Sender,
    outlet: Outlet,
    generation: u32,
    unanswered: BTreeMap<u64, MessageId>,
}

impl Methods {
    pub(crate) fn new(calls: Receiver, answers: Sender, outlet: Outlet, generation: u32) -> Self {
        Self { calls, answers, outlet, generation, unanswered: BTreeMap::new() }
    }

    /// Hands calls up and answers them until a link ends, or nothing can be answered any more.
    pub(crate) async fn run(mut self, mut answers: mpsc::UnboundedReceiver<Answer>, mut next: u64) -> Reason {
        loop {
            let step = tokio::select! {
                biased;
                answer = answers.recv() => match answer {
                    Some(answer) => self.answer(answer).await,
                    None => return Reason::WithItsParent,
                },
                received = self.calls.recv::<Body<Value>>() => match received {
                    Ok(delivery) => {
                        next += 1;
                        // Settled by the hub already; this is for the link's credit.
                        match self.calls.accept(&delivery).await {
                            Ok(()) => self.called(next, delivery.into_message()).await,
                            Err(error) => Err(error.into()),
                        }
                    }
                    Err(error) => Err(error.into()),
                },
                ended = self.answers.on_detach() => Err(ended.into()),
            };
            if let Err(reason) = step {
                return reason;
            }
        }
    }

    async fn called(&mut self, key: u64, wire: message::Received) -> Result<(), Reason> {
        let name = match message::application(&wire, "IoThub-methodname") {
            Some(SimpleValue::String(name)) => name.clone(),
            _ => return Ok(()),
        };
        let Some(call) = wire.properties.and_then(|properties| properties.correlation_id) else { return Ok(()) };
        if self.unanswered.values().any(|known| *known == call) {
            // A repetition; the answer to the first is on its way.
            return Ok(());
        }
        let Ok(body) = message::body(wire.body) else { return Ok(()) };
        if self.unanswered.len() >= UNANSWERED {
            return self.send(call, 429, &[]).await;
        }
        self.unanswered.insert(key, call);
        let delivery = Delivery { generation: self.generation, key };
        self.outlet.event(TransportEvent::Method { name, body, delivery });
        Ok(())
    }

    async fn answer(&mut self, answer: Answer) -> Result<(), Reason> {
        let Some(call) = self.unanswered.remove(&answer.key) else {
            self.outlet.done(answer.id, Err(OpError::Stale));
            return Ok(());
        };
        self.send(call, answer.status, &answer.body).await?;
        self.outlet.done(answer.id, Ok(Reply::Ack));
        Ok(())
    }

    async fn send(&mut self, call: MessageId, status: i32, body: &[u8]) -> Result<(), Reason> {
        let mut application = ApplicationProperties::default();
        application.0.insert("IoThub-status".to_owned(), SimpleValue::Int(status));
        let message: Wire<Data> = Wire {
            header: None,
            delivery_annotations: None,
            message_annotations: None,
            properties: Some(Properties { correlation_id: Some(call), ..Properties::default() }),
            application_properties: Some(application),
            body: message::data(body),
            footer: None,
        };
        self.answers.send_batchable(Sendable::builder().message(message).build()).await?;
        Ok(())
    }
}
