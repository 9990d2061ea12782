//! Claims-based security: tokens put on the connection, one request a device at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::link::CreditMode;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Receiver, Sender, Session};
use fe2o3_amqp_types::messaging::{AmqpValue, ApplicationProperties, Body, Message as Wire, MessageId, Properties};
use fe2o3_amqp_types::primitives::SimpleValue;
use iothub_core::{ConnectionErrorKind, Secret};
use serde_amqp::Value;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};

use crate::message;
use crate::names::guid;
use crate::outlet::{Queue, Seen};
use crate::pump::{self, News, Parcel, Sent};
use crate::reason::Reason;

/// The node of tokens.
const NODE: &str = "$cbs";
/// What kind of token it is.
const SAS: &str = "servicebus.windows.net:sastoken";

/// How many tokens may await their answer; for each the hub has credit for its answer.
const PLACES: usize = 50;

/// Where devices bring their tokens.
#[derive(Clone)]
pub(crate) struct Tokens {
    puts: mpsc::UnboundedSender<Put>,
    places: Arc<Semaphore>,
}

impl Tokens {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Put>) {
        let (puts, requests) = mpsc::unbounded_channel();
        (Self { puts, places: Arc::new(Semaphore::new(PLACES)) }, requests)
    }

    /// A place among those whose token is on its way, kept until it is dropped; they are given in the order of asking.
    pub(crate) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.places.acquire().await.ok()
    }

    /// Hands a token over; `false` if nobody takes any.
    pub(crate) fn put(&self, put: Put) -> bool {
        self.puts.send(put).is_ok()
    }
}

/// A token to be put.
pub(crate) struct Put {
    pub(crate) audience: String,
    pub(crate) token: Secret,
    pub(crate) answer: oneshot::Sender<Result<(), ConnectionErrorKind>>,
}

/// The links of tokens, in a session of their own.
pub(crate) struct Cbs {
    session: SessionHandle<()>,
    sender: Sender,
    receiver: Receiver,
    answers: Answers,
}

impl Cbs {
    pub(crate) async fn open(connection: &mut ConnectionHandle<()>) -> Result<Self, Reason> {
        let mut session = Session::begin(connection).await?;
        let sender = Sender::builder()
            .name(format!("cbs-sender-{}", guid()))
            .source(NODE)
            .target(NODE)
            .attach(&mut session)
            .await?;
        let receiver = Receiver::builder()
            .name(format!("cbs-receiver-{}", guid()))
            .source(NODE)
            .target(NODE)
            .credit_mode(CreditMode::Auto(100))
            .attach(&mut session)
            .await?;
        Ok(Self { session, sender, receiver, answers: Answers::default() })
    }

    /// Puts tokens until the links end. The end of the requests is the end of the connection: nobody listens then.
    pub(crate) async fn run(self, mut requests: mpsc::UnboundedReceiver<Put>, queue: Queue) -> Reason {
        let Self { mut session, sender, mut receiver, mut answers } = self;
        let (to_hub, parcels) = mpsc::unbounded_channel();
        let (refuse, mut refused) = mpsc::unbounded_channel();
        let pump = pump::run(sender, parcels, move |news| match news {
            News::Waits(waits) => queue.put(Seen::TokensWait(waits)),
            News::Of(id, Sent::Refused(words)) => drop(refuse.send((id, words))),
            News::Of(_, Sent::Out) => {}
        });
        tokio::pin!(pump);
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(put) => drop(to_hub.send(answers.request(put))),
                    None => return Reason::WithItsParent,
                },
                received = receiver.recv::<Body<Value>>() => match received {
                    Ok(delivery) => {
                        if let Err(error) = receiver.accept(&delivery).await {
                            return error.into();
                        }
                        answers.answered(&delivery.into_message());
                    }
                    Err(error) => return error.into(),
                },
                Some((id, words)) = refused.recv() => answers.refused(id, words),
                reason = &mut pump => return reason,
                ended = session.on_end() => match ended {
                    Ok(()) => return Reason::Silent,
                    Err(error) => return error.into(),
                },
            }
        }
    }
}

/// Who waits for which answer.
#[derive(Default)]
struct Answers {
    last: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Result<(), ConnectionErrorKind>>>,
}

impl Answers {
    fn request(&mut self, put: Put) -> Parcel<u64, AmqpValue<String>> {
        self.last += 1;
        self.waiting.retain(|_, answer| !answer.is_closed());
        self.waiting.insert(self.last, put.answer);
        let mut application = ApplicationProperties::default();
        for (name, value) in [("operation", "put-token"), ("type", SAS), ("name", put.audience.as_str())] {
            application.0.insert(name.to_owned(), SimpleValue::String(value.to_owned()));
        }
        let message = Wire {
            header: None,
            delivery_annotations: None,
            message_annotations: None,
            properties: Some(Properties { message_id: Some(MessageId::Ulong(self.last)), ..Properties::default() }),
            application_properties: Some(application),
            body: AmqpValue(put.token.expose().to_owned()),
            footer: None,
        };
        // The reply says what became of it; that the request was accepted says nothing.
        Parcel { key: self.last, message }
    }

    /// The hub did not take the request.
    fn refused(&mut self, id: u64, detail: String) {
        if let Some(answer) = self.waiting.remove(&id) {
            let condition = "a token that was not taken".to_owned();
            let _ = answer.send(Err(ConnectionErrorKind::EndedByHub { condition, detail }));
        }
    }

    fn answered(&mut self, reply: &message::Received) {
        let id = match reply.properties.as_ref().and_then(|properties| properties.correlation_id.as_ref()) {
            Some(MessageId::Ulong(id)) => *id,
            _ => return,
        };
        let Some(answer) = self.waiting.remove(&id) else { return };
        let value = |name| message::application(reply, name).cloned().map(Value::from);
        let status = value("status-code").as_ref().and_then(message::integer).unwrap_or(0);
        let detail = match value("status-description") {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let _ = answer.send(outcome(status, detail));
    }
}

/// What the hub's status means. 200 and 202 are success.
fn outcome(status: i64, detail: String) -> Result<(), ConnectionErrorKind> {
    match status {
        200 | 202 => Ok(()),
        400 | 401 | 404 => Err(ConnectionErrorKind::NotAuthorized),
        _ => Err(ConnectionErrorKind::EndedByHub { condition: format!("status {status} for the token"), detail }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_the_token_is_taken_refused_or_to_be_tried_later() {
        assert_eq!(outcome(200, String::new()), Ok(()));
        assert_eq!(outcome(202, String::new()), Ok(()));
        assert_eq!(outcome(401, String::new()), Err(ConnectionErrorKind::NotAuthorized));
        let Err(ConnectionErrorKind::EndedByHub { condition, detail }) = outcome(503, "busy".to_owned()) else {
            panic!("503 is no success")
        };
        assert_eq!((condition.as_str(), detail.as_str()), ("status 503 for the token", "busy"));
    }
}
