//! The proxy on the way: where it is, and the dialogue that makes a tunnel of the connection to it.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use iothub_core::{ConnectStage, ConnectionErrorKind, CreateError, Proxy, ProxyError};
use rustls_pki_types::ServerName;
use zeroize::Zeroizing;

use crate::http::{Answer, HeadError, HeadReader, authority, shown};

/// A proxy, and the request that is sent to it.
pub(crate) struct Via {
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    /// The host, if it is an address already.
    pub(super) literal: Option<IpAddr>,
    /// The whole request; it holds the password.
    request: Zeroizing<Vec<u8>>,
    has_credentials: bool,
}

impl Via {
    /// Through this proxy to that host and port.
    pub(crate) fn new(proxy: &Proxy, host: &str, port: u16) -> Result<Self, CreateError> {
        let wrong = |value: String, allowed| Err(CreateError::Option { option: "proxy", value, allowed });
        let name = unbracketed(&proxy.host);
        if ServerName::try_from(name).is_err() || proxy.port == 0 {
            return wrong(proxy.to_string(), "a DNS name or an IP address, and a port from 1 to 65535");
        }
        if let Some((user, password)) = &proxy.credentials
            && (user.contains(':') || user.chars().chain(password.expose().chars()).any(char::is_control))
        {
            return wrong(
                "one whose credentials cannot be sent".to_owned(),
                "one whose user name has no colon, and neither it nor the password control characters",
            );
        }
        Ok(Self {
            host: name.into(),
            port: proxy.port,
            literal: name.parse().ok(),
            request: request(proxy, &authority(host, port)),
            has_credentials: proxy.credentials.is_some(),
        })
    }

    /// Begins the dialogue on a connection to it.
    pub(crate) fn tunnel(&self) -> Tunnel {
        Tunnel {
            request: self.request.clone(),
            sent: 0,
            answer: HeadReader::default(),
            has_credentials: self.has_credentials,
        }
    }

    /// An error of this proxy.
    pub(super) fn error(&self, error: ProxyError) -> ConnectionErrorKind {
        ConnectionErrorKind::Proxy { proxy: authority(&self.host, self.port), error }
    }

    /// What happened before there was a connection happened on the way to the proxy.
    pub(super) fn blame(&self, kind: ConnectionErrorKind) -> ConnectionErrorKind {
        use ConnectStage::{Resolve, Tcp};
        let detail = match kind {
            ConnectionErrorKind::Dns { detail } => format!("its name could not be resolved: {detail}"),
            ConnectionErrorKind::Refused => "the connection was refused".to_owned(),
            ConnectionErrorKind::Network { stage: Resolve | Tcp, detail } => detail,
            ConnectionErrorKind::TimedOut { stage: stage @ (Resolve | Tcp), after } => {
                format!("{stage} did not finish within {} s", after.as_secs_f32())
            }
            other => return other,
        };
        self.error(ProxyError::Unreachable { detail })
    }
}

/// An IPv6 address may come in the brackets that separate it from a port.
pub(super) fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn request(proxy: &Proxy, target: &str) -> Zeroizing<Vec<u8>> {
    let mut request = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes());
    if let Some((user, password)) = &proxy.credentials {
        let plain = Zeroizing::new(format!("{user}:{}", password.expose()));
        let line = Zeroizing::new(format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(plain.as_bytes())));
        // Growing would leave a copy of it behind.
        let mut whole = Zeroizing::new(Vec::with_capacity(request.len() + line.len() + 2));
        whole.extend_from_slice(&request);
        whole.extend_from_slice(line.as_bytes());
        request = whole;
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// The dialogue with a proxy: CONNECT, and its answer.
pub(crate) struct Tunnel {
    request: Zeroizing<Vec<u8>>,
    sent: usize,
    answer: HeadReader,
    has_credentials: bool,
}

impl Tunnel {
    /// Goes on as far as the connection allows; afterwards it leads to the hub.
    pub(crate) fn poll(&mut self, io: &mut (impl Read + Write)) -> Poll<Result<(), ProxyError>> {
        // A proxy that says no may not even read the request, so its answer counts first.
        let sent = self.send(io);
        match self.answer.poll(io) {
            Poll::Ready(Ok((answer, behind))) => Poll::Ready(self.judge(&answer, &behind)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(match error {
                HeadError::Io(error) => ProxyError::Broken { detail: error.to_string() },
                HeadError::Closed => ProxyError::Broken { detail: "it closed the connection".to_owned() },
                HeadError::Malformed(detail) => ProxyError::NotHttp { detail },
            })),
            Poll::Pending => match sent {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(ProxyError::Broken { detail: error.to_string() })),
            },
        }
    }

    /// Whether a part of the request waits for the connection.
    pub(super) fn wants_write(&self) -> bool {
        self.sent < self.request.len()
    }

    fn send(&mut self, io: &mut impl Write) -> io::Result<()> {
        while self.wants_write() {
            match io.write(&self.request[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn judge(&self, answer: &Answer, behind: &[u8]) -> Result<(), ProxyError> {
        match answer.status {
            // In TLS the client speaks first, so nobody has anything to say yet.
            200..=299 if !behind.is_empty() => {
                Err(ProxyError::NotHttp { detail: format!("{} bytes follow its answer", behind.len()) })
            }
            200..=299 => Ok(()),
            407 if !self.has_credentials => Err(ProxyError::CredentialsWanted),
            407 => {
                let schemes = answer.values("Proxy-Authenticate").filter_map(|value| value.split_whitespace().next());
                let schemes: Vec<_> = schemes.collect();
                let offered = if schemes.is_empty() { "nothing".to_owned() } else { shown(&schemes.join(", ")) };
                Err(ProxyError::CredentialsRefused { offered })
            }
            status => Err(ProxyError::Refused { status, reason: answer.reason.clone() }),
        }
    }
}
