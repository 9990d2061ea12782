//! How the SDKs reach the hub, and what tells that they came so.

use iothub_emulator::{Activity, Config, Emulator, Hub, ProxyAnswer, ProxyConfig, ProxyRequest, TestProxy};

use super::record::Record;
use crate::report::same;

/// Over a WebSocket each SDK insists on port 443, on which not everybody may listen. So it is given a proxy, which leads to the
/// hub, whatever the port; and only the proxy knows the name.
const HOST: &str = "hub.localtest";
const PATH: &str = "/$iothub/websocket";
const SUBPROTOCOL: &str = "mqtt";
const USER: &str = "interop";
const PASSWORD: &str = "a password: with a colon";

#[derive(Debug)]
pub(crate) enum Way {
    /// TLS to the MQTT port.
    Mqtt,
    /// A WebSocket, through this proxy.
    WebSocket(TestProxy),
}

impl Way {
    /// A hub, and the way to its MQTT port.
    pub(crate) fn mqtt() -> Result<(Emulator, Self), String> {
        let hub = Emulator::start().map_err(|error| error.to_string())?;
        Ok((hub, Self::Mqtt))
    }

    /// A hub, and the way to its HTTPS port.
    pub(crate) fn web_socket() -> Result<(Emulator, Self), String> {
        let config = Config::new().with_host_name(HOST);
        let hub = Emulator::start_with(config).map_err(|error| error.to_string())?;
        let proxy = ProxyConfig::new().with_hub(&hub).with_credentials(USER, PASSWORD);
        let proxy = TestProxy::start(proxy).map_err(|error| error.to_string())?;
        Ok((hub, Self::WebSocket(proxy)))
    }

    /// The proxy as a URL, if there is one.
    pub(crate) fn proxy_url(&self) -> Option<String> {
        match self {
            Self::Mqtt => None,
            Self::WebSocket(proxy) => {
                let password = PASSWORD.replace(' ', "%20").replace(':', "%3A");
                Some(format!("http://{USER}:{password}@{}", proxy.address()))
            }
        }
    }

    /// Where the hub of this way listens, in words.
    pub(crate) fn describe(&self, hub: &Hub) -> String {
        match self {
            Self::Mqtt => format!("a hub of ours listens on {}", hub.mqtt_address()),
            Self::WebSocket(proxy) => {
                format!("a hub of ours listens on {}, behind a proxy on {}", hub.https_address(), proxy.address())
            }
        }
    }

    /// The one connection of the record came this way; and the proxy saw what it has to.
    pub(crate) fn was_taken(&self, record: &Record) -> Result<(), String> {
        let (peer, upgrade) = record.find("connection", |entry| match entry {
            Activity::Connected { peer, web_socket, .. } => Some((*peer, web_socket.clone())),
            _ => None,
        })?;
        let upgrade = upgrade.map(|upgrade| (upgrade.path, upgrade.subprotocol));
        let Self::WebSocket(proxy) = self else { return same("the WebSocket", &upgrade, &None) };
        same("the WebSocket", &upgrade, &Some((PATH.to_owned(), SUBPROTOCOL.to_owned())))?;
        let requests = proxy.requests();
        let own =
            |request: &&ProxyRequest| matches!(request.answer, ProxyAnswer::Tunnel { from, .. } if Some(from) == peer);
        let request = requests.iter().find(own).ok_or_else(|| format!("no tunnel of the proxy ends at {peer:?}"))?;
        same("the proxy's target", &request.target, &format!("{HOST}:443"))?;
        same("(offered, authorised)", &(request.offered, request.authorised), &(true, true))
    }
}
