//! Telemetry: taking messages in, and what can be asked about them.

use std::time::Duration;

use super::callbacks::Confirm;
use super::outbox::Outbox;
use super::sampling::Sampling;
use crate::event::{Refused, RefusedReason, Undelivered};
use crate::lane::{self, Overflow};
use crate::message::Message;
use crate::status::SendStatus;
use crate::system_property::SystemProperty;
use crate::transport::{Op, OpId, Unsupported};

impl<K> Outbox<K> {
    /// Queues a message for the hub. Its outcome is counted in [`stats`](Self::stats) and told to nobody.
    ///
    /// The message is sent in `do_work`, in order, and again after a lost connection until the hub has confirmed it, so it
    /// arrives at least once. A received message can be sent on: what only the hub sets, such as its sender, stays behind.
    ///
    /// # Errors
    ///
    /// [`Refused`] hands the message back when the client is closed, the queue is full, or the transport cannot carry
    /// the message.
    #[doc(alias = "IoTHubClient_LL_SendEventAsync")]
    #[doc(alias = "IoTHubDeviceClient_LL_SendEventAsync")]
    #[doc(alias = "IoTHubDeviceClient_LL_SendTelemetryAsync")]
    #[doc(alias = "IoTHubModuleClient_LL_SendEventAsync")]
    #[doc(alias = "IoTHubModuleClient_LL_SendTelemetryAsync")]
    pub fn send_event(&mut self, message: impl Into<Message>) -> Result<(), Refused<Message>> {
        self.enqueue(message.into(), Confirm::Nobody).map(|_| ())
    }

    /// Queues a message as [`send_event`](Self::send_event), and calls back with the outcome from within `do_work` or
    /// `close`, exactly once. A failure hands the message back, and the callback can send it again:
    ///
    /// ```no_run
    /// # fn run(client: &mut iothub_core::DeviceClient) -> Result<(), Box<dyn std::error::Error>> {
    /// client.send_event_with("21.5", |outcome, outbox| {
    ///     if let Err(undelivered) = outcome {
    ///         println!("{undelivered}; trying once more");
    ///         let _ = outbox.send_event(undelivered.message);
    ///     }
    /// })?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "IOTHUB_CLIENT_EVENT_CONFIRMATION_CALLBACK")]
    pub fn send_event_with(
        &mut self,
        message: impl Into<Message>,
        callback: impl FnOnce(Result<(), Undelivered>, &mut Outbox<K>) + Send + 'static,
    ) -> Result<(), Refused<Message>> {
        self.enqueue(message.into(), Confirm::Callback(Box::new(callback))).map(|_| ())
    }

    /// Queues a message as [`send_event`](Self::send_event); the outcome comes as [`Event::Confirmation`](crate::Event) with the id
    /// that is returned here. An unread confirmation takes the room of a message in the queue.
    pub fn send_event_tracked(&mut self, message: impl Into<Message>) -> Result<OpId, Refused<Message>> {
        self.enqueue(message.into(), Confirm::Event)
    }

    pub(super) fn enqueue(
        &mut self,
        message: Message,
        confirm: Confirm<K, Result<(), Undelivered>>,
    ) -> Result<OpId, Refused<Message>> {
        // The clock is read only if something asks for it: it is a good part of the cost of a message.
        let sampled = match self.sampling.samples_next() {
            true => Sampling::mark(&message, self.platform.now().wall),
            false => None,
        };
        // A mark for which there is no room is left out: it must not cost the message.
        let sampled = sampled.filter(|sampled| self.admit(sampled).is_ok());
        if sampled.is_none()
            && let Err(reason) = self.admit(&message)
        {
            return Err(Refused { value: message, reason });
        }
        self.sampling.advance();
        let id = self.fresh_id();
        let expires = self.message_timeout.and_then(|timeout| lane::expiry(self.platform.now().mono, timeout));
        let mut message = sampled.unwrap_or(message);
        message.forget_how_it_came();
        self.telemetry.push(id, message, confirm, expires);
        self.stats.accepted += 1;
        Ok(id)
    }

    fn admit(&self, message: &Message) -> Result<(), RefusedReason> {
        if self.closing {
            return Err(RefusedReason::Closed);
        }
        if self.identity.module_id.is_none() && message.system(SystemProperty::OutputName).is_some() {
            return Err(Unsupported::ByDevice { what: "outputs" }.into());
        }
        self.transport.check(&Op::Telemetry(message))?;
        let bounds = self.telemetry.bounds();
        match self.telemetry.overflow(message.size()) {
            None => Ok(()),
            Some(Overflow::Count) => Err(RefusedReason::TooManyMessages { limit: bounds.count }),
            Some(Overflow::Bytes) => Err(RefusedReason::TooManyBytes { size: message.size(), limit: bounds.bytes }),
        }
    }

    /// Whether telemetry is on its way: `Busy` from acceptance to outcome.
    #[doc(alias = "IoTHubClient_LL_GetSendStatus")]
    #[doc(alias = "IoTHubDeviceClient_LL_GetSendStatus")]
    #[doc(alias = "IoTHubModuleClient_LL_GetSendStatus")]
    #[doc(alias = "IoTHubTransport_GetSendStatus")]
    pub fn send_status(&self) -> SendStatus {
        if self.telemetry.is_drained() { SendStatus::Idle } else { SendStatus::Busy }
    }

    /// Sets how long a message may take from `send_event` to the hub's confirmation; `None`, the default, is without
    /// limit. It applies to messages sent afterwards. A message is late *after* the time-out, not at it.
    #[doc(alias = "messageTimeout")]
    pub fn set_message_timeout(&mut self, timeout: Option<Duration>) {
        self.message_timeout = timeout;
    }
}
