//! The hub's state under its lock, shared by the server thread and the service handles: who waits is told of every change.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use crate::activity::ConnectionId;
use crate::clock::{Clock, Now, ReadClock};
use crate::config::Config;
use crate::hub::HubState;

#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// The same for tasks.
    changes: Notify,
    /// Tells the server that the hub's next deadline is another one.
    deadline: Notify,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    hub: HubState,
    /// Counts changes, so that a waiter misses none.
    version: u64,
    wakers: HashMap<ConnectionId, Waker>,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        let clock = Clock::new(config.manual_clock);
        let inner = Inner { clock, hub: HubState::new(config), version: 0, wakers: HashMap::new() };
        Self { inner: Mutex::new(inner), changed: Condvar::new(), changes: Notify::new(), deadline: Notify::new() }
    }

    /// Changes the hub's state: what is due happens first, and whoever is concerned is told.
    pub(crate) fn change<R>(&self, f: impl FnOnce(&mut HubState, Now) -> R) -> R {
        let mut inner = self.lock();
        let now = inner.clock.now();
        let due = inner.hub.due();
        inner.hub.advance(now);
        let result = f(&mut inner.hub, now);
        inner.version += 1;
        let woken = inner.hub.take_woken();
        let woken: Vec<Waker> = woken.iter().filter_map(|connection| inner.wakers.get(connection)).cloned().collect();
        if inner.hub.due() != due {
            self.deadline.notify_one();
        }
        // Whoever is woken may look at the hub at once.
        drop(inner);
        woken.into_iter().for_each(Waker::wake);
        self.changed.notify_all();
        self.changes.notify_waiters();
        result
    }

    /// Looks at the hub's state.
    pub(crate) fn read<R>(&self, f: impl FnOnce(&HubState, Now) -> R) -> R {
        let inner = self.lock();
        f(&inner.hub, inner.clock.now())
    }

    /// Advances or sets the clock: everything that waits for a time looks again.
    pub(crate) fn turn_clock(&self, f: impl FnOnce(&mut Clock)) {
        let wakers: Vec<Waker> = {
            let mut inner = self.lock();
            f(&mut inner.clock);
            inner.wakers.values().cloned().collect()
        };
        wakers.into_iter().for_each(Waker::wake);
        self.change(|_, _| {});
        self.deadline.notify_one();
    }

    /// Waits in real time until `f` gives a value; it is asked again after each change. `None`: the limit is over.
    pub(crate) fn wait<R>(&self, limit: Duration, mut f: impl FnMut() -> Option<R>) -> Option<R> {
        let end = Instant::now().checked_add(limit);
        loop {
            let seen = self.lock().version;
            if let Some(value) = f() {
                return Some(value);
            }
            let mut inner = self.lock();
            while inner.version == seen {
                let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
                if left.is_zero() {
                    return None;
                }
                inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Waits until `f` gives a value; it is asked again after each change.
    pub(crate) async fn changed_to<R>(&self, mut f: impl FnMut() -> Option<R>) -> R {
        loop {
            let mut changed = std::pin::pin!(self.changes.notified());
            changed.as_mut().enable();
            if let Some(value) = f() {
                return value;
            }
            changed.await;
        }
    }

    /// Says whom to wake when the hub has something for this connection.
    pub(crate) fn register(&self, connection: ConnectionId, waker: Waker) {
        self.lock().wakers.insert(connection, waker);
    }

    pub(crate) fn unregister(&self, connection: ConnectionId) {
        let waker = self.lock().wakers.remove(&connection);
        // Dropping it may run code that is not ours: not under the lock.
        drop(waker);
    }

    /// Waits until the hub's next deadline is another one.
    pub(crate) async fn deadline_changed(&self) {
        self.deadline.notified().await;
    }

    /// How long to sleep for something that is due so much later: for ever, if the clock only moves when it is told to.
    pub(crate) fn sleep_time(&self, timeout: impl FnOnce(&HubState, Now) -> Option<Duration>) -> Option<Duration> {
        let inner = self.lock();
        if inner.clock.is_manual() { None } else { timeout(&inner.hub, inner.clock.now()) }
    }

    // A panic while the lock was held is the test's or a defect; what there is remains readable.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadClock for Shared {
    fn wall(&self) -> SystemTime {
        self.lock().clock.now().wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Fault;

    #[test]
    fn a_waiter_is_asked_again_after_a_change_from_another_thread() {
        let shared = Shared::new(Config::new());
        let faults = || shared.read(|hub, _| hub.faults.len());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| shared.wait(Duration::from_secs(30), || (faults() == 2).then_some(())));
            for _ in 0..2 {
                shared.change(|hub, _| hub.faults.push(None, Fault::WithholdConnack));
            }
            assert_eq!(waiter.join().unwrap(), Some(()));
        });
    }

    #[test]
    fn a_wait_ends_at_its_limit() {
        let shared = Shared::new(Config::new());
        assert_eq!(shared.wait(Duration::ZERO, || None::<()>), None);
        assert_eq!(shared.wait(Duration::from_millis(1), || None::<()>), None);
    }

    #[test]
    fn under_a_manual_clock_nothing_sleeps() {
        let sleep = |config| Shared::new(config).sleep_time(|_, _| Some(Duration::from_secs(5)));
        assert_eq!(sleep(Config::new()), Some(Duration::from_secs(5)));
        assert_eq!(sleep(Config::new().with_manual_clock(SystemTime::UNIX_EPOCH)), None);
    }
}
