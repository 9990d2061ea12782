//! The connection's life as the engine steers it: when to connect, and what each change means to the application.

use std::time::{Duration, Instant};

use crate::connection_error::{ConnectionError, ConnectionErrorKind};
use crate::retry::{Decision, Retry, RetryConfig};
use crate::status::{ConnectionState, ConnectionStatusReason, StatusChange};

/// Where the connection is. Each state holds what only it needs.
#[derive(Debug)]
enum Life {
    Idle,
    Connecting,
    Online {
        since: Instant,
        ready: bool,
    },
    /// A planned renewal: what is under way may end, nothing new begins.
    Draining {
        since: Instant,
        until: Instant,
    },
    /// A planned renewal: the transport says goodbye.
    Leaving {
        since: Instant,
    },
    /// A planned renewal: the new connection is being made.
    Renewing {
        since: Instant,
    },
    Waiting {
        until: Instant,
    },
    Stopped,
    Closed,
}

#[derive(Debug)]
pub(super) struct Connection {
    life: Life,
    retry: Retry,
}

impl Connection {
    pub(super) fn new(config: RetryConfig) -> Self {
        Self { life: Life::Idle, retry: Retry::new(config) }
    }

    pub(super) fn state(&self) -> ConnectionState {
        match self.life {
            Life::Idle => ConnectionState::Idle,
            Life::Connecting => ConnectionState::Connecting,
            Life::Online { ready: false, .. } => ConnectionState::Connected,
            Life::Online { ready: true, .. } => ConnectionState::Ready,
            Life::Draining { .. } | Life::Leaving { .. } | Life::Renewing { .. } => ConnectionState::Renewing,
            Life::Waiting { .. } => ConnectionState::Waiting,
            Life::Stopped => ConnectionState::Stopped,
            Life::Closed => ConnectionState::Closed,
        }
    }

    /// Whether new operations may be submitted.
    pub(super) fn is_online(&self) -> bool {
        matches!(self.life, Life::Online { .. })
    }

    /// Whether, in addition, every subscription has its answer.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.life, Life::Online { ready: true, .. })
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.life, Life::Closed)
    }

    /// Whether nothing will be sent any more without an explicit call.
    pub(super) fn has_given_up(&self) -> bool {
        matches!(self.life, Life::Stopped | Life::Closed)
    }

    pub(super) fn retry_config(&self) -> &RetryConfig {
        self.retry.config()
    }

    /// Replaces the policy; a client that waits or has stopped tries again at once.
    pub(super) fn set_retry(&mut self, config: RetryConfig) {
        self.retry = Retry::new(config);
        self.reconnect();
    }

    /// Changes parameters of the policy for the next failure.
    pub(super) fn adjust_retry(&mut self, config: RetryConfig) {
        self.retry.adjust(config);
    }

    /// Ends the waiting or the stop; the next attempt is due at once.
    pub(super) fn reconnect(&mut self) {
        if matches!(self.life, Life::Waiting { .. } | Life::Stopped) {
            self.retry = Retry::new(*self.retry.config());
            self.life = Life::Idle;
        }
    }

    /// When the next attempt is due, if one is planned.
    pub(super) fn attempt_due(&self, now: Instant) -> Option<Instant> {
        match self.life {
            Life::Idle => Some(now),
            Life::Waiting { until } => Some(until),
            _ => None,
        }
    }

    pub(super) fn attempt_starts(&mut self, now: Instant) -> StatusChange {
        self.retry.attempt_starts(now);
        self.life = Life::Connecting;
        self.change(ConnectionStatusReason::Ok)
    }

    pub(super) fn connected(&mut self, now: Instant) -> StatusChange {
        // A renewed connection carries on the life of the old one.
        let since = if let Life::Renewing { since } = self.life { since } else { now };
        self.retry.connected();
        self.life = Life::Online { since, ready: false };
        self.change(ConnectionStatusReason::Ok)
    }

    /// Subscriptions are granted; `None` if that is known already.
    pub(super) fn ready(&mut self) -> Option<StatusChange> {
        match &mut self.life {
            Life::Online { ready, .. } if !*ready => *ready = true,
            _ => return None,
        }
        Some(self.change(ConnectionStatusReason::Ok))
    }

    /// Begins a planned renewal, if there is a connection to renew.
    pub(super) fn renewal_starts(&mut self, drain: Duration, now: Instant) -> Option<StatusChange> {
        let Life::Online { since, .. } = self.life else { return None };
        self.life = Life::Draining { since, until: now + drain };
        Some(self.change(ConnectionStatusReason::Ok))
    }

    /// Until when the connection that is to be replaced may drain.
    pub(super) fn drain_until(&self) -> Option<Instant> {
        match self.life {
            Life::Draining { until, .. } => Some(until),
            _ => None,
        }
    }

    /// The connection is drained, and is being ended.
    pub(super) fn leaves(&mut self) {
        if let Life::Draining { since, .. } = self.life {
            self.life = Life::Leaving { since };
        }
    }

    /// The old connection has ended; `true` if a new one is to follow at once.
    pub(super) fn left(&mut self) -> bool {
        let Life::Leaving { since } = self.life else { return false };
        self.life = Life::Renewing { since };
        true
    }

    /// An attempt failed, or the connection was lost.
    pub(super) fn down(&mut self, error: ConnectionError, now: Instant) -> StatusChange {
        let decision = match self.life {
            Life::Online { since, .. }
            | Life::Draining { since, .. }
            | Life::Leaving { since }
            | Life::Renewing { since } => self.retry.connection_lost(since, now),
            _ => self.retry.attempt_failed(now),
        };
        let reason = error.kind.status_reason();
        let mut change = match decision {
            _ if error.kind.is_terminal() => self.stop(reason),
            Decision::Stop => self.stop(ConnectionStatusReason::RetryExpired),
            Decision::After(delay) => self.pause(delay, now, reason),
        };
        change.error = Some(error);
        change
    }

    /// As [`down`](Self::down), with a credential that is replaced already: what came of it says nothing about the new one,
    /// which is tried at once.
    pub(super) fn down_before_a_new_try(&mut self, error: ConnectionError, now: Instant) -> StatusChange {
        self.retry = Retry::new(*self.retry.config());
        let mut change = self.pause(Duration::ZERO, now, error.kind.status_reason());
        change.error = Some(error);
        change
    }

    /// A ready token has expired: nothing can connect until there is another.
    pub(super) fn token_expired(&mut self, error: ConnectionError) -> StatusChange {
        debug_assert!(matches!(error.kind, ConnectionErrorKind::TokenExpired { .. }));
        let mut change = self.stop(ConnectionStatusReason::ExpiredSasToken);
        change.error = Some(error);
        change
    }

    pub(super) fn close(&mut self) -> StatusChange {
        self.life = Life::Closed;
        self.change(ConnectionStatusReason::Ok)
    }

    fn stop(&mut self, reason: ConnectionStatusReason) -> StatusChange {
        self.life = Life::Stopped;
        self.change(reason)
    }

    fn pause(&mut self, delay: Duration, now: Instant, reason: ConnectionStatusReason) -> StatusChange {
        self.life = Life::Waiting { until: now + delay };
        StatusChange { next_attempt_in: Some(delay), ..self.change(reason) }
    }

    fn change(&self, reason: ConnectionStatusReason) -> StatusChange {
        StatusChange { attempt: self.retry.attempts(), ..StatusChange::new(self.state(), reason) }
    }
}
