//! One connection to the proxy, from its request to its end.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use hyper::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::proxy::head::{Head, Parsed, parse};
use crate::proxy::{ProxyAnswer, ProxyConfig, ProxyMode, ProxyRequest, State};
use crate::server::ACCEPT_PAUSE;

/// How many connections may be open; further ones are closed.
const MAX_CONNECTIONS: usize = 1000;

/// Accepts connections for ever. Dropping the future closes all of them.
pub(super) async fn accept(listener: TcpListener, state: Arc<State>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot serve the listener"),
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(serve(tcp, Arc::clone(&state)));
                }
                Ok(_) => tracing::warn!(MAX_CONNECTIONS, "too many connections to the proxy: closed the new one"),
                Err(error) => {
                    tracing::warn!(%error, "the proxy cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(client: TcpStream, state: Arc<State>) {
    if let Err(error) = attend(client, &state).await {
        tracing::debug!(%error, "a connection to the proxy broke");
    }
}

async fn attend(mut client: TcpStream, state: &State) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut received = Vec::new();
    loop {
        let head = match read_head(&mut client, &mut received).await? {
            Some(Ok(head)) => head,
            Some(Err(status)) => return refuse(client, status).await,
            None => return Ok(()),
        };
        if head.method != "CONNECT" {
            return refuse(client, 405).await;
        }
        let mode = state.lock().mode.clone();
        let request = |answer| request(&head, &state.config, answer);
        match mode {
            ProxyMode::Tunnel if !is_authorised(&head, &state.config) => {
                state.record(request(ProxyAnswer::Status(407)));
                // The client may ask again on the same connection.
                client
                    .write_all(&response(407, "Proxy-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\n"))
                    .await?;
            }
            ProxyMode::Tunnel => {
                let Some(hub) = connect(&head.target, &state.config).await else {
                    state.record(request(ProxyAnswer::Status(502)));
                    return refuse(client, 502).await;
                };
                let answer = ProxyAnswer::Tunnel { from: hub.local_addr()?, to: hub.peer_addr()? };
                let cuts = state.cuts.subscribe();
                state.record(request(answer));
                return tunnel(client, hub, &received, cuts).await;
            }
            ProxyMode::Refuse { status } => {
                state.record(request(ProxyAnswer::Status(status)));
                return refuse(client, status).await;
            }
            ProxyMode::Answer(bytes) => {
                state.record(request(ProxyAnswer::Mode));
                client.write_all(&bytes).await?;
                return outlast(client).await;
            }
            ProxyMode::AcceptAndHangUp => {
                state.record(request(ProxyAnswer::Mode));
                client.write_all(&response(200, "")).await?;
                return client.shutdown().await;
            }
            ProxyMode::HangUp => {
                state.record(request(ProxyAnswer::Mode));
                return client.shutdown().await;
            }
            ProxyMode::Silent => {
                state.record(request(ProxyAnswer::Mode));
                return outlast(client).await;
            }
        }
    }
}

/// Reads a head, or the status for what is none; `None` at the end of the connection. What is behind it stays in `received`.
async fn read_head(client: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<Option<Result<Head, u16>>> {
    loop {
        match parse(received) {
            Parsed::Whole(head, length) => {
                received.drain(..length);
                return Ok(Some(Ok(head)));
            }
            Parsed::Bad(status) => return Ok(Some(Err(status))),
            Parsed::Partial if client.read_buf(received).await? == 0 => return Ok(None),
            Parsed::Partial => {}
        }
    }
}

fn is_authorised(head: &Head, config: &ProxyConfig) -> bool {
    config.credentials.as_ref().is_none_or(|wanted| {
        let given = head.authorization.as_deref().and_then(|value| value.split_once(' '));
        given.is_some_and(|(scheme, token)| scheme.eq_ignore_ascii_case("basic") && token.trim() == wanted)
    })
}

fn request(head: &Head, config: &ProxyConfig, answer: ProxyAnswer) -> ProxyRequest {
    ProxyRequest {
        target: head.target.clone(),
        host: head.host.clone(),
        offered: head.authorization.is_some(),
        authorised: is_authorised(head, config),
        answer,
    }
}

/// Connects to where the target leads, which is nowhere but here unless the configuration says so.
async fn connect(target: &str, config: &ProxyConfig) -> Option<TcpStream> {
    let (host, port) = target.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let port: u16 = port.parse().ok()?;
    let addresses: Vec<SocketAddr> = match (config.hosts.get(&host), host.parse::<IpAddr>()) {
        (Some(address), _) => vec![*address],
        (None, Ok(ip)) if ip.is_loopback() => vec![(ip, port).into()],
        (None, Err(_)) if host == "localhost" => {
            vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
        }
        (None, _) => return None,
    };
    TcpStream::connect(&addresses[..]).await.ok()
}

/// Passes bytes on until an end closes or the proxy cuts it. `early` is what the client has sent behind its request.
async fn tunnel(
    mut client: TcpStream,
    mut hub: TcpStream,
    early: &[u8],
    mut cuts: tokio::sync::watch::Receiver<u64>,
) -> io::Result<()> {
    hub.set_nodelay(true)?;
    client.write_all(&response(200, "")).await?;
    hub.write_all(early).await?;
    tokio::select! {
        ended = copy_bidirectional(&mut client, &mut hub) => ended.map(drop),
        _ = cuts.changed() => Ok(()),
    }
}

async fn refuse(mut client: TcpStream, status: u16) -> io::Result<()> {
    client.write_all(&response(status, "Content-Length: 0\r\nConnection: close\r\n")).await?;
    client.shutdown().await
}

/// Says nothing more until the client closes.
async fn outlast(mut client: TcpStream) -> io::Result<()> {
    let mut ignored = [0; 4096];
    while client.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// The head of an answer, with these headers.
fn response(status: u16, headers: &str) -> Vec<u8> {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Other");
    format!("HTTP/1.1 {status} {reason}\r\n{headers}\r\n").into_bytes()
}
