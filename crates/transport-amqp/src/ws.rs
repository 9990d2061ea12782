//! AMQP inside a WebSocket: for networks that let nothing out but HTTPS.

use std::time::Duration;

use iothub_core::{CreateError, Endpoint, Platform, Provider, Transport};
use iothub_net::{Resolve, WebSocketConnector};

use crate::Amqp;

/// The name in errors, and of the cargo feature.
const NAME: &str = "amqp-ws";

/// The port of HTTPS.
const PORT: u16 = 443;

/// Where hubs and gateways upgrade, and to what: as every official device SDK asks.
const PATH: &str = "/$iothub/websocket";
const SUBPROTOCOL: &str = "AMQPWSB10";

/// AMQP 1.0 over a WebSocket over TLS, port 443.
///
/// It does what [`Amqp`] does, with the same options, and goes where only HTTPS goes: through firewalls that close port
/// 5671, and through proxies that allow CONNECT to port 443 alone.
///
/// ```
/// use iothub_transport_amqp::AmqpWs;
/// use std::time::Duration;
///
/// let protocol = AmqpWs::new().keep_alive(Duration::from_secs(60)).max_in_flight(1000);
/// # let _ = protocol;
/// ```
#[doc(alias = "AMQP_Protocol_over_WebSocketsTls")]
#[derive(Clone, Debug)]
pub struct AmqpWs(Amqp);

impl AmqpWs {
    /// AMQP over WebSocket with every option at its default.
    pub fn new() -> Self {
        Self(Amqp::new().port(PORT))
    }

    /// How long the hub may be silent; see [`Amqp::keep_alive`]. The traffic that keeps an idle connection alive is AMQP's
    /// own.
    #[doc(alias = "svc2cl_keep_alive_timeout_secs")]
    #[must_use]
    pub fn keep_alive(self, interval: Duration) -> Self {
        Self(self.0.keep_alive(interval))
    }

    /// How long each stage of connecting may take, the upgrade to a WebSocket among them; see [`Amqp::connect_timeout`].
    #[doc(alias = "cbs_request_timeout")]
    #[must_use]
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        Self(self.0.connect_timeout(timeout))
    }

    /// The TCP port, 1 to 65535, default 443. A port in `GatewayHostName` goes before it.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        Self(self.0.port(port))
    }

    /// How many messages of each device may be sent and not yet confirmed; see [`Amqp::max_in_flight`].
    #[must_use]
    pub fn max_in_flight(self, messages: usize) -> Self {
        Self(self.0.max_in_flight(messages))
    }

    /// Whether messages that wait together are sent together; see [`Amqp::batching`].
    #[must_use]
    pub fn batching(self, batching: bool) -> Self {
        Self(self.0.batching(batching))
    }

    /// Makes the resolver that looks up host names, one for each client; see [`Amqp::resolver`].
    #[must_use]
    pub fn resolver<R: Resolve + 'static>(self, make: impl Fn() -> R + Send + Sync + 'static) -> Self {
        Self(self.0.resolver(make))
    }
}

impl Default for AmqpWs {
    fn default() -> Self {
        Self::new()
    }
}

impl Provider for AmqpWs {
    fn transport(&self, endpoint: &Endpoint) -> Result<Box<dyn Transport>, CreateError> {
        self.0.transport_over(NAME, endpoint, |below, timeout| {
            Ok(Box::new(WebSocketConnector::new(Box::new(below), PATH, SUBPROTOCOL, timeout)?))
        })
    }

    fn platform(&self) -> Result<Box<dyn Platform>, CreateError> {
        self.0.platform()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(protocol: &AmqpWs) -> String {
        match protocol.transport(&Endpoint::new("hub.example")) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{protocol:?} was taken"),
        }
    }

    #[test]
    fn the_port_is_443_unless_the_provider_or_the_endpoint_says_otherwise() {
        let mut endpoint = Endpoint::new("hub.example");
        let port = |protocol: &AmqpWs, endpoint: &Endpoint| protocol.transport(endpoint).unwrap().peer().1;
        assert_eq!(port(&AmqpWs::new(), &endpoint), 443);
        assert_eq!(port(&AmqpWs::new().port(1234), &endpoint), 1234);
        endpoint.port = Some(4321);
        assert_eq!(port(&AmqpWs::new().port(1234), &endpoint), 4321);
    }

    #[test]
    fn it_has_a_name_of_its_own_and_can_do_what_amqp_can() {
        let endpoint = Endpoint::new("hub.example");
        let (over_ws, plain) = (AmqpWs::new().transport(&endpoint).unwrap(), Amqp::new().transport(&endpoint).unwrap());
        let (ours, theirs) = (over_ws.capabilities(), plain.capabilities());
        assert_eq!((ours.name, theirs.name), ("amqp-ws", "amqp"));
        assert_eq!((ours.features, ours.dispositions), (theirs.features, theirs.dispositions));
        assert_eq!((ours.max_devices, ours.renewal), (theirs.max_devices, theirs.renewal));
    }

    #[test]
    fn an_option_out_of_range_fails_at_creation_by_its_name() {
        assert!(refused(&AmqpWs::new().keep_alive(Duration::ZERO)).contains("keep_alive"));
        assert!(refused(&AmqpWs::new().connect_timeout(Duration::ZERO)).contains("connect_timeout"));
        assert!(refused(&AmqpWs::new().max_in_flight(0)).contains("max_in_flight"));
        assert!(refused(&AmqpWs::new().port(0)).contains("port"));
    }
}
