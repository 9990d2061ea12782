//! The proxy on an SDK's way to a WebSocket. The SDKs insist on port 443; it leads them to the hub's HTTPS port, wherever that is.

use std::net::SocketAddr;

use iothub_emulator::{Hub, ProxyAnswer, ProxyConfig, ProxyRequest, TestProxy};

use crate::report::same;

const USER: &str = "interop";
const PASSWORD: &str = "a password: with a colon";

pub(crate) fn start(hub: &Hub) -> Result<TestProxy, String> {
    let config = ProxyConfig::new().with_hub(hub).with_credentials(USER, PASSWORD);
    TestProxy::start(config).map_err(|error| error.to_string())
}

/// The proxy with its credentials, as a URL.
pub(crate) fn url(proxy: &TestProxy) -> String {
    let password = PASSWORD.replace(' ', "%20").replace(':', "%3A");
    format!("http://{USER}:{password}@{}", proxy.address())
}

/// Whether the hub's peer is the far end of one of the proxy's tunnels.
pub(crate) fn is_tunnel(proxy: &TestProxy, peer: Option<SocketAddr>) -> bool {
    request(proxy, peer).is_some()
}

/// The hub's peer is the far end of a tunnel that was asked for with this host and port 443, and with the right credentials.
pub(crate) fn led(proxy: &TestProxy, peer: Option<SocketAddr>, host: &str) -> Result<(), String> {
    let request = request(proxy, peer).ok_or_else(|| format!("no tunnel of the proxy ends at {peer:?}"))?;
    same("the proxy's target", &request.target, &format!("{host}:443"))?;
    same("the proxy's (offered, authorised)", &(request.offered, request.authorised), &(true, true))
}

fn request(proxy: &TestProxy, peer: Option<SocketAddr>) -> Option<ProxyRequest> {
    let is_its_own =
        |request: &ProxyRequest| matches!(request.answer, ProxyAnswer::Tunnel { from, .. } if Some(from) == peer);
    proxy.requests().into_iter().find(is_its_own)
}
