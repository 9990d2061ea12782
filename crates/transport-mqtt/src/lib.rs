//! MQTT 3.1.1 for `iothub-client`.
//!
//! [`Mqtt`] is what applications name; [`MqttTransport`] is the session below it, which runs over any
//! [`Connect`](iothub_net::Connect): TLS over TCP, a WebSocket, memory in tests.
//!
//! The crate owns the protocol and nothing else: it never retries, and holds no message beyond its bytes on the way
//! out. Sockets and TLS are `iothub-net`'s, time is an argument, and packets are read by `rumqttc`'s codec (its event
//! loop is not used). One concern a module:
//!
//! - `provider`, `options`: what can be set; `transport`: the engine's contract
//! - `session`, `handshake`, `connection`: the states, from opening to closing
//! - `wire`, `codec`, `outgoing`: bytes and packets; `topic`, `hub_topic`, `encoding`, `names`: names and properties
//! - `telemetry`, `packet_ids`: messages in flight; `settlements`: received messages; `twin`: requests; `methods`: calls;
//!   `leaving`: what of each has not left yet
//! - `subscriptions`, `keep_alive`

mod codec;
mod connection;
mod encoding;
mod handshake;
mod hub_topic;
mod keep_alive;
mod leaving;
mod methods;
mod names;
mod options;
mod outgoing;
mod packet_ids;
mod provider;
mod session;
mod settlements;
mod subscriptions;
mod telemetry;
mod topic;
#[cfg(test)]
mod topic_properties;
mod transport;
mod twin;
mod wire;

pub use options::SessionOptions;
pub use provider::Mqtt;
pub use transport::MqttTransport;
