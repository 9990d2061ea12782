//! Calls of methods by modules, through the gateway's HTTPS port (`TwinsController` of the Edge hub).

use std::time::Duration;

use bytes::Bytes;
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{Reply, segments};
use crate::auth::{self, Peer};
use crate::clock::Now;
use crate::hub::HubState;
use crate::hub::registry::Identity;
use crate::method::{CallId, MethodCall, MethodError, MethodResult};

/// The module that calls: `device/module`.
const CALLER: &str = "x-ms-edge-moduleid";

/// The longest name that the Edge hub takes (`MethodRequestValidator`).
const MAX_NAME: usize = 100;

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Answer {
    Now(Reply),
    /// When the call has ended: [`outcome`].
    After(CallId),
}

/// Answers a request to the gateway of this device, or begins to call.
pub(super) fn answer(hub: &mut HubState, now: Now, device: &str, peer: &Peer, request: &Request<Bytes>) -> Answer {
    call(hub, now, device, peer, request).map_or_else(Answer::Now, Answer::After)
}

fn call(hub: &mut HubState, now: Now, device: &str, peer: &Peer, request: &Request<Bytes>) -> Result<CallId, Reply> {
    let path = segments(request.uri().path());
    let path: Vec<_> = path.iter().map(String::as_str).collect();
    let target = match (request.method(), &path[..]) {
        (&Method::POST, ["twins", id, "methods"]) => Identity::device(id),
        (&Method::POST, ["twins", id, "modules", module, "methods"]) => Identity::module(id, module),
        _ => return Err(Reply::refusal(StatusCode::NOT_FOUND, "there is no such request")),
    };
    let caller = caller(request)?;
    let token = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    if caller.device != device {
        let message = format!("'{caller}' is no module of this gateway's device, '{device}'");
        return Err(Reply::refusal(StatusCode::UNAUTHORIZED, message));
    }
    if let Err(reason) = auth::authenticate(hub, &caller, token, peer, now.wall) {
        tracing::debug!(%caller, ?reason, "a call of a method is refused");
        return Err(Reply::refusal(StatusCode::UNAUTHORIZED, format!("'{caller}' is not authenticated")));
    }
    // The Edge hub answers what is wrong with the call itself with a bare string.
    let wrong = |problem: String| Reply { status: StatusCode::BAD_REQUEST, body: problem.into() };
    let call = read(request.body()).map_err(wrong)?;
    hub.start_method(&target, call, now).map_err(|error| failure(&error))
}

fn caller(request: &Request<Bytes>) -> Result<Identity, Reply> {
    let wrong =
        || Reply::refusal(StatusCode::BAD_REQUEST, "x-ms-edge-moduleId is missing, or not of the form device/module");
    let value = request.headers().get(CALLER).and_then(|value| value.to_str().ok()).ok_or_else(wrong)?;
    let caller = Identity::of_client_id(value);
    if caller.module.is_some() && caller.is_well_formed() { Ok(caller) } else { Err(wrong()) }
}

fn read(body: &[u8]) -> Result<MethodCall, String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"))?;
    let name = body["methodName"].as_str().ok_or("methodName is missing")?;
    if !(1..=MAX_NAME).contains(&name.chars().count()) {
        return Err(format!("methodName has {} characters; 1 to {MAX_NAME} are possible", name.chars().count()));
    }
    let mut call = MethodCall::new(name);
    if let Some(seconds) = seconds(&body, "responseTimeoutInSeconds")? {
        call = call.response_timeout(seconds);
    }
    if let Some(seconds) = seconds(&body, "connectTimeoutInSeconds")? {
        call = call.connect_timeout(seconds);
    }
    Ok(match body.get("payload") {
        Some(payload) => call.payload(payload.clone()),
        None => call,
    })
}

fn seconds(body: &Value, name: &str) -> Result<Option<Duration>, String> {
    match &body[name] {
        Value::Null => Ok(None),
        value => value.as_u64().map(|seconds| Some(Duration::from_secs(seconds))).ok_or(format!("{name} is no number")),
    }
}

/// The answer to a call that has ended.
pub(super) fn outcome(result: &Result<MethodResult, MethodError>) -> Reply {
    match result {
        Ok(result) => Reply::ok(json!({ "status": result.status, "payload": result.payload })),
        Err(error) => failure(error),
    }
}

fn failure(error: &MethodError) -> Reply {
    let status = match error {
        MethodError::NotFound { .. } | MethodError::ModuleNotFound { .. } | MethodError::DeviceNotOnline { .. } => {
            StatusCode::NOT_FOUND
        }
        MethodError::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        MethodError::InvalidCall { .. } | MethodError::PayloadTooLarge { which: "request", .. } => {
            return Reply { status: StatusCode::BAD_REQUEST, body: error.to_string().into() };
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Reply::refusal(status, error.to_string())
}
