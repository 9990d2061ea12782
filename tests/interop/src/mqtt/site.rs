//! Where the SDKs find the hub: on which port, and over which way. And what tells that they came that way.

use iothub_emulator::{Activity, Config, Emulator, ProxyAnswer, ProxyConfig, ProxyRequest, TestProxy};

use super::record::Record;
use crate::report::same;

/// A name that only the proxy knows.
const HOST: &str = "hub.localtest";
/// Where the hub takes MQTT on a WebSocket.
const PATH: &str = "/$iothub/websocket";
const SUBPROTOCOL: &str = "mqtt";
const USER: &str = "interop";
const PASSWORD: &str = "a password: with a colon";

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
        let config = ProxyConfig::new().with_hub(&hub).with_credentials(USER, PASSWORD);
        let proxy = TestProxy::start(config).map_err(|error| error.to_string())?;
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
        let is_its_own =
            |request: &ProxyRequest| matches!(request.answer, ProxyAnswer::Tunnel { from, .. } if Some(from) == peer);
        let request = proxy.requests().into_iter().find(is_its_own);
        let request = request.ok_or_else(|| format!("no tunnel of the proxy ends at {peer:?}"))?;
        same("the proxy's target", &request.target, &format!("{HOST}:443"))?;
        same("the proxy's (offered, authorised)", &(request.offered, request.authorised), &(true, true))
    }
}

/// The proxy with its credentials, as a URL.
pub(crate) fn proxy_url(proxy: &TestProxy) -> String {
    let password = PASSWORD.replace(' ', "%20").replace(':', "%3A");
    format!("http://{USER}:{password}@{}", proxy.address())
}
