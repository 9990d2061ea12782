//! A client for Azure IoT Hub devices, in pure Rust.
//!
//! It mirrors the lower-layer ("LL") API of the Azure IoT C SDK: the application calls
//! [`do_work`](Client::do_work), which never blocks, and nothing happens on the wire outside it. No thread is started but
//! for the look-up of host names, and none at all with a resolver of your own.
//!
//! ```no_run
//! use std::time::Duration;
//! use iothub_client::{DeviceClient, Event, Feature, Mqtt};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let connection_string = std::env::var("IOTHUB_DEVICE_CONNECTION_STRING")?;
//! let mut client = DeviceClient::create_from_connection_string(&connection_string, &Mqtt::new())?;
//!
//! client.subscribe(Feature::CloudToDevice)?;
//! client.send_event_with(r#"{"temperature":21.5}"#, |outcome, _| match outcome {
//!     Ok(()) => println!("the hub has it"),
//!     Err(undelivered) => println!("{undelivered}"),
//! })?;
//! loop {
//!     client.do_work();
//!     while let Some(event) = client.next_event() {
//!         match event {
//!             Event::Message(message) => {
//!                 println!("{}", String::from_utf8_lossy(message.payload()));
//!                 message.complete();
//!             }
//!             other => println!("{other:?}"),
//!         }
//!     }
//!     client.wait(Duration::from_secs(60));
//! }
//! # }
//! ```
//!
//! # Where things are
//!
//! - [`DeviceClient`] is the client; what can be asked of it, in a callback too, is on [`Outbox`].
//! - [`Message`] goes up, [`IncomingMessage`] comes down and is answered once.
//! - [`Event`] is everything that happens and no callback was set for.
//! - [`StatusChange`] tells of the connection, [`ConnectionError`] why it failed, and [`RetryConfig`] when it is tried
//!   again.
//! - [`ModuleClient`] is the client of a module. On IoT Edge it is created from its environment, with `Https`.
//! - `Mqtt` and `Amqp` are transports, over TLS or a WebSocket; each one is a cargo feature. [`Protocol`] chooses one by name.
//!
//! # Cargo features
//!
//! - `mqtt` (default): MQTT 3.1.1 over TLS, port 8883: `Mqtt`.
//! - `mqtt-ws`: the same over a WebSocket, port 443: `MqttWs`.
//! - `amqp`: AMQP 1.0 over TLS, port 5671; many devices on one connection: `Amqp`.
//! - `amqp-ws`: the same over a WebSocket, port 443: `AmqpWs`.
//! - `https`: HTTPS beside the transport. Modules on IoT Edge need it, to be created from their environment and to call
//!   methods.

mod protocol;

pub use iothub_core::*;
#[cfg(feature = "https")]
pub use iothub_https::Https;
pub use iothub_net::{Resolve, SystemPlatform};
#[cfg(feature = "amqp")]
pub use iothub_transport_amqp::Amqp;
#[cfg(feature = "amqp-ws")]
pub use iothub_transport_amqp::AmqpWs;
#[cfg(feature = "mqtt")]
pub use iothub_transport_mqtt::Mqtt;
#[cfg(feature = "mqtt-ws")]
pub use iothub_transport_mqtt_ws::MqttWs;
pub use protocol::{Protocol, UnknownProtocol};

#[cfg(all(doctest, feature = "amqp", feature = "mqtt"))]
#[doc = include_str!("../README.md")]
struct Readme;
