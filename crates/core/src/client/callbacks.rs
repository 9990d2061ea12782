//! The callbacks that an application has set, and the rule for replacing one while it runs.

use super::outbox::Outbox;
use crate::event::Undelivered;
use crate::incoming::IncomingMessage;
use crate::status::StatusChange;

pub(super) type StatusCallback<K> = Box<dyn FnMut(StatusChange, &mut Outbox<K>) + Send>;
pub(super) type MessageCallback<K> = Box<dyn FnMut(IncomingMessage, &mut Outbox<K>) + Send>;
pub(super) type ConfirmationCallback<K> = Box<dyn FnOnce(Result<(), Undelivered>, &mut Outbox<K>) + Send>;

/// Who is told about the outcome of a message.
pub(super) enum Confirm<K> {
    Nobody,
    Callback(ConfirmationCallback<K>),
    Event,
}

pub(super) struct Callbacks<K> {
    pub(super) status: CallbackSlot<StatusCallback<K>>,
    pub(super) message: CallbackSlot<MessageCallback<K>>,
}

impl<K> Default for Callbacks<K> {
    fn default() -> Self {
        Self { status: CallbackSlot::Empty, message: CallbackSlot::Empty }
    }
}

/// A place for one callback. A running callback is outside of its slot, so that it can replace or clear itself.
#[derive(Default)]
pub(super) enum CallbackSlot<F> {
    #[default]
    Empty,
    Set(F),
    Running,
}

impl<F> CallbackSlot<F> {
    /// Takes the callback out to run it.
    pub(super) fn start(&mut self) -> Option<F> {
        match std::mem::replace(self, Self::Running) {
            Self::Set(callback) => Some(callback),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Puts it back, unless it was replaced or cleared meanwhile.
    pub(super) fn finish(&mut self, callback: F) {
        if matches!(self, Self::Running) {
            *self = Self::Set(callback);
        }
    }
}
