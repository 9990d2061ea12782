//! A WebSocket as a stream of bytes: what its binary messages hold, however they are cut (docs/hub-over-mqtt.md 9).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_core::Stream as _;
use futures_sink::Sink as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_websockets::{CloseCode, Config, Error, Limits, Message, ServerBuilder, WebSocketStream};

use crate::server::https::Unread;
use crate::server::stream::Wire;

/// The longest message that is taken: four times the largest packet. A longer one is closed with 1009.
const MAX_MESSAGE: usize = 1024 * 1024;
/// How much goes into one message to the peer, so that little waits unwritten outside of the stream's own output.
const CHUNK: usize = 16 * 1024;

pub(super) struct WebSocket {
    inner: WebSocketStream<Unread>,
    /// What is left of the message that was read last.
    message: Bytes,
    input: Input,
}

/// Whether more can be read.
enum Input {
    Open,
    /// The peer has closed.
    Closed,
    /// The peer has broken the rules, and was told so.
    Misused(String),
}

impl WebSocket {
    /// Takes over after the answer 101. Its messages go in frames of at most `frame_size`, if that is given.
    pub(super) fn new(io: Unread, frame_size: Option<usize>) -> Self {
        let limits = Limits::default().max_payload_len(Some(MAX_MESSAGE));
        let config = Config::default().frame_size(frame_size.unwrap_or(CHUNK));
        let inner = ServerBuilder::new().limits(limits).config(config).serve(io);
        Self { inner, message: Bytes::new(), input: Input::Open }
    }

    fn refuse(&mut self, code: CloseCode, why: String) {
        // If the library has said goodbye already, that stands.
        let _ = Pin::new(&mut self.inner).start_send(Message::close(Some(code), &why));
        self.input = Input::Misused(why);
    }
}

impl Wire for WebSocket {
    fn tcp(&mut self) -> &mut TcpStream {
        self.inner.get_mut().tcp()
    }

    fn misuse(&self) -> Option<&str> {
        match &self.input {
            Input::Misused(how) => Some(how),
            Input::Open | Input::Closed => None,
        }
    }

    fn is_closing(&self) -> bool {
        !matches!(self.input, Input::Open)
    }
}

impl AsyncRead for WebSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.message.is_empty() {
                let length = self.message.len().min(buf.remaining());
                buf.put_slice(&self.message[..length]);
                self.message.advance(length);
                return Poll::Ready(Ok(()));
            }
            match &self.input {
                Input::Open => {}
                Input::Closed => return Poll::Ready(Ok(())),
                Input::Misused(_) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
            // A peer that does not read its pongs is not read either.
            ready!(Pin::new(&mut self.inner).poll_ready(cx)).map_err(io_error)?;
            match ready!(Pin::new(&mut self.inner).poll_next(cx)) {
                Some(Ok(message)) if message.is_binary() => self.message = message.into_payload().into(),
                Some(Ok(message)) if message.is_text() => {
                    self.refuse(
                        CloseCode::UNSUPPORTED_DATA,
                        "a text message on a WebSocket for binary ones".to_owned(),
                    );
                }
                // A ping, a pong or a close, which the library answers.
                Some(Ok(_)) => {}
                None => self.input = Input::Closed,
                Some(Err(Error::Io(error))) => return Poll::Ready(Err(error)),
                Some(Err(error @ Error::PayloadTooLong { .. })) => {
                    self.refuse(CloseCode::MESSAGE_TOO_BIG, error.to_string());
                }
                Some(Err(error)) => self.refuse(CloseCode::PROTOCOL_ERROR, error.to_string()),
            }
        }
    }
}

impl AsyncWrite for WebSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.inner).poll_ready(cx)).map_err(io_error)?;
        let chunk = &buf[..buf.len().min(CHUNK)];
        Pin::new(&mut self.inner).start_send(Message::binary(Bytes::copy_from_slice(chunk))).map_err(io_error)?;
        Poll::Ready(Ok(chunk.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx).map_err(io_error)
    }

    /// Says goodbye, waits for the peer to do so, and then ends TLS.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx).map_err(io_error)
    }
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::other(other),
    }
}
