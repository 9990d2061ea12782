//! The twin: a client that follows it, asks for it and reports, against a hub that answers with any bytes.
//!
//! The whole client runs, over the real transport and a network in memory. What must hold:
//!
//! - what the application hears was sent by the hub, byte for byte, and its versions are those that stand in it;
//! - first comes the whole twin, then every change in order, without a gap, until the whole comes again;
//! - a report reaches the wire as it was given; every request has exactly one outcome;
//! - a hub that answers with rubbish is asked again at a pace, and one that answers well in the end is believed;
//! - a device model's properties are walked and written as `properties` says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use iothub_core::{ConnectionState, DeviceClient, Event, OpId, RetryConfig, Twin, TwinError, TwinUpdate};
use iothub_net::memory::PeerEnd;
use serde_json::Value;

use super::properties;
use super::script::Script;
use super::wire::{self, Packet, Splitter};
use super::world::World;

/// Turns that may follow each other without a pause.
const MAX_TURNS: usize = 200;

const TEXT: &str = "HostName=hub.example;DeviceId=dev1;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

struct Run {
    world: World,
    client: DeviceClient,
    hub: Hub,
    heard: Arc<Mutex<VecDeque<TwinUpdate>>>,
    /// The version of the desired properties that the application knows.
    known: Option<u64>,
    open: BTreeMap<u64, Request>,
    reports: Vec<Vec<u8>>,
}

#[derive(Debug, PartialEq)]
enum Request {
    Get,
    Report,
}

#[derive(Default)]
struct Hub {
    peer: Option<PeerEnd>,
    splitter: Splitter,
    /// Topics of twin requests that have no answer.
    asked: VecDeque<String>,
    /// Bodies with which GETs were answered, and changes that were sent.
    twins: Vec<Vec<u8>>,
    changes: Vec<Vec<u8>>,
    reported: Vec<Vec<u8>>,
}

/// Runs one script.
pub fn run(input: &[u8]) {
    let mut run = Run::new();
    let mut script = Script::new(input);
    while let Some(step) = script.step() {
        run.step(step, &mut script);
    }
    run.comes_to_rest();
}

impl Run {
    fn new() -> Self {
        let world = World::new();
        let client = DeviceClient::builder(TEXT).retry_policy(RetryConfig::default().with_jitter(0.0));
        let client = client.build(&world).unwrap();
        Self {
            world,
            client,
            hub: Hub::default(),
            heard: Arc::default(),
            known: None,
            open: BTreeMap::new(),
            reports: Vec::new(),
        }
    }

    fn step(&mut self, step: char, script: &mut Script<'_>) {
        match step {
            'w' => self.work(),
            't' => self.world.advance(Duration::from_millis(1 << (script.number() % 20))),
            's' => self.follow(),
            'u' => {
                self.client.clear_twin_callback();
                self.known = None;
            }
            'g' => {
                let id = self.client.get_twin_tracked().map(|id| (id.0, Request::Get));
                self.open.extend(id.ok());
            }
            'r' => self.report(script.bytes()),
            'p' => self.report(&properties::write(script)),
            // The hub answers the oldest request, with 200, or with any status.
            'f' => self.hub.answer(200, script.bytes()),
            'e' => {
                let status = script.number() * 3;
                self.hub.answer(status, script.bytes());
            }
            'o' => self.hub.answer(200, br#"{"desired":{"a":1,"$version":5},"reported":{"$version":1}}"#),
            'd' => self.hub.change(script.bytes()),
            'v' => {
                let change = format!("{{\"b\":null,\"$version\":{}}}", script.number());
                self.hub.change(change.as_bytes());
            }
            'q' => self.hub.peer = None,
            _ => {}
        }
    }

    fn follow(&mut self) {
        let heard = self.heard.clone();
        self.client.set_twin_callback(move |update, _| heard.lock().unwrap().push_back(update)).unwrap();
        self.known = None;
    }

    fn report(&mut self, patch: &[u8]) {
        match self.client.send_reported_state_tracked(patch.to_vec()) {
            Ok(id) => {
                let text = std::str::from_utf8(patch).expect("only text is sent");
                assert!(text.trim_start().starts_with('{') && text.trim_end().ends_with('}'), "{text}");
                self.open.insert(id.0, Request::Report);
                self.reports.push(patch.to_vec());
            }
            Err(refused) => assert_eq!(refused.value, patch),
        }
    }

    /// Turns until there is nothing to do now.
    fn work(&mut self) {
        for turn in 0.. {
            assert!(turn < MAX_TURNS, "after {turn} turns there is still something to do, at the same time");
            if self.hub.peer.is_none() {
                self.hub.accept(self.world.network().accept());
            }
            self.client.do_work();
            let moved = self.hub.listen();
            self.look();
            let is_closed = self.hub.peer.as_ref().is_some_and(PeerEnd::is_closed_by_client);
            if is_closed {
                self.hub.peer = None;
            }
            let waits = self.client.next_deadline().is_none_or(|due| due > self.world.now().mono);
            if waits && !moved && !is_closed {
                break;
            }
        }
    }

    /// What the application hears.
    fn look(&mut self) {
        while let Some(update) = self.heard.lock().unwrap().pop_front() {
            properties::walk(&update);
            match update {
                TwinUpdate::Full(twin) => {
                    self.check_twin(&twin);
                    self.known = Some(twin.desired_version());
                }
                TwinUpdate::Patch(patch) => {
                    let body = &patch.json()[..];
                    assert!(self.hub.changes.iter().any(|sent| sent == body), "a change that nobody sent");
                    check_version(body, |whole| Some(whole), patch.version());
                    let known = self.known.expect("the whole twin comes first");
                    assert_eq!(Some(patch.version()), known.checked_add(1), "a gap");
                    self.known = Some(patch.version());
                }
                other => panic!("{other:?}"),
            }
        }
        while let Some(event) = self.client.next_event() {
            match event {
                Event::TwinReceived { id, outcome } => {
                    self.resolve(id, Request::Get);
                    if let Ok(twin) = outcome {
                        self.check_twin(&twin);
                    }
                }
                Event::ReportedState { id, outcome } => {
                    self.resolve(id, Request::Report);
                    assert!(!matches!(outcome, Err(TwinError::Malformed(_))), "no body is read: {outcome:?}");
                }
                Event::Status(_) | Event::Twin(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn check_twin(&self, twin: &Twin) {
        let body = &twin.json()[..];
        assert!(self.hub.twins.iter().any(|sent| sent == body), "a twin that nobody sent");
        check_version(body, |whole| whole.get("desired"), twin.desired_version());
    }

    fn resolve(&mut self, id: OpId, expected: Request) {
        assert_eq!(self.open.remove(&id.0), Some(expected), "an outcome too many");
    }

    /// The hub gets well; in the end the application knows what the hub has, and every request has its outcome.
    fn comes_to_rest(&mut self) {
        self.follow();
        // 100 requests may be open, of which one is asked at a time.
        for _ in 0..500 {
            self.work();
            let is_ready = self.client.connection_state() == ConnectionState::Ready;
            if is_ready && self.is_up_to_date() && self.open.is_empty() {
                break;
            }
            if self.hub.asked.is_empty() {
                let due = self.client.next_deadline().expect("a client that has not got all waits for something");
                self.world.advance(due.saturating_duration_since(self.world.now().mono));
            }
            while !self.hub.asked.is_empty() {
                self.step('o', &mut Script::new(b""));
            }
        }
        assert!(self.is_up_to_date(), "the hub is well, and the application knows version {:?}", self.known);
        assert_eq!(self.open, BTreeMap::new(), "requests without an outcome");
        self.check_reports();
        self.client.get_twin_tracked().map(|id| self.open.insert(id.0, Request::Get)).unwrap();
        self.client.close(Duration::from_secs(1));
        self.look();
        assert_eq!(self.open, BTreeMap::new(), "after `close` requests have no outcome");
    }

    /// The twin of step `o`, and perhaps changes that the script had sent.
    fn is_up_to_date(&self) -> bool {
        self.known.is_some_and(|version| version >= 5)
    }

    /// Reports reach the hub in the order in which they were given; after a loss some come again.
    fn check_reports(&self) {
        let mut next = 0;
        for report in &self.hub.reported {
            if self.reports.get(next) == Some(report) {
                next += 1;
            } else {
                assert!(self.reports[..next].contains(report), "a report that is out of order, or of nobody");
            }
        }
        assert_eq!(next, self.reports.len(), "reports that never reached the hub");
    }
}

impl Hub {
    fn accept(&mut self, peer: PeerEnd) {
        self.peer = Some(peer);
        self.splitter = Splitter::default();
        self.asked.clear();
    }

    fn say(&mut self, bytes: &[u8]) {
        if let Some(peer) = &mut self.peer {
            peer.send(bytes);
        }
    }

    /// Answers what every hub answers, and notes twin requests. Whether there was anything.
    fn listen(&mut self) -> bool {
        let Some(peer) = &mut self.peer else { return false };
        let bytes = peer.receive();
        for packet in self.splitter.push(&bytes) {
            self.hear(&packet);
        }
        !bytes.is_empty()
    }

    fn hear(&mut self, packet: &Packet) {
        match packet.first {
            0x10 => self.say(&wire::connack(true, 0)),
            0x82 => {
                let granted = vec![0; packet.filters().unwrap().len()];
                self.say(&wire::suback(packet.id().unwrap(), &granted));
            }
            0xA2 => self.say(&wire::unsuback(packet.id().unwrap())),
            0xC0 => self.say(&wire::PINGRESP),
            0x30 => {
                let published = packet.published().unwrap();
                let topic = String::from_utf8(published.topic.to_vec()).unwrap();
                if topic.starts_with("$iothub/twin/PATCH/properties/reported/?$rid=") {
                    self.reported.push(published.payload.to_vec());
                } else {
                    assert!(topic.starts_with("$iothub/twin/GET/?$rid=") && published.payload.is_empty(), "{topic}");
                }
                self.asked.push_back(topic);
            }
            _ => {}
        }
    }

    fn answer(&mut self, status: usize, body: &[u8]) {
        let Some(topic) = self.asked.pop_front() else { return };
        let rid = topic.split_once("?$rid=").map_or("", |(_, rid)| rid);
        self.twins.push(body.to_vec());
        self.say(&wire::publish(format!("$iothub/twin/res/{status}/?$rid={rid}").as_bytes(), None, body));
    }

    fn change(&mut self, body: &[u8]) {
        self.changes.push(body.to_vec());
        self.say(&wire::publish(b"$iothub/twin/PATCH/properties/desired/?$version=1", None, body));
    }
}

/// What is told is text, and the version is the one in it. (A number or a nesting that is too much for `Value` is the
/// application's affair.)
fn check_version(body: &[u8], section: fn(&Value) -> Option<&Value>, told: u64) {
    let text = std::str::from_utf8(body).expect("only text is told");
    if let Ok(whole) = serde_json::from_str::<Value>(text) {
        assert_eq!(section(&whole).and_then(|section| section.get("$version")?.as_u64()), Some(told));
    }
}
