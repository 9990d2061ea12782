//! A client's clock that a behaviour moves ahead: hours pass at once, over the real sockets of the transport.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use iothub_core::{Now, Platform, Readiness};

/// How far a client's clock is ahead of the machine's.
#[derive(Clone, Default)]
pub(crate) struct Clock(Arc<Mutex<Duration>>);

impl Clock {
    /// The time passes for the client; it notices in its next turn.
    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    /// The platform, with this clock.
    pub(crate) fn of(&self, platform: Box<dyn Platform>) -> Box<dyn Platform> {
        Box::new(Ahead { platform, clock: self.clone() })
    }

    fn ahead(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Ahead {
    platform: Box<dyn Platform>,
    clock: Clock,
}

impl Platform for Ahead {
    fn now(&self) -> Now {
        self.platform.now() + self.clock.ahead()
    }

    fn waker(&self) -> Waker {
        self.platform.waker()
    }

    fn clear_wakes(&mut self) {
        self.platform.clear_wakes();
    }

    fn readiness(&self, out: &mut Vec<Readiness>) {
        self.platform.readiness(out);
    }

    fn park(&mut self, on: &[Readiness], until: Option<Instant>) {
        // A time before the machine has one is past in any case.
        let until = until.map(|until| until.checked_sub(self.clock.ahead()).unwrap_or_else(Instant::now));
        self.platform.park(on, until);
    }
}
