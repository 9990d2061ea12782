//! The session of one device or module: its states, and the transitions between them.
//!
//! ```text
//! Idle -> Opening -> AwaitingConnack -> Connected -> Closing -> Idle
//!             \______________\______________\__________________/
//! ```
//!
//! What outlives a connection is in [`Kept`]; what does not is inside the state.

use std::collections::VecDeque;
use std::task::Poll;
use std::time::{Duration, Instant};

use iothub_core::{
    ConnectionError, ConnectionErrorKind, Delivery, Disposition, Feature, Message, Now, OpError, OpId, Readiness,
    Secret, Submit, TransportEvent,
};
use iothub_net::Connect;
use zeroize::Zeroizing;

use crate::connection::Connection;
use crate::handshake::{Handshake, Progress};
use crate::names::Names;
use crate::options::SessionOptions;
use crate::outgoing;
use crate::packet_ids::PacketIds;
use crate::subscriptions::Subscriptions;
use crate::telemetry::Telemetry;
use crate::topic::Topics;
use crate::twin::Kind;

/// How long a disconnect may take to get its last bytes out.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

enum State {
    /// Nothing to do.
    Idle,
    /// The connect machine is at work; this is what to say when it is done.
    Opening { connect: Zeroizing<Vec<u8>> },
    /// The stream is open.
    AwaitingConnack(Box<Handshake>),
    /// The hub has accepted the client.
    Connected(Box<Connection>),
    /// DISCONNECT is on its way out.
    Closing { connection: Box<Connection>, until: Instant },
}

/// What a session keeps from one connection to the next.
pub(crate) struct Kept {
    /// The transport's name, for errors.
    pub(crate) transport: &'static str,
    /// As they were when the connection was begun.
    pub(crate) options: SessionOptions,
    pub(crate) names: Names,
    pub(crate) ids: PacketIds,
    pub(crate) telemetry: Telemetry,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) events: VecDeque<TransportEvent>,
}

pub(crate) struct Session {
    kept: Kept,
    state: State,
    /// Counts the connections that the hub accepted.
    generation: u32,
    /// The latest time that this session was told.
    now: Option<Instant>,
}

impl Session {
    pub(crate) fn new(transport: &'static str, options: SessionOptions, names: Names) -> Self {
        let kept = Kept {
            transport,
            names,
            ids: PacketIds::default(),
            telemetry: Telemetry::new(options.max_in_flight),
            subscriptions: Subscriptions::new(),
            events: VecDeque::new(),
            options,
        };
        Self { kept, state: State::Idle, generation: 0, now: None }
    }

    pub(crate) fn topics(&self) -> &Topics {
        &self.kept.names.topics
    }

    /// Starts to connect with the options of now; whatever was before ends.
    pub(crate) fn connect(
        &mut self,
        connect: &mut dyn Connect,
        options: &SessionOptions,
        token: Option<&str>,
        now: Now,
    ) {
        self.now = Some(now.mono);
        self.abort(connect);
        self.kept.options = options.clone();
        let length = token.map_or(0, str::len);
        if length > outgoing::MAX_STRING {
            let kind = ConnectionErrorKind::TokenTooLong { length, limit: outgoing::MAX_STRING };
            return self.down(at_peer(connect, kind));
        }
        let Names { client_id, user_name, .. } = &self.kept.names;
        let token = token.map(Secret::new);
        let keep_alive = self.kept.options.keep_alive_secs();
        let packet = outgoing::connect(client_id, user_name, token.as_ref(), keep_alive);
        tracing::debug!(host = %connect.host(), port = connect.port(), client = client_id, "connecting");
        connect.set_timeout(options.connect_timeout);
        connect.set_tcp_keep_alive(options.tcp_keep_alive);
        connect.start(now);
        self.state = State::Opening { connect: packet };
    }

    /// Ends the connection in order; `Disconnected` follows in every state.
    pub(crate) fn disconnect(&mut self, connect: &mut dyn Connect, now: Now) {
        self.now = Some(now.mono);
        self.state = match std::mem::replace(&mut self.state, State::Idle) {
            State::Connected(mut connection) => {
                connection.put_disconnect();
                State::Closing { connection, until: now.mono + CLOSE_TIMEOUT }
            }
            closing @ State::Closing { .. } => closing,
            // Before the CONNACK there is no session to take leave of.
            State::Idle | State::Opening { .. } | State::AwaitingConnack(_) => {
                connect.cancel();
                self.kept.events.push_back(TransportEvent::Disconnected);
                State::Idle
            }
        };
    }

    /// Drops whatever is under way. A disconnect that the engine asked for is complete with that.
    pub(crate) fn abort(&mut self, connect: &mut dyn Connect) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle | State::AwaitingConnack(_) => {}
            State::Opening { .. } => connect.cancel(),
            State::Connected(connection) => connection.end(&mut self.kept),
            State::Closing { connection, .. } => {
                connection.end(&mut self.kept);
                self.kept.events.push_back(TransportEvent::Disconnected);
            }
        }
    }

    /// Takes leave of the hub as far as that goes at once, and drops the connection.
    pub(crate) fn leave(&mut self, connect: &mut dyn Connect) {
        if let (State::Connected(connection), Some(now)) = (&mut self.state, self.now) {
            connection.put_disconnect();
            connection.drain(&mut self.kept, now);
        }
        self.abort(connect);
    }

    /// One bounded slice. A state that has come to its end hands over to the next in the same slice.
    pub(crate) fn do_work(&mut self, connect: &mut dyn Connect, now: Now) {
        self.now = Some(now.mono);
        loop {
            let before = std::mem::discriminant(&self.state);
            self.state = match self.step(connect, now) {
                Ok(state) => state,
                Err(error) => {
                    self.down(error);
                    State::Idle
                }
            };
            if std::mem::discriminant(&self.state) == before {
                return;
            }
        }
    }

    fn step(&mut self, connect: &mut dyn Connect, now: Now) -> Result<State, ConnectionError> {
        let kept = &mut self.kept;
        Ok(match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => State::Idle,
            State::Opening { connect: packet } => match connect.poll(now) {
                Poll::Pending => State::Opening { connect: packet },
                Poll::Ready(Ok(stream)) => {
                    let timeout = kept.options.connect_timeout;
                    State::AwaitingConnack(Box::new(Handshake::new(stream, packet, timeout, now.mono)))
                }
                Poll::Ready(Err(error)) => return Err(error),
            },
            State::AwaitingConnack(handshake) => match handshake.drive(now.mono) {
                Progress::Waiting(handshake) => State::AwaitingConnack(Box::new(handshake)),
                Progress::Accepted { wire, session_present } => {
                    tracing::debug!(session_present, "connected");
                    self.generation = self.generation.wrapping_add(1);
                    let connection = Connection::new(wire, self.generation, session_present, kept, now);
                    State::Connected(Box::new(connection))
                }
                Progress::Failed(kind) => return Err(at_peer(connect, kind)),
            },
            State::Connected(mut connection) => match connection.drive(kept, now.mono) {
                Ok(()) => State::Connected(connection),
                Err(kind) => {
                    connection.end(kept);
                    return Err(at_peer(connect, kind));
                }
            },
            State::Closing { mut connection, until } => {
                if !connection.drain(kept, now.mono) && now.mono < until {
                    State::Closing { connection, until }
                } else {
                    connection.end(kept);
                    tracing::debug!("disconnected");
                    kept.events.push_back(TransportEvent::Disconnected);
                    State::Idle
                }
            }
        })
    }

    fn down(&mut self, error: ConnectionError) {
        tracing::debug!(%error, "down");
        self.kept.events.push_back(TransportEvent::Down(error));
    }

    /// Says what the client wants to receive.
    pub(crate) fn subscribe(&mut self, wanted: &[Feature]) {
        self.kept.subscriptions.want(wanted);
        if let (State::Connected(connection), Some(now)) = (&mut self.state, self.now) {
            connection.reconcile(&mut self.kept, now);
        }
    }

    /// Takes a message whose topic has `topic_len` bytes.
    pub(crate) fn telemetry(&mut self, id: OpId, message: &Message, topic_len: usize, now: Now) -> Submit {
        self.now = Some(now.mono);
        match &mut self.state {
            State::Connected(connection) => connection.telemetry(id, message, topic_len, &mut self.kept, now.mono),
            _ => Submit::Full,
        }
    }

    /// Settles a received message.
    pub(crate) fn settle(&mut self, id: OpId, delivery: Delivery, disposition: Disposition, now: Now) -> Submit {
        self.now = Some(now.mono);
        match &mut self.state {
            State::Connected(connection) => connection.settle(id, delivery, disposition, &mut self.kept, now.mono),
            _ => Submit::Refused(OpError::Stale),
        }
    }

    /// Asks for the twin, or sends a patch of the reported properties.
    pub(crate) fn twin(&mut self, id: OpId, kind: Kind, body: &[u8], now: Now) -> Submit {
        self.now = Some(now.mono);
        match &mut self.state {
            State::Connected(connection) => connection.twin(id, kind, body, &self.kept),
            _ => Submit::Full,
        }
    }

    /// Answers a direct method.
    pub(crate) fn respond(&mut self, id: OpId, delivery: Delivery, status: i32, body: &[u8], now: Now) -> Submit {
        self.now = Some(now.mono);
        match &mut self.state {
            State::Connected(connection) => connection.respond(id, delivery, status, body),
            _ => Submit::Refused(OpError::Stale),
        }
    }

    /// The engine has given an operation up.
    pub(crate) fn forget(&mut self, id: OpId) {
        self.kept.telemetry.forget(id, &mut self.kept.ids);
        if let State::Connected(connection) | State::Closing { connection, .. } = &mut self.state {
            connection.forget(id);
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<TransportEvent> {
        self.kept.events.pop_front()
    }

    pub(crate) fn next_deadline(&self, connect: &dyn Connect) -> Option<Instant> {
        if !self.kept.events.is_empty() {
            return self.now;
        }
        match &self.state {
            State::Idle => None,
            State::Opening { .. } => connect.next_deadline(),
            State::AwaitingConnack(handshake) => Some(handshake.next_deadline()),
            State::Connected(connection) => self.now.map(|now| connection.next_deadline(&self.kept, now)),
            State::Closing { connection, .. } if connection.has_output_to_try() => self.now,
            State::Closing { until, .. } => Some(*until),
        }
    }

    pub(crate) fn readiness(&self, connect: &dyn Connect, out: &mut Vec<Readiness>) {
        match &self.state {
            State::Idle => {}
            State::Opening { .. } => connect.readiness(out),
            State::AwaitingConnack(handshake) => handshake.readiness(out),
            State::Connected(connection) | State::Closing { connection, .. } => connection.readiness(out),
        }
    }
}

fn at_peer(connect: &dyn Connect, kind: ConnectionErrorKind) -> ConnectionError {
    ConnectionError::new(connect.host().clone(), connect.port(), kind)
}
