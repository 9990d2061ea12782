//! Messages on their way to the hub, over one link.

use std::future::Future;
use std::pin::Pin;

use fe2o3_amqp::link::SendError;
use fe2o3_amqp::{Sendable, Sender};
use fe2o3_amqp_types::messaging::{Data, Message as Wire, Outcome};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use iothub_core::{OpError, OpId, Reply};
use tokio::sync::mpsc;

use crate::outlet::Outlet;
use crate::reason::{self, Reason};

/// A message to be sent.
pub(crate) struct Outgoing {
    pub(crate) id: OpId,
    pub(crate) message: Wire<Data>,
}

type Settling = FuturesUnordered<Pin<Box<dyn Future<Output = (OpId, Result<Outcome, SendError>)> + Send>>>;

/// Sends messages and tells their outcomes, until the link ends.
///
/// An outcome never comes from a link that died (the package leaves those pending), so the end of the link is watched
/// at each step; what had no outcome then is lost with the connection.
pub(crate) async fn run(mut sender: Sender, mut messages: mpsc::UnboundedReceiver<Outgoing>, outlet: Outlet) -> Reason {
    let mut settling = Settling::new();
    loop {
        let outgoing = tokio::select! {
            biased;
            Some(settled) = settling.next(), if !settling.is_empty() => {
                if let Err(reason) = tell(&outlet, settled) {
                    return reason;
                }
                continue;
            }
            next = messages.recv() => match next {
                Some(outgoing) => outgoing,
                // The transport has let go of this device; its tasks are ended from there.
                None => return std::future::pending().await,
            },
            ended = sender.on_detach() => return ended.into(),
        };
        let Outgoing { id, message } = outgoing;
        let send = sender.send_batchable(Sendable::builder().message(message).build());
        tokio::pin!(send);
        let delivery = loop {
            tokio::select! {
                biased;
                sent = &mut send => match sent {
                    Ok(delivery) => break delivery,
                    Err(error) => return error.into(),
                },
                Some(settled) = settling.next(), if !settling.is_empty() => {
                    if let Err(reason) = tell(&outlet, settled) {
                        return reason;
                    }
                }
            }
        };
        settling.push(Box::pin(async move { (id, delivery.await) }));
    }
}

/// Tells an outcome; the error is the end of the link.
fn tell(outlet: &Outlet, (id, outcome): (OpId, Result<Outcome, SendError>)) -> Result<(), Reason> {
    let result = match outcome {
        Ok(Outcome::Accepted(_)) => Ok(Reply::Ack),
        Ok(Outcome::Rejected(rejected)) => {
            let words = rejected.error.as_ref().map_or_else(|| "without a reason".to_owned(), reason::words);
            Err(OpError::Rejected(words))
        }
        Ok(Outcome::Released(_)) => Err(OpError::Rejected("it gave the message back (released)".to_owned())),
        Ok(Outcome::Modified(_)) => Err(OpError::Rejected("it gave the message back (modified)".to_owned())),
        Err(SendError::NonTerminalDeliveryState | SendError::IllegalDeliveryState) => {
            Err(OpError::Rejected("it answered with a state that is no outcome".to_owned()))
        }
        Err(error) => return Err(error.into()),
    };
    outlet.done(id, result);
    Ok(())
}
