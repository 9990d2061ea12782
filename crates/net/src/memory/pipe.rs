//! The two ends of one in-memory connection.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use iothub_core::Readiness;

use crate::Stream;
use crate::stream::Layer;

/// How many bytes may lie in each direction, as in a socket's buffers, unless [`PeerEnd::set_capacity`] says otherwise.
const DEFAULT_CAPACITY: usize = 256 * 1024;

/// How many written bytes the client's end collects until a flush, as a TLS stream does.
const UNFLUSHED_LIMIT: usize = crate::tcp::UNSENT_LIMIT;

/// A stream and the other side of it.
///
/// What the client writes reaches the peer when it is flushed, as on a TLS stream, so that a missing flush shows.
pub fn pair() -> (Stream, PeerEnd) {
    let (end, peer) = ends();
    (Stream::new("memory".into(), 0, Box::new(end)), peer)
}

pub(super) fn ends() -> (ClientEnd, PeerEnd) {
    let pipe = Arc::new(Mutex::new(Pipe {
        state: State::Open,
        to_client: VecDeque::new(),
        to_peer: VecDeque::new(),
        unflushed: Vec::new(),
        client_closed: false,
        capacity: DEFAULT_CAPACITY,
        read_limit: usize::MAX,
        write_limit: usize::MAX,
        cut_after: None,
        flushes: 0,
        waker: Waker::noop().clone(),
    }));
    (ClientEnd { pipe: pipe.clone() }, PeerEnd { pipe })
}

/// How the connection is, apart from what the client did.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The peer said goodbye: the client reads what is left, then 0 bytes.
    Closed,
    /// The connection broke: the client reads what is left, then an error.
    Broken,
}

struct Pipe {
    state: State,
    to_client: VecDeque<u8>,
    to_peer: VecDeque<u8>,
    unflushed: Vec<u8>,
    client_closed: bool,
    capacity: usize,
    read_limit: usize,
    write_limit: usize,
    /// How many more bytes of the client arrive before the connection breaks.
    cut_after: Option<usize>,
    /// How many flushes moved bytes.
    flushes: usize,
    waker: Waker,
}

impl Pipe {
    /// Moves what was written to the peer, as far as there is room.
    fn flush(&mut self) -> io::Result<()> {
        if self.state == State::Broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.unflushed.is_empty() {
            return Ok(());
        }
        if self.state == State::Closed {
            // As with a socket whose peer has gone: the bytes leave, and nobody reads them.
            self.unflushed.clear();
            return Ok(());
        }
        let room = self.capacity.saturating_sub(self.to_peer.len());
        let moved = self.unflushed.len().min(room).min(self.cut_after.unwrap_or(usize::MAX));
        self.to_peer.extend(self.unflushed.drain(..moved));
        self.flushes += usize::from(moved > 0);
        if let Some(left) = &mut self.cut_after {
            *left -= moved;
            if *left == 0 {
                self.state = State::Broken;
            }
        }
        match (self.unflushed.is_empty(), self.state) {
            (true, _) => Ok(()),
            (false, State::Broken) => Err(io::ErrorKind::ConnectionReset.into()),
            (false, _) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

fn lock(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    // A test that panicked elsewhere leaves the pipe as good as it was.
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes up to `buf.len()` bytes from the front.
fn take(from: &mut VecDeque<u8>, buf: &mut [u8]) -> usize {
    // Reading a deque takes one of its two halves at a time; one call is enough for a stream.
    from.read(buf).unwrap_or(0)
}

/// The client's side, below a [`Stream`].
pub(super) struct ClientEnd {
    pipe: Arc<Mutex<Pipe>>,
}

impl ClientEnd {
    pub(super) fn set_waker(&self, waker: &Waker) {
        lock(&self.pipe).waker.clone_from(waker);
    }
}

impl Read for ClientEnd {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut pipe = lock(&self.pipe);
        let limit = buf.len().min(pipe.read_limit);
        let taken = take(&mut pipe.to_client, &mut buf[..limit]);
        if taken > 0 || buf.is_empty() {
            return Ok(taken);
        }
        match pipe.state {
            State::Open => Err(io::ErrorKind::WouldBlock.into()),
            State::Closed => Ok(0),
            State::Broken => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

impl Write for ClientEnd {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut pipe = lock(&self.pipe);
        if pipe.state == State::Broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if pipe.unflushed.len() >= UNFLUSHED_LIMIT {
            pipe.flush().or_else(crate::tcp::would_block_is_fine)?;
        }
        let room = UNFLUSHED_LIMIT - pipe.unflushed.len();
        let taken = buf.len().min(pipe.write_limit).min(room);
        if taken == 0 && !buf.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        pipe.unflushed.extend_from_slice(&buf[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        lock(&self.pipe).flush()
    }
}

impl Layer for ClientEnd {
    fn wants_write(&self) -> bool {
        !lock(&self.pipe).unflushed.is_empty()
    }

    fn readiness(&self, _read: bool, _write: bool, _out: &mut Vec<Readiness>) {}

    fn shutdown(&mut self) {
        let mut pipe = lock(&self.pipe);
        // Best effort, as on a socket.
        let _ = pipe.flush();
        pipe.client_closed = true;
    }
}

/// The other side of an in-memory stream, played by a test.
///
/// As [`Read`] and [`Write`] it does not block. Dropping it closes the connection in order.
pub struct PeerEnd {
    pipe: Arc<Mutex<Pipe>>,
}

impl PeerEnd {
    /// Sends all of it at once, however much it is.
    pub fn send(&mut self, bytes: &[u8]) {
        self.with_wake(|pipe| pipe.to_client.extend(bytes));
    }

    /// Everything that the client has flushed and nobody has taken yet.
    pub fn receive(&mut self) -> Vec<u8> {
        self.with_wake(|pipe| pipe.to_peer.drain(..).collect())
    }

    /// Closes in order: the client still reads what was sent, then 0 bytes. What it writes from now on is lost.
    pub fn close(&mut self) {
        self.with_wake(|pipe| {
            if pipe.state == State::Open {
                pipe.state = State::Closed;
            }
        });
    }

    /// Breaks the connection, but the client still reads what was sent before it gets the error.
    pub fn cut_after_sent(&mut self) {
        self.with_wake(|pipe| pipe.state = State::Broken);
    }

    /// Breaks the connection at once: bytes under way in either direction are lost.
    pub fn cut(&mut self) {
        self.with_wake(|pipe| {
            pipe.state = State::Broken;
            pipe.to_client.clear();
            pipe.to_peer.clear();
        });
    }

    /// Breaks the connection when this many more bytes of the client have arrived; they can still be received.
    pub fn cut_after_receiving(&mut self, bytes: usize) {
        self.with_wake(|pipe| {
            pipe.cut_after = Some(bytes);
            if bytes == 0 {
                pipe.state = State::Broken;
            }
        });
    }

    /// At most this many bytes for each read of the client; at least 1.
    pub fn limit_reads(&mut self, bytes: usize) {
        lock(&self.pipe).read_limit = bytes.max(1);
    }

    /// At most this many bytes for each write of the client; at least 1.
    pub fn limit_writes(&mut self, bytes: usize) {
        lock(&self.pipe).write_limit = bytes.max(1);
    }

    /// How many bytes may lie in each direction until the other side takes them; 256 KiB at first. With 0, the
    /// client's flushes block.
    pub fn set_capacity(&mut self, bytes: usize) {
        self.with_wake(|pipe| pipe.capacity = bytes);
    }

    /// How many of the client's flushes moved bytes, to see that it writes in large pieces.
    pub fn flushes(&self) -> usize {
        lock(&self.pipe).flushes
    }

    /// Whether the client has shut its stream down, or dropped it.
    pub fn is_closed_by_client(&self) -> bool {
        lock(&self.pipe).client_closed
    }

    /// Does something that the client may be waiting for.
    fn with_wake<T>(&self, change: impl FnOnce(&mut Pipe) -> T) -> T {
        let mut pipe = lock(&self.pipe);
        let result = change(&mut pipe);
        let waker = pipe.waker.clone();
        drop(pipe);
        waker.wake();
        result
    }
}

impl Read for PeerEnd {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let taken = self.with_wake(|pipe| take(&mut pipe.to_peer, buf));
        if taken > 0 || buf.is_empty() {
            return Ok(taken);
        }
        let pipe = lock(&self.pipe);
        match pipe.state {
            State::Broken => Err(io::ErrorKind::ConnectionReset.into()),
            _ if pipe.client_closed => Ok(0),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for PeerEnd {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.with_wake(|pipe| {
            if pipe.state != State::Open || pipe.client_closed {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let taken = buf.len().min(pipe.capacity.saturating_sub(pipe.to_client.len()));
            if taken == 0 && !buf.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            pipe.to_client.extend(&buf[..taken]);
            Ok(taken)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for PeerEnd {
    fn drop(&mut self) {
        self.close();
    }
}
