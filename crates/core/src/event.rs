//! What the application hears, and the two ways in which it can be refused or disappointed.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;

use crate::incoming::IncomingMessage;
use crate::message::Message;
use crate::status::StatusChange;
use crate::transport::{Disposition, Feature, OpId, Unsupported};

/// Something that happened and that no callback was set for.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The connection's state changed.
    Status(StatusChange),
    /// A cloud-to-device message arrived.
    Message(IncomingMessage),
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
}

/// The most [`Event::StaleSettlement`] and [`Event::SubscriptionRefused`] events kept unread; older ones go, and
/// remain counted in the statistics.
const MAX_NOTICES: usize = 100;

/// Events that wait to be read. Bounded: status events coalesce per state, notices are capped, confirmations take
/// room in the telemetry queue, and unread messages stop their transport.
#[derive(Default)]
pub(crate) struct EventQueue {
    events: VecDeque<Event>,
    notices: usize,
}

impl EventQueue {
    pub(crate) fn push(&mut self, event: Event) {
        let event = match event {
            Event::Status(change) => Event::Status(self.replace_same_state(change)),
            Event::StaleSettlement { .. } | Event::SubscriptionRefused { .. } => {
                self.notices += 1;
                if self.notices > MAX_NOTICES {
                    self.remove_first(is_notice);
                    self.notices -= 1;
                }
                event
            }
            other => other,
        };
        self.events.push_back(event);
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if is_notice(&event) {
            self.notices -= 1;
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
    matches!(event, Event::StaleSettlement { .. } | Event::SubscriptionRefused { .. })
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
