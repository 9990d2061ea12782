//! Keeping the application's view of the desired properties complete: the whole twin first, then every change in order.
//!
//! After each connect the whole is fetched; a change that the whole contained is dropped by its version, and a gap in
//! the versions makes the whole be fetched again.

use std::time::{Duration, Instant};

use crate::transport::OpId;
use crate::twin::{DesiredPatch, Twin, TwinUpdate};

/// How many changes are held while the whole twin is on its way; more make it be fetched once more.
const MAX_HELD: usize = 16;

/// The longest pause between two tries to fetch the twin; they begin at 1 s and double.
const MAX_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
enum State {
    /// Nobody wants to know.
    #[default]
    Off,
    /// The whole twin is needed, not before this time.
    Needed { not_before: Option<Instant> },
    /// It is on its way; meanwhile changes are held, unless there were too many.
    Fetching { id: OpId, answer_by: Instant, held: Held },
    /// The application knows everything up to this version.
    Synced { version: u64 },
}

#[derive(Debug)]
enum Held {
    Patches(Vec<DesiredPatch>),
    TooMany,
}

#[derive(Debug, Default)]
pub(super) struct TwinSync {
    state: State,
    /// Tries that failed in a row.
    failures: u32,
}

impl TwinSync {
    /// Fetches the whole twin at the next occasion, whatever is known.
    pub(super) fn start(&mut self) {
        self.state = State::Needed { not_before: None };
    }

    pub(super) fn stop(&mut self) {
        self.state = State::Off;
    }

    /// The connection is gone, and changes may be missed.
    pub(super) fn connection_lost(&mut self) {
        if !matches!(self.state, State::Off) {
            self.failures = 0;
            self.start();
        }
    }

    /// When the whole twin is to be fetched.
    pub(super) fn fetch_due(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Needed { not_before } => Some(not_before.unwrap_or(now)),
            _ => None,
        }
    }

    /// When the hub's answer is overdue.
    pub(super) fn answer_by(&self) -> Option<Instant> {
        match self.state {
            State::Fetching { answer_by, .. } => Some(answer_by),
            _ => None,
        }
    }

    /// The request for it is with the transport.
    pub(super) fn fetching(&mut self, id: OpId, answer_by: Instant) {
        self.state = State::Fetching { id, answer_by, held: Held::Patches(Vec::new()) };
    }

    /// The request under way, if there is one.
    pub(super) fn request(&self) -> Option<OpId> {
        match self.state {
            State::Fetching { id, .. } => Some(id),
            _ => None,
        }
    }

    /// The whole twin has come. Returns what the application should hear.
    pub(super) fn fetched(&mut self, twin: Twin) -> Vec<TwinUpdate> {
        let before = std::mem::replace(&mut self.state, State::Synced { version: twin.desired_version() });
        self.failures = 0;
        let mut updates = vec![TwinUpdate::Full(twin)];
        match before {
            State::Fetching { held: Held::TooMany, .. } => self.start(),
            State::Fetching { held: Held::Patches(patches), .. } => {
                updates.extend(patches.into_iter().filter_map(|patch| self.changed(patch)));
            }
            _ => {}
        }
        updates
    }

    /// The request failed; another one follows after a pause.
    pub(super) fn failed(&mut self, now: Instant) {
        let pause = Duration::from_secs(1).saturating_mul(2u32.saturating_pow(self.failures)).min(MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Needed { not_before: Some(now + pause) };
    }

    /// The desired properties changed. Returns what the application should hear, now.
    pub(super) fn changed(&mut self, patch: DesiredPatch) -> Option<TwinUpdate> {
        match &mut self.state {
            State::Off | State::Needed { .. } | State::Fetching { held: Held::TooMany, .. } => None,
            State::Fetching { held, .. } => {
                match held {
                    Held::Patches(patches) if patches.len() < MAX_HELD => patches.push(patch),
                    _ => *held = Held::TooMany,
                }
                None
            }
            State::Synced { version } if patch.version() <= *version => None,
            State::Synced { version } if patch.version() == *version + 1 => {
                *version += 1;
                Some(TwinUpdate::Patch(patch))
            }
            State::Synced { .. } => {
                self.start();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn twin(version: u64) -> Twin {
        Twin::parse(Bytes::from(format!(r#"{{"desired":{{"$version":{version}}}}}"#))).unwrap()
    }

    fn patch(version: u64) -> DesiredPatch {
        DesiredPatch::parse(Bytes::from(format!(r#"{{"$version":{version}}}"#))).unwrap()
    }

    fn fetching() -> TwinSync {
        let mut sync = TwinSync::default();
        sync.start();
        sync.fetching(OpId(1), Instant::now());
        sync
    }

    /// The versions of what the application hears; negative for patches.
    fn versions(updates: &[TwinUpdate]) -> Vec<i64> {
        let version = |update: &TwinUpdate| match update {
            TwinUpdate::Full(twin) => twin.desired_version() as i64,
            TwinUpdate::Patch(patch) => -(patch.version() as i64),
        };
        updates.iter().map(version).collect()
    }

    #[test]
    fn invariant_7_no_patch_comes_before_the_whole_twin() {
        let mut sync = TwinSync::default();
        assert_eq!(sync.changed(patch(1)), None);
        sync.start();
        assert_eq!(sync.changed(patch(2)), None);
        sync.fetching(OpId(1), Instant::now());
        assert_eq!(sync.changed(patch(3)), None);
        assert_eq!(versions(&sync.fetched(twin(2))), [2, -3]);
    }

    #[test]
    fn a_patch_that_the_whole_twin_contained_is_dropped() {
        let mut sync = fetching();
        sync.changed(patch(4));
        sync.changed(patch(5));
        sync.changed(patch(6));
        assert_eq!(versions(&sync.fetched(twin(5))), [5, -6]);
        assert_eq!(sync.changed(patch(6)), None);
        assert_eq!(sync.changed(patch(5)), None);
        assert!(sync.changed(patch(7)).is_some());
    }

    #[test]
    fn a_gap_in_the_versions_makes_the_twin_be_fetched_again() {
        let mut sync = fetching();
        sync.fetched(twin(5));
        assert_eq!(sync.changed(patch(7)), None);
        assert!(sync.fetch_due(Instant::now()).is_some());
    }

    #[test]
    fn too_many_changes_meanwhile_make_it_be_fetched_once_more() {
        let mut sync = fetching();
        for version in 2..100 {
            assert_eq!(sync.changed(patch(version)), None);
        }
        assert_eq!(versions(&sync.fetched(twin(1))), [1]);
        assert!(sync.fetch_due(Instant::now()).is_some());
    }

    #[test]
    fn failures_are_followed_by_growing_pauses_until_one_succeeds() {
        let mut sync = fetching();
        let now = Instant::now();
        let pauses: Vec<_> = (0..7)
            .map(|_| {
                sync.failed(now);
                (sync.fetch_due(now).unwrap() - now).as_secs()
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        sync.fetching(OpId(2), now);
        sync.fetched(twin(1));
        sync.failed(now);
        assert_eq!(sync.fetch_due(now), Some(now + Duration::from_secs(1)));
    }

    #[test]
    fn a_lost_connection_makes_it_be_fetched_again_if_anybody_wants_to_know() {
        let mut sync = fetching();
        sync.fetched(twin(5));
        sync.connection_lost();
        assert!(sync.fetch_due(Instant::now()).is_some());
        sync.stop();
        sync.connection_lost();
        assert_eq!(sync.fetch_due(Instant::now()), None);
    }
}
