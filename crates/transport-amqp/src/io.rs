//! Our stream, lent to the protocol's tasks.
//!
//! `do_work` owns the stream's life: it kicks the wakers that the tasks left here, and it sends what they wrote, once a
//! slice. A task never waits for a socket.

use std::fmt;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use iothub_core::{ConnectionErrorKind, Readiness};
use iothub_net::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::frames::{Incoming, Outgoing};

/// An AMQP frame without a body: traffic and nothing else.
const EMPTY_FRAME: [u8; 8] = [0, 0, 0, 8, 2, 0, 0, 0];

/// One read at the most.
const READ_SIZE: usize = 16 * 1024;

struct State {
    stream: Stream,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// What came and no task has read; never more than one read and one frame.
    incoming: Incoming,
    outgoing: Outgoing,
    /// Bytes that came and went; only whether they change matters.
    received: u64,
    sent: u64,
    /// Why nothing comes or goes any more.
    end: Option<ConnectionErrorKind>,
}

/// A handle of the stream: one is `do_work`'s, one the tasks'.
#[derive(Clone)]
pub(crate) struct Io(Arc<Mutex<State>>);

impl Io {
    pub(crate) fn new(stream: Stream) -> Self {
        Self(Arc::new(Mutex::new(State {
            stream,
            reader: None,
            writer: None,
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            received: 0,
            sent: 0,
            end: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks whether the stream has something for the tasks, or room again. Returns whether one was woken for it.
    pub(crate) fn kick(&self) -> bool {
        let mut state = self.lock();
        let reader = if state.reader.is_some() && state.has_news() { state.reader.take() } else { None };
        let writer = if state.stream.wants_write() { None } else { state.writer.take() };
        drop(state);
        let woken = [reader, writer];
        let any = woken.iter().any(Option::is_some);
        woken.into_iter().flatten().for_each(Waker::wake);
        any
    }

    /// Sends what was written, as far as that goes without blocking.
    pub(crate) fn push(&self) {
        let mut state = self.lock();
        if let Err(error) = state.stream.flush()
            && error.kind() != io::ErrorKind::WouldBlock
        {
            state.end.get_or_insert(broken(&error));
        }
    }

    /// Whether something waits to leave.
    pub(crate) fn wants_write(&self) -> bool {
        self.lock().stream.wants_write()
    }

    /// Whether a task that waits for room to write could go on.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.lock();
        state.writer.is_some() && !state.stream.wants_write()
    }

    /// How much has come and gone so far.
    pub(crate) fn moved(&self) -> (u64, u64) {
        let state = self.lock();
        (state.received, state.sent)
    }

    /// Writes an empty frame, unless a frame is on its way out: then there is traffic anyway.
    pub(crate) fn beat(&self) {
        let mut state = self.lock();
        // All or nothing: a stream with no room for these bytes has traffic to send.
        if state.outgoing.is_at_frame_end() && !state.stream.wants_write() && state.stream.write(&EMPTY_FRAME).is_ok() {
            state.sent += EMPTY_FRAME.len() as u64;
        }
    }

    /// The idle time-out that the peer announced, in milliseconds.
    pub(crate) fn remote_idle_time_out(&self) -> Option<u32> {
        self.lock().incoming.idle_time_out()
    }

    /// Why the stream ended, if it did.
    pub(crate) fn end(&self) -> Option<ConnectionErrorKind> {
        self.lock().end.clone()
    }

    pub(crate) fn readiness(&self, out: &mut Vec<Readiness>) {
        self.lock().stream.readiness(false, out);
    }

    /// Sends what is left and closes.
    pub(crate) fn shutdown(&self) {
        self.lock().stream.shutdown();
    }
}

impl State {
    /// Reads until there is something for the tasks, unless there is already. Whether there is, be it the stream's end.
    fn has_news(&mut self) -> bool {
        while self.incoming.is_empty() {
            if let Some(detail) = self.incoming.refused() {
                self.end.get_or_insert_with(|| ConnectionErrorKind::Protocol { detail: detail.to_owned() });
                return true;
            }
            match self.read() {
                Ok(0) => {
                    self.end.get_or_insert(ConnectionErrorKind::ClosedByPeer);
                    return true;
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    // A system tells it once; afterwards the stream is at its end.
                    self.end.get_or_insert(broken(&error));
                    return true;
                }
            }
        }
        true
    }

    fn read(&mut self) -> io::Result<usize> {
        let mut bytes = [0; READ_SIZE];
        let n = self.stream.read(&mut bytes)?;
        self.received += n as u64;
        self.incoming.take(&bytes[..n]);
        Ok(n)
    }
}

fn broken(error: &io::Error) -> ConnectionErrorKind {
    ConnectionErrorKind::Broken { detail: error.to_string() }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if !state.has_news() {
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let passed = state.incoming.passed();
        let n = buf.remaining().min(passed.len());
        buf.put_slice(&passed.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        match state.stream.write(buf) {
            Ok(n) => {
                state.sent += n as u64;
                let State { outgoing, incoming, reader, .. } = &mut *state;
                outgoing.look(&buf[..n], |channel| incoming.answer_begin(channel));
                if !incoming.is_empty()
                    && let Some(reader) = reader.take()
                {
                    reader.wake();
                }
                Poll::Ready(Ok(n))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                state.writer = Some(context.waker().clone());
                Poll::Pending
            }
            Err(error) => {
                state.end.get_or_insert(broken(&error));
                Poll::Ready(Err(error))
            }
        }
    }

    /// The codec flushes behind whole frames. The bytes leave at the end of the slice, many frames at once.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Io")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_beat_is_an_empty_frame_between_frames_and_nothing_within_one() {
        let (stream, mut peer) = iothub_net::memory::pair();
        let mut io = Io::new(stream);
        io.beat();
        io.push();
        assert_eq!(peer.receive(), EMPTY_FRAME);
        let (half, rest) = ([0, 0, 0, 12, 2, 0, 0, 0], [0, 0x53, 0x13, 0x45]);
        for piece in [&half[..], &rest] {
            io.beat();
            assert!(poll(|context| Pin::new(&mut io).poll_write(context, piece)).is_ready());
        }
        io.push();
        assert_eq!(peer.receive(), [&EMPTY_FRAME[..], &half, &rest].concat());
        io.beat();
        io.push();
        assert_eq!(peer.receive(), EMPTY_FRAME);
    }

    #[test]
    fn many_writes_leave_together() {
        let (stream, mut peer) = iothub_net::memory::pair();
        let mut io = Io::new(stream);
        for frame in [b"one ", b"two "] {
            assert!(poll(|context| Pin::new(&mut io).poll_write(context, frame)).is_ready());
            assert!(poll(|context| Pin::new(&mut io).poll_flush(context)).is_ready());
        }
        assert_eq!(peer.receive(), b"");
        io.push();
        assert_eq!(peer.receive(), b"one two ");
    }

    #[test]
    fn the_end_of_the_stream_is_kept_with_its_cause() {
        let (stream, peer) = iothub_net::memory::pair();
        let mut io = Io::new(stream);
        drop(peer);
        let mut bytes = [0; 8];
        let mut buf = ReadBuf::new(&mut bytes);
        assert!(poll(|context| Pin::new(&mut io).poll_read(context, &mut buf)).is_ready());
        assert!(io.end().is_some());
    }
}
