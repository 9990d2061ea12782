//! What the hub has for a connected device besides messages: desired patches and method requests. They are for one connection and end with it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::activity::ConnectionId;
use crate::hub::HubState;
use crate::hub::registry::Identity;
use crate::hub::session::Feature;
use crate::hub::twin::DesiredChange;

/// Something to be sent once, now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Letter {
    Desired(DesiredChange),
    Method { name: String, rid: String, body: Bytes },
}

/// The letters that no head has fetched yet.
#[derive(Debug, Default)]
pub(super) struct Outbox(BTreeMap<ConnectionId, VecDeque<Letter>>);

impl Outbox {
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.0.remove(&connection);
    }
}

impl HubState {
    /// The identity's connection, if it is subscribed to this.
    pub(super) fn listening(&self, identity: &Identity, feature: Feature) -> Option<ConnectionId> {
        let connection = self.connected(identity)?;
        self.subscription(connection, feature).map(|_| connection)
    }

    pub(super) fn post(&mut self, connection: ConnectionId, letter: Letter) {
        self.outbox.0.entry(connection).or_default().push_back(letter);
        self.woken.insert(self.carrier(connection));
    }

    /// The next letter for this connection.
    pub(crate) fn take_letter(&mut self, connection: ConnectionId) -> Option<Letter> {
        let letters = self.outbox.0.get_mut(&connection)?;
        let letter = letters.pop_front();
        if letters.is_empty() {
            self.outbox.forget(connection);
        }
        letter
    }
}
