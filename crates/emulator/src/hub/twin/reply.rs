//! What becomes of a device's twin request, before a head puts it into its protocol (docs/hub-over-mqtt.md 4.3).

use serde::Serialize;

use crate::clock::{Now, iso8601};
use crate::faults::TwinReplyFault;
use crate::hub::HubState;
use crate::hub::registry::Identity;

/// The hub's error code for a patch that breaks the rules.
const ARGUMENT_INVALID: u32 = 400_004;

/// The answer to a twin request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Of the reported properties, if they were changed.
    pub(crate) version: Option<u64>,
    pub(crate) body: Vec<u8>,
}

/// The body of an error, in the order of the real one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    error_code: u32,
    tracking_id: String,
    message: &'a str,
    timestamp_utc: String,
}

impl HubState {
    /// The twin, or what a fault makes of it.
    pub(crate) fn answer_get(&mut self, identity: &Identity, fault: Option<TwinReplyFault>, now: Now) -> Reply {
        let stale = u64::from(fault == Some(TwinReplyFault::WrongVersion));
        match fault {
            Some(TwinReplyFault::Status(status)) => self.status_reply(now, status),
            _ => match self.twin(identity).map(|twin| twin.body(stale)) {
                Some(body) => Reply { status: 200, version: None, body },
                None => self.no_twin(now),
            },
        }
    }

    /// What becomes of a reported patch, or what a fault makes of it.
    pub(crate) fn answer_report(
        &mut self,
        identity: &Identity,
        body: &[u8],
        fault: Option<TwinReplyFault>,
        now: Now,
    ) -> Reply {
        match fault {
            Some(TwinReplyFault::Status(status)) => self.status_reply(now, status),
            _ => match self.report(identity, body, now) {
                Some(Ok(version)) => Reply { status: 204, version: Some(version), body: Vec::new() },
                Some(Err(problem)) => self.error_reply(now, 400, ARGUMENT_INVALID, &problem),
                None => self.no_twin(now),
            },
        }
    }

    /// A status without any other reason.
    pub(crate) fn status_reply(&mut self, now: Now, status: u16) -> Reply {
        if status < 400 {
            return Reply { status, version: None, body: Vec::new() };
        }
        let (code, message) = match status {
            400 => (ARGUMENT_INVALID, "the request is invalid"),
            404 => return self.no_twin(now),
            429 => (429_001, "too many requests"),
            _ => (u32::from(status) * 1000 + 1, "the service has a problem"),
        };
        self.error_reply(now, status, code, message)
    }

    fn no_twin(&mut self, now: Now) -> Reply {
        self.error_reply(now, 404, 404_001, "there is no twin of this identity")
    }

    fn error_reply(&mut self, now: Now, status: u16, error_code: u32, message: &str) -> Reply {
        let timestamp_utc = iso8601(now.wall);
        // Like the real one in form; the same in every run of the same story.
        let tracking_id = format!("{:032X}-G:0-TimeStamp:{timestamp_utc}", self.next_event());
        let body = ErrorBody { error_code, tracking_id, message, timestamp_utc };
        Reply { status, version: None, body: serde_json::to_vec(&body).unwrap_or_default() }
    }
}

/// JSON that ends before its end.
pub(crate) fn broken_off(body: &[u8]) -> Vec<u8> {
    match body {
        [start @ .., _] => start.to_vec(),
        [] => b"{".to_vec(),
    }
}
