//! A `Connect` whose attempts end as a test says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;

use iothub_core::{ConnectionError, ConnectionErrorKind, Now, Readiness};

use super::pipe::{self, ClientEnd, PeerEnd};
use crate::{Connect, Stream};

/// A [`Connect`] for tests and the [`Script`] that says how its attempts end, in order.
///
/// An attempt for which nothing is scripted stays pending until something is, or until it is cancelled.
pub fn network(host: impl Into<Arc<str>>, port: u16) -> (ScriptedConnect, Script) {
    let shared = Arc::new(Mutex::new(Shared { outcomes: VecDeque::new(), attempts: 0, waker: Waker::noop().clone() }));
    let connect = ScriptedConnect { host: host.into(), port, started: None, shared: shared.clone() };
    (connect, Script { shared })
}

enum Outcome {
    Accepted(ClientEnd),
    Failed(ConnectionErrorKind),
}

struct Shared {
    outcomes: VecDeque<Outcome>,
    attempts: usize,
    waker: Waker,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says how the attempts of a [`ScriptedConnect`] end. Clones speak to the same one.
#[derive(Clone)]
pub struct Script {
    shared: Arc<Mutex<Shared>>,
}

impl Script {
    /// One more attempt succeeds, with this peer at the other end.
    pub fn accept(&self) -> PeerEnd {
        let (client, peer) = pipe::ends();
        self.push(Outcome::Accepted(client));
        peer
    }

    /// One more attempt fails with this error.
    pub fn fail(&self, kind: ConnectionErrorKind) {
        self.push(Outcome::Failed(kind));
    }

    /// How many attempts were started.
    pub fn attempts(&self) -> usize {
        lock(&self.shared).attempts
    }

    /// How many scripted outcomes no attempt has reached yet.
    pub fn remaining(&self) -> usize {
        lock(&self.shared).outcomes.len()
    }

    fn push(&self, outcome: Outcome) {
        let mut shared = lock(&self.shared);
        shared.outcomes.push_back(outcome);
        let waker = shared.waker.clone();
        drop(shared);
        waker.wake();
    }
}

/// A [`Connect`] without a network; made by [`network`].
pub struct ScriptedConnect {
    host: Arc<str>,
    port: u16,
    /// When the attempt that is under way began.
    started: Option<Instant>,
    shared: Arc<Mutex<Shared>>,
}

impl Connect for ScriptedConnect {
    fn host(&self) -> &Arc<str> {
        &self.host
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn set_waker(&mut self, waker: &Waker) {
        lock(&self.shared).waker.clone_from(waker);
    }

    fn start(&mut self, now: Now) {
        self.started = Some(now.mono);
        lock(&self.shared).attempts += 1;
    }

    fn poll(&mut self, _now: Now) -> Poll<Result<Stream, ConnectionError>> {
        if self.started.is_none() {
            return Poll::Pending;
        }
        let mut shared = lock(&self.shared);
        let Some(outcome) = shared.outcomes.pop_front() else { return Poll::Pending };
        self.started = None;
        Poll::Ready(match outcome {
            Outcome::Accepted(end) => {
                end.set_waker(&shared.waker);
                Ok(Stream::new(self.host.clone(), self.port, Box::new(end)))
            }
            Outcome::Failed(kind) => Err(ConnectionError::new(self.host.clone(), self.port, kind)),
        })
    }

    fn cancel(&mut self) {
        self.started = None;
    }

    fn next_deadline(&self) -> Option<Instant> {
        // An outcome that is there already is work to do now.
        self.started.filter(|_| !lock(&self.shared).outcomes.is_empty())
    }

    fn readiness(&self, _out: &mut Vec<Readiness>) {}
}
