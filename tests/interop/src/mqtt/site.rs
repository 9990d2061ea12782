//! Where the SDKs find the hub: on which port, and over which way. And what tells that they came that way.

use iothub_emulator::{Activity, Config, Emulator, TestProxy};

use super::record::Record;
use crate::proxy;
use crate::report::same;

/// A name that only the proxy knows.
const HOST: &str = "hub.localtest";
/// Where the hub takes MQTT on a WebSocket.
const PATH: &str = "/$iothub/websocket";
const SUBPROTOCOL: &str = "mqtt";

/// A hub and the way to it.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) hub: Emulator,
    pub(crate) way: Way,
}

#[derive(Debug)]
pub(crate) enum Way {
    /// TLS to the MQTT port.
    Mqtt,
    /// A WebSocket through this proxy. Both SDKs insist on port 443, on which not everybody may listen; the proxy leads to the
    /// hub's HTTPS port instead.
    WebSocket(TestProxy),
}

impl Site {
    pub(crate) fn mqtt(config: Config) -> Result<Self, String> {
        let hub = Emulator::start_with(config).map_err(|error| error.to_string())?;
        Ok(Self { hub, way: Way::Mqtt })
    }

    pub(crate) fn web_socket(config: Config) -> Result<Self, String> {
        let hub = Emulator::start_with(config.with_host_name(HOST)).map_err(|error| error.to_string())?;
        let proxy = proxy::start(&hub)?;
        Ok(Self { hub, way: Way::WebSocket(proxy) })
    }

    /// Where the hub listens, in words.
    pub(crate) fn describe(&self) -> String {
        match &self.way {
            Way::Mqtt => format!("a hub of ours listens on {}", self.hub.mqtt_address()),
            Way::WebSocket(proxy) => {
                format!("a hub of ours listens on {}, behind a proxy on {}", self.hub.https_address(), proxy.address())
            }
        }
    }
}

impl Way {
    /// The one connection of the record came this way; a proxy has seen where it wanted to go, and its credentials.
    pub(crate) fn was_taken(&self, record: &Record) -> Result<(), String> {
        let (peer, upgrade) = record.find("connection", |entry| match entry {
            Activity::Connected { peer, web_socket, .. } => Some((*peer, web_socket.clone())),
            _ => None,
        })?;
        let upgrade = upgrade.map(|upgrade| (upgrade.path, upgrade.subprotocol));
        let Self::WebSocket(proxy) = self else { return same("the WebSocket", &upgrade, &None) };
        same("the WebSocket, (path, subprotocol)", &upgrade, &Some((PATH.to_owned(), SUBPROTOCOL.to_owned())))?;
        proxy::led(proxy, peer, HOST)
    }
}
