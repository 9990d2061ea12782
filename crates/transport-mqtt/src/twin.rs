//! Twin requests that await the hub's answer, and what an answer means.
//!
//! A request is known by its `$rid`: the time at which the connection began, the connection's generation and a counter. So
//! an answer that belongs to another connection, or to an earlier run of the program, is recognised and resolves nothing.
//! An answer comes at most once, on the connection of its request; with the connection the requests are gone.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use iothub_core::{OpError, OpId, Reply};

use crate::leaving::{LANE_LIMIT, Leaving};

/// How many requests may await their answer. The engine keeps fewer, so that a throttled hub is not stormed (an S1 unit
/// takes 50 patches a second for all devices).
pub(crate) const MAX_OPEN: usize = 64;

/// The most of the hub's words that goes into an error, in characters.
const MAX_DETAIL: usize = 200;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    Report,
}

struct Open {
    rid: String,
    op: OpId,
    kind: Kind,
}

pub(crate) struct TwinRequests {
    /// What the request ids of this connection begin with.
    prefix: String,
    last: u64,
    open: Vec<Open>,
    leaving: Leaving,
}

impl TwinRequests {
    /// For a connection that begins now.
    pub(crate) fn new(generation: u32, wall: SystemTime) -> Self {
        let began = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Self { prefix: format!("{began:x}-{generation:x}-"), last: 0, open: Vec::new(), leaving: Leaving::default() }
    }

    /// Whether there is room for another request.
    pub(crate) fn has_room(&self) -> bool {
        self.open.len() < MAX_OPEN && self.leaving.bytes() < LANE_LIMIT
    }

    /// Whether the operation awaits its answer already.
    pub(crate) fn is_open(&self, op: OpId) -> bool {
        self.open.iter().any(|open| open.op == op)
    }

    /// Takes in a request and gives it its id.
    pub(crate) fn open(&mut self, op: OpId, kind: Kind) -> &str {
        self.last += 1;
        self.open.push(Open { rid: format!("{}{:x}", self.prefix, self.last), op, kind });
        self.open.last().map_or("", |open| &open.rid)
    }

    /// A request was encoded at this place of the stream.
    pub(crate) fn encoded(&mut self, place: Range<u64>) {
        self.leaving.put(place, None);
    }

    /// How many bytes of requests have not left.
    pub(crate) fn unsent(&self) -> usize {
        self.leaving.bytes()
    }

    /// Everything up to this place of the stream has left the client.
    pub(crate) fn flushed(&mut self, up_to: u64) {
        // No outcome waits for it.
        let _none = self.leaving.flushed(up_to);
    }

    /// An answer came. `None` if no request awaits it.
    ///
    /// Any 2xx is success, for the kind of request that was made: an Edge gateway's numbers are its own.
    pub(crate) fn answered(
        &mut self,
        rid: &str,
        status: u16,
        version: Option<u64>,
        body: &[u8],
    ) -> Option<(OpId, Result<Reply, OpError>)> {
        let at = self.open.iter().position(|open| open.rid == rid)?;
        let Open { op, kind, .. } = self.open.swap_remove(at);
        let result = match (status, kind) {
            // A copy: the body is a view into the read buffer.
            (200..=299, Kind::Get) => Ok(Reply::Twin(Bytes::copy_from_slice(body))),
            (200..=299, Kind::Report) => Ok(Reply::Reported { version }),
            _ => Err(OpError::Status { status, detail: detail(body) }),
        };
        Some((op, result))
    }

    /// The engine has given the operation up; a late answer finds nobody.
    pub(crate) fn forget(&mut self, op: OpId) {
        self.open.retain(|open| open.op != op);
    }
}

/// The hub's reason in one short line: the `message` of a JSON body, or nothing.
fn detail(body: &[u8]) -> String {
    let body = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    let message = body.get("message").and_then(serde_json::Value::as_str).unwrap_or_default();
    let mut detail: String = message.chars().take(MAX_DETAIL).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if message.chars().nth(MAX_DETAIL).is_some() {
        detail.push('…');
    }
    detail
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn requests(generation: u32) -> TwinRequests {
        TwinRequests::new(generation, UNIX_EPOCH + Duration::from_millis(0xABC))
    }

    fn answered(
        requests: &mut TwinRequests,
        rid: &str,
        status: u16,
        body: &str,
    ) -> Option<(OpId, Result<Reply, OpError>)> {
        requests.answered(rid, status, Some(3), body.as_bytes())
    }

    #[test]
    fn request_ids_are_short_and_differ_within_and_across_connections_and_runs() {
        let mut first = requests(1);
        assert_eq!(first.open(OpId(1), Kind::Get), "abc-1-1");
        assert_eq!(first.open(OpId(2), Kind::Get), "abc-1-2");
        assert_eq!(requests(2).open(OpId(1), Kind::Get), "abc-2-1");
        let mut other_run = TwinRequests::new(1, UNIX_EPOCH + Duration::from_millis(0xABD));
        assert_eq!(other_run.open(OpId(1), Kind::Get), "abd-1-1");
        // A clock before 1970 is no reason to fail.
        assert_eq!(TwinRequests::new(1, UNIX_EPOCH - Duration::from_secs(1)).open(OpId(1), Kind::Get), "0-1-1");
    }

    #[test]
    fn each_answer_resolves_its_own_request_once() {
        let mut requests = requests(1);
        requests.open(OpId(1), Kind::Get);
        requests.open(OpId(2), Kind::Report);
        assert_eq!(
            answered(&mut requests, "abc-1-2", 204, ""),
            Some((OpId(2), Ok(Reply::Reported { version: Some(3) })))
        );
        assert_eq!(answered(&mut requests, "abc-1-2", 204, ""), None);
        assert_eq!(answered(&mut requests, "abc-1-1", 200, "{}"), Some((OpId(1), Ok(Reply::Twin("{}".into())))));
        for unknown in ["abc-1-3", "abc-0-1", "ABC-1-1", "1", ""] {
            assert_eq!(answered(&mut requests, unknown, 200, "{}"), None, "{unknown}");
        }
    }

    #[test]
    fn the_room_ends_at_64_requests_and_comes_back_with_answers_and_when_one_is_forgotten() {
        let mut requests = requests(1);
        for op in 1..=64 {
            assert!(requests.has_room());
            requests.open(OpId(op), Kind::Get);
        }
        assert!(!requests.has_room());
        requests.forget(OpId(7));
        assert!(requests.has_room() && !requests.is_open(OpId(7)) && requests.is_open(OpId(8)));
        requests.open(OpId(65), Kind::Get);
        assert!(!requests.has_room());
        assert!(answered(&mut requests, "abc-1-1", 500, "").is_some());
        assert!(requests.has_room());
    }

    #[test]
    fn the_room_ends_when_too_much_has_not_left() {
        let mut requests = requests(1);
        requests.open(OpId(1), Kind::Report);
        requests.encoded(0..LANE_LIMIT as u64);
        assert!(!requests.has_room());
        requests.flushed(LANE_LIMIT as u64);
        assert!(requests.has_room());
    }

    #[test]
    fn a_failure_says_what_the_hub_said_in_one_short_line() {
        let told = r#"{"errorCode":400004,"trackingId":"t","message":"not\nallowed","timestampUtc":"x"}"#;
        assert_eq!(detail(told.as_bytes()), "not allowed");
        for silent in ["", "null", "[]", "{}", r#"{"message":7}"#, "not JSON", "\u{0}"] {
            assert_eq!(detail(silent.as_bytes()), "", "{silent}");
        }
        assert_eq!(detail(&[0xFF, 0xFE]), "");
        let long = format!(r#"{{"message":"{}"}}"#, "é".repeat(201));
        assert_eq!(detail(long.as_bytes()), "é".repeat(200) + "…");
    }

    #[test]
    fn every_status_but_2xx_is_a_failure() {
        for status in [0, 199, 300, 400, 429, 500, 999, u16::MAX] {
            let mut requests = requests(1);
            requests.open(OpId(1), Kind::Report);
            let failure = OpError::Status { status, detail: "m".into() };
            assert_eq!(answered(&mut requests, "abc-1-1", status, r#"{"message":"m"}"#), Some((OpId(1), Err(failure))));
        }
    }
}
