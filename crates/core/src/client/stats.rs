//! Counters that an application can read at any time.

/// What a client has done since it was created. All counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages taken by `send_event` and its kin.
    pub accepted: u64,
    /// Of these, confirmed by the hub.
    pub delivered: u64,
    /// Of these, ended without the hub's confirmation.
    pub undelivered: u64,
    /// Messages that were on the wire when a connection was lost, and were sent again.
    pub resent: u64,
    /// Messages received: from the cloud, and to the inputs of a module.
    pub received: u64,
    /// Messages that arrived without a subscription, or at an input without a callback, and were left to the hub or kept
    /// for a later callback.
    pub unwanted: u64,
    /// Messages and direct methods whose answer came too late for its connection.
    pub stale_answers: u64,
    /// Direct methods called.
    pub methods: u64,
    /// Of these, refused by the client because too many others were unanswered, or nobody asked for any.
    pub methods_refused: u64,
    /// Connections replaced by one with a new token.
    pub renewals: u64,
    /// Connections that the hub accepted.
    pub connections: u64,
    /// Times that `wait` returned from the poller.
    pub poller_returns: u64,
}
