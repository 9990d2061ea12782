//! Requests that are refused: with which status, and why.

use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, SEC_WEBSOCKET_VERSION};
use hyper::{Request, Response, StatusCode};

use crate::activity::{Activity, ConnectionId};
use crate::clock::Now;
use crate::guid;
use crate::https::upgrade;

/// The symbolic name of the error, which the hub's own clients look for.
const ERROR_CODE: HeaderName = HeaderName::from_static("iothub-errorcode");
/// Every answer of the hub has one.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// Told to the peer and kept on record: what is wrong, and what to do.
    pub(crate) why: String,
    header: Option<(HeaderName, &'static str)>,
}

impl Refusal {
    /// The hub answers 400 to whatever is wrong with a request for a WebSocket (MicrosoftDocs/azure-docs 21306 for path and
    /// subprotocol, RFC 6455 4.2.1 for the rest).
    pub(crate) fn bad_upgrade(why: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, why: why.into(), header: None }
    }

    /// RFC 6455 4.4: another version of the protocol is answered with the one that is spoken.
    pub(crate) fn other_version() -> Self {
        Self {
            status: StatusCode::UPGRADE_REQUIRED,
            why: "only version 13 of WebSocket is spoken".to_owned(),
            header: Some((SEC_WEBSOCKET_VERSION, "13")),
        }
    }

    /// A request that asks for no WebSocket: there is nothing else here. Without an api-version the hub does not even look (400001).
    pub(crate) fn without_upgrade<B>(request: &Request<B>) -> Self {
        if upgrade::is_path_of_web_sockets(request.uri().path()) {
            return Self::bad_upgrade("this path is for WebSocket: ask for it with Upgrade and Connection");
        }
        let query = request.uri().query().unwrap_or_default();
        if !query.split('&').any(|pair| pair.starts_with("api-version=")) {
            let why = "api-version is missing".to_owned();
            return Self { status: StatusCode::BAD_REQUEST, why, header: Some((ERROR_CODE, "InvalidProtocolVersion")) };
        }
        Self { status: StatusCode::NOT_FOUND, why: "there is no such path".to_owned(), header: None }
    }

    pub(crate) fn injected(status: u16) -> Self {
        // What is no final status could not be told from an answer that goes on.
        let status = StatusCode::from_u16(status).ok().filter(|status| (200..600).contains(&status.as_u16()));
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, why: "a fault was injected".to_owned(), header: None }
    }

    pub(crate) fn response(self) -> Response<String> {
        let mut response = Response::new(format!("{}\n", self.why));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if let Ok(id) = HeaderValue::try_from(guid::random()) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some((name, value)) = self.header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    pub(crate) fn activity<B>(&self, now: Now, connection: ConnectionId, request: &Request<B>) -> Activity {
        Activity::RequestRefused {
            at: now.wall,
            connection,
            method: request.method().to_string(),
            path: request.uri().to_string(),
            status: self.status.as_u16(),
            why: self.why.clone(),
        }
    }
}
