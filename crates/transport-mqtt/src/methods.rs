//! Direct methods that were called and not answered, and answers on their way out.
//!
//! A call is known by the hub's request id until its answer is encoded; with the connection the calls are gone. A
//! response has its outcome when it has left the client; one that had not when the connection ended is stale.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use iothub_core::OpId;

use crate::leaving::{LANE_LIMIT, Leaving};

/// How many calls may be unanswered; more are answered 429 by the transport. The engine has a lower limit of its own, so
/// that this one is reached only when answers do not get out.
pub(crate) const MAX_OPEN: usize = 1000;

/// What a call is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// New, known under this key.
    New(u64),
    /// One that is unanswered has this request id: the same call again.
    Again,
    /// One too many.
    TooMany,
}

#[derive(Default)]
pub(crate) struct Methods {
    open: HashMap<u64, Arc<str>>,
    rids: HashSet<Arc<str>>,
    last_key: u64,
    leaving: Leaving,
}

impl Methods {
    /// A method is called under this request id.
    pub(crate) fn called(&mut self, rid: &str) -> Call {
        if self.rids.contains(rid) {
            return Call::Again;
        }
        if self.open.len() == MAX_OPEN {
            return Call::TooMany;
        }
        let rid: Arc<str> = rid.into();
        self.rids.insert(rid.clone());
        self.last_key += 1;
        self.open.insert(self.last_key, rid);
        Call::New(self.last_key)
    }

    /// Whether there is room for a response.
    pub(crate) fn has_room(&self) -> bool {
        self.leaving.bytes() < LANE_LIMIT
    }

    /// Takes out an unanswered call for its answer: its request id.
    pub(crate) fn answer(&mut self, key: u64) -> Option<Arc<str>> {
        let rid = self.open.remove(&key)?;
        self.rids.remove(&rid);
        Some(rid)
    }

    /// A response was encoded at this place of the stream.
    pub(crate) fn encoded(&mut self, place: Range<u64>, op: OpId) {
        self.leaving.put(place, Some(op));
    }

    /// How many bytes of responses have not left.
    pub(crate) fn unsent(&self) -> usize {
        self.leaving.bytes()
    }

    /// The next operation whose response has left, given up to which place of the stream everything has.
    pub(crate) fn flushed(&mut self, up_to: u64) -> Option<OpId> {
        self.leaving.flushed(up_to)
    }

    /// The engine wants no outcome for the response; it goes all the same.
    pub(crate) fn forget(&mut self, op: OpId) {
        self.leaving.forget(op);
    }

    /// The operations whose responses did not leave before the connection was gone.
    pub(crate) fn into_stale(self) -> impl Iterator<Item = OpId> {
        self.leaving.into_ops()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_answered_once_under_its_request_id() {
        let mut methods = Methods::default();
        assert_eq!(methods.called("a"), Call::New(1));
        assert_eq!(methods.called("b"), Call::New(2));
        assert_eq!(methods.answer(2).as_deref(), Some("b"));
        assert_eq!(methods.answer(2), None);
        assert_eq!(methods.answer(9), None);
        assert_eq!(methods.answer(1).as_deref(), Some("a"));
    }

    #[test]
    fn a_request_id_in_use_is_the_same_call_until_it_is_answered() {
        let mut methods = Methods::default();
        assert_eq!(methods.called("a"), Call::New(1));
        assert_eq!(methods.called("a"), Call::Again);
        assert_eq!(methods.called("A"), Call::New(2), "request ids are exact");
        methods.answer(1);
        assert_eq!(methods.called("a"), Call::New(3));
    }

    #[test]
    fn a_thousand_calls_may_be_unanswered() {
        let mut methods = Methods::default();
        for rid in 1..=1000 {
            assert_eq!(methods.called(&rid.to_string()), Call::New(rid));
        }
        assert_eq!(methods.called("one more"), Call::TooMany);
        assert_eq!(methods.called("7"), Call::Again);
        methods.answer(7);
        assert_eq!(methods.called("one more"), Call::New(1001));
    }
}
