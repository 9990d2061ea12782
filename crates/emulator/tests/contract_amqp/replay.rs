//! What official SDKs send, frame by frame, and that each frame gets the answer that it needs (docs/hub-over-amqp.md 8).

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use iothub_emulator::{Config, DeviceAuth, OfflineHub};

use crate::support::frame::{Frame, Message, *};
use crate::support::value::V;
use crate::support::{KEY, Peer};

const HOST: &str = "hub.localtest";

/// Plays a fixture, and checks the answer to each frame. Gives the hub as it is then.
fn replay(fixture: &str) -> OfflineHub {
    let mut lines = fixture.lines().filter(|line| !line.starts_with('#'));
    let expiry: u64 = lines.next().unwrap().strip_prefix('!').unwrap().parse().unwrap();
    // The SDKs make tokens of an hour, and the service's message lives for a minute.
    let start = UNIX_EPOCH + Duration::from_secs(expiry - 3_595);
    let config = Config::new().with_host_name(HOST).with_policy_key("iothubowner", KEY);
    let hub = OfflineHub::new(config, start).unwrap();
    let keys = || DeviceAuth::SymmetricKey { primary: KEY.into(), secondary: KEY.into() };
    for device in ["dev1", "dev9"] {
        hub.create_device_with(device, keys()).unwrap();
    }
    hub.create_module_with("dev1", "mod1", keys()).unwrap();
    let mut player = Player { peer: Peer::silent(&hub), links: BTreeMap::new(), receivers: Vec::new() };
    lines.for_each(|line| player.play(&bytes(line)));
    assert!(player.peer.is_closed(), "the SDK says Close, or leaves");
    hub
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

struct Player {
    peer: Peer,
    /// The addresses of the links on which the SDK sends, by their handles.
    links: BTreeMap<u32, String>,
    /// The handles of those on which it receives.
    receivers: Vec<u32>,
}

impl Player {
    fn play(&mut self, said: &[u8]) {
        self.peer.say_bytes(said);
        if said.starts_with(b"AMQP") {
            assert_eq!(self.peer.header().as_deref(), Some(said), "a header is answered with itself");
            if said == SASL_HEADER {
                assert_eq!(self.peer.next().code, MECHANISMS);
            }
            return;
        }
        let said = Frame::take(&mut said.to_vec()).unwrap();
        match said.code {
            INIT => {
                assert_eq!(self.peer.next().field(0), &V::Ubyte(0));
                self.peer.expect_header();
            }
            OPEN | BEGIN | END | CLOSE => assert_eq!(self.peer.next().code, said.code),
            DETACH => assert_eq!(self.peer.find(DETACH).uint(0), said.uint(0)),
            ATTACH => self.attach(&said),
            TRANSFER => self.transfer(&said),
            // They get no answer of their own.
            FLOW | DISPOSITION => {}
            other => panic!("{other:#x} is not expected of an SDK"),
        }
    }

    fn attach(&mut self, said: &Frame) {
        let answer = self.peer.find(ATTACH);
        let receives = *said.field(2) == V::Bool(true);
        assert_eq!(answer.fields[..2], said.fields[..2], "name and handle");
        assert_eq!(answer.field(2), &V::Bool(!receives));
        assert_eq!((answer.field(5), answer.field(6)), (said.field(5), said.field(6)), "source and target");
        assert_eq!(answer.field(13), said.field(13), "properties");
        assert!(matches!(answer.field(10), V::Ulong(1..)), "a max-message-size");
        let address = if receives { said.field(5) } else { said.field(6) };
        let address = address.fields().1[0].as_text().to_ascii_lowercase();
        if address.ends_with("/twin") || address.contains("/methods/") {
            assert_eq!(answer.field(3), &V::Ubyte(1), "{address} is settled");
        }
        if receives {
            self.receivers.push(said.uint(1));
        } else {
            let credit = if address == "$cbs" { 100 } else { 1000 };
            let flow = self.peer.find(FLOW);
            assert_eq!((flow.uint(4), flow.uint(6)), (said.uint(1), credit), "{address}");
            self.links.insert(said.uint(1), address);
        }
    }

    fn transfer(&mut self, said: &Frame) {
        if said.field(4) != &V::Bool(true) {
            let disposition = self.peer.find(DISPOSITION);
            assert_eq!(disposition.uint(1), said.uint(1));
            assert_eq!(disposition.field(4).fields().0, ACCEPTED, "{said:?}");
        }
        let request = Message::decode(&said.payload);
        let address = &self.links[&said.uint(0)];
        if address == "$cbs" {
            let reply = self.answer();
            assert_eq!(reply.app("status-code"), Some(&V::Int(200)));
            assert_eq!(reply.prop(CORRELATION_ID), request.prop(MESSAGE_ID));
        } else if address.ends_with("/twin") {
            let reply = self.answer();
            let operation = request.annotated("operation").unwrap().as_text();
            let status = if operation == "PATCH" { 204 } else { 200 };
            assert_eq!(reply.annotated("status"), Some(&V::Int(status)), "{operation}");
            assert_eq!(reply.prop(CORRELATION_ID), request.prop(CORRELATION_ID));
            assert_eq!(reply.data.len(), usize::from(operation == "GET"));
        }
    }

    /// A message of the hub. The SDK gave credit later than the test asks, so some is given here, as much as is missing.
    fn answer(&mut self) -> Message {
        let frame = match self.peer.all_of(TRANSFER).pop() {
            Some(frame) => frame,
            None => {
                for handle in &self.receivers {
                    self.peer.say(&credit(*handle, 0, 100));
                }
                self.peer.find(TRANSFER)
            }
        };
        Message::decode(&frame.payload)
    }
}

fn telemetry(hub: &OfflineHub, module: Option<&str>) {
    let records = match module {
        None => hub.telemetry("dev1"),
        Some(module) => hub.telemetry(("dev1", module)),
    };
    assert_eq!(records.len(), 1);
    assert_eq!(&records[0].body[..], b"hello");
    assert_eq!(records[0].system["message-id"], "mid1");
    assert_eq!(records[0].property("k 1"), Some(Some("v&1")));
}

#[test]
fn the_frames_of_a_device_on_the_c_sdk_are_answered() {
    let hub = replay(include_str!("fixtures/c_device.txt"));
    telemetry(&hub, None);
    assert_eq!(hub.twin("dev1").unwrap().reported["a"], 1);
}

#[test]
fn the_frames_of_a_device_on_the_node_sdk_are_answered() {
    let hub = replay(include_str!("fixtures/node_device.txt"));
    telemetry(&hub, None);
    assert_eq!(hub.twin("dev1").unwrap().reported["a"], 1);
}

#[test]
fn the_frames_of_a_module_on_the_node_sdk_are_answered() {
    let hub = replay(include_str!("fixtures/node_module.txt"));
    telemetry(&hub, Some("mod1"));
    assert_eq!(hub.telemetry(("dev1", "mod1"))[0].output(), Some("out1"));
}

#[test]
fn the_frames_of_a_module_on_the_c_sdk_are_answered() {
    // This one's trace ends before its Close.
    let close = "0000000c0200000000531845";
    let hub = replay(&format!("{}{close}\n", include_str!("fixtures/c_module.txt")));
    telemetry(&hub, Some("mod1"));
}

#[test]
fn the_frames_of_the_service_sdks_are_answered() {
    for fixture in [include_str!("fixtures/node_service.txt"), include_str!("fixtures/python_service.txt")] {
        let hub = replay(fixture);
        assert_eq!(hub.c2d_queue("dev9")[0].message_id, "x1");
    }
}
