//! One registered device or module: what is under way for it, and what it has not yet been told.

use std::collections::{BTreeSet, VecDeque};
use std::task::Waker;
use std::time::Instant;

use iothub_core::{ConnectStage, Feature, OpId, Secret, TransportEvent};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::device::Command;
use crate::names::Names;
use crate::telemetry::Outgoing;

/// Where a member is.
pub(crate) enum State {
    Idle,
    /// It wants to connect, and the connection is not open yet.
    Waiting {
        token: Option<Secret>,
    },
    Running(Running),
    /// Its part is ending in order; `until` then it counts as ended.
    Leaving {
        #[expect(dead_code, reason = "dropping it ends the tasks")]
        part: Running,
        until: Instant,
    },
    /// Its part has ended in order, and the connection, which nobody else uses, is closing.
    Closing,
}

/// A member's tasks, as they are spoken to.
pub(crate) struct Running {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) messages: mpsc::UnboundedSender<Outgoing>,
    pub(crate) task: Option<AbortHandle>,
    /// Whether operations are taken.
    pub(crate) is_online: bool,
    /// Until when the hub must have answered, and what.
    pub(crate) awaits: Option<(Instant, ConnectStage)>,
}

impl Drop for Running {
    /// Ends the tasks where they are; their links and session say goodbye.
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

pub(crate) struct Member {
    pub(crate) names: Names,
    pub(crate) waker: Waker,
    pub(crate) wanted: Vec<Feature>,
    /// Counts its parts of connections; the generation of what it receives.
    pub(crate) run: u32,
    pub(crate) state: State,
    pub(crate) telemetry: BTreeSet<OpId>,
    pub(crate) twin: BTreeSet<OpId>,
    /// Settlements and answers to methods.
    pub(crate) answers: BTreeSet<OpId>,
    events: VecDeque<TransportEvent>,
}

impl Member {
    pub(crate) fn new(names: Names, waker: Waker) -> Self {
        Self {
            names,
            waker,
            wanted: Vec::new(),
            run: 0,
            state: State::Idle,
            telemetry: BTreeSet::new(),
            twin: BTreeSet::new(),
            answers: BTreeSet::new(),
            events: VecDeque::new(),
        }
    }

    /// Its part, if operations are taken.
    pub(crate) fn online(&self) -> Option<&Running> {
        match &self.state {
            State::Running(part) if part.is_online => Some(part),
            _ => None,
        }
    }

    /// The connection's loss, or its part's: what was submitted is lost.
    pub(crate) fn ends(&mut self, event: TransportEvent) {
        self.state = State::Idle;
        self.telemetry.clear();
        self.twin.clear();
        self.answers.clear();
        self.tell(event);
    }

    /// An operation has its outcome, or is given up; `false` if it was over already.
    pub(crate) fn is_over(&mut self, id: OpId) -> bool {
        self.telemetry.remove(&id) || self.twin.remove(&id) || self.answers.remove(&id)
    }

    /// Keeps an event for it.
    pub(crate) fn tell(&mut self, event: TransportEvent) {
        self.events.push_back(event);
        self.waker.wake_by_ref();
    }

    pub(crate) fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }
}
