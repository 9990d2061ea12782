//! The state of the hub and its rules. Pure: no socket, no clock, no thread; the time is an argument, and whom to wake is an answer.

mod access;
pub(crate) mod c2d;
mod connections;
pub(crate) mod events;
mod feedback;
mod log;
mod messages;
mod methods;
pub(crate) mod outbox;
pub(crate) mod registry;
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
use crate::faults::{Fault, FaultId, FaultQueue};
use crate::record::{C2dOutcome, TelemetryRecord};

use c2d::{C2dQueue, Due};
use connections::Connections;
pub(crate) use connections::{Carried, Opening};
use feedback::Feedback;
use log::CappedLog;
use methods::Methods;
use outbox::Outbox;
use registry::{Identity, Registry};
use session::Session;
use twin::Twin;

/// The key of activities on connections whose device is not known.
pub(crate) const NO_DEVICE: &str = "";

/// Everything that the hub knows.
#[derive(Debug)]
pub(crate) struct HubState {
    pub(crate) config: Config,
    pub(crate) registry: Registry,
    pub(crate) faults: FaultQueue,
    sessions: BTreeMap<Identity, Session>,
    connections: Connections,
    queues: BTreeMap<String, C2dQueue>,
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

    /// Records what happened on a device's connection, or with [`NO_DEVICE`] on one whose device is not known.
    pub(crate) fn note(&mut self, device: &str, activity: Activity) {
        self.activity.push(device, activity);
    }

    pub(crate) fn activity(&self, device: &str) -> impl Iterator<Item = &Activity> {
        self.activity.of(device)
    }

    /// Deletes a device with everything that belongs to it.
    pub(crate) fn delete_device(&mut self, id: &str, now: Now) -> Result<(), HubError> {
        if self.registry.get(id).is_none() {
            return Err(registry::not_found(id));
        }
        self.end_all_of(id, &DisconnectReason::DeviceDeleted, now);
        self.purge(id, now);
        self.registry.remove(id)?;
        self.queues.remove(id);
        self.twins.retain(|identity, _| identity.device != id);
        self.methods.device_deleted(id);
        self.find_due();
        self.sessions.retain(|identity, _| identity.device != id);
        Ok(())
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

    /// Queues a fault; the connections that it may concern look at it at once.
    pub(crate) fn inject(&mut self, device: Option<String>, fault: Fault) -> FaultId {
        let concerned =
            self.connections.all().filter(|(identity, _)| device.as_ref().is_none_or(|id| identity.device == *id));
        let carriers: Vec<_> = concerned.map(|(_, connection)| self.carrier(connection)).collect();
        self.woken.extend(carriers);
        self.faults.push(device, fault)
    }

    /// The server ends: every connection is closed, and no method call waits any more.
    pub(crate) fn stop(&mut self, now: Now) {
        self.end_all(&DisconnectReason::HubStopped, now);
        self.methods.stop();
        self.find_due();
    }

    /// Does what is due: ends of locks, times to live, feedback batches, method calls.
    pub(crate) fn advance(&mut self, now: Now) {
        if !self.due.reached(now) {
            return;
        }
        let devices: Vec<String> = self.queues.keys().cloned().collect();
        for device in devices {
            let Some(queue) = self.queues.get_mut(&device) else { continue };
            let holds = holds(self.config.lock_expiry, &self.connections);
            let ended = queue.advance(now, self.config.max_delivery_count, holds);
            let waits = queue.has_waiting();
            self.record_ended(&device, ended, now);
            if waits {
                self.wake(&Identity::device(&device));
            }
        }
        self.feedback.advance(now);
        self.wake_listeners();
        self.methods.advance(now);
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
        self.due = due;
    }

    fn wake(&mut self, identity: &Identity) {
        self.woken.extend(self.connections.of(identity).map(|connection| self.carrier(connection)));
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
