//! From a byte stream to a WebSocket: the request, and whether the answer is one to it (RFC 6455, 4.1 and 4.2.2).

use std::io::{self, Write};
use std::task::Poll;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use iothub_core::{ConnectStage, ConnectionErrorKind, WebSocketError};
use tungstenite::handshake::derive_accept_key;

use crate::Stream;
use crate::http::{Answer, HeadError, HeadReader, authority, shown};
use crate::tls::random;

/// The port that a request need not name.
const HTTPS: u16 = 443;

/// One request for a WebSocket, and what its answer must be.
pub(super) struct Upgrade {
    request: Vec<u8>,
    sent: usize,
    answer: HeadReader,
    accept: String,
    subprotocol: String,
}

impl Upgrade {
    /// Fails if the operating system has no random numbers.
    pub(super) fn new(host: &str, port: u16, path: &str, subprotocol: &str) -> Result<Self, ConnectionErrorKind> {
        let key = BASE64.encode(random::<16>().map_err(|error| failed(&error))?);
        let authority = authority(host, port);
        let host = if port == HTTPS { authority.trim_end_matches(":443") } else { &authority };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {subprotocol}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        Ok(Self {
            request: request.into_bytes(),
            sent: 0,
            answer: HeadReader::default(),
            accept: derive_accept_key(key.as_bytes()),
            subprotocol: subprotocol.to_owned(),
        })
    }

    /// Goes on as far as the stream allows; at the end come the bytes that were read behind the answer.
    pub(super) fn poll(&mut self, stream: &mut Stream) -> Poll<Result<Vec<u8>, ConnectionErrorKind>> {
        let sent = self.send(stream);
        match self.answer.poll(stream) {
            Poll::Ready(Ok((answer, early))) => {
                Poll::Ready(self.judge(&answer).map(|()| early).map_err(ConnectionErrorKind::WebSocket))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(match error {
                HeadError::Io(error) => failed(&error),
                HeadError::Closed => failed(&io::Error::other("the server closed the connection")),
                HeadError::Malformed(detail) => ConnectionErrorKind::WebSocket(WebSocketError::NotHttp { detail }),
            })),
            Poll::Pending => match sent {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(failed(&error))),
            },
        }
    }

    /// Whether a part of the request waits for the stream.
    pub(super) fn wants_write(&self) -> bool {
        self.sent < self.request.len()
    }

    fn send(&mut self, stream: &mut Stream) -> io::Result<()> {
        loop {
            let outcome = if self.wants_write() {
                stream.write(&self.request[self.sent..]).map(|count| self.sent += count)
            } else if stream.wants_write() {
                stream.flush()
            } else {
                return Ok(());
            };
            match outcome {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn judge(&self, answer: &Answer) -> Result<(), WebSocketError> {
        if answer.status != 101 {
            return Err(WebSocketError::Refused { status: answer.status, reason: answer.reason.clone() });
        }
        let has = |name, element: &str| answer.list(name).any(|value| value.eq_ignore_ascii_case(element));
        let checks = [
            ("Upgrade", has("Upgrade", "websocket")),
            ("Connection", has("Connection", "upgrade")),
            ("Sec-WebSocket-Accept", answer.values("Sec-WebSocket-Accept").eq([self.accept.as_str()])),
        ];
        if let Some((name, _)) = checks.into_iter().find(|(_, is_good)| !is_good) {
            return Err(WebSocketError::Header { name });
        }
        if let Some(extension) = answer.list("Sec-WebSocket-Extensions").next() {
            return Err(WebSocketError::Extension { name: shown(extension) });
        }
        let answered: Vec<_> = answer.list("Sec-WebSocket-Protocol").collect();
        // The hub echoes what it was asked for; some of its front ends do so in their own case.
        if !matches!(answered[..], [one] if one.eq_ignore_ascii_case(&self.subprotocol)) {
            let answered = if answered.is_empty() { "none".to_owned() } else { shown(&answered.join(", ")) };
            return Err(WebSocketError::Subprotocol { wanted: self.subprotocol.clone(), answered });
        }
        Ok(())
    }
}

fn failed(error: &io::Error) -> ConnectionErrorKind {
    ConnectionErrorKind::Network { stage: ConnectStage::Upgrade, detail: error.to_string() }
}
