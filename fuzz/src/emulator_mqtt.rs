//! The emulator's MQTT head against a device that says anything.
//!
//! A script plays up to three connections of one device and the service side. What must hold:
//!
//! - nothing panics; a closed connection says nothing more;
//! - what the hub sends is well-formed MQTT that only a server sends, and begins with a CONNACK;
//! - it acknowledges, and stores, no more messages than came;
//! - a device that falls silent is closed after finite time.

use std::time::Duration;

use iothub_emulator::{
    C2dMessage, Config, Device, DeviceAuth, MethodCall, OfflineConnection, OfflineHub, PendingMethod, SecretKey,
};

use super::script::Script;
use super::wire::{self, Packet, Splitter};
use super::world::{self, DEVICE, HUB, KEY};

/// Time-outs in a row that end nothing: the longest keep-alive is 1767 s, and the shortest of the others seconds.
const MAX_TIMEOUTS: usize = 2000;

struct Run {
    hub: OfflineHub,
    device: Device,
    peers: Vec<Peer>,
    calls: Vec<PendingMethod>,
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
    run.falls_silent();
}

impl Run {
    fn new() -> Self {
        let config = Config::new().with_host_name(HUB).with_log_limit(10_000);
        let hub = OfflineHub::new(config, world::start().wall).unwrap();
        let keys = DeviceAuth::SymmetricKey { primary: SecretKey::from(KEY), secondary: SecretKey::from(KEY) };
        let device = hub.create_device_with(DEVICE, keys).unwrap();
        let peers = vec![Peer::new(hub.accept())];
        Self { hub, device, peers, calls: Vec::new(), published: 0 }
    }

    fn step(&mut self, step: char, script: &mut Script<'_>) {
        match step {
            // The device, on its newest connection or an older one.
            'n' => self.accept(),
            'l' => self.peers.rotate_left(1),
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
                let peer = self.newest();
                peer.connection.peer_closed();
                peer.listen();
            }
            // The service.
            'v' => {
                let body = script.bytes().to_vec();
                let _full = self.hub.send_c2d(DEVICE, C2dMessage::new(body).property("p", None));
            }
            'j' => {
                let patch = serde_json::from_slice(script.bytes());
                let _refused = patch.map(|patch| self.hub.patch_desired(DEVICE, patch));
            }
            'i' => {
                let body = script.bytes().to_vec();
                let call = MethodCall::new("m").raw_payload(body).connect_timeout(Duration::from_secs(5));
                self.calls.extend(self.hub.start_method(DEVICE, call));
                self.calls.truncate(20);
            }
            'x' => {
                let _nobody = self.hub.disconnect_device(DEVICE);
            }
            't' => self.hub.advance_clock(Duration::from_millis(1 << (script.number() % 22))),
            'w' => {}
            _ => return,
        }
        self.listen();
    }

    fn newest(&mut self) -> &mut Peer {
        self.peers.last_mut().expect("there is one at least")
    }

    fn accept(&mut self) {
        if self.peers.len() == 3 {
            self.peers.remove(0);
        }
        self.peers.push(Peer::new(self.hub.accept()));
    }

    fn say(&mut self, bytes: &[u8]) {
        let peer = self.newest();
        let published: Vec<u8> = peer.to_hub.push(bytes).iter().filter_map(qos_of_publish).collect();
        peer.unacknowledged += published.iter().filter(|qos| **qos == 1).count();
        // A connection that breaks may publish its will.
        self.published += published.len() + 1;
        self.newest().connection.receive(bytes);
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
        let id = self.newest().fresh_id();
        self.say(&wire::subscribe(id, &wanted));
    }

    fn publish(&mut self, topic: &[u8], tail: &[u8], qos: u8) {
        let id = self.newest().fresh_id();
        let packet = wire::publish(&[topic, tail].concat(), (qos == 1).then_some(id), b"{\"a\":1}");
        self.say(&packet);
    }

    fn publish_to(&mut self, topic: &[u8], payload: &[u8]) {
        self.say(&wire::publish(topic, None, payload));
    }

    /// Takes what the hub has to say on every connection.
    fn listen(&mut self) {
        for peer in &mut self.peers {
            peer.connection.poll();
            peer.listen();
        }
        let stored = self.hub.telemetry_count(DEVICE);
        assert!(stored <= self.published, "{stored} messages are stored, at most {} came", self.published);
        for call in &self.calls {
            let _pending = call.try_result();
        }
    }

    fn falls_silent(&mut self) {
        for _ in 0..MAX_TIMEOUTS {
            self.listen();
            if self.peers.iter().all(|peer| peer.connection.is_closed()) {
                return;
            }
            let open = self.peers.iter().filter(|peer| !peer.connection.is_closed());
            let timeouts = open.filter_map(|peer| peer.connection.timeout()).chain(self.hub.timeout());
            let next = timeouts.min().expect("an open connection has a limit");
            self.hub.advance_clock(next);
        }
        panic!("the device is silent, and its connection stays open");
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

    fn listen(&mut self) {
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
