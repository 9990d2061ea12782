//! What the targets of the emulator have in common: a hub, the connections of one device, and its service side.

use std::time::Duration;

use iothub_emulator::{C2dMessage, MethodCall, OfflineConnection, OfflineHub, PendingMethod};

use super::script::Script;
use super::world::DEVICE;

/// Connections at a time.
const MAX_PEERS: usize = 3;
/// Method calls whose answers are looked for.
const MAX_CALLS: usize = 20;
/// Time-outs in a row that end nothing: over MQTT the longest keep-alive is 1767 s, and the shortest of the others seconds; over AMQP heartbeats
/// are the most frequent, 7/8 of 5 s at least within 240 s.
const MAX_TIMEOUTS: usize = 2000;

/// A connection of the device, with what the target knows of it.
pub(super) trait Peer {
    /// The hub's end.
    fn connection(&self) -> &OfflineConnection;

    /// Takes what the hub has to say, and looks at it closely.
    fn listen(&mut self);
}

/// A hub that a script uses from both sides.
pub(super) struct Hub<P> {
    pub(super) offline: OfflineHub,
    peers: Vec<P>,
    calls: Vec<PendingMethod>,
}

impl<P: Peer> Hub<P> {
    pub(super) fn new(offline: OfflineHub, first: P) -> Self {
        Self { offline, peers: vec![first], calls: Vec::new() }
    }

    /// The connection that is spoken on.
    pub(super) fn newest(&mut self) -> &mut P {
        self.peers.last_mut().expect("there is one at least")
    }

    /// One more connection; the oldest makes room for it.
    pub(super) fn accept(&mut self, peer: P) {
        if self.peers.len() == MAX_PEERS {
            self.peers.remove(0);
        }
        self.peers.push(peer);
    }

    /// Speaks on another connection from now on.
    pub(super) fn rotate(&mut self) {
        self.peers.rotate_left(1);
    }

    /// What the service does: `v` sends a message, `j` changes the twin, `i` calls a method, and with `t` time passes.
    /// False: the step is none of these.
    pub(super) fn serve(&mut self, step: char, script: &mut Script<'_>) -> bool {
        match step {
            'v' => {
                let body = script.bytes().to_vec();
                let _full = self.offline.send_c2d(DEVICE, C2dMessage::new(body).property("p", None));
            }
            'j' => {
                let patch = serde_json::from_slice(script.bytes());
                let _refused = patch.map(|patch| self.offline.patch_desired(DEVICE, patch));
            }
            'i' => {
                let body = script.bytes().to_vec();
                let call = MethodCall::new("m").raw_payload(body).connect_timeout(Duration::from_secs(5));
                self.calls.extend(self.offline.start_method(DEVICE, call));
                self.calls.truncate(MAX_CALLS);
            }
            't' => self.offline.advance_clock(Duration::from_millis(1 << (script.number() % 22))),
            _ => return false,
        }
        true
    }

    /// Takes what the hub has to say on every connection. It may have stored so many messages.
    pub(super) fn listen(&mut self, most_stored: usize) {
        for peer in &mut self.peers {
            peer.listen();
        }
        let stored = self.offline.telemetry_count(DEVICE);
        assert!(stored <= most_stored, "{stored} messages are stored, at most {most_stored} came");
        for call in &self.calls {
            let _pending = call.try_result();
        }
    }

    /// The device says nothing any more: in the end the hub closes every connection.
    pub(super) fn falls_silent(&mut self, most_stored: usize) {
        for _ in 0..MAX_TIMEOUTS {
            self.listen(most_stored);
            if self.peers.iter().all(|peer| peer.connection().is_closed()) {
                return;
            }
            let open = self.peers.iter().map(P::connection).filter(|connection| !connection.is_closed());
            let timeouts = open.filter_map(OfflineConnection::timeout).chain(self.offline.timeout());
            let next = timeouts.min().expect("an open connection has a limit");
            self.offline.advance_clock(next);
        }
        panic!("the device is silent, and its connection stays open");
    }
}
