//! Planned renewal: replacing a token that is about to expire, on the connection that there is or, where the transport
//! cannot, together with the connection, so that nothing is lost or sent twice.

use std::task::Poll;
use std::time::SystemTime;

use super::outbox::{Due, Outbox};
use super::tokens::{NoToken, TokenDuty};
use crate::connection_error::{ConnectionError, ConnectionErrorKind};
use crate::event::Event;
use crate::platform::Now;
use crate::transport::Renewal;

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
        if self.renewal_wanted && self.renews_in_place() {
            self.renew_in_place(now);
        } else if self.renewal_wanted
            && let Some(change) = self.connection.renewal_starts(self.tokens.drain_time(now.wall), now.mono)
        {
            self.renewal_wanted = false;
            self.due.push_back(Due::Event(Event::Status(change)));
        }
        self.leave_when_drained(now);
    }

    fn renews_in_place(&self) -> bool {
        self.transport.capabilities().renewal == Renewal::InPlace
            && self.connection.is_online()
            && self.tokens.can_renew_in_place()
    }

    /// Puts another token in place, or goes on to wait for it.
    fn renew_in_place(&mut self, now: Now) {
        let token = match self.tokens.poll_for_renewal(now, &self.platform.waker()) {
            Poll::Pending => return,
            Poll::Ready(Ok(token)) => token,
            Poll::Ready(Err(NoToken::Expired { at })) => return self.stop_expired(at, now),
            Poll::Ready(Err(NoToken::NotSigned { detail })) => {
                tracing::warn!(detail, "no token to renew with");
                self.renewal_wanted = false;
                return self.tokens.renewal_failed(now.wall);
            }
        };
        self.renewal_wanted = false;
        if let Some(token) = token {
            self.transport.renew(self.slot, token.expose(), now);
            self.stats.renewals += 1;
            self.awaits_slice = true;
        }
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
