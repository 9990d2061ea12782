//! One TLS connection over one socket: the handshake, then bytes.
//!
//! Plaintext collects in `unsent` and becomes records only when the records before it have left. So small writes share
//! a record, a large flush fills records of 16 KiB and leaves with one system call, and what a slow peer makes us hold
//! is bounded: 64 KiB of plaintext and as much in records.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::task::Poll;

use iothub_core::Readiness;
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;
use zeroize::Zeroizing;

use super::error::describe;
use crate::stream::Layer;
use crate::tcp::{Socket, collect, would_block_is_fine};

/// Room for the first packet, which holds the token: growing would leave a copy of it behind.
const FIRST_CAPACITY: usize = 4 * 1024;

/// A TLS connection, during and after its handshake.
pub(crate) struct TlsSession {
    connection: ClientConnection,
    socket: Socket,
    /// Plaintext that is not yet in records; the first of it holds the token.
    unsent: Zeroizing<Vec<u8>>,
    /// What ended the TLS session, kept until everything received before it was read.
    fault: Option<rustls::Error>,
}

/// How a handshake ended that did not succeed.
pub(crate) enum HandshakeFailure {
    /// By one side's verdict.
    Tls(rustls::Error),
    /// The network failed below it.
    Io(io::Error),
    /// The server closed in the middle.
    Closed,
}

impl TlsSession {
    pub(crate) fn new(
        config: &Arc<ClientConfig>,
        server_name: &ServerName<'static>,
        socket: Socket,
    ) -> Result<Self, rustls::Error> {
        let mut connection = ClientConnection::new(config.clone(), server_name.clone())?;
        // `unsent` is the limit.
        connection.set_buffer_limit(None);
        Ok(Self { connection, socket, unsent: Zeroizing::new(Vec::with_capacity(FIRST_CAPACITY)), fault: None })
    }

    /// Goes on with the handshake as far as the socket allows.
    pub(crate) fn poll_handshake(&mut self) -> Poll<Result<(), HandshakeFailure>> {
        loop {
            if let Err(error) = self.send_records().or_else(would_block_is_fine) {
                let error = self.explain(error);
                return Poll::Ready(Err(self.fault.take().map_or(HandshakeFailure::Io(error), HandshakeFailure::Tls)));
            }
            if !self.connection.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            match self.connection.read_tls(&mut &self.socket) {
                Ok(0) => return Poll::Ready(Err(HandshakeFailure::Closed)),
                Ok(_) => {
                    if let Err(error) = self.connection.process_new_packets() {
                        // Tells the server why, if it still listens.
                        let _ = self.send_records();
                        if self.connection.is_handshaking() {
                            return Poll::Ready(Err(HandshakeFailure::Tls(error)));
                        }
                        // The handshake was complete, and what came with its end is bad: reading tells.
                        self.fault = Some(error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(HandshakeFailure::Io(error))),
            }
        }
    }

    /// The version that the handshake agreed on, for the log.
    pub(crate) fn version(&self) -> Option<rustls::ProtocolVersion> {
        self.connection.protocol_version()
    }

    /// Writes finished records to the socket.
    fn send_records(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut &self.socket)?;
        }
        Ok(())
    }

    /// Makes records of everything and writes them to the socket.
    fn push(&mut self) -> io::Result<()> {
        loop {
            match self.send_records() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(self.explain(error)),
                outcome => outcome?,
            }
            if self.unsent.is_empty() {
                return Ok(());
            }
            self.connection.writer().write_all(&self.unsent)?;
            // Wiping the whole buffer, as `zeroize` does, would cost more than sending a small packet.
            self.unsent.fill(0);
            self.unsent.clear();
        }
    }

    /// Takes in one read's worth of records; `Ok(false)` at the end of the connection.
    fn receive_records(&mut self) -> io::Result<bool> {
        if self.connection.read_tls(&mut &self.socket)? == 0 {
            return Ok(false);
        }
        if let Err(error) = self.connection.process_new_packets() {
            self.fault = Some(error);
        }
        if self.connection.wants_write() {
            // An alert, or an answer to a key update. A socket that fails here fails for whoever uses it next.
            let _ = self.send_records();
        }
        Ok(true)
    }

    /// The better reason for a failed write: a server that gives up sends an alert, then resets the connection, and the
    /// reset alone says nothing (a missing client certificate shows like this in TLS 1.3).
    fn explain(&mut self, error: io::Error) -> io::Error {
        while self.fault.is_none() && matches!(self.receive_records(), Ok(true)) {}
        self.fault.as_ref().map_or(error, fault_error)
    }
}

fn fault_error(fault: &rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, describe(fault))
}

impl Read for TlsSession {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The end without a TLS goodbye. A protocol that needs more than an end has its own.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            if let Some(fault) = &self.fault {
                return Err(fault_error(fault));
            }
            self.receive_records()?;
        }
    }
}

impl Write for TlsSession {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if let Some(fault) = &self.fault {
            return Err(fault_error(fault));
        }
        if self.unsent.len() >= crate::tcp::UNSENT_LIMIT {
            self.push().or_else(would_block_is_fine)?;
        }
        collect(&mut self.unsent, buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(fault) = &self.fault {
            return Err(fault_error(fault));
        }
        self.push()
    }
}

impl Layer for TlsSession {
    fn wants_write(&self) -> bool {
        !self.unsent.is_empty() || self.connection.wants_write()
    }

    fn readiness(&self, read: bool, write: bool, out: &mut Vec<Readiness>) {
        self.socket.readiness(read, write, out);
    }

    fn shutdown(&mut self) {
        // Best effort: a peer that takes no more bytes must not hold up the end.
        if self.fault.is_none() && self.push().is_ok() {
            self.connection.send_close_notify();
        }
        let _ = self.send_records();
        self.socket.close();
    }
}
