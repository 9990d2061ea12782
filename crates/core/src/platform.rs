//! The outside world as the engine sees it: time, parking and waking.
//!
//! The engine has no clock and no poller of its own. Whoever creates a client hands it a [`Platform`]; the real
//! one lives in `iothub-net`, tests bring a virtual one. Time reaches every function as an argument, [`Now`].

use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

/// One moment, on both clocks that the client needs.
///
/// Deadlines compare `mono`, which never jumps; token expiry and message times use `wall`, which the hub shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub mono: Instant,
    /// The wall clock.
    pub wall: SystemTime,
}

impl Now {
    /// Reads both system clocks.
    pub fn system() -> Self {
        Self { mono: Instant::now(), wall: SystemTime::now() }
    }
}

impl std::ops::Add<Duration> for Now {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self { mono: self.mono + by, wall: self.wall + by }
    }
}

/// A descriptor to watch, and for what.
///
/// The source is shared, not duplicated: holding a `Readiness` does not keep a connection alive at the peer, because
/// whoever closes it shuts it down first.
#[derive(Clone)]
pub struct Readiness {
    /// What to watch.
    pub source: Arc<dyn AsFd + Send + Sync>,
    /// Whether readable wakes.
    pub read: bool,
    /// Whether writable wakes.
    pub write: bool,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("source", &self.source.as_fd())
            .field("read", &self.read)
            .field("write", &self.write)
            .finish()
    }
}

/// Clock, parking and waking: everything that the engine asks of the operating system.
pub trait Platform: Send {
    /// The current time on both clocks.
    fn now(&self) -> Now;

    /// A handle that ends the current or the next [`park`](Self::park) from any thread.
    fn waker(&self) -> Waker;

    /// Takes back the wakes so far; the engine calls it before it looks for work, so that none is missed.
    fn clear_wakes(&mut self);

    /// Adds the descriptor that becomes readable when the waker is used, if there is one.
    fn readiness(&self, out: &mut Vec<Readiness>);

    /// Blocks until one of `on` is ready, the waker was used since the last [`clear_wakes`](Self::clear_wakes), or
    /// `until` has come; `None` waits without limit. It may return early for no reason.
    fn park(&mut self, on: &[Readiness], until: Option<Instant>);
}
