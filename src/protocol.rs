//! Choosing a transport by name: for programs that leave the choice to their user.

use std::fmt;
use std::str::FromStr;

use iothub_core::{CreateError, Provider};

/// The transports of this library, whether compiled in or not.
///
/// ```
/// use iothub_client::Protocol;
///
/// let protocol: Protocol = "mqtt".parse()?;
/// assert_eq!(protocol, Protocol::Mqtt);
/// # Ok::<(), iothub_client::UnknownProtocol>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// MQTT 3.1.1 over TLS.
    #[doc(alias = "MQTT_Protocol")]
    Mqtt,
    /// MQTT 3.1.1 over a WebSocket over TLS.
    #[doc(alias = "MQTT_WebSocket_Protocol")]
    MqttWs,
    /// AMQP 1.0 over TLS.
    #[doc(alias = "AMQP_Protocol")]
    Amqp,
    /// AMQP 1.0 over a WebSocket over TLS.
    #[doc(alias = "AMQP_Protocol_over_WebSocketsTls")]
    AmqpWs,
}

impl Protocol {
    /// Every transport, in the order of their documentation.
    pub const ALL: &'static [Self] = &[Self::Mqtt, Self::MqttWs, Self::Amqp, Self::AmqpWs];

    /// The name, which is also the name of the cargo feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::MqttWs => "mqtt-ws",
            Self::Amqp => "amqp",
            Self::AmqpWs => "amqp-ws",
        }
    }

    /// The transport with its default options.
    ///
    /// # Errors
    ///
    /// [`CreateError::NotCompiledIn`] names the cargo feature to build with.
    pub fn provider(self) -> Result<Box<dyn Provider>, CreateError> {
        match self {
            #[cfg(feature = "mqtt")]
            Self::Mqtt => Ok(Box::new(iothub_transport_mqtt::Mqtt::new())),
            #[cfg(feature = "mqtt-ws")]
            Self::MqttWs => Ok(Box::new(iothub_transport_mqtt_ws::MqttWs::new())),
            #[cfg(feature = "amqp")]
            Self::Amqp => Ok(Box::new(iothub_transport_amqp::Amqp::new())),
            #[cfg(feature = "amqp-ws")]
            Self::AmqpWs => Ok(Box::new(iothub_transport_amqp::AmqpWs::new())),
            #[allow(unreachable_patterns, reason = "with every feature there is nothing left")]
            _ => Err(CreateError::NotCompiledIn { protocol: self.name() }),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no transport has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownProtocol(String);

impl fmt::Display for UnknownProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Protocol::ALL.iter().map(|protocol| protocol.name()).collect();
        write!(f, "there is no transport {:?}; there is {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownProtocol {}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.iter().find(|protocol| protocol.name() == name);
        known.copied().ok_or_else(|| UnknownProtocol(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_to_what_they_name() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.to_string().parse(), Ok(*protocol));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "carrier pigeon".parse::<Protocol>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no transport \"carrier pigeon\"; there is mqtt, mqtt-ws, amqp, amqp-ws"
        );
    }

    #[cfg(not(feature = "mqtt-ws"))]
    #[test]
    fn a_transport_that_is_not_compiled_in_names_its_feature() {
        let error = Protocol::MqttWs.provider().err().unwrap();
        assert_eq!(error.to_string(), "the transport `mqtt-ws` is not compiled in: build with `--features mqtt-ws`");
    }
}
