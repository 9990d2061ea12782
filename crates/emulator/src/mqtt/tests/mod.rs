//! The head in virtual time, without a network: what a device sees, and what the hub knows.

mod connect;
mod deliver;
mod faults;
mod method;
mod publish;
mod trouble;
mod twin;

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use super::Head;
use crate::activity::{Activity, DisconnectReason, RefusalReason};
use crate::clock::{Clock, Now, unix_seconds};
use crate::config::{BadFilter, Config, LockExpiry, OutOfOrderPuback, UnknownTopic};
use crate::device::DeviceAuth;
use crate::faults::{DropPoint, Fault};
use crate::head::{Close, Head as _};
use crate::hub::HubState;
use crate::hub::registry::Identity;
use crate::message::C2dMessage;
use crate::record::C2dResult;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const PINGREQ: &[u8] = b"\xc0\x00";
const DISCONNECT: &[u8] = b"\xe0\x00";

fn d() -> &'static Identity {
    static DEVICE: LazyLock<Identity> = LazyLock::new(|| Identity::device("d"));
    &DEVICE
}

/// A hub with a device `d`, a clock that the test moves, and raw MQTT peers.
struct World {
    clock: Clock,
    hub: HubState,
}

impl World {
    fn new(config: Config) -> Self {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let clock = Clock::new(Some(start));
        let mut hub = HubState::new(config.validated().unwrap());
        let keys = DeviceAuth::SymmetricKey { primary: KEY.into(), secondary: KEY.into() };
        hub.create_device("d", keys, clock.now()).unwrap();
        Self { clock, hub }
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn pass(&mut self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.hub.advance(self.clock.now());
    }

    fn peer(&mut self) -> Head {
        let now = self.now();
        Head::new(&mut self.hub, now)
    }

    /// Feeds bytes and gives the answer.
    fn say(&mut self, head: &mut Head, bytes: &[u8]) -> Vec<u8> {
        let now = self.now();
        head.receive(&mut self.hub, now, bytes);
        head.take_output()
    }

    /// What the head has to say by itself.
    fn poll(&mut self, head: &mut Head) -> Vec<u8> {
        let now = self.now();
        head.poll(&mut self.hub, now);
        head.take_output()
    }

    fn connect_packet(&self, flags: u8, keep_alive: u16, lifetime: u64) -> Vec<u8> {
        let token = crate::auth::sas::sign(KEY, "localhost/devices/d", unix_seconds(self.now().wall) + lifetime);
        connect_packet(flags, keep_alive, "d", "localhost/d/?api-version=2021-04-12", &token)
    }

    fn connected(&mut self) -> Head {
        let mut head = self.peer();
        let connect = self.connect_packet(0xc0, 60, 3600);
        assert_eq!(self.say(&mut head, &connect)[..2], *b"\x20\x02");
        head
    }

    fn send_c2d(&mut self, id: &str) {
        let now = self.now();
        self.hub.send_c2d("d", id.to_owned(), C2dMessage::new("x"), now).unwrap();
    }

    fn last_activity(&self) -> &Activity {
        self.hub.activity(d()).last().unwrap()
    }

    fn why(&self) -> &DisconnectReason {
        let ends = self.hub.activity(d()).filter_map(|activity| match activity {
            Activity::Disconnected { why, .. } => Some(why),
            _ => None,
        });
        ends.last().unwrap()
    }

    fn refusal(&self) -> &RefusalReason {
        let refusals = self.hub.activity(d()).filter_map(|activity| match activity {
            Activity::ConnectRefused { why, .. } => Some(why),
            _ => None,
        });
        refusals.last().unwrap()
    }
}

/// The topics and bodies of the PUBLISH packets in the output, which has nothing else; each with its first byte.
fn published(mut bytes: &[u8]) -> Vec<(u8, String, Vec<u8>)> {
    let mut found = Vec::new();
    while let [first, rest @ ..] = bytes {
        assert_eq!(first & 0xf0, 0x30, "{bytes:02x?}");
        let (mut length, mut used) = (0, 0);
        loop {
            length |= usize::from(rest[used] & 0x7f) << (7 * used);
            used += 1;
            if rest[used - 1] & 0x80 == 0 {
                break;
            }
        }
        let (packet, behind) = rest[used..].split_at(length);
        let (topic, body) = packet[2..].split_at(usize::from(packet[1]) | usize::from(packet[0]) << 8);
        let body = if first & 0x06 == 0 { body } else { &body[2..] };
        found.push((*first, String::from_utf8(topic.to_vec()).unwrap(), body.to_vec()));
        bytes = behind;
    }
    found
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut length = body.len();
    let mut bytes = vec![first];
    loop {
        let more = length >= 128;
        bytes.push((length % 128) as u8 | if more { 0x80 } else { 0 });
        length /= 128;
        if !more {
            return [bytes, body.to_vec()].concat();
        }
    }
}

fn connect_packet(flags: u8, keep_alive: u16, client_id: &str, user_name: &str, password: &str) -> Vec<u8> {
    let mut body = [b"\x00\x04MQTT\x04".as_slice(), &[flags], &keep_alive.to_be_bytes(), &text(client_id)].concat();
    if flags & 0x04 != 0 {
        body.extend([text("devices/d/messages/events/a=b"), text("gone")].concat());
    }
    body.extend([text(user_name), text(password)].concat());
    packet(0x10, &body)
}

fn publish(first: u8, topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let id = if first & 0x06 == 0 { Vec::new() } else { packet_id.to_be_bytes().to_vec() };
    packet(first, &[text(topic), id, payload.to_vec()].concat())
}

fn subscribe(packet_id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let filters: Vec<u8> = filters.iter().flat_map(|(filter, qos)| [text(filter), vec![*qos]].concat()).collect();
    packet(0x82, &[packet_id.to_be_bytes().to_vec(), filters].concat())
}

const EVENTS: &str = "devices/d/messages/events/";
