//! The engine's contract, kept by one connection for all registered devices.

use std::sync::Arc;
use std::time::Instant;

use iothub_core::{
    Capabilities, ClientCertificate, CreateError, Disposition, Feature, Now, Op, OpError, OpId, OptionError, Readiness,
    Redelivery, Registration, Renewal, Secret, Slot, Submit, Transport, TransportEvent, TransportOption, Unsupported,
};
use iothub_net::Connect;

use crate::connection::Connection;
use crate::device::Command;
use crate::member::{Goodbye, Member};
use crate::members::Members;
use crate::names::Names;
use crate::options::SessionOptions;
use crate::outbox::Clock;
use crate::submission;

/// How many devices one connection carries; what Microsoft's SDK for .NET puts on one.
const MAX_DEVICES: usize = 995;
/// How often tasks and events take turns within one slice.
const TURNS: usize = 8;

const FEATURES: &[Feature] =
    &[Feature::CloudToDevice, Feature::Twin, Feature::DesiredProperties, Feature::Methods, Feature::Inputs];

/// An AMQP 1.0 connection to an IoT hub, over whatever a [`Connect`] opens, for many devices and modules.
///
/// Each has a session of its own, so that what goes wrong with one does not disturb the others; tokens have one more.
/// [`Amqp`](crate::Amqp) makes a transport over TLS; to share it, make an
/// [`iothub_core::SharedTransport`] of that.
///
/// What its outcomes mean:
///
/// - A message is done when the hub has accepted it; one that the hub rejects fails in the hub's words. Messages that wait
///   together go together; see [`SessionOptions::batching`]. A message that has no outcome within a minute, be it for want of
///   credit, ends its device's part.
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
    pub(crate) options: SessionOptions,
    pub(crate) connection: Connection,
    pub(crate) members: Members,
    now: Option<Now>,
    /// Counts slices.
    slice: u64,
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
        capabilities.redelivery = Redelivery::AtOnce;
        let connection = Connection::new(connect);
        Ok(Self { capabilities, options, connection, members: Members::default(), now: None, slice: 0, is_due: false })
    }

    pub(crate) fn clock(&self, now: Now) -> Clock {
        Clock { now: now.mono, slice: self.slice }
    }

    /// The tasks have something to do.
    pub(crate) fn touch(&mut self) {
        self.is_due = true;
        if let Some(live) = self.connection.live() {
            live.is_due();
        }
    }

    fn refuse<T>(&self, detail: impl Into<String>) -> Result<T, CreateError> {
        Err(CreateError::Register { transport: self.capabilities.name, detail: detail.into() })
    }
}

impl Transport for AmqpTransport {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn peer(&self) -> (Arc<str>, u16) {
        (self.connection.connect.host().clone(), self.connection.connect.port())
    }

    fn check(&self, op: &Op<'_>) -> Result<(), Unsupported> {
        submission::check(op, self.capabilities.name)
    }

    fn set_option(&mut self, option: &TransportOption) -> Result<(), OptionError> {
        self.options.set(option, self.capabilities.name)
    }

    fn set_certificate(&mut self, slot: Slot, certificate: Option<&ClientCertificate>) -> Result<(), CreateError> {
        if self.members.get(slot).is_none() {
            return self.refuse("nothing is registered under its slot");
        }
        if self.members.len() > 1 {
            return self.refuse(
                "a certificate proves one identity for the whole connection: give this client its own transport",
            );
        }
        self.connection.connect.set_certificate(certificate)
    }

    fn register(&mut self, client: Registration) -> Result<Slot, CreateError> {
        if self.members.len() >= MAX_DEVICES {
            return self.refuse(format!("one connection carries {MAX_DEVICES} devices: create another transport"));
        }
        let names = Names::new(&client);
        let audience = names.audience();
        if self.members.has(&audience) {
            return self.refuse(format!("{audience} is registered already: the hub would drop one for the other"));
        }
        if self.members.is_empty() {
            self.connection.connect.set_waker(&client.waker);
        }
        Ok(self.members.insert(Member::new(names, client.waker)))
    }

    fn unregister(&mut self, slot: Slot) {
        let Some(now) = self.now else { return self.members.remove(slot) };
        self.disconnect(slot, now);
        // As far as it goes at once.
        if let Some(live) = self.connection.live() {
            live.drive(now);
        }
        self.do_work(now);
        self.members.remove(slot);
        self.touch();
        if let Some(other) = self.members.first() {
            self.connection.connect.set_waker(&other.waker);
        }
        self.close_if_unused(now);
        self.do_work(now);
        if self.members.is_empty() {
            self.connection.abandon();
        }
    }

    fn subscribe(&mut self, slot: Slot, wanted: &[Feature]) {
        self.members.change(slot, |member| member.subscribe(wanted));
        self.touch();
    }

    fn connect(&mut self, slot: Slot, token: Option<&str>, now: Now) {
        self.now = Some(now);
        self.members.change(slot, |member| member.connect(token));
        self.touch();
    }

    fn renew(&mut self, slot: Slot, token: &str, now: Now) {
        self.now = Some(now);
        // Without a part the next connection takes a token of its own.
        self.members.change(slot, |member| member.command(Command::Renew(Secret::new(token))));
        self.touch();
    }

    fn disconnect(&mut self, slot: Slot, now: Now) {
        self.now = Some(now);
        if let Some(Goodbye::Nothing) = self.members.change(slot, |member| member.leave(now.mono)) {
            self.left(slot, now);
        }
        self.touch();
    }

    fn submit(&mut self, slot: Slot, id: OpId, op: Op<'_>, now: Now) -> Submit {
        self.now = Some(now);
        let (window, name) = (self.options.max_in_flight, self.capabilities.name);
        if let Err(unsupported) = submission::check(&op, name) {
            return Submit::Refused(OpError::Unsupported(unsupported));
        }
        let clock = self.clock(now);
        let submitted = self.members.change(slot, |member| member.submit(id, op, clock, window, name));
        if let Some(Submit::Taken) = submitted {
            self.touch();
        }
        submitted.unwrap_or(Submit::Refused(OpError::Stale))
    }

    fn forget(&mut self, slot: Slot, id: OpId) {
        let Some(now) = self.now else { return };
        if self.members.change(slot, |member| member.forget(id, now.mono)) == Some(true) {
            self.touch();
        }
    }

    fn do_work(&mut self, now: Now) {
        self.now = Some(now);
        self.slice += 1;
        self.is_due = false;
        for _ in 0..TURNS {
            if let Err(error) = self.connection.advance(&mut self.members, &self.options, now) {
                self.lose(&error);
            }
            let Some(live) = self.connection.live() else { break };
            live.drive(now);
            let heard = self.listen(now);
            self.expire(now);
            if !heard && !self.is_due {
                break;
            }
            self.is_due = false;
        }
    }

    fn poll_event(&mut self, slot: Slot) -> Option<TransportEvent> {
        self.members.poll_event(slot)
    }

    fn next_deadline(&self) -> Option<Instant> {
        // Of several clients, each is woken for its own events.
        let has_events =
            self.members.len() == 1 && self.members.first().is_some_and(|member| member.events_waiting() > 0);
        if self.is_due || has_events {
            return self.now.map(|now| now.mono);
        }
        self.members.next_due().into_iter().chain(self.connection.next_deadline()).min()
    }

    fn readiness(&self, out: &mut Vec<Readiness>) {
        self.connection.readiness(out);
    }
}
