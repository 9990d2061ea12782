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

use iothub_core::{Message, Op, TransportEvent};
use iothub_net::memory;
use iothub_transport_mqtt::MqttTransport;

use self::hub::Hub;
use self::ops::{Kind, Ops};
use super::engine::{Engine, Life};
use super::script::Script;
use super::world::{self, TOKEN};

/// What may wait to be sent: a bound of 256 KiB and one operation for each of four lanes, and the network's own 64 KiB.
const MAX_UNSENT: usize = 3 << 20;

/// Messages that may await their PUBACK.
const WINDOW: usize = 6;

struct Session {
    engine: Engine<MqttTransport>,
    network: memory::Script,
    hub: Option<Hub>,
    ops: Ops,
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
        let (transport, slot, network) = world::transport(WINDOW);
        let engine = Engine::new(transport, slot, TOKEN.to_owned());
        Self { engine, network, hub: None, ops: Ops::default(), connects: 0 }
    }

    fn step(&mut self, step: char, script: &mut Script<'_>) {
        match step {
            // The engine.
            'c' => self.connect(),
            'd' => self.engine.disconnect(),
            'w' => self.work(),
            't' => self.engine.pass(Duration::from_millis(1 << (script.number() % 20))),
            'u' => self.engine.subscribe(script.number()),
            's' => self.submit_telemetry(script.number()),
            'r' => self.resubmit(script.number()),
            'g' => self.submit(Kind::TwinGet, None),
            'p' => self.submit(Kind::TwinReport(vec![b'1'; script.number() * 128]), None),
            'x' => {
                if let Some((delivery, disposition)) = self.engine.settlement(script.number()) {
                    self.submit(Kind::Settle { delivery, disposition }, None);
                }
            }
            'm' => {
                if let Some((delivery, status)) = self.engine.response(script.number()) {
                    self.submit(Kind::Response { delivery, status }, None);
                }
            }
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
        if self.engine.life() == Life::Idle {
            self.connects += 1;
            self.hub = Some(Hub::new(self.network.accept()));
            self.engine.connect();
        }
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

    fn forget(&mut self, number: usize) {
        if let Some(id) = self.ops.forget(number) {
            self.engine.forget(id);
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
        let submitted = self.engine.submit(id, op);
        self.ops.submitted(id, kind, &submitted);
    }

    /// Slices until there is nothing to do now.
    fn work(&mut self) {
        for slice in 0.. {
            self.engine.do_work(slice);
            self.take_events();
            if let Some(hub) = &mut self.hub {
                hub.listen(&mut self.ops);
            }
            if self.engine.has_to_wait() {
                break;
            }
        }
        if self.engine.life() != Life::Idle {
            self.engine.pause();
        }
    }

    fn take_events(&mut self) {
        for event in self.engine.take_events() {
            match event {
                TransportEvent::Connected { session_present } => self.ops.connected(session_present),
                TransportEvent::Down(_) | TransportEvent::Disconnected => self.ended(),
                TransportEvent::Done { id, result } => self.ops.done(id.0, &result),
                _ => {}
            }
        }
    }

    fn ended(&mut self) {
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
            if self.engine.life() == Life::Idle {
                return;
            }
            self.engine.pass(self.engine.pause());
            self.work();
        }
        panic!("the hub is silent, and the client waits on: {:?} since {} attempts", self.engine.life(), self.connects);
    }
}

/// A message that can be known again on the wire: its payload begins with its id.
fn telemetry(id: u64, filler: usize) -> Message {
    let mut payload = id.to_be_bytes().to_vec();
    payload.resize(8 + filler, 0);
    Message::new(payload).with_property("p", "v 1").unwrap()
}
