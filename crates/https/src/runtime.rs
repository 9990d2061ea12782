//! The runtime behind the engine, and how it is driven: only when asked, and only a slice at a time.

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{AbortHandle, yield_now};

/// The most rounds of a slice, so that a peer that never stops talking does not keep `do_work` from returning.
const MAX_ROUNDS: usize = 64;

/// A single-threaded runtime that stands still between two slices.
pub(crate) struct SlicedRuntime {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    progress: Progress,
}

/// Counts the steps that tasks have made, so that a slice goes on as long as there are any.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    pub(crate) fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn steps(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl SlicedRuntime {
    pub(crate) fn new() -> io::Result<Self> {
        // The only blocking work is the system resolver's, which must neither collect threads nor keep one.
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .thread_keep_alive(Duration::ZERO)
            .thread_name("iothub-resolver")
            .build()?;
        Ok(Self { runtime: Some(runtime), progress: Progress::default() })
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Takes a task in; it begins in the next slice.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        Some(self.runtime.as_ref()?.spawn(task).abort_handle())
    }

    /// Lets all tasks go as far as they can without waiting.
    pub(crate) fn slice(&self) {
        let Some(runtime) = &self.runtime else { return };
        let slice = || runtime.block_on(rounds(&self.progress));
        if Handle::try_current().is_err() {
            return slice();
        }
        // A runtime cannot be driven on a thread that drives another one.
        thread::scope(|scope| {
            match thread::Builder::new().name("iothub-https".to_owned()).spawn_scoped(scope, slice) {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(error) => tracing::warn!(%error, "no thread for HTTPS; trying again with the next do_work"),
            }
        });
    }
}

/// A first yield lets what is ready run and polls the sockets, a second one lets run what the sockets have woken.
async fn rounds(progress: &Progress) {
    for _ in 0..MAX_ROUNDS {
        let before = progress.steps();
        yield_now().await;
        yield_now().await;
        if progress.steps() == before {
            return;
        }
    }
}

impl Drop for SlicedRuntime {
    fn drop(&mut self) {
        // Waits for nothing, and may be called inside another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
