//! What runs beside the hub on an IoT Edge device: the security daemon with its workload API, and the gateway's HTTPS port
//! for calls of methods. The answers are pure functions of request and hub; `server` moves them over the network.

mod api;
mod gateway;
mod server;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::error::{HubError, StartError};
use crate::handle::Hub;
use crate::hub::registry::{Identity, not_found};
use server::{Server, Workload};

/// The most requests that are kept on record.
const MAX_RECORD: usize = 10_000;

/// The IoT Edge runtime of one device, as its modules see it: the workload API, which signs with their keys and knows whom
/// to trust, and the gateway's HTTPS port, through which they call methods. MQTT through the gateway is the hub's own port.
///
/// A module may be any of the device's; nothing runs in a container. Dropping it closes its ports.
///
/// ```
/// use iothub_emulator::{EdgeRuntime, Emulator};
///
/// let hub = Emulator::start()?;
/// hub.create_device("boiler")?;
/// hub.create_module("boiler", "filter")?;
/// let edge = EdgeRuntime::start(&hub, "boiler")?;
/// for (name, value) in edge.variables("filter")? {
///     println!("{name}={value}");
/// }
/// println!("methods: https://localhost:{}", edge.gateway_address().port());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct EdgeRuntime {
    hub: Hub,
    facts: Arc<Facts>,
    server: Server,
}

/// A request to the runtime, and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EdgeRequest {
    /// `GET`, `POST`.
    pub method: String,
    /// Path and query, as they were asked for.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
}

/// What the runtime's answers depend on beside the hub.
#[derive(Debug)]
struct Facts {
    device: String,
    ca_pem: String,
    record: Mutex<VecDeque<EdgeRequest>>,
}

impl EdgeRuntime {
    /// Starts the runtime of a device, with the workload API on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// [`StartError::Listen`], [`StartError::Thread`].
    pub fn start(hub: &Hub, device: &str) -> Result<Self, StartError> {
        Self::start_at(hub, device, None)
    }

    /// Starts the runtime of a device, with the workload API on a unix socket at this path, as on a real device. The path must be free, and is
    /// so again when the runtime is dropped.
    ///
    /// # Errors
    /// [`StartError::ListenOnSocket`], [`StartError::Listen`], [`StartError::Thread`].
    pub fn start_on_socket(hub: &Hub, device: &str, path: impl Into<PathBuf>) -> Result<Self, StartError> {
        Self::start_at(hub, device, Some(path.into()))
    }

    fn start_at(hub: &Hub, device: &str, socket: Option<PathBuf>) -> Result<Self, StartError> {
        let facts = Facts { device: device.to_owned(), ca_pem: hub.ca_pem(), record: Mutex::new(VecDeque::new()) };
        let facts = Arc::new(facts);
        let server = Server::start(hub, Arc::clone(&facts), socket)?;
        Ok(Self { hub: hub.clone(), facts, server })
    }

    /// Where the workload API is: the value of `IOTEDGE_WORKLOADURI`.
    #[must_use]
    pub fn workload_uri(&self) -> String {
        match self.server.workload() {
            Workload::Port(address) => format!("http://{address}"),
            Workload::Socket(path) => format!("unix://{}", path.display()),
        }
    }

    /// The bound address of the gateway's HTTPS.
    #[must_use]
    pub fn gateway_address(&self) -> SocketAddr {
        self.server.gateway_address()
    }

    /// The environment variables that the runtime sets in a module. The gateway is `localhost`, with the port of MQTT, which a real gateway has by
    /// itself: 8883.
    ///
    /// # Errors
    /// [`HubError::ModuleNotFound`].
    pub fn variables(&self, module: &str) -> Result<Vec<(&'static str, String)>, HubError> {
        let device = &self.facts.device;
        let known = self.hub.module(device, module).ok_or_else(|| not_found(&Identity::module(device, module)))?;
        Ok(vec![
            ("IOTEDGE_APIVERSION", api::VERSIONS[0].to_owned()),
            ("IOTEDGE_AUTHSCHEME", "sasToken".to_owned()),
            ("IOTEDGE_DEVICEID", device.clone()),
            ("IOTEDGE_GATEWAYHOSTNAME", format!("localhost:{}", self.hub.mqtt_address().port())),
            ("IOTEDGE_IOTHUBHOSTNAME", self.hub.host_name()),
            ("IOTEDGE_MODULEGENERATIONID", known.generation_id),
            ("IOTEDGE_MODULEID", module.to_owned()),
            ("IOTEDGE_WORKLOADURI", self.workload_uri()),
        ])
    }

    /// The requests so far, the last 10,000 of them, in the order of their answers.
    #[must_use]
    pub fn requests(&self) -> Vec<EdgeRequest> {
        self.facts.record().iter().cloned().collect()
    }
}

impl Facts {
    fn record(&self) -> MutexGuard<'_, VecDeque<EdgeRequest>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, request: EdgeRequest) {
        let mut record = self.record();
        if record.len() == MAX_RECORD {
            record.pop_front();
        }
        record.push_back(request);
    }
}

/// The segments of a path, decoded.
fn segments(path: &str) -> Vec<String> {
    let decoded = |segment| percent_decode_str(segment).decode_utf8_lossy().into_owned();
    path.split('/').skip(1).map(decoded).collect()
}

/// An answer.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    body: Value,
}

impl Reply {
    fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, body }
    }

    /// An error, as daemon and gateway write it.
    fn refusal(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, body: json!({ "message": message.into() }) }
    }

    fn response(&self) -> Response<String> {
        let mut response = Response::new(self.body.to_string());
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}
