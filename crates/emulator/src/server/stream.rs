//! One TLS stream as the connection's task sees it: pending output, input, and the two ways to end.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::head::Close;

/// While so much output waits, no input is read: the back-pressure is TCP's.
const HIGH_WATER: usize = 256 * 1024;
/// How much is read before it is handled.
const READ_SIZE: usize = 16 * 1024;
/// How long a peer may take to read the last output, and to close its side after ours.
const LINGER: Duration = Duration::from_secs(1);

pub(super) struct Stream {
    tls: TlsStream<TcpStream>,
    output: Vec<u8>,
    written: usize,
    unflushed: bool,
    input: Box<[u8; READ_SIZE]>,
}

impl Stream {
    pub(super) fn new(tls: TlsStream<TcpStream>) -> Self {
        Self { tls, output: Vec::new(), written: 0, unflushed: false, input: Box::new([0; READ_SIZE]) }
    }

    pub(super) fn push(&mut self, output: Vec<u8>) {
        if self.written == self.output.len() {
            (self.output, self.written) = (output, 0);
        } else {
            self.output.extend_from_slice(&output);
        }
    }

    /// Writes what it can and waits for input; no bytes mean that the peer has closed. Nothing is lost when the future is dropped.
    pub(super) async fn read(&mut self) -> io::Result<&[u8]> {
        let length = poll_fn(|cx| self.poll_read(cx)).await?;
        Ok(&self.input[..length])
    }

    /// Writes what is left, if the peer reads it.
    pub(super) async fn flush(&mut self) {
        let _ = tokio::time::timeout(LINGER, poll_fn(|cx| self.poll_write(cx))).await;
    }

    /// How much the peer has not read yet.
    pub(super) fn pending(&self) -> usize {
        self.output.len() - self.written
    }

    /// Writes what is left and ends the stream; or resets it, and what is left is lost.
    pub(super) async fn end(mut self, close: Close) {
        match close {
            Close::Reset => reset(self.tls.get_ref().0),
            Close::Orderly => {
                self.flush().await;
                let _ = tokio::time::timeout(LINGER, self.tls.shutdown()).await;
                end_tcp(self.tls.into_inner().0).await;
            }
            Close::Bare => {
                self.flush().await;
                end_tcp(self.tls.into_inner().0).await;
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(Err(error));
        }
        if self.pending() >= HIGH_WATER {
            return Poll::Pending; // poll_write has left its waker
        }
        let mut buffer = ReadBuf::new(&mut *self.input);
        // As much as there is: many packets are handled, and answered, at once.
        loop {
            let before = buffer.filled().len();
            match Pin::new(&mut self.tls).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().len() > before && buffer.remaining() > 0 => {}
                // An end or an error behind some bytes comes again at the next call.
                Poll::Ready(Err(error)) if before == 0 => return Poll::Ready(Err(error)),
                Poll::Pending if before == 0 => return Poll::Pending,
                _ => return Poll::Ready(Ok(buffer.filled().len())),
            }
        }
    }

    /// Ready when everything is written and flushed.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let length = ready!(Pin::new(&mut self.tls).poll_write(cx, &self.output[self.written..]))?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += length;
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.tls).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// Lets the end of the socket be a RST.
#[allow(
    deprecated,
    reason = "a linger of zero never blocks, and its newer name is not in the oldest tokio that we allow"
)]
fn reset(tcp: &TcpStream) {
    if let Err(error) = tcp.set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "cannot reset the connection");
    }
}

/// Closes our side, then reads away what the peer still sends: closing with unread input would reset the connection, and the peer
/// might lose the last thing it was told.
pub(super) async fn end_tcp(mut tcp: TcpStream) {
    let drain = async {
        tcp.shutdown().await?;
        let mut rest = [0; 4096];
        while tcp.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}
