//! What the hub answers to a twin request: its status, and the version or the body that goes with it (docs/hub-over-mqtt.md 4.3).

use serde::Serialize;

use crate::clock::{Now, iso8601};
use crate::faults::TwinReplyFault;
use crate::hub::HubState;
use crate::hub::registry::Identity;

/// The hub's error code for a patch that breaks the rules (docs/hub-over-mqtt.md 4.3).
const ARGUMENT_INVALID: u32 = 400_004;

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) version: Option<u64>,
    pub(crate) body: Vec<u8>,
}

/// The body of an error (docs/hub-over-mqtt.md 4.3), in the order of the real one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    error_code: u32,
    tracking_id: String,
    message: &'a str,
    timestamp_utc: String,
}

impl Reply {
    fn error(hub: &mut HubState, now: Now, status: u16, error_code: u32, message: &str) -> Self {
        let timestamp_utc = iso8601(now.wall);
        // Like the real one in form; the same in every run of the same story.
        let tracking_id = format!("{:032X}-G:0-TimeStamp:{timestamp_utc}", hub.next_event());
        let body = ErrorBody { error_code, tracking_id, message, timestamp_utc };
        Self { status, version: None, body: serde_json::to_vec(&body).unwrap_or_default() }
    }

    fn not_found(hub: &mut HubState, now: Now) -> Self {
        Self::error(hub, now, 404, 404_001, "there is no twin of this identity")
    }

    /// A status without any other reason, such as a fault's.
    pub(crate) fn of_status(hub: &mut HubState, now: Now, status: u16) -> Self {
        if status < 400 {
            return Self { status, version: None, body: Vec::new() };
        }
        let (code, message) = match status {
            400 => (ARGUMENT_INVALID, "the request is invalid"),
            404 => (404_001, "there is no twin of this identity"),
            429 => (429_001, "too many requests"),
            _ => (u32::from(status) * 1000 + 1, "the service has a problem"),
        };
        Self::error(hub, now, status, code, message)
    }

    /// The same reply with what a fault does to its content.
    pub(crate) fn with(mut self, fault: Option<TwinReplyFault>) -> Self {
        match fault {
            Some(TwinReplyFault::WrongVersion) => {
                self.version = self.version.map(|version| version.saturating_sub(1));
            }
            Some(TwinReplyFault::BadJson) => self.body = broken_off(&self.body),
            _ => {}
        }
        self
    }
}

impl HubState {
    /// Answers a request for the twin.
    pub(crate) fn answer_get(&mut self, identity: &Identity, fault: Option<TwinReplyFault>, now: Now) -> Reply {
        let stale = u64::from(fault == Some(TwinReplyFault::WrongVersion));
        match fault {
            Some(TwinReplyFault::Status(status)) => Reply::of_status(self, now, status),
            _ => match self.twin(identity).map(|twin| twin.body(stale)) {
                Some(body) => Reply { status: 200, version: None, body },
                None => Reply::not_found(self, now),
            },
        }
    }

    /// Merges reported properties and answers.
    pub(crate) fn answer_report(
        &mut self,
        identity: &Identity,
        patch: &[u8],
        fault: Option<TwinReplyFault>,
        now: Now,
    ) -> Reply {
        match fault {
            Some(TwinReplyFault::Status(status)) => Reply::of_status(self, now, status),
            _ => match self.report(identity, patch, now) {
                Some(Ok(version)) => Reply { status: 204, version: Some(version), body: Vec::new() },
                Some(Err(problem)) => Reply::error(self, now, 400, ARGUMENT_INVALID, &problem),
                None => Reply::not_found(self, now),
            },
        }
    }
}

/// JSON that ends before its end: a fault.
pub(crate) fn broken_off(body: &[u8]) -> Vec<u8> {
    match body {
        [start @ .., _] => start.to_vec(),
        [] => b"{".to_vec(),
    }
}
