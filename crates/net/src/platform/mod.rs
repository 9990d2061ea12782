//! The real clock, parking and waking.

mod wake;

use std::io;
use std::os::fd::AsFd;
use std::task::Waker;
use std::time::{Duration, Instant};

use iothub_core::{CreateError, Now, Platform, Readiness};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use self::wake::WakeReceiver;

/// How long a failed poll(2) rests before it tries again, so that a machine without memory is not kept busy as well.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// The operating system's clocks and poll(2), and a waker that works from any thread.
///
/// ```
/// use iothub_core::Platform;
/// use iothub_net::SystemPlatform;
///
/// let mut platform = SystemPlatform::new()?;
/// let waker = platform.waker();
/// std::thread::spawn(move || waker.wake());
/// platform.park(&[], None); // Until the thread wakes it.
/// platform.clear_wakes();
/// # Ok::<(), iothub_core::CreateError>(())
/// ```
pub struct SystemPlatform {
    wakes: WakeReceiver,
    waker: Waker,
}

impl SystemPlatform {
    /// Makes the waker's pair of descriptors; fails if the operating system has none left.
    pub fn new() -> Result<Self, CreateError> {
        let (waker, wakes) =
            wake::channel().map_err(|source| CreateError::System { what: "the waker's pair of sockets", source })?;
        Ok(Self { wakes, waker })
    }
}

impl Platform for SystemPlatform {
    fn now(&self) -> Now {
        Now::system()
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn clear_wakes(&mut self) {
        self.wakes.clear();
    }

    fn readiness(&self, out: &mut Vec<Readiness>) {
        out.push(Readiness { source: self.wakes.descriptor().clone(), read: true, write: false });
    }

    fn park(&mut self, on: &[Readiness], until: Option<Instant>) {
        // Nothing to wait for: whoever has work looks at its descriptors itself.
        if until.is_some_and(|until| until <= Instant::now()) {
            return;
        }
        let wake = PollFd::from_borrowed_fd(self.wakes.descriptor().as_fd(), PollFlags::IN);
        let mut watched: Vec<_> = std::iter::once(wake).chain(on.iter().filter_map(watch)).collect();
        loop {
            // ppoll takes nanoseconds, so the sleep ends at `until` and neither a little before nor a millisecond after.
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let timeout = left.map(timespec);
            match poll(&mut watched, timeout.as_ref()) {
                Ok(0) if until.is_none_or(|until| Instant::now() < until) => {}
                Ok(_) => return,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    tracing::warn!(error = %io::Error::from(errno), "poll failed");
                    std::thread::sleep(left.map_or(PAUSE_AFTER_ERROR, |left| left.min(PAUSE_AFTER_ERROR)));
                    return;
                }
            }
        }
    }
}

/// A descriptor that nobody waits for is left out: poll would report its hang-up all the same, and never sleep.
fn watch(readiness: &Readiness) -> Option<PollFd<'_>> {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, readiness.read);
    flags.set(PollFlags::OUT, readiness.write);
    (!flags.is_empty()).then(|| PollFd::from_borrowed_fd(readiness.source.as_fd(), flags))
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        // More seconds than fit are for ever, and so is the greatest number that fits.
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
