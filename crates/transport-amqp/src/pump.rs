//! What goes out on a link beside telemetry: requests, answers, tokens. In a future of its own, so that a link without
//! credit keeps nobody from reading.

use std::future::Future;
use std::pin::Pin;

use fe2o3_amqp::link::SendError;
use fe2o3_amqp::{Sendable, Sender};
use fe2o3_amqp_types::messaging::{Message as Wire, Outcome, SerializableBody};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use crate::reason::{self, Reason};

/// A message, and what it is called here.
pub(crate) struct Parcel<K, B> {
    pub(crate) key: K,
    pub(crate) message: Wire<B>,
}

/// What became of a parcel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is on its way.
    Out,
    /// The hub did not take it, in its words. Only a hub that does not settle at once can say so, and after `Out`.
    Refused(String),
}

/// What the owner of a link is told: that the link waits for credit or no longer does, and what became of a parcel.
pub(crate) enum News<K> {
    Waits(bool),
    Of(K, Sent),
}

type Settling<K> = FuturesUnordered<Pin<Box<dyn Future<Output = (K, Result<Outcome, SendError>)> + Send>>>;

/// Sends parcels in their order until the link ends, or there will be no more of them.
pub(crate) async fn run<K, B>(
    mut sender: Sender,
    mut parcels: mpsc::UnboundedReceiver<Parcel<K, B>>,
    tell: impl Fn(News<K>) + Send,
) -> Reason
where
    K: Clone + Send + 'static,
    B: SerializableBody + Send,
{
    let mut settling = Settling::new();
    loop {
        let Parcel { key, message } = tokio::select! {
            biased;
            Some((key, outcome)) = settling.next(), if !settling.is_empty() => {
                settled(key, outcome, &tell);
                continue;
            }
            ended = sender.on_detach() => return ended.into(),
            parcel = parcels.recv() => match parcel {
                Some(parcel) => parcel,
                None => return Reason::WithItsParent,
            },
        };
        let send = sender.send_batchable(Sendable::builder().message(message).build());
        tokio::pin!(send);
        let sent = tokio::select! {
            biased;
            sent = &mut send => sent,
            () = std::future::ready(()) => {
                tell(News::Waits(true));
                let sent = send.await;
                tell(News::Waits(false));
                sent
            }
        };
        match sent {
            Ok(delivery) => {
                tell(News::Of(key.clone(), Sent::Out));
                settling.push(Box::pin(async move { (key, delivery.await) }));
            }
            Err(error) => return error.into(),
        }
    }
}

/// The end of the link tells itself; what else is no acceptance is a refusal.
fn settled<K>(key: K, outcome: Result<Outcome, SendError>, tell: &impl Fn(News<K>)) {
    let words = match outcome {
        Ok(Outcome::Accepted(_)) | Err(_) => return,
        Ok(Outcome::Rejected(rejected)) => {
            rejected.error.as_ref().map_or_else(|| "without a reason".to_owned(), reason::words)
        }
        Ok(other) => format!("it gave the message back ({other:?})"),
    };
    tell(News::Of(key, Sent::Refused(words)));
}
