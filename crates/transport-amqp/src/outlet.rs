//! What the tasks tell `do_work`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use iothub_core::{ConnectStage, ConnectionErrorKind, OpError, OpId, Reply, Slot, TransportEvent};

/// Something that a task has seen.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The connection is open.
    Open,
    /// The connection is over; `None` if that was asked for.
    Closed(Option<ConnectionErrorKind>),
    /// Tokens wait for credit, or no longer do.
    TokensWait(bool),
    /// Something of a device's part, in its present run.
    Device { slot: Slot, run: u32, what: OfDevice },
}

/// What a device's part waits for the hub to do. Each has a time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wait {
    /// The answer to a token.
    Token,
    /// The session, or a link that is to be attached.
    Links,
    /// The answer to the subscription to the twin's changes.
    Changes,
    /// Credit for twin requests.
    TwinCredit,
    /// Credit for the answers to methods.
    AnswerCredit,
}

#[derive(Debug)]
pub(crate) enum OfDevice {
    /// The next answer of the hub, to this, may take its time from now.
    Stage(Wait, ConnectStage),
    /// It is there, or nobody waits for it any more.
    Settled(Wait),
    Event(TransportEvent),
    /// The messages of a transfer have their outcome.
    Sent {
        messages: Vec<OpId>,
        result: Result<Reply, OpError>,
    },
    /// The device's part is over.
    Down(ConnectionErrorKind),
    /// The device's part was ended in order.
    Left,
}

/// The queue of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue(Arc<Mutex<(VecDeque<Seen>, u64)>>);

impl Queue {
    pub(crate) fn put(&self, seen: Seen) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.0.push_back(seen);
        queue.1 += 1;
    }

    pub(crate) fn take(&self) -> Option<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.pop_front()
    }

    /// Lets the other tasks do what they have to do. Each round counts as progress, so that a slice does not end meanwhile.
    pub(crate) async fn pause(&self) {
        for _ in 0..4 {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).1 += 1;
            tokio::task::yield_now().await;
        }
    }

    /// Counts what was put, and pauses.
    pub(crate) fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// The end at which one device's tasks speak.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    pub(crate) queue: Queue,
    pub(crate) slot: Slot,
    pub(crate) run: u32,
}

impl Outlet {
    pub(crate) fn tell(&self, what: OfDevice) {
        self.queue.put(Seen::Device { slot: self.slot, run: self.run, what });
    }

    /// The part waits for this from now on, or no longer.
    pub(crate) fn waits(&self, wait: Wait, waits: bool) {
        self.tell(if waits { OfDevice::Stage(wait, ConnectStage::Subscribe) } else { OfDevice::Settled(wait) });
    }

    pub(crate) fn event(&self, event: TransportEvent) {
        self.tell(OfDevice::Event(event));
    }

    pub(crate) fn sent(&self, messages: Vec<OpId>, result: Result<Reply, OpError>) {
        self.tell(OfDevice::Sent { messages, result });
    }

    pub(crate) fn done(&self, id: OpId, result: Result<Reply, OpError>) {
        self.event(TransportEvent::Done { id, result });
    }
}
