//! What the server, or whoever drives a hub without one, knows of a head: one connection's state machine, whatever protocol it speaks.
//!
//! The driver feeds [`Head::receive`] with what the peer sent, calls [`Head::poll`] when the head was woken or its [`Head::timeout`] is over, writes
//! what [`Head::take_output`] gives, and ends the stream when [`Head::closing`] says so and all output is written.

use std::fmt::Debug;
use std::time::Duration;

use crate::activity::ConnectionId;
use crate::auth::Peer;
use crate::clock::Now;
use crate::faults::DropPoint;
use crate::hub::HubState;

/// How the driver ends the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// Both sides are done: TLS says goodbye, then TCP.
    Orderly,
    /// TCP is closed and nothing is said: how the real hub shows almost every error over MQTT (docs/hub-over-mqtt.md 13.4).
    Bare,
    /// TCP is reset; what is not yet written is lost.
    Reset,
}

/// One connection: bytes in, bytes out, next deadline; no socket, no runtime, no clock.
pub(crate) trait Head: Debug + Send + Sync {
    fn id(&self) -> ConnectionId;

    /// Drops the connection if a fault waits for this point, at which no device is known.
    fn drop_early(&mut self, hub: &mut HubState, now: Now, point: DropPoint);

    /// TLS is up, and this is the other end.
    fn secured(&mut self, hub: &mut HubState, now: Now, peer: Peer);

    /// TLS was not established.
    fn tls_failed(&mut self, hub: &mut HubState, now: Now, why: String);

    /// Bytes have come. Everything in them is handled; the answers are one piece of output.
    fn receive(&mut self, hub: &mut HubState, now: Now, bytes: &[u8]);

    /// The hub's state or the time has moved on.
    fn poll(&mut self, hub: &mut HubState, now: Now);

    /// The peer has closed its side, or the stream broke.
    fn peer_closed(&mut self, hub: &mut HubState, now: Now);

    /// The peer does not read what it is sent.
    fn overwhelmed(&mut self, hub: &mut HubState, now: Now, pending: usize);

    /// What is to be written now, in one go.
    fn take_output(&mut self) -> Vec<u8>;

    /// Whether more is to be written, but in a write of its own.
    fn has_more_output(&self) -> bool;

    /// Whether the network to the peer is gone: the driver neither reads nor writes.
    fn cut_off(&self) -> bool;

    /// Whether and how the stream is to end once everything is written.
    fn closing(&self) -> Option<Close>;

    /// How long until [`poll`](Self::poll) has something to do, if time just passes and nothing comes.
    fn timeout(&self, now: Now) -> Option<Duration>;
}

/// Makes the head of a connection that has just been accepted.
pub(crate) type NewHead = fn(&mut HubState, Now) -> Box<dyn Head>;
