//! What an application can ask of a client, inside its callbacks as well as outside.

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use super::callbacks::{CallbackSlot, Callbacks, Completion, Confirm};
use super::connection::Connection;
use super::stats::Stats;
use super::tokens::Tokens;
use super::twin_requests::TwinRequest;
use super::twin_sync::TwinSync;
use crate::answers::{Answer, Answers};
use crate::credential::CredentialError;
use crate::event::{Event, EventQueue, Refused, RefusedReason, Undelivered};
use crate::incoming::IncomingMessage;
use crate::lane::{self, Lane, Overflow};
use crate::limits::MIN_TOKEN_LIFETIME_SECS;
use crate::message::Message;
use crate::options::{ClientOption, OptionError};
use crate::platform::{Now, Platform, Readiness};
use crate::retry::RetryConfig;
use crate::secret::Secret;
use crate::status::{ConnectionState, SendStatus, StatusChange};
use crate::transport::{Feature, Op, OpId, Slot, Transport, Unsupported};
use crate::twin::{Reported, Twin, TwinError};

/// The part of a client that callbacks may use: it sends, subscribes and asks, and every call returns at once.
///
/// A [`Client`](super::Client) dereferences to it. What blocks or drives, `do_work`, `wait` and `close`, is not here, so
/// that a callback cannot call it; nor can it drop the client that is calling it:
///
/// ```compile_fail,E0599
/// # fn run(client: &mut iothub_core::DeviceClient) {
/// client.set_message_callback(|message, outbox| outbox.do_work());
/// # }
/// ```
///
/// ```compile_fail,E0599
/// # fn run(client: &mut iothub_core::DeviceClient) {
/// client.set_message_callback(|message, outbox| outbox.wait(std::time::Duration::ZERO));
/// # }
/// ```
///
/// ```compile_fail,E0599
/// # fn run(client: &mut iothub_core::DeviceClient) {
/// client.set_message_callback(|message, outbox| outbox.close(std::time::Duration::ZERO));
/// # }
/// ```
///
/// ```compile_fail,E0505
/// # fn run(mut client: iothub_core::DeviceClient) {
/// client.set_message_callback(|message, outbox| drop(client));
/// # }
/// ```
pub struct Outbox<K> {
    pub(super) transport: Box<dyn Transport>,
    pub(super) slot: Slot,
    pub(super) platform: Box<dyn Platform>,
    pub(super) tokens: Tokens,
    pub(super) connection: Connection,
    pub(super) telemetry: Lane<Message, Confirm<K, Result<(), Undelivered>>>,
    /// The transport's telemetry window was full when last tried, and nothing has happened since that makes room.
    pub(super) window_is_full: bool,
    /// The same for twin requests.
    pub(super) twin_is_full: bool,
    /// Something was submitted after the transport's last slice.
    pub(super) awaits_slice: bool,
    pub(super) twin_requests: Lane<TwinRequest<K>, ()>,
    pub(super) twin_sync: TwinSync,
    pub(super) answers: Arc<Answers>,
    pub(super) waiting_answers: VecDeque<Answer>,
    pub(super) submitted_answers: BTreeMap<OpId, Answer>,
    pub(super) wanted: Vec<Feature>,
    pub(super) callbacks: Callbacks<K>,
    pub(super) due: VecDeque<Due<K>>,
    pub(super) events: EventQueue,
    pub(super) last_id: u64,
    pub(super) message_timeout: Option<Duration>,
    pub(super) last_message: Option<SystemTime>,
    pub(super) stats: Stats,
    /// The token of the connection is to be replaced.
    pub(super) renewal_wanted: bool,
    /// `close` has begun: new work is refused.
    pub(super) closing: bool,
    pub(super) kind: PhantomData<fn(K)>,
}

/// Something to tell the application at the end of `do_work`.
pub(super) enum Due<K> {
    Event(Event),
    Confirmation(Completion<K, Result<(), Undelivered>>, Result<(), Undelivered>),
    Twin(Completion<K, Result<Twin, TwinError>>, Result<Twin, TwinError>),
    Reported(Completion<K, Result<Reported, TwinError>>, Result<Reported, TwinError>),
}

impl<K> Outbox<K> {
    /// Queues a message for the hub. Its outcome is counted in [`stats`](Self::stats) and told to nobody.
    ///
    /// The message is sent in `do_work`, in order, and again after a lost connection until the hub has confirmed it, so it
    /// arrives at least once.
    ///
    /// # Errors
    ///
    /// [`Refused`] hands the message back when the client is closed, the queue is full, or the transport cannot carry
    /// the message.
    #[doc(alias = "IoTHubClient_LL_SendEventAsync")]
    #[doc(alias = "IoTHubDeviceClient_LL_SendEventAsync")]
    #[doc(alias = "IoTHubDeviceClient_LL_SendTelemetryAsync")]
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

    /// Queues a message as [`send_event`](Self::send_event); the outcome comes as [`Event::Confirmation`] with the id
    /// that is returned here. An unread confirmation takes the room of a message in the queue.
    pub fn send_event_tracked(&mut self, message: impl Into<Message>) -> Result<OpId, Refused<Message>> {
        self.enqueue(message.into(), Confirm::Event)
    }

    fn enqueue(
        &mut self,
        message: Message,
        confirm: Confirm<K, Result<(), Undelivered>>,
    ) -> Result<OpId, Refused<Message>> {
        if let Err(reason) = self.admit(&message) {
            return Err(Refused { value: message, reason });
        }
        let id = self.fresh_id();
        let expires = self.message_timeout.and_then(|timeout| lane::expiry(self.platform.now().mono, timeout));
        self.telemetry.push(id, message, confirm, expires);
        self.stats.accepted += 1;
        Ok(id)
    }

    fn admit(&self, message: &Message) -> Result<(), RefusedReason> {
        if self.closing {
            return Err(RefusedReason::Closed);
        }
        self.transport.check(&Op::Telemetry(message))?;
        let bounds = self.telemetry.bounds();
        match self.telemetry.overflow(message.size()) {
            None => Ok(()),
            Some(Overflow::Count) => Err(RefusedReason::TooManyMessages { limit: bounds.count }),
            Some(Overflow::Bytes) => Err(RefusedReason::TooManyBytes { size: message.size(), limit: bounds.bytes }),
        }
    }

    pub(super) fn fresh_id(&mut self) -> OpId {
        self.last_id += 1;
        OpId(self.last_id)
    }

    /// Whether telemetry is on its way: `Busy` from acceptance to outcome.
    #[doc(alias = "IoTHubClient_LL_GetSendStatus")]
    #[doc(alias = "IoTHubDeviceClient_LL_GetSendStatus")]
    pub fn send_status(&self) -> SendStatus {
        if self.telemetry.is_drained() { SendStatus::Idle } else { SendStatus::Busy }
    }

    /// Sets how long a message may take from `send_event` to the hub's confirmation; `None`, the default, is without
    /// limit. It applies to messages sent afterwards. A message is late *after* the time-out, not at it.
    #[doc(alias = "messageTimeout")]
    pub fn set_message_timeout(&mut self, timeout: Option<Duration>) {
        self.message_timeout = timeout;
    }

    /// Receives cloud-to-device messages, and calls back with each from within `do_work`. A callback that is set
    /// already is replaced.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] if the transport has no cloud-to-device messages; a callback that was set stays.
    #[doc(alias = "IoTHubClient_LL_SetMessageCallback")]
    #[doc(alias = "IoTHubDeviceClient_LL_SetMessageCallback")]
    pub fn set_message_callback(
        &mut self,
        callback: impl FnMut(IncomingMessage, &mut Outbox<K>) + Send + 'static,
    ) -> Result<(), Unsupported> {
        self.subscribe(Feature::CloudToDevice)?;
        self.callbacks.message = CallbackSlot::Set(Box::new(callback));
        Ok(())
    }

    /// Removes the callback and stops receiving cloud-to-device messages; the hub keeps them for later.
    pub fn clear_message_callback(&mut self) {
        self.callbacks.message = CallbackSlot::Empty;
        self.unsubscribe(Feature::CloudToDevice);
    }

    /// Asks to receive something without setting a callback for it: it comes through [`next_event`](Self::next_event).
    ///
    /// The subscription holds across reconnects. If the hub refuses it, [`Event::SubscriptionRefused`] says so.
    ///
    /// [`Feature::DesiredProperties`] delivers the whole twin first.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] if the transport does not have the feature.
    pub fn subscribe(&mut self, feature: Feature) -> Result<(), Unsupported> {
        let capabilities = self.transport.capabilities();
        if !capabilities.features.contains(&feature) {
            return Err(Unsupported::Feature { feature, transport: capabilities.name });
        }
        if self.wanted.contains(&feature) {
            return Ok(());
        }
        self.wanted.push(feature);
        if feature == Feature::DesiredProperties {
            // The whole twin comes as the answer to a request.
            self.subscribe(Feature::Twin)?;
            self.fetch_twin_anew();
        }
        self.transport.subscribe(self.slot, &self.wanted);
        Ok(())
    }

    /// Stops receiving it.
    pub fn unsubscribe(&mut self, feature: Feature) {
        if feature == Feature::DesiredProperties {
            self.forget_twin_request();
            self.twin_sync.stop();
        }
        let before = self.wanted.len();
        self.wanted.retain(|wanted| *wanted != feature);
        if self.wanted.len() < before {
            self.transport.subscribe(self.slot, &self.wanted);
        }
    }

    /// Calls back with each change of the connection's state from within `do_work` or `close`. The present state is
    /// not told; ask [`connection_state`](Self::connection_state).
    #[doc(alias = "IoTHubClient_LL_SetConnectionStatusCallback")]
    #[doc(alias = "IoTHubDeviceClient_LL_SetConnectionStatusCallback")]
    pub fn set_connection_status_callback(
        &mut self,
        callback: impl FnMut(StatusChange, &mut Outbox<K>) + Send + 'static,
    ) {
        self.callbacks.status = CallbackSlot::Set(Box::new(callback));
    }

    /// Removes the callback; changes come through [`next_event`](Self::next_event) again.
    pub fn clear_connection_status_callback(&mut self) {
        self.callbacks.status = CallbackSlot::Empty;
    }

    /// Where the connection is in its life.
    pub fn connection_state(&self) -> ConnectionState {
        self.connection.state()
    }

    /// Replaces the retry policy with all its parameters. A client that waits for its next attempt, or has stopped,
    /// tries again at once.
    #[doc(alias = "IoTHubClient_LL_SetRetryPolicy")]
    #[doc(alias = "IoTHubDeviceClient_LL_SetRetryPolicy")]
    pub fn set_retry_policy(&mut self, config: impl Into<RetryConfig>) {
        self.connection.set_retry(config.into());
    }

    /// The retry policy in force.
    #[doc(alias = "IoTHubClient_LL_GetRetryPolicy")]
    #[doc(alias = "IoTHubDeviceClient_LL_GetRetryPolicy")]
    pub fn retry_policy(&self) -> &RetryConfig {
        self.connection.retry_config()
    }

    /// Connects at the next `do_work`, if the client waits for its next attempt or has stopped.
    pub fn reconnect(&mut self) {
        self.connection.reconnect();
    }

    /// Puts another shared access signature in place of the one that the client was given, and connects with it: at once
    /// if the client had stopped because the old one expired, else by a planned renewal.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] if the text is no token, or the client uses a key or a certificate.
    pub fn set_shared_access_signature(&mut self, token: impl Into<String>) -> Result<(), CredentialError> {
        self.tokens.replace(Secret::new(token))?;
        self.renewal_wanted = true;
        self.connection.reconnect();
        Ok(())
    }

    /// Sets an option. See [`ClientOption`] for ranges and for when each takes effect.
    ///
    /// # Errors
    ///
    /// [`OptionError`] names the option that is out of range or that the transport does not have.
    #[doc(alias = "IoTHubClient_LL_SetOption")]
    #[doc(alias = "IoTHubDeviceClient_LL_SetOption")]
    pub fn set_option(&mut self, option: ClientOption) -> Result<(), OptionError> {
        let range = |option, value: Duration, allowed| {
            Err(OptionError::Range { option, value: format!("{} s", value.as_secs_f64()), allowed })
        };
        let retry = *self.connection.retry_config();
        match option {
            ClientOption::MessageTimeout(timeout) => self.message_timeout = timeout,
            ClientOption::TokenLifetime(life) if life < Duration::from_secs(MIN_TOKEN_LIFETIME_SECS) => {
                return range("sas_token_lifetime", life, "at least 5 s");
            }
            ClientOption::TokenLifetime(life) => self.tokens.set_lifetime(life),
            ClientOption::RetryInterval(delay) if delay < Duration::from_secs(1) => {
                return range("retry_interval_sec", delay, "at least 1 s");
            }
            ClientOption::RetryInterval(delay) => self.connection.adjust_retry(retry.with_initial_delay(delay)),
            ClientOption::RetryMaxDelay(delay) if delay < retry.initial_delay => {
                return range("retry_max_delay_secs", delay, "at least the retry interval");
            }
            ClientOption::RetryMaxDelay(delay) => self.connection.adjust_retry(retry.with_max_delay(delay)),
            ClientOption::Transport(option) => self.transport.set_option(&option)?,
        }
        Ok(())
    }

    /// When the last cloud-to-device message arrived; `None` if there was none.
    #[doc(alias = "IoTHubClient_LL_GetLastMessageReceiveTime")]
    #[doc(alias = "IoTHubDeviceClient_LL_GetLastMessageReceiveTime")]
    pub fn last_message_receive_time(&self) -> Option<SystemTime> {
        self.last_message
    }

    /// Takes the oldest event that no callback was set for.
    pub fn next_event(&mut self) -> Option<Event> {
        let event = self.events.pop()?;
        match &event {
            Event::Confirmation { outcome, .. } => {
                let bytes = outcome.as_ref().err().map_or(0, |undelivered| undelivered.message.size());
                self.telemetry.release_confirmation(bytes);
            }
            Event::TwinReceived { outcome, .. } => {
                self.twin_requests.release_confirmation(outcome.as_ref().map_or(0, |twin| twin.json().len()));
            }
            Event::ReportedState { .. } => self.twin_requests.release_confirmation(0),
            _ => {}
        }
        Some(event)
    }

    /// What the client has done so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// A handle that ends a `wait` from any thread.
    pub fn waker(&self) -> Waker {
        self.platform.waker()
    }

    /// When `do_work` should be called next even if no descriptor becomes ready; a time in the past means now, `None`
    /// means that only a descriptor or the application can bring work.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.connection.is_closed() {
            return None;
        }
        let Now { mono: now, wall } = self.platform.now();
        let can_submit = self.connection.is_online() && self.telemetry.has_waiting() && !self.window_is_full;
        let can_request = self.connection.is_ready() && !self.twin_is_full && self.has_twin_work(now);
        let renews = self.renewal_wanted && self.connection.is_online();
        [
            (can_submit || can_request || renews || self.awaits_slice).then_some(now),
            self.connection.attempt_due(now),
            self.connection.drain_until(),
            self.tokens.next_duty_in(wall).and_then(|duty| now.checked_add(duty)),
            self.telemetry.next_expiry(),
            self.twin_deadline(),
            self.transport.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Adds the descriptors to watch between two calls of `do_work`, the waker's among them: for an application that
    /// has a poller of its own. They change with the connection, so ask before each wait.
    pub fn readiness(&self, out: &mut Vec<Readiness>) {
        self.platform.readiness(out);
        if !self.connection.is_closed() {
            self.transport.readiness(out);
        }
    }
}
