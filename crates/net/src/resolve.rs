//! Looking names up: the contract, and the operating system's resolver behind it.
//!
//! `getaddrinfo` blocks, so it runs on a thread of its own, the only one that iothub-client ever starts. There is at
//! most one look-up under way for each connector: an attempt that begins while an older look-up still runs awaits that
//! one, so that a dead name server does not collect threads.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use iothub_core::Now;

/// Finds the addresses of a host; given by an application that has its own way, or wants no thread.
///
/// ```
/// use std::net::{Ipv4Addr, SocketAddr};
/// use std::task::{Poll, Waker};
///
/// /// Always the same gateway, without any name server.
/// struct Pinned;
///
/// impl iothub_net::Resolve for Pinned {
///     fn resolve(&mut self, _host: &str, port: u16, _waker: &Waker) -> Poll<Result<Vec<SocketAddr>, String>> {
///         Poll::Ready(Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]))
///     }
/// }
/// ```
pub trait Resolve: Send {
    /// A new attempt begins: the next [`resolve`](Self::resolve) belongs to it and should look the name up anew.
    fn begin(&mut self, now: Now) {
        let _ = now;
    }

    /// The addresses of `host` with `port`, in the order in which to try them. Must not block.
    ///
    /// While it is `Pending` it is called again, in the same attempt after `waker` was used, or at any other time. An
    /// attempt that times out or is cancelled just stops calling. An error, or no address at all, ends the attempt;
    /// the text becomes part of the connection error.
    fn resolve(&mut self, host: &str, port: u16, waker: &Waker) -> Poll<Result<Vec<SocketAddr>, String>>;
}

/// How long after its start a look-up that came too late for its own attempt may serve the next one.
///
/// Without it a name server that is slower than the time-out would never get a connection made; a minute is what
/// public names of cloud services live at least.
const LATE_ANSWER_LIFE: Duration = Duration::from_secs(60);

/// The name of the thread; 15 bytes, the most that Linux shows.
const THREAD_NAME: &str = "iothub-resolver";

type Addresses = io::Result<Vec<SocketAddr>>;
type LookUpFn = Arc<dyn Fn(&str, u16) -> Addresses + Send + Sync>;

/// `getaddrinfo` on a short-lived thread, for one host.
pub(crate) struct SystemResolver {
    look_up: LookUpFn,
    attempt_began: Option<Instant>,
    current: Option<LookUp>,
}

/// A look-up that was started and whose answer nobody has taken.
struct LookUp {
    attempt_began: Option<Instant>,
    progress: Arc<Mutex<Progress>>,
}

enum Progress {
    /// The thread is at it, and wakes this when done.
    Running(Waker),
    Done(Addresses),
}

impl SystemResolver {
    pub(crate) fn new() -> Self {
        Self::with(Arc::new(|host, port| Ok((host, port).to_socket_addrs()?.collect())))
    }

    fn with(look_up: LookUpFn) -> Self {
        Self { look_up, attempt_began: None, current: None }
    }

    fn start(&self, host: &str, port: u16, waker: &Waker) -> io::Result<LookUp> {
        let progress = Arc::new(Mutex::new(Progress::Running(waker.clone())));
        // The thread may outlive the connector, whose client it must then not wake.
        let shared = Arc::downgrade(&progress);
        let look_up = self.look_up.clone();
        let host = host.to_owned();
        thread::Builder::new().name(THREAD_NAME.into()).spawn(move || {
            let answer = look_up(&host, port);
            let Some(progress) = shared.upgrade() else { return };
            let before = std::mem::replace(&mut *lock(&progress), Progress::Done(answer));
            if let Progress::Running(waker) = before {
                waker.wake();
            }
        })?;
        Ok(LookUp { attempt_began: self.attempt_began, progress })
    }
}

impl Resolve for SystemResolver {
    fn begin(&mut self, now: Now) {
        self.attempt_began = Some(now.mono);
        self.current = self.current.take().filter(|look_up| match &*lock(&look_up.progress) {
            Progress::Running(_) => true,
            Progress::Done(Err(_)) => false,
            Progress::Done(Ok(_)) => {
                look_up.attempt_began.is_some_and(|began| now.mono.duration_since(began) <= LATE_ANSWER_LIFE)
            }
        });
    }

    fn resolve(&mut self, host: &str, port: u16, waker: &Waker) -> Poll<Result<Vec<SocketAddr>, String>> {
        let look_up = match self.current.take() {
            Some(look_up) => look_up,
            None => match self.start(host, port, waker) {
                Ok(look_up) => look_up,
                Err(error) => return Poll::Ready(Err(format!("no thread for the look-up: {error}"))),
            },
        };
        let mut progress = lock(&look_up.progress);
        match &mut *progress {
            Progress::Running(wakes) => {
                wakes.clone_from(waker);
                drop(progress);
                self.current = Some(look_up);
                Poll::Pending
            }
            Progress::Done(answer) => {
                let answer = std::mem::replace(answer, Ok(Vec::new()));
                Poll::Ready(answer.map_err(|error| error.to_string()))
            }
        }
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
