//! The byte stream with its two buffers: packets come out at one end, encoded packets go in at the other.
//!
//! It counts what it sends, so that others can tell what has left the client from what only waits to.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use iothub_core::{ConnectionErrorKind, Readiness};
use iothub_net::Stream;

use crate::codec::{self, Incoming};

/// How much is taken from the stream at once. It is on the stack, so that an idle client holds no buffer, and small, so
/// that a look which finds nothing costs little; TLS has the rest of its record in memory.
const READ_CHUNK: usize = 1024;

/// What a read brought.
pub(crate) enum Received {
    /// So many bytes.
    Bytes(usize),
    /// Nothing at the moment.
    Nothing,
    /// The peer has closed the connection.
    End,
}

pub(crate) struct Wire {
    stream: Stream,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// How many bytes the stream has accepted since it was opened.
    written: u64,
    /// How many of them have left the client for certain.
    flushed: u64,
    /// The stream takes no more until its socket is writable.
    blocked: bool,
    last_sent: Instant,
}

impl Wire {
    pub(crate) fn new(stream: Stream, now: Instant) -> Self {
        Self {
            stream,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            written: 0,
            flushed: 0,
            blocked: false,
            last_sent: now,
        }
    }

    /// Where to encode packets to; [`send`](Self::send) sends them.
    pub(crate) fn outgoing(&mut self) -> &mut BytesMut {
        &mut self.outgoing
    }

    /// How many bytes were ever encoded; a packet's place in the stream is between two values of it.
    pub(crate) fn encoded(&self) -> u64 {
        self.written + self.outgoing.len() as u64
    }

    /// Up to which place the stream has accepted bytes.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Up to which place bytes have left the client.
    pub(crate) fn flushed(&self) -> u64 {
        self.flushed
    }

    /// How many encoded bytes the stream has not accepted yet.
    pub(crate) fn waiting(&self) -> usize {
        self.outgoing.len()
    }

    /// When bytes last left the client.
    pub(crate) fn last_sent(&self) -> Instant {
        self.last_sent
    }

    /// Whether everything has left the client.
    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed == self.encoded()
    }

    /// Whether there is output that the stream was not yet asked to take.
    pub(crate) fn has_output_to_try(&self) -> bool {
        !self.blocked && !self.is_flushed()
    }

    /// Sends all that the stream takes, flushing as seldom as it allows. What is left goes when it is writable.
    pub(crate) fn send(&mut self, now: Instant) -> io::Result<()> {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        let sent = self.send_directly(&outgoing, now);
        outgoing.advance(*sent.as_ref().unwrap_or(&0));
        self.outgoing = outgoing;
        sent.map(drop)
    }

    /// Sends bytes that are not to be copied into a buffer here; returns how many the stream took.
    pub(crate) fn send_directly(&mut self, bytes: &[u8], now: Instant) -> io::Result<usize> {
        let mut sent = 0;
        loop {
            let taken = write_some(&mut self.stream, &bytes[sent..])?;
            self.count(taken, now);
            sent += taken;
            if !self.flush(now)? || sent == bytes.len() {
                return Ok(sent);
            }
            if taken == 0 {
                self.blocked = true;
                return Ok(sent);
            }
        }
    }

    fn count(&mut self, taken: usize, now: Instant) {
        if taken > 0 {
            self.written += taken as u64;
            self.last_sent = now;
        }
    }

    /// Whether all that the stream had accepted has left. TLS may have something of its own to send as well.
    fn flush(&mut self, now: Instant) -> io::Result<bool> {
        if self.flushed == self.written && !self.stream.wants_write() {
            return Ok(true);
        }
        loop {
            match self.stream.flush() {
                Ok(()) => {
                    self.flushed = self.written;
                    self.last_sent = now;
                    self.blocked = false;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads one chunk into the buffer.
    pub(crate) fn receive(&mut self) -> io::Result<Received> {
        let mut chunk = [0; READ_CHUNK];
        let received = self.read(&mut chunk)?;
        if let Received::Bytes(count) = received {
            self.incoming.extend_from_slice(&chunk[..count]);
        }
        Ok(received)
    }

    /// Reads one chunk and throws it away.
    pub(crate) fn discard(&mut self) -> io::Result<Received> {
        self.read(&mut [0; READ_CHUNK])
    }

    fn read(&mut self, chunk: &mut [u8]) -> io::Result<Received> {
        loop {
            return match self.stream.read(chunk) {
                Ok(0) => Ok(Received::End),
                Ok(count) => Ok(Received::Bytes(count)),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock => Ok(Received::Nothing),
                    ErrorKind::UnexpectedEof => Ok(Received::End),
                    _ => Err(error),
                },
            };
        }
    }

    /// The next whole packet of what was received.
    pub(crate) fn next_packet(&mut self) -> Result<Option<Incoming>, ConnectionErrorKind> {
        codec::next_packet(&mut self.incoming)
    }

    /// Adds the descriptor to watch.
    pub(crate) fn readiness(&self, out: &mut Vec<Readiness>) {
        self.stream.readiness(true, self.blocked || !self.outgoing.is_empty(), out);
    }
}

/// Writes until the stream takes no more. An error that comes after some bytes will come again.
fn write_some(stream: &mut Stream, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match stream.write(&bytes[taken..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => taken += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock || taken > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}
