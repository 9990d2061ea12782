//! Messages from the hub, cloud-to-device or for a module's inputs, and how they are settled.

use std::collections::BTreeMap;

use fe2o3_amqp::Receiver;
use fe2o3_amqp::link::RecvError;
use fe2o3_amqp::link::delivery::DeliveryInfo;
use fe2o3_amqp_types::messaging::Body;
use iothub_core::{Delivery, Disposition, OpError, OpId, Reply, TransportEvent};
use serde_amqp::Value;
use tokio::sync::mpsc;

use crate::message;
use crate::outlet::Outlet;
use crate::reason::{self, Reason};

/// How many messages may be undecided; the hub keeps no more for a device.
pub(crate) const CREDIT: u32 = 50;

/// How a message is to be settled.
pub(crate) struct Settle {
    pub(crate) id: OpId,
    pub(crate) key: u64,
    pub(crate) disposition: Disposition,
}

pub(crate) struct Inbox<'a> {
    receiver: &'a mut Receiver,
    outlet: Outlet,
    /// Messages without a decision, by the number that their delivery has here.
    undecided: BTreeMap<u64, DeliveryInfo>,
    /// What the hub may still send.
    granted: u32,
}

impl<'a> Inbox<'a> {
    /// For a link that has no credit yet.
    pub(crate) fn new(receiver: &'a mut Receiver, outlet: Outlet) -> Self {
        Self { receiver, outlet, undecided: BTreeMap::new(), granted: 0 }
    }

    /// Hands messages up and settles them until the link ends, or nothing can be settled any more.
    ///
    /// `next` numbers the messages of a connection, whatever link they come on.
    pub(crate) async fn run(
        mut self,
        mut settlements: mpsc::UnboundedReceiver<Settle>,
        mut next: u64,
    ) -> Result<(), Reason> {
        self.top_up().await?;
        loop {
            tokio::select! {
                biased;
                settle = settlements.recv() => match settle {
                    Some(settle) => self.settle(settle).await?,
                    None => return Ok(()),
                },
                received = self.receiver.recv::<Body<Value>>() => match received {
                    Ok(delivery) => {
                        next += 1;
                        let (info, wire) = delivery.into_parts();
                        self.arrived(next, info, wire).await?;
                    }
                    Err(RecvError::MessageDecode(error)) => {
                        self.granted = self.granted.saturating_sub(1);
                        self.refuse(error.info, &error.source.to_string()).await?;
                    }
                    Err(error) => return Err(error.into()),
                },
            }
        }
    }

    async fn arrived(&mut self, key: u64, info: DeliveryInfo, wire: message::Received) -> Result<(), Reason> {
        self.granted = self.granted.saturating_sub(1);
        let (message, input) = match message::received(wire) {
            Ok(parts) => parts,
            Err(detail) => return self.refuse(info, detail).await,
        };
        self.undecided.insert(key, info);
        let delivery = Delivery { generation: self.outlet.run, key };
        self.outlet.event(TransportEvent::Message { message, input, delivery });
        Ok(())
    }

    /// A message that the client cannot read would come again for ever.
    async fn refuse(&mut self, info: DeliveryInfo, detail: &str) -> Result<(), Reason> {
        tracing::warn!(detail, "a message that cannot be read was rejected");
        self.receiver.reject(info, reason::rejected_by_application()).await?;
        self.top_up().await
    }

    async fn settle(&mut self, settle: Settle) -> Result<(), Reason> {
        let Some(info) = self.undecided.remove(&settle.key) else {
            self.outlet.done(settle.id, Err(OpError::Stale));
            return Ok(());
        };
        match settle.disposition {
            Disposition::Accept => self.receiver.accept(info).await?,
            Disposition::Reject => self.receiver.reject(info, reason::rejected_by_application()).await?,
            Disposition::Abandon => self.receiver.release(info).await?,
        }
        self.outlet.done(settle.id, Ok(Reply::Ack));
        self.top_up().await
    }

    /// Gives credit again when half is used up; undecided messages count against it, so that memory is bounded.
    async fn top_up(&mut self) -> Result<(), Reason> {
        let undecided = u32::try_from(self.undecided.len()).unwrap_or(u32::MAX);
        let room = CREDIT.saturating_sub(undecided);
        if room > self.granted && self.granted <= room / 2 {
            self.receiver.set_credit(room).await?;
            self.granted = room;
        }
        Ok(())
    }
}
