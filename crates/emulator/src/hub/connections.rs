//! Which connections are open, whose they are, and what begins and ends with them: sessions, wills, locks.

use std::collections::BTreeMap;

use crate::activity::{Activity, ConnectionId, DisconnectReason};
use crate::clock::Now;
use crate::hub::registry::Identity;
use crate::hub::routing::Taken;
use crate::hub::session::{Feature, Session, Subscription};
use crate::hub::telemetry::{Draft, Sender};
use crate::hub::{HubState, holds};

/// What an accepted CONNECT brings.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) sender: Sender,
    pub(crate) clean_session: bool,
    /// The last will, or why it cannot be published.
    pub(crate) will: Option<Result<Draft, String>>,
}

/// The open connections. An identity has at most one.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: BTreeMap<ConnectionId, Opening>,
    by_identity: BTreeMap<Identity, ConnectionId>,
}

impl Connections {
    pub(crate) fn get(&self, connection: ConnectionId) -> Option<&Opening> {
        self.open.get(&connection)
    }

    pub(crate) fn of(&self, identity: &Identity) -> Option<ConnectionId> {
        self.by_identity.get(identity).copied()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Identity, ConnectionId)> {
        self.by_identity.iter().map(|(identity, connection)| (identity, *connection))
    }
}

impl HubState {
    /// Opens a connection and says whether a stored session is present. An older connection of the identity ends first (docs/hub-over-mqtt.md 7; E7).
    pub(crate) fn open(&mut self, connection: ConnectionId, opening: Opening, forget_session: bool, now: Now) -> bool {
        let identity = opening.sender.identity.clone();
        if let Some(older) = self.connections.of(&identity) {
            self.end(older, DisconnectReason::Replaced { by: connection }, now);
        }
        if opening.clean_session || forget_session {
            self.sessions.remove(&identity);
        }
        let session_present = self.sessions.contains_key(&identity);
        self.sessions.entry(identity.clone()).or_default();
        self.connections.by_identity.insert(identity, connection);
        self.connections.open.insert(connection, opening);
        session_present
    }

    pub(crate) fn is_open(&self, connection: ConnectionId) -> bool {
        self.connections.get(connection).is_some()
    }

    pub(crate) fn connected(&self, identity: &Identity) -> Option<ConnectionId> {
        self.connections.of(identity)
    }

    pub(crate) fn sender(&self, connection: ConnectionId) -> Option<&Sender> {
        self.connections.get(connection).map(|opening| &opening.sender)
    }

    /// Ends a connection: its will is published unless the device said goodbye, its locks end, a clean session is forgotten. The head closes when it is woken.
    pub(crate) fn end(&mut self, connection: ConnectionId, why: DisconnectReason, now: Now) {
        let Some(opening) = self.connections.open.remove(&connection) else { return };
        let identity = opening.sender.identity.clone();
        self.connections.by_identity.remove(&identity);
        self.outbox.forget(connection);
        if !matches!(why, DisconnectReason::ByDevice | DisconnectReason::HubStopped) {
            self.publish_will(connection, &opening, now);
        }
        if opening.clean_session {
            self.sessions.remove(&identity);
        }
        self.note(&identity, Activity::Disconnected { at: now.wall, connection, why });
        self.release_locks(&identity, connection, now);
        self.woken.insert(connection);
    }

    /// Ends the connections of a device and its modules.
    pub(crate) fn end_all_of(&mut self, device: &str, why: &DisconnectReason, now: Now) {
        let theirs: Vec<ConnectionId> = self
            .connections
            .all()
            .filter(|(identity, _)| identity.device == device)
            .map(|(_, connection)| connection)
            .collect();
        for connection in theirs {
            self.end(connection, why.clone(), now);
        }
    }

    /// Ends every connection.
    pub(crate) fn end_all(&mut self, why: &DisconnectReason, now: Now) {
        let all: Vec<ConnectionId> = self.connections.open.keys().copied().collect();
        for connection in all {
            self.end(connection, why.clone(), now);
        }
    }

    /// Adds to the connection's session. False: its limit is reached.
    pub(crate) fn subscribe(&mut self, connection: ConnectionId, filter: &str, feature: Feature, qos: u8) -> bool {
        let (created, limit) = (self.next_event(), self.config.subscription_limit);
        self.session_mut(connection).is_some_and(|session| session.subscribe(filter, feature, qos, created, limit))
    }

    pub(crate) fn unsubscribe(&mut self, connection: ConnectionId, filter: &str) {
        if let Some(session) = self.session_mut(connection) {
            session.unsubscribe(filter);
        }
    }

    /// The connection's subscription to this feature.
    pub(crate) fn subscription(&self, connection: ConnectionId, feature: Feature) -> Option<&Subscription> {
        self.session(connection)?.wants(feature)
    }

    pub(super) fn session(&self, connection: ConnectionId) -> Option<&Session> {
        self.sessions.get(&self.sender(connection)?.identity)
    }

    fn session_mut(&mut self, connection: ConnectionId) -> Option<&mut Session> {
        let identity = &self.connections.get(connection)?.sender.identity;
        self.sessions.get_mut(identity)
    }

    fn publish_will(&mut self, connection: ConnectionId, opening: &Opening, now: Now) {
        let activity = match &opening.will {
            None => return,
            Some(Ok(draft)) => match self.take_from(&opening.sender, draft.clone(), connection, now) {
                Ok(Taken { sequence_number, .. }) => {
                    Activity::WillPublished { at: now.wall, connection, sequence_number }
                }
                Err(why) => Activity::WillDropped { at: now.wall, connection, why: format!("{why:?}") },
            },
            Some(Err(why)) => Activity::WillDropped { at: now.wall, connection, why: why.clone() },
        };
        self.note(&opening.sender.identity, activity);
    }

    fn release_locks(&mut self, identity: &Identity, connection: ConnectionId, now: Now) {
        let (releases, counts, max) =
            (self.config.release_on_disconnect, self.config.count_redelivery, self.config.max_delivery_count);
        let holds = holds(self.config.lock_expiry, &self.connections);
        let Some(queue) = self.queues.get_mut(identity) else { return };
        let mut ended = if releases { queue.release(connection, counts, max) } else { Vec::new() };
        ended.extend(queue.advance(now, holds));
        self.record_ended(identity, ended, now);
        self.find_due();
    }
}
