//! The hub's end of one connection, and what is changed of its bytes on their way.

use iothub_emulator::OfflineConnection;
use iothub_net::memory::PeerEnd;

/// What a client may send in one run: the script submits no more than a few messages of a quarter of a megabyte each.
const MAX_SENT: usize = 64 << 20;

/// How the next bytes of the hub are changed on their way.
pub(super) enum Change {
    Byte { at: usize, with: u8 },
    Cut { at: usize },
    Twice,
    Dropped,
}

/// The hub's end of one connection.
pub(super) struct Line {
    pub(super) peer: PeerEnd,
    hub: OfflineConnection,
    /// What the hub says is held back.
    held: Option<Vec<u8>>,
    pub(super) change: Option<Change>,
    /// The hub reads nothing.
    is_stalled: bool,
    sent: usize,
}

impl Line {
    pub(super) fn new(peer: PeerEnd, hub: OfflineConnection) -> Self {
        Self { peer, hub, held: None, change: None, is_stalled: false, sent: 0 }
    }

    /// Holds back what the hub says from here on.
    pub(super) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Lets go what was held back, and what follows.
    pub(super) fn release(&mut self) {
        let held = self.held.take().unwrap_or_default();
        self.peer.send(&held);
    }

    /// Lets this many bytes wait on the way and reads none, or all again with 0.
    pub(super) fn stall(&mut self, capacity: usize) {
        self.is_stalled = capacity > 0;
        self.peer.set_capacity(if self.is_stalled { capacity } else { 8 << 20 });
    }

    /// Passes on what each side has said. False: nothing was said.
    pub(super) fn exchange(&mut self) -> bool {
        if self.is_stalled {
            return false;
        }
        let from_client = self.peer.receive();
        self.sent += from_client.len();
        assert!(self.sent <= MAX_SENT, "the client has sent {} bytes", self.sent);
        if !from_client.is_empty() {
            self.hub.receive(&from_client);
        }
        self.hub.poll();
        let mut from_hub = self.hub.take_output();
        if from_hub.is_empty() {
            if self.hub.is_closed() && self.held.is_none() {
                self.peer.close();
            }
            return !from_client.is_empty();
        }
        match self.change.take() {
            Some(Change::Byte { at, with }) => {
                let at = at % from_hub.len();
                from_hub[at] = with;
            }
            Some(Change::Cut { at }) => from_hub.truncate(at % from_hub.len()),
            Some(Change::Twice) => from_hub = from_hub.repeat(2),
            Some(Change::Dropped) => from_hub.clear(),
            None => {}
        }
        match &mut self.held {
            Some(held) => held.extend_from_slice(&from_hub),
            None => self.peer.send(&from_hub),
        }
        true
    }
}
