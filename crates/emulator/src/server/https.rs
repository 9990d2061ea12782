//! Requests on one connection of the HTTPS port, until it ends or becomes a WebSocket.

use std::future::{Ready, poll_fn, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::activity::DisconnectReason;
use crate::arrival::Arrival;
use crate::faults::DropPoint;
use crate::head::Close;
use crate::https::{Answer, Upgrade, answer};
use crate::server::connection::Waker;
use crate::server::stream::Stream;
use crate::shared::Shared;

/// The longest head of a request.
const MAX_HEAD: usize = 16 * 1024;

/// Serves requests. Gives what is left of the connection once it has become a WebSocket; otherwise it has ended.
pub(super) async fn serve(
    tls: TlsStream<TcpStream>,
    shared: &Shared,
    arrival: &mut Arrival,
    waker: &Waker,
) -> Option<(Unread, Upgrade)> {
    // The service and the loop around it take turns in one task.
    let desk = Mutex::new(Desk { arrival, upgrade: None });
    let service = service_fn(|request| desk_of(&desk).serve(shared, &request));
    let mut connection = http1::Builder::new().max_buf_size(MAX_HEAD).serve_connection(TokioIo::new(tls), service);
    let served = loop {
        let deadline = desk_of(&desk).arrival.deadline();
        tokio::select! {
            served = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break served,
            () = waker.due(|now| Some(now.until_elapsed(deadline))) => {
                shared.change(|hub, now| desk_of(&desk).arrival.poll(hub, now));
                if desk_of(&desk).arrival.is_over() {
                    break Ok(());
                }
            }
        }
    };
    let http1::Parts { io, read_buf, .. } = connection.into_parts();
    let Desk { arrival, upgrade } = desk.into_inner().unwrap_or_else(PoisonError::into_inner);
    let tls = io.into_inner();
    if let Some(upgrade) = upgrade {
        shared.change(|hub, now| arrival.reach(hub, now, DropPoint::UpgradeSent));
        if !arrival.is_over() {
            return Some((Unread { early: read_buf, tls }, upgrade));
        }
    }
    // A fault or the end of its time ends it without a word.
    let close = if arrival.is_over() { Close::Bare } else { Close::Orderly };
    let why = match served {
        Err(error) if error.is_parse() => DisconnectReason::ProtocolViolation(error.to_string()),
        _ => DisconnectReason::ConnectionLost,
    };
    shared.change(|hub, now| arrival.end(hub, now, why));
    Stream::new(tls).end(close).await;
    None
}

/// Where requests are answered.
struct Desk<'a> {
    arrival: &'a mut Arrival,
    upgrade: Option<Upgrade>,
}

fn desk_of<'a, 'b>(desk: &'b Mutex<Desk<'a>>) -> MutexGuard<'b, Desk<'a>> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk<'_> {
    fn serve(&mut self, shared: &Shared, request: &Request<Incoming>) -> Ready<Result<Response<String>, Dropped>> {
        ready(match shared.change(|hub, now| answer(hub, now, self.arrival, request)) {
            Answer::Respond(response) => Ok(response),
            Answer::Switch(response, upgrade) => {
                self.upgrade = Some(upgrade);
                Ok(response)
            }
            Answer::Nothing => Err(Dropped),
        })
    }
}

/// The connection ends in place of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection was dropped by a fault")]
struct Dropped;

/// A connection of which some bytes have been read already.
pub(super) struct Unread {
    early: Bytes,
    tls: TlsStream<TcpStream>,
}

impl Unread {
    pub(super) fn tcp(&mut self) -> &mut TcpStream {
        self.tls.get_mut().0
    }
}

impl AsyncRead for Unread {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.tls).poll_read(cx, buf);
        }
        let length = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..length]);
        self.early.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Unread {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
