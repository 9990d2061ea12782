//! The settings of a hub that stands for IoT Edge: the name of the gateway, and the routes and inputs of Edge devices.

use std::time::Duration;

use crate::config::Config;

impl Config {
    /// Adds a name under which the hub is reached as a gateway (a client's `GatewayHostName`). It goes into the server certificate, and no token may
    /// be for it: tokens and user names keep the hub's own name (docs/hub-over-mqtt.md 1.7).
    #[must_use]
    pub fn with_gateway_host_name(mut self, name: &str) -> Self {
        self.gateway_host_names.push(name.to_owned());
        self
    }

    /// Makes the device an Edge device: what its modules send goes where these routes lead, and nowhere else; its modules have inputs
    /// (docs/hub-over-mqtt.md 6; E41). The device's own messages go to the hub as ever. Called again for the device, it adds routes.
    ///
    /// A route is in IoT Edge's own syntax, without conditions: `FROM <source> INTO <sink>`. Sources: `/messages/*`, `/messages/modules/*`,
    /// `/messages/modules/<module>/*`, `/messages/modules/<module>/outputs/*`, `/messages/modules/<module>/outputs/<output>`. Sinks: `$upstream`, which is
    /// the hub, and `BrokeredEndpoint("/modules/<module>/inputs/<input>")`. What is not understood is refused at the start.
    ///
    /// Default: no device is one. Then the hub is the cloud, where inputs and outputs mean nothing: an output is a property of the message, inputs may be
    /// subscribed to, and nothing ever comes.
    #[must_use]
    pub fn with_edge_routes(mut self, device: &str, routes: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let routes = routes.into_iter().map(|route| route.as_ref().to_owned());
        self.edge_routes.entry(device.to_owned()).or_default().extend(routes);
        self
    }

    /// The time to live of a message to an input. Default 2 h, as IoT Edge deploys it (docs/hub-over-mqtt.md 6).
    #[must_use]
    pub fn with_input_ttl(mut self, ttl: Duration) -> Self {
        self.input_ttl = ttl;
        self
    }

    /// How many input messages may be pending for a module; one more ends the connection that sends it. Default 10,000, the emulator's own limit, at most 16,000.
    #[must_use]
    pub fn with_input_queue_limit(mut self, limit: usize) -> Self {
        self.input_queue_limit = limit;
        self
    }

    /// What the server certificate names.
    pub(crate) fn certificate_names(&self) -> Vec<String> {
        self.host_names.iter().chain(&self.gateway_host_names).cloned().collect()
    }
}
