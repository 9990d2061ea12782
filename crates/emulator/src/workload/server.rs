//! The runtime's ports: HTTP for the workload API, HTTPS for the gateway. It decides nothing.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsAcceptor;

use super::gateway::{self, Answer};
use super::{EdgeRequest, Facts, Reply, api};
use crate::auth::Peer;
use crate::error::StartError;
use crate::handle::Hub;
use crate::method::PendingMethod;
use crate::server::thread::ServerThread;

/// The longest body of a request: a payload of 128 KiB, and the rest.
const MAX_BODY: usize = 256 * 1024;
/// The most connections to a port.
const MAX_CONNECTIONS: usize = 1000;
/// How long to wait after the system refused to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Server {
    workload: Workload,
    gateway_address: SocketAddr,
    // Held for its Drop.
    _thread: ServerThread,
}

/// Where the workload API is.
#[derive(Clone, Debug)]
pub(super) enum Workload {
    Port(SocketAddr),
    Socket(PathBuf),
}

enum Listener {
    Port(TcpListener),
    Socket(UnixListener),
}

impl Server {
    /// Starts with the workload API on this unix socket, or on a free port.
    pub(super) fn start(hub: &Hub, facts: Arc<Facts>, socket: Option<PathBuf>) -> Result<Self, StartError> {
        let (gateway, gateway_address) = listen()?;
        let (listener, workload) = match socket {
            None => {
                let (listener, address) = listen()?;
                (Listener::Port(listener), Workload::Port(address))
            }
            Some(path) => (Listener::Socket(listen_on_socket(&path)?), Workload::Socket(path)),
        };
        let desk = Desk { hub: hub.clone(), facts };
        let acceptor = TlsAcceptor::from(hub.tls().server_config());
        let thread = ServerThread::start("iothub-edge", move |stopped| async move {
            let serve = async {
                tokio::select! {
                    served = serve_workload(listener, &desk) => report(served),
                    served = serve_gateway(gateway, acceptor, &desk) => report(served),
                    _ = stopped => {}
                }
            };
            LocalSet::new().run_until(serve).await;
        })?;
        Ok(Self { workload, gateway_address, _thread: thread })
    }

    pub(super) fn workload(&self) -> &Workload {
        &self.workload
    }

    pub(super) fn gateway_address(&self) -> SocketAddr {
        self.gateway_address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Workload::Socket(path) = &self.workload {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn listen() -> Result<(TcpListener, SocketAddr), StartError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn listen_on_socket(path: &Path) -> Result<UnixListener, StartError> {
    let failed = |source| StartError::ListenOnSocket { path: path.to_owned(), source };
    let listener = UnixListener::bind(path).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

async fn serve_workload(listener: Listener, desk: &Desk) -> io::Result<()> {
    match listener {
        Listener::Port(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let next = async || {
                let (tcp, _) = listener.accept().await?;
                tcp.set_nodelay(true)?;
                Ok(tcp)
            };
            accept(next, |tcp| desk.clone().workload(tcp)).await;
        }
        Listener::Socket(listener) => {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            accept(async || Ok(listener.accept().await?.0), |io| desk.clone().workload(io)).await;
        }
    }
    Ok(())
}

async fn serve_gateway(listener: TcpListener, acceptor: TlsAcceptor, desk: &Desk) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let next = async || {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    };
    accept(next, |tcp| desk.clone().gateway(acceptor.clone(), tcp)).await;
    Ok(())
}

fn report(served: io::Result<()>) {
    if let Err(error) = served {
        tracing::error!(%error, "cannot serve a port of the Edge runtime");
    }
}

/// Accepts connections for ever, each served by a task of its own. Dropping the future closes all of them.
async fn accept<I, F>(mut next: impl AsyncFnMut() -> io::Result<I>, serve: impl Fn(I) -> F)
where
    F: Future<Output = ()> + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = next() => match accepted {
                Ok(io) if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn_local(serve(io));
                }
                Ok(_) => tracing::warn!(MAX_CONNECTIONS, "too many connections: closed the new one"),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
        }
    }
}

/// Where requests are answered.
#[derive(Clone)]
struct Desk {
    hub: Hub,
    facts: Arc<Facts>,
}

impl Desk {
    async fn workload(self, io: impl AsyncRead + AsyncWrite + Unpin) {
        self.serve(io, async |request| {
            let Facts { device, ca_pem, .. } = &*self.facts;
            self.hub.shared().read(|hub, _| api::answer(hub, device, ca_pem, &request))
        })
        .await;
    }

    async fn gateway(self, acceptor: TlsAcceptor, tcp: TcpStream) {
        let tls = match acceptor.accept(tcp).await {
            Ok(tls) => tls,
            Err(error) => return tracing::debug!(%error, "a TLS handshake failed"),
        };
        let certificates = tls.get_ref().1.peer_certificates().unwrap_or_default();
        let peer = Peer {
            certificates: certificates.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            device_authorities: Some(self.hub.tls().device_authorities()),
            ..Peer::default()
        };
        self.serve(tls, async |request| {
            let shared = self.hub.shared();
            let answer = shared.change(|hub, now| gateway::answer(hub, now, &self.facts.device, &peer, &request));
            match answer {
                Answer::Now(reply) => reply,
                Answer::After(call) => {
                    // Who hangs up gives the call up.
                    let pending = PendingMethod { shared: Arc::clone(shared), call, name: String::new() };
                    gateway::outcome(&shared.changed_to(|| pending.try_result()).await)
                }
            }
        })
        .await;
    }

    async fn serve(&self, io: impl AsyncRead + AsyncWrite + Unpin, answer: impl AsyncFn(Request<Bytes>) -> Reply) {
        let service = service_fn(async |request: Request<Incoming>| {
            let (method, path) = (request.method().to_string(), request.uri().to_string());
            let (head, body) = request.into_parts();
            let reply = match Limited::new(body, MAX_BODY).collect().await {
                Ok(body) => answer(Request::from_parts(head, body.to_bytes())).await,
                Err(error) => Reply::refusal(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
            };
            self.facts.note(EdgeRequest { method, path, status: reply.status.as_u16() });
            Ok::<_, Infallible>(reply.response())
        });
        if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(io), service).await {
            tracing::debug!(%error, "a connection to the Edge runtime failed");
        }
    }
}
