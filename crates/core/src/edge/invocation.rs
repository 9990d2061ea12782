//! Calling a direct method of a device or module through the Edge gateway: what the application asks for and gets.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::path_segment;
use crate::connection_string::id_problem;
use crate::http_engine::{HttpError, HttpMethod, HttpRequest, HttpResponse};
use crate::identity::Identity;
use crate::json;
use crate::lane::Item;
use crate::limits::MAX_METHOD_PAYLOAD;
use crate::secret::Secret;

/// The version of the API; any works with an Edge gateway, this is the C SDK's.
const API_VERSION: &str = "2020-09-30";

/// What the gateway gives a response by default, as the hub does.
const DEFAULT_RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// What the gateway allows (`MethodRequestValidator` of the Edge hub).
const RESPONSE_TIMEOUTS: std::ops::RangeInclusive<u64> = 5..=300;
const MAX_CONNECT_TIMEOUT: u64 = 300;
const MAX_NAME: usize = 100;

/// What a call may take beyond the time-outs that the gateway observes: connection, TLS, and the way there and back (the C#
/// SDK's margin).
const MARGIN: Duration = Duration::from_secs(15);

/// The most characters of the gateway's own words that are repeated in an error.
const MAX_DETAIL: usize = 200;

/// A direct method to call on a device or on another module: its name, payload and time-outs.
///
/// ```
/// use std::time::Duration;
/// use iothub_core::MethodInvocation;
///
/// let reboot = MethodInvocation::new("reboot")
///     .with_payload(r#"{"delay":5}"#)
///     .with_response_timeout(Duration::from_secs(60));
/// # let _ = reboot;
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct MethodInvocation {
    name: Box<str>,
    payload: Bytes,
    response_timeout: Duration,
    connect_timeout: Duration,
}

impl MethodInvocation {
    /// A call with the payload `null`, that waits 30 s for the answer, and for a target that is connected now.
    ///
    /// A name has 1 to 100 characters.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into().into_boxed_str(),
            payload: Bytes::from_static(b"null"),
            response_timeout: DEFAULT_RESPONSE_TIMEOUT,
            connect_timeout: Duration::ZERO,
        }
    }

    /// The payload: JSON, at most 128 KiB.
    #[must_use]
    pub fn with_payload(mut self, json: impl Into<Bytes>) -> Self {
        self.payload = json.into();
        self
    }

    /// How long the target may take to answer: whole seconds, 5 to 300, default 30.
    #[must_use]
    pub fn with_response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// How long the gateway waits for a target that is not connected: whole seconds, 0 to 300, default 0.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The method's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The payload.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// How long the client waits for the gateway: both time-outs and 15 s.
    pub(crate) fn time_limit(&self) -> Duration {
        self.response_timeout + self.connect_timeout + MARGIN
    }

    pub(crate) fn check(&self) -> Result<(), InvocationError> {
        let characters = self.name.chars().count();
        if !(1..=MAX_NAME).contains(&characters) {
            return Err(InvocationError::Name { characters, limit: MAX_NAME });
        }
        if self.payload.len() > MAX_METHOD_PAYLOAD {
            return Err(InvocationError::PayloadTooLarge { size: self.payload.len(), limit: MAX_METHOD_PAYLOAD });
        }
        json::read::<IgnoredAny>(&self.payload).map_err(InvocationError::NotJson)?;
        let whole = |timeout: Duration| (timeout.subsec_nanos() == 0).then_some(timeout.as_secs());
        if whole(self.response_timeout).is_none_or(|seconds| !RESPONSE_TIMEOUTS.contains(&seconds)) {
            return Err(InvocationError::ResponseTimeout(self.response_timeout));
        }
        if whole(self.connect_timeout).is_none_or(|seconds| seconds > MAX_CONNECT_TIMEOUT) {
            return Err(InvocationError::ConnectTimeout(self.connect_timeout));
        }
        Ok(())
    }
}

// The payload is the application's, and may be secret.
impl fmt::Debug for MethodInvocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodInvocation")
            .field("name", &self.name)
            .field("payload_bytes", &self.payload.len())
            .field("response_timeout", &self.response_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish()
    }
}

/// A call that cannot be made as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvocationError {
    /// The name is empty or too long.
    #[error("the method's name has {characters} characters; it must have 1 to {limit}")]
    Name {
        /// How many it has.
        characters: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The id of the device cannot be one; the text says why.
    #[error("the device id {0}")]
    DeviceId(&'static str),
    /// The id of the module cannot be one; the text says why.
    #[error("the module id {0}")]
    ModuleId(&'static str),
    /// The payload is too large.
    #[error("the method's payload has {size} bytes, the gateway takes {limit}")]
    PayloadTooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The payload is not JSON.
    #[error("the method's payload must be JSON: {0}")]
    NotJson(String),
    /// The response time-out is out of range.
    #[error("the response time-out is {0:?}; it must be from 5 s to 300 s, in whole seconds")]
    ResponseTimeout(Duration),
    /// The connect time-out is out of range.
    #[error("the connect time-out is {0:?}; it must be from 0 s to 300 s, in whole seconds")]
    ConnectTimeout(Duration),
}

/// What the target of a call answered.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MethodResponse {
    /// The target's own status, as in HTTP by convention.
    pub status: i32,
    /// Its payload: JSON, as it came.
    pub payload: Bytes,
}

// The payload is the application's, and may be secret.
impl fmt::Debug for MethodResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodResponse")
            .field("status", &self.status)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

/// A call that has no answer of its target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvokeError {
    /// The gateway answered in place of the target.
    #[error("the gateway answered {status}{}{detail}; {}", if detail.is_empty() { "" } else { ": " }, advice(*status))]
    Status {
        /// The HTTP status: 401 for a token that the gateway does not take, 404 for a target that is not connected or takes
        /// no methods, 504 for one that did not answer in time.
        status: u16,
        /// What the gateway said.
        detail: String,
    },
    /// The gateway could not be asked.
    #[error(transparent)]
    Http(HttpError),
    /// HTTPS to the gateway cannot be set up.
    #[error("HTTPS to the gateway cannot be set up: {0}")]
    Https(String),
    /// The gateway did not answer in time. The method may have been called.
    #[error("the gateway did not answer within {} s", after.as_secs())]
    TimedOut {
        /// How long the client waited.
        after: Duration,
    },
    /// The client had no token to show within the time, because it did not connect. The method was not called.
    #[error("the client had no token for the gateway within {} s; see why it does not connect", after.as_secs())]
    NoToken {
        /// How long it waited.
        after: Duration,
    },
    /// The gateway's answer is none.
    #[error("the gateway's answer is malformed: {0}")]
    Malformed(String),
    /// The client was closed first.
    #[error("the client was closed before the gateway answered")]
    Destroyed,
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => "check that the gateway knows this module, and the clock of this machine",
        404 => "the target is not connected to the gateway, or takes no methods",
        504 => "the target did not answer in time",
        _ => "see the logs of the gateway",
    }
}

/// A call in the client's hands: what the application gave, and whom it is for.
pub(crate) struct Invocation {
    pub(crate) device: String,
    pub(crate) module: Option<String>,
    pub(crate) method: MethodInvocation,
}

impl Item for Invocation {
    fn size(&self) -> usize {
        self.method.payload.len()
    }
}

impl Invocation {
    pub(crate) fn check(&self) -> Result<(), InvocationError> {
        if let Some(problem) = segment_problem(&self.device) {
            return Err(InvocationError::DeviceId(problem));
        }
        if let Some(problem) = self.module.as_deref().and_then(segment_problem) {
            return Err(InvocationError::ModuleId(problem));
        }
        self.method.check()
    }

    /// The request to the gateway, in the name of this module.
    pub(crate) fn request(&self, gateway: &str, caller: &Identity, token: Option<&Secret>) -> HttpRequest {
        let target = match &self.module {
            Some(module) => format!("{}/modules/{}", path_segment(&self.device), path_segment(module)),
            None => path_segment(&self.device).to_string(),
        };
        let url = format!("https://{gateway}/twins/{target}/methods?api-version={API_VERSION}");
        let own_module = caller.module_id.as_deref().unwrap_or_default();
        let mut request = HttpRequest::new(HttpMethod::Post, url)
            .with_header("Content-Type", "application/json; charset=utf-8")
            .with_header("x-ms-edge-moduleId", format!("{}/{own_module}", caller.device_id))
            .with_header("Request-Id", guid())
            .with_header("User-Agent", concat!("iothub-client-rust/", env!("CARGO_PKG_VERSION")))
            .with_body(self.body());
        if let Some(token) = token {
            request = request.with_header("Authorization", token.expose());
        }
        request
    }

    fn body(&self) -> Vec<u8> {
        let MethodInvocation { name, payload, response_timeout, connect_timeout } = &self.method;
        let mut body = format!(
            r#"{{"methodName":{},"responseTimeoutInSeconds":{},"connectTimeoutInSeconds":{},"payload":"#,
            serde_json::Value::from(&**name),
            response_timeout.as_secs(),
            connect_timeout.as_secs(),
        )
        .into_bytes();
        body.extend_from_slice(payload);
        body.push(b'}');
        body
    }
}

/// Reads the gateway's answer.
pub(crate) fn read_response(response: &HttpResponse) -> Result<MethodResponse, InvokeError> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        status: i32,
        #[serde(borrow, default)]
        payload: Option<&'a RawValue>,
    }
    if !response.is_success() {
        return Err(InvokeError::Status { status: response.status, detail: said(&response.body) });
    }
    let text = std::str::from_utf8(&response.body).map_err(|error| InvokeError::Malformed(error.to_string()))?;
    let answer: Answer<'_> = serde_json::from_str(text).map_err(|error| InvokeError::Malformed(error.to_string()))?;
    let payload = answer.payload.map_or("null", RawValue::get);
    Ok(MethodResponse { status: answer.status, payload: Bytes::copy_from_slice(payload.as_bytes()) })
}

/// What the gateway says of an error: `{"message":".."}`, the hub's `{"Message":".."}`, or a bare string.
fn said(body: &Bytes) -> String {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        Object {
            #[serde(alias = "Message")]
            message: String,
        },
        Bare(String),
    }
    let text = match json::read(body) {
        Ok(Said::Object { message } | Said::Bare(message)) => message,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    text.chars().take(MAX_DETAIL).collect()
}

/// An id that a path of a URL can carry.
fn segment_problem(id: &str) -> Option<&'static str> {
    match id {
        "" => Some("is empty"),
        "." | ".." => Some("consists of dots, which a URL cannot carry"),
        id => id_problem(id),
    }
}

/// A random GUID (RFC 9562, version 4), to find the request in the gateway's logs.
fn guid() -> String {
    let mut bits = fastrand::u128(..);
    bits = bits & !(0xf << 76) | 0x4 << 76;
    bits = bits & !(0x3 << 62) | 0x2 << 62;
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_device(method: MethodInvocation) -> Invocation {
        Invocation { device: "d".to_owned(), module: None, method }
    }

    fn header<'a>(request: &'a HttpRequest, name: &str) -> &'a str {
        request.headers.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value.expose())
    }

    #[test]
    fn the_request_is_what_an_edge_gateway_wants() {
        let caller = Identity::module("hub.example", "edge-1", "filter");
        let method = MethodInvocation::new("say \"hi\"\n")
            .with_payload(r#"{"a": 1.50}"#)
            .with_connect_timeout(Duration::from_secs(7));
        let invocation = Invocation { device: "a%b".into(), module: Some("c@d".into()), method };
        let request = invocation.request("gateway", &caller, Some(&Secret::new("token")));
        assert_eq!(request.url, "https://gateway/twins/a%25b/modules/c%40d/methods?api-version=2020-09-30");
        assert_eq!(header(&request, "Authorization"), "token");
        assert_eq!(header(&request, "x-ms-edge-moduleId"), "edge-1/filter");
        assert_eq!(header(&request, "Content-Type"), "application/json; charset=utf-8");
        let body = std::str::from_utf8(&request.body).unwrap();
        let expected = r#"{"methodName":"say \"hi\"\n","responseTimeoutInSeconds":30,"connectTimeoutInSeconds":7,"payload":{"a": 1.50}}"#;
        assert_eq!(body, expected);

        let request = to_device(MethodInvocation::new("m")).request("gateway", &caller, None);
        assert_eq!(request.url, "https://gateway/twins/d/methods?api-version=2020-09-30");
        assert_eq!(header(&request, "Authorization"), "");
    }

    #[test]
    fn each_mistake_is_named() {
        let error = |method: MethodInvocation| to_device(method).check().unwrap_err();
        let call = || MethodInvocation::new("m");
        let seconds = Duration::from_secs;
        assert_eq!(error(MethodInvocation::new("")), InvocationError::Name { characters: 0, limit: 100 });
        let long = MethodInvocation::new("ü".repeat(101));
        assert_eq!(error(long), InvocationError::Name { characters: 101, limit: 100 });
        assert!(to_device(MethodInvocation::new("ü".repeat(100))).check().is_ok());
        assert!(matches!(error(call().with_payload("{")), InvocationError::NotJson(_)));
        assert!(matches!(error(call().with_payload("")), InvocationError::NotJson(_)));
        let large = format!("\"{}\"", "x".repeat(MAX_METHOD_PAYLOAD));
        assert!(matches!(error(call().with_payload(large)), InvocationError::PayloadTooLarge { .. }));
        for wrong in [seconds(4), seconds(301), Duration::from_millis(5500)] {
            assert_eq!(error(call().with_response_timeout(wrong)), InvocationError::ResponseTimeout(wrong));
        }
        for wrong in [seconds(301), Duration::from_millis(500)] {
            assert_eq!(error(call().with_connect_timeout(wrong)), InvocationError::ConnectTimeout(wrong));
        }
        for wrong in ["", ".", "..", "a/b", "a b"] {
            let to = |device: &str, module: Option<&str>| {
                let (device, module) = (device.to_owned(), module.map(str::to_owned));
                Invocation { device, module, method: call() }.check().unwrap_err()
            };
            assert!(matches!(to(wrong, None), InvocationError::DeviceId(_)));
            assert!(matches!(to("d", Some(wrong)), InvocationError::ModuleId(_)));
        }
    }

    #[test]
    fn an_answer_keeps_its_payload_as_it_came() {
        let read = |body: &'static str| read_response(&HttpResponse::new(200, body));
        let answer = read(r#"{"status":-7,"payload": {"a" : 1.50}, "more":1}"#).unwrap();
        assert_eq!((answer.status, &answer.payload[..]), (-7, br#"{"a" : 1.50}"#.as_slice()));
        assert_eq!(read(r#"{"status":200,"payload":null}"#).unwrap().payload, "null");
        assert_eq!(read(r#"{"status":200}"#).unwrap().payload, "null");
        for malformed in ["", "{}", r#"{"status":"200"}"#, "[]", r#"{"status":3000000000}"#] {
            assert!(matches!(read(malformed), Err(InvokeError::Malformed(_))), "{malformed}");
        }
    }

    #[test]
    fn an_error_repeats_what_the_gateway_said() {
        let detail = |body: &str| match read_response(&HttpResponse::new(404, body.to_owned())) {
            Err(InvokeError::Status { status: 404, detail }) => detail,
            other => panic!("{other:?}"),
        };
        assert_eq!(detail(r#"{"message":"gone"}"#), "gone");
        assert_eq!(detail(r#"{"Message":"gone"}"#), "gone");
        assert_eq!(detail(r#""gone""#), "gone");
        assert_eq!(detail("gone"), "gone");
        assert_eq!(detail(""), "");
        assert_eq!(detail(&"x".repeat(1000)).len(), MAX_DETAIL);
    }

    #[test]
    fn guids_are_of_version_4() {
        let guid = guid();
        let parts: Vec<_> = guid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&guid[14..15], "4");
        assert!("89ab".contains(&guid[19..20]), "{guid}");
    }

    #[test]
    fn no_payload_shows_in_debug() {
        let method = MethodInvocation::new("m").with_payload(r#""geheim""#);
        let answer = MethodResponse { status: 200, payload: "geheim".into() };
        assert!(!format!("{method:?} {answer:?}").contains("geheim"));
    }
}
