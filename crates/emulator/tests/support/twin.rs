//! What the tests of twins and methods have in common. The device is always `dev`.

use iothub_emulator::Hub;
use rumqttc::mqttbytes::v4::Publish;
use serde_json::Value;

use super::c2d;
use super::packets;
use super::peer::Peer;

pub(crate) const RES: &str = "$iothub/twin/res/#";
pub(crate) const DESIRED: &str = "$iothub/twin/PATCH/properties/desired/#";
pub(crate) const METHODS: &str = "$iothub/methods/POST/#";

/// A connected peer that is subscribed to these filters at QoS 0.
pub(crate) fn listener(hub: &Hub, filters: &[&str]) -> Peer {
    let mut peer = c2d::connect(hub);
    if !filters.is_empty() {
        let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (*filter, 0)).collect();
        peer.subscribe(&filters);
    }
    peer
}

/// Asks for the twin at QoS 0 with an empty body, as the C SDK does.
pub(crate) fn get(peer: &mut Peer, rid: &str) {
    peer.send(&packets::publish(&format!("$iothub/twin/GET/?$rid={rid}"), 0, 0, 0, b""));
}

/// Reports properties at QoS 0.
pub(crate) fn report(peer: &mut Peer, rid: &str, body: &[u8]) {
    let topic = format!("$iothub/twin/PATCH/properties/reported/?$rid={rid}");
    peer.send(&packets::publish(&topic, 0, 0, 0, body));
}

/// Answers a method call at QoS 0.
pub(crate) fn answer(peer: &mut Peer, status: &str, rid: &str, body: &[u8]) {
    peer.send(&packets::publish(&format!("$iothub/methods/res/{status}/?$rid={rid}"), 0, 0, 0, body));
}

/// What follows `$iothub/twin/res/` in the next packet, and its body.
pub(crate) fn reply(peer: &mut Peer) -> (String, Vec<u8>) {
    below("$iothub/twin/res/", peer.expect_publish())
}

/// What follows `$iothub/twin/PATCH/properties/desired/` in the next packet, and its body.
pub(crate) fn desired(peer: &mut Peer) -> (String, Value) {
    let (tail, body) = below("$iothub/twin/PATCH/properties/desired/", peer.expect_publish());
    (tail, json(&body))
}

/// The name and the request id of the method call that is the next packet, and its body.
pub(crate) fn call(peer: &mut Peer) -> (String, String, Vec<u8>) {
    let (tail, body) = below("$iothub/methods/POST/", peer.expect_publish());
    let (name, rid) = tail.split_once("/?$rid=").expect("a request id ends the topic");
    (name.to_owned(), rid.to_owned(), body)
}

pub(crate) fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)))
}

fn below(prefix: &str, publish: Publish) -> (String, Vec<u8>) {
    let tail = publish.topic.strip_prefix(prefix).unwrap_or_else(|| panic!("{} is not below {prefix}", publish.topic));
    (tail.to_owned(), publish.payload.to_vec())
}
