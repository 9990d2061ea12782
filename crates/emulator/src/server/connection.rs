//! One accepted connection, from TCP to its end.

use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::activity::{ConnectionId, TlsVersion};
use crate::auth::Peer;
use crate::auth::x509::Authorities;
use crate::faults::DropPoint;
use crate::head::{Head, NewHead};
use crate::hub::outbox::MAX_PENDING;
use crate::server::stream::{Stream, end_tcp};
use crate::shared::Shared;

/// The time between the two pieces of a split, so that the peer reads them apart.
const SPLIT_PAUSE: Duration = Duration::from_millis(10);

/// What every connection's task needs.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) acceptor: TlsAcceptor,
    pub(super) device_authorities: Arc<Authorities>,
    pub(super) new_head: NewHead,
}

/// Serves one connection until it ends.
pub(super) async fn serve(tcp: TcpStream, context: Context) {
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let shared = &context.shared;
    let mut head = shared.change(|hub, now| {
        let mut head = (context.new_head)(hub, now);
        head.drop_early(hub, now, DropPoint::TcpAccepted);
        head
    });
    if head.closing().is_some() {
        return end_tcp(tcp).await;
    }
    let waker = Waker::register(Arc::clone(shared), head.id());
    if let Some(tls) = handshake(tcp, &context, &mut *head, &waker).await {
        run(Stream::new(tls), shared, &mut *head, &waker).await;
    }
}

/// TLS, within the time that the first packet has to come.
async fn handshake(
    tcp: TcpStream,
    context: &Context,
    head: &mut dyn Head,
    waker: &Waker,
) -> Option<TlsStream<TcpStream>> {
    let shared = &context.shared;
    let mut accept = std::pin::pin!(context.acceptor.accept(tcp));
    let accepted = loop {
        tokio::select! {
            accepted = &mut accept => break accepted,
            () = waker.due(head) => {
                shared.change(|hub, now| head.poll(hub, now));
                if head.closing().is_some() {
                    return None;
                }
            }
        }
    };
    match accepted {
        Ok(tls) => {
            let peer = peer_of(&tls, context);
            shared.change(|hub, now| head.secured(hub, now, peer));
            Some(tls)
        }
        Err(error) => {
            shared.change(|hub, now| head.tls_failed(hub, now, error.to_string()));
            None
        }
    }
}

fn peer_of(tls: &TlsStream<TcpStream>, context: &Context) -> Peer {
    let session = tls.get_ref().1;
    let tls_version = session.protocol_version().and_then(|version| match version {
        rustls::ProtocolVersion::TLSv1_2 => Some(TlsVersion::Tls12),
        rustls::ProtocolVersion::TLSv1_3 => Some(TlsVersion::Tls13),
        _ => None,
    });
    let certificates = session.peer_certificates().unwrap_or_default();
    Peer {
        certificates: certificates.iter().map(|certificate| certificate.clone().into_owned()).collect(),
        tls_version,
        device_authorities: Some(Arc::clone(&context.device_authorities)),
    }
}

/// Moves bytes until the head or the peer ends it.
async fn run(mut stream: Stream, shared: &Shared, head: &mut dyn Head, waker: &Waker) {
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
            waker.due(head).await;
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
                Ok([]) | Err(_) => shared.change(|hub, now| head.peer_closed(hub, now)),
                Ok(bytes) => shared.change(|hub, now| head.receive(hub, now, bytes)),
            },
            () = waker.due(head) => shared.change(|hub, now| head.poll(hub, now)),
        }
    }
}

/// Tells a connection's task that the hub has something for its head.
struct Waker {
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

    /// Waits until the head has been woken or its time-out is over.
    async fn due(&self, head: &dyn Head) {
        let sleep = self.shared.sleep_time(|_, now| head.timeout(now));
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
