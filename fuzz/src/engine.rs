//! What the targets of the client's transports have in common: a transport is used as the engine uses it, and its events keep
//! the rules of a connection's life.

use std::time::Duration;

use iothub_core::{Delivery, Disposition, Now, Op, OpId, Slot, Submit, Transport, TransportEvent};

use super::world::{self, FEATURES};

/// More than a slice may bring: a transport's own bound, and outcomes of what was submitted.
const MAX_EVENTS: usize = 4096;
/// Slices without a pause that one piece of input may take.
const MAX_SLICES: usize = 400;

/// What the script takes the connection for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Not connected, or not any more; nothing may happen.
    Idle,
    /// `connect` was called.
    Connecting,
    /// The hub has said yes.
    Connected,
}

/// A transport with one device, and what its user has of it.
pub(super) struct Engine<T> {
    transport: T,
    slot: Slot,
    token: String,
    now: Now,
    life: Life,
    deliveries: Vec<Delivery>,
    calls: Vec<Delivery>,
}

impl<T: Transport> Engine<T> {
    /// Subscribes to everything.
    pub(super) fn new(mut transport: T, slot: Slot, token: String) -> Self {
        transport.subscribe(slot, &FEATURES);
        let (deliveries, calls) = Default::default();
        Self { transport, slot, token, now: world::start(), life: Life::Idle, deliveries, calls }
    }

    pub(super) fn life(&self) -> Life {
        self.life
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Connects, when nothing is under way.
    pub(super) fn connect(&mut self) {
        assert_eq!(self.life, Life::Idle);
        self.life = Life::Connecting;
        self.transport.connect(self.slot, Some(&self.token), self.now);
    }

    pub(super) fn disconnect(&mut self) {
        self.transport.disconnect(self.slot, self.now);
    }

    /// Each of four bits is a feature that is wanted.
    pub(super) fn subscribe(&mut self, number: usize) {
        let wanted = FEATURES.iter().enumerate().filter(|(bit, _)| number >> bit & 1 == 1);
        let wanted: Vec<_> = wanted.map(|(_, feature)| *feature).collect();
        self.transport.subscribe(self.slot, &wanted);
    }

    pub(super) fn submit(&mut self, id: u64, op: Op<'_>) -> Submit {
        let submitted = self.transport.submit(self.slot, OpId(id), op, self.now);
        assert!(submitted != Submit::Taken || self.life == Life::Connected, "taken while {:?}", self.life);
        submitted
    }

    pub(super) fn forget(&mut self, id: u64) {
        self.transport.forget(self.slot, OpId(id));
    }

    /// A message that was received, and how it ends.
    pub(super) fn settlement(&mut self, number: usize) -> Option<(Delivery, Disposition)> {
        let disposition = [Disposition::Accept, Disposition::Abandon, Disposition::Accept, Disposition::Reject];
        Some((take(&mut self.deliveries, number / 4)?, disposition[number % 4]))
    }

    /// A call that was received, and its status.
    pub(super) fn response(&mut self, number: usize) -> Option<(Delivery, i32)> {
        Some((take(&mut self.calls, number)?, number as i32 - 100))
    }

    /// One slice, the `count`th in a row.
    pub(super) fn do_work(&mut self, count: usize) {
        assert!(count < MAX_SLICES, "after {count} slices there is still something to do, at the same time");
        self.transport.do_work(self.now);
    }

    /// Whether there is nothing to do now.
    pub(super) fn has_to_wait(&self) -> bool {
        self.transport.next_deadline().is_none_or(|due| due > self.now.mono)
    }

    /// Until the transport wants another slice. A connection always waits for something.
    pub(super) fn pause(&self) -> Duration {
        let due = self.transport.next_deadline();
        let due = due.unwrap_or_else(|| panic!("a session that is {:?} has to wait for something", self.life));
        due.saturating_duration_since(self.now.mono)
    }

    /// What has happened, as far as it is the target's to judge.
    pub(super) fn take_events(&mut self) -> Vec<TransportEvent> {
        let mut events = Vec::new();
        while let Some(event) = self.transport.poll_event(self.slot) {
            assert!(events.len() < MAX_EVENTS, "too many events of one slice");
            self.happened(&event);
            events.push(event);
        }
        events
    }

    fn happened(&mut self, event: &TransportEvent) {
        // `Disconnected` also answers a `disconnect` when there is nothing to disconnect.
        let is_answer = matches!(event, TransportEvent::Disconnected);
        let is_end = matches!(event, TransportEvent::Down(_)) || is_answer;
        match self.life {
            Life::Idle => assert!(is_answer, "{event:?} without a connection"),
            Life::Connecting => {
                let is_start = matches!(event, TransportEvent::Connected { .. });
                assert!(is_start || is_end, "{event:?} before the hub has said yes");
            }
            Life::Connected => assert!(!matches!(event, TransportEvent::Connected { .. }), "connected twice"),
        }
        match event {
            TransportEvent::Connected { .. } => self.life = Life::Connected,
            TransportEvent::Down(error) => {
                assert!(!error.to_string().contains(&self.token), "the token shows in {error}");
                self.life = Life::Idle;
            }
            TransportEvent::Disconnected => self.life = Life::Idle,
            TransportEvent::Message { delivery, .. } => self.deliveries.push(*delivery),
            TransportEvent::Method { delivery, .. } => self.calls.push(*delivery),
            _ => {}
        }
    }
}

/// Takes the `number`th, counted round and round.
fn take(deliveries: &mut Vec<Delivery>, number: usize) -> Option<Delivery> {
    let at = number % deliveries.len().max(1);
    (at < deliveries.len()).then(|| deliveries.remove(at))
}
