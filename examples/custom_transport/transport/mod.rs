//! A transport of one's own: [`Local`] talks to a hub in the same process, by calls instead of packets.
//!
//! It is written with public items only, so it can be copied as the beginning of a transport for another protocol. The
//! division of labour with the engine, which is the client above it:
//!
//! - The engine decides when to connect, sends again what was lost, keeps messages and counts their time. A transport
//!   never retries, drops or keeps anything.
//! - [`submit`](Transport::submit) lends an operation, which is encoded before the call returns. Its outcome is an event,
//!   [`Done`](TransportEvent::Done), or else the connection is lost: then one [`Down`](TransportEvent::Down) says so for everything that has no outcome yet.
//! - Nothing blocks, and nothing happens but in calls of the engine. What happens is an event that the engine collects.
//!
//! `open` is one connection with everything that dies with it; `message` translates messages.

mod message;
mod open;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use iothub_client::{
    Capabilities, ConnectionError, ConnectionErrorKind, CreateError, Disposition, Endpoint, Feature, Now, Op, OpError,
    OpId, Platform, Provider, Readiness, Redelivery, Registration, Slot, Submit, SystemPlatform, Transport,
    TransportEvent, Unsupported, limits,
};
use iothub_emulator::{Hub, LocalLogin, LocalLoginError, Who};

use open::Open;

/// The name that users know, in errors too.
const NAME: &str = "local";

/// How many outcomes may wait for the engine before telemetry is held back. A transport with a network counts here what is
/// on the wire and unacknowledged. Every lane has a bound of its own, so that a full one delays no other.
const WINDOW: usize = 100;

/// How many events are taken from the hub in one slice: `do_work` returns soon, whatever the hub has to say.
const SLICE: usize = 64;

/// What an application names when it wants this transport: `DeviceClient::builder(..).build(&Local::new(hub))`.
pub(crate) struct Local {
    hub: Hub,
}

impl Local {
    /// The transport to this hub.
    pub(crate) fn new(hub: Hub) -> Self {
        Self { hub }
    }
}

impl Provider for Local {
    fn transport(&self, endpoint: &Endpoint) -> Result<Box<dyn Transport>, CreateError> {
        // What cannot work is refused at creation, where the application can still tell who is to blame.
        if endpoint.certificate.is_some() {
            let detail = "without TLS nobody can prove to have its key: use a connection string with a key".to_owned();
            return Err(CreateError::Certificate { what: "certificate", detail });
        }
        Ok(Box::new(LocalTransport::new(self.hub.clone(), endpoint)))
    }

    /// The clock and the poller. The hub wakes the client by the platform's waker, so the usual one fits.
    fn platform(&self) -> Result<Box<dyn Platform>, CreateError> {
        Ok(Box::new(SystemPlatform::new()?))
    }
}

struct LocalTransport {
    capabilities: Capabilities,
    hub: Hub,
    host: Arc<str>,
    port: u16,
    registered: Option<(Slot, Session)>,
    next_slot: u32,
}

/// The registered device or module, connected or not.
struct Session {
    device: Registration,
    /// What it wants to receive, as the engine said last.
    wanted: Vec<Feature>,
    /// `None` while there is no connection.
    open: Option<Open>,
    /// Counts the connections that the hub accepted: answers for an earlier one are recognised by it.
    generation: u32,
    /// What the engine has not collected yet.
    events: VecDeque<TransportEvent>,
}

impl LocalTransport {
    fn new(hub: Hub, endpoint: &Endpoint) -> Self {
        let mut capabilities = Capabilities::new(NAME);
        capabilities.features =
            &[Feature::CloudToDevice, Feature::Twin, Feature::DesiredProperties, Feature::Methods, Feature::Inputs];
        capabilities.dispositions = &[Disposition::Accept, Disposition::Reject, Disposition::Abandon];
        capabilities.redelivery = Redelivery::AtOnce;
        let host = endpoint.host.as_str().into();
        // There are no ports here; one that the connection string names is shown in errors all the same.
        let port = endpoint.port.unwrap_or_default();
        Self { capabilities, hub, host, port, registered: None, next_slot: 0 }
    }

    fn session(&mut self, slot: Slot) -> Option<&mut Session> {
        self.registered.as_mut().filter(|(registered, _)| *registered == slot).map(|(_, session)| session)
    }
}

impl Transport for LocalTransport {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn peer(&self) -> (Arc<str>, u16) {
        (self.host.clone(), self.port)
    }

    /// Asked before the engine queues something: what the transport cannot carry is handed back to the application.
    fn check(&self, op: &Op<'_>) -> Result<(), Unsupported> {
        let Op::Telemetry(message) = op else { return Ok(()) };
        let (size, limit) = (message.size(), limits::MAX_TELEMETRY_SIZE);
        if size > limit {
            return Err(Unsupported::MessageTooLarge { size, limit });
        }
        message::to_hub(message).map(drop)
    }

    fn register(&mut self, device: Registration) -> Result<Slot, CreateError> {
        if self.registered.is_some() {
            let detail = "a device is registered already: create another client".to_owned();
            return Err(CreateError::Register { transport: NAME, detail });
        }
        let slot = Slot(self.next_slot);
        self.next_slot = self.next_slot.wrapping_add(1);
        self.registered = Some((slot, Session::new(device)));
        Ok(slot)
    }

    fn unregister(&mut self, slot: Slot) {
        if self.session(slot).is_some() {
            self.registered = None;
        }
    }

    /// Only notes it: applications call this outside of `do_work`, and nothing goes to the hub there. The next slice, or the
    /// next operation if that comes first, tells the hub.
    fn subscribe(&mut self, slot: Slot, wanted: &[Feature]) {
        if let Some(session) = self.session(slot) {
            session.wanted = wanted.to_vec();
        }
    }

    fn connect(&mut self, slot: Slot, token: Option<&str>, _: Now) {
        let (hub, host, port) = (self.hub.clone(), self.host.clone(), self.port);
        if let Some(session) = self.session(slot)
            && let Err(kind) = session.connect(&hub, token)
        {
            session.events.push_back(TransportEvent::Down(ConnectionError::new(host, port, kind)));
        }
    }

    fn disconnect(&mut self, slot: Slot, _: Now) {
        if let Some(session) = self.session(slot) {
            if let Some(open) = session.open.take() {
                open.disconnect();
            }
            session.events.push_back(TransportEvent::Disconnected);
        }
    }

    fn submit(&mut self, slot: Slot, id: OpId, op: Op<'_>, _: Now) -> Submit {
        match self.session(slot) {
            Some(session) => session.submit(id, op),
            None => Submit::Full,
        }
    }

    /// The engine has given the operation up. What the hub says about it from now on is for nobody.
    fn forget(&mut self, slot: Slot, id: OpId) {
        if let Some(session) = self.session(slot) {
            session.events.retain(|event| !matches!(event, TransportEvent::Done { id: done, .. } if *done == id));
            if let Some(open) = &mut session.open {
                open.forget(id);
            }
        }
    }

    fn do_work(&mut self, _: Now) {
        let (host, port) = (self.host.clone(), self.port);
        if let Some((_, session)) = &mut self.registered
            && let Err(kind) = session.take_from_hub()
        {
            session.events.push_back(TransportEvent::Down(ConnectionError::new(host, port, kind)));
        }
    }

    fn poll_event(&mut self, slot: Slot) -> Option<TransportEvent> {
        self.session(slot)?.events.pop_front()
    }

    /// A hub that has something to say wakes the client, so a time is named only for what is left to do here.
    fn next_deadline(&self) -> Option<Instant> {
        let (_, session) = self.registered.as_ref()?;
        session.has_work().then(Instant::now)
    }

    /// Nothing here has a descriptor.
    fn readiness(&self, _: &mut Vec<Readiness>) {}
}

impl Session {
    fn new(device: Registration) -> Self {
        Self { device, wanted: Vec::new(), open: None, generation: 0, events: VecDeque::new() }
    }

    /// Connects, and tells `Connected` and `Ready`, or gives the reason why not.
    fn connect(&mut self, hub: &Hub, token: Option<&str>) -> Result<(), ConnectionErrorKind> {
        // What was before ends; the engine knows that everything submitted on it is lost.
        self.open = None;
        let identity = &self.device.identity;
        let who = match &identity.module_id {
            Some(module) => Who::from((identity.device_id.as_str(), module.as_str())),
            None => Who::from(&identity.device_id),
        };
        let mut login = LocalLogin::new(who)
            // Subscriptions are cheap here, so none is left behind for a later program to stumble over.
            .clean_session(true)
            .client_type(&self.device.product_info);
        if let Some(token) = token {
            login = login.token(token);
        }
        if let Some(model) = &self.device.model_id {
            login = login.model_id(model);
        }
        let connection = hub.connect_local(login, &self.device.waker).map_err(|error| match error {
            LocalLoginError::Refused(_) => ConnectionErrorKind::NotAuthorized,
            LocalLoginError::Closed(_) => ConnectionErrorKind::ClosedByPeer,
            _ => ConnectionErrorKind::ServerUnavailable,
        })?;
        self.generation = self.generation.wrapping_add(1);
        let session_present = connection.session_present();
        let open = self.open.insert(Open::new(connection, self.generation));
        self.events.push_back(TransportEvent::Connected { session_present });
        open.subscribe(&self.wanted, &mut self.events);
        self.events.push_back(TransportEvent::Ready);
        Ok(())
    }

    fn submit(&mut self, id: OpId, op: Op<'_>) -> Submit {
        let waiting = self.events.len();
        match (&mut self.open, op) {
            // An answer belongs to the connection that its question came on, and to no other.
            (_, Op::Settle { delivery, .. } | Op::MethodResponse { delivery, .. })
                if delivery.generation != self.generation =>
            {
                Submit::Refused(OpError::Stale)
            }
            (None, Op::Settle { .. } | Op::MethodResponse { .. }) => Submit::Refused(OpError::Stale),
            (None, _) => Submit::Full,
            (Some(_), Op::Telemetry(_)) if waiting >= WINDOW => Submit::Full,
            (Some(open), op) => {
                // A request for the twin is answered only to who is subscribed to answers.
                open.subscribe(&self.wanted, &mut self.events);
                open.submit(id, op, &mut self.events)
            }
        }
    }

    /// Tells the hub what is wanted now, and takes what it has. The error is the end of the connection.
    fn take_from_hub(&mut self) -> Result<(), ConnectionErrorKind> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.subscribe(&self.wanted, &mut self.events);
        let alive = open.take(SLICE, &mut self.events);
        if alive.is_err() {
            self.open = None;
        }
        alive
    }

    fn has_work(&self) -> bool {
        let open_has = self.open.as_ref().is_some_and(|open| open.has_more() || !open.is_subscribed(&self.wanted));
        !self.events.is_empty() || open_has
    }
}
