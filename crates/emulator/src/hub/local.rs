//! What the hub keeps for connections within its own process, which have no head that watches over them: when their token ends, and why they ended.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::activity::{ConnectionId, DisconnectReason};
use crate::clock::Now;
use crate::hub::HubState;
use crate::hub::c2d::Due;

/// One local connection, from its beginning until its holder is gone.
#[derive(Debug)]
struct Seat {
    /// When the token and the hub's grace are over.
    expires: Option<SystemTime>,
    ended: Option<DisconnectReason>,
}

#[derive(Debug, Default)]
pub(super) struct Seats(BTreeMap<ConnectionId, Seat>);

impl Seats {
    pub(super) fn due(&self, due: &mut Due) {
        self.live().for_each(|(_, expires)| due.at_wall(expires));
    }

    pub(super) fn ended(&mut self, connection: ConnectionId, why: &DisconnectReason) {
        if let Some(seat) = self.0.get_mut(&connection) {
            seat.ended = Some(why.clone());
        }
    }

    /// Those that have not ended and have a token.
    fn live(&self) -> impl Iterator<Item = (ConnectionId, SystemTime)> {
        let open = self.0.iter().filter(|(_, seat)| seat.ended.is_none());
        open.filter_map(|(connection, seat)| Some((*connection, seat.expires?)))
    }
}

impl HubState {
    /// A local connection begins.
    pub(crate) fn take_seat(&mut self, connection: ConnectionId, expires: Option<SystemTime>) {
        self.seats.0.insert(connection, Seat { expires, ended: None });
        self.find_due();
    }

    /// Its holder is gone, and with it the connection.
    pub(crate) fn leave_seat(&mut self, connection: ConnectionId, why: DisconnectReason, now: Now) {
        self.end(connection, why, now);
        self.seats.0.remove(&connection);
        self.find_due();
    }

    /// Why a local connection ended; `None` while it is open.
    pub(crate) fn why_ended(&self, connection: ConnectionId) -> Option<&DisconnectReason> {
        self.seats.0.get(&connection)?.ended.as_ref()
    }

    pub(super) fn end_expired_seats(&mut self, now: Now) {
        let expired = self.seats.live().filter(|(_, expires)| *expires <= now.wall);
        let expired: Vec<ConnectionId> = expired.map(|(connection, _)| connection).collect();
        for connection in expired {
            self.end(connection, DisconnectReason::TokenExpired, now);
        }
    }
}
