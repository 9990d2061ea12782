//! A hub without a server: no socket, no TLS, no thread. Whoever holds it moves the bytes and the clock, so that a client
//! and the hub can run in virtual time, on one thread, the same way every time.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::activity::TlsVersion;
use crate::auth::Peer;
use crate::config::Config;
use crate::error::StartError;
use crate::faults::DropPoint;
use crate::handle::{Addresses, Hub};
use crate::head::{Head, NewHead};
use crate::shared::Shared;
use crate::tls::Tls;
use crate::{amqp, mqtt};

/// A hub whose bytes and clock its owner moves. It derefs to [`Hub`], the service side.
///
/// ```
/// use iothub_emulator::{Config, OfflineHub};
/// use std::time::{Duration, SystemTime};
///
/// let hub = OfflineHub::new(Config::new(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))?;
/// let mut connection = hub.accept();
/// // Whoever does not say CONNECT within a minute is closed.
/// hub.advance_clock(connection.timeout().expect("a limit"));
/// connection.poll();
/// assert!(connection.is_closed());
/// # Ok::<(), iothub_emulator::StartError>(())
/// ```
#[derive(Debug)]
pub struct OfflineHub {
    hub: Hub,
    shared: Arc<Shared>,
}

impl OfflineHub {
    /// A hub with these settings, whose clock stands at `start` until it is advanced.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(config: Config, start: SystemTime) -> Result<Self, StartError> {
        let config = config.with_manual_clock(start).validated()?;
        let host_names = config.host_names.clone();
        let tls = Tls::new(&config.certificate_names()).map_err(StartError::Certificate)?;
        let shared = Arc::new(Shared::new(config));
        let addresses =
            Addresses { mqtt: (Ipv4Addr::LOCALHOST, 8883).into(), amqp: (Ipv4Addr::LOCALHOST, 5671).into() };
        let hub = Hub::new(Arc::clone(&shared), tls, host_names, addresses);
        Ok(Self { hub, shared })
    }

    /// The service side, to clone and share.
    #[must_use]
    pub fn hub(&self) -> Hub {
        self.hub.clone()
    }

    /// Takes in an MQTT connection, as if TLS 1.3 without a client certificate had been established on it.
    #[must_use]
    pub fn accept(&self) -> OfflineConnection {
        self.accept_with(|hub, now| Box::new(mqtt::Head::new(hub, now)))
    }

    /// Takes in an AMQP connection, as if TLS 1.3 without a client certificate had been established on it.
    #[must_use]
    pub fn accept_amqp(&self) -> OfflineConnection {
        self.accept_with(|hub, now| Box::new(amqp::Head::new(hub, now)))
    }

    fn accept_with(&self, new_head: NewHead) -> OfflineConnection {
        let head = self.shared.change(|hub, now| {
            let mut head = new_head(hub, now);
            head.drop_early(hub, now, DropPoint::TcpAccepted);
            head.secured(hub, now, Peer { tls_version: Some(TlsVersion::Tls13), ..Peer::default() });
            head
        });
        OfflineConnection { shared: Arc::clone(&self.shared), head }
    }

    /// How long until the hub itself has something to do: a lock or a message ends, feedback is due.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.shared.read(|hub, now| hub.timeout(now))
    }
}

impl Deref for OfflineHub {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
    }
}

/// One connection to an [`OfflineHub`]: bytes in, bytes out, next time-out.
pub struct OfflineConnection {
    shared: Arc<Shared>,
    head: Box<dyn Head>,
}

impl OfflineConnection {
    /// Bytes have come from the device.
    pub fn receive(&mut self, bytes: &[u8]) {
        let head = &mut self.head;
        self.shared.change(|hub, now| head.receive(hub, now, bytes));
    }

    /// The device has closed its side, or the network broke.
    pub fn peer_closed(&mut self) {
        let head = &mut self.head;
        self.shared.change(|hub, now| head.peer_closed(hub, now));
    }

    /// Time has passed, or something was asked of the hub.
    pub fn poll(&mut self) {
        let head = &mut self.head;
        self.shared.change(|hub, now| head.poll(hub, now));
    }

    /// What the hub has to say. After a [`SplitAt`](crate::Fault::SplitAt) that is the first piece; asked again, it gives the rest.
    #[must_use]
    pub fn take_output(&mut self) -> Vec<u8> {
        self.head.take_output()
    }

    /// Whether the hub closes the connection once its output is written.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.head.closing().is_some()
    }

    /// How long until [`poll`](Self::poll) has something to do, if nothing happens.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.shared.read(|_, now| self.head.timeout(now))
    }
}

impl fmt::Debug for OfflineConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfflineConnection").field("id", &self.head.id()).finish_non_exhaustive()
    }
}
