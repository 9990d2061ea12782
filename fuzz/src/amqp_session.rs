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

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

use iothub_core::{Identity, Message, Op, Registration, Submit, Transport, TransportEvent};
use iothub_emulator::{
    AmqpLink, AmqpOutcome, C2dMessage, CbsFault, Config, Fault, MethodCall, OfflineConnection, OfflineHub,
    PendingMethod, TwinPatchFault, TwinReplyFault,
};
use iothub_net::memory::{self, PeerEnd};
use iothub_transport_amqp::{AmqpTransport, SessionOptions};

use super::amqp_wire::frame::{self, Link, Message as Sections};
use super::amqp_wire::value::{V, composite, text};
use super::engine::{Engine, Life};
use super::script::Script;
use super::world::{self, DEVICE, HUB};

/// Messages that may await their outcome.
const WINDOW: usize = 6;
/// What a client may send in one run: the script submits no more than a few messages of a quarter of a megabyte each.
const MAX_SENT: usize = 64 << 20;

/// What has become of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Submitted,
    Lost,
    Over,
    Forgotten,
}

/// How the next bytes of the hub are changed on their way.
enum Change {
    Byte { at: usize, with: u8 },
    Cut { at: usize },
    Twice,
    Dropped,
}

/// The hub's end of one connection.
struct Line {
    peer: PeerEnd,
    hub: OfflineConnection,
    /// What the hub says is held back.
    held: Option<Vec<u8>>,
    change: Option<Change>,
    /// The hub reads nothing.
    is_stalled: bool,
    sent: usize,
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
            'b' => self.with_line(|line| line.held = line.held.take().or_else(|| Some(Vec::new()))),
            'r' => self.with_line(|line| {
                let held = line.held.take().unwrap_or_default();
                line.peer.send(&held);
            }),
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
                self.line = Some(Line {
                    peer,
                    hub: self.hub.accept_amqp(),
                    held: None,
                    change: None,
                    is_stalled: false,
                    sent: 0,
                });
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
            line.held = Some(Vec::new());
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

impl Line {
    /// Lets this many bytes wait on the way and reads none, or all again with 0.
    fn stall(&mut self, capacity: usize) {
        self.is_stalled = capacity > 0;
        self.peer.set_capacity(if self.is_stalled { capacity } else { 8 << 20 });
    }

    /// Passes on what each side has said. False: nothing was said.
    fn exchange(&mut self) -> bool {
        if self.is_stalled {
            return false;
        }
        let from_client = self.peer.receive();
        self.sent += from_client.len();
        assert!(self.sent <= MAX_SENT, "the client has sent {} bytes", self.sent);
        if !from_client.is_empty() {
            self.hub.receive(&from_client);
        }
        self.hub.poll();
        let mut from_hub = self.hub.take_output();
        if from_hub.is_empty() {
            if self.hub.is_closed() && self.held.is_none() {
                self.peer.close();
            }
            return !from_client.is_empty();
        }
        match self.change.take() {
            Some(Change::Byte { at, with }) => {
                let at = at % from_hub.len();
                from_hub[at] = with;
            }
            Some(Change::Cut { at }) => from_hub.truncate(at % from_hub.len()),
            Some(Change::Twice) => from_hub = from_hub.repeat(2),
            Some(Change::Dropped) => from_hub.clear(),
            None => {}
        }
        match &mut self.held {
            Some(held) => held.extend_from_slice(&from_hub),
            None => self.peer.send(&from_hub),
        }
        true
    }
}

/// A well-formed frame that may make no sense here.
fn performance(what: usize, place: usize, payload: &[u8]) -> Vec<u8> {
    let (channel, handle) = ((place % 4) as u16, (place / 4 % 8) as u32);
    let (id, flag) = ((place / 32) as u32, place % 2 == 1);
    let with_error = |code: u64, fields: Vec<V>| {
        let error = composite(0x1d, vec![super::amqp_wire::value::sym("amqp:internal-error"), text("x")]);
        composite(code, [fields, vec![error]].concat())
    };
    let performative = match what % 16 {
        0 => frame::open(None),
        1 => frame::begin(),
        2 => frame::end(),
        3 => with_error(frame::END, Vec::new()),
        4 => frame::close(),
        5 => with_error(frame::CLOSE, Vec::new()),
        6 => frame::detach(handle),
        7 => with_error(frame::DETACH, vec![V::Uint(handle), V::Bool(flag)]),
        8 => frame::flow(handle, id, place as u32, flag),
        9 => frame::disposition(id, id + handle, flag, frame::outcome(0x24 + u64::from(handle % 4))),
        10 => Link::sender(handle, "/devices/dev1/twin").attach(),
        11 => Link::receiver(handle, "$cbs").attach(),
        12 => frame::transfer(handle, id, 0, flag, place.is_multiple_of(3)),
        // Of one delivery up to all that have a number.
        13 => {
            let last = id.saturating_add(u32::MAX.checked_shr(place as u32).unwrap_or(0));
            composite(frame::DISPOSITION, vec![V::Bool(true), V::Uint(id), V::Uint(last), V::Bool(true)])
        }
        14 => return frame::raw_frame(0, channel, payload),
        _ => frame::transfer(handle, id, 0x8001_3700, flag, false),
    };
    let payload = match what / 16 % 4 {
        0 => Vec::new(),
        1 => payload.to_vec(),
        2 => Sections::of(payload).encoded(),
        _ => Sections::of(payload).annotation("status", V::Int(place as i32)).encoded(),
    };
    frame::frame(channel, &performative, &payload)
}

/// Something that the hub does wrong by itself.
fn fault(number: usize, more: usize) -> Fault {
    let links = [
        AmqpLink::Telemetry,
        AmqpLink::CloudToDevice,
        AmqpLink::TwinRequests,
        AmqpLink::TwinReplies,
        AmqpLink::MethodRequests,
        AmqpLink::MethodResponses,
        AmqpLink::TokenRequests,
        AmqpLink::TokenReplies,
    ];
    let link = links[more % links.len()];
    let by = Duration::from_millis(1 << (more % 20));
    let condition = (more.is_multiple_of(2)).then(|| "amqp:internal-error".to_owned());
    match number % 20 {
        0 => Fault::AmqpDetach { link, condition },
        1 => Fault::AmqpEnd { condition },
        2 => Fault::AmqpClose { condition },
        3 => Fault::AmqpRefuseAttach { link, condition: "amqp:link:detach-forced".to_owned() },
        4 => Fault::AmqpWithholdAttach { link },
        5 => Fault::AmqpWithholdCredit { link },
        6 => Fault::AmqpWrongSettleMode { link },
        7 => Fault::Cbs([CbsFault::Withhold, CbsFault::Delay(by), CbsFault::Status(more as i32 * 4)][more % 3]),
        8 => Fault::AmqpOutcome(
            [AmqpOutcome::Rejected { condition: "x".to_owned() }, AmqpOutcome::Released, AmqpOutcome::Modified]
                [more % 3]
                .clone(),
        ),
        9 => Fault::DropPubacks { count: more as u32 % 4 },
        10 => Fault::DelayPubacks { count: more as u32 % 4, by },
        11 => Fault::ReorderPubacks { window: more as u32 % 4 },
        12 => Fault::TwinReply(
            [
                TwinReplyFault::Delay(by),
                TwinReplyFault::Drop,
                TwinReplyFault::Duplicate,
                TwinReplyFault::UnknownRid,
                TwinReplyFault::WrongVersion,
                TwinReplyFault::BadJson,
                TwinReplyFault::Status(400 + more as u16),
            ][more % 7],
        ),
        13 => Fault::TwinPatch(
            [TwinPatchFault::Drop, TwinPatchFault::Duplicate, TwinPatchFault::Reorder, TwinPatchFault::BadJson]
                [more % 4],
        ),
        14 => Fault::MethodDuplicate,
        15 => Fault::LateMethod { by },
        16 => Fault::DuplicateDelivery,
        17 => Fault::HalfOpen,
        18 => Fault::SplitAt { byte: more },
        _ => Fault::AmqpDelayDesired { by },
    }
}
