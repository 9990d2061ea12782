//! Modules: outputs and inputs (E17, E20, E28, E30).

use iothub_emulator::{Activity, C2dMessage, Config, DeviceAuth, OfflineHub};

use crate::support::frame::{Link, Message, *};
use crate::support::value::{V, text};
use crate::support::{HOUR, KEY, Peer, world_with};

const EVENTS: &str = "/devices/edge/modules/m/messages/events";

fn edge() -> OfflineHub {
    edge_with(Config::new())
}

fn edge_with(config: Config) -> OfflineHub {
    let routes = [
        r#"FROM /messages/modules/m/outputs/loop INTO BrokeredEndpoint("/modules/m/inputs/in")"#,
        "FROM /messages/modules/m/outputs/up INTO $upstream",
    ];
    let hub = world_with(config.with_edge_routes("edge", routes));
    let keys = || DeviceAuth::SymmetricKey { primary: KEY.into(), secondary: KEY.into() };
    hub.create_device_with("edge", keys()).unwrap();
    hub.create_module_with("edge", "m", keys()).unwrap();
    hub
}

fn module(hub: &OfflineHub) -> Peer {
    let mut peer = Peer::open(hub);
    peer.attach_cbs();
    let token = hub.module("edge", "m").unwrap().sas_token(HOUR);
    assert_eq!(peer.put_token("hub.test/devices/edge/modules/m", &token), 200);
    peer
}

#[test]
fn a_e26_a_batch_for_which_there_is_no_room_leaves_nothing_behind() {
    let hub = edge_with(Config::new().with_input_queue_limit(1));
    let mut peer = module(&hub);
    peer.sender(0, EVENTS);
    let to = |output: &str| Message::of(b"x").application("iothub-outputname", text(output)).encoded();
    let batch =
        |outputs: &[&str]| Message { data: outputs.iter().map(|output| to(output)).collect(), ..Message::default() };
    let too_many = batch(&["up", "loop", "loop"]).encoded();
    assert_eq!(peer.rejected(0, BATCH, &too_many), "amqp:resource-limit-exceeded");
    assert_eq!((hub.telemetry_count(("edge", "m")), hub.input_queue(("edge", "m")).len()), (0, 0));
    let id = peer.send_as(0, BATCH, false, &batch(&["up", "loop"]).encoded());
    assert_eq!(peer.outcome(), (id, ACCEPTED, None));
    assert_eq!((hub.telemetry_count(("edge", "m")), hub.input_queue(("edge", "m")).len()), (1, 1));
}

#[test]
fn a_e28_a_modules_message_has_its_output_and_its_stamps() {
    let hub = edge();
    let mut peer = module(&hub);
    peer.sender(0, EVENTS);
    peer.accepted(0, &Message::of(b"x").application("iothub-outputname", text("up")));
    let record = &hub.telemetry(("edge", "m"))[0];
    assert_eq!(record.output(), Some("up"));
    assert_eq!(record.stamps["iothub-connection-module-id"], "m");
    assert!(record.stamps["iothub-connection-auth-method"].contains(r#""scope":"module""#));
    assert!(hub.connected(("edge", "m")) && !hub.connected("edge"));
}

#[test]
fn a_e30_a_message_to_an_input_names_it_and_who_sent_it() {
    let hub = edge();
    let mut peer = module(&hub);
    peer.sender(0, EVENTS);
    let answer = peer.attach(&Link::receiver(1, EVENTS));
    assert_eq!((answer.field(4), answer.field(10)), (&V::Null, &V::Ulong(1_048_576)));
    peer.say(&credit(1, 0, 10));
    let sent = Message::of(b"around").property(MESSAGE_ID, text("m1")).application("k", text("v"));
    peer.accepted(0, &sent.application("iothub-outputname", text("loop")));
    let (frame, message) = peer.message();
    assert_eq!(message.annotated("x-opt-input-name"), Some(&text("in")));
    assert_eq!(message.annotated("iothub-connection-device-id"), Some(&text("edge")));
    assert_eq!(message.annotated("iothub-connection-module-id"), Some(&text("m")));
    assert_eq!(message.prop(MESSAGE_ID), Some(&text("m1")));
    assert_eq!(message.app("k"), Some(&text("v")));
    assert_eq!(message.body(), "around");
    peer.say(&disposition(frame.uint(1), frame.uint(1), true, outcome(ACCEPTED)));
    assert!(hub.input_queue(("edge", "m")).is_empty());
    assert!(hub.activity(("edge", "m")).iter().any(|entry| matches!(entry, Activity::InputAcked { .. })));
}

#[test]
fn a_e31_an_input_message_that_is_released_comes_again() {
    let hub = edge();
    let mut peer = module(&hub);
    peer.receiver(1, EVENTS, 10);
    hub.send_input(("edge", "m"), "in", C2dMessage::new("x")).unwrap();
    let id = peer.message().0.uint(1);
    peer.say(&disposition(id, id, true, outcome(RELEASED)));
    let (_, again) = peer.message();
    assert_eq!(again.annotated("iothub-deliverycount"), Some(&V::Ubyte(2)));
}

#[test]
fn a_e18_a_modules_token_opens_the_module_and_not_its_device() {
    let hub = edge();
    let mut peer = module(&hub);
    assert_eq!(peer.refused(&Link::sender(0, "/devices/edge/messages/events")), "amqp:unauthorized-access");
    assert_eq!(peer.refused(&Link::sender(0, "/devices/edge/modules/other/twin")), "amqp:not-found");
    peer.receiver(0, "/devices/edge/modules/m/messages/devicebound", 10);
    hub.send_input(("edge", "m"), "in", C2dMessage::new("x")).unwrap();
    assert!(peer.all_of(TRANSFER).is_empty(), "inputs have a link of their own");
}
