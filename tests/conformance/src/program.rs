//! A program that runs as a device: a client, driven until something holds, and everything that it heard.
//!
//! Nothing here sleeps or measures. Whatever a behaviour waits for is an event; the limit is for a client that never
//! gets there, and then the report says what happened instead, on both sides.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use iothub_core::{
    Client, ConnectionState, ConnectionStatus, Device, Event, Face, IncomingMessage, Message, MethodRequest, OpId,
    Reported, StatusChange, Twin, TwinError, TwinUpdate, Undelivered, Waits, wait_any,
};
use iothub_emulator::{C2dMessage, C2dResult, Hub, WaitError, Who};

use crate::bench::DEVICE;

/// How long anything may take before the behaviour has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) type Outcome = Result<(), Undelivered>;

/// A client with the events that it has told so far. It dereferences to the client.
pub(crate) struct Program<K: Face = Device> {
    client: Client<K>,
    hub: Hub,
    /// Who the client is at the hub.
    who: Who<'static>,
    /// Changes of the connection's state, in order.
    pub(crate) statuses: Vec<StatusChange>,
    /// Messages that were received and not yet looked at.
    pub(crate) messages: VecDeque<IncomingMessage>,
    /// Outcomes of tracked messages, in order.
    pub(crate) confirmations: Vec<(OpId, Outcome)>,
    /// The whole twin and its changes, as far as they were not yet looked at.
    pub(crate) twins: VecDeque<TwinUpdate>,
    /// Twins that were asked for, in the order of the answers.
    pub(crate) fetched: Vec<(OpId, Result<Twin, TwinError>)>,
    /// Outcomes of tracked patches of the reported properties, in order.
    pub(crate) reports: Vec<(OpId, Result<Reported, TwinError>)>,
    /// Direct methods that were called and not yet looked at.
    pub(crate) calls: VecDeque<MethodRequest>,
    /// Refused subscriptions, stale answers, and tokens that expire.
    pub(crate) notices: Vec<Event>,
    /// Everything in words, for the report.
    heard: Vec<String>,
    round_trips: u32,
}

impl<K: Face> Program<K> {
    pub(crate) fn new(client: Client<K>, hub: Hub, who: Who<'static>) -> Self {
        Self {
            client,
            hub,
            who,
            statuses: Vec::new(),
            messages: VecDeque::new(),
            confirmations: Vec::new(),
            twins: VecDeque::new(),
            fetched: Vec::new(),
            reports: Vec::new(),
            calls: VecDeque::new(),
            notices: Vec::new(),
            heard: Vec::new(),
            round_trips: 0,
        }
    }

    /// One turn of the application's loop.
    pub(crate) fn turn(&mut self) {
        let told = self.statuses.len();
        self.client.do_work();
        self.listen();
        let coalesced = self.statuses[told..].iter().any(|change| change.replaced > 0);
        assert!(!coalesced, "a status event was lost although each turn reads them");
    }

    fn listen(&mut self) {
        while let Some(event) = self.client.next_event() {
            self.heard.push(in_words(&event));
            match event {
                Event::Status(change) => self.statuses.push(change),
                Event::Message(message) => self.messages.push_back(message),
                Event::Confirmation { id, outcome } => push_once(&mut self.confirmations, id, outcome),
                Event::Twin(update) => self.twins.push_back(update),
                Event::TwinReceived { id, outcome } => push_once(&mut self.fetched, id, outcome),
                Event::ReportedState { id, outcome } => push_once(&mut self.reports, id, outcome),
                Event::Method(call) => self.calls.push_back(call),
                notice => self.notices.push(notice),
            }
        }
    }

    /// Runs the program until `done` holds for what it heard.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        drive(&mut [self], what, |programs| done(programs[0]));
    }

    /// Runs the program until `done` holds for the hub.
    pub(crate) fn until_hub(&mut self, what: &str, done: impl FnMut(&Hub) -> bool + Send) {
        self.while_waiting(|hub| hub.wait_until(LIMIT, what, done));
    }

    /// Runs the program until the hub has stored this many messages of it.
    pub(crate) fn until_stored(&mut self, count: usize) {
        let who = self.who;
        self.while_waiting(|hub| hub.wait_for_telemetry(who, count, LIMIT).map(|_| ()));
    }

    /// Runs the program while another thread waits for the hub.
    fn while_waiting(&mut self, wait: impl FnOnce(&Hub) -> Result<(), WaitError> + Send) {
        let (hub, waker) = (self.hub.clone(), self.client.waker());
        let over = AtomicBool::new(false);
        let waited = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let waited = wait(&hub);
                over.store(true, Ordering::SeqCst);
                waker.wake_by_ref();
                waited
            });
            self.turn();
            while !over.load(Ordering::SeqCst) {
                self.client.wait(LIMIT);
                self.turn();
            }
            waiting.join().expect("the hub can be looked at")
        });
        waited.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Runs until connected, with every subscription granted.
    pub(crate) fn until_ready(&mut self) {
        self.until("the client is ready", |program| program.connection_state() == ConnectionState::Ready);
    }

    /// Runs until a change to this state was told that is not among the first `after` changes, and gives it.
    pub(crate) fn until_status(&mut self, state: ConnectionState, after: usize) -> StatusChange {
        let find = |program: &Self| program.statuses[after..].iter().find(|change| change.state == state).cloned();
        self.until(&format!("{state:?} is told"), |program| find(program).is_some());
        find(self).expect("it was told")
    }

    /// Runs until all of these have their outcome.
    pub(crate) fn until_confirmed(&mut self, ids: &[OpId]) {
        self.until(&format!("{} messages have their outcome", ids.len()), |program| {
            program.confirmations.len() >= ids.len() && ids.iter().all(|id| program.outcome(*id).is_some())
        });
    }

    /// The outcome of a tracked message, if it has one.
    pub(crate) fn outcome(&self, id: OpId) -> Option<&Outcome> {
        self.confirmations.iter().find(|(known, _)| *known == id).map(|(_, outcome)| outcome)
    }

    /// Sends a tracked message.
    pub(crate) fn send(&mut self, message: impl Into<Message>) -> OpId {
        self.send_event_tracked(message).expect("the message is in order, and the queue has room")
    }

    /// Sends a message and runs until the hub has confirmed it.
    pub(crate) fn deliver(&mut self, message: impl Into<Message>) -> OpId {
        let id = self.send(message);
        self.until_confirmed(&[id]);
        assert_eq!(self.outcome(id), Some(&Ok(())));
        id
    }

    /// Runs until a message has been received, and takes it.
    pub(crate) fn receive(&mut self) -> IncomingMessage {
        self.until("a message is received", |program| !program.messages.is_empty());
        self.messages.pop_front().expect("one was received")
    }

    /// Reports properties and runs until the hub has answered.
    pub(crate) fn report(&mut self, patch: &'static str) -> Result<Reported, TwinError> {
        let id = self.send_reported_state_tracked(patch).expect("the patch is in order, and the lane has room");
        self.until_reported(id)
    }

    /// Runs until these reported properties have their outcome, and gives it.
    pub(crate) fn until_reported(&mut self, id: OpId) -> Result<Reported, TwinError> {
        let find = |program: &Self| program.reports.iter().find(|(known, _)| *known == id).cloned();
        self.until("the hub answers a report", |program| find(program).is_some());
        find(self).expect("it did").1
    }

    /// Asks for the twin and runs until the hub has answered.
    pub(crate) fn fetch(&mut self) -> Result<Twin, TwinError> {
        let id = self.get_twin_tracked().expect("the transport has a twin, and the lane has room");
        let find = |program: &Self| program.fetched.iter().find(|(known, _)| *known == id).cloned();
        self.until("the hub answers with the twin", |program| find(program).is_some());
        find(self).expect("it did").1
    }

    /// Runs until the twin or a change of it was told, and takes it.
    pub(crate) fn receive_twin(&mut self) -> TwinUpdate {
        self.until("the twin is told", |program| !program.twins.is_empty());
        self.twins.pop_front().expect("one was told")
    }

    /// Runs until a direct method is called, and takes the call.
    pub(crate) fn receive_call(&mut self) -> MethodRequest {
        self.until("a method is called", |program| !program.calls.is_empty());
        self.calls.pop_front().expect("one was called")
    }

    /// Sends telemetry there and back: whatever either side did before has arrived afterwards.
    pub(crate) fn round_trip(&mut self) {
        self.round_trips += 1;
        self.deliver(format!("round trip {}", self.round_trips));
    }

    /// The states that were told so far.
    pub(crate) fn states(&self) -> Vec<ConnectionState> {
        self.statuses.iter().map(|change| change.state).collect()
    }

    /// Closes the client, with time to drain, and hears what that tells.
    pub(crate) fn close(&mut self) {
        self.close_within(LIMIT);
    }

    pub(crate) fn close_within(&mut self, limit: Duration) {
        self.client.close(limit);
        self.listen();
    }

    /// The end of a behaviour: the client closes, and on both sides nothing is left open.
    pub(crate) fn finish(mut self) {
        // A client that is not let in would try until the limit.
        let is_online = self.connection_state().status() == ConnectionStatus::Authenticated;
        self.close_within(if is_online { LIMIT } else { Duration::ZERO });
        assert_eq!(self.connection_state(), ConnectionState::Closed);
        let stats = self.stats();
        assert_eq!(stats.accepted, stats.delivered + stats.undelivered, "a message has no outcome, or two");
        let who = self.who;
        let ended = self.hub.wait_until(LIMIT, "the connection has ended", |hub| !hub.connected(who));
        ended.unwrap_or_else(|error| panic!("{error}"));
    }

    fn story(&self) -> String {
        let mut text = format!("\nThe client: {:?}, {:?}\n", self.client.connection_state(), self.client.stats());
        self.heard.iter().for_each(|event| text.extend(["  heard ", event, "\n"]));
        text.push_str("The hub:\n");
        for activity in self.hub.activity(self.who).iter().chain(&self.hub.unattributed_activity()) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {activity:?}");
        }
        let (device, who) = (self.who.device, self.who);
        let _ = writeln!(text, "  queue {:?} {:?}", self.hub.c2d_queue(device), self.hub.input_queue(who));
        let _ = writeln!(text, "  outcomes {:?} {:?}", self.hub.c2d_outcomes(device), self.hub.input_outcomes(who));
        let _ = writeln!(text, "  faults that did not happen: {}", self.hub.pending_faults());
        text
    }
}

impl Program {
    /// As [`round_trip`](Self::round_trip), with a message from the hub: for when telemetry is held up. The client must
    /// be subscribed.
    pub(crate) fn round_trip_from_hub(&mut self) {
        let id = self.hub.send_c2d(DEVICE, C2dMessage::new("round trip")).expect("the queue has room");
        let message = self.receive();
        assert_eq!(message.message_id(), Some(id.as_str()));
        message.complete();
        self.until_hub("the hub has the answer", |hub| {
            let outcomes = hub.c2d_outcomes(DEVICE);
            outcomes.iter().any(|outcome| outcome.message_id == id && outcome.result == C2dResult::Completed)
        });
    }
}

/// Runs programs side by side, on one thread, until `done` holds.
pub(crate) fn drive<K: Face>(
    programs: &mut [&mut Program<K>],
    what: &str,
    mut done: impl FnMut(&mut [&mut Program<K>]) -> bool,
) {
    let until = Instant::now() + LIMIT;
    loop {
        programs.iter_mut().for_each(|program| program.turn());
        if done(programs) {
            return;
        }
        let left = until.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "waited {LIMIT:?}, but not so: {what}");
        let mut clients: Vec<&mut dyn Waits> = Vec::new();
        programs.iter_mut().for_each(|program| clients.push(&mut program.client));
        wait_any(&mut clients, left);
    }
}

/// Everything that is tracked has one outcome.
fn push_once<T: std::fmt::Debug>(outcomes: &mut Vec<(OpId, T)>, id: OpId, outcome: T) {
    let twice = outcomes.iter().any(|(known, _)| *known == id);
    assert!(!twice, "{id:?} has a second outcome: {outcome:?}");
    outcomes.push((id, outcome));
}

fn in_words(event: &Event) -> String {
    match event {
        Event::Status(change) => {
            let error = change.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            format!("{:?} (attempt {}, next in {:?}){error}", change.state, change.attempt, change.next_attempt_in)
        }
        other => format!("{other:?}"),
    }
}

impl<K: Face> Deref for Program<K> {
    type Target = Client<K>;

    fn deref(&self) -> &Client<K> {
        &self.client
    }
}

impl<K: Face> DerefMut for Program<K> {
    fn deref_mut(&mut self) -> &mut Client<K> {
        &mut self.client
    }
}

/// A behaviour that fails, wherever it does, says what both sides saw.
impl<K: Face> Drop for Program<K> {
    #[expect(clippy::print_stderr, reason = "the report of a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.story());
        }
    }
}
