//! The engine's contract, kept by a session.

use std::sync::Arc;
use std::time::Instant;

use iothub_core::{
    Capabilities, CreateError, Disposition, Feature, Now, Op, OpError, OpId, Readiness, Registration, Slot, Submit,
    Transport, TransportEvent, Unsupported, limits,
};
use iothub_net::Connect;

use crate::device::Device;
use crate::options::SessionOptions;
use crate::session::Session;
use crate::subscriptions::FEATURES;
use crate::topic;

/// An MQTT 3.1.1 session with an IoT hub, over whatever a [`Connect`] opens.
///
/// It carries one device: an MQTT connection has one client identifier. [`Mqtt`](crate::Mqtt) makes one over TLS; a
/// transport that tunnels MQTT makes one over its own [`Connect`].
///
/// What its outcomes mean:
///
/// - A message is done when its PUBACK has come.
/// - An accepted message is done when its PUBACK has left the client, which is not before every earlier message is
///   decided; an abandoned one at once. Both are [stale](OpError::Stale) when the connection ends first. Rejecting does
///   not exist. A message that came at QoS 0 needs no PUBACK, and settling it succeeds at once.
///
/// Its own copies are bounded: 256 KiB and one message on the way out, one packet of at most 320 KiB and a slice of
/// 256 KiB on the way in, 50 unacknowledged messages, and the events of one slice.
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
        if topic::without_key(message).is_some() {
            let property = "a system property that is newer than this transport";
            return Err(Unsupported::Property { property, transport: self.capabilities.name });
        }
        let length = self.registered.as_ref().map_or(0, |(_, session)| session.device().topics.telemetry_len(message));
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
            _ => Err(newer_operation(self.capabilities.name)),
        }
    }

    fn register(&mut self, device: Registration) -> Result<Slot, CreateError> {
        let transport = self.capabilities.name;
        if self.registered.is_some() {
            let detail = "a device is registered already, and an MQTT connection carries one: create another client";
            return Err(CreateError::Register { transport, detail: detail.to_owned() });
        }
        let names = Device::new(&device, transport)?;
        self.connect.set_waker(&device.waker);
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
        if let Some((session, connect)) = self.session(slot) {
            session.connect(connect, token, now);
        }
    }

    fn disconnect(&mut self, slot: Slot, now: Now) {
        if let Some((session, connect)) = self.session(slot) {
            session.disconnect(connect, now);
        }
    }

    fn submit(&mut self, slot: Slot, id: OpId, op: Op<'_>, now: Now) -> Submit {
        let name = self.capabilities.name;
        match op {
            Op::Telemetry(message) => match self.check_telemetry(message) {
                Ok(topic_len) => match self.session(slot) {
                    Some((session, _)) => session.telemetry(id, message, topic_len, now),
                    None => Submit::Full,
                },
                Err(unsupported) => Submit::Refused(OpError::Unsupported(unsupported)),
            },
            Op::Settle { delivery, disposition } => match self.session(slot) {
                Some((session, _)) => session.settle(id, delivery, disposition, now),
                None => Submit::Refused(OpError::Stale),
            },
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

/// The engine checks before it submits, so this is what it hears of an operation that came after this version.
fn newer_operation(transport: &'static str) -> Unsupported {
    Unsupported::Property { property: "an operation that is newer than this transport", transport }
}
