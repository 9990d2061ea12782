//! Through an HTTP proxy to the hub, on every transport: what goes through, and what happens when the proxy changes its
//! mind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use iothub_client::{ConnectionErrorKind, ConnectionState, DeviceClient, Event, Feature, Protocol, Proxy, ProxyError};
use iothub_emulator::{Activity, C2dMessage, Emulator, ProxyAnswer, ProxyConfig, ProxyMode, TestProxy};

const LIMIT: Duration = Duration::from_secs(30);
const DEVICE: &str = "dev-1";

/// A hub, a proxy that leads to it, and a device behind the proxy.
struct Bench {
    hub: Emulator,
    proxy: TestProxy,
    client: DeviceClient,
}

/// Where the hub serves a transport.
fn address(hub: &Emulator, protocol: Protocol) -> SocketAddr {
    match protocol {
        Protocol::AmqpWs | Protocol::MqttWs => hub.https_address(),
        Protocol::Amqp => hub.amqp_address(),
        _ => hub.mqtt_address(),
    }
}

impl Bench {
    fn new(protocol: Protocol, config: ProxyConfig, credentials: Option<(&str, &str)>) -> Self {
        let hub = Emulator::start().unwrap();
        let device = hub.create_device(DEVICE).unwrap();
        let proxy = TestProxy::start(config.with_host(&hub.host_name(), address(&hub, protocol))).unwrap();
        let mut through = Proxy::new(proxy.address().ip().to_string(), proxy.address().port());
        if let Some((user, password)) = credentials {
            through = through.with_credentials(user, password);
        }
        let client = DeviceClient::builder(device.connection_string())
            .trusted_certs(hub.ca_pem())
            .proxy(through)
            .build(&*protocol.provider().unwrap())
            .unwrap();
        Self { hub, proxy, client }
    }

    /// Drives the client until what it tells is what was waited for.
    fn until<T>(&mut self, what: &str, mut found: impl FnMut(&mut DeviceClient, Option<Event>) -> Option<T>) -> T {
        let limit = Instant::now() + LIMIT;
        loop {
            self.client.do_work();
            while let Some(event) = self.client.next_event() {
                if let Some(result) = found(&mut self.client, Some(event)) {
                    return result;
                }
            }
            if let Some(result) = found(&mut self.client, None) {
                return result;
            }
            assert!(Instant::now() < limit, "{what} never came: {:?}", self.client);
            self.client.wait(Duration::from_millis(100));
        }
    }

    fn until_ready(&mut self) {
        self.until("a connection", |client, _| (client.connection_state() == ConnectionState::Ready).then_some(()));
    }

    /// Sends a message and waits until the hub has confirmed it.
    fn send(&mut self, text: &'static str) {
        let id = self.client.send_event_tracked(text).unwrap();
        let outcome = self.until("its confirmation", |_, event| match event {
            Some(Event::Confirmation { id: confirmed, outcome }) if confirmed == id => Some(outcome),
            _ => None,
        });
        outcome.unwrap();
    }
}

/// Every transport that is compiled in.
fn protocols() -> impl Iterator<Item = Protocol> {
    Protocol::ALL.iter().copied().filter(|protocol| protocol.provider().is_ok())
}

#[test]
fn messages_go_both_ways_through_a_proxy_that_wants_credentials() {
    for protocol in protocols() {
        let config = ProxyConfig::new().with_credentials("user", "pass word");
        let mut bench = Bench::new(protocol, config, Some(("user", "pass word")));
        bench.client.subscribe(Feature::CloudToDevice).unwrap();
        bench.send("up");
        bench.hub.send_c2d(DEVICE, C2dMessage::new("down")).unwrap();
        let message = bench.until("a message", |_, event| match event {
            Some(Event::Message(message)) => Some(message),
            _ => None,
        });
        assert_eq!(message.payload(), &b"down"[..]);

        // The client asked for the hub by its name and the transport's own port, and the hub saw the proxy come.
        let requests = bench.proxy.requests();
        let [request] = &requests[..] else { panic!("{requests:?}") };
        let port = match protocol {
            Protocol::Mqtt => 8883,
            Protocol::Amqp => 5671,
            _ => 443,
        };
        assert_eq!(request.target, format!("{}:{port}", bench.hub.host_name()));
        assert!(request.authorised);
        let ProxyAnswer::Tunnel { from, .. } = request.answer else { panic!("{request:?}") };
        // Over AMQP, the hub's record of an identity does not say where it came from.
        if matches!(protocol, Protocol::Amqp | Protocol::AmqpWs) {
            continue;
        }
        let came_from = bench.hub.activity(DEVICE).iter().find_map(|activity| match activity {
            Activity::Connected { peer, .. } => *peer,
            _ => None,
        });
        assert_eq!(came_from, Some(from), "{protocol}");
    }
}

#[test]
fn a_cut_tunnel_is_a_lost_connection_like_any_other() {
    for protocol in protocols() {
        let mut bench = Bench::new(protocol, ProxyConfig::new(), None);
        bench.send("before");
        bench.proxy.cut_tunnels();
        bench.send("after");
        let stored: Vec<_> = bench.hub.telemetry(DEVICE).into_iter().map(|record| record.body).collect();
        assert_eq!((&*stored[0], &**stored.last().unwrap()), (&b"before"[..], &b"after"[..]), "{protocol}");
        assert_eq!(bench.proxy.requests().len(), 2);
    }
}

#[test]
fn a_proxy_that_refuses_is_asked_again_until_it_does_not() {
    for protocol in protocols() {
        let config = ProxyConfig::new().with_mode(ProxyMode::Refuse { status: 503 });
        let mut bench = Bench::new(protocol, config, None);
        let kind = bench.until("an error", |_, event| match event {
            Some(Event::Status(change)) => change.error.map(|error| error.kind),
            _ => None,
        });
        let ConnectionErrorKind::Proxy { error: ProxyError::Refused { status: 503, .. }, .. } = kind else {
            panic!("{kind:?}")
        };
        bench.proxy.set_mode(ProxyMode::Tunnel);
        bench.until_ready();
    }
}
