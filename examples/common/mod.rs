//! What the examples share: which transport is wanted, and where a local hub serves it.

use std::error::Error;
use std::net::SocketAddr;

use iothub_client::{CreateError, Protocol, Provider};
use iothub_emulator::Hub;

/// The transport that `--transport NAME` asks for, MQTT without it. `example` is the name of the program.
pub(crate) fn transport(example: &str) -> Result<(Protocol, Box<dyn Provider>), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let protocol: Protocol = match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, ..) => Protocol::Mqtt,
        (Some("--transport"), Some(name), None) => name.parse()?,
        _ => return Err("the only option is `--transport NAME`".into()),
    };
    match protocol.provider() {
        Ok(provider) => Ok((protocol, provider)),
        Err(error @ CreateError::NotCompiledIn { .. }) => {
            let command = format!("cargo run --features {protocol} --example {example} -- --transport {protocol}");
            Err(format!("{error}; run\n  {command}").into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Where a local hub serves this transport. The port is not the standard one.
pub(crate) fn address(hub: &Hub, protocol: Protocol) -> SocketAddr {
    match protocol {
        Protocol::Amqp => hub.amqp_address(),
        Protocol::AmqpWs | Protocol::MqttWs => hub.https_address(),
        _ => hub.mqtt_address(),
    }
}
