//! Messages on their way to the hub, over one link: alone, or as many in one transfer as wait for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use fe2o3_amqp::link::SendError;
use fe2o3_amqp::link::delivery::DeliveryFut;
use fe2o3_amqp::{Sendable, Sender};
use fe2o3_amqp_types::messaging::{Body, Data, Message as Wire, Outcome};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use iothub_core::{OpError, OpId, Reply, Unsupported, limits};
use serde_amqp::Value;

use crate::message;
use crate::outbox::{Line, Outgoing};
use crate::outlet::Outlet;
use crate::reason::{self, Reason};

/// The format of a transfer whose data sections are messages, each encoded as a whole.
const BATCH_FORMAT: u32 = 0x8001_3700;
/// The format of a message as it is.
const PLAIN_FORMAT: u32 = 0;
/// What a batch leaves free of what the link takes; as the C SDK.
const RESERVE: u64 = 1024;
/// The largest batch, whatever the link takes: the hub measures a batch as it measures one message.
const LARGEST_BATCH: usize = limits::MAX_TELEMETRY_SIZE;

/// The bytes of a batch on a link that takes messages of this size.
fn capacity(largest: Option<u64>) -> usize {
    let room = largest.map(|largest| usize::try_from(largest.saturating_sub(RESERVE)).unwrap_or(usize::MAX));
    room.map_or(LARGEST_BATCH, |room| room.min(LARGEST_BATCH))
}

/// A transfer that has no outcome yet, with its messages.
struct Settling {
    ids: Vec<OpId>,
    delivery: DeliveryFut<Result<Outcome, SendError>>,
}

impl Future for Settling {
    type Output = (Vec<OpId>, Result<Outcome, SendError>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.delivery).poll(context));
        Poll::Ready((std::mem::take(&mut self.ids), outcome))
    }
}

/// Where messages come from.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) line: Line,
    /// Whether messages that wait together are sent together.
    pub(crate) batching: bool,
}

/// Sends messages and tells their outcomes, until the link ends.
///
/// An outcome never comes from a link that died (the package leaves those pending), so the end of the link is watched
/// at each step; what had no outcome then is lost with the connection.
pub(crate) async fn run(mut sender: Sender, Source { line, batching }: Source, outlet: Outlet) -> Reason {
    let capacity = if batching { capacity(sender.max_message_size()) } else { 0 };
    let mut settling = FuturesUnordered::<Settling>::new();
    loop {
        tokio::select! {
            biased;
            Some(settled) = settling.next(), if !settling.is_empty() => {
                if let Err(reason) = tell(&outlet, settled) {
                    return reason;
                }
                continue;
            }
            ended = sender.on_detach() => return ended.into(),
            () = line.filled() => {}
        }
        let messages = line.take(capacity);
        let ids: Vec<_> = messages.iter().map(|outgoing| outgoing.id).collect();
        let transfer = match transfer(messages) {
            Ok(transfer) => transfer,
            Err(error) => {
                outlet.sent(ids, Err(OpError::Rejected(format!("it was not sent, for it cannot be encoded: {error}"))));
                continue;
            }
        };
        let send = sender.send_batchable(transfer);
        tokio::pin!(send);
        // Here it waits for credit.
        let sent = loop {
            tokio::select! {
                biased;
                sent = &mut send => break sent,
                Some(settled) = settling.next(), if !settling.is_empty() => {
                    if let Err(reason) = tell(&outlet, settled) {
                        return reason;
                    }
                }
            }
        };
        match sent {
            Ok(delivery) => settling.push(Settling { ids, delivery }),
            Err(error) => {
                if let Err(reason) = tell(&outlet, (ids, Err(error))) {
                    return reason;
                }
            }
        }
    }
}

/// One message as it is, several as a batch.
fn transfer(messages: Vec<Outgoing>) -> Result<Sendable<Body<Value>>, serde_amqp::Error> {
    let (message, format) = match messages.as_slice() {
        [one] => (message::decoded(&one.bytes)?, PLAIN_FORMAT),
        _ => {
            let sections: Vec<_> = messages.into_iter().map(|outgoing| Data::from(outgoing.bytes)).collect();
            (Wire::builder().body(Body::Data(sections.into())).build(), BATCH_FORMAT)
        }
    };
    Ok(Sendable::builder().message(message).message_format(format).build())
}

/// Tells the outcome of a transfer; the error is the end of the link.
fn tell(outlet: &Outlet, (ids, outcome): (Vec<OpId>, Result<Outcome, SendError>)) -> Result<(), Reason> {
    let is_batch = ids.len() > 1;
    let result = match outcome {
        Ok(Outcome::Accepted(_)) => Ok(Reply::Ack),
        Ok(Outcome::Rejected(rejected)) => Err(reason::of_rejection(rejected.error.as_ref(), is_batch)),
        Ok(Outcome::Released(_)) => Err(OpError::NotNow("it gave the message back (released)".to_owned())),
        Ok(Outcome::Modified(_)) => Err(OpError::NotNow("it gave the message back (modified)".to_owned())),
        Err(SendError::MessageSizeExceeded(exceeded)) => {
            let bytes = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
            let (size, limit) = (bytes(exceeded.size), bytes(exceeded.max_size));
            Err(OpError::Unsupported(Unsupported::MessageTooLarge { size, limit }))
        }
        Err(SendError::NonTerminalDeliveryState | SendError::IllegalDeliveryState) => {
            Err(OpError::Rejected("it answered with a state that is no outcome".to_owned()))
        }
        Err(error) => return Err(error.into()),
    };
    outlet.sent(ids, result);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_leaves_the_reserve_free_and_is_never_larger_than_the_hub_takes() {
        assert_eq!(capacity(None), 262_144);
        assert_eq!(capacity(Some(1_048_576)), 262_144);
        assert_eq!(capacity(Some(65_536)), 64_512);
        assert_eq!(capacity(Some(100)), 0);
    }
}
