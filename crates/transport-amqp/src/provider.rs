//! The provider: what an application names when it wants AMQP.

use std::time::Duration;

use iothub_core::{CreateError, Endpoint, Platform, Provider, Transport};
use iothub_net::{Connect, Connector, Dial, Resolve, SystemPlatform};

use crate::options::SessionOptions;
use crate::transport::AmqpTransport;

/// The name in errors, and of the cargo feature.
const NAME: &str = "amqp";

/// The port of AMQP over TLS, as IANA and the hub have it.
const PORT: u16 = 5671;

/// AMQP 1.0 over TLS.
///
/// ```
/// use iothub_transport_amqp::Amqp;
/// use std::time::Duration;
///
/// let protocol = Amqp::new().keep_alive(Duration::from_secs(60)).max_in_flight(1000);
/// # let _ = protocol;
/// ```
#[doc(alias = "AMQP_Protocol")]
#[derive(Clone, Debug)]
pub struct Amqp {
    options: SessionOptions,
    dial: Dial,
}

impl Amqp {
    /// AMQP with every option at its default.
    pub fn new() -> Self {
        Self { options: SessionOptions::default(), dial: Dial::new(PORT) }
    }

    /// How long the hub may be silent: whole seconds, 5 to 1177, default 240; see [`SessionOptions::keep_alive`].
    #[doc(alias = "svc2cl_keep_alive_timeout_secs")]
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.options.keep_alive = interval;
        self
    }

    /// How long each stage of connecting may take: the look-up of the name, the TCP connection to each address, TLS on
    /// it, and each of the hub's answers: to Open, to a token, to a session, to a link. 100 ms to 10 minutes, default 30 s.
    #[doc(alias = "cbs_request_timeout")]
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// The TCP port, 1 to 65535, default 5671. A port in `GatewayHostName` goes before it.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.dial.set_port(port);
        self
    }

    /// How many messages of each device may be sent and not yet confirmed: 1 to 65,000, default 100.
    #[must_use]
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.options.max_in_flight = messages;
        self
    }

    /// Whether messages that wait together are sent together; default `true`. See [`SessionOptions::batching`].
    #[must_use]
    pub fn batching(mut self, batching: bool) -> Self {
        self.options.batching = batching;
        self
    }

    /// Makes the resolver that looks up host names, one for each client. By default the operating system's is asked, on
    /// a thread that lives as long as the look-up; with a resolver of the application no thread is started.
    #[must_use]
    pub fn resolver<R: Resolve + 'static>(mut self, make: impl Fn() -> R + Send + Sync + 'static) -> Self {
        self.dial.set_resolver(make);
        self
    }

    /// A transport that is called `name` in errors and runs over what `wrap` makes of the TLS connection, given that and
    /// the connect time-out.
    pub(crate) fn transport_over(
        &self,
        name: &'static str,
        endpoint: &Endpoint,
        wrap: impl FnOnce(Connector, Duration) -> Result<Box<dyn Connect>, CreateError>,
    ) -> Result<Box<dyn Transport>, CreateError> {
        self.options.check()?;
        let timeout = self.options.connect_timeout;
        let connect = wrap(self.dial.connector(endpoint, timeout)?, timeout)?;
        Ok(Box::new(AmqpTransport::new(name, connect, self.options.clone())?))
    }
}

impl Default for Amqp {
    fn default() -> Self {
        Self::new()
    }
}

impl Provider for Amqp {
    fn transport(&self, endpoint: &Endpoint) -> Result<Box<dyn Transport>, CreateError> {
        self.transport_over(NAME, endpoint, |connector, _| Ok(Box::new(connector)))
    }

    fn platform(&self) -> Result<Box<dyn Platform>, CreateError> {
        Ok(Box::new(SystemPlatform::new()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(protocol: &Amqp) -> String {
        match protocol.transport(&Endpoint::new("hub.example")) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{protocol:?} was taken"),
        }
    }

    #[test]
    fn the_port_is_5671_unless_the_provider_or_the_endpoint_says_otherwise() {
        let mut endpoint = Endpoint::new("hub.example");
        let port = |protocol: &Amqp, endpoint: &Endpoint| protocol.transport(endpoint).unwrap().peer().1;
        assert_eq!(port(&Amqp::new(), &endpoint), 5671);
        assert_eq!(port(&Amqp::new().port(1234), &endpoint), 1234);
        endpoint.port = Some(4321);
        assert_eq!(port(&Amqp::new().port(1234), &endpoint), 4321);
    }

    #[test]
    fn an_option_out_of_range_fails_at_creation_by_its_name() {
        assert!(refused(&Amqp::new().keep_alive(Duration::ZERO)).contains("keep_alive"));
        assert!(refused(&Amqp::new().connect_timeout(Duration::ZERO)).contains("connect_timeout"));
        assert!(refused(&Amqp::new().max_in_flight(0)).contains("max_in_flight"));
        assert!(refused(&Amqp::new().port(0)).contains("port"));
    }
}
