//! Requests for a WebSocket: RFC 6455 4.2, and which protocol is spoken where.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use percent_encoding::percent_decode_str;
use sha1::{Digest as _, Sha1};

use crate::activity::WebSocketUpgrade;
use crate::https::refusal::Refusal;

/// What is spoken over a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Mqtt,
    Amqp,
}

/// Which protocol is spoken where: path, subprotocol, protocol. Paths and subprotocols are compared without regard to case.
/// AMQP has the name that Azure gives it and the registered one, for devices and for back ends (docs/hub-over-amqp.md 1).
const ROUTES: [(&str, &str, Protocol); 5] = [
    ("/$iothub/websocket", "mqtt", Protocol::Mqtt),
    ("/$iothub/websocket", "AMQPWSB10", Protocol::Amqp),
    ("/$iothub/websocket", "amqp", Protocol::Amqp),
    ("/$servicebus/websocket", "AMQPWSB10", Protocol::Amqp),
    ("/$servicebus/websocket", "amqp", Protocol::Amqp),
];

/// What RFC 6455 1.3 appends to a key.
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The bytes of a key.
const KEY_LENGTH: usize = 16;

/// An accepted request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Upgrade {
    pub(crate) protocol: Protocol,
    pub(crate) asked: WebSocketUpgrade,
    /// The longest payload of a frame to the peer, if a fault asks for one.
    pub(crate) frame_size: Option<usize>,
    accept: String,
}

impl Upgrade {
    pub(crate) fn response(&self) -> Response<String> {
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        // Both came in a header, or are base64: they fit one.
        for (name, text) in [(SEC_WEBSOCKET_ACCEPT, &self.accept), (SEC_WEBSOCKET_PROTOCOL, &self.asked.subprotocol)] {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// Whether a WebSocket is what the request asks for, rightly or not.
pub(crate) fn is_asked_for<B>(request: &Request<B>) -> bool {
    tokens(request, &UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket"))
}

pub(crate) fn is_path_of_web_sockets(path: &str) -> bool {
    ROUTES.iter().any(|(known, ..)| is_path(path, known))
}

/// Checks a request that asks for a WebSocket.
pub(crate) fn accept<B>(request: &Request<B>) -> Result<Upgrade, Refusal> {
    let refuse = |why: &str| Err(Refusal::bad_upgrade(why));
    let path = request.uri().path();
    if !is_path_of_web_sockets(path) {
        return refuse("there is no WebSocket at this path: ask for /$iothub/websocket or /$servicebus/websocket");
    }
    if request.method() != Method::GET {
        return refuse("a WebSocket is asked for with GET");
    }
    if request.version() != Version::HTTP_11 {
        return refuse("a WebSocket is asked for in HTTP/1.1");
    }
    if !tokens(request, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade")) {
        return refuse("the header Connection does not say Upgrade");
    }
    if single(request, &SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(Refusal::other_version());
    }
    let key = single(request, &SEC_WEBSOCKET_KEY).unwrap_or_default();
    if !STANDARD.decode(key).is_ok_and(|key| key.len() == KEY_LENGTH) {
        return refuse("Sec-WebSocket-Key is not one text of 16 bytes in base64");
    }
    let (subprotocol, protocol) = subprotocol(request, path).ok_or_else(|| unknown_subprotocol(request))?;
    let target = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    Ok(Upgrade {
        protocol,
        asked: WebSocketUpgrade { path: target, subprotocol: subprotocol.to_owned() },
        frame_size: None,
        accept: accept_value(key),
    })
}

/// The first of the offered subprotocols that is spoken at the path.
fn subprotocol<'a, B>(request: &'a Request<B>, path: &str) -> Option<(&'a str, Protocol)> {
    tokens(request, &SEC_WEBSOCKET_PROTOCOL).find_map(|offered| {
        let route = ROUTES.iter().find(|(at, name, _)| is_path(path, at) && name.eq_ignore_ascii_case(offered));
        route.map(|(.., protocol)| (offered, *protocol))
    })
}

fn unknown_subprotocol<B>(request: &Request<B>) -> Refusal {
    let offered: Vec<_> = tokens(request, &SEC_WEBSOCKET_PROTOCOL).collect();
    Refusal::bad_upgrade(format!(
        "none of the subprotocols {offered:?} is spoken here: ask for mqtt, AMQPWSB10 or amqp"
    ))
}

fn accept_value(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize())
}

/// Whether it is this path: decoded, in whatever case, with or without a slash at its end.
fn is_path(path: &str, known: &str) -> bool {
    let path = percent_decode_str(path).decode_utf8_lossy();
    path.strip_suffix('/').unwrap_or(&path).eq_ignore_ascii_case(known)
}

/// The entries of a header that holds a list, over all its lines.
fn tokens<'a, B>(request: &'a Request<B>, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = request.headers().get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// The value of a header that is there once.
fn single<'a, B>(request: &'a Request<B>, name: &HeaderName) -> Option<&'a str> {
    let mut lines = request.headers().get_all(name).into_iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().ok().map(str::trim),
        _ => None,
    }
}
