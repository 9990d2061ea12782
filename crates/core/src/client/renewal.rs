//! Planned renewal: replacing a connection whose token is about to expire, so that nothing is lost or sent twice.

use std::time::SystemTime;

use super::outbox::{Due, Outbox};
use super::tokens::TokenDuty;
use crate::connection_error::{ConnectionError, ConnectionErrorKind};
use crate::event::Event;
use crate::platform::Now;

impl<K> Outbox<K> {
    /// Does what the token asks for, and steps a renewal that has begun.
    pub(super) fn renew(&mut self, now: Now) {
        match self.tokens.duty(now.wall) {
            Some(TokenDuty::Renew) => self.renewal_wanted = true,
            Some(TokenDuty::Warn { expiry }) => {
                self.due.push_back(Due::Event(Event::TokenExpiring { at: expiry }));
            }
            Some(TokenDuty::Expire { expiry }) => return self.stop_expired(expiry, now),
            None => {}
        }
        if self.renewal_wanted
            && let Some(change) = self.connection.renewal_starts(self.tokens.drain_time(now.wall), now.mono)
        {
            self.renewal_wanted = false;
            self.due.push_back(Due::Event(Event::Status(change)));
        }
        self.leave_when_drained(now);
    }

    /// Ends the connection that is to be replaced as soon as nothing is under way, or its time is up.
    pub(super) fn leave_when_drained(&mut self, now: Now) {
        if self.connection.drain_until().is_some_and(|until| until <= now.mono || self.is_drained()) {
            self.connection.leaves();
            self.transport.disconnect(self.slot, now);
            self.awaits_slice = true;
        }
    }

    /// Whether nothing is under way that the old connection should bring to its end.
    fn is_drained(&self) -> bool {
        self.telemetry.in_flight() == 0
            && self.twin_requests.in_flight() == 0
            && self.twin_sync.request().is_none()
            && self.submitted_answers.is_empty()
            && self.waiting_answers.is_empty()
            && self.answers.open_methods() == 0
    }

    /// The transport has ended the connection in order.
    pub(super) fn disconnected(&mut self, now: Now) {
        self.release_submitted();
        if self.connection.left() {
            self.stats.renewals += 1;
            self.open_connection(now);
        }
    }

    fn stop_expired(&mut self, expiry: SystemTime, now: Now) {
        self.transport.disconnect(self.slot, now);
        self.release_submitted();
        self.stop_for_token(expiry);
    }

    /// A ready token has expired: the client stops until it is given another.
    pub(super) fn stop_for_token(&mut self, expired_at: SystemTime) {
        let (host, port) = self.transport.peer();
        let error = ConnectionError::new(host, port, ConnectionErrorKind::TokenExpired { at: expired_at });
        let change = self.connection.token_expired(error);
        self.due.push_back(Due::Event(Event::Status(change)));
    }
}
