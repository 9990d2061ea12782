//! MQTT, with and without a WebSocket, as the suite makes it.

use std::net::SocketAddr;

#[cfg(feature = "mqtt")]
use iothub_client::Mqtt;
#[cfg(feature = "mqtt-ws")]
use iothub_client::MqttWs;
use iothub_client::Provider;
use iothub_conformance::{Absent, Settings, Subject};
use iothub_emulator::Hub;

/// The transport of this type with these settings.
macro_rules! mqtt_with {
    ($transport:ty, $settings:expr) => {{
        let mut transport = <$transport>::new();
        if let Some(interval) = $settings.keep_alive {
            transport = transport.keep_alive(interval);
        }
        if let Some(limit) = $settings.connect_timeout {
            transport = transport.connect_timeout(limit);
        }
        if let Some(messages) = $settings.max_in_flight {
            transport = transport.max_in_flight(messages);
        }
        Box::new(transport)
    }};
}

pub(crate) enum OverMqtt {
    #[cfg(feature = "mqtt")]
    Tls,
    #[cfg(feature = "mqtt-ws")]
    WebSocket,
}

impl Subject for OverMqtt {
    fn provider(&self, _: &Hub, settings: &Settings) -> Box<dyn Provider + Send + Sync> {
        match self {
            #[cfg(feature = "mqtt")]
            Self::Tls => mqtt_with!(Mqtt, settings),
            #[cfg(feature = "mqtt-ws")]
            Self::WebSocket => mqtt_with!(MqttWs, settings),
        }
    }

    fn address(&self, hub: &Hub) -> Option<SocketAddr> {
        match self {
            #[cfg(feature = "mqtt")]
            Self::Tls => Some(hub.mqtt_address()),
            #[cfg(feature = "mqtt-ws")]
            Self::WebSocket => Some(hub.https_address()),
        }
    }

    fn absent(&self) -> Absent {
        match self {
            #[cfg(feature = "mqtt")]
            Self::Tls => crate::absent("mqtt"),
            #[cfg(feature = "mqtt-ws")]
            Self::WebSocket => crate::absent("mqtt-ws"),
        }
    }
}
