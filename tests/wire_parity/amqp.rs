//! The same over AMQP: frames of the client by a decoder that shares no code with it, and the emulator as the hub.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use iothub_client::{CreateError, DeviceClient, Endpoint, Now, Platform, Provider, Readiness, Transport};
use iothub_emulator::{C2dMessage, Config, DeviceAuth, MethodCall, OfflineConnection, OfflineHub, SecretKey};
use iothub_net::memory::{self, PeerEnd};
use iothub_transport_amqp::{AmqpTransport, SessionOptions};
use serde_json::json;

use super::{CONNECTION_STRING, message};
use frame::{ATTACH, BEGIN, CLOSE, DETACH, DISPOSITION, END, FLOW, Frame, Message, OPEN, TRANSFER};
use value::V;

#[path = "../../crates/emulator/tests/contract_amqp/support/frame.rs"]
#[allow(dead_code, unused_imports, reason = "the emulator's tests use the rest")]
mod frame;
#[path = "../../crates/emulator/tests/contract_amqp/support/value.rs"]
#[allow(dead_code, reason = "the emulator's tests use the rest")]
mod value;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// How long the goodbye may take, in virtual time.
const PATIENCE: Duration = Duration::from_secs(10);

/// A network in memory with the hub at its other end, and virtual time, which passes when neither side has anything to say.
#[derive(Clone)]
struct World(Arc<Mutex<State>>);

struct State {
    now: Now,
    hub: OfflineHub,
    line: Option<Line>,
}

struct Line {
    peer: PeerEnd,
    connection: OfflineConnection,
    record: Record,
}

impl World {
    fn new() -> Self {
        let now = Now { mono: Instant::now(), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) };
        let hub = OfflineHub::new(Config::new().with_host_name("hub.localtest"), now.wall).unwrap();
        let keys = DeviceAuth::SymmetricKey { primary: SecretKey::from(KEY), secondary: SecretKey::from(KEY) };
        hub.create_device_with("dev1", keys).unwrap();
        hub.patch_desired("dev1", json!({"k": 1})).unwrap();
        Self(Arc::new(Mutex::new(State { now, hub, line: None })))
    }

    fn hub<T>(&self, act: impl FnOnce(&OfflineHub) -> T) -> T {
        act(&self.0.lock().unwrap().hub)
    }

    /// Passes on what each side has said. Whether there was anything.
    fn turn(&self) -> bool {
        let mut state = self.0.lock().unwrap();
        let Some(line) = &mut state.line else { return false };
        let said = line.peer.receive();
        line.record.client_says(&said);
        line.connection.receive(&said);
        line.connection.poll();
        let answer = line.connection.take_output();
        line.record.hub_says(&answer);
        line.peer.send(&answer);
        if line.connection.is_closed() {
            line.peer.close();
        }
        !said.is_empty() || !answer.is_empty()
    }

    /// What the client has sent.
    fn record(&self) -> String {
        self.0.lock().unwrap().line.as_ref().unwrap().record.told()
    }
}

impl Provider for World {
    fn transport(&self, endpoint: &Endpoint) -> Result<Box<dyn Transport>, CreateError> {
        let (connect, network) = memory::network(endpoint.host.as_str(), 5671);
        let mut state = self.0.lock().unwrap();
        let connection = state.hub.accept_amqp();
        state.line = Some(Line { peer: network.accept(), connection, record: Record::default() });
        Ok(Box::new(AmqpTransport::new("amqp", Box::new(connect), SessionOptions::default())?))
    }

    fn platform(&self) -> Result<Box<dyn Platform>, CreateError> {
        Ok(Box::new(self.clone()))
    }
}

impl Platform for World {
    fn now(&self) -> Now {
        self.0.lock().unwrap().now
    }

    fn waker(&self) -> Waker {
        Waker::noop().clone()
    }

    fn clear_wakes(&mut self) {}

    fn readiness(&self, _: &mut Vec<Readiness>) {}

    fn park(&mut self, _: &[Readiness], until: Option<Instant>) {
        if !self.turn() {
            let until = until.expect("a client that parks for ever would never wake");
            let mut state = self.0.lock().unwrap();
            let by = until.saturating_duration_since(state.now.mono);
            state.now = state.now + by;
            state.hub.advance_clock(by);
        }
    }
}

/// What the client has sent, by connection, session and link: the order of what belongs together is kept; what different tasks say at the same time
/// has none.
#[derive(Default)]
struct Record {
    from_client: Vec<u8>,
    from_hub: Vec<u8>,
    has_header: (bool, bool),
    /// By channel and handle: between which addresses, and the name.
    links: BTreeMap<(u16, u32), String>,
    /// By channel and delivery id: the link of what the hub has sent.
    deliveries: BTreeMap<(u16, u32), String>,
    lines: BTreeMap<String, Vec<String>>,
}

const CONNECTION: &str = "connection";

impl Record {
    fn hub_says(&mut self, bytes: &[u8]) {
        self.from_hub.extend(bytes);
        if !self.has_header.1 && self.from_hub.len() >= 8 {
            self.from_hub.drain(..8);
            self.has_header.1 = true;
        }
        while self.has_header.1
            && let Some(frame) = Frame::take(&mut self.from_hub)
        {
            if frame.code == TRANSFER {
                let link = self.links[&(frame.channel, frame.uint(0))].clone();
                self.deliveries.insert((frame.channel, frame.uint(1)), link);
            }
        }
    }

    fn client_says(&mut self, bytes: &[u8]) {
        self.from_client.extend(bytes);
        if !self.has_header.0 && self.from_client.len() >= 8 {
            let header: Vec<u8> = self.from_client.drain(..8).collect();
            let version: Vec<_> = header[5..].iter().map(u8::to_string).collect();
            self.note(CONNECTION, format!("header AMQP protocol-id={} {}", header[4], version.join(".")));
            self.has_header.0 = true;
        }
        while self.has_header.0
            && let Some(frame) = Frame::take(&mut self.from_client)
        {
            self.hear(&frame);
        }
    }

    fn note(&mut self, group: &str, line: String) {
        self.lines.entry(group.to_owned()).or_default().push(line);
    }

    fn hear(&mut self, frame: &Frame) {
        let link = |handle: u32| self.links.get(&(frame.channel, handle)).cloned().expect("an attached link");
        let (group, line) = match frame.code {
            OPEN => (
                CONNECTION.to_owned(),
                fields("open", frame, &["container-id", "hostname", "max-frame-size", "channel-max", "idle-time-out"]),
            ),
            CLOSE => (CONNECTION.to_owned(), fields("close", frame, &["error"])),
            BEGIN => {
                let names = ["remote-channel", "next-outgoing-id", "incoming-window", "outgoing-window", "handle-max"];
                ("each session".to_owned(), fields("begin", frame, &names))
            }
            END => ("each session".to_owned(), fields("end", frame, &["error"])),
            ATTACH => {
                let receives = frame.field(2) == &V::Bool(true);
                let address = |index: usize| match frame.field(index) {
                    V::Null => String::new(),
                    terminus => shown(terminus.fields().1.first().unwrap_or(&V::Null)),
                };
                let link = match receives {
                    true => format!("receiver from {}", address(5)),
                    false => format!("sender to {}", address(6)),
                };
                self.links.insert((frame.channel, frame.uint(1)), link.clone());
                let mut line = format!("attach name={}", shown(frame.field(0)));
                for (index, name) in [(3, "snd-settle-mode"), (4, "rcv-settle-mode")] {
                    put(&mut line, name, frame.field(index));
                }
                let _ = write!(line, " source={} target={}", address(5), address(6));
                for (index, name) in [(9, "initial-delivery-count"), (10, "max-message-size"), (13, "properties")] {
                    put(&mut line, name, frame.field(index));
                }
                (link, line)
            }
            // Where a session stands is said along with it.
            FLOW => (link(frame.uint(4)), format!("flow link-credit={}", shown(frame.field(6)))),
            TRANSFER => {
                let mut line = "transfer".to_owned();
                for (index, name) in
                    [(2, "delivery-tag"), (3, "message-format"), (4, "settled"), (5, "more"), (9, "batchable")]
                {
                    put(&mut line, name, frame.field(index));
                }
                let message = Message::decode(&frame.payload);
                let mut section = |name: &str, value: String| {
                    let _ = write!(line, "\n    {name}={value}");
                };
                if !message.annotations.is_empty() {
                    section("message-annotations", shown(&V::Map(message.annotations.clone())));
                }
                if !message.properties.is_empty() {
                    let named =
                        message.properties.iter().map(|(index, value)| (value::sym(PROPERTIES[*index]), value.clone()));
                    section("properties", shown(&V::Map(named.collect())));
                }
                if !message.application.is_empty() {
                    section("application-properties", shown(&V::Map(message.application.clone())));
                }
                message.data.iter().for_each(|data| section("data", format!("'{}'", String::from_utf8_lossy(data))));
                message.value.iter().for_each(|value| section("value", shown(value)));
                (link(frame.uint(0)), line)
            }
            DISPOSITION => {
                let (first, last) = (
                    frame.uint(1),
                    match frame.field(2) {
                        V::Null => frame.uint(1),
                        _ => frame.uint(2),
                    },
                );
                for id in first..=last {
                    let link = self.deliveries[&(frame.channel, id)].clone();
                    let mut line = "disposition".to_owned();
                    put(&mut line, "settled", frame.field(3));
                    put(&mut line, "state", frame.field(4));
                    self.note(&link, line);
                }
                return;
            }
            DETACH => {
                let mut line = "detach".to_owned();
                put(&mut line, "closed", frame.field(1));
                put(&mut line, "error", frame.field(2));
                (link(frame.uint(0)), line)
            }
            0 => return,
            code => panic!("no client sends {code:#x}"),
        };
        self.note(&group, line);
    }

    /// Each group once, with its lines in the order in which they were sent; sessions say the same.
    fn told(&self) -> String {
        let mut text = String::new();
        let mut tell = |group: &str, lines: &[String]| {
            let _ = writeln!(text, "{group}");
            lines.iter().for_each(|line| {
                let _ = writeln!(text, "  {}", line.replace('\n', "\n  "));
            });
        };
        tell(CONNECTION, &self.lines[CONNECTION]);
        let mut sessions = self.lines["each session"].clone();
        sessions.sort();
        sessions.dedup();
        tell("each session", &sessions);
        for (group, lines) in
            self.lines.iter().filter(|(group, _)| !["each session", CONNECTION].contains(&group.as_str()))
        {
            tell(group, lines);
        }
        text.trim_end().to_owned()
    }
}

const PROPERTIES: [&str; 13] = [
    "message-id",
    "user-id",
    "to",
    "subject",
    "reply-to",
    "correlation-id",
    "content-type",
    "content-encoding",
    "absolute-expiry-time",
    "creation-time",
    "group-id",
    "group-sequence",
    "reply-to-group-id",
];

fn fields(performative: &str, frame: &Frame, names: &[&str]) -> String {
    let mut line = performative.to_owned();
    for (index, name) in names.iter().enumerate() {
        put(&mut line, name, frame.field(index));
    }
    line
}

fn put(line: &mut String, name: &str, value: &V) {
    if *value != V::Null {
        let _ = write!(line, " {name}={}", shown(value));
    }
}

/// A value in the notation of the page: what differs from run to run or from machine to machine has a name in its place.
fn shown(value: &V) -> String {
    match value {
        V::Null => "none".to_owned(),
        V::Bool(value) => value.to_string(),
        V::Ubyte(value) => value.to_string(),
        V::Ushort(value) => value.to_string(),
        V::Uint(value) => value.to_string(),
        V::Ulong(value) => value.to_string(),
        V::Int(value) => value.to_string(),
        V::Long(value) => value.to_string(),
        V::Timestamp(value) => value.to_string(),
        V::Uuid(_) => "UUID(<GUID>)".to_owned(),
        V::Bin(bytes) => format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        V::Str(text) => format!("'{}'", masked(text)),
        V::Sym(text) => masked(text),
        V::List(values) | V::Array(values) => format!("{:?}", values.iter().map(shown).collect::<Vec<_>>()),
        V::Map(pairs) => {
            let mut pairs: Vec<_> =
                pairs.iter().map(|(name, value)| format!("{}: {}", shown(name), shown(value))).collect();
            // A map has no order.
            pairs.sort();
            format!("{{{}}}", pairs.join(", "))
        }
        V::Described(code, fields) => match (&**code, &**fields) {
            (V::Ulong(0x24), _) => "accepted".to_owned(),
            (code, fields) => format!("@{}{}", shown(code), shown(fields)),
        },
    }
}

fn masked(text: &str) -> String {
    let platform = format!("({}; {})", std::env::consts::OS, std::env::consts::ARCH);
    let text = text.replace(&platform, "({os}; {arch})").replace(env!("CARGO_PKG_VERSION"), "{version}");
    let text = match text.split_once("sig=") {
        Some((before, signature)) => format!("{before}sig=<MASKED>{}", &signature[signature.find('&').unwrap()..]),
        None => text,
    };
    let mut masked = String::new();
    let mut rest = text.as_str();
    while let Some(next) = rest.chars().next() {
        let (length, shown) = match rest.get(..36) {
            Some(guid) if is_guid(guid) => (36, "<GUID>"),
            _ => (next.len_utf8(), &rest[..next.len_utf8()]),
        };
        masked.push_str(shown);
        rest = &rest[length..];
    }
    masked
}

fn is_guid(text: &str) -> bool {
    text.bytes().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

/// The scenario of the traces, as an application for a device would write it.
fn of_a_device() -> String {
    let world = World::new();
    let mut client = DeviceClient::builder(CONNECTION_STRING).build(&world).unwrap();
    client.set_message_callback(|message, _| message.complete()).unwrap();
    client.set_method_callback(|request, _| request.respond(200, r#"{"ok":1}"#).unwrap()).unwrap();
    client.set_twin_callback(|_, _| {}).unwrap();
    let run = |client: &mut DeviceClient| {
        let mut quiet = 0;
        while quiet < 3 {
            client.do_work();
            quiet = if world.turn() { 0 } else { quiet + 1 };
        }
    };
    run(&mut client);
    world.hub(|hub| {
        hub.send_c2d("dev1", C2dMessage::new("hello c2d").message_id("m1").property("prop1", "v 1")).unwrap()
    });
    run(&mut client);
    let call =
        world.hub(|hub| hub.start_method("dev1", MethodCall::new("stubMethod").payload(json!({"a": 1}))).unwrap());
    run(&mut client);
    drop(call);
    client.send_reported_state(r#"{"a":1}"#).unwrap();
    run(&mut client);
    client.send_event(message()).unwrap();
    run(&mut client);
    client.close(PATIENCE);
    while world.turn() {}
    world.record()
}

#[test]
fn the_page_shows_what_a_devices_client_sends_over_amqp() {
    super::assert_shows(super::part_on_amqp(), &[of_a_device()]);
}

#[test]
fn the_column_of_this_client_over_amqp_is_taken_from_the_block() {
    super::assert_column_is_of_block(super::part_on_amqp());
}

#[test]
fn it_sends_the_same_each_time() {
    let first = of_a_device();
    for _ in 0..20 {
        assert_eq!(of_a_device(), first);
    }
}
