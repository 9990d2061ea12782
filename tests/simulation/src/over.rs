//! What a client speaks.

use std::fmt;
use std::str::FromStr;

/// What a client speaks with the hub, by the name that the transport has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// MQTT 3.1.1: `mqtt`.
    Mqtt,
    /// The same in a WebSocket: `mqtt-ws`.
    MqttWs,
    /// AMQP 1.0: `amqp`.
    Amqp,
    /// The same in a WebSocket: `amqp-ws`.
    AmqpWs,
}

impl Over {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Mqtt, Self::MqttWs, Self::Amqp, Self::AmqpWs];

    /// What a seed is for if nobody says: each in turn.
    pub fn of_seed(seed: u64) -> Self {
        match seed % 4 {
            0 => Self::Mqtt,
            1 => Self::MqttWs,
            2 => Self::Amqp,
            _ => Self::AmqpWs,
        }
    }

    /// The transport's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::MqttWs => "mqtt-ws",
            Self::Amqp => "amqp",
            Self::AmqpWs => "amqp-ws",
        }
    }

    /// Whether it is AMQP, in a WebSocket or not.
    pub fn is_amqp(self) -> bool {
        matches!(self, Self::Amqp | Self::AmqpWs)
    }

    /// The subprotocol of the WebSocket, if there is one.
    pub(crate) fn subprotocol(self) -> Option<&'static str> {
        match self {
            Self::Mqtt | Self::Amqp => None,
            Self::MqttWs => Some("mqtt"),
            Self::AmqpWs => Some("AMQPWSB10"),
        }
    }

    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Mqtt => 8883,
            Self::Amqp => 5671,
            Self::MqttWs | Self::AmqpWs => 443,
        }
    }
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Over {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|over| over.name() == name).ok_or(())
    }
}
