//! The emulator as a whole: what is started and stopped.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use crate::config::Config;
use crate::error::StartError;
use crate::handle::{Addresses, Hub};
use crate::head::NewHead;
use crate::server::Server;
use crate::shared::Shared;
use crate::tls::Tls;
use crate::{amqp, mqtt};

/// A running hub. Dropping it stops the server thread, waits for it, and closes all connections.
///
/// It derefs to [`Hub`], the service side.
///
/// ```
/// use iothub_emulator::{C2dMessage, Emulator};
///
/// let emulator = Emulator::start()?;
/// let device = emulator.create_device("thermometer")?;
/// println!("connect to {} with {}", emulator.mqtt_address(), device.connection_string());
///
/// emulator.send_c2d("thermometer", C2dMessage::new("report every minute"))?;
/// assert_eq!(emulator.c2d_queue("thermometer").len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Emulator {
    hub: Hub,
    // Held for its Drop.
    _server: Server,
}

impl Emulator {
    /// Starts with [`Config::default`]: on a free port of 127.0.0.1, in milliseconds.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start() -> Result<Self, StartError> {
        Self::start_with(Config::default())
    }

    /// Starts with these settings.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start_with(config: Config) -> Result<Self, StartError> {
        let config = config.validated()?;
        let tls = Tls::new(&config.certificate_names()).map_err(StartError::Certificate)?;
        let (max_connections, host_names) = (config.max_connections, config.host_names.clone());
        let endpoints: [(SocketAddr, NewHead); 2] = [
            (config.mqtt_address, |hub, now| Box::new(mqtt::Head::new(hub, now))),
            (config.amqp_address, |hub, now| Box::new(amqp::Head::new(hub, now))),
        ];
        let shared = Arc::new(Shared::new(config));
        let (server, [mqtt, amqp]) = Server::start(Arc::clone(&shared), &tls, endpoints, max_connections)?;
        let hub = Hub::new(shared, tls, host_names, Addresses { mqtt, amqp });
        Ok(Self { hub, _server: server })
    }

    /// The service side, to clone and share. It stays usable when the emulator is gone, but nothing can connect any more.
    #[must_use]
    pub fn hub(&self) -> Hub {
        self.hub.clone()
    }

    /// Stops, as dropping does.
    pub fn stop(self) {}
}

impl Deref for Emulator {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
    }
}
