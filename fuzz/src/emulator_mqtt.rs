//! The emulator's MQTT head against a device that says anything.
//!
//! A script plays up to three connections of one device and the service side. What must hold:
//!
//! - nothing panics; a closed connection says nothing more;
//! - what the hub sends is well-formed MQTT that only a server sends, and begins with a CONNACK;
//! - it acknowledges, and stores, no more messages than came;
//! - a device that falls silent is closed after finite time.

use std::time::Duration;

use iothub_emulator::{Config, Device, OfflineConnection};

use super::hub::{self, Hub};
use super::script::Script;
use super::wire::{self, Packet, Splitter};
use super::world::{self, DEVICE, HUB};

struct Run {
    hub: Hub<Peer>,
    device: Device,
    /// No more messages than these may be stored.
    published: usize,
}

struct Peer {
    connection: OfflineConnection,
    from_hub: Splitter,
    to_hub: Splitter,
    /// Whether CONNACK has come.
    is_answered: bool,
    /// Messages at QoS 1 that have no PUBACK.
    unacknowledged: usize,
    next_id: u16,
}

/// Runs one script.
pub fn run(input: &[u8]) {
    let mut run = Run::new();
    let mut script = Script::new(input);
    while let Some(step) = script.step() {
        run.step(step, &mut script);
    }
    run.hub.falls_silent(run.published);
}

impl Run {
    fn new() -> Self {
        let (hub, device) = world::hub(Config::new().with_log_limit(10_000), world::start());
        let first = Peer::new(hub.accept());
        Self { hub: Hub::new(hub, first), device, published: 0 }
    }

    fn step(&mut self, step: char, script: &mut Script<'_>) {
        match step {
            // The device, on its newest connection or an older one.
            'n' => self.hub.accept(Peer::new(self.hub.offline.accept())),
            'l' => self.hub.rotate(),
            'h' => self.say(script.bytes()),
            'c' => self.connect(script.number()),
            's' => self.subscribe(script.number()),
            'p' => self.publish(b"devices/dev1/messages/events/", script.bytes(), 1),
            'g' => self.publish(b"$iothub/twin/GET/?$rid=", script.bytes(), 0),
            'r' => self.publish_to(b"$iothub/twin/PATCH/properties/reported/?$rid=1", script.bytes()),
            'm' => self.publish(b"$iothub/methods/res/", script.bytes(), 0),
            'a' => self.say(&wire::puback(script.number() as u16)),
            'e' => {
                let packets = [wire::packet(0xC0, b""), wire::packet(0xE0, b"")];
                self.say(&packets[script.number() % 2]);
            }
            'q' => {
                let peer = self.hub.newest();
                peer.connection.peer_closed();
                peer.take();
            }
            // The service.
            'x' => {
                let _nobody = self.hub.offline.disconnect_device(DEVICE);
            }
            'w' => {}
            _ if self.hub.serve(step, script) => {}
            _ => return,
        }
        self.hub.listen(self.published);
    }

    fn say(&mut self, bytes: &[u8]) {
        let peer = self.hub.newest();
        let published: Vec<u8> = peer.to_hub.push(bytes).iter().filter_map(qos_of_publish).collect();
        peer.unacknowledged += published.iter().filter(|qos| **qos == 1).count();
        // A connection that breaks may publish its will.
        self.published += published.len() + 1;
        self.hub.newest().connection.receive(bytes);
    }

    fn connect(&mut self, number: usize) {
        let token = self.device.sas_token(Duration::from_secs(10 << (number % 8)));
        let user_name = format!("{HUB}/{DEVICE}/?api-version=2021-04-12&DeviceClientType=fuzz");
        self.say(&wire::connect(DEVICE, &user_name, &token, number & 8 != 0, number as u16 * 16));
    }

    fn subscribe(&mut self, number: usize) {
        let filters: [&[u8]; 5] = [
            b"devices/dev1/messages/devicebound/#",
            b"$iothub/twin/res/#",
            b"$iothub/twin/PATCH/properties/desired/#",
            b"$iothub/methods/POST/#",
            b"devices/+/messages/devicebound/#",
        ];
        let wanted = filters.iter().enumerate().filter(|(bit, _)| number >> bit & 1 == 1);
        let wanted: Vec<_> = wanted.map(|(_, filter)| (*filter, (number >> 6) as u8)).collect();
        let id = self.hub.newest().fresh_id();
        self.say(&wire::subscribe(id, &wanted));
    }

    fn publish(&mut self, topic: &[u8], tail: &[u8], qos: u8) {
        let id = self.hub.newest().fresh_id();
        let packet = wire::publish(&[topic, tail].concat(), (qos == 1).then_some(id), b"{\"a\":1}");
        self.say(&packet);
    }

    fn publish_to(&mut self, topic: &[u8], payload: &[u8]) {
        self.say(&wire::publish(topic, None, payload));
    }
}

impl hub::Peer for Peer {
    fn connection(&self) -> &OfflineConnection {
        &self.connection
    }

    fn listen(&mut self) {
        self.connection.poll();
        self.take();
    }
}

impl Peer {
    fn new(connection: OfflineConnection) -> Self {
        let (from_hub, to_hub) = Default::default();
        Self { connection, from_hub, to_hub, is_answered: false, unacknowledged: 0, next_id: 0 }
    }

    fn fresh_id(&mut self) -> u16 {
        self.next_id = self.next_id % 0xFFFF + 1;
        self.next_id
    }

    fn take(&mut self) {
        let was_closed = self.connection.is_closed();
        let bytes = self.connection.take_output();
        for packet in self.from_hub.push(&bytes) {
            self.hear(&packet);
        }
        assert!(!self.from_hub.is_broken(), "the hub sent what is no packet");
        if was_closed {
            self.connection.receive(b"\xC0\0");
            self.connection.poll();
            assert!(self.connection.take_output().is_empty(), "a closed connection speaks");
        }
    }

    fn hear(&mut self, packet: &Packet) {
        assert_eq!(packet.first == 0x20, !self.is_answered, "CONNACK comes first and once, not {packet:x?}");
        self.is_answered = true;
        match packet.first {
            0x20 => assert!(packet.body.len() == 2 && packet.body[0] <= 1 && packet.body[1] <= 5, "{packet:x?}"),
            0x30 | 0x32 | 0x3A => {
                let published = packet.published().expect("a whole PUBLISH");
                let topic = std::str::from_utf8(published.topic).expect("UTF-8");
                assert!(!topic.contains(['+', '#', '\0']), "{topic:?}");
                assert_ne!(published.id, Some(0));
            }
            0x40 => {
                assert_eq!(packet.body.len(), 2);
                let left = self.unacknowledged.checked_sub(1);
                self.unacknowledged = left.expect("a PUBACK of a message that did not come");
            }
            0x90 => {
                let codes = packet.body.get(2..).unwrap_or_default();
                assert!(!codes.is_empty() && codes.iter().all(|code| matches!(code, 0 | 1 | 0x80)), "{packet:x?}");
            }
            0xB0 => assert_eq!(packet.body.len(), 2),
            0xD0 => assert!(packet.body.is_empty()),
            _ => panic!("no server sends {packet:x?}"),
        }
    }
}

fn qos_of_publish(packet: &Packet) -> Option<u8> {
    packet.published().map(|published| published.qos)
}
