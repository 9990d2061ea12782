//! What the client puts on the wire for the scenarios of `docs/wire-parity.md`, compared with that page.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use iothub_client::{Client, DeviceClient, Message, ModuleClient, Outbox, SystemProperty};
use iothub_net::memory::PeerEnd;

#[cfg(feature = "amqp")]
#[path = "wire_parity/amqp.rs"]
mod amqp;

use wire::{Packet, Splitter, split_text};
use world::World;

/// Packets by hand, as the fuzz targets use them.
#[path = "../fuzz/src/wire.rs"]
#[allow(dead_code, unreachable_pub, reason = "the fuzz targets use the rest")]
mod wire;

/// A network in memory and virtual time.
#[path = "../fuzz/src/world.rs"]
#[allow(dead_code, unreachable_pub, reason = "the fuzz targets use the rest")]
mod world;

const CONNECTION_STRING: &str =
    "HostName=hub.localtest;DeviceId=dev1;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The hub of the traces: it grants everything, and with the subscriptions sends one message and calls one method.
struct Hub {
    peer: PeerEnd,
    /// Where the client's messages come: the topic before the properties.
    inbox: &'static str,
    splitter: Splitter,
    /// The client's packets, a line or more each.
    seen: Vec<String>,
}

impl Hub {
    fn new(peer: PeerEnd, inbox: &'static str) -> Self {
        Self { peer, inbox, splitter: Splitter::default(), seen: Vec::new() }
    }

    /// Takes what the client has sent, and answers. Whether there was anything.
    fn turn(&mut self) -> bool {
        let packets = self.splitter.push(&self.peer.receive());
        for packet in &packets {
            self.seen.push(described(packet));
            self.answer(packet);
        }
        !packets.is_empty()
    }

    fn answer(&mut self, packet: &Packet) {
        match packet.first {
            0x10 => self.peer.send(&wire::connack(false, 0)),
            0x82 => {
                let granted: Vec<u8> = packet.filters().unwrap().iter().map(|(_, qos)| *qos).collect();
                self.peer.send(&wire::suback(packet.id().unwrap(), &granted));
                let bag = "%24.mid=m1&%24.to=%2Fdevices%2Fx%2Fmessages%2FdeviceBound&iothub-ack=full&prop1=v%201";
                let topic = format!("{}/{bag}", self.inbox);
                self.peer.send(&wire::publish(topic.as_bytes(), Some(101), b"hello c2d"));
                self.peer.send(&wire::publish(b"$iothub/methods/POST/stubMethod/?$rid=1", None, b"{\"a\":1}"));
            }
            0x32 => self.peer.send(&wire::puback(packet.published().unwrap().id.unwrap())),
            0x30 => {
                let published = packet.published().unwrap();
                let topic = text(published.topic);
                let Some((path, rid)) = topic.split_once("/?$rid=") else { panic!("{topic}") };
                let (tail, body) = match path {
                    "$iothub/twin/GET" => (
                        format!("200/?$rid={rid}"),
                        &br#"{"desired":{"k":1,"$version":2},"reported":{"$version":1}}"#[..],
                    ),
                    "$iothub/twin/PATCH/properties/reported" => (format!("204/?$rid={rid}&$version=2"), &b""[..]),
                    _ => return,
                };
                self.peer.send(&wire::publish(format!("$iothub/twin/res/{tail}").as_bytes(), None, body));
            }
            _ => {}
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A packet in the notation of the page.
fn described(packet: &Packet) -> String {
    match packet.first {
        0x10 => connect(packet),
        0x40 => format!("PUBACK pid={}", packet.id().unwrap()),
        0x82 => {
            let filters = packet.filters().unwrap();
            let filters: Vec<_> = filters.iter().map(|(filter, qos)| format!("('{filter}', {qos})")).collect();
            format!("SUBSCRIBE pid={} [{}]", packet.id().unwrap(), filters.join(", "))
        }
        0xE0 => "DISCONNECT".to_owned(),
        first if first & 0xF0 == 0x30 => {
            let published = packet.published().unwrap();
            let id = published.id.map_or("None".to_owned(), |id| id.to_string());
            format!(
                "PUBLISH qos{} dup={} retain={} pid={id} topic='{}' payload='{}'",
                published.qos,
                u8::from(published.dup),
                first & 1,
                text(published.topic),
                text(published.payload)
            )
        }
        _ => panic!("the page has no notation for {packet:x?}"),
    }
}

fn connect(packet: &Packet) -> String {
    let (protocol, fixed) = split_text(&packet.body).unwrap();
    let (&[level, flags, high, low], mut texts) = fixed.split_first_chunk().unwrap();
    let [client_id, user_name, password] = [(); 3].map(|()| {
        let (next, rest) = split_text(texts).unwrap();
        texts = rest;
        text(next)
    });
    assert!(texts.is_empty());
    // What differs from machine to machine, and what nobody shall see.
    let platform = format!("%28{}%3B%20{}%29", std::env::consts::OS, std::env::consts::ARCH);
    let user_name = user_name.replace(&platform, "%28{os}%3B%20{arch}%29");
    let user_name = user_name.replace(env!("CARGO_PKG_VERSION"), "{version}");
    let (before, signature) = password.split_once("sig=").unwrap();
    let password = format!("{before}sig=<MASKED>{}", &signature[signature.find('&').unwrap()..]);
    let will = flags & 0x04 != 0;
    format!(
        "CONNECT proto={} level={level} flags={flags:#04x} clean_session={} keepalive={} will={will}\n    \
         client_id='{client_id}'\n    username='{user_name}'\n    password='{password}'",
        text(protocol),
        u8::from(flags & 0x02 != 0),
        u16::from_be_bytes([high, low]),
    )
}

/// The scenario of the traces, as an application for a device would write it.
fn of_a_device() -> Vec<String> {
    let world = World::new();
    let mut client = DeviceClient::builder(CONNECTION_STRING).build(&world).unwrap();
    let hub = Hub::new(world.network().accept(), "devices/dev1/messages/devicebound");
    client.set_message_callback(|message, _| message.complete()).unwrap();
    scenario(client, hub, |client, message| client.send_event(message).unwrap())
}

/// The same for a module, which receives at an input and sends to an output.
fn of_a_module() -> Vec<String> {
    let world = World::new();
    let connection_string = format!("{CONNECTION_STRING};ModuleId=mod1");
    let mut client = ModuleClient::builder(&connection_string).build(&world).unwrap();
    let hub = Hub::new(world.network().accept(), "devices/dev1/modules/mod1/inputs/input1");
    client.set_input_callback("input1", |message, _| message.complete()).unwrap();
    scenario(client, hub, |client, message| client.send_event_to_output(message, "out1").unwrap())
}

fn scenario<K>(mut client: Client<K>, mut hub: Hub, send: impl FnOnce(&mut Outbox<K>, Message)) -> Vec<String> {
    client.set_method_callback(|request, _| request.respond(200, r#"{"ok":1}"#).unwrap()).unwrap();
    client.set_twin_callback(|_, _| {}).unwrap();
    run(&mut client, &mut hub);

    client.send_reported_state(r#"{"a":1}"#).unwrap();
    run(&mut client, &mut hub);

    send(&mut client, message());
    run(&mut client, &mut hub);

    client.close(Duration::from_secs(1));
    hub.turn();
    hub.seen
}

/// The message of the scenario.
fn message() -> Message {
    let message = Message::new("hello")
        .with_message_id("mid1")
        .and_then(|message| message.with_correlation_id("cid1"))
        .and_then(|message| message.with_content_type("application/json"))
        .and_then(|message| message.with_content_encoding("utf-8"))
        .and_then(|message| message.with_system(SystemProperty::CreationTime, "2026-01-02T03:04:05Z"))
        .and_then(|message| message.with_property("k 1", "v&1"));
    message.unwrap()
}

/// Turns until neither side has anything more to say.
fn run<K>(client: &mut Client<K>, hub: &mut Hub) {
    let mut quiet = 0;
    while quiet < 3 {
        client.do_work();
        quiet = if hub.turn() { 0 } else { quiet + 1 };
    }
}

const PAGE: &str = include_str!("../docs/wire-parity.md");

/// The part of the page on devices, and that on modules.
fn parts() -> (&'static str, &'static str) {
    let (over_mqtt, _) = PAGE.split_once("\n## Over AMQP\n").expect("the page has a part on AMQP");
    over_mqtt.split_once("\n## Modules\n").expect("the page has a part on modules")
}

/// The part of the page on AMQP.
#[cfg(feature = "amqp")]
fn part_on_amqp() -> &'static str {
    PAGE.split_once("\n## Over AMQP\n").expect("the page has a part on AMQP").1
}

/// What the client sends, by this part of the page.
fn block(part: &'static str) -> &'static str {
    let behind = part.split_once("```text\n").expect("a text block").1;
    behind.split_once("\n```").expect("the block ends").0
}

fn assert_shows(part: &'static str, seen: &[String]) {
    let seen = seen.join("\n");
    assert_eq!(block(part), seen, "put this into docs/wire-parity.md and look at the tables again:\n{seen}");
}

#[test]
fn the_page_shows_what_a_devices_client_sends() {
    assert_shows(parts().0, &of_a_device());
}

#[test]
fn the_page_shows_what_a_modules_client_sends() {
    assert_shows(parts().1, &of_a_module());
}

/// In the tables, what stands in code in the column of this client is a piece of the block.
#[test]
fn the_column_of_this_client_is_taken_from_the_block() {
    assert_column_is_of_block(parts().0);
    assert_column_is_of_block(parts().1);
}

fn assert_column_is_of_block(part: &'static str) {
    let mut cells = 0;
    for line in part.lines().filter(|line| line.starts_with("| ")) {
        let ours = line.split(" | ").nth(1).expect("a column of this client");
        for piece in ours.split('`').skip(1).step_by(2) {
            cells += 1;
            assert!(block(part).contains(piece), "{piece:?} is not in the block: {line}");
        }
    }
    assert!(cells >= 10, "only {cells} pieces were compared");
}

/// The request that the page shows is the one that the hub gets.
#[cfg(feature = "mqtt-ws")]
#[test]
fn the_page_shows_what_is_asked_for_before_a_web_socket() {
    use iothub_client::{ConnectionState, MqttWs};
    use iothub_emulator::{Activity, Emulator};

    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev1").unwrap();
    let mut client = DeviceClient::builder(device.connection_string())
        .gateway(format!("localhost:{}", hub.https_address().port()))
        .trusted_certs(hub.ca_pem())
        .build(&MqttWs::new())
        .unwrap();
    let limit = std::time::Instant::now() + Duration::from_secs(30);
    while client.connection_state() != ConnectionState::Ready {
        assert!(std::time::Instant::now() < limit, "{client:?}");
        client.do_work();
        client.wait(Duration::from_secs(1));
    }
    let asked = hub.activity("dev1").into_iter().find_map(|activity| match activity {
        Activity::Connected { web_socket, .. } => web_socket,
        _ => None,
    });
    let asked = asked.expect("a WebSocket");
    let request = block(PAGE.split_once("\n## Over a WebSocket\n").expect("the page has a part on WebSockets").1);
    assert!(request.starts_with(&format!("GET {} HTTP/1.1\n", asked.path)), "{asked:?}");
    assert!(request.contains(&format!("\nSec-WebSocket-Protocol: {}\n", asked.subprotocol)), "{asked:?}");
}
