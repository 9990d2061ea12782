//! The state of the hub and its rules. Pure: no socket, no clock, no thread; the time is an argument, and whom to wake is an answer.

mod access;
pub(crate) mod c2d;
mod connections;
pub(crate) mod events;
mod faults;
mod feedback;
pub(crate) mod local;
mod log;
mod messages;
mod methods;
pub(crate) mod outbox;
pub(crate) mod registry;
pub(crate) mod routing;
pub(crate) mod session;
pub(crate) mod telemetry;
#[cfg(test)]
mod tests;
pub(crate) mod twin;
mod twins;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::activity::{Activity, ConnectionId, DisconnectReason};
use crate::clock::Now;
use crate::config::{Config, LockExpiry};
use crate::device::DeviceAuth;
use crate::error::HubError;
use crate::faults::FaultQueue;
use crate::record::{C2dOutcome, TelemetryRecord};

use c2d::{C2dQueue, Due};
use connections::Connections;
pub(crate) use connections::{Carried, Opening};
use feedback::Feedback;
use local::Seats;
use log::CappedLog;
use methods::Methods;
use outbox::Outbox;
use registry::{Identity, Registry};
use session::Session;
use twin::Twin;

/// Whose the activities on connections are that never said whose they are.
pub(crate) static NOBODY: Identity = Identity { device: String::new(), module: None };

/// Everything that the hub knows.
#[derive(Debug)]
pub(crate) struct HubState {
    pub(crate) config: Config,
    pub(crate) registry: Registry,
    pub(crate) faults: FaultQueue,
    sessions: BTreeMap<Identity, Session>,
    connections: Connections,
    seats: Seats,
    /// Cloud-to-device messages of devices, input messages of modules.
    queues: BTreeMap<Identity, C2dQueue>,
    twins: BTreeMap<Identity, Twin>,
    methods: Methods,
    outbox: Outbox,
    outcomes: CappedLog<C2dOutcome>,
    feedback: Feedback,
    readers: events::Readers,
    telemetry: CappedLog<TelemetryRecord>,
    activity: CappedLog<Activity>,
    last_telemetry: u64,
    last_event: u64,
    last_connection: u64,
    due: Due,
    woken: BTreeSet<ConnectionId>,
    /// By the connection that carries them, the identities for which there may be something: its head need not look at all of them.
    stirred: BTreeMap<ConnectionId, BTreeSet<Identity>>,
}

impl HubState {
    pub(crate) fn new(config: Config) -> Self {
        let limit = config.log_limit;
        Self {
            config,
            registry: Registry::default(),
            faults: FaultQueue::default(),
            sessions: BTreeMap::new(),
            connections: Connections::default(),
            seats: Seats::default(),
            queues: BTreeMap::new(),
            twins: BTreeMap::new(),
            methods: Methods::default(),
            outbox: Outbox::default(),
            outcomes: CappedLog::new(limit),
            feedback: Feedback::new(limit),
            readers: events::Readers::default(),
            telemetry: CappedLog::new(limit),
            activity: CappedLog::new(limit),
            last_telemetry: 0,
            last_event: 0,
            last_connection: 0,
            due: Due::default(),
            woken: BTreeSet::new(),
            stirred: BTreeMap::new(),
        }
    }

    /// A name for a new connection.
    pub(crate) fn next_connection(&mut self) -> ConnectionId {
        self.last_connection += 1;
        ConnectionId(self.last_connection)
    }

    /// The connections whose heads have something to do, each named once.
    pub(crate) fn take_woken(&mut self) -> BTreeSet<ConnectionId> {
        std::mem::take(&mut self.woken)
    }

    /// Records what happened on an identity's connection, or with [`NOBODY`] on one whose identity is not known.
    pub(crate) fn note(&mut self, identity: &Identity, activity: Activity) {
        self.activity.push(identity, activity);
    }

    pub(crate) fn activity(&self, identity: &Identity) -> impl Iterator<Item = &Activity> {
        self.activity.of(identity)
    }

    /// Deletes a device with its modules and everything that belongs to them.
    pub(crate) fn delete_device(&mut self, id: &str, now: Now) -> Result<(), HubError> {
        let Some(device) = self.registry.get(id) else { return Err(registry::not_found(&Identity::device(id))) };
        let modules: Vec<String> = device.modules.keys().cloned().collect();
        self.end_all_of(id, &DisconnectReason::DeviceDeleted, now);
        for module in modules {
            self.forget(&Identity::module(id, &module), now);
        }
        self.forget(&Identity::device(id), now);
        self.registry.remove(id)?;
        Ok(())
    }

    /// Deletes a module with everything that belongs to it.
    pub(crate) fn delete_module(&mut self, device: &str, module: &str, now: Now) -> Result<(), HubError> {
        let identity = Identity::module(device, module);
        if !self.registry.knows(&identity) {
            return Err(registry::not_found(&identity));
        }
        if let Some(connection) = self.connected(&identity) {
            self.end(connection, DisconnectReason::ModuleDeleted, now);
        }
        self.forget(&identity, now);
        self.registry.remove_module(device, module)
    }

    /// Everything of an identity but its registry entry ends.
    fn forget(&mut self, identity: &Identity, now: Now) {
        self.purge(identity, now);
        self.queues.remove(identity);
        self.twins.remove(identity);
        self.methods.identity_deleted(identity);
        self.sessions.remove(identity);
        self.find_due();
    }

    /// Enables or disables a device; disabling closes its connections (docs/hub-over-mqtt.md 7, inferred).
    pub(crate) fn set_enabled(&mut self, id: &str, enabled: bool, now: Now) -> Result<(), HubError> {
        self.registry.set_enabled(id, enabled)?;
        if !enabled {
            self.end_all_of(id, &DisconnectReason::DeviceDisabled, now);
        }
        Ok(())
    }

    pub(crate) fn create_device(&mut self, id: &str, auth: DeviceAuth, now: Now) -> Result<(), HubError> {
        self.registry.create(id, auth, crate::clock::unix_seconds(now.wall))?;
        self.twins.insert(Identity::device(id), Twin::new(now));
        Ok(())
    }

    pub(crate) fn create_module(
        &mut self,
        device: &str,
        module: &str,
        auth: DeviceAuth,
        now: Now,
    ) -> Result<(), HubError> {
        self.registry.create_module(device, module, auth, crate::clock::unix_seconds(now.wall))?;
        self.twins.insert(Identity::module(device, module), Twin::new(now));
        Ok(())
    }

    /// The server ends: every connection is closed, and no method call waits any more.
    pub(crate) fn stop(&mut self, now: Now) {
        self.end_all(&DisconnectReason::HubStopped, now);
        self.methods.stop();
        self.find_due();
    }

    /// Whether the server has ended.
    pub(crate) fn is_stopped(&self) -> bool {
        self.methods.is_stopped()
    }

    /// Does what is due: ends of locks, times to live, feedback batches, method calls, tokens of local connections.
    pub(crate) fn advance(&mut self, now: Now) {
        if !self.due.reached(now) {
            return;
        }
        let identities: Vec<Identity> = self.queues.keys().cloned().collect();
        for identity in identities {
            let Some(queue) = self.queues.get_mut(&identity) else { continue };
            let holds = holds(self.config.lock_expiry, &self.connections);
            let ended = queue.advance(now, self.config.max_delivery_count, holds);
            let waits = queue.has_waiting();
            self.record_ended(&identity, ended, now);
            if waits {
                self.wake(&identity);
            }
        }
        self.feedback.advance(now);
        self.wake_listeners();
        self.methods.advance(now);
        self.end_expired_seats(now);
        self.find_due();
    }

    /// How long until [`advance`](Self::advance) has something to do, if time just passes.
    pub(crate) fn timeout(&self, now: Now) -> Option<Duration> {
        self.due.timeout(now)
    }

    /// When [`advance`](Self::advance) has something to do.
    pub(crate) fn due(&self) -> Due {
        self.due
    }

    fn find_due(&mut self) {
        let mut due = Due { elapsed: self.feedback.due(), wall: None };
        for queue in self.queues.values() {
            queue.due(&mut due, holds(self.config.lock_expiry, &self.connections));
        }
        self.methods.due(&mut due);
        self.seats.due(&mut due);
        self.due = due;
    }

    fn wake(&mut self, identity: &Identity) {
        if let Some(connection) = self.connections.of(identity) {
            let carrier = self.carrier(connection);
            self.stir(connection, carrier, identity);
        }
    }

    /// Wakes the head that serves this identity's connection.
    fn stir(&mut self, connection: ConnectionId, carrier: ConnectionId, identity: &Identity) {
        self.woken.insert(carrier);
        if carrier != connection {
            self.stirred.entry(carrier).or_default().insert(identity.clone());
        }
    }

    /// The identities that this connection carries and for which there may be something new.
    pub(crate) fn take_stirred(&mut self, carrier: ConnectionId) -> BTreeSet<Identity> {
        self.stirred.remove(&carrier).unwrap_or_default()
    }

    /// A number that nothing else has.
    pub(crate) fn next_event(&mut self) -> u64 {
        self.last_event += 1;
        self.last_event
    }
}

/// Whether a connection keeps its messages beyond their lock.
fn holds(reaction: LockExpiry, connections: &Connections) -> impl Fn(ConnectionId) -> bool {
    move |connection| reaction == LockExpiry::Hold && connections.get(connection).is_some()
}
