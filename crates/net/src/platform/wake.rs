//! A waker that a poll(2) can see: a pair of sockets with at most one byte in it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

pub(super) fn channel() -> io::Result<(Waker, WakeReceiver)> {
    let (sender, receiver) = UnixStream::pair()?;
    sender.set_nonblocking(true)?;
    receiver.set_nonblocking(true)?;
    let bell = Arc::new(Bell { rung: AtomicBool::new(false), sender: Mutex::new(sender) });
    Ok((bell.clone().into(), WakeReceiver { bell, descriptor: Arc::new(receiver) }))
}

/// The waker's side.
struct Bell {
    /// Whether the byte is in the socket. Changes only under the lock, so that flag and byte never disagree: a byte
    /// without a flag would never be taken out, and every park would return at once.
    rung: AtomicBool,
    sender: Mutex<UnixStream>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.rung.swap(true, Ordering::AcqRel) {
            // The buffer has room for the only byte; a receiver that is gone needs none.
            let _ = sender.write(&[1]);
        }
    }
}

/// The parking side.
pub(super) struct WakeReceiver {
    bell: Arc<Bell>,
    descriptor: Arc<UnixStream>,
}

impl WakeReceiver {
    /// Readable while there are wakes.
    pub(super) fn descriptor(&self) -> &Arc<UnixStream> {
        &self.descriptor
    }

    /// Takes the wakes back. Without any, which is the usual case, this is one look at a flag.
    pub(super) fn clear(&self) {
        if !self.bell.rung.load(Ordering::Acquire) {
            return;
        }
        let _sender = self.bell.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = (&*self.descriptor).read(&mut [0; 8]);
        self.bell.rung.store(false, Ordering::Release);
    }
}
