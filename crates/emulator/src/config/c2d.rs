//! The settings of cloud-to-device messages: their queues, locks and deliveries.

use std::time::Duration;

use crate::config::{Config, LockExpiry};

impl Config {
    /// How long a delivered cloud-to-device message is locked. Default 60 s (docs/hub-over-mqtt.md 3).
    #[must_use]
    pub fn with_lock_duration(mut self, duration: Duration) -> Self {
        self.lock_duration = duration;
        self
    }

    /// Default [`LockExpiry::Redeliver`] (docs/hub-over-mqtt.md 3; 12.3: not certain on a live connection).
    #[must_use]
    pub fn with_lock_expiry(mut self, reaction: LockExpiry) -> Self {
        self.lock_expiry = reaction;
        self
    }

    /// Whether the locks of a connection end with it, so that the next one is sent its messages at once. Default yes: they are certainly
    /// redelivered after a reconnect (docs/hub-over-mqtt.md 3; E26). Otherwise they wait for the end of their lock.
    #[must_use]
    pub fn with_release_on_disconnect(mut self, release: bool) -> Self {
        self.release_on_disconnect = release;
        self
    }

    /// Whether a message that a connection leaves behind counts as given back. Default no: only an explicit abandon counts (docs/hub-over-mqtt.md 3).
    #[must_use]
    pub fn with_count_redelivery(mut self, count: bool) -> Self {
        self.count_redelivery = count;
        self
    }

    /// How often a message may be given back, 1 to 100. Default 10 (docs/hub-over-mqtt.md 3).
    #[must_use]
    pub fn with_max_delivery_count(mut self, count: u32) -> Self {
        self.max_delivery_count = count;
        self
    }

    /// Whether a connected device's message is rejected when no subscription that is older than the message matches it, as seen in the field
    /// (azure-docs 98930, 31378). Default no: it stays in the queue (docs/hub-over-mqtt.md 3, session rule 3; E28).
    #[must_use]
    pub fn with_drop_unmatched(mut self, drop: bool) -> Self {
        self.drop_unmatched = drop;
        self
    }

    /// The time to live of a message that has none of its own. Default 1 h; the hub allows 1 min to 2 d (docs/hub-over-mqtt.md 3; E26).
    #[must_use]
    pub fn with_c2d_ttl(mut self, ttl: Duration) -> Self {
        self.c2d_ttl = ttl;
        self
    }

    /// How many cloud-to-device messages may be pending for a device. Default 50 (docs/hub-over-mqtt.md 3; E27).
    #[must_use]
    pub fn with_c2d_queue_limit(mut self, limit: usize) -> Self {
        self.c2d_queue_limit = limit;
        self
    }
}
