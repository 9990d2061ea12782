//! The MQTT session of the client against a hub that says anything.
//!
//! A script drives a transport through its public trait: it connects, submits, settles and lets time pass, while the
//! hub at the other end of an in-memory network answers properly, wrongly, in pieces or not at all. What must hold:
//!
//! - nothing panics, and what can be done is done in few slices;
//! - an operation that was taken has at most one outcome, and none after it was lost or forgotten; settlements and method
//!   responses always have theirs before the connection's end is told;
//! - a connection ends with one `Down` or one `Disconnected`, and nothing comes between it and the next `connect`;
//! - what the client sends is well-formed MQTT that only a client sends; a message that is sent again has its packet
//!   identifier and DUP; no two in flight share one; nothing is acknowledged more often than it came;
//! - events and unsent bytes are bounded;
//! - a hub that falls silent is given up after finite time.

mod hub;
mod ops;

use std::time::Duration;

use iothub_core::{Delivery, Disposition, Feature, Message, Now, Op, OpId, Slot, Submit, Transport, TransportEvent};
use iothub_net::memory;
use iothub_transport_mqtt::MqttTransport;

use self::hub::Hub;
use self::ops::{Kind, Ops};
use super::script::Script;
use super::world::{self, FEATURES, TOKEN};

/// More than a slice may bring: its own 1,024, and outcomes of what was submitted.
const MAX_EVENTS: usize = 4096;

/// Slices without a pause that one piece of input may take.
const MAX_SLICES: usize = 400;

/// What may wait to be sent: a bound of 256 KiB and one operation for each of four lanes, and the network's own 64 KiB.
const MAX_UNSENT: usize = 3 << 20;

/// Messages that may await their PUBACK.
const WINDOW: usize = 6;

/// What the script takes a message for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Not connected, or not any more; nothing may happen.
    Idle,
    /// `connect` was called.
    Connecting,
    /// The hub has said yes.
    Connected,
}

struct Session {
    transport: MqttTransport,
    slot: Slot,
    network: memory::Script,
    now: Now,
    life: Life,
    hub: Option<Hub>,
    ops: Ops,
    deliveries: Vec<Delivery>,
    calls: Vec<Delivery>,
    connects: usize,
}

/// Runs one script.
pub fn run(input: &[u8]) {
    let mut session = Session::new();
    let mut script = Script::new(input);
    while let Some(step) = script.step() {
        session.step(step, &mut script);
    }
    session.fall_silent();
}

impl Session {
    fn new() -> Self {
        let (mut transport, slot, network) = world::transport(WINDOW);
        transport.subscribe(slot, &FEATURES);
        Self {
            transport,
            slot,
            network,
            now: world::start(),
            life: Life::Idle,
            hub: None,
            ops: Ops::default(),
            deliveries: Vec::new(),
            calls: Vec::new(),
            connects: 0,
        }
    }

    fn step(&mut self, step: char, script: &mut Script<'_>) {
        match step {
            // The engine.
            'c' => self.connect(),
            'd' => self.transport.disconnect(self.slot, self.now),
            'w' => self.work(),
            't' => self.now = self.now + Duration::from_millis(1 << (script.number() % 20)),
            'u' => self.subscribe(script.number()),
            's' => self.submit_telemetry(script.number()),
            'r' => self.resubmit(script.number()),
            'g' => self.submit(Kind::TwinGet, None),
            'p' => self.submit(Kind::TwinReport(vec![b'1'; script.number() * 128]), None),
            'x' => self.settle(script.number()),
            'm' => self.respond(script.number()),
            'f' => self.forget(script.number()),
            // The hub.
            'a' => self.hub_says(|hub| hub.answer_all()),
            'n' => {
                let number = script.number();
                self.hub_says(|hub| hub.answer_badly(number));
            }
            'h' => {
                let bytes = script.bytes();
                self.hub_says(|_| bytes.to_vec());
            }
            'v' | 'i' | 'j' | 'b' => {
                let text = script.bytes();
                self.hub_says(|hub| hub.publishes(step, text));
            }
            'o' => self.hub_says(|hub| hub.repeats()),
            // The network.
            'l' | 'y' | 'k' => {
                let number = script.number();
                self.with_hub(|hub| match step {
                    'l' => hub.peer.limit_reads(number),
                    'y' => hub.peer.cut_after_receiving(number),
                    _ => hub.set_stalled(number),
                });
            }
            'q' => self.with_hub(|hub| hub.peer.close()),
            'z' => self.with_hub(|hub| hub.peer.cut()),
            'e' => self.with_hub(|hub| hub.peer.cut_after_sent()),
            _ => {}
        }
        // An engine takes the events after each of its calls.
        if "cdusrgpxmf".contains(step) {
            self.take_events();
        }
    }

    fn with_hub(&mut self, act: impl FnOnce(&mut Hub)) {
        if let Some(hub) = &mut self.hub {
            act(hub);
        }
    }

    fn hub_says(&mut self, says: impl FnOnce(&mut Hub) -> Vec<u8>) {
        if let Some(hub) = &mut self.hub {
            let bytes = says(hub);
            hub.say(&bytes);
        }
    }

    /// As the engine, which connects only when nothing is under way.
    fn connect(&mut self) {
        if self.life == Life::Idle {
            self.life = Life::Connecting;
            self.connects += 1;
            self.hub = Some(Hub::new(self.network.accept()));
            self.transport.connect(self.slot, Some(TOKEN), self.now);
        }
    }

    fn subscribe(&mut self, number: usize) {
        let wanted = FEATURES.iter().enumerate().filter(|(bit, _)| number >> bit & 1 == 1);
        let wanted: Vec<Feature> = wanted.map(|(_, feature)| *feature).collect();
        self.transport.subscribe(self.slot, &wanted);
    }

    fn submit_telemetry(&mut self, number: usize) {
        self.submit(Kind::Telemetry { filler: number * number * 4 }, None);
    }

    /// Submits what was lost again, under its own id.
    fn resubmit(&mut self, number: usize) {
        if let Some((id, kind)) = self.ops.lost(number) {
            self.submit(kind, Some(id));
        }
    }

    fn settle(&mut self, number: usize) {
        let disposition = [Disposition::Accept, Disposition::Abandon, Disposition::Accept, Disposition::Reject];
        let at = number / 4 % self.deliveries.len().max(1);
        if at < self.deliveries.len() {
            let delivery = self.deliveries.remove(at);
            self.submit(Kind::Settle { delivery, disposition: disposition[number % 4] }, None);
        }
    }

    fn respond(&mut self, number: usize) {
        let at = number % self.calls.len().max(1);
        if at < self.calls.len() {
            let delivery = self.calls.remove(at);
            self.submit(Kind::Response { delivery, status: number as i32 - 100 }, None);
        }
    }

    fn forget(&mut self, number: usize) {
        if let Some(id) = self.ops.forget(number) {
            self.transport.forget(self.slot, OpId(id));
        }
    }

    fn submit(&mut self, kind: Kind, id: Option<u64>) {
        let id = id.unwrap_or_else(|| self.ops.fresh_id());
        let message;
        let op = match &kind {
            Kind::Telemetry { filler } => {
                message = telemetry(id, *filler);
                Op::Telemetry(&message)
            }
            Kind::TwinGet => Op::TwinGet,
            Kind::TwinReport(patch) => Op::TwinReport(patch),
            Kind::Settle { delivery, disposition } => Op::Settle { delivery: *delivery, disposition: *disposition },
            Kind::Response { delivery, status } => {
                Op::MethodResponse { delivery: *delivery, status: *status, body: b"{}" }
            }
        };
        let submitted = self.transport.submit(self.slot, OpId(id), op, self.now);
        assert!(submitted != Submit::Taken || self.life == Life::Connected, "taken while {:?}", self.life);
        self.ops.submitted(id, kind, &submitted);
    }

    /// Slices until there is nothing to do now.
    fn work(&mut self) {
        for slice in 0.. {
            assert!(slice < MAX_SLICES, "after {slice} slices there is still something to do, at the same time");
            self.transport.do_work(self.now);
            self.take_events();
            if let Some(hub) = &mut self.hub {
                hub.listen(&mut self.ops);
            }
            let has_to_wait = self.transport.next_deadline().is_none_or(|due| due > self.now.mono);
            if has_to_wait {
                break;
            }
        }
        if self.life != Life::Idle {
            let due = self.transport.next_deadline();
            assert!(due.is_some(), "a session that is {:?} has to wait for something", self.life);
        }
    }

    fn take_events(&mut self) {
        let mut count = 0;
        while let Some(event) = self.transport.poll_event(self.slot) {
            count += 1;
            assert!(count <= MAX_EVENTS, "too many events of one slice");
            self.happened(event);
        }
    }

    fn happened(&mut self, event: TransportEvent) {
        let is_end = matches!(event, TransportEvent::Down(_) | TransportEvent::Disconnected);
        // `Disconnected` also answers a `disconnect` when there is nothing to disconnect.
        let is_answer = matches!(event, TransportEvent::Disconnected);
        match self.life {
            Life::Idle => assert!(is_answer, "{event:?} without a connection"),
            Life::Connecting => {
                let is_start = matches!(event, TransportEvent::Connected { .. });
                assert!(is_start || is_end, "{event:?} before the hub has said yes");
            }
            Life::Connected => assert!(!matches!(event, TransportEvent::Connected { .. }), "connected twice"),
        }
        match event {
            TransportEvent::Connected { session_present } => {
                self.life = Life::Connected;
                self.ops.connected(session_present);
            }
            TransportEvent::Down(error) => {
                assert!(!error.to_string().contains(TOKEN), "the token shows in {error}");
                self.ended();
            }
            TransportEvent::Disconnected => self.ended(),
            TransportEvent::Done { id, result } => self.ops.done(id.0, &result),
            TransportEvent::Message { delivery, .. } => self.deliveries.push(delivery),
            TransportEvent::Method { delivery, .. } => self.calls.push(delivery),
            _ => {}
        }
    }

    fn ended(&mut self) {
        if self.life == Life::Idle {
            return;
        }
        self.life = Life::Idle;
        self.ops.connection_lost();
        if let Some(mut hub) = self.hub.take() {
            hub.listen(&mut self.ops);
        }
    }

    /// The hub says nothing any more and reads everything: at first nothing much comes, and in the end the client gives up.
    fn fall_silent(&mut self) {
        self.work();
        if let Some(hub) = &mut self.hub {
            let before = hub.received();
            hub.set_stalled(0);
            self.work();
            let unsent = self.hub.as_ref().map_or(0, Hub::received).saturating_sub(before);
            assert!(unsent <= MAX_UNSENT, "{unsent} bytes waited to be sent");
        }
        for _ in 0..100 {
            if self.life == Life::Idle {
                return;
            }
            let due = self.transport.next_deadline().expect("checked by `work`");
            self.now = self.now + due.saturating_duration_since(self.now.mono);
            self.work();
        }
        panic!("the hub is silent, and the client waits on: {:?} since {} attempts", self.life, self.connects);
    }
}

/// A message that can be known again on the wire: its payload begins with its id.
fn telemetry(id: u64, filler: usize) -> Message {
    let mut payload = id.to_be_bytes().to_vec();
    payload.resize(8 + filler, 0);
    Message::new(payload).with_property("p", "v 1").unwrap()
}
