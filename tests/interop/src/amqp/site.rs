//! Where the SDKs find the hub: on which port, and over which way. And what tells that they came that way.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use iothub_emulator::{Activity, Config, Emulator, TestProxy, WebSocketUpgrade};

use crate::proxy;
use crate::report::same;

/// The port that every SDK expects for AMQP, and cannot be told another.
const AMQP_PORT: u16 = 5671;
/// The same on a WebSocket.
const HTTPS_PORT: u16 = 443;
const SUBPROTOCOL: &str = "AMQPWSB10";
/// The hub's other name, which only the proxy knows.
const HOST_BEHIND_PROXY: &str = "hub.localtest";

/// A hub and the way to it.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) hub: Emulator,
    pub(super) way: Way,
}

#[derive(Debug)]
pub(super) enum Way {
    /// TLS to the AMQP port.
    Amqp,
    /// A WebSocket to the HTTPS port: through this proxy where an SDK can.
    WebSocket(TestProxy),
}

/// How an SDK comes when it takes a WebSocket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    path: &'static str,
    through_proxy: bool,
}

/// A connection as the hub saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    peer: Option<SocketAddr>,
    upgrade: Option<WebSocketUpgrade>,
}

impl Origin {
    pub(super) const NODE_DEVICE: Self = Self { path: "/$iothub/websocket", through_proxy: true };
    pub(super) const NODE_SERVICE: Self = Self { path: "/$iothub/websocket", through_proxy: false };
    pub(super) const PYTHON_SERVICE: Self = Self { path: "/$servicebus/websocket/", through_proxy: false };
    pub(super) const PYTHON_EVENTS: Self = Self { path: "/$servicebus/websocket", through_proxy: true };
}

impl Site {
    pub(super) fn amqp(config: Config) -> Result<Self, String> {
        let hub = on_its_own_address(|host| config.with_amqp_address(SocketAddr::from((host, AMQP_PORT))))?;
        Ok(Self { hub, way: Way::Amqp })
    }

    pub(super) fn web_socket(config: Config) -> Result<Self, String> {
        let hub = on_its_own_address(|host| config.with_https_address(SocketAddr::from((host, HTTPS_PORT))))?;
        let proxy = proxy::start(&hub)?;
        Ok(Self { hub, way: Way::WebSocket(proxy) })
    }

    /// Where the hub listens, in words.
    pub(super) fn describe(&self) -> String {
        match &self.way {
            Way::Amqp => format!("a hub of ours listens on {}", self.hub.amqp_address()),
            Way::WebSocket(proxy) => {
                format!("a hub of ours listens on {}, with a proxy on {}", self.hub.https_address(), proxy.address())
            }
        }
    }

    /// The connection string for a program that takes a proxy, if there is one.
    pub(super) fn through_proxy(&self, connection_string: &str) -> String {
        match self.way {
            Way::Amqp => connection_string.to_owned(),
            Way::WebSocket(_) => connection_string.replace(&self.hub.host_name(), HOST_BEHIND_PROXY),
        }
    }

    /// All connections so far that spoke AMQP, in order.
    pub(super) fn connections(&self) -> Vec<Connection> {
        let opened = |entry| match entry {
            Activity::AmqpOpened { peer, web_socket, .. } => Some(Connection { peer, upgrade: web_socket }),
            _ => None,
        };
        self.hub.unattributed_activity().into_iter().filter_map(opened).collect()
    }

    /// All connections but the first `seen` came from where these programs come from, and there is one of each.
    pub(super) fn came(&self, seen: usize, origins: &[Origin]) -> Result<(), String> {
        let connections = &self.connections()[seen..];
        let Way::WebSocket(proxy) = &self.way else {
            let upgrades: BTreeSet<_> = connections.iter().map(|connection| connection.upgrade.is_some()).collect();
            return same("whether there was a WebSocket", &upgrades, &BTreeSet::from([false]));
        };
        let mut found = BTreeSet::new();
        for Connection { peer, upgrade } in connections {
            let upgrade = upgrade.as_ref().ok_or_else(|| format!("{peer:?} came without a WebSocket"))?;
            same("the subprotocol", &upgrade.subprotocol.as_str(), &SUBPROTOCOL)?;
            let through_proxy = proxy::is_tunnel(proxy, *peer);
            if through_proxy {
                proxy::led(proxy, *peer, HOST_BEHIND_PROXY)?;
            }
            found.insert((upgrade.path.as_str(), through_proxy));
        }
        let expected = origins.iter().map(|origin| (origin.path, origin.through_proxy)).collect();
        same("the WebSockets, (path, through the proxy)", &found, &expected)
    }
}

/// The SDKs cannot be told a port, so each run has a loopback address of its own.
fn on_its_own_address(listen_on: impl FnOnce(Ipv4Addr) -> Config) -> Result<Emulator, String> {
    let host = Ipv4Addr::new(127, fastrand::u8(2..255), fastrand::u8(..), fastrand::u8(2..255));
    let config = listen_on(host).with_host_name(&host.to_string()).with_host_name(HOST_BEHIND_PROXY);
    Emulator::start_with(config).map_err(|error| error.to_string())
}
