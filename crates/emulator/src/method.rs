//! What the service side gives and takes of a direct method: the call, its result, its errors, and the handle of one that is under way (docs/hub-over-mqtt.md 5).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::error::WaitError;
use crate::shared::Shared;

/// A direct method call, built with its methods from [`MethodCall::new`].
///
/// ```
/// use iothub_emulator::MethodCall;
/// use std::time::Duration;
/// let call = MethodCall::new("reboot").payload(serde_json::json!({"delay": 5})).response_timeout(Duration::from_secs(10));
/// # let _ = call;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct MethodCall {
    pub(crate) name: String,
    pub(crate) body: Bytes,
    pub(crate) response_timeout: Duration,
    pub(crate) connect_timeout: Duration,
}

impl MethodCall {
    /// A call without a payload, which reaches the device as `{}` (docs/hub-over-mqtt.md 14).
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            body: Bytes::from_static(b"{}"),
            response_timeout: Duration::from_secs(30),
            connect_timeout: Duration::ZERO,
        }
    }

    /// The payload, which reaches the device as compact JSON; at most 128 KiB.
    pub fn payload(mut self, payload: Value) -> Self {
        self.body = payload.to_string().into();
        self
    }

    /// The payload as it goes to the device, be it empty or no JSON: for tests of devices. A real service can only send JSON.
    pub fn raw_payload(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// How long the device may take to answer, by the hub's clock, 5 to 300 s. Default 30 s (docs/hub-over-mqtt.md 5).
    pub fn response_timeout(mut self, limit: Duration) -> Self {
        self.response_timeout = limit;
        self
    }

    /// How long to wait for the device to connect and subscribe, by the hub's clock, 0 to 300 s. Default 0: it must be there now (docs/hub-over-mqtt.md 5).
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }
}

/// What the device answered.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MethodResult {
    /// The device's status. Any integer; what it means is between device and service.
    pub status: i64,
    /// The device's payload; `null` if it sent none.
    pub payload: Value,
}

/// Why a method call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MethodError {
    /// No device has this id, or it was deleted meanwhile (404001).
    #[error("404001: no device '{device}' in the registry; create it first")]
    NotFound {
        /// The id that was asked for.
        device: String,
    },
    /// The device has no module with this id, or it was deleted meanwhile (404010).
    #[error("404010: device '{device}' has no module '{module}' in the registry; create it first")]
    ModuleNotFound {
        /// The device.
        device: String,
        /// The id that was asked for.
        module: String,
    },
    /// The device is not connected, or has not subscribed to methods, and the connect time-out is over (404103).
    #[error(
        "404103: device '{device}' is not connected and subscribed to methods (waited {waited:?}); give a connect_timeout to wait for it"
    )]
    DeviceNotOnline {
        /// The device, or `device/module`.
        device: String,
        /// The connect time-out.
        waited: Duration,
    },
    /// The device did not answer in time (504101).
    #[error("504101: device '{device}' did not answer within the response_timeout of {waited:?}")]
    Timeout {
        /// The device, or `device/module`.
        device: String,
        /// The response time-out.
        waited: Duration,
    },
    /// The request's or the response's payload is over the limit (413001).
    #[error("413001: the {which} payload of {size} bytes is over the limit of {limit}")]
    PayloadTooLarge {
        /// `request` or `response`.
        which: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The device's answer is none: its status is no integer, or its payload no JSON (400000).
    #[error("400000: the device answered badly: {problem}")]
    BadResponse {
        /// What is wrong with it.
        problem: String,
    },
    /// The call itself is not possible (400004).
    #[error("400004: {field} {problem}")]
    InvalidCall {
        /// Which part of it.
        field: &'static str,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// Nothing has happened yet; only [`PendingMethod::wait`] says so.
    #[error(transparent)]
    StillPending(#[from] WaitError),
}

impl MethodError {
    /// The hub's error code, as its service interface has it; `None` if this is not the hub's error.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::NotFound { .. } => Some(404_001),
            Self::ModuleNotFound { .. } => Some(404_010),
            Self::DeviceNotOnline { .. } => Some(404_103),
            Self::Timeout { .. } => Some(504_101),
            Self::PayloadTooLarge { .. } => Some(413_001),
            Self::BadResponse { .. } => Some(400_000),
            Self::InvalidCall { .. } => Some(400_004),
            Self::StillPending(_) => None,
        }
    }
}

/// Names one method call; unique in the life of an emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallId(pub(crate) u64);

/// A method call that is under way. Dropping it gives the call up: an answer that comes then is a late one.
#[must_use = "dropping it gives the call up"]
pub struct PendingMethod {
    pub(crate) shared: Arc<Shared>,
    pub(crate) call: CallId,
    pub(crate) name: String,
}

impl PendingMethod {
    /// Waits at most so long, in real time, for the call to end. The time-outs of the call itself run by the hub's clock.
    ///
    /// # Errors
    /// How the call ended, or [`MethodError::StillPending`] after `limit`.
    pub fn wait(&self, limit: Duration) -> Result<MethodResult, MethodError> {
        self.shared.wait(limit, || self.try_result()).unwrap_or_else(|| {
            let (what, found) = (format!("the end of method '{}'", self.name), "it is under way".to_owned());
            Err(MethodError::StillPending(WaitError { what, limit, found }))
        })
    }

    /// How the call ended; `None` while it has not. Asked again, it says the same.
    #[must_use]
    pub fn try_result(&self) -> Option<Result<MethodResult, MethodError>> {
        self.shared.read(|hub, _| hub.method_result(self.call))
    }
}

impl Drop for PendingMethod {
    fn drop(&mut self) {
        self.shared.change(|hub, _| hub.forget_method(self.call));
    }
}

impl fmt::Debug for PendingMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingMethod").field("name", &self.name).field("call", &self.call).finish_non_exhaustive()
    }
}
