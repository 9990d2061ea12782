//! The runtime of a connection's tasks, which moves in slices and nowhere else.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::yield_now;

/// How many rounds a slice has at the most; each moves every task that can move.
const ROUNDS: usize = 200;
/// More tasks than a connection has: a round ends when nothing can move, and not before.
const TASKS_A_ROUND: u32 = 20_000;

/// A current-thread runtime. Dropping it ends its tasks where they are, and never blocks.
pub(crate) struct Slices(Option<Runtime>);

impl Slices {
    pub(crate) fn new() -> io::Result<Self> {
        // The protocol's package makes timers of its own; nothing of ours depends on them.
        let runtime = Builder::new_current_thread().enable_time().event_interval(TASKS_A_ROUND).build()?;
        Ok(Self(Some(runtime)))
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0 {
            runtime.spawn(task);
        }
    }

    /// Lets the tasks move until `progress` says the same twice. Returns whether they might move on at once.
    ///
    /// Within another runtime it is done on a thread that is joined here: a runtime must not be driven from within
    /// another on the same thread.
    pub(crate) fn run(&self, progress: &(impl Fn() -> u64 + Sync)) -> bool {
        let Some(runtime) = &self.0 else { return false };
        if Handle::try_current().is_err() {
            return runtime.block_on(slice(progress));
        }
        let on_thread = std::thread::scope(|scope| scope.spawn(|| runtime.block_on(slice(progress))).join());
        match on_thread {
            Ok(more) => more,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

async fn slice(progress: &impl Fn() -> u64) -> bool {
    let mut before = progress();
    for _ in 0..ROUNDS {
        // One yield runs what is ready, the second what that has woken.
        yield_now().await;
        yield_now().await;
        let now = progress();
        if now == before {
            return false;
        }
        before = now;
    }
    true
}

impl Drop for Slices {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn counted(slices: &Slices, steps: u64) -> Arc<AtomicU64> {
        let count = Arc::new(AtomicU64::new(0));
        let counter = count.clone();
        slices.spawn(async move {
            for _ in 0..steps {
                counter.fetch_add(1, Ordering::SeqCst);
                yield_now().await;
            }
        });
        count
    }

    #[test]
    fn tasks_move_in_a_slice_and_nowhere_else() {
        let slices = Slices::new().unwrap();
        let count = counted(&slices, 10);
        assert_eq!(count.load(Ordering::SeqCst), 0);
        assert!(!slices.run(&|| count.load(Ordering::SeqCst)));
        assert_eq!(count.load(Ordering::SeqCst), 10);
    }

    #[test]
    fn a_slice_is_bounded_and_says_that_there_is_more() {
        let slices = Slices::new().unwrap();
        let count = counted(&slices, 100_000);
        assert!(slices.run(&|| count.load(Ordering::SeqCst)));
        assert!(count.load(Ordering::SeqCst) < 100_000);
    }

    #[test]
    fn within_another_runtime_it_works_and_is_dropped_without_a_panic() {
        let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
        other.block_on(async {
            let slices = Slices::new().unwrap();
            let count = counted(&slices, 10);
            slices.run(&|| count.load(Ordering::SeqCst));
            assert_eq!(count.load(Ordering::SeqCst), 10);
        });
    }
}
