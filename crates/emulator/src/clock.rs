//! The hub's clock. It runs with the machine's or stands still, and can be advanced and set.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

/// A moment by the hub's clock, handed to everything that needs the time.
///
/// Intervals (keep-alive, message locks, feedback batches) are measured on `elapsed`, which only moves forward;
/// dates (token expiry, time to live) on `wall`, which the service side may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) elapsed: Duration,
    pub(crate) wall: SystemTime,
}

impl Now {
    /// How long from now until this interval ends; zero if it has.
    pub(crate) fn until_elapsed(self, deadline: Duration) -> Duration {
        deadline.saturating_sub(self.elapsed)
    }

    /// How long from now until this date; zero if it is past.
    pub(crate) fn until_wall(self, date: SystemTime) -> Duration {
        date.duration_since(self.wall).unwrap_or_default()
    }
}

/// The clock itself.
#[derive(Debug)]
pub(crate) struct Clock {
    source: Source,
    advanced: Duration,
    wall_at_zero: SystemTime,
}

#[derive(Debug)]
enum Source {
    /// Runs with the machine's monotonic clock since this instant.
    Machine(Instant),
    /// Moves only when it is told to.
    Manual,
}

impl Clock {
    /// A clock that runs with the machine's, or, with a start, one that moves only when it is told to.
    pub(crate) fn new(manual_start: Option<SystemTime>) -> Self {
        match manual_start {
            Some(start) => Self { source: Source::Manual, advanced: Duration::ZERO, wall_at_zero: start },
            None => Self {
                source: Source::Machine(Instant::now()),
                advanced: Duration::ZERO,
                wall_at_zero: SystemTime::now(),
            },
        }
    }

    pub(crate) fn is_manual(&self) -> bool {
        matches!(self.source, Source::Manual)
    }

    pub(crate) fn now(&self) -> Now {
        let ran = match self.source {
            Source::Machine(since) => since.elapsed(),
            Source::Manual => Duration::ZERO,
        };
        let elapsed = ran.saturating_add(self.advanced);
        Now { elapsed, wall: self.wall_at_zero.checked_add(elapsed).unwrap_or(self.wall_at_zero) }
    }

    /// Time passes.
    pub(crate) fn advance(&mut self, by: Duration) {
        self.advanced = self.advanced.saturating_add(by);
    }

    /// Somebody sets the date; no time passes.
    pub(crate) fn set(&mut self, to: SystemTime) {
        let elapsed = self.now().elapsed;
        self.wall_at_zero = to.checked_sub(elapsed).unwrap_or(SystemTime::UNIX_EPOCH);
    }
}

/// Whole seconds since 1970, as SAS tokens count them.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Reads the hub's clock as long as the hub lives, then the machine's.
#[derive(Clone)]
pub(crate) struct ClockReader(Weak<dyn ReadClock>);

/// What a [`ClockReader`] reads from.
pub(crate) trait ReadClock: Send + Sync {
    fn wall(&self) -> SystemTime;
}

impl ClockReader {
    pub(crate) fn new(source: &Arc<dyn ReadClock>) -> Self {
        Self(Arc::downgrade(source))
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.0.upgrade().map_or_else(SystemTime::now, |source| source.wall())
    }
}

impl fmt::Debug for ClockReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockReader")
    }
}

/// `2026-11-21T10:00:00.123Z`: how the hub writes dates into messages and feedback.
pub(crate) fn iso8601(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, rest) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// The proleptic Gregorian date of a day counted from 1970-01-01.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // Years begin in March here, so that the leap day is a year's last; an era is 400 years.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_iso_8601_with_milliseconds() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(iso8601(at(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso8601(at(951_782_400)), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso8601(at(1_700_003_600) + Duration::from_millis(7)), "2023-11-14T23:13:20.007Z");
        assert_eq!(iso8601(at(4_107_542_399)), "2100-02-28T23:59:59.000Z");
    }

    #[test]
    fn advancing_moves_both_times_and_setting_only_the_date() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let mut clock = Clock::new(Some(start));
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.now(), Now { elapsed: Duration::from_secs(5), wall: start + Duration::from_secs(5) });
        clock.set(start);
        assert_eq!(clock.now(), Now { elapsed: Duration::from_secs(5), wall: start });
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now().wall, start + Duration::from_secs(1));
    }
}
