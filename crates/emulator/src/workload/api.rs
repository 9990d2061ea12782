//! The workload API: signatures with a module's key, and the trust bundle.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;

use super::{Reply, segments};
use crate::device::DeviceAuth;
use crate::hub::HubState;

/// The versions of the API; all have the same requests.
pub(super) const VERSIONS: [&str; 3] = ["2018-06-28", "2019-01-30", "2020-07-07"];

/// Answers a request of a module of this device.
pub(super) fn answer(hub: &HubState, device: &str, ca_pem: &str, request: &Request<Bytes>) -> Reply {
    let query = request.uri().query().unwrap_or_default();
    let version = query.split('&').find_map(|pair| pair.strip_prefix("api-version=")).unwrap_or_default();
    if !VERSIONS.contains(&version) {
        return Reply::refusal(StatusCode::BAD_REQUEST, format!("api-version is {version:?}; known are {VERSIONS:?}"));
    }
    let path = segments(request.uri().path());
    let path: Vec<_> = path.iter().map(String::as_str).collect();
    match (request.method(), &path[..]) {
        (&Method::GET, ["trust-bundle"]) => Reply::ok(json!({ "certificate": ca_pem })),
        (&Method::POST, ["modules", module, "genid", generation_id, "sign"]) => {
            sign(hub, device, module, generation_id, request.body())
        }
        _ => Reply::refusal(StatusCode::NOT_FOUND, "there is no such request"),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignRequest {
    key_id: String,
    algo: String,
    data: String,
}

fn sign(hub: &HubState, device: &str, module: &str, generation_id: &str, body: &[u8]) -> Reply {
    let Some(entry) = hub.registry.module(device, module).filter(|entry| entry.generation_id == generation_id) else {
        let message = format!("device '{device}' has no module '{module}' of generation '{generation_id}'");
        return Reply::refusal(StatusCode::NOT_FOUND, message);
    };
    let DeviceAuth::SymmetricKey { primary, secondary } = &entry.auth else {
        return Reply::refusal(StatusCode::BAD_REQUEST, format!("module '{module}' has no symmetric key"));
    };
    let request: SignRequest = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => return Reply::refusal(StatusCode::BAD_REQUEST, format!("the body is malformed: {error}")),
    };
    let key = match request.key_id.as_str() {
        "primary" => primary,
        "secondary" => secondary,
        other => {
            return Reply::refusal(StatusCode::BAD_REQUEST, format!("keyId is {other:?}, not primary or secondary"));
        }
    };
    if request.algo != "HMACSHA256" {
        return Reply::refusal(StatusCode::BAD_REQUEST, format!("algo is {:?}, not HMACSHA256", request.algo));
    }
    let Ok(data) = BASE64.decode(&request.data) else {
        return Reply::refusal(StatusCode::BAD_REQUEST, "data is not base64");
    };
    match hmac(key.expose(), &data) {
        Some(digest) => Reply::ok(json!({ "digest": BASE64.encode(digest) })),
        None => {
            Reply::refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("the key of module '{module}' is not base64"))
        }
    }
}

fn hmac(key: &str, data: &[u8]) -> Option<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&BASE64.decode(key).ok()?).ok()?;
    mac.update(data);
    Some(mac.finalize().into_bytes().to_vec())
}
