//! MQTT 3.1.1 over WebSocket for `iothub-client`: for networks that let nothing out but HTTPS.
//!
//! The session is that of `iothub-transport-mqtt`, the WebSocket that of `iothub-net`; this crate puts one on the other,
//! and says which path and subprotocol an IoT hub wants.

use std::time::Duration;

use iothub_core::{CreateError, Endpoint, Platform, Provider, Transport};
use iothub_net::{Resolve, WebSocketConnector};
use iothub_transport_mqtt::Mqtt;

/// The name in errors, and of the cargo feature.
const NAME: &str = "mqtt-ws";

/// The port of HTTPS.
const PORT: u16 = 443;

/// Where hubs and gateways upgrade, and to what: as every official SDK asks.
const PATH: &str = "/$iothub/websocket";
const SUBPROTOCOL: &str = "mqtt";

/// MQTT 3.1.1 over a WebSocket over TLS, port 443.
///
/// It does what [`Mqtt`] does, with the same options, and goes where only HTTPS goes: through firewalls that close port
/// 8883, and through proxies that allow CONNECT to port 443 alone.
///
/// ```
/// use iothub_transport_mqtt_ws::MqttWs;
/// use std::time::Duration;
///
/// let protocol = MqttWs::new().keep_alive(Duration::from_secs(60)).max_in_flight(1000);
/// # let _ = protocol;
/// ```
#[doc(alias = "MQTT_WebSocket_Protocol")]
#[derive(Clone, Debug)]
pub struct MqttWs(Mqtt);

impl MqttWs {
    /// MQTT over WebSocket with every option at its default.
    pub fn new() -> Self {
        Self(Mqtt::new().port(PORT))
    }

    /// How long the connection may be idle before the client asks whether the hub is still there; see
    /// [`Mqtt::keep_alive`]. The pings are MQTT's own.
    #[doc(alias = "keepalive")]
    #[must_use]
    pub fn keep_alive(self, interval: Duration) -> Self {
        Self(self.0.keep_alive(interval))
    }

    /// How long each stage of connecting may take, the upgrade to a WebSocket among them; see [`Mqtt::connect_timeout`].
    #[must_use]
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        Self(self.0.connect_timeout(timeout))
    }

    /// The TCP port, 1 to 65535, default 443. A port in `GatewayHostName` goes before it.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        Self(self.0.port(port))
    }

    /// How many messages may be sent and not yet acknowledged; see [`Mqtt::max_in_flight`].
    #[must_use]
    pub fn max_in_flight(self, messages: usize) -> Self {
        Self(self.0.max_in_flight(messages))
    }

    /// Makes the resolver that looks up host names, one for each client; see [`Mqtt::resolver`].
    #[must_use]
    pub fn resolver<R: Resolve + 'static>(self, make: impl Fn() -> R + Send + Sync + 'static) -> Self {
        Self(self.0.resolver(make))
    }
}

impl Default for MqttWs {
    fn default() -> Self {
        Self::new()
    }
}

impl Provider for MqttWs {
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

    fn refused(protocol: &MqttWs) -> String {
        match protocol.transport(&Endpoint::new("hub.example")) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{protocol:?} was taken"),
        }
    }

    #[test]
    fn the_port_is_443_unless_the_provider_or_the_endpoint_says_otherwise() {
        let mut endpoint = Endpoint::new("hub.example");
        let port = |protocol: &MqttWs, endpoint: &Endpoint| protocol.transport(endpoint).unwrap().peer().1;
        assert_eq!(port(&MqttWs::new(), &endpoint), 443);
        assert_eq!(port(&MqttWs::new().port(1234), &endpoint), 1234);
        endpoint.port = Some(4321);
        assert_eq!(port(&MqttWs::new().port(1234), &endpoint), 4321);
    }

    #[test]
    fn it_has_a_name_of_its_own_and_can_do_what_mqtt_can() {
        let endpoint = Endpoint::new("hub.example");
        let (over_ws, plain) = (MqttWs::new().transport(&endpoint).unwrap(), Mqtt::new().transport(&endpoint).unwrap());
        let (ours, theirs) = (over_ws.capabilities(), plain.capabilities());
        assert_eq!((ours.name, theirs.name), ("mqtt-ws", "mqtt"));
        assert_eq!((ours.features, ours.dispositions), (theirs.features, theirs.dispositions));
    }

    #[test]
    fn an_option_out_of_range_fails_at_creation_by_its_name() {
        assert!(refused(&MqttWs::new().keep_alive(Duration::ZERO)).contains("keep_alive"));
        assert!(refused(&MqttWs::new().connect_timeout(Duration::ZERO)).contains("connect_timeout"));
        assert!(refused(&MqttWs::new().max_in_flight(0)).contains("max_in_flight"));
        assert!(refused(&MqttWs::new().port(0)).contains("port"));
    }
}
