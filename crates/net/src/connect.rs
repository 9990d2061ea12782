//! What opens a connection, as transports see it.

use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use iothub_core::{ClientCertificate, ConnectionError, CreateError, Now, Readiness, Trust};

use crate::{Stream, TcpKeepAlive};

/// Opens connections to one host and port, a slice at a time.
///
/// [`Connector`](crate::Connector) is the real one; [`memory::network`](crate::memory::network) makes one for tests.
/// Nothing here blocks. An attempt runs from [`start`](Self::start) until [`poll`](Self::poll) is ready or
/// [`cancel`](Self::cancel); in between, poll it when a descriptor of [`readiness`](Self::readiness) is ready, when
/// [`next_deadline`](Self::next_deadline) has come, and when the waker was used.
pub trait Connect: Send {
    /// The host, for error texts.
    fn host(&self) -> &Arc<str>;

    /// The port, for error texts.
    fn port(&self) -> u16;

    /// Says how to wake the client when an attempt can go on and no descriptor shows it (a look-up that finished on
    /// the resolver's thread). Without a waker the client notices at its next `do_work`.
    fn set_waker(&mut self, waker: &Waker);

    /// Limits each stage of the attempts that start after this, by itself; call it between attempts. A connection that
    /// has no stages to limit need not do anything.
    fn set_timeout(&mut self, _timeout: Duration) {}

    /// Sets the TCP keep-alive of the connections that are made after this. A connection without TCP ignores it.
    fn set_tcp_keep_alive(&mut self, _keep_alive: TcpKeepAlive) {}

    /// Shows another certificate from the next attempt on; `None` shows none.
    ///
    /// # Errors
    ///
    /// [`CreateError::Certificate`] for one that cannot be used, and for any if the connection has no TLS; what was
    /// shown before stays.
    fn set_certificate(&mut self, certificate: Option<&ClientCertificate>) -> Result<(), CreateError> {
        match certificate {
            None => Ok(()),
            Some(_) => Err(CreateError::Certificate {
                what: "certificate",
                detail: "this connection has no TLS to show it in".to_owned(),
            }),
        }
    }

    /// Trusts other authorities from the next attempt on. A connection without TLS ignores it.
    ///
    /// # Errors
    ///
    /// [`CreateError::Certificate`] for certificates that cannot be used; those that were trusted before stay.
    fn set_trust(&mut self, _trust: &Trust) -> Result<(), CreateError> {
        Ok(())
    }

    /// Starts an attempt; one that is under way is dropped first.
    fn start(&mut self, now: Now);

    /// Goes as far as it can without blocking. After `Ready` the attempt is over; without an attempt it stays
    /// `Pending`.
    fn poll(&mut self, now: Now) -> Poll<Result<Stream, ConnectionError>>;

    /// Drops the attempt, if there is one.
    fn cancel(&mut self);

    /// When [`poll`](Self::poll) must be called even if nothing becomes ready; a time in the past means now.
    fn next_deadline(&self) -> Option<Instant>;

    /// Adds the descriptors that the attempt waits for.
    fn readiness(&self, out: &mut Vec<Readiness>);
}
