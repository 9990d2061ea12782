//! What every provider asks for before it connects: the port, and who looks up names.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use iothub_core::{CreateError, Endpoint};

use crate::{Connector, Resolve};

/// The port and the resolver that a provider was given, from which it makes a [`Connector`] for each transport.
#[derive(Clone)]
pub struct Dial {
    port: u16,
    resolver: Option<Arc<dyn Fn() -> Box<dyn Resolve> + Send + Sync>>,
}

impl Dial {
    /// This port, unless the endpoint names another one, and the operating system's resolver.
    pub fn new(port: u16) -> Self {
        Self { port, resolver: None }
    }

    /// Another port.
    pub fn set_port(&mut self, port: u16) {
        self.port = port;
    }

    /// Makes the resolver, one for each connector, instead of asking the operating system's.
    pub fn set_resolver<R: Resolve + 'static>(&mut self, make: impl Fn() -> R + Send + Sync + 'static) {
        self.resolver = Some(Arc::new(move || Box::new(make())));
    }

    /// A connector to this endpoint, each stage of which may take `timeout`.
    ///
    /// # Errors
    ///
    /// [`CreateError::Option`] for port 0, and those of [`Connector::new`].
    pub fn connector(&self, endpoint: &Endpoint, timeout: Duration) -> Result<Connector, CreateError> {
        if endpoint.port.unwrap_or(self.port) == 0 {
            return Err(CreateError::Option { option: "port", value: "0".to_owned(), allowed: "from 1 to 65535" });
        }
        Connector::new(endpoint, self.port, timeout, self.resolver.as_ref().map(|make| make()))
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial")
            .field("port", &self.port)
            .field("resolver", &self.resolver.as_ref().map_or("system", |_| "application"))
            .finish()
    }
}
