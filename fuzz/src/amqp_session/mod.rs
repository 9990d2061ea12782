//! The AMQP transport of the client against a hub that says anything.
//!
//! A script drives a transport through its public trait: it connects, submits, settles and lets time pass. At the other end of
//! an in-memory network is the emulator, so that every state is reached, and between the two the script changes what the hub
//! says: bytes, frames of its own, silence, faults. What must hold:
//!
//! - nothing panics, and what can be done is done in few slices;
//! - an operation that was taken has at most one outcome, and none after it was lost or forgotten;
//! - a connection ends with one `Down` or one `Disconnected`, and nothing comes between it and the next `connect`;
//! - the token shows in no error; events and what is sent are bounded;
//! - a hub that falls silent is given up after finite time.

mod line;
mod mishaps;

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

use iothub_core::{Identity, Message, Op, Registration, Submit, Transport, TransportEvent};
use iothub_emulator::{C2dMessage, Config, MethodCall, OfflineHub, PendingMethod};
use iothub_net::memory;
use iothub_transport_amqp::{AmqpTransport, SessionOptions};

use self::line::{Change, Line};
use self::mishaps::{fault, performance};
use super::engine::{Engine, Life};
use super::script::Script;
use super::world::{self, DEVICE, HUB};

/// Messages that may await their outcome.
const WINDOW: usize = 6;

/// What has become of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Submitted,
    Lost,
    Over,
    Forgotten,
}

struct Session {
    engine: Engine<AmqpTransport>,
    network: memory::Script,
    hub: OfflineHub,
    line: Option<Line>,
    ops: BTreeMap<u64, State>,
    pending: Vec<PendingMethod>,
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
        let (hub, device) = world::hub(Config::new().with_log_limit(10_000), world::start());
        let (connect, network) = memory::network(HUB, 5671);
        let mut options = SessionOptions::default();
        options.max_in_flight = WINDOW;
        let mut transport = AmqpTransport::new("amqp", Box::new(connect), options).unwrap();
        let registration = Registration::new(Identity::device(HUB, DEVICE), "fuzz", Waker::noop().clone());
        let slot = transport.register(registration).unwrap();
        let engine = Engine::new(transport, slot, device.sas_token(Duration::from_secs(86_400)));
        Self { engine, network, hub, line: None, ops: BTreeMap::new(), pending: Vec::new() }
    }

    fn step(&mut self, step: char, script: &mut Script<'_>) {
        match step {
            // The engine.
            'c' => self.connect(),
            'd' => self.engine.disconnect(),
            'w' => self.work(),
            't' => self.pass(Duration::from_millis(1 << (script.number() % 20))),
            'u' => self.engine.subscribe(script.number()),
            's' => {
                let number = script.number();
                let message = Message::new(vec![0; number * number * 4]).with_property("p", "v 1").unwrap();
                self.submit(Op::Telemetry(&message));
            }
            'g' => self.submit(Op::TwinGet),
            'p' => {
                let patch = format!(r#"{{"a":"{}"}}"#, "x".repeat(script.number() * 8));
                self.submit(Op::TwinReport(patch.as_bytes()));
            }
            'x' => {
                if let Some((delivery, disposition)) = self.engine.settlement(script.number()) {
                    self.submit(Op::Settle { delivery, disposition });
                }
            }
            'm' => {
                if let Some((delivery, status)) = self.engine.response(script.number()) {
                    self.submit(Op::MethodResponse { delivery, status, body: b"{}" });
                }
            }
            'f' => self.forget(script.number()),
            // The hub's service side, and what goes wrong there.
            'v' => drop(self.hub.send_c2d(DEVICE, C2dMessage::new(script.bytes().to_vec()))),
            'i' => {
                let call = MethodCall::new("m").payload(serde_json::json!({"a": script.number()}));
                self.pending.extend(self.hub.start_method(DEVICE, call).ok());
            }
            'j' => drop(self.hub.patch_desired(DEVICE, serde_json::json!({"a": script.number()}))),
            'o' => drop(self.hub.inject(fault(script.number(), script.number()))),
            // Between the two.
            'h' => {
                let bytes = script.bytes();
                self.with_line(|line| line.peer.send(bytes));
            }
            'a' => {
                let (what, place, payload) = (script.number(), script.number(), script.bytes());
                let bytes = performance(what, place, payload);
                self.with_line(|line| line.peer.send(&bytes));
            }
            'n' => {
                let (how, at) = (script.number(), script.number());
                self.with_line(|line| {
                    line.change = Some(match how % 8 {
                        0 => Change::Twice,
                        1 => Change::Dropped,
                        2 => Change::Cut { at },
                        _ => Change::Byte { at, with: how as u8 },
                    });
                });
            }
            'b' => self.with_line(Line::hold),
            'r' => self.with_line(Line::release),
            'l' | 'y' | 'k' => {
                let number = script.number();
                self.with_line(|line| match step {
                    'l' => line.peer.limit_reads(number),
                    'y' => line.peer.cut_after_receiving(number * 16),
                    _ => line.stall(number),
                });
            }
            'q' => self.with_line(|line| line.peer.close()),
            'z' => self.with_line(|line| line.peer.cut()),
            'e' => self.with_line(|line| line.peer.cut_after_sent()),
            _ => {}
        }
        self.take_events();
    }

    fn with_line(&mut self, act: impl FnOnce(&mut Line)) {
        if let Some(line) = &mut self.line {
            act(line);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.engine.pass(time);
        self.hub.advance_clock(time);
    }

    /// As the engine, which connects only when nothing is under way.
    fn connect(&mut self) {
        if self.engine.life() == Life::Idle {
            if self.network.remaining() == 0 {
                let peer = self.network.accept();
                self.line = Some(Line::new(peer, self.hub.accept_amqp()));
            }
            self.engine.connect();
        }
    }

    fn submit(&mut self, op: Op<'_>) {
        let id = self.ops.len() as u64 + 1;
        let is_taken = self.engine.submit(id, op) == Submit::Taken;
        self.ops.insert(id, if is_taken { State::Submitted } else { State::Over });
    }

    fn forget(&mut self, number: usize) {
        let open = self.ops.iter().filter(|(_, state)| matches!(state, State::Submitted | State::Lost));
        let ids: Vec<u64> = open.map(|(id, _)| *id).collect();
        if let Some(id) = ids.get(number % ids.len().max(1)) {
            self.ops.insert(*id, State::Forgotten);
            self.engine.forget(*id);
        }
    }

    /// Slices until there is nothing to do now on either side.
    fn work(&mut self) {
        for slice in 0.. {
            self.engine.do_work(slice);
            self.take_events();
            let moved = self.line.as_mut().is_some_and(Line::exchange);
            if self.engine.has_to_wait() && !moved {
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
                TransportEvent::Down(_) | TransportEvent::Disconnected => self.ended(),
                TransportEvent::Done { id, result } => {
                    let state = self.ops.get_mut(&id.0);
                    let state = state.unwrap_or_else(|| panic!("an outcome of {id:?}, which nobody submitted"));
                    assert_eq!(*state, State::Submitted, "an outcome of {id:?}: {result:?}");
                    *state = State::Over;
                }
                _ => {}
            }
        }
    }

    fn ended(&mut self) {
        for state in self.ops.values_mut().filter(|state| **state == State::Submitted) {
            *state = State::Lost;
        }
    }

    /// The hub says nothing any more and reads everything: in the end the client gives up.
    fn fall_silent(&mut self) {
        self.work();
        self.with_line(|line| {
            line.stall(0);
            line.hold();
        });
        for _ in 0..200 {
            self.work();
            if self.engine.life() == Life::Idle {
                return;
            }
            self.pass(self.engine.pause());
        }
        panic!("the hub is silent, and the client waits on: {:?}", self.engine.life());
    }
}
