//! The one connection that all members share, from nothing to its end.

use std::task::Poll;
use std::time::Instant;

use iothub_core::{ConnectionError, ConnectionErrorKind, Now, Readiness};
use iothub_net::Connect;

use crate::live::Live;
use crate::members::Members;
use crate::options::SessionOptions;

enum State {
    None,
    /// The connect machine is at work.
    Connecting,
    Live(Box<Live>),
}

pub(crate) struct Connection {
    pub(crate) connect: Box<dyn Connect>,
    state: State,
}

impl Connection {
    pub(crate) fn new(connect: Box<dyn Connect>) -> Self {
        Self { connect, state: State::None }
    }

    pub(crate) fn live(&mut self) -> Option<&mut Live> {
        match &mut self.state {
            State::Live(live) => Some(live),
            State::None | State::Connecting => None,
        }
    }

    /// An error of this kind, with the host that it is about.
    pub(crate) fn error(&self, kind: ConnectionErrorKind) -> ConnectionError {
        ConnectionError::new(self.connect.host().clone(), self.connect.port(), kind)
    }

    /// Begins to connect if a member waits for it, goes on with it, and starts the parts of those that wait for it.
    ///
    /// # Errors
    ///
    /// The connection could not be made.
    pub(crate) fn advance(
        &mut self,
        members: &mut Members,
        options: &SessionOptions,
        now: Now,
    ) -> Result<(), ConnectionError> {
        match self.state {
            State::None if members.is_any_waiting() => {
                tracing::debug!(host = %self.connect.host(), port = self.connect.port(), "connecting");
                self.connect.set_timeout(options.connect_timeout);
                self.connect.set_tcp_keep_alive(options.tcp_keep_alive);
                self.connect.start(now);
                self.state = State::Connecting;
            }
            State::Connecting if !members.is_any_waiting() => self.abandon(),
            _ => {}
        }
        if let State::Connecting = self.state
            && let Poll::Ready(stream) = self.connect.poll(now)
        {
            let stream = stream?;
            let Some((hub, by_token)) = members.wanted() else { return Ok(()) };
            let live = Live::new(stream, &hub, by_token, options, now).map_err(|error| {
                let detail = format!("no runtime for the connection: {error}");
                self.error(ConnectionErrorKind::Broken { detail })
            })?;
            self.state = State::Live(Box::new(live));
        }
        if let State::Live(live) = &mut self.state
            && live.is_open()
        {
            for slot in members.waiting() {
                members.change(slot, |member| live.start(slot, member));
            }
        }
        Ok(())
    }

    /// It is of no use to anyone any more; nothing is said to the hub.
    pub(crate) fn abandon(&mut self) {
        self.connect.cancel();
        self.state = State::None;
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::None => None,
            State::Connecting => self.connect.next_deadline(),
            State::Live(live) => live.next_deadline(),
        }
    }

    pub(crate) fn readiness(&self, out: &mut Vec<Readiness>) {
        match &self.state {
            State::None => {}
            State::Connecting => self.connect.readiness(out),
            State::Live(live) => live.readiness(out),
        }
    }
}
