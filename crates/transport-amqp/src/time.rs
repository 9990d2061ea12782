//! Moments as AMQP writes them, and as text.

use std::time::{Duration, UNIX_EPOCH};

use iothub_core::{Message, SystemProperty};
use serde_amqp::primitives::Timestamp;

/// ISO 8601 in UTC. A time before 1970 counts as 1970.
pub(crate) fn text(time: &Timestamp) -> String {
    let since = Duration::from_millis(u64::try_from(time.milliseconds()).unwrap_or(0));
    let time = UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH);
    // The library writes times in one way only.
    let message = Message::new("").with_creation_time(time);
    message.system(SystemProperty::CreationTime).unwrap_or_default().to_owned()
}

/// Reads what [`text`] writes, with or without a fraction; `None` for what is no such time.
pub(crate) fn read(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut time = time.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let in_range = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !in_range || hour > 23 || minute > 59 || second > 60 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let millis: i64 = format!("{fraction:0<3.3}").parse().ok()?;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Timestamp::from(seconds * 1000 + millis))
}

/// Days from 1970-01-01, by the usual reckoning with years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_is_written() {
        for millis in [0, 1, 951_782_400_000, 1_700_000_000_123, 4_102_444_799_999] {
            let time = Timestamp::from(millis);
            assert_eq!(read(&text(&time)).map(|time| time.milliseconds()), Some(millis), "{}", text(&time));
        }
        assert_eq!(read("2024-02-29T12:00:00Z").map(|time| time.milliseconds()), Some(1_709_208_000_000));
        assert_eq!(read("2024-02-29T12:00:00.5Z").map(|time| time.milliseconds()), Some(1_709_208_000_500));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "Z", "2024-02-29", "2024-02-29T12:00Z", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00+01:00"] {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
