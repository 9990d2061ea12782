//! One accepted connection, from TCP to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::activity::{ConnectionId, DisconnectReason, TlsVersion};
use crate::arrival::Arrival;
use crate::auth::Peer;
use crate::auth::x509::Authorities;
use crate::clock::Now;
use crate::faults::DropPoint;
use crate::head::{Close, Head};
use crate::https::Protocol;
use crate::hub::outbox::MAX_PENDING;
use crate::server::https;
use crate::server::stream::{Stream, Wire, end_tcp};
use crate::server::web_socket::WebSocket;
use crate::shared::Shared;
use crate::{amqp, mqtt};

/// The time between the two pieces of a split, so that the peer reads them apart.
const SPLIT_PAUSE: Duration = Duration::from_millis(10);

/// What every connection's task needs.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) acceptor: TlsAcceptor,
    pub(super) device_authorities: Arc<Authorities>,
}

/// Where a connection has come in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Port {
    Mqtt,
    Amqp,
    Https,
}

/// Serves one connection until it ends.
pub(super) async fn serve(mut tcp: TcpStream, from: SocketAddr, port: Port, context: Context) {
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let shared = &context.shared;
    let mut arrival = shared.change(Arrival::new);
    if arrival.is_over() {
        return end_tcp(&mut tcp).await;
    }
    let waker = Waker::register(Arc::clone(shared), arrival.id());
    let Some(tls) = handshake(tcp, &context, &mut arrival, &waker).await else { return };
    if arrival.is_over() {
        return Stream::new(tls).end(Close::Bare).await;
    }
    let peer = peer_of(&tls, from, &context);
    match port {
        Port::Mqtt => run(Stream::new(tls), shared, &mut mqtt::Head::new(&arrival, peer), &waker).await,
        Port::Amqp => run(Stream::new(tls), shared, &mut amqp::Head::new(&arrival, peer), &waker).await,
        Port::Https => {
            let Some((io, upgrade)) = https::serve(tls, shared, &mut arrival, &waker).await else { return };
            let peer = Peer { web_socket: Some(upgrade.asked), ..peer };
            let stream = Stream::new(WebSocket::new(io, upgrade.frame_size));
            match upgrade.protocol {
                Protocol::Mqtt => run(stream, shared, &mut mqtt::Head::new(&arrival, peer), &waker).await,
                Protocol::Amqp => run(stream, shared, &mut amqp::Head::new(&arrival, peer), &waker).await,
            }
        }
    }
}

/// TLS, within the time that the connection has to say what it wants.
async fn handshake(
    tcp: TcpStream,
    context: &Context,
    arrival: &mut Arrival,
    waker: &Waker,
) -> Option<TlsStream<TcpStream>> {
    let shared = &context.shared;
    let mut accept = std::pin::pin!(context.acceptor.accept(tcp));
    let accepted = loop {
        tokio::select! {
            accepted = &mut accept => break accepted,
            () = waker.due(|now| Some(now.until_elapsed(arrival.deadline()))) => {
                shared.change(|hub, now| arrival.poll(hub, now));
                if arrival.is_over() {
                    return None;
                }
            }
        }
    };
    match accepted {
        Ok(tls) => {
            shared.change(|hub, now| arrival.reach(hub, now, DropPoint::TlsEstablished));
            Some(tls)
        }
        Err(error) => {
            shared.change(|hub, now| arrival.end(hub, now, DisconnectReason::TlsFailed(error.to_string())));
            None
        }
    }
}

fn peer_of(tls: &TlsStream<TcpStream>, from: SocketAddr, context: &Context) -> Peer {
    let session = tls.get_ref().1;
    let tls_version = session.protocol_version().and_then(|version| match version {
        rustls::ProtocolVersion::TLSv1_2 => Some(TlsVersion::Tls12),
        rustls::ProtocolVersion::TLSv1_3 => Some(TlsVersion::Tls13),
        _ => None,
    });
    let certificates = session.peer_certificates().unwrap_or_default();
    Peer {
        address: Some(from),
        certificates: certificates.iter().map(|certificate| certificate.clone().into_owned()).collect(),
        tls_version,
        device_authorities: Some(Arc::clone(&context.device_authorities)),
        web_socket: None,
    }
}

/// Moves bytes until the head or the peer ends it.
async fn run<W: Wire>(mut stream: Stream<W>, shared: &Shared, head: &mut dyn Head, waker: &Waker) {
    loop {
        stream.push(head.take_output());
        while head.has_more_output() {
            stream.flush().await;
            tokio::time::sleep(SPLIT_PAUSE).await;
            stream.push(head.take_output());
        }
        if head.cut_off() {
            // Nothing goes either way, and the end comes without a word.
            if head.closing().is_some() {
                return;
            }
            waker.due(|now| head.timeout(now)).await;
            shared.change(|hub, now| head.poll(hub, now));
            continue;
        }
        if let Some(close) = head.closing() {
            return stream.end(close).await;
        }
        if stream.pending() > MAX_PENDING {
            shared.change(|hub, now| head.overwhelmed(hub, now, stream.pending()));
            return;
        }
        tokio::select! {
            read = stream.read() => match read {
                Ok([]) => shared.change(|hub, now| head.peer_closed(hub, now)),
                Ok(bytes) => shared.change(|hub, now| head.receive(hub, now, bytes)),
                Err(_) => shared.change(|hub, now| match stream.misuse() {
                    Some(how) => head.misused(hub, now, how.to_owned()),
                    None => head.peer_closed(hub, now),
                }),
            },
            () = waker.due(|now| head.timeout(now)) => shared.change(|hub, now| head.poll(hub, now)),
        }
    }
}

/// Tells a connection's task that the hub has something for it.
pub(super) struct Waker {
    shared: Arc<Shared>,
    connection: ConnectionId,
    wakes: Arc<Wakes>,
}

struct Wakes(Notify);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl Waker {
    fn register(shared: Arc<Shared>, connection: ConnectionId) -> Self {
        let wakes = Arc::new(Wakes(Notify::new()));
        shared.register(connection, Arc::clone(&wakes).into());
        Self { shared, connection, wakes }
    }

    /// Waits until the connection has been woken or this time-out is over.
    pub(super) async fn due(&self, timeout: impl FnOnce(Now) -> Option<Duration>) {
        let sleep = self.shared.sleep_time(|_, now| timeout(now));
        tokio::select! {
            () = self.wakes.0.notified() => {}
            () = sleep_for(sleep) => {}
        }
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        self.shared.unregister(self.connection);
    }
}

/// Sleeps in real time; for ever without a time.
pub(super) async fn sleep_for(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}
