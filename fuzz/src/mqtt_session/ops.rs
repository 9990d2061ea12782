//! What was submitted, and what has become of it.

use std::collections::BTreeMap;

use iothub_core::{Delivery, Disposition, OpError, Reply, Submit};

/// What an operation is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Telemetry { filler: usize },
    TwinGet,
    TwinReport(Vec<u8>),
    Settle { delivery: Delivery, disposition: Disposition },
    Response { delivery: Delivery, status: i32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// With the transport.
    Submitted,
    /// The connection ended first; it may be submitted again.
    Lost,
    /// It has its outcome, or never gets one.
    Over,
    Forgotten,
}

struct Operation {
    kind: Kind,
    state: State,
    submissions: usize,
}

#[derive(Default)]
pub(super) struct Ops {
    all: BTreeMap<u64, Operation>,
    last: u64,
    /// Packet identifiers under which telemetry was seen whole on the wire, in this session of the hub.
    seen: BTreeMap<u64, u16>,
}

impl Ops {
    pub(super) fn fresh_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(super) fn submitted(&mut self, id: u64, kind: Kind, submitted: &Submit) {
        let earlier = self.all.get(&id).map_or(0, |operation| operation.submissions);
        let state = match submitted {
            Submit::Taken => State::Submitted,
            // Nothing follows of either; one that was lost before stays so until it is taken.
            Submit::Full if earlier > 0 => return,
            _ => State::Over,
        };
        let submissions = earlier + usize::from(*submitted == Submit::Taken);
        self.all.insert(id, Operation { kind, state, submissions });
    }

    /// The lost operation that is the `number`th.
    pub(super) fn lost(&self, number: usize) -> Option<(u64, Kind)> {
        let lost: Vec<_> = self.all.iter().filter(|(_, operation)| operation.state == State::Lost).collect();
        let (id, operation) = lost.get(number % lost.len().max(1))?;
        Some((**id, operation.kind.clone()))
    }

    /// Forgets the `number`th that is lost or with the transport.
    pub(super) fn forget(&mut self, number: usize) -> Option<u64> {
        let open = |operation: &Operation| matches!(operation.state, State::Lost | State::Submitted);
        let ids: Vec<u64> = self.all.iter().filter(|(_, operation)| open(operation)).map(|(id, _)| *id).collect();
        let id = *ids.get(number % ids.len().max(1))?;
        self.all.get_mut(&id)?.state = State::Forgotten;
        self.seen.remove(&id);
        Some(id)
    }

    pub(super) fn done(&mut self, id: u64, result: &Result<Reply, OpError>) {
        let operation = self.all.get_mut(&id).unwrap_or_else(|| panic!("an outcome of {id}, which nobody submitted"));
        assert_eq!(operation.state, State::Submitted, "an outcome of {id}, a {:?}: {result:?}", operation.kind);
        operation.state = State::Over;
        self.seen.remove(&id);
        match (&operation.kind, result) {
            (Kind::TwinGet, Ok(Reply::Twin(_))) | (Kind::TwinReport(_), Ok(Reply::Reported { .. })) => {}
            (Kind::TwinGet | Kind::TwinReport(_), Err(OpError::Status { .. })) => {}
            (Kind::Telemetry { .. } | Kind::Settle { .. } | Kind::Response { .. }, Ok(Reply::Ack)) => {}
            (Kind::Settle { .. } | Kind::Response { .. }, Err(OpError::Stale)) => {}
            (kind, result) => panic!("{kind:?} ended as {result:?}"),
        }
    }

    pub(super) fn connected(&mut self, session_present: bool) {
        if !session_present {
            self.seen.clear();
        }
    }

    pub(super) fn connection_lost(&mut self) {
        for (id, operation) in &mut self.all {
            if operation.state == State::Submitted {
                let is_answer = matches!(operation.kind, Kind::Settle { .. } | Kind::Response { .. });
                assert!(!is_answer, "{id}, a {:?}, was lost without a word", operation.kind);
                operation.state = State::Lost;
            }
        }
    }

    /// Telemetry was seen on the wire.
    pub(super) fn seen(&mut self, id: u64, packet_id: u16, dup: bool) {
        let operation = self.all.get(&id).unwrap_or_else(|| panic!("{id} was sent, which nobody submitted"));
        assert!(operation.submissions > 0, "{id} was sent and had not been taken");
        assert!(!dup || operation.submissions > 1, "{id} was sent for the first time with DUP");
        if let Some(&before) = self.seen.get(&id) {
            assert_eq!((packet_id, dup), (before, true), "{id} was sent again otherwise");
        }
        let in_use = self.seen.iter().find(|(other, used)| **used == packet_id && **other != id);
        assert_eq!(in_use, None, "{id} was sent under an identifier in use");
        if operation.state == State::Submitted {
            self.seen.insert(id, packet_id);
        }
    }
}
