//! The engine's contract, kept by one connection for all registered devices.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use iothub_core::{
    Capabilities, ClientCertificate, ConnectionError, ConnectionErrorKind, CreateError, Disposition, Feature, Now, Op,
    OpError, OpId, OptionError, Readiness, Registration, Renewal, Secret, Slot, Submit, Transport, TransportEvent,
    TransportOption, Unsupported, limits,
};
use iothub_net::Connect;

use crate::device::Command;
use crate::inbox::Settle;
use crate::live::Live;
use crate::member::{Member, State};
use crate::message;
use crate::methods::Answer;
use crate::names::Names;
use crate::options::SessionOptions;
use crate::outlet::{OfDevice, Seen};
use crate::telemetry::Outgoing;
use crate::twin::Ask;

/// How many devices one connection carries; what Microsoft's SDK for .NET puts on one.
const MAX_DEVICES: usize = 995;
/// How many twin requests of a device may await their answer.
const TWIN_WINDOW: usize = 64;
/// How long a device's part may take to end in order.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often tasks and events take turns within one slice.
const TURNS: usize = 8;

const FEATURES: &[Feature] =
    &[Feature::CloudToDevice, Feature::Twin, Feature::DesiredProperties, Feature::Methods, Feature::Inputs];

/// The connection, from nothing to open.
enum Link {
    None,
    /// The connect machine is at work.
    Connecting,
    Live(Box<Live>),
}

/// An AMQP 1.0 connection to an IoT hub, over whatever a [`Connect`] opens, for many devices and modules.
///
/// Each has a session of its own, so that what goes wrong with one does not disturb the others; tokens have one more.
/// [`Amqp`](crate::Amqp) makes a transport over TLS; to share it, make an
/// [`iothub_core::SharedTransport`] of that.
///
/// What its outcomes mean:
///
/// - A message is done when the hub has accepted it; one that the hub rejects fails in the hub's words.
/// - A received message is settled, in any of the three ways, when the settlement is on its way out. At most 50 are
///   undecided; the hub is given credit for no more.
/// - A twin request is done when the hub has answered it. At most 64 of a device await their answer.
/// - The answer to a method is done when it is on its way out. At most 1,000 calls may be unanswered; more are answered
///   429.
/// - A token is replaced on the live connection.
///
/// Whatever ends one of a device's links or its session ends its part of the connection, which the engine makes anew; a
/// link that the hub refuses is a refused subscription.
pub struct AmqpTransport {
    capabilities: Capabilities,
    options: SessionOptions,
    connect: Box<dyn Connect>,
    link: Link,
    members: BTreeMap<Slot, Member>,
    next_slot: u32,
    now: Option<Now>,
    /// Something was asked for since the last slice.
    is_due: bool,
}

impl AmqpTransport {
    /// A transport that is called `name` in errors (`amqp`, `amqp-ws`) and connects through `connect`.
    ///
    /// # Errors
    ///
    /// [`CreateError::Option`] for an option that is out of its range.
    pub fn new(name: &'static str, connect: Box<dyn Connect>, options: SessionOptions) -> Result<Self, CreateError> {
        options.check()?;
        let mut capabilities = Capabilities::new(name);
        capabilities.max_devices = MAX_DEVICES;
        capabilities.features = FEATURES;
        capabilities.dispositions = &[Disposition::Accept, Disposition::Reject, Disposition::Abandon];
        capabilities.renewal = Renewal::InPlace;
        Ok(Self {
            capabilities,
            options,
            connect,
            link: Link::None,
            members: BTreeMap::new(),
            next_slot: 0,
            now: None,
            is_due: false,
        })
    }

    fn at_peer(&self, kind: ConnectionErrorKind) -> ConnectionError {
        ConnectionError::new(self.connect.host().clone(), self.connect.port(), kind)
    }

    fn command(&mut self, slot: Slot, command: Command) -> bool {
        let part = self.members.get(&slot).and_then(Member::online);
        let sent = part.is_some_and(|part| part.commands.send(command).is_ok());
        self.touch();
        sent
    }

    fn touch(&mut self) {
        self.is_due = true;
        if let Link::Live(live) = &mut self.link {
            live.is_due();
        }
    }

    /// Starts what waits, as far as the connection is.
    fn advance(&mut self, now: Now) {
        let is_wanted = self.members.values().any(|member| matches!(member.state, State::Waiting { .. }));
        match &mut self.link {
            Link::None if is_wanted => {
                tracing::debug!(host = %self.connect.host(), port = self.connect.port(), "connecting");
                self.connect.set_timeout(self.options.connect_timeout);
                self.connect.set_tcp_keep_alive(self.options.tcp_keep_alive);
                self.connect.start(now);
                self.link = Link::Connecting;
            }
            Link::Connecting if !is_wanted => {
                self.connect.cancel();
                self.link = Link::None;
            }
            _ => {}
        }
        if let Link::Connecting = self.link {
            match self.connect.poll(now) {
                Poll::Pending => {}
                Poll::Ready(Ok(stream)) => {
                    let first = self.members.values().find_map(|member| match &member.state {
                        State::Waiting { token } => Some((member.names.hub().to_owned(), token.is_some())),
                        _ => None,
                    });
                    let Some((hub, by_token)) = first else { return self.link = Link::None };
                    match Live::new(stream, &hub, by_token, &self.options, now) {
                        Ok(live) => self.link = Link::Live(Box::new(live)),
                        Err(error) => {
                            let detail = format!("no runtime for the connection: {error}");
                            self.lose(&self.at_peer(ConnectionErrorKind::Broken { detail }));
                        }
                    }
                }
                Poll::Ready(Err(error)) => self.lose(&error),
            }
        }
        if let Link::Live(live) = &mut self.link
            && live.is_open()
        {
            for (slot, member) in &mut self.members {
                live.start(*slot, member, now);
            }
        }
    }

    /// The connection is gone, for everyone that it was for.
    fn lose(&mut self, error: &ConnectionError) {
        tracing::debug!(%error, "down");
        let was_closing = matches!(&self.link, Link::Live(live) if live.is_closing());
        self.link = Link::None;
        for member in self.members.values_mut() {
            match member.state {
                State::Idle => {}
                // What came while it closed goes to the next one.
                State::Waiting { .. } if was_closing => {}
                State::Leaving { .. } | State::Closing => member.ends(TransportEvent::Disconnected),
                State::Waiting { .. } | State::Running(_) => member.ends(TransportEvent::Down(error.clone())),
            }
        }
    }

    fn saw(&mut self, seen: Seen, now: Now) {
        match seen {
            Seen::Open => {}
            Seen::Closed(kind) => {
                let error = self.at_peer(kind.unwrap_or(ConnectionErrorKind::ClosedByPeer));
                self.lose(&error);
            }
            Seen::Device { slot, run, what } => {
                let error = match &what {
                    OfDevice::Down(kind) => Some(self.at_peer(kind.clone())),
                    _ => None,
                };
                let timeout = self.options.connect_timeout;
                let Some(member) = self.members.get_mut(&slot).filter(|member| member.run == run) else { return };
                match (what, error) {
                    (OfDevice::Down(_), Some(error)) => match member.state {
                        State::Leaving { .. } => self.left(slot, now),
                        _ => member.ends(TransportEvent::Down(error)),
                    },
                    (OfDevice::Left, _) => self.left(slot, now),
                    (OfDevice::Stage(stage), _) => {
                        if let State::Running(part) = &mut member.state {
                            part.awaits = Some((now.mono + timeout, stage));
                        }
                    }
                    (OfDevice::Settled, _) => {
                        if let State::Running(part) = &mut member.state {
                            part.awaits = None;
                        }
                    }
                    (OfDevice::Event(event), _) => Self::event(member, event),
                    (OfDevice::Down(_), None) => {}
                }
            }
        }
    }

    /// Hands an event on, unless it is about something that was given up.
    fn event(member: &mut Member, event: TransportEvent) {
        let State::Running(part) = &mut member.state else {
            // On the way out only outcomes matter.
            if let TransportEvent::Done { id, .. } = &event
                && matches!(member.state, State::Leaving { .. })
                && member.is_over(*id)
            {
                member.tell(event);
            }
            return;
        };
        match &event {
            TransportEvent::Connected { .. } => part.is_online = true,
            TransportEvent::Done { id, .. } if !member.is_over(*id) => return,
            _ => {}
        }
        member.tell(event);
    }

    /// A member's part has ended in order. When nobody uses the connection any more, it ends too.
    fn left(&mut self, slot: Slot, now: Now) {
        let others = self
            .members
            .iter()
            .any(|(other, member)| *other != slot && !matches!(member.state, State::Idle | State::Closing));
        let Some(member) = self.members.get_mut(&slot) else { return };
        match &mut self.link {
            Link::Live(live) if !others => {
                live.close(now.mono);
                member.state = State::Closing;
            }
            _ => member.ends(TransportEvent::Disconnected),
        }
    }

    /// Members whose hub does not answer, and those that take too long to leave.
    fn expire(&mut self, now: Now) {
        let mut late = Vec::new();
        for (slot, member) in &self.members {
            match &member.state {
                State::Running(part) => {
                    if let Some((_, stage)) = part.awaits.filter(|(until, _)| *until <= now.mono) {
                        late.push((*slot, Some(stage)));
                    }
                }
                State::Leaving { until, .. } if *until <= now.mono => late.push((*slot, None)),
                _ => {}
            }
        }
        for (slot, stage) in late {
            match stage {
                Some(stage) => {
                    let kind = ConnectionErrorKind::TimedOut { stage, after: self.options.connect_timeout };
                    let error = self.at_peer(kind);
                    if let Some(member) = self.members.get_mut(&slot) {
                        member.ends(TransportEvent::Down(error));
                    }
                }
                None => self.left(slot, now),
            }
        }
        self.close_if_unused(now);
    }

    /// A connection that no member uses is of no use to the next: it ends, with a goodbye as far as that goes at once.
    fn close_if_unused(&mut self, now: Now) {
        let is_used = self.members.values().any(|member| !matches!(member.state, State::Idle));
        if let Link::Live(live) = &mut self.link
            && !is_used
        {
            live.close(now.mono);
            live.drive(now);
            self.link = Link::None;
        }
    }

    fn check_telemetry(&self, message: &iothub_core::Message) -> Result<(), Unsupported> {
        let (size, limit) = (message.size(), limits::MAX_TELEMETRY_SIZE);
        if size > limit {
            return Err(Unsupported::MessageTooLarge { size, limit });
        }
        if message::without_place(message).is_some() {
            let property = "a system property that is newer than this transport";
            return Err(Unsupported::Property { property, transport: self.capabilities.name });
        }
        Ok(())
    }

    fn submit_checked(&mut self, slot: Slot, id: OpId, op: Op<'_>) -> Submit {
        let window = self.options.max_in_flight;
        let Some(member) = self.members.get_mut(&slot) else { return Submit::Refused(OpError::Stale) };
        let run = member.run;
        let is_online = member.online().is_some();
        let is_current = |generation: u32| is_online && generation == run;
        let command = match op {
            Op::Telemetry(_) if !is_online || member.telemetry.len() >= window => return Submit::Full,
            Op::Telemetry(message) => {
                let outgoing = Outgoing { id, message: message::telemetry(message) };
                if member.online().is_none_or(|part| part.messages.send(outgoing).is_err()) {
                    return Submit::Full;
                }
                member.telemetry.insert(id);
                self.touch();
                return Submit::Taken;
            }
            Op::TwinGet | Op::TwinReport(_) if !is_online || member.twin.len() >= TWIN_WINDOW => return Submit::Full,
            Op::TwinGet => Command::Ask(Ask::Get(id)),
            Op::TwinReport(patch) => Command::Ask(Ask::Report(id, patch.to_vec())),
            Op::Settle { delivery, .. } | Op::MethodResponse { delivery, .. } if !is_current(delivery.generation) => {
                return Submit::Refused(OpError::Stale);
            }
            Op::Settle { delivery, disposition } => Command::Settle(Settle { id, key: delivery.key, disposition }),
            Op::MethodResponse { delivery, status, body } => {
                Command::Answer(Answer { id, key: delivery.key, status, body: body.to_vec() })
            }
            _ => return Submit::Refused(OpError::Unsupported(newer_operation(self.capabilities.name))),
        };
        let is_twin = matches!(command, Command::Ask(_));
        if is_twin {
            member.twin.insert(id);
        } else {
            member.answers.insert(id);
        }
        if self.command(slot, command) {
            return Submit::Taken;
        }
        if let Some(member) = self.members.get_mut(&slot) {
            member.is_over(id);
        }
        if is_twin { Submit::Full } else { Submit::Refused(OpError::Stale) }
    }
}

impl Transport for AmqpTransport {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn peer(&self) -> (Arc<str>, u16) {
        (self.connect.host().clone(), self.connect.port())
    }

    fn check(&self, op: &Op<'_>) -> Result<(), Unsupported> {
        match op {
            Op::Telemetry(message) => self.check_telemetry(message),
            Op::Settle { .. } | Op::TwinGet => Ok(()),
            Op::TwinReport(patch) => check_size(patch, limits::MAX_TWIN_SECTION),
            Op::MethodResponse { body, .. } => check_size(body, limits::MAX_METHOD_PAYLOAD),
            _ => Err(newer_operation(self.capabilities.name)),
        }
    }

    fn set_option(&mut self, option: &TransportOption) -> Result<(), OptionError> {
        self.options.set(option, self.capabilities.name)
    }

    fn set_certificate(&mut self, slot: Slot, certificate: Option<&ClientCertificate>) -> Result<(), CreateError> {
        let refuse =
            |detail: &str| Err(CreateError::Register { transport: self.capabilities.name, detail: detail.to_owned() });
        if !self.members.contains_key(&slot) {
            return refuse("nothing is registered under its slot");
        }
        if self.members.len() > 1 {
            return refuse(
                "a certificate proves one identity for the whole connection: give this client its own transport",
            );
        }
        self.connect.set_certificate(certificate)
    }

    fn register(&mut self, client: Registration) -> Result<Slot, CreateError> {
        let transport = self.capabilities.name;
        let refuse = |detail: String| Err(CreateError::Register { transport, detail });
        if self.members.len() >= MAX_DEVICES {
            return refuse(format!("one connection carries {MAX_DEVICES} devices: create another transport"));
        }
        let names = Names::new(&client);
        if self.members.values().any(|member| member.names.audience() == names.audience()) {
            return refuse(format!("{} is registered already: the hub would drop one for the other", names.audience()));
        }
        if self.members.is_empty() {
            self.connect.set_waker(&client.waker);
        }
        let slot = Slot(self.next_slot);
        self.next_slot = self.next_slot.wrapping_add(1);
        self.members.insert(slot, Member::new(names, client.waker));
        Ok(slot)
    }

    fn unregister(&mut self, slot: Slot) {
        let Some(now) = self.now else {
            self.members.remove(&slot);
            return;
        };
        self.disconnect(slot, now);
        // As far as it goes at once.
        if let Link::Live(live) = &mut self.link {
            live.drive(now);
        }
        self.do_work(now);
        self.members.remove(&slot);
        if let Some(other) = self.members.values().next() {
            self.connect.set_waker(&other.waker);
        }
        self.close_if_unused(now);
        self.do_work(now);
        if self.members.is_empty() {
            self.connect.cancel();
            self.link = Link::None;
        }
    }

    fn subscribe(&mut self, slot: Slot, wanted: &[Feature]) {
        let Some(member) = self.members.get_mut(&slot) else { return };
        member.wanted = wanted.to_vec();
        if let State::Running(part) = &member.state {
            // A part that is gone says so by itself.
            let _ = part.commands.send(Command::Subscribe(wanted.to_vec()));
        }
        self.touch();
    }

    fn connect(&mut self, slot: Slot, token: Option<&str>, now: Now) {
        self.now = Some(now);
        let Some(member) = self.members.get_mut(&slot) else { return };
        member.run = member.run.wrapping_add(1);
        member.state = State::Waiting { token: token.map(Secret::new) };
        self.touch();
    }

    fn renew(&mut self, slot: Slot, token: &str, now: Now) {
        self.now = Some(now);
        self.command(slot, Command::Renew(Secret::new(token)));
    }

    fn disconnect(&mut self, slot: Slot, now: Now) {
        self.now = Some(now);
        let Some(member) = self.members.get_mut(&slot) else { return };
        match std::mem::replace(&mut member.state, State::Idle) {
            State::Idle | State::Waiting { .. } => member.ends(TransportEvent::Disconnected),
            State::Running(part) if part.is_online && part.commands.send(Command::Leave).is_ok() => {
                member.state = State::Leaving { part, until: now.mono + LEAVE_TIMEOUT };
            }
            // Before it is online there is nothing to take leave of.
            State::Running(part) => {
                drop(part);
                self.left(slot, now);
            }
            leaving @ (State::Leaving { .. } | State::Closing) => member.state = leaving,
        }
        self.touch();
    }

    fn submit(&mut self, slot: Slot, id: OpId, op: Op<'_>, now: Now) -> Submit {
        self.now = Some(now);
        match self.check(&op) {
            Ok(()) => self.submit_checked(slot, id, op),
            Err(unsupported) => Submit::Refused(OpError::Unsupported(unsupported)),
        }
    }

    fn forget(&mut self, slot: Slot, id: OpId) {
        let Some(member) = self.members.get_mut(&slot) else { return };
        let is_twin = member.twin.contains(&id);
        if member.is_over(id) && is_twin {
            self.command(slot, Command::Ask(Ask::Forget(id)));
        }
    }

    fn do_work(&mut self, now: Now) {
        self.now = Some(now);
        self.is_due = false;
        for _ in 0..TURNS {
            self.advance(now);
            let Link::Live(live) = &mut self.link else { break };
            live.drive(now);
            let mut saw = false;
            while let Link::Live(live) = &mut self.link
                && let Some(seen) = live.take(now)
            {
                saw = true;
                self.saw(seen, now);
            }
            self.expire(now);
            if !saw && !self.is_due {
                break;
            }
            self.is_due = false;
        }
    }

    fn poll_event(&mut self, slot: Slot) -> Option<TransportEvent> {
        self.members.get_mut(&slot)?.poll_event()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let now = self.now.map(|now| now.mono);
        let mut members = self.members.values();
        // Of several clients, each is woken for its own events.
        if self.is_due || (self.members.len() == 1 && members.any(Member::has_events)) {
            return now;
        }
        let parts = self.members.values().filter_map(|member| match &member.state {
            State::Running(part) => part.awaits.map(|(until, _)| until),
            State::Leaving { until, .. } => Some(*until),
            _ => None,
        });
        let link = match &self.link {
            Link::None => None,
            Link::Connecting => self.connect.next_deadline(),
            Link::Live(live) => live.next_deadline(),
        };
        parts.chain(link).min()
    }

    fn readiness(&self, out: &mut Vec<Readiness>) {
        match &self.link {
            Link::None => {}
            Link::Connecting => self.connect.readiness(out),
            Link::Live(live) => live.readiness(out),
        }
    }
}

/// Whether a body of JSON has at most this many bytes.
fn check_size(body: &[u8], limit: usize) -> Result<(), Unsupported> {
    let size = body.len();
    if size > limit { Err(Unsupported::MessageTooLarge { size, limit }) } else { Ok(()) }
}

/// The engine checks before it submits, so this is what it hears of an operation that came after this version.
fn newer_operation(transport: &'static str) -> Unsupported {
    Unsupported::Property { property: "an operation that is newer than this transport", transport }
}
