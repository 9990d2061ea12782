//! What an application can ask of a client, inside its callbacks as well as outside.

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use super::callbacks::{CallbackSlot, Callbacks, Completion, Confirm};
use super::connection::Connection;
use super::https::Https;
use super::invoke::Invocations;
use super::sampling::Sampling;
use super::stats::Stats;
use super::tokens::Tokens;
use super::twin_requests::TwinRequest;
use super::twin_sync::TwinSync;
use crate::answers::{Answer, Answers};
use crate::edge::{InvokeError, MethodResponse};
use crate::event::{Event, EventQueue, Undelivered};
use crate::identity::Identity;
use crate::incoming::IncomingMessage;
use crate::lane::Lane;
use crate::message::Message;
use crate::platform::{Now, Platform, Readiness};
use crate::status::{ConnectionState, StatusChange};
use crate::transport::{Feature, OpId, Slot, Transport, Unsupported};
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
    pub(super) identity: Identity,
    pub(super) platform: Box<dyn Platform>,
    pub(super) tokens: Tokens,
    pub(super) connection: Connection,
    pub(super) telemetry: Lane<Message, Confirm<K, Result<(), Undelivered>>>,
    /// Messages whose batch was refused: they go to the transport again, before anything new.
    pub(super) alone: VecDeque<OpId>,
    /// The transport's telemetry window was full when last tried, and nothing has happened since that makes room.
    pub(super) window_is_full: bool,
    /// The same for twin requests.
    pub(super) twin_is_full: bool,
    /// Something was submitted after the transport's last slice.
    pub(super) awaits_slice: bool,
    pub(super) twin_requests: Lane<TwinRequest<K>, ()>,
    pub(super) twin_sync: TwinSync,
    pub(super) invocations: Invocations<K>,
    pub(super) https: Https,
    pub(super) answers: Arc<Answers>,
    pub(super) waiting_answers: VecDeque<Answer>,
    pub(super) submitted_answers: BTreeMap<OpId, Answer>,
    pub(super) wanted: Vec<Feature>,
    pub(super) callbacks: Callbacks<K>,
    /// Messages to inputs without a callback were asked for as events.
    pub(super) unclaimed_inputs_are_events: bool,
    /// Messages to inputs without a callback, for who sets one later; undecided, and at most [`MAX_UNCLAIMED`].
    ///
    /// [`MAX_UNCLAIMED`]: super::inputs::MAX_UNCLAIMED
    pub(super) unclaimed: Vec<IncomingMessage>,
    pub(super) due: VecDeque<Due<K>>,
    pub(super) events: EventQueue,
    pub(super) last_id: u64,
    pub(super) sampling: Sampling,
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
    Invoked(Completion<K, Result<MethodResponse, InvokeError>>, Result<MethodResponse, InvokeError>),
}

impl<K> Outbox<K> {
    pub(super) fn fresh_id(&mut self) -> OpId {
        self.last_id += 1;
        OpId(self.last_id)
    }

    /// Asks to receive something without setting a callback for it: it comes through [`next_event`](Self::next_event).
    ///
    /// The subscription holds across reconnects. If the hub refuses it, [`Event::SubscriptionRefused`] says so.
    ///
    /// [`Feature::DesiredProperties`] delivers the whole twin first.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] if the transport does not have the feature: cloud-to-device messages are for devices, inputs for
    /// modules.
    pub fn subscribe(&mut self, feature: Feature) -> Result<(), Unsupported> {
        self.want(feature)?;
        if feature == Feature::Inputs {
            self.unclaimed_inputs_are_events = true;
            self.claim(|_| true);
        }
        Ok(())
    }

    pub(super) fn want(&mut self, feature: Feature) -> Result<(), Unsupported> {
        match (feature, self.identity.module_id.is_some()) {
            (Feature::CloudToDevice, true) => return Err(Unsupported::ByModule { feature }),
            (Feature::Inputs, false) => return Err(Unsupported::ByDevice { what: "inputs" }),
            _ => {}
        }
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
            self.want(Feature::Twin)?;
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
        if feature == Feature::Inputs {
            self.unclaimed_inputs_are_events = false;
            self.unclaimed.clear();
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
    #[doc(alias = "IoTHubModuleClient_LL_SetConnectionStatusCallback")]
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

    /// Connects at the next `do_work`, if the client waits for its next attempt or has stopped.
    pub fn reconnect(&mut self) {
        self.connection.reconnect();
    }

    /// When the last message arrived, from the cloud or to an input; `None` if there was none.
    #[doc(alias = "IoTHubClient_LL_GetLastMessageReceiveTime")]
    #[doc(alias = "IoTHubDeviceClient_LL_GetLastMessageReceiveTime")]
    #[doc(alias = "IoTHubModuleClient_LL_GetLastMessageReceiveTime")]
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
            Event::MethodInvoked { outcome, .. } => self.invocations.release(outcome),
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
        let can_submit = self.connection.is_online()
            && !self.window_is_full
            && (self.telemetry.has_waiting() || !self.alone.is_empty());
        let can_request = self.connection.is_ready() && !self.twin_is_full && self.has_twin_work(now);
        let renews = self.renewal_wanted && self.connection.is_online() && !self.tokens.is_awaited();
        [
            (can_submit || can_request || renews || self.awaits_slice || !self.due.is_empty()).then_some(now),
            self.connection.attempt_due(now),
            self.connection.drain_until(),
            self.tokens.awaited_until(),
            self.tokens.next_duty_in(wall).and_then(|duty| now.checked_add(duty)),
            self.telemetry.next_expiry(),
            self.twin_deadline(),
            self.invocations_deadline(Now { mono: now, wall }),
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
            self.tokens.readiness(out);
            self.https.readiness(out);
        }
    }
}
