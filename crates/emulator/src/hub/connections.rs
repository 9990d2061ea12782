//! Which connections are open, whose they are, and what begins and ends with them: sessions, wills, locks.

use std::collections::BTreeMap;

use crate::activity::{Activity, ConnectionId, DisconnectReason};
use crate::clock::Now;
use crate::config::BadFilter;
use crate::hub::registry::Identity;
use crate::hub::routing::Taken;
use crate::hub::session::{Feature, REFUSED, Session, Subscription};
use crate::hub::telemetry::{Draft, Sender};
use crate::hub::{HubState, holds};

/// What an accepted CONNECT brings.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) sender: Sender,
    pub(crate) clean_session: bool,
    /// The last will, or why it cannot be published.
    pub(crate) will: Option<Result<Draft, String>>,
    /// It is one of the identities on an AMQP connection.
    pub(crate) carried: Option<Carried>,
}

/// An AMQP connection carries any number of identities. For the hub each of them is a connection of its own, which comes with its first link and goes
/// with its last.
#[derive(Debug)]
pub(crate) struct Carried {
    /// The connection that carries it: its head is woken.
    pub(crate) by: ConnectionId,
    /// What its links ask for. It ends with them, and has nothing to do with a stored session.
    pub(crate) session: Session,
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
        let mut session_present = false;
        if opening.carried.is_none() {
            if opening.clean_session || forget_session {
                self.sessions.remove(&identity);
            }
            session_present = self.sessions.contains_key(&identity);
            self.sessions.entry(identity.clone()).or_default();
        }
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
        if opening.clean_session && opening.carried.is_none() {
            self.sessions.remove(&identity);
        }
        self.seats.ended(connection, &why);
        self.note(&identity, Activity::Disconnected { at: now.wall, connection, why });
        self.release_locks(&identity, connection, now);
        self.stir(connection, opening.carried.map_or(connection, |carried| carried.by), &identity);
    }

    /// The connection whose head serves this one.
    pub(super) fn carrier(&self, connection: ConnectionId) -> ConnectionId {
        let carried = self.connections.get(connection).and_then(|opening| opening.carried.as_ref());
        carried.map_or(connection, |carried| carried.by)
    }

    pub(super) fn is_carried(&self, connection: ConnectionId) -> bool {
        self.connections.get(connection).is_some_and(|opening| opening.carried.is_some())
    }

    /// What the device says of its model, if it has not said so yet.
    pub(crate) fn set_model_id(&mut self, connection: ConnectionId, model_id: &str) {
        if let Some(opening) = self.connections.open.get_mut(&connection) {
            opening.sender.model_id.get_or_insert_with(|| model_id.to_owned());
        }
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

    /// Grants a filter: the code for SUBACK, or why the connection ends. `feature` is what it asks for; `None` if the hub does not know it.
    pub(crate) fn grant(
        &mut self,
        connection: ConnectionId,
        filter: &str,
        feature: Option<Feature>,
        qos: u8,
    ) -> Result<u8, DisconnectReason> {
        let reaction = self.config.bad_filter;
        let feature = match (feature, reaction) {
            (Some(feature), _) => feature,
            (None, BadFilter::Ignore) => Feature::Nothing,
            (None, BadFilter::SubackFailure) => return Ok(REFUSED),
            (None, BadFilter::Close) => return Err(DisconnectReason::UnknownFilter(filter.to_owned())),
        };
        match reaction {
            _ if self.subscribe(connection, filter, feature, qos) => Ok(qos),
            BadFilter::Close => Err(DisconnectReason::TooManySubscriptions { limit: self.config.subscription_limit }),
            BadFilter::SubackFailure | BadFilter::Ignore => Ok(REFUSED),
        }
    }

    /// Adds to the connection's session. False: its limit is reached.
    pub(super) fn subscribe(&mut self, connection: ConnectionId, filter: &str, feature: Feature, qos: u8) -> bool {
        let (created, limit) = (self.next_event(), self.config.subscription_limit);
        self.session_mut(connection).is_some_and(|session| session.subscribe(filter, feature, qos, created, limit))
    }

    /// Adds what an AMQP link is there for.
    pub(crate) fn subscribe_link(&mut self, connection: ConnectionId, feature: Feature) {
        let created = self.next_event();
        if let Some(session) = self.session_mut(connection) {
            // It settles what it is given, as QoS 1 does. There are not more links than features.
            session.subscribe(&format!("{feature:?}"), feature, 1, created, usize::MAX);
        }
    }

    /// The AMQP link for this is gone.
    pub(crate) fn unsubscribe_link(&mut self, connection: ConnectionId, feature: Feature) {
        self.unsubscribe(connection, &format!("{feature:?}"));
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
        let opening = self.connections.get(connection)?;
        match &opening.carried {
            Some(carried) => Some(&carried.session),
            None => self.sessions.get(&opening.sender.identity),
        }
    }

    fn session_mut(&mut self, connection: ConnectionId) -> Option<&mut Session> {
        let opening = self.connections.open.get_mut(&connection)?;
        match &mut opening.carried {
            Some(carried) => Some(&mut carried.session),
            None => self.sessions.get_mut(&opening.sender.identity),
        }
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
        let (releases, max) = (self.config.release_on_disconnect, self.config.max_delivery_count);
        let holds = holds(self.config.lock_expiry, &self.connections);
        let Some(queue) = self.queues.get_mut(identity) else { return };
        let mut ended = if releases { queue.release(connection, max) } else { Vec::new() };
        ended.extend(queue.advance(now, max, holds));
        self.record_ended(identity, ended, now);
        self.find_due();
    }
}
