//! The engine's contract, kept by a session.

use std::sync::Arc;
use std::time::Instant;

use iothub_core::{
    Capabilities, ClientCertificate, CreateError, Disposition, Feature, Now, Op, OpError, OpId, OptionError, Readiness,
    Registration, Slot, Submit, Transport, TransportEvent, TransportOption, Trust, Unsupported, limits,
};
use iothub_net::Connect;

use crate::names::Names;
use crate::options::SessionOptions;
use crate::session::Session;
use crate::subscriptions::FEATURES;
use crate::topic;
use crate::twin::Kind;

/// An MQTT 3.1.1 session with an IoT hub, over whatever a [`Connect`] opens.
///
/// It carries one device or module: an MQTT connection has one client identifier. [`Mqtt`](crate::Mqtt) makes one over TLS; a
/// transport that tunnels MQTT makes one over its own [`Connect`].
///
/// What its outcomes mean:
///
/// - A message is done when its PUBACK has come.
/// - An accepted message is done when its PUBACK has left the client, which is not before every earlier message is
///   decided; an abandoned one at once. Both are [stale](OpError::Stale) when the connection ends first. Rejecting does
///   not exist. A message that came at QoS 0 needs no PUBACK, and settling it succeeds at once.
/// - A twin request is done when the hub has answered it. It goes when the hub has answered the subscription to
///   [`Feature::Twin`], and one for the whole twin not before that to [`Feature::DesiredProperties`], if it is wanted.
///   At most 64 may await their answer.
/// - The answer to a method is done when it has left the client, and [stale](OpError::Stale) when the connection ended
///   first. At most 1,000 calls may be unanswered; more are answered 429.
///
/// Names of methods and inputs are handed up as they stand in the topic, without decoding. Answers to nothing, repetitions of a call
/// that is unanswered, and what is malformed under `$iothub/` are ignored.
///
/// Its own copies are bounded: 256 KiB and one packet for each of telemetry, twin requests and answers to methods on the
/// way out, and 256 KiB of automatic answers; one packet of at most 320 KiB and a slice of 256 KiB on the way in, 50
/// unacknowledged messages, and the events of one slice.
pub struct MqttTransport {
    capabilities: Capabilities,
    options: SessionOptions,
    connect: Box<dyn Connect>,
    registered: Option<(Slot, Session)>,
    next_slot: u32,
}

impl MqttTransport {
    /// A transport that is called `name` in errors (`mqtt`, `mqtt-ws`) and connects through `connect`.
    ///
    /// # Errors
    ///
    /// [`CreateError::Option`] for an option that is out of its range.
    pub fn new(name: &'static str, connect: Box<dyn Connect>, options: SessionOptions) -> Result<Self, CreateError> {
        options.check()?;
        let mut capabilities = Capabilities::new(name);
        capabilities.features = FEATURES;
        capabilities.dispositions = &[Disposition::Accept, Disposition::Abandon];
        Ok(Self { capabilities, options, connect, registered: None, next_slot: 0 })
    }

    /// The session of this slot, and what it connects through.
    fn session(&mut self, slot: Slot) -> Option<(&mut Session, &mut dyn Connect)> {
        let Self { registered, connect, .. } = self;
        match registered {
            Some((registered, session)) if *registered == slot => Some((session, connect.as_mut())),
            _ => None,
        }
    }

    /// The length of the topic of a message that can be sent.
    fn check_telemetry(&self, message: &iothub_core::Message) -> Result<usize, Unsupported> {
        let (size, limit) = (message.size(), limits::MAX_TELEMETRY_SIZE);
        if size > limit {
            return Err(Unsupported::MessageTooLarge { size, limit });
        }
        if topic::without_form(message).is_some() {
            let property = "a system property that is newer than this transport";
            return Err(Unsupported::Property { property, transport: self.capabilities.name });
        }
        let length = self.registered.as_ref().map_or(0, |(_, session)| session.topics().telemetry_len(message));
        if length > topic::MAX_TOPIC {
            return Err(Unsupported::TopicTooLong { length, limit: topic::MAX_TOPIC });
        }
        Ok(length)
    }
}

impl Transport for MqttTransport {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn peer(&self) -> (Arc<str>, u16) {
        (self.connect.host().clone(), self.connect.port())
    }

    fn check(&self, op: &Op<'_>) -> Result<(), Unsupported> {
        match op {
            Op::Telemetry(message) => self.check_telemetry(message).map(drop),
            Op::Settle { disposition, .. } if self.capabilities.dispositions.contains(disposition) => Ok(()),
            Op::Settle { disposition, .. } => {
                Err(Unsupported::Disposition { disposition: *disposition, transport: self.capabilities.name })
            }
            Op::TwinGet => Ok(()),
            Op::TwinReport(patch) => check_size(patch, limits::MAX_TWIN_SECTION),
            Op::MethodResponse { body, .. } => check_size(body, limits::MAX_METHOD_PAYLOAD),
            _ => Err(newer_operation(self.capabilities.name)),
        }
    }

    fn set_option(&mut self, option: &TransportOption) -> Result<(), OptionError> {
        self.options.set(option, self.capabilities.name)
    }

    fn set_certificate(&mut self, slot: Slot, certificate: Option<&ClientCertificate>) -> Result<(), CreateError> {
        let transport = self.capabilities.name;
        match self.session(slot) {
            Some((_, connect)) => connect.set_certificate(certificate),
            None => Err(not_registered(transport)),
        }
    }

    fn set_trust(&mut self, slot: Slot, trust: &Trust) -> Result<(), CreateError> {
        let transport = self.capabilities.name;
        match self.session(slot) {
            Some((_, connect)) => connect.set_trust(trust),
            None => Err(not_registered(transport)),
        }
    }

    fn register(&mut self, client: Registration) -> Result<Slot, CreateError> {
        let transport = self.capabilities.name;
        if self.registered.is_some() {
            let detail =
                "a device or module is registered already, and an MQTT connection carries one: create another client";
            return Err(CreateError::Register { transport, detail: detail.to_owned() });
        }
        let names = Names::new(&client, transport)?;
        self.connect.set_waker(&client.waker);
        let slot = Slot(self.next_slot);
        self.next_slot = self.next_slot.wrapping_add(1);
        self.registered = Some((slot, Session::new(transport, self.options.clone(), names)));
        Ok(slot)
    }

    fn unregister(&mut self, slot: Slot) {
        if let Some((session, connect)) = self.session(slot) {
            session.leave(connect);
            self.registered = None;
        }
    }

    fn subscribe(&mut self, slot: Slot, wanted: &[Feature]) {
        if let Some((session, _)) = self.session(slot) {
            session.subscribe(wanted);
        }
    }

    fn connect(&mut self, slot: Slot, token: Option<&str>, now: Now) {
        let Self { registered, connect, options, .. } = self;
        if let Some((registered, session)) = registered
            && *registered == slot
        {
            session.connect(connect.as_mut(), options, token, now);
        }
    }

    fn disconnect(&mut self, slot: Slot, now: Now) {
        if let Some((session, connect)) = self.session(slot) {
            session.disconnect(connect, now);
        }
    }

    fn submit(&mut self, slot: Slot, id: OpId, op: Op<'_>, now: Now) -> Submit {
        let topic_len = match &op {
            Op::Telemetry(message) => self.check_telemetry(message),
            // Whether the delivery exists comes before how it is settled.
            Op::Settle { .. } => Ok(0),
            other => self.check(other).map(|()| 0),
        };
        let topic_len = match topic_len {
            Ok(topic_len) => topic_len,
            Err(unsupported) => return Submit::Refused(OpError::Unsupported(unsupported)),
        };
        let name = self.capabilities.name;
        let Some((session, _)) = self.session(slot) else {
            return match op {
                Op::Settle { .. } | Op::MethodResponse { .. } => Submit::Refused(OpError::Stale),
                _ => Submit::Full,
            };
        };
        match op {
            Op::Telemetry(message) => session.telemetry(id, message, topic_len, now),
            Op::Settle { delivery, disposition } => session.settle(id, delivery, disposition, now),
            Op::TwinGet => session.twin(id, Kind::Get, b"", now),
            Op::TwinReport(patch) => session.twin(id, Kind::Report, patch, now),
            Op::MethodResponse { delivery, status, body } => session.respond(id, delivery, status, body, now),
            _ => Submit::Refused(OpError::Unsupported(newer_operation(name))),
        }
    }

    fn forget(&mut self, slot: Slot, id: OpId) {
        if let Some((session, _)) = self.session(slot) {
            session.forget(id);
        }
    }

    fn do_work(&mut self, now: Now) {
        if let Some((_, session)) = &mut self.registered {
            session.do_work(self.connect.as_mut(), now);
        }
    }

    fn poll_event(&mut self, slot: Slot) -> Option<TransportEvent> {
        self.session(slot).and_then(|(session, _)| session.poll_event())
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.registered.as_ref().and_then(|(_, session)| session.next_deadline(self.connect.as_ref()))
    }

    fn readiness(&self, out: &mut Vec<Readiness>) {
        if let Some((_, session)) = &self.registered {
            session.readiness(self.connect.as_ref(), out);
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

fn not_registered(transport: &'static str) -> CreateError {
    CreateError::Register { transport, detail: "nothing is registered under its slot".to_owned() }
}
