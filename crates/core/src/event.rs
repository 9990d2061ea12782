//! What the application hears, and the two ways in which it can be refused or disappointed.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::time::SystemTime;

use crate::edge::{InvocationError, InvokeError, MethodResponse};
use crate::incoming::IncomingMessage;
use crate::message::{Message, MessageError};
use crate::method::MethodRequest;
use crate::status::StatusChange;
use crate::transport::{Disposition, Feature, OpError, OpId, Unsupported};
use crate::twin::{PatchError, Reported, Twin, TwinError, TwinUpdate};

/// Something that happened and that no callback was set for.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The connection's state changed.
    Status(StatusChange),
    /// A message arrived: from the cloud, or to an input of a module.
    Message(IncomingMessage),
    /// The whole twin, or a change of its desired properties.
    Twin(TwinUpdate),
    /// A twin that was asked for with `get_twin_tracked`.
    TwinReceived {
        /// What `get_twin_tracked` returned.
        id: OpId,
        /// The twin, or why there is none.
        outcome: Result<Twin, TwinError>,
    },
    /// The hub's answer to `send_reported_state_tracked`.
    ReportedState {
        /// What `send_reported_state_tracked` returned.
        id: OpId,
        /// Stored, or why not.
        outcome: Result<Reported, TwinError>,
    },
    /// A direct method is called.
    Method(MethodRequest),
    /// The answer to a method that was called with `invoke_device_method_tracked` or `invoke_module_method_tracked`.
    MethodInvoked {
        /// What that function returned.
        id: OpId,
        /// The target's answer, or why there is none.
        outcome: Result<MethodResponse, InvokeError>,
    },
    /// The shared access signature that was given to the client expires soon: give it another with
    /// `set_shared_access_signature`, else it stops then.
    TokenExpiring {
        /// When it expires.
        at: SystemTime,
    },
    /// A message sent with `send_event_tracked` has its outcome.
    Confirmation {
        /// What `send_event_tracked` returned.
        id: OpId,
        /// Delivered, or why not.
        outcome: Result<(), Undelivered>,
    },
    /// The hub refused a subscription; what it is for will not arrive.
    SubscriptionRefused {
        /// Of what.
        feature: Feature,
        /// What the hub said.
        detail: String,
    },
    /// A message was completed or rejected after the connection that it came on was gone, so the hub was not told and
    /// delivers it again.
    StaleSettlement {
        /// The message's id, if it had one.
        message_id: Option<String>,
        /// How it was settled.
        disposition: Disposition,
    },
    /// A direct method was answered after the connection that the call came on was gone, so the caller was not told.
    StaleMethodResponse {
        /// The method's name.
        name: String,
        /// The status of the answer.
        status: i32,
    },
}

/// Something that was asked of the client and refused; the value comes back.
pub struct Refused<T> {
    /// What was to be done.
    pub value: T,
    /// Why it cannot be.
    pub reason: RefusedReason,
}

/// Why the client refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedReason {
    /// The client is closed.
    #[error("the client is closed: create another one")]
    Closed,
    /// The queue holds as many messages as it may.
    #[error("the queue holds {limit} messages, its limit: wait for confirmations, or raise `max_queued_messages`")]
    TooManyMessages {
        /// The limit.
        limit: usize,
    },
    /// The queue holds as many bytes as it may.
    #[error(
        "the message of {size} bytes does not fit: the queue's limit is {limit} bytes; wait for confirmations, or raise `max_queued_bytes`"
    )]
    TooManyBytes {
        /// The size of the message.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// As many twin requests are under way as may be.
    #[error("{limit} twin requests are under way, the limit: wait for their outcomes")]
    TooManyTwinRequests {
        /// The limit.
        limit: usize,
    },
    /// The message cannot be given a property that was asked for.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The reported properties cannot be sent.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// As many calls of methods are under way as may be.
    #[error("{limit} calls of methods are under way, the limit: wait for their outcomes")]
    TooManyInvocations {
        /// The limit.
        limit: usize,
    },
    /// The method cannot be called as it is.
    #[error(transparent)]
    Invocation(#[from] InvocationError),
    /// Only an Edge gateway takes calls of methods, and the client talks to the hub.
    #[error("methods are called through an Edge gateway, and this client has none: set GatewayHostName or `gateway`")]
    NoGateway,
    /// HTTPS is needed for this, beside the transport.
    #[error("{what} needs HTTPS: give `https` to the builder of the client")]
    NoHttps {
        /// What was asked for.
        what: &'static str,
    },
    /// The answer to a direct method is not JSON.
    #[error("the answer to a direct method must be JSON: {0}")]
    NotJson(String),
    /// The answer to a direct method is too large.
    #[error("the answer to a direct method has {size} bytes, the hub takes {limit}")]
    MethodResponseTooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The transport cannot carry it.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

// Written out, because a derive would ask `T: Debug` and print bodies.
impl<T> fmt::Debug for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<T> Error for Refused<T> {}

/// A message that was accepted, and could not be delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message was not delivered: {reason}")]
#[non_exhaustive]
pub struct Undelivered {
    /// The message, ready to be sent again.
    pub message: Message,
    /// Why.
    pub reason: UndeliveredReason,
    /// Whether it had been put on the wire, so that the hub may have it all the same.
    pub maybe_delivered: bool,
}

/// Why a message was not delivered.
#[doc(alias = "IOTHUB_CLIENT_CONFIRMATION_RESULT")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UndeliveredReason {
    /// The client was closed first.
    #[doc(alias = "IOTHUB_CLIENT_CONFIRMATION_BECAUSE_DESTROY")]
    #[error("the client was closed before the hub confirmed it")]
    Destroyed,
    /// Its time was up.
    #[doc(alias = "IOTHUB_CLIENT_CONFIRMATION_MESSAGE_TIMEOUT")]
    #[error("the hub did not confirm it within the message time-out")]
    TimedOut,
    /// The hub or the transport refused it.
    #[doc(alias = "IOTHUB_CLIENT_CONFIRMATION_ERROR")]
    #[error("{0}")]
    Rejected(String),
    /// The hub did not take it now, and may take the same message later: it throttles, a quota is used up, or it has trouble
    /// of its own. Send it again after a while. Over AMQP; over MQTT a hub that throttles drops the connection, and the
    /// client sends the message again by itself.
    #[error("{0}")]
    NotNow(String),
}

impl From<OpError> for UndeliveredReason {
    fn from(error: OpError) -> Self {
        match error {
            OpError::NotNow(_) => Self::NotNow(error.to_string()),
            _ => Self::Rejected(error.to_string()),
        }
    }
}

/// The most notices (answers that came too late, refused subscriptions, an expiring token) kept unread; older ones go,
/// and late answers remain counted in the statistics.
const MAX_NOTICES: usize = 100;

/// The most changes of the desired properties kept unread; more are replaced by the whole twin.
const MAX_TWIN_PATCHES: usize = 16;

/// Events that wait to be read. Bounded: status events coalesce per state, twin changes to the whole twin, notices are
/// capped, confirmations take room in their lanes, unread methods are limited, and unread messages stop their transport.
#[derive(Default)]
pub(crate) struct EventQueue {
    events: VecDeque<Event>,
    notices: usize,
    twin_patches: usize,
}

impl EventQueue {
    pub(crate) fn push(&mut self, event: Event) {
        let event = match event {
            Event::Status(change) => Event::Status(self.replace_same_state(change)),
            notice if is_notice(&notice) => {
                self.notices += 1;
                if self.notices > MAX_NOTICES {
                    self.remove_first(is_notice);
                    self.notices -= 1;
                }
                notice
            }
            other => other,
        };
        self.events.push_back(event);
    }

    /// Adds a twin update. `false` if too many changes wait to be read: they are gone, and the whole twin must come.
    pub(crate) fn push_twin(&mut self, update: TwinUpdate) -> bool {
        if matches!(update, TwinUpdate::Full(_)) || self.twin_patches == MAX_TWIN_PATCHES {
            // The whole twin stands for everything before it.
            self.events.retain(|event| !matches!(event, Event::Twin(_)));
            let overflow = matches!(update, TwinUpdate::Patch(_));
            self.twin_patches = 0;
            if overflow {
                return false;
            }
        } else {
            self.twin_patches += 1;
        }
        self.events.push_back(Event::Twin(update));
        true
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if is_notice(&event) {
            self.notices -= 1;
        }
        if matches!(event, Event::Twin(TwinUpdate::Patch(_))) {
            self.twin_patches -= 1;
        }
        Some(event)
    }

    /// Takes out an unread change to the same state, and counts it in the new one.
    fn replace_same_state(&mut self, mut change: StatusChange) -> StatusChange {
        let same = |event: &Event| matches!(event, Event::Status(old) if old.state == change.state);
        if let Some(Event::Status(old)) = self.remove_first(same) {
            change.replaced = old.replaced + 1;
        }
        change
    }

    fn remove_first(&mut self, matches: impl Fn(&Event) -> bool) -> Option<Event> {
        let at = self.events.iter().position(matches)?;
        self.events.remove(at)
    }
}

fn is_notice(event: &Event) -> bool {
    matches!(
        event,
        Event::StaleSettlement { .. }
            | Event::StaleMethodResponse { .. }
            | Event::SubscriptionRefused { .. }
            | Event::TokenExpiring { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{ConnectionState, ConnectionStatusReason};

    fn status(state: ConnectionState, attempt: u32) -> Event {
        let mut change = StatusChange::new(state, ConnectionStatusReason::NoNetwork);
        change.attempt = attempt;
        Event::Status(change)
    }

    #[test]
    fn unread_status_events_coalesce_per_state_and_keep_the_latest() {
        let mut queue = EventQueue::default();
        for attempt in 1..=1000 {
            queue.push(status(ConnectionState::Connecting, attempt));
            queue.push(status(ConnectionState::Waiting, attempt));
        }
        let mut read = Vec::new();
        while let Some(Event::Status(change)) = queue.pop() {
            read.push((change.state, change.attempt, change.replaced));
        }
        assert_eq!(read, [(ConnectionState::Connecting, 1000, 999), (ConnectionState::Waiting, 1000, 999)]);
    }

    #[test]
    fn unread_notices_are_capped() {
        let mut queue = EventQueue::default();
        for n in 0..=MAX_NOTICES {
            let message_id = Some(n.to_string());
            queue.push(Event::StaleSettlement { message_id, disposition: Disposition::Accept });
        }
        assert_eq!(queue.events.len(), MAX_NOTICES);
        assert!(matches!(queue.pop(), Some(Event::StaleSettlement { message_id: Some(id), .. }) if id == "1"));
    }
}
