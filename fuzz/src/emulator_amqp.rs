//! The emulator's AMQP head against a client that says anything.
//!
//! A script plays up to three connections of one device and its service side. What must hold:
//!
//! - nothing panics; a closed connection says nothing more;
//! - what the hub sends is a protocol header and well-formed frames of performatives that it may send;
//! - it sends no message beyond the credit that it was given, and stores no more messages than came;
//! - a client that falls silent is closed after finite time.

use std::collections::BTreeMap;
use std::time::Duration;

use iothub_emulator::{Config, OfflineConnection};

use super::amqp_wire::frame::{self, Frame, Link, Message};
use super::amqp_wire::value::{V, composite, described, sym, text};
use super::hub::{self, Hub};
use super::script::Script;
use super::world::{self, DEVICE, HUB, KEY};

/// What may be stored: more than any script says.
const MAX_STORED: usize = 10_000;

const ADDRESSES: [&str; 10] = [
    "$cbs",
    "/devices/dev1/messages/events",
    "/devices/dev1/messages/devicebound",
    "amqps://hub.example/devices/dev1/twin",
    "/devices/dev1/methods/devicebound",
    "/messages/devicebound",
    "/messages/servicebound/feedback",
    "/messages/events/ConsumerGroups/$Default/Partitions/0",
    "$management",
    "/nowhere",
];

struct Run {
    hub: Hub<Peer>,
    token: String,
}

struct Peer {
    connection: OfflineConnection,
    from_hub: Vec<u8>,
    has_header: bool,
    /// It has said bytes whose meaning is not known here; they may have been credit.
    raw: bool,
    next_delivery: u32,
    /// Credit that was given and not used, by channel and handle.
    credit: BTreeMap<(u16, u32), u64>,
    /// Deliveries of which not all has come.
    partial: BTreeMap<(u16, u32), u32>,
}

/// Runs one script.
pub fn run(input: &[u8]) {
    let mut run = Run::new();
    let mut script = Script::new(input);
    while let Some(step) = script.step() {
        run.step(step, &mut script);
    }
    run.hub.falls_silent(MAX_STORED);
}

impl Run {
    fn new() -> Self {
        let config = Config::new().with_policy_key("iothubowner", KEY).with_log_limit(10_000);
        let (hub, _) = world::hub(config, world::start());
        let token = hub.policy_token("iothubowner", Duration::from_secs(3600)).unwrap();
        let first = Peer::new(hub.accept_amqp());
        Self { hub: Hub::new(hub, first), token }
    }

    fn step(&mut self, step: char, script: &mut Script<'_>) {
        match step {
            // The client, on its newest connection or an older one.
            'n' => self.hub.accept(Peer::new(self.hub.offline.accept_amqp())),
            'l' => self.hub.rotate(),
            'h' => {
                self.newest().raw = true;
                self.newest().say(script.bytes());
            }
            'u' => {
                let (channel, body) = (script.number() as u16 % 3, script.bytes());
                let bytes = frame::raw_frame(0, channel, body);
                self.newest().raw = true;
                self.newest().say(&bytes);
            }
            'o' => {
                let idle = [None, Some(5_000), Some(4_999), Some(240_000)][script.number() % 4];
                self.newest().open(idle);
            }
            'y' => {
                let response = script.bytes();
                let init = composite(frame::INIT, vec![sym("PLAIN"), V::Bin(response.to_vec())]);
                let bytes = [frame::SASL_HEADER, &frame::raw_frame(1, 0, &init.encoded())].concat();
                self.newest().raw = true;
                self.newest().say(&bytes);
            }
            'b' => self.newest().perform(script.number() as u16 % 3, &frame::begin()),
            'k' => {
                let token = self.token.clone();
                self.newest().put_token(&token);
            }
            'a' => {
                let (kind, place) = (script.number(), script.number());
                self.newest().attach(kind, place);
            }
            's' => {
                let (place, format, payload) = (script.number(), script.number(), script.bytes());
                let payload = payload.to_vec();
                self.newest().send(place, format, &payload);
            }
            'm' => {
                let (place, kind, body) = (script.number(), script.number(), script.bytes().to_vec());
                self.newest().send(place, 0, &message(kind, &body));
            }
            'f' => {
                let (place, credit) = (script.number(), script.number());
                self.newest().give_credit(place, credit as u32, credit % 7 == 0);
            }
            'd' => {
                let (first, state) = (script.number(), script.number());
                let code = [0x23, 0x24, 0x25, 0x26, 0x27][state % 5];
                let last = (first + state / 16) as u32;
                let said = frame::disposition(first as u32, last, state & 8 == 0, frame::outcome(code));
                self.newest().perform(0, &said);
            }
            'x' => {
                let place = script.number();
                self.newest().detach(place);
            }
            'e' => {
                let channel = script.number() as u16 % 3;
                self.newest().credit.retain(|(known, _), _| *known != channel);
                self.newest().partial.retain(|(known, _), _| *known != channel);
                self.newest().perform(channel, &frame::end());
            }
            'q' => match script.number() % 2 {
                0 => self.newest().perform(0, &frame::close()),
                _ => {
                    self.newest().connection.peer_closed();
                    let _rest = self.newest().connection.take_output();
                }
            },
            // The service.
            'w' => {
                let _nobody = self.hub.offline.disconnect_device(DEVICE);
            }
            _ if self.hub.serve(step, script) => {}
            _ => return,
        }
        self.hub.listen(MAX_STORED);
    }

    fn newest(&mut self) -> &mut Peer {
        self.hub.newest()
    }
}

/// Messages that mean something to one of the links.
fn message(kind: usize, body: &[u8]) -> Vec<u8> {
    let plain = Message::of(body).property(frame::CORRELATION_ID, text("c")).property(frame::MESSAGE_ID, V::Ulong(1));
    let operation = |name: &str, resource: &str| {
        plain.clone().annotation("operation", text(name)).annotation("resource", text(resource))
    };
    let desired = "/notifications/twin/properties/desired";
    match kind % 8 {
        0 => plain.clone(),
        1 => operation("PATCH", "/properties/reported"),
        2 => plain.clone().annotation("operation", text("GET")),
        3 => operation("PUT", desired),
        4 => operation("DELETE", desired),
        5 => plain.clone().property(frame::TO, text("/devices/dev1/messages/devicebound")),
        6 => plain.clone().application("IoThub-status", V::Int(200)),
        _ => plain
            .clone()
            .application("AzIoTHub_FaultOperationType", V::Str(String::from_utf8_lossy(body).into_owned()))
            .application("AzIoTHub_FaultOperationDelayInSecs", text("1")),
    }
    .encoded()
}

impl hub::Peer for Peer {
    fn connection(&self) -> &OfflineConnection {
        &self.connection
    }

    fn listen(&mut self) {
        let was_closed = self.connection.is_closed();
        self.connection.poll();
        let bytes = self.connection.take_output();
        if was_closed {
            self.connection.receive(&frame::raw_frame(0, 0, b""));
            assert!(self.connection.take_output().is_empty(), "a closed connection speaks");
        }
        self.from_hub.extend(bytes);
        loop {
            if !self.has_header || self.from_hub.starts_with(b"AMQP") {
                if self.from_hub.len() < 8 {
                    return;
                }
                let header: Vec<u8> = self.from_hub.drain(..8).collect();
                assert!(header == frame::AMQP_HEADER || header == frame::SASL_HEADER, "{header:?}");
                self.has_header = true;
            }
            match Frame::take(&mut self.from_hub) {
                Some(frame) => self.hear(&frame),
                None => return,
            }
        }
    }
}

impl Peer {
    fn new(connection: OfflineConnection) -> Self {
        Self {
            connection,
            from_hub: Vec::new(),
            has_header: false,
            raw: false,
            next_delivery: 0,
            credit: BTreeMap::new(),
            partial: BTreeMap::new(),
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.connection.receive(bytes);
    }

    fn perform(&mut self, channel: u16, performative: &V) {
        self.say(&frame::frame(channel, performative, &[]));
    }

    fn open(&mut self, idle: Option<u32>) {
        self.say(&[frame::AMQP_HEADER, &frame::frame(0, &frame::open(idle), &[])].concat());
    }

    /// The channel and handle that a number means.
    fn place(number: usize) -> (u16, u32) {
        ((number >> 6) as u16, (number & 0x1F) as u32)
    }

    fn attach(&mut self, kind: usize, place: usize) {
        let (channel, handle) = Self::place(place);
        let address = ADDRESSES[kind % ADDRESSES.len()];
        let link = if kind & 0x10 == 0 { Link::sender(handle, address) } else { Link::receiver(handle, address) };
        let link = link.modes((kind >> 5) as u8 % 3, (kind >> 7) as u8 % 2);
        self.perform(channel, &link.attach());
    }

    fn detach(&mut self, place: usize) {
        let (channel, handle) = Self::place(place);
        self.credit.remove(&(channel, handle));
        self.partial.remove(&(channel, handle));
        self.perform(channel, &frame::detach(handle));
    }

    fn send(&mut self, place: usize, format: usize, payload: &[u8]) {
        let (channel, handle) = Self::place(place);
        let id = self.next_delivery;
        self.next_delivery += 1;
        let batch = if format & 1 == 1 { frame::BATCH } else { 0 };
        let payload = if batch == 0 { payload.to_vec() } else { described(0x75, V::Bin(payload.to_vec())).encoded() };
        let transfer = frame::transfer(handle, id, batch, format & 2 != 0, format & 4 != 0);
        self.say(&frame::frame(channel, &transfer, &payload));
    }

    fn give_credit(&mut self, place: usize, credit: u32, drain: bool) {
        let (channel, handle) = Self::place(place);
        // What the peer says it has received is nothing, so that the credit only shrinks by what is under way.
        self.credit.insert((channel, handle), u64::from(credit));
        self.perform(channel, &frame::flow(handle, 0, credit, drain));
    }

    fn put_token(&mut self, token: &str) {
        self.perform(0, &Link::sender(30, "$cbs").attach());
        let request = Message::value(text(token))
            .application("operation", text("put-token"))
            .application("type", text("servicebus.windows.net:sastoken"))
            .application("name", text(HUB));
        self.send(30, 0, &request.encoded());
    }

    fn hear(&mut self, heard: &Frame) {
        match (heard.kind, heard.code) {
            (1, frame::MECHANISMS | frame::OUTCOME) => {}
            (0, 0 | frame::OPEN..=frame::CLOSE) => {}
            other => panic!("no server sends {other:?}"),
        }
        if heard.code == frame::TRANSFER {
            let place = (heard.channel, heard.uint(0));
            let more = *heard.field(5) == V::Bool(true);
            if !self.raw && !self.partial.contains_key(&place) {
                let credit = self.credit.get_mut(&place).expect("a message on a link that was given credit");
                *credit = credit.checked_sub(1).expect("a message within the credit");
            }
            match more {
                true => drop(self.partial.insert(place, 1)),
                false => drop(self.partial.remove(&place)),
            }
        }
    }
}
