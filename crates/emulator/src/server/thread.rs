//! A thread with a runtime of its own, which ends with its handle.

use std::io;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

/// The running thread. Dropping it stops the thread and waits for it.
#[derive(Debug)]
pub(crate) struct ServerThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ServerThread {
    /// Runs `main` until it ends by itself, which it has to do once its receiver is done.
    pub(crate) fn start<F: Future<Output = ()>>(
        name: &str,
        main: impl FnOnce(oneshot::Receiver<()>) -> F + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let run = move || runtime.block_on(main(stopped));
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for ServerThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has printed itself; it must not become a second one here.
            let _ = thread.join();
        }
    }
}
