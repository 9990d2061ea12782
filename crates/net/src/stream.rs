//! The one byte stream that every protocol runs on.
//!
//! It owns the connection's end (goodbye, shutdown on drop) and leaves bytes to the layer below: a WebSocket (over
//! another stream), TLS, plain TCP or memory.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use iothub_core::Readiness;

use crate::tcp::{PlainLayer, Socket};

/// What a stream is made of.
pub(crate) trait Layer: Read + Write + Send {
    /// Whether accepted bytes wait inside.
    fn wants_write(&self) -> bool;

    /// Adds the descriptor to watch.
    fn readiness(&self, read: bool, write: bool, out: &mut Vec<Readiness>);

    /// Pushes what it can without blocking, says goodbye and closes. Called once, last.
    fn shutdown(&mut self);
}

/// An established, non-blocking byte stream: TLS over TCP, plain TCP, or [in memory](crate::memory), with or without a
/// WebSocket on it.
///
/// `read` and `write` fail with [`WouldBlock`](io::ErrorKind::WouldBlock) when nothing can move.
///
/// - **Reading** 0 bytes means that the peer closed, with or without a TLS goodbye: hubs close without one.
/// - **Writing** collects: many small writes leave as few TLS records and few system calls. A write takes as many bytes
///   as there is room for (64 KiB), and what it took is sent by [`flush`](Write::flush), which fails with `WouldBlock`
///   while the socket is full. Flush again when it is writable; [`wants_write`](Self::wants_write) says whether that is
///   needed.
///
/// Dropping the stream shuts it down, so that the peer learns of it even where a [`Readiness`] is still held.
///
/// ```
/// use std::io::{Read, Write};
///
/// let (mut stream, mut peer) = iothub_net::memory::pair();
/// stream.write_all(b"hello ")?;
/// stream.write_all(b"hub")?;
/// assert!(stream.wants_write());
/// stream.flush()?;
/// assert_eq!(peer.receive(), b"hello hub");
///
/// let nothing = stream.read(&mut [0; 16]).unwrap_err();
/// assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
/// # std::io::Result::Ok(())
/// ```
pub struct Stream {
    host: Arc<str>,
    port: u16,
    layer: Box<dyn Layer>,
    open: bool,
}

impl Stream {
    /// A stream over a connected TCP socket, without TLS.
    ///
    /// For local services that speak plain text. Host and port are only for texts. Fails if the operating system
    /// refuses to make the socket non-blocking.
    pub fn from_tcp(socket: std::net::TcpStream, host: impl Into<Arc<str>>, port: u16) -> io::Result<Self> {
        Ok(Self::new(host.into(), port, Box::new(PlainLayer::new(Socket::from_connected(socket)?))))
    }

    pub(crate) fn new(host: Arc<str>, port: u16, layer: Box<dyn Layer>) -> Self {
        Self { host, port, layer, open: true }
    }

    /// Whether bytes are buffered inside: flush when the descriptor is writable.
    pub fn wants_write(&self) -> bool {
        self.open && self.layer.wants_write()
    }

    /// Adds the descriptor to watch: readable if `read`, writable if `write` or [`wants_write`](Self::wants_write).
    ///
    /// Ask for `read` only where the next thing that is done is to read: a descriptor with unread input is ready at once,
    /// every time. In-memory streams, streams that were shut down and those that wait for nothing add none.
    pub fn readiness(&self, read: bool, write: bool, out: &mut Vec<Readiness>) {
        let write = write || self.layer.wants_write();
        if self.open && (read || write) {
            self.layer.readiness(read, write, out);
        }
    }

    /// Sends what is buffered and a TLS goodbye as far as that goes without blocking, then closes the connection.
    ///
    /// Afterwards reading and writing fail with [`NotConnected`](io::ErrorKind::NotConnected). Calling it again does
    /// nothing.
    pub fn shutdown(&mut self) {
        if std::mem::take(&mut self.open) {
            self.layer.shutdown();
        }
    }

    fn open_layer(&mut self) -> io::Result<&mut dyn Layer> {
        if self.open {
            Ok(self.layer.as_mut())
        } else {
            Err(io::Error::new(io::ErrorKind::NotConnected, "the connection was shut down"))
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.open_layer()?.read(buf)
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.open_layer()?.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.open_layer()?.flush()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({}:{})", self.host, self.port)
    }
}
