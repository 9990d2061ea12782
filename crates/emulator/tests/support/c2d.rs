//! What the tests of cloud-to-device messages have in common. The device is always `dev`.

use std::time::Duration;

use iothub_emulator::{C2dMessage, C2dResult, Hub};

use super::packets::Connect;
use super::peer::Peer;
use super::wait_until_gone;

pub(crate) const DEVICEBOUND: &str = "devices/dev/messages/devicebound/#";

/// Connects with clean session off, a token that outlives every test's clock, and a long keep-alive.
pub(crate) fn connect(hub: &Hub) -> Peer {
    let device = hub.device("dev").unwrap_or_else(|| hub.create_device("dev").expect("the device can be made"));
    let week = Duration::from_secs(7 * 24 * 3600);
    Peer::connected_as(hub, &Connect::expiring(hub, &device, week).keep_alive(1_000))
}

/// A connected peer that takes messages with this QoS.
pub(crate) fn listener(hub: &Hub, qos: u8) -> Peer {
    let mut peer = connect(hub);
    peer.subscribe(&[(DEVICEBOUND, qos)]);
    peer
}

/// Cuts the connection and waits until the hub knows.
pub(crate) fn cut(hub: &Hub, peer: Peer) {
    peer.cut();
    wait_until_gone(hub, "dev");
}

/// Sends a message whose id is also its body.
pub(crate) fn send(hub: &Hub, id: &str) {
    let message = C2dMessage::new(id.to_owned()).message_id(id);
    assert_eq!(hub.send_c2d("dev", message).expect("the queue takes the message"), id);
}

/// The ids of the pending messages.
pub(crate) fn queue(hub: &Hub) -> Vec<String> {
    hub.c2d_queue("dev").into_iter().map(|record| record.message_id).collect()
}

pub(crate) fn outcomes(hub: &Hub) -> Vec<(String, C2dResult)> {
    hub.c2d_outcomes("dev").into_iter().map(|outcome| (outcome.message_id, outcome.result)).collect()
}

/// All feedback there is, as message id and status code.
pub(crate) fn feedback(hub: &Hub) -> Vec<(String, String)> {
    hub.flush_feedback();
    hub.read_feedback().into_iter().map(|record| (record.original_message_id, record.status_code)).collect()
}
