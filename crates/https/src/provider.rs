//! What an application names when its client shall speak HTTPS.

use std::fmt;
use std::sync::Arc;

use iothub_core::{ClientCertificate, CreateError, HttpEngine, HttpProvider, Trust};
use iothub_net::Resolve;

use crate::engine::Engine;

/// The port of HTTPS.
const PORT: u16 = 443;

pub(crate) type MakeResolver = Arc<dyn Fn() -> Box<dyn Resolve> + Send + Sync>;

/// HTTPS for what a client does beside its transport.
///
/// ```
/// use iothub_https::Https;
///
/// let https = Https::new();
/// // ModuleClient::create_from_environment(&Mqtt::new(), https)
/// # let _ = https;
/// ```
#[derive(Clone)]
pub struct Https {
    port: u16,
    resolver: Option<MakeResolver>,
}

impl Https {
    /// HTTPS with every option at its default.
    pub fn new() -> Self {
        Self { port: PORT, resolver: None }
    }

    /// The TCP port that stands for 443, 1 to 65535: for a gateway or hub that listens elsewhere.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Makes the resolver that looks up a host name, one for each look-up. By default the operating system's is asked, on a
    /// thread that lives as long as the look-up, one at a time; with a resolver of the application no thread is started.
    #[must_use]
    pub fn resolver<R: Resolve + 'static>(mut self, make: impl Fn() -> R + Send + Sync + 'static) -> Self {
        self.resolver = Some(Arc::new(move || Box::new(make())));
        self
    }
}

impl Default for Https {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Https")
            .field("port", &self.port)
            .field("resolver", &self.resolver.as_ref().map_or("system", |_| "application"))
            .finish()
    }
}

impl HttpProvider for Https {
    fn engine(
        &self,
        trust: &Trust,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Box<dyn HttpEngine>, CreateError> {
        if self.port == 0 {
            return Err(CreateError::Option { option: "port", value: "0".to_owned(), allowed: "from 1 to 65535" });
        }
        Ok(Box::new(Engine::new(self.port, self.resolver.clone(), trust, certificate)?))
    }
}
