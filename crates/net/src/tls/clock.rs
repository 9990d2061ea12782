//! The time by which certificates are judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

/// Certificates are judged by the same wall clock as everything else: the one that the caller passes in.
#[derive(Clone, Debug, Default)]
pub struct VerificationClock {
    seconds: Arc<AtomicU64>,
}

impl VerificationClock {
    /// Judges by this time from now on.
    pub fn set(&self, wall: SystemTime) {
        // A clock before 1970 judges as at 1970.
        let since_epoch = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.seconds.store(since_epoch.as_secs(), Ordering::Relaxed);
    }
}

impl TimeProvider for VerificationClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.seconds.load(Ordering::Relaxed))))
    }
}
