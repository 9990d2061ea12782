//! One TCP socket: connecting without blocking, reading, writing, and an end that the peer understands.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use iothub_core::Readiness;
use rustix::net::sockopt;

use crate::stream::Layer;

/// The most that is read and thrown away when a socket closes.
const DRAIN_LIMIT: usize = 64 * 1024;

/// The most bytes that a layer holds for a socket that does not take them.
pub(crate) const UNSENT_LIMIT: usize = 64 * 1024;

/// Whether and how the operating system probes an idle TCP connection; `None` leaves it to the system.
///
/// The system reckons in whole seconds, on Linux from 1 to 32767; a fraction counts as a whole second. What it refuses
/// fails the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpKeepAlive {
    /// Whether it probes at all (`SO_KEEPALIVE`).
    #[doc(alias = "tcp_keepalive")]
    pub enabled: Option<bool>,
    /// How long the connection must be idle before the first probe (`TCP_KEEPIDLE`).
    #[doc(alias = "tcp_keepalive_time")]
    pub time: Option<Duration>,
    /// How long it waits between two probes (`TCP_KEEPINTVL`).
    #[doc(alias = "tcp_keepalive_interval")]
    pub interval: Option<Duration>,
}

impl TcpKeepAlive {
    fn apply(&self, socket: &TcpStream) -> io::Result<()> {
        if let Some(enabled) = self.enabled {
            sockopt::set_socket_keepalive(socket, enabled)?;
        }
        if let Some(time) = self.time {
            sockopt::set_tcp_keepidle(socket, time)?;
        }
        if let Some(interval) = self.interval {
            sockopt::set_tcp_keepintvl(socket, interval)?;
        }
        Ok(())
    }
}

/// A non-blocking socket that shuts down when dropped, whoever else holds its descriptor.
pub(crate) struct Socket {
    stream: Arc<TcpStream>,
}

impl Socket {
    /// Begins to connect. An error here means that the operating system did not even try, or was refused at once.
    pub(crate) fn connect(address: SocketAddr, keep_alive: &TcpKeepAlive) -> io::Result<Self> {
        // The standard library can only connect blocking.
        let stream = TcpStream::from(mio::net::TcpStream::connect(address)?);
        let refused = |error: io::Error| io::Error::new(error.kind(), format!("setting its keep-alive: {error}"));
        keep_alive.apply(&stream).map_err(refused)?;
        Ok(Self { stream: Arc::new(stream) })
    }

    pub(crate) fn from_connected(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: Arc::new(stream) })
    }

    /// Whether the connection is made.
    pub(crate) fn poll_connected(&self) -> Poll<io::Result<()>> {
        if let Some(error) = self.stream.take_error()? {
            return Poll::Ready(Err(error));
        }
        match self.stream.peer_addr() {
            // Knocking at a closed local port, a socket that was given this very port meets itself (TCP's simultaneous
            // open). That would keep a restarting local hub from getting its port back.
            Ok(peer) if self.stream.local_addr()? == peer => Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into())),
            // Packets leave when flushed; waiting for more would only delay them.
            Ok(_) => Poll::Ready(self.stream.set_nodelay(true)),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    pub(crate) fn readiness(&self, read: bool, write: bool, out: &mut Vec<Readiness>) {
        out.push(Readiness { source: self.stream.clone(), read, write });
    }

    /// Ends the connection so that the peer gets everything that was sent.
    ///
    /// Closing a socket with unread input makes Linux send a reset, and a reset destroys what the peer has not read yet
    /// (an MQTT DISCONNECT, a TLS goodbye). So: end of our bytes first, then throw the input away, then close.
    pub(crate) fn close(&self) {
        // A socket that is broken or not yet connected fails here; it is closed all the same.
        let _ = self.stream.shutdown(Shutdown::Write);
        let mut thrown_away = [0; 4096];
        let mut total = 0;
        while total < DRAIN_LIMIT {
            match (&*self.stream).read(&mut thrown_away) {
                Ok(0) => break,
                Ok(n) => total += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Read for &Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        retry(|| (&*self.stream).read(buf))
    }
}

impl Write for &Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        retry(|| (&*self.stream).write(buf))
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        retry(|| (&*self.stream).write_vectored(bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A Readiness may keep the descriptor open; the peer must learn of the end now.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// A signal that arrives during a system call is no reason to stop.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Plain bytes on a socket, collected like those of TLS.
pub(crate) struct PlainLayer {
    socket: Socket,
    unsent: Vec<u8>,
}

impl PlainLayer {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, unsent: Vec::new() }
    }

    fn push(&mut self) -> io::Result<()> {
        let mut sent = 0;
        let outcome = loop {
            if sent == self.unsent.len() {
                break Ok(());
            }
            match (&self.socket).write(&self.unsent[sent..]) {
                Ok(n) => sent += n,
                Err(error) => break Err(error),
            }
        };
        self.unsent.drain(..sent);
        outcome
    }
}

impl Read for PlainLayer {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&self.socket).read(buf)
    }
}

impl Write for PlainLayer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.unsent.len() == UNSENT_LIMIT {
            self.push().or_else(would_block_is_fine)?;
        }
        collect(&mut self.unsent, buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.push()
    }
}

impl Layer for PlainLayer {
    fn wants_write(&self) -> bool {
        !self.unsent.is_empty()
    }

    fn readiness(&self, read: bool, write: bool, out: &mut Vec<Readiness>) {
        self.socket.readiness(read, write, out);
    }

    fn shutdown(&mut self) {
        // Best effort: a peer that takes no more bytes must not hold up the end.
        let _ = self.push();
        self.socket.close();
    }
}

/// Adds as much of `buf` to `unsent` as the limit allows; `WouldBlock` if that is nothing.
pub(crate) fn collect(unsent: &mut Vec<u8>, buf: &[u8]) -> io::Result<usize> {
    let taken = buf.len().min(UNSENT_LIMIT - unsent.len());
    if taken == 0 && !buf.is_empty() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    unsent.extend_from_slice(&buf[..taken]);
    Ok(taken)
}

/// For a push whose only purpose is to make room.
pub(crate) fn would_block_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_met_itself_was_refused() {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let stream = TcpStream::from(socket);
        let own = stream.local_addr().expect("its address");
        connect(&stream, &own).expect("Linux connects it to itself");
        let socket = Socket::from_connected(stream).expect("a socket");
        let Poll::Ready(Err(error)) = socket.poll_connected() else { panic!("it must not count as connected") };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
