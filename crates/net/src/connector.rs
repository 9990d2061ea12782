//! The connect machine: name, addresses, TCP, a proxy's tunnel, TLS, stream.
//!
//! The machine is [`Stage`]; each variant holds what that stage needs and nothing else.

mod failure;
mod others;
mod proxy;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use iothub_core::{
    ClientCertificate, ConnectStage, ConnectionError, ConnectionErrorKind, CreateError, Endpoint, Now, ProxyError,
    Readiness, Trust,
};
use rustls_pki_types::ServerName;

use self::failure::Failure;
use self::others::Others;
pub(crate) use self::proxy::Via;
use self::proxy::{Tunnel, unbracketed};
use crate::resolve::SystemResolver;
use crate::stream::Layer;
use crate::tcp::Socket;
use crate::tls::{self, HandshakeFailure, TlsSession, VerificationClock};
use crate::{Connect, Resolve, Stream, TcpKeepAlive};

/// Opens TLS connections to an [`Endpoint`].
///
/// Each attempt looks the name up anew and tries the addresses in turn, in the resolver's order but with IPv6 and IPv4
/// taking turns. An address that refuses, stays silent or breaks off makes room for the next; a server's certificate
/// that does not verify, or a TLS alert, ends the attempt. If every address failed, the error is that of the most
/// telling failure. Certificates are verified always, against the host of the endpoint (also the SNI) and the wall
/// clock that is passed in.
///
/// Through the endpoint's proxy, it is the proxy's name that is looked up and the proxy's addresses that are tried; the
/// proxy looks up the host. A proxy that says no ends the attempt.
///
/// ```
/// use iothub_core::{Endpoint, Now, Trust};
/// use iothub_net::{Connect, Connector};
/// use std::time::Duration;
///
/// # fn root() -> String {
/// #     rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem()
/// # }
/// let mut endpoint = Endpoint::new("localhost");
/// endpoint.trust = Trust::Pem(root());
/// let mut connector = Connector::new(&endpoint, 8883, Duration::from_secs(30), None)?;
/// connector.start(Now::system());
/// // From now on: connector.poll(now) until it is ready.
/// assert_eq!(connector.port(), 8883);
/// # Ok::<(), iothub_core::CreateError>(())
/// ```
pub struct Connector {
    host: Arc<str>,
    port: u16,
    /// The host, if it is an address already.
    literal: Option<IpAddr>,
    via: Option<Via>,
    server_name: ServerName<'static>,
    timeout: Duration,
    keep_alive: TcpKeepAlive,
    resolver: Box<dyn Resolve>,
    waker: Waker,
    config: Arc<rustls::ClientConfig>,
    /// What the attempt that is under way began with: its token belongs to that certificate.
    in_force: Arc<rustls::ClientConfig>,
    clock: VerificationClock,
    stage: Stage,
}

/// How far an attempt has come. A deadline of `None` is further away than the clock can tell.
enum Stage {
    /// No attempt is under way.
    Idle,
    /// It has not been polled yet.
    Started { at: Instant },
    /// The resolver is at work.
    Resolving { deadline: Option<Instant> },
    /// The TCP connection to one address is being made.
    Tcp { socket: Socket, address: SocketAddr, others: Others, deadline: Option<Instant> },
    /// The proxy at the other end is asked to connect to the host.
    Proxy { tunnel: Box<Tunnel>, socket: Socket, address: SocketAddr, others: Others, deadline: Option<Instant> },
    /// TLS is being agreed on.
    Tls { session: Box<TlsSession>, address: SocketAddr, others: Others, deadline: Option<Instant> },
}

/// What one step of the machine leads to.
enum Step {
    /// Another stage, which may go on at once.
    Go(Stage),
    /// Nothing can move now.
    Wait(Stage),
    /// The attempt is over.
    Over(Result<Stream, ConnectionErrorKind>),
}

impl Connector {
    /// Reads the certificates and prepares everything that all connections share.
    ///
    /// `default_port` serves unless the endpoint names one. `timeout` limits each stage by itself: the look-up, the TCP
    /// connection to each address, the proxy's answer and TLS on it; an attempt can so take several times as long, which
    /// [`next_deadline`](Connect::next_deadline) shows stage by stage. Without a `resolver` the operating system's is
    /// asked, on a thread that lives as long as the look-up.
    ///
    /// Fails with [`CreateError::Certificate`], which names the option, and with [`CreateError::Option`] for a host that
    /// is neither a name nor an address, for a proxy that cannot be one, and for a time-out of zero.
    pub fn new(
        endpoint: &Endpoint,
        default_port: u16,
        timeout: Duration,
        resolver: Option<Box<dyn Resolve>>,
    ) -> Result<Self, CreateError> {
        if timeout.is_zero() {
            return Err(CreateError::Option {
                option: "connect_timeout",
                value: "0 s".to_owned(),
                allowed: "more than zero",
            });
        }
        let host = unbracketed(&endpoint.host);
        let port = endpoint.port.unwrap_or(default_port);
        let clock = VerificationClock::default();
        let config = tls::client_config(&endpoint.trust, endpoint.certificate.as_ref(), &clock)?;
        Ok(Self {
            host: host.into(),
            port,
            literal: host.parse().ok(),
            via: endpoint.proxy.as_ref().map(|proxy| Via::new(proxy, host, port)).transpose()?,
            server_name: tls::server_name(host)?,
            timeout,
            keep_alive: TcpKeepAlive::default(),
            resolver: resolver.unwrap_or_else(|| Box::new(SystemResolver::new())),
            waker: Waker::noop().clone(),
            in_force: config.clone(),
            config,
            clock,
            stage: Stage::Idle,
        })
    }

    fn step(&mut self, stage: Stage, now: Now) -> Step {
        match stage {
            Stage::Idle => Step::Wait(Stage::Idle),
            Stage::Started { .. } => {
                let (_, port, literal) = self.first_hop();
                match literal {
                    Some(address) => self.next_address(Others::new(vec![(address, port).into()]), now),
                    None => Step::Go(Stage::Resolving { deadline: self.deadline(now) }),
                }
            }
            Stage::Resolving { deadline } => self.resolve(deadline, now),
            Stage::Tcp { socket, address, others, deadline } => self.connect(socket, address, others, deadline, now),
            Stage::Proxy { tunnel, socket, address, others, deadline } => {
                self.tunnel(tunnel, socket, address, others, deadline, now)
            }
            Stage::Tls { session, address, others, deadline } => {
                self.handshake(session, address, others, deadline, now)
            }
        }
    }

    /// Host, port and address of the machine to connect to: the proxy's, if there is one.
    fn first_hop(&self) -> (Arc<str>, u16, Option<IpAddr>) {
        match &self.via {
            Some(via) => (via.host.clone(), via.port, via.literal),
            None => (self.host.clone(), self.port, self.literal),
        }
    }

    fn resolve(&mut self, deadline: Option<Instant>, now: Now) -> Step {
        let (host, port, _) = self.first_hop();
        match self.resolver.resolve(&host, port, &self.waker) {
            Poll::Ready(Ok(addresses)) if addresses.is_empty() => {
                Step::Over(Err(ConnectionErrorKind::Dns { detail: "it has no address".to_owned() }))
            }
            Poll::Ready(Ok(addresses)) => {
                tracing::debug!(%host, ?addresses, "looked up");
                self.next_address(Others::new(addresses), now)
            }
            Poll::Ready(Err(detail)) => Step::Over(Err(ConnectionErrorKind::Dns { detail })),
            Poll::Pending if is_over(deadline, now) => Step::Over(Err(self.timed_out(ConnectStage::Resolve))),
            Poll::Pending => Step::Wait(Stage::Resolving { deadline }),
        }
    }

    /// Begins with the next address, or gives up when there is none.
    fn next_address(&self, mut others: Others, now: Now) -> Step {
        while let Some(address) = others.next() {
            tracing::debug!(host = %self.host, %address, "connecting");
            match Socket::connect(address, &self.keep_alive) {
                Ok(socket) => {
                    return Step::Go(Stage::Tcp { socket, address, others, deadline: self.deadline(now) });
                }
                Err(error) => others.note(Failure::not_tried(address, &error)),
            }
        }
        Step::Over(Err(others.verdict()))
    }

    fn failed(&self, mut others: Others, failure: Failure, now: Now) -> Step {
        tracing::debug!(host = %self.host, failure = %failure.kind, "an address failed");
        others.note(failure);
        self.next_address(others, now)
    }

    fn connect(
        &self,
        socket: Socket,
        address: SocketAddr,
        others: Others,
        deadline: Option<Instant>,
        now: Now,
    ) -> Step {
        match socket.poll_connected() {
            Poll::Ready(Ok(())) => match &self.via {
                Some(via) => {
                    let (tunnel, deadline) = (Box::new(via.tunnel()), self.deadline(now));
                    Step::Go(Stage::Proxy { tunnel, socket, address, others, deadline })
                }
                None => self.start_tls(socket, address, others, now),
            },
            Poll::Ready(Err(error)) => self.failed(others, Failure::tcp(address, &error), now),
            Poll::Pending if is_over(deadline, now) => {
                self.failed(others, Failure::tcp_silent(self.timed_out(ConnectStage::Tcp)), now)
            }
            Poll::Pending => Step::Wait(Stage::Tcp { socket, address, others, deadline }),
        }
    }

    fn tunnel(
        &self,
        mut tunnel: Box<Tunnel>,
        socket: Socket,
        address: SocketAddr,
        others: Others,
        deadline: Option<Instant>,
        now: Now,
    ) -> Step {
        // Without a proxy there is no such stage.
        let Some(via) = &self.via else { return self.start_tls(socket, address, others, now) };
        match tunnel.poll(&mut &socket) {
            Poll::Ready(Ok(())) => {
                tracing::debug!(host = %self.host, proxy = %via.host, %address, "the proxy has connected");
                self.start_tls(socket, address, others, now)
            }
            Poll::Ready(Err(error @ ProxyError::Broken { .. })) => {
                self.failed(others, Failure::proxy(via.error(error)), now)
            }
            Poll::Ready(Err(error)) => Step::Over(Err(via.error(error))),
            Poll::Pending if is_over(deadline, now) => {
                self.failed(others, Failure::proxy(via.error(ProxyError::Silent { after: self.timeout })), now)
            }
            Poll::Pending => Step::Wait(Stage::Proxy { tunnel, socket, address, others, deadline }),
        }
    }

    fn start_tls(&self, socket: Socket, address: SocketAddr, others: Others, now: Now) -> Step {
        match TlsSession::new(&self.in_force, &self.server_name, socket) {
            Ok(session) => {
                Step::Go(Stage::Tls { session: Box::new(session), address, others, deadline: self.deadline(now) })
            }
            Err(error) => Step::Over(Err(tls::handshake_error(&error))),
        }
    }

    fn handshake(
        &self,
        mut session: Box<TlsSession>,
        address: SocketAddr,
        others: Others,
        deadline: Option<Instant>,
        now: Now,
    ) -> Step {
        match session.poll_handshake() {
            Poll::Ready(Ok(())) => {
                tracing::debug!(host = %self.host, %address, version = ?session.version(), "connected");
                Step::Over(Ok(Stream::new(self.host.clone(), self.port, session)))
            }
            Poll::Ready(Err(HandshakeFailure::Tls(error))) => {
                session.shutdown();
                Step::Over(Err(tls::handshake_error(&error)))
            }
            Poll::Ready(Err(HandshakeFailure::Io(error))) => {
                self.failed(others, Failure::tls_broken(address, &error), now)
            }
            Poll::Ready(Err(HandshakeFailure::Closed)) => self.failed(others, Failure::tls_closed(), now),
            Poll::Pending if is_over(deadline, now) => {
                self.failed(others, Failure::tls_silent(self.timed_out(ConnectStage::Tls)), now)
            }
            Poll::Pending => Step::Wait(Stage::Tls { session, address, others, deadline }),
        }
    }

    fn deadline(&self, now: Now) -> Option<Instant> {
        now.mono.checked_add(self.timeout)
    }

    fn timed_out(&self, stage: ConnectStage) -> ConnectionErrorKind {
        ConnectionErrorKind::TimedOut { stage, after: self.timeout }
    }
}

impl Connect for Connector {
    fn host(&self) -> &Arc<str> {
        &self.host
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn set_waker(&mut self, waker: &Waker) {
        self.waker.clone_from(waker);
    }

    fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    fn set_tcp_keep_alive(&mut self, keep_alive: TcpKeepAlive) {
        self.keep_alive = keep_alive;
    }

    fn set_certificate(&mut self, certificate: Option<&ClientCertificate>) -> Result<(), CreateError> {
        self.config = tls::with_certificate(&self.config, certificate)?;
        Ok(())
    }

    fn set_trust(&mut self, trust: &Trust) -> Result<(), CreateError> {
        self.config = tls::with_trust(&self.config, trust, &self.clock)?;
        Ok(())
    }

    fn start(&mut self, now: Now) {
        self.in_force.clone_from(&self.config);
        self.resolver.begin(now);
        self.stage = Stage::Started { at: now.mono };
    }

    fn poll(&mut self, now: Now) -> Poll<Result<Stream, ConnectionError>> {
        self.clock.set(now.wall);
        loop {
            let stage = std::mem::replace(&mut self.stage, Stage::Idle);
            match self.step(stage, now) {
                Step::Go(stage) => self.stage = stage,
                Step::Wait(stage) => {
                    self.stage = stage;
                    return Poll::Pending;
                }
                Step::Over(outcome) => {
                    return Poll::Ready(outcome.map_err(|kind| {
                        let kind = match &self.via {
                            Some(via) => via.blame(kind),
                            None => kind,
                        };
                        ConnectionError::new(self.host.clone(), self.port, kind)
                    }));
                }
            }
        }
    }

    fn cancel(&mut self) {
        self.stage = Stage::Idle;
    }

    fn next_deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Idle => None,
            Stage::Started { at } => Some(*at),
            Stage::Resolving { deadline }
            | Stage::Tcp { deadline, .. }
            | Stage::Proxy { deadline, .. }
            | Stage::Tls { deadline, .. } => *deadline,
        }
    }

    fn readiness(&self, out: &mut Vec<Readiness>) {
        match &self.stage {
            // The resolver's thread uses the waker.
            Stage::Idle | Stage::Started { .. } | Stage::Resolving { .. } => {}
            Stage::Tcp { socket, .. } => socket.readiness(false, true, out),
            Stage::Proxy { tunnel, socket, .. } => socket.readiness(true, tunnel.wants_write(), out),
            Stage::Tls { session, .. } => session.readiness(true, session.wants_write(), out),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({}:{})", self.host, self.port)
    }
}

fn is_over(deadline: Option<Instant>, now: Now) -> bool {
    deadline.is_some_and(|deadline| now.mono >= deadline)
}
