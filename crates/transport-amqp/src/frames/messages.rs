//! The hub's messages, each looked at as a whole before the last of it passes.

use std::collections::BTreeMap;

use fe2o3_amqp_types::performatives::Transfer;

use super::wellformed::{self, Fault};
use super::{MAX_FRAME, MAX_MESSAGE};

/// The longest message that is kept until it is whole. The package ends a link at `MAX_MESSAGE`, which the hub may learn
/// a frame later.
const MAX_KEPT: usize = MAX_MESSAGE as usize + MAX_FRAME;
/// How much of all messages together is kept: a thousand times what a hub puts into a message for a device.
const MAX_ALL: usize = 64 * 1024 * 1024;
/// What a message counts for beside its bytes: so that there are no millions without any.
const OVERHEAD: usize = 1024;

/// Messages that have begun, as far as they have come, by the client's channel and the hub's handle.
#[derive(Default)]
pub(super) struct Messages {
    begun: BTreeMap<(u16, u32), Vec<u8>>,
    /// How many bytes they are together.
    size: usize,
}

impl Messages {
    /// Takes what came with a transfer, whole or in part.
    pub(super) fn take(&mut self, channel: u16, transfer: &Transfer, payload: &[u8]) -> Result<(), Fault> {
        let handle = transfer.handle.0;
        // Then the package would put the message together otherwise.
        if transfer.resume || transfer.state.is_some() {
            return Err("it resumes a delivery, which the client never asks for");
        }
        if transfer.aborted {
            self.forget(channel, handle);
            return Ok(());
        }
        let has_begun = self.begun.contains_key(&(channel, handle));
        if !transfer.more && !has_begun {
            return wellformed::message(payload);
        }
        let begun = self.begun.entry((channel, handle)).or_default();
        begun.extend_from_slice(payload);
        self.size += payload.len();
        if begun.len() > MAX_KEPT {
            return Err("its message is longer than any may be");
        }
        if self.size + self.begun.len() * OVERHEAD > MAX_ALL {
            return Err("too much has begun on other links that has not ended");
        }
        if transfer.more { Ok(()) } else { wellformed::message(&self.forget(channel, handle)) }
    }

    /// Forgets what has begun on a link, and gives it.
    pub(super) fn forget(&mut self, channel: u16, handle: u32) -> Vec<u8> {
        let begun = self.begun.remove(&(channel, handle)).unwrap_or_default();
        self.size -= begun.len();
        begun
    }

    /// Forgets what has begun on all links of a session.
    pub(super) fn forget_session(&mut self, channel: u16) {
        let all: Vec<_> =
            self.begun.range((channel, 0)..=(channel, u32::MAX)).map(|((_, handle), _)| *handle).collect();
        for handle in all {
            self.forget(channel, handle);
        }
    }
}
