//! What the tests of modules have in common. The device is always `dev`, its modules are named by one letter.

use iothub_emulator::{Config, Emulator, Hub};

use super::bag::{self, Pair};
use super::packets::Connect;
use super::peer::Peer;
use super::start;
use rumqttc::mqttbytes::v4::Publish;

/// A hub of which `dev` is an Edge device with these routes.
pub(crate) fn edge(routes: &[&str]) -> Emulator {
    start(edge_config(routes))
}

pub(crate) fn edge_config(routes: &[&str]) -> Config {
    Config::new().with_edge_routes("dev", routes)
}

/// A connected module, made if need be.
pub(crate) fn connect(hub: &Hub, module: &str) -> Peer {
    if hub.device("dev").is_none() {
        hub.create_device("dev").expect("the device can be made");
    }
    let module = hub.module("dev", module).unwrap_or_else(|| hub.create_module("dev", module).expect("it can be made"));
    Peer::connected_as(hub, &Connect::of_module(hub, &module))
}

/// A connected module that takes messages to its inputs with this QoS.
pub(crate) fn listener(hub: &Hub, module: &str, qos: u8) -> Peer {
    let mut peer = connect(hub, module);
    assert_eq!(peer.subscribe(&[(&inputs(module), qos)]), [qos.min(1)]);
    peer
}

/// The filter of Node and Python.
pub(crate) fn inputs(module: &str) -> String {
    format!("devices/dev/modules/{module}/inputs/#")
}

/// The topic of what a module sends.
pub(crate) fn events(module: &str, bag: &str) -> String {
    format!("devices/dev/modules/{module}/messages/events/{bag}")
}

/// The input that a message to this module is for, and its bag.
pub(crate) fn input(module: &str, publish: &Publish) -> (String, Vec<Pair>) {
    let prefix = format!("devices/dev/modules/{module}/inputs/");
    let tail = publish.topic.strip_prefix(&prefix).unwrap_or_else(|| panic!("{} is not for {module}", publish.topic));
    let (input, bag) = tail.split_once('/').unwrap_or_else(|| panic!("no slash ends the input of {}", publish.topic));
    (input.to_owned(), bag::decode(bag))
}
