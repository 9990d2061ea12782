//! The contract between the engine and whoever speaks HTTP for it.
//!
//! Beside its transport a client has business over HTTP: an Edge module asks the security daemon for signatures and calls
//! methods through its gateway. Those are state machines of this crate over an [`HttpEngine`], which is a
//! [`Transport`](crate::Transport) in small: it sends each request once, never retries, follows no redirect, and moves only
//! in [`do_work`](HttpEngine::do_work). The real one lives in `iothub-https`, tests bring a scripted one.

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;

use crate::connection_error::ConnectionErrorKind;
use crate::create_error::CreateError;
use crate::endpoint::{ClientCertificate, Trust};
use crate::platform::{Now, Readiness};
use crate::secret::Secret;
use crate::transport::OpId;

/// The most bytes of an answer's body that are read unless the request says otherwise: 1 MiB.
const DEFAULT_MAX_RESPONSE: usize = 1 << 20;

/// Makes HTTP engines; what a [`Provider`](crate::Provider) is for transports.
pub trait HttpProvider: Send + Sync {
    /// Creates an engine. Nothing goes on the wire yet.
    ///
    /// Trust and certificate are for `https://` only, and may be changed with [`HttpEngine::set_tls`].
    fn engine(
        &self,
        trust: &Trust,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Box<dyn HttpEngine>, CreateError>;
}

/// Speaks HTTP, driven by the client.
///
/// All functions return at once. Each request that was started has one result, unless it is cancelled first.
pub trait HttpEngine: Send {
    /// Takes a request over; it goes on the wire in [`do_work`](Self::do_work). At `deadline` it ends as
    /// [`HttpError::TimedOut`]. No other request with this id may be under way.
    fn start(&mut self, id: OpId, request: HttpRequest, deadline: Instant, now: Now);

    /// Gives a request up: what has not gone out does not, and no result comes for it.
    fn cancel(&mut self, id: OpId);

    /// One bounded slice of input, output and timers.
    fn do_work(&mut self, now: Now);

    /// Takes the next result.
    fn poll(&mut self) -> Option<(OpId, Result<HttpResponse, HttpError>)>;

    /// When [`do_work`](Self::do_work) must be called even if no descriptor becomes ready; a time in the past means now,
    /// `None` that nothing is under way.
    fn next_deadline(&self) -> Option<Instant>;

    /// Adds the descriptors to watch.
    fn readiness(&self, out: &mut Vec<Readiness>);

    /// Changes whom `https://` trusts and what it shows, for connections that are made from now on.
    fn set_tls(&mut self, trust: &Trust, certificate: Option<&ClientCertificate>) -> Result<(), CreateError>;
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpMethod {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
}

impl fmt::Display for HttpMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        })
    }
}

/// A request.
///
/// ```
/// use iothub_core::{HttpMethod, HttpRequest};
///
/// let request = HttpRequest::new(HttpMethod::Post, "https://hub.example/devices/d/messages/events")
///     .with_header("Authorization", "SharedAccessSignature sr=...")
///     .with_body("hello");
/// assert!(!format!("{request:?}").contains("SharedAccessSignature"));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpRequest {
    /// What is asked for.
    pub method: HttpMethod,
    /// The absolute URL, percent-encoded: `http://` or `https://`.
    pub url: String,
    /// A unix socket to speak through instead of connecting to the URL's host.
    pub socket: Option<PathBuf>,
    /// Headers; a value may be a token, so all are kept as secrets. `Host` and `Content-Length` are the engine's.
    pub headers: Vec<(String, Secret)>,
    /// The body; empty for none.
    pub body: Bytes,
    /// The most bytes that the answer's body may have; more is [`HttpError::TooLarge`].
    pub max_response: usize,
}

impl HttpRequest {
    /// A request without headers and body, for an answer of at most 1 MiB.
    pub fn new(method: HttpMethod, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            socket: None,
            headers: Vec::new(),
            body: Bytes::new(),
            max_response: DEFAULT_MAX_RESPONSE,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), Secret::new(value)));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Where it goes, for error texts: the URL's host and port, or the socket.
    pub fn peer(&self) -> String {
        if let Some(path) = &self.socket {
            return format!("unix:{}", path.display());
        }
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // Whoever puts a password into a URL does not want it in a log.
        let host = authority.rsplit('@').next().unwrap_or_default();
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        match scheme {
            _ if has_port => host.to_owned(),
            "http" => format!("{host}:80"),
            _ => format!("{host}:443"),
        }
    }
}

// The query may hold a signature (blob storage), a header a token, and the body is the application's.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.url.split('?').next().unwrap_or_default();
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("url", &path)
            .field("socket", &self.socket)
            .field("headers", &headers)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// An answer, whatever its status.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpResponse {
    /// The status: 200 and so on.
    pub status: u16,
    /// The headers, in the order of arrival. A value that is not UTF-8 has its odd bytes replaced.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
}

impl HttpResponse {
    /// An answer without headers.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// The first value of a header; its name counts without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
        header.map(|(_, value)| value.as_str())
    }

    /// Whether the status says that it is done: 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

// The body may be secret.
impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why a request has no answer. No header, body or query is ever part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// It cannot be sent as it is: its URL or a header is malformed.
    #[error("the request to {peer} cannot be sent: {detail}")]
    Malformed {
        /// Where it should have gone.
        peer: String,
        /// What is wrong.
        detail: String,
    },
    /// No connection could be made.
    #[error("{peer}: {kind}")]
    NotConnected {
        /// Host and port.
        peer: String,
        /// Why not.
        kind: ConnectionErrorKind,
    },
    /// The unix socket could not be opened.
    #[error("{peer} cannot be opened ({detail}); check that the service behind it runs and lets this user in")]
    Socket {
        /// `unix:` and its path.
        peer: String,
        /// What the operating system said.
        detail: String,
    },
    /// The connection ended before the whole answer had come.
    #[error("{peer}: the connection broke before the answer was complete ({detail})")]
    Broken {
        /// Host and port, or the socket.
        peer: String,
        /// What happened.
        detail: String,
    },
    /// The deadline came first.
    #[error("{peer} did not answer in time")]
    TimedOut {
        /// Host and port, or the socket.
        peer: String,
    },
    /// The answer is larger than the request allowed.
    #[error("the answer of {peer} has more than {limit} bytes, the most that were asked for")]
    TooLarge {
        /// Host and port, or the socket.
        peer: String,
        /// The request's `max_response`.
        limit: usize,
    },
    /// The engine itself could not do it.
    #[error("the HTTP engine failed: {0}")]
    Engine(String),
}

impl HttpError {
    /// Whether the request may have reached the server, so that a second one could do its work twice.
    pub fn maybe_sent(&self) -> bool {
        match self {
            Self::Malformed { .. } | Self::NotConnected { .. } | Self::Socket { .. } => false,
            Self::Broken { .. } | Self::TimedOut { .. } | Self::TooLarge { .. } | Self::Engine(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_where_it_goes() {
        let peer = |url: &str| HttpRequest::new(HttpMethod::Get, url).peer();
        assert_eq!(peer("https://hub.example/devices?a=1"), "hub.example:443");
        assert_eq!(peer("http://hub.example"), "hub.example:80");
        assert_eq!(peer("https://hub.example:8443/"), "hub.example:8443");
        assert_eq!(peer("https://[::1]:8443/"), "[::1]:8443");
        assert_eq!(peer("http://user:secret@hub.example?q"), "hub.example:80");
        let mut request = HttpRequest::new(HttpMethod::Get, "http://localhost/");
        request.socket = Some("/run/workload.sock".into());
        assert_eq!(request.peer(), "unix:/run/workload.sock");
    }

    #[test]
    fn no_secret_of_a_request_shows() {
        let request = HttpRequest::new(HttpMethod::Put, "https://blob.example/a?sig=geheim")
            .with_header("Authorization", "geheim")
            .with_body("geheim");
        assert!(!format!("{request:?} {}", request.peer()).contains("geheim"));
        assert!(!format!("{:?}", HttpResponse::new(200, "geheim")).contains("geheim"));
    }

    #[test]
    fn a_header_is_found_whatever_its_case() {
        let mut response = HttpResponse::new(204, "");
        response.headers = vec![("etag".into(), "1".into()), ("ETag".into(), "2".into())];
        assert_eq!(response.header("ETAG"), Some("1"));
        assert_eq!(response.header("missing"), None);
    }
}
