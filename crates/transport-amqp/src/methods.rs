//! Direct methods: calls on one link, answers on another.

use std::collections::BTreeMap;

use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::messaging::{ApplicationProperties, Body, Data, Message as Wire, MessageId, Properties};
use fe2o3_amqp_types::primitives::SimpleValue;
use iothub_core::{Delivery, OpError, OpId, Reply, TransportEvent};
use serde_amqp::Value;
use tokio::sync::mpsc;

use crate::message;
use crate::outlet::{Outlet, Wait};
use crate::pump::{self, News, Parcel, Sent};
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

/// Hands calls up and answers them until a link ends, or nothing can be answered any more.
///
/// `next` numbers the calls of a connection, whatever link they come on.
pub(crate) async fn run(
    calls: &mut Receiver,
    answers: Sender,
    outlet: Outlet,
    mut decided: mpsc::UnboundedReceiver<Answer>,
    mut next: u64,
) -> Result<(), Reason> {
    let (to_hub, parcels) = mpsc::unbounded_channel();
    let mut methods = Methods { to_hub, outlet: outlet.clone(), unanswered: BTreeMap::new() };
    let pump = pump::run(answers, parcels, move |news| match news {
        News::Waits(waits) => outlet.waits(Wait::AnswerCredit, waits),
        News::Of(Some(id), Sent::Out) => outlet.done(id, Ok(Reply::Ack)),
        News::Of(None, Sent::Out) => {}
        News::Of(_, Sent::Refused(words)) => tracing::warn!(words, "the hub refused the answer to a method"),
    });
    tokio::pin!(pump);
    loop {
        tokio::select! {
            biased;
            answer = decided.recv() => match answer {
                Some(answer) => methods.answer(answer),
                None => {
                    // What is decided still goes out.
                    drop(methods);
                    return match pump.await {
                        Reason::WithItsParent => Ok(()),
                        reason => Err(reason),
                    };
                }
            },
            reason = &mut pump => return Err(reason),
            received = calls.recv::<Body<Value>>() => match received {
                Ok(delivery) => {
                    next += 1;
                    // Settled by the hub already; this is for the link's credit.
                    if let Err(error) = calls.accept(&delivery).await {
                        return Err(error.into());
                    }
                    methods.called(next, delivery.into_message());
                }
                Err(error) => return Err(error.into()),
            },
        }
    }
}

struct Methods {
    to_hub: mpsc::UnboundedSender<Parcel<Option<OpId>, Data>>,
    outlet: Outlet,
    unanswered: BTreeMap<u64, MessageId>,
}

impl Methods {
    fn called(&mut self, key: u64, wire: message::Received) {
        let name = match message::application(&wire, "IoThub-methodname") {
            Some(SimpleValue::String(name)) => Some(name.clone()),
            _ => None,
        };
        let Some(call) = wire.properties.and_then(|properties| properties.correlation_id) else {
            tracing::warn!(?name, "a call of a method without a correlation id cannot be answered");
            return;
        };
        if self.unanswered.values().any(|known| *known == call) {
            // A repetition; the answer to the first is on its way.
            return;
        }
        let (Some(name), Ok(body)) = (name, message::body(wire.body)) else {
            tracing::warn!("a call of a method without a name, or with a body that is none, was answered 400");
            return self.send(None, call, 400, &[]);
        };
        if self.unanswered.len() >= UNANSWERED {
            return self.send(None, call, 429, &[]);
        }
        self.unanswered.insert(key, call);
        let delivery = Delivery { generation: self.outlet.run, key };
        self.outlet.event(TransportEvent::Method { name, body, delivery });
    }

    fn answer(&mut self, answer: Answer) {
        match self.unanswered.remove(&answer.key) {
            Some(call) => self.send(Some(answer.id), call, answer.status, &answer.body),
            None => self.outlet.done(answer.id, Err(OpError::Stale)),
        }
    }

    fn send(&self, id: Option<OpId>, call: MessageId, status: i32, body: &[u8]) {
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
        // If nobody takes it the link has ended, and its end is told.
        let _ = self.to_hub.send(Parcel { key: id, message });
    }
}
