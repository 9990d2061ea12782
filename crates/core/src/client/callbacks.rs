//! The callbacks that an application has set, and the rule for replacing one while it runs.

use super::inputs::InputCallbacks;
use super::outbox::Outbox;
use crate::incoming::IncomingMessage;
use crate::method::MethodRequest;
use crate::status::StatusChange;
use crate::twin::TwinUpdate;

/// Called for each event of a kind.
pub(super) type Callback<K, E> = Box<dyn FnMut(E, &mut Outbox<K>) + Send>;

/// Called once, with the outcome of an operation.
pub(super) type Completion<K, O> = Box<dyn FnOnce(O, &mut Outbox<K>) + Send>;

/// Who is told about the outcome of an operation.
pub(super) enum Confirm<K, O> {
    Nobody,
    Callback(Completion<K, O>),
    Event,
}

pub(super) struct Callbacks<K> {
    pub(super) status: CallbackSlot<Callback<K, StatusChange>>,
    /// For cloud-to-device messages, or for inputs without a callback of their own.
    pub(super) message: CallbackSlot<Callback<K, IncomingMessage>>,
    pub(super) inputs: InputCallbacks<K>,
    pub(super) twin: CallbackSlot<Callback<K, TwinUpdate>>,
    pub(super) method: CallbackSlot<Callback<K, MethodRequest>>,
}

impl<K> Default for Callbacks<K> {
    fn default() -> Self {
        Self {
            status: CallbackSlot::Empty,
            message: CallbackSlot::Empty,
            inputs: InputCallbacks::new(),
            twin: CallbackSlot::Empty,
            method: CallbackSlot::Empty,
        }
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
