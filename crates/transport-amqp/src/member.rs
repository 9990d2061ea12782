//! One registered device or module: what is under way for it, and what it has not yet been told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::task::Waker;
use std::time::{Duration, Instant};

use iothub_core::{ConnectStage, Feature, Now, OpError, OpId, Reply, Secret, TransportEvent};
use tokio::sync::{mpsc, oneshot};

use crate::device::Command;
use crate::names::Names;
use crate::outbox::{Clock, Outbox};
use crate::outlet::Wait;

/// How long a member's part may take to end in order.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// How many changes of the twin are kept for a client that does not ask for its events: more than the hub sends ahead.
const CHANGES: usize = 256;

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
    /// Dropping it ends the tasks, when the hub knows: what it still says must find its links.
    #[expect(dead_code, reason = "it is there to be dropped")]
    pub(crate) here: oneshot::Sender<Infallible>,
    /// Whether operations are taken.
    pub(crate) is_online: bool,
    /// Until when the hub must have done what, and the stage that it is of.
    pub(crate) awaits: BTreeMap<Wait, (Instant, ConnectStage)>,
}

/// What is late.
pub(crate) enum Late {
    /// The hub's answer at this stage.
    Stage(ConnectStage),
    /// The outcome of a message.
    Acknowledgement,
    /// The end of a part.
    Goodbye,
    /// It turns out that nothing is.
    Nothing,
}

/// How far a goodbye has come.
pub(crate) enum Goodbye {
    /// It is under way, or was before.
    UnderWay,
    /// There was a part, but nothing to take leave of.
    Nothing,
}

pub(crate) struct Member {
    pub(crate) names: Names,
    pub(crate) waker: Waker,
    pub(crate) wanted: Vec<Feature>,
    /// Counts its parts of connections; the generation of what it receives.
    pub(crate) run: u32,
    pub(crate) state: State,
    pub(crate) telemetry: Outbox,
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
            telemetry: Outbox::default(),
            twin: BTreeSet::new(),
            answers: BTreeSet::new(),
            events: VecDeque::new(),
        }
    }

    /// Waits for the connection.
    pub(crate) fn connect(&mut self, token: Option<&str>) {
        self.run = self.run.wrapping_add(1);
        self.state = State::Waiting { token: token.map(Secret::new) };
    }

    /// Its part, if operations are taken.
    pub(crate) fn online(&self) -> Option<&Running> {
        match &self.state {
            State::Running(part) if part.is_online => Some(part),
            _ => None,
        }
    }

    /// Tells its part what to do; `false` if there is none that takes operations.
    pub(crate) fn command(&self, command: Command) -> bool {
        self.online().is_some_and(|part| part.commands.send(command).is_ok())
    }

    /// What it wants to receive, from now on and on every connection.
    pub(crate) fn subscribe(&mut self, wanted: &[Feature]) {
        self.wanted = wanted.to_vec();
        if let State::Running(part) = &self.state {
            // A part that is gone says so by itself.
            let _ = part.commands.send(Command::Subscribe(wanted.to_vec()));
        }
    }

    /// Takes leave, as far as there is something to take leave of.
    pub(crate) fn leave(&mut self, now: Instant) -> Goodbye {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle | State::Waiting { .. } => self.ends(TransportEvent::Disconnected),
            State::Running(part) if part.is_online && part.commands.send(Command::Leave).is_ok() => {
                self.state = State::Leaving { part, until: now + LEAVE_TIMEOUT };
            }
            // Before it is online there is nothing to take leave of.
            State::Running(_) => return Goodbye::Nothing,
            leaving @ (State::Leaving { .. } | State::Closing) => self.state = leaving,
        }
        Goodbye::UnderWay
    }

    /// Its part waits for this until then, or no longer.
    pub(crate) fn awaits(&mut self, wait: Wait, until: Option<(Instant, ConnectStage)>) {
        if let State::Running(part) = &mut self.state {
            match until {
                Some(until) => drop(part.awaits.insert(wait, until)),
                None => drop(part.awaits.remove(&wait)),
            }
        }
    }

    /// When the hub must have answered.
    pub(crate) fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Running(part) => part.awaits.values().map(|(until, _)| *until).chain(self.telemetry.due()).min(),
            State::Leaving { until, .. } => Some(*until),
            State::Idle | State::Waiting { .. } | State::Closing => None,
        }
    }

    /// What is late, now that something is [`due`](Self::due).
    pub(crate) fn late(&mut self, clock: Clock, is_all_said: bool) -> Late {
        match &self.state {
            State::Running(part) => {
                let late = part.awaits.values().find(|(until, _)| *until <= clock.now).map(|(_, stage)| *stage);
                match late {
                    Some(stage) => Late::Stage(stage),
                    None if self.telemetry.is_late(clock, is_all_said) => Late::Acknowledgement,
                    None => Late::Nothing,
                }
            }
            State::Leaving { .. } => Late::Goodbye,
            _ => Late::Nothing,
        }
    }

    /// Takes what its part tells, unless it is about something that was given up.
    pub(crate) fn hear(&mut self, event: TransportEvent) {
        let State::Running(part) = &mut self.state else {
            // On the way out only outcomes matter.
            if let TransportEvent::Done { id, .. } = &event
                && matches!(self.state, State::Leaving { .. })
                && self.is_over(*id)
            {
                self.tell(event);
            }
            return;
        };
        match &event {
            TransportEvent::Connected { .. } => part.is_online = true,
            TransportEvent::Done { id, .. } if !self.is_over(*id) => return,
            TransportEvent::DesiredProperties(_) => self.drop_old_changes(),
            _ => {}
        }
        self.tell(event);
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
        self.twin.remove(&id) || self.answers.remove(&id)
    }

    /// The messages of a transfer have their outcome.
    pub(crate) fn sent(&mut self, messages: &[OpId], result: &Result<Reply, OpError>, now: Now) {
        for id in messages {
            if self.telemetry.settle(*id, now.mono) {
                if let Err(OpError::BatchRejected(_)) = result {
                    self.telemetry.send_alone(*id);
                }
                self.tell(TransportEvent::Done { id: *id, result: result.clone() });
            }
        }
    }

    /// Makes room for a change of the twin. Whoever misses one sees the gap in the versions, and fetches the whole.
    fn drop_old_changes(&mut self) {
        let is_change = |event: &TransportEvent| matches!(event, TransportEvent::DesiredProperties(_));
        if self.events.iter().filter(|event| is_change(event)).count() >= CHANGES
            && let Some(oldest) = self.events.iter().position(is_change)
        {
            self.events.remove(oldest);
        }
    }

    /// Keeps an event for it.
    fn tell(&mut self, event: TransportEvent) {
        self.events.push_back(event);
    }

    pub(crate) fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    pub(crate) fn events_waiting(&self) -> usize {
        self.events.len()
    }
}
