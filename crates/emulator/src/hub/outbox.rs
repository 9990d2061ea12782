//! What the hub has for a connected device besides messages: desired patches and method requests. They are for one connection and end with it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::activity::{ConnectionId, DisconnectReason};
use crate::clock::Now;
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

/// The most that may wait for a device that does not read, in bytes: far more than a device is ever sent in one go.
pub(crate) const MAX_PENDING: usize = 32 * 1024 * 1024;
/// What something that waits counts beside its content, in bytes.
pub(crate) const OVERHEAD: usize = 256;

impl Letter {
    /// About how much memory it takes, in bytes.
    fn size(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Desired(change) => change.size(),
                Self::Method { name, rid, body } => name.len() + rid.len() + body.len(),
            }
    }
}

/// The letters that no head has fetched yet.
#[derive(Debug, Default)]
pub(super) struct Outbox(BTreeMap<ConnectionId, Tray>);

#[derive(Debug, Default)]
struct Tray {
    letters: VecDeque<Letter>,
    size: usize,
}

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

    pub(super) fn post(&mut self, connection: ConnectionId, letter: Letter, now: Now) {
        let tray = self.outbox.0.entry(connection).or_default();
        tray.size += letter.size();
        tray.letters.push_back(letter);
        let pending = tray.size;
        if let Some(identity) = self.sender(connection).map(|sender| sender.identity.clone()) {
            self.stir(connection, self.carrier(connection), &identity);
        }
        if pending > MAX_PENDING {
            self.end(connection, DisconnectReason::DeviceDoesNotRead { pending }, now);
        }
    }

    /// The next letter for this connection.
    pub(crate) fn take_letter(&mut self, connection: ConnectionId) -> Option<Letter> {
        let tray = self.outbox.0.get_mut(&connection)?;
        let letter = tray.letters.pop_front();
        tray.size -= letter.as_ref().map_or(0, Letter::size);
        if tray.letters.is_empty() {
            self.outbox.forget(connection);
        }
        letter
    }
}
