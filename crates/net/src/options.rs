//! The options of a connection that every transport over TCP takes: their limits, and the errors of what is outside.

use std::time::Duration;

use iothub_core::{CreateError, OptionError, TransportOption};

use crate::TcpKeepAlive;

/// What an option that is a time may be.
#[derive(Clone, Copy, Debug)]
pub struct TimeRange {
    first: Duration,
    last: Duration,
    is_whole: bool,
    text: &'static str,
}

impl TimeRange {
    /// How long a stage of connecting may take: 100 ms to 10 minutes.
    pub const CONNECT_TIMEOUT: Self = Self {
        first: Duration::from_millis(100),
        last: Duration::from_secs(600),
        is_whole: false,
        text: "from 100 ms to 10 minutes",
    };

    /// What Linux takes.
    const TCP_KEEP_ALIVE: Self = Self::whole_seconds(1, 32_767, "a whole number of seconds from 1 to 32767");

    /// Whole seconds, both ends included. Errors say that the option must be `text`.
    pub const fn whole_seconds(first: u64, last: u64, text: &'static str) -> Self {
        Self { first: Duration::from_secs(first), last: Duration::from_secs(last), is_whole: true, text }
    }

    fn contains(&self, time: Duration) -> bool {
        (self.first..=self.last).contains(&time) && !(self.is_whole && time.subsec_nanos() > 0)
    }

    /// Checks the option of this name, when a transport is made.
    ///
    /// # Errors
    ///
    /// [`CreateError::Option`] for a time outside of the range.
    pub fn check(&self, option: &'static str, time: Duration) -> Result<(), CreateError> {
        if self.contains(time) {
            return Ok(());
        }
        Err(CreateError::Option { option, value: format!("{time:?}"), allowed: self.text })
    }

    /// The time of an option that is set later.
    ///
    /// # Errors
    ///
    /// [`OptionError::Range`] for a time outside of the range.
    pub fn take(&self, option: &TransportOption, time: Duration) -> Result<Duration, OptionError> {
        if self.contains(time) {
            return Ok(time);
        }
        Err(OptionError::Range { option: option.name(), value: format!("{time:?}"), allowed: self.text })
    }
}

impl TcpKeepAlive {
    /// Checks that the times are whole seconds from 1 to 32,767.
    ///
    /// # Errors
    ///
    /// [`CreateError::Option`] for the first that is not, under the name that the option has in the C SDK.
    pub fn check(&self) -> Result<(), CreateError> {
        for (option, time) in [("tcp_keepalive_time", self.time), ("tcp_keepalive_interval", self.interval)] {
            if let Some(time) = time {
                TimeRange::TCP_KEEP_ALIVE.check(option, time)?;
            }
        }
        Ok(())
    }

    /// Takes over an option. `false`: it is none of TCP's keep-alive.
    ///
    /// # Errors
    ///
    /// [`OptionError::Range`] for a time that is not a whole number of seconds from 1 to 32,767; nothing is changed then.
    pub fn set(&mut self, option: &TransportOption) -> Result<bool, OptionError> {
        let seconds = |time| TimeRange::TCP_KEEP_ALIVE.take(option, time).map(Some);
        match *option {
            TransportOption::TcpKeepAlive(enabled) => self.enabled = Some(enabled),
            TransportOption::TcpKeepAliveTime(time) => self.time = seconds(time)?,
            TransportOption::TcpKeepAliveInterval(time) => self.interval = seconds(time)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_range_has_both_its_ends_and_nothing_beyond() {
        for time in [millis(100), millis(1500), millis(600_000)] {
            assert!(TimeRange::CONNECT_TIMEOUT.check("o", time).is_ok());
        }
        for time in [Duration::ZERO, millis(99), millis(600_001)] {
            let text = TimeRange::CONNECT_TIMEOUT.check("o", time).unwrap_err().to_string();
            assert_eq!(text, format!("the option o is {time:?}; it must be from 100 ms to 10 minutes"));
        }
    }

    #[test]
    fn whole_seconds_have_no_fraction() {
        let range = TimeRange::whole_seconds(5, 7, "5 to 7");
        for time in [millis(5000), millis(7000)] {
            assert_eq!(range.take(&TransportOption::KeepAlive(time), time), Ok(time));
        }
        for time in [millis(4999), millis(5500), millis(7001), millis(8000)] {
            let error = range.take(&TransportOption::KeepAlive(time), time).unwrap_err();
            let expected = OptionError::Range { option: "keepalive", value: format!("{time:?}"), allowed: "5 to 7" };
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn tcps_keep_alive_is_refused_by_name_and_left_as_it_was() {
        let mut keep_alive = TcpKeepAlive::default();
        assert!(keep_alive.check().is_ok());
        assert_eq!(keep_alive.set(&TransportOption::TcpKeepAlive(true)), Ok(true));
        assert_eq!(keep_alive.set(&TransportOption::TcpKeepAliveTime(millis(1000))), Ok(true));
        assert_eq!(keep_alive.set(&TransportOption::TcpKeepAliveInterval(millis(32_767_000))), Ok(true));
        assert_eq!(keep_alive.set(&TransportOption::KeepAlive(millis(1000))), Ok(false));
        let taken = keep_alive;
        for wrong in [millis(0), millis(1500), millis(32_768_000)] {
            let name = |error: OptionError| error.to_string().split(' ').nth(2).map(str::to_owned);
            let time = keep_alive.set(&TransportOption::TcpKeepAliveTime(wrong)).unwrap_err();
            assert_eq!(name(time).as_deref(), Some("tcp_keepalive_time"));
            let interval = keep_alive.set(&TransportOption::TcpKeepAliveInterval(wrong)).unwrap_err();
            assert_eq!(name(interval).as_deref(), Some("tcp_keepalive_interval"));
            assert_eq!(keep_alive, taken);
            let of = |time, interval| TcpKeepAlive { enabled: None, time, interval }.check().unwrap_err().to_string();
            assert!(of(Some(wrong), None).starts_with("the option tcp_keepalive_time is"));
            assert!(of(None, Some(wrong)).starts_with("the option tcp_keepalive_interval is"));
        }
        let expected =
            TcpKeepAlive { enabled: Some(true), time: Some(millis(1000)), interval: Some(millis(32_767_000)) };
        assert!(taken == expected && taken.check().is_ok());
    }
}
