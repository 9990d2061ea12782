//! WebSockets: the upgrade as a stage behind another [`Connect`], and the byte stream inside.
//!
//! Frame headers are read and written by `tungstenite`'s codec. Its `WebSocket` is not used: it writes every frame in
//! full to the log at trace level, the one with the token too, collects whole messages where a stream needs none, and
//! keeps buffers of its own. Here incoming frames are unpacked in the reader's buffer ([`incoming`]), and outgoing bytes
//! collect until they become one frame ([`outgoing`]).

mod incoming;
mod layer;
mod outgoing;
mod upgrade;

use std::fmt;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use iothub_core::{
    ClientCertificate, ConnectStage, ConnectionError, ConnectionErrorKind, CreateError, Now, Readiness, Trust,
};

use self::layer::WebSocketLayer;
use self::upgrade::Upgrade;
use crate::{Connect, Stream, TcpKeepAlive};

/// Opens WebSockets (RFC 6455) over the connections of another [`Connect`].
///
/// The stream that it hands out carries bytes: what is written goes in binary frames, and what comes in binary messages
/// is read without regard to where one ends. Pings are answered; a text message, a masked frame and whatever else the
/// protocol forbids are errors. However large a frame says that it is, only what is read is held in memory. A close with
/// code 1000 or 1001, or an end without one, is an end; any other code is an error that quotes it.
///
/// ```
/// use iothub_core::{Endpoint, Now};
/// use iothub_net::{Connect, Connector, WebSocketConnector};
/// use std::time::Duration;
///
/// # fn run(endpoint: &Endpoint) -> Result<(), iothub_core::CreateError> {
/// let timeout = Duration::from_secs(30);
/// let tls = Connector::new(endpoint, 443, timeout, None)?;
/// let mut connector = WebSocketConnector::new(Box::new(tls), "/$iothub/websocket", "mqtt", timeout)?;
/// connector.start(Now::system());
/// // From now on: connector.poll(now) until it is ready.
/// # Ok(()) }
/// ```
pub struct WebSocketConnector {
    below: Box<dyn Connect>,
    path: String,
    subprotocol: String,
    timeout: Duration,
    stage: Stage,
}

enum Stage {
    /// No attempt is under way.
    Idle,
    /// The connection below is being made.
    Below,
    /// The server is asked for a WebSocket on it. A deadline of `None` is further away than the clock can tell.
    Upgrading { stream: Stream, upgrade: Upgrade, deadline: Option<Instant> },
}

impl WebSocketConnector {
    /// WebSockets at this path (with its query, if there is one), with this subprotocol inside.
    ///
    /// `timeout` limits the server's answer; what is below has its own. Fails with [`CreateError::Option`] for a path that
    /// does not begin with `/` or has other than visible ASCII characters, and for a subprotocol that is no token.
    pub fn new(
        below: Box<dyn Connect>,
        path: impl Into<String>,
        subprotocol: impl Into<String>,
        timeout: Duration,
    ) -> Result<Self, CreateError> {
        let (path, subprotocol) = (path.into(), subprotocol.into());
        let wrong = |option, value, allowed| Err(CreateError::Option { option, value, allowed });
        if !path.starts_with('/') || !path.chars().all(|c| c.is_ascii_graphic()) {
            return wrong("path", path, "of visible ASCII characters, beginning with /");
        }
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if subprotocol.is_empty() || !subprotocol.chars().all(is_token) {
            return wrong("subprotocol", subprotocol, "a token as in HTTP headers");
        }
        Ok(Self { below, path, subprotocol, timeout, stage: Stage::Idle })
    }

    fn upgrade(&self) -> Result<Upgrade, ConnectionErrorKind> {
        Upgrade::new(self.below.host(), self.below.port(), &self.path, &self.subprotocol)
    }

    fn go_on(
        &mut self,
        mut stream: Stream,
        mut upgrade: Upgrade,
        deadline: Option<Instant>,
        now: Now,
    ) -> Poll<Result<Stream, ConnectionErrorKind>> {
        match upgrade.poll(&mut stream) {
            Poll::Ready(Ok(early)) => {
                tracing::debug!(host = %self.host(), subprotocol = self.subprotocol, "it is a WebSocket");
                let (host, port) = (self.host().clone(), self.port());
                Poll::Ready(Ok(Stream::new(host, port, Box::new(WebSocketLayer::new(stream, early)))))
            }
            Poll::Ready(Err(kind)) => Poll::Ready(Err(kind)),
            Poll::Pending if deadline.is_some_and(|deadline| now.mono >= deadline) => {
                Poll::Ready(Err(ConnectionErrorKind::TimedOut { stage: ConnectStage::Upgrade, after: self.timeout }))
            }
            Poll::Pending => {
                self.stage = Stage::Upgrading { stream, upgrade, deadline };
                Poll::Pending
            }
        }
    }
}

impl Connect for WebSocketConnector {
    fn host(&self) -> &Arc<str> {
        self.below.host()
    }

    fn port(&self) -> u16 {
        self.below.port()
    }

    fn set_waker(&mut self, waker: &Waker) {
        self.below.set_waker(waker);
    }

    fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
        self.below.set_timeout(timeout);
    }

    fn set_tcp_keep_alive(&mut self, keep_alive: TcpKeepAlive) {
        self.below.set_tcp_keep_alive(keep_alive);
    }

    fn set_certificate(&mut self, certificate: Option<&ClientCertificate>) -> Result<(), CreateError> {
        self.below.set_certificate(certificate)
    }

    fn set_trust(&mut self, trust: &Trust) -> Result<(), CreateError> {
        self.below.set_trust(trust)
    }

    fn start(&mut self, now: Now) {
        self.below.start(now);
        self.stage = Stage::Below;
    }

    fn poll(&mut self, now: Now) -> Poll<Result<Stream, ConnectionError>> {
        let at_peer = |this: &Self, kind| ConnectionError::new(this.host().clone(), this.port(), kind);
        let (stream, upgrade, deadline) = match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle => return Poll::Pending,
            Stage::Below => match self.below.poll(now) {
                Poll::Ready(Ok(stream)) => match self.upgrade() {
                    Ok(upgrade) => (stream, upgrade, now.mono.checked_add(self.timeout)),
                    Err(kind) => return Poll::Ready(Err(at_peer(self, kind))),
                },
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.stage = Stage::Below;
                    return Poll::Pending;
                }
            },
            Stage::Upgrading { stream, upgrade, deadline } => (stream, upgrade, deadline),
        };
        self.go_on(stream, upgrade, deadline, now).map_err(|kind| at_peer(self, kind))
    }

    fn cancel(&mut self) {
        self.below.cancel();
        self.stage = Stage::Idle;
    }

    fn next_deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Idle => None,
            Stage::Below => self.below.next_deadline(),
            Stage::Upgrading { deadline, .. } => *deadline,
        }
    }

    fn readiness(&self, out: &mut Vec<Readiness>) {
        match &self.stage {
            Stage::Idle => {}
            Stage::Below => self.below.readiness(out),
            Stage::Upgrading { stream, upgrade, .. } => stream.readiness(true, upgrade.wants_write(), out),
        }
    }
}

impl fmt::Debug for WebSocketConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebSocketConnector({}:{}{} {})", self.host(), self.port(), self.path, self.subprotocol)
    }
}
