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
        let writer = if state.takes_more() { state.writer.take() } else { None };
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
        state.writer.is_some() && state.takes_more()
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

    /// What to watch. While the package waits for room it does not read, and input would wake for nothing, again and
    /// again.
    pub(crate) fn readiness(&self, out: &mut Vec<Readiness>) {
        let state = self.lock();
        state.stream.readiness(state.reader.is_some(), false, out);
    }

    /// Sends what is left and closes.
    pub(crate) fn shutdown(&self) {
        self.lock().stream.shutdown();
    }
}

impl State {
    /// Whether a task that wants to write may try: there is room, or there is no use in waiting for it.
    fn takes_more(&self) -> bool {
        self.end.is_some() || !self.stream.wants_write()
    }

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
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.end.is_some(),
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
        if state.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
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
    use std::net::TcpListener;

    use super::*;
    use crate::wakes::Count;

    /// Writes until there is no room; this is woken when there is.
    fn fill(io: &mut Io, woken: &Arc<Count>) {
        let waker = woken.clone().into();
        let mut context = Context::from_waker(&waker);
        while let Poll::Ready(written) = Pin::new(&mut *io).poll_write(&mut context, &[0; 1000]) {
            written.unwrap();
            io.push();
        }
    }

    fn read(io: &mut Io, bytes: &mut [u8]) -> Poll<usize> {
        let mut buf = ReadBuf::new(bytes);
        poll(|context| Pin::new(io).poll_read(context, &mut buf)).map(|read| read.map(|()| buf.filled().len()).unwrap())
    }

    /// What is watched: for input, for room.
    fn watched(io: &Io) -> Vec<(bool, bool)> {
        let mut on = Vec::new();
        io.readiness(&mut on);
        on.into_iter().map(|on| (on.read, on.write)).collect()
    }

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

    #[test]
    fn who_waits_for_room_on_a_stream_that_breaks_learns_of_it() {
        let (stream, mut peer) = iothub_net::memory::pair();
        peer.set_capacity(0);
        let (mut io, woken) = (Io::new(stream), Arc::default());
        fill(&mut io, &woken);
        assert!(!io.kick() && !io.has_room());
        peer.cut();
        io.push();
        assert!(io.has_room() && io.kick());
        assert_eq!(woken.so_far(), 1);
        assert!(matches!(poll(|context| Pin::new(&mut io).poll_write(context, b"more")), Poll::Ready(Err(_))));
        assert!(!io.has_room() && !io.kick(), "once is enough");
    }

    #[test]
    fn who_waits_for_input_on_a_stream_that_could_not_be_written_to_learns_of_it() {
        let (stream, mut peer) = iothub_net::memory::pair();
        let mut io = Io::new(stream);
        assert!(read(&mut io, &mut [0; 8]).is_pending());
        peer.send(b"AMQP\x00\x01\x00\x00");
        io.lock().end = Some(ConnectionErrorKind::ClosedByPeer);
        assert!(io.kick());
        assert_eq!(read(&mut io, &mut [0; 8]), Poll::Ready(8), "what the hub said last is read");
        assert_eq!(read(&mut io, &mut [0; 8]), Poll::Ready(0));
        assert!(matches!(poll(|context| Pin::new(&mut io).poll_write(context, b"more")), Poll::Ready(Err(_))));
    }

    #[test]
    fn nothing_is_watched_that_nobody_will_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let mut io = Io::new(Stream::from_tcp(socket, "localhost", 0).unwrap());
        assert!(read(&mut io, &mut [0; 8]).is_pending());
        assert_eq!(watched(&io), [(true, false)]);
        fill(&mut io, &Arc::default());
        assert_eq!(watched(&io), [(true, true)]);
        // The reader is told once; it waits for room.
        peer.write_all(b"AMQP\x00\x01\x00\x00").unwrap();
        while !io.kick() {
            std::thread::yield_now();
        }
        assert_eq!(watched(&io), [(false, true)]);
        assert_eq!(read(&mut io, &mut [0; 8]), Poll::Ready(8));
        assert!(read(&mut io, &mut [0; 8]).is_pending());
        assert_eq!(watched(&io), [(true, true)]);
    }
}
