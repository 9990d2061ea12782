//! The settings of a connection, whatever it runs over.

use std::time::Duration;

use iothub_core::{CreateError, OptionError, TransportOption};
use iothub_net::{TcpKeepAlive, TimeRange};

const KEEP_ALIVE: TimeRange = TimeRange::whole_seconds(5, 1177, "a whole number of seconds from 5 to 1177");
const MAX_IN_FLIGHT: usize = 65_000;

/// The settings of an AMQP connection, for transports that run it over a stream of their own.
///
/// `Default` gives the documented defaults; [`AmqpTransport::new`](crate::AmqpTransport::new) checks the ranges. The
/// keep-alive interval, the connect time-out and TCP's keep-alive can be changed later by a [`TransportOption`], for the
/// next connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionOptions {
    /// How long the hub may be silent; the hub is told so and speaks in time.
    ///
    /// Whole seconds, 5 to 1177 (as over MQTT); default 240 (C SDK). The hub refuses less than 5. A hub that has been silent for one
    /// and a half times this is given up. How often the client speaks is decided by what the hub asks for: at half of that.
    pub keep_alive: Duration,
    /// How long each answer of the hub on the way to a connection may take: to Open, to a token, to a session, to a link.
    ///
    /// 100 ms to 10 minutes; default 30 s (C SDK, `cbs_request_timeout`).
    pub connect_timeout: Duration,
    /// How many messages of one device may be on their way, sent and not yet confirmed: 1 to 65,000, default 100.
    pub max_in_flight: usize,
    /// Whether messages that wait together are sent together, in one transfer (message format 0x80013700); default `true`.
    ///
    /// Nothing waits for company: a message that is alone goes at once, as it is. A batch has at most 256 KiB, the hub's
    /// limit for one, and leaves 1,024 bytes free of what the link takes (C SDK). To the hub's readers each message is its own; when the
    /// hub rejects a batch for what one message may be at fault for, its messages are sent again, each alone. A message whose
    /// first property asks the hub for a fault (`AzIoTHub_FaultOperationType`) always goes alone.
    pub batching: bool,
    /// Whether and how the operating system probes an idle connection, if it is one over TCP. Times are whole seconds, 1
    /// to 32,767; default: all is left to the system.
    pub tcp_keep_alive: TcpKeepAlive,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(240),
            connect_timeout: Duration::from_secs(30),
            max_in_flight: 100,
            batching: true,
            tcp_keep_alive: TcpKeepAlive::default(),
        }
    }
}

impl SessionOptions {
    /// The keep-alive interval in milliseconds, as Open carries it.
    pub(crate) fn keep_alive_millis(&self) -> u32 {
        u32::try_from(self.keep_alive.as_millis()).unwrap_or(u32::MAX)
    }

    /// Fails with [`CreateError::Option`] for the first option that is out of its range.
    pub fn check(&self) -> Result<(), CreateError> {
        KEEP_ALIVE.check("keep_alive", self.keep_alive)?;
        TimeRange::CONNECT_TIMEOUT.check("connect_timeout", self.connect_timeout)?;
        if !(1..=MAX_IN_FLIGHT).contains(&self.max_in_flight) {
            return Err(CreateError::Option {
                option: "max_in_flight",
                value: self.max_in_flight.to_string(),
                allowed: "from 1 to 65000",
            });
        }
        self.tcp_keep_alive.check()
    }

    /// Takes over an option of the transport that is called `transport` in errors.
    pub(crate) fn set(&mut self, option: &TransportOption, transport: &'static str) -> Result<(), OptionError> {
        match *option {
            TransportOption::KeepAlive(interval) => self.keep_alive = KEEP_ALIVE.take(option, interval)?,
            TransportOption::ConnectTimeout(timeout) => {
                self.connect_timeout = TimeRange::CONNECT_TIMEOUT.take(option, timeout)?;
            }
            _ => {
                if !self.tcp_keep_alive.set(option)? {
                    return Err(OptionError::NotOfTransport { option: option.name(), transport });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut SessionOptions)) -> Option<String> {
        let mut options = SessionOptions::default();
        change(&mut options);
        options.check().err().map(|error| error.to_string())
    }

    #[test]
    fn options_are_taken_in_their_ranges_and_refused_by_name_outside() {
        let secs = Duration::from_secs;
        assert_eq!(refused(|_| {}), None);
        for keep_alive in [secs(5), secs(1177)] {
            assert_eq!(refused(|o| o.keep_alive = keep_alive), None);
        }
        for keep_alive in [secs(4), secs(1178), Duration::from_millis(5500)] {
            assert!(refused(|o| o.keep_alive = keep_alive).unwrap().contains("keep_alive"));
        }
        for timeout in [Duration::from_millis(99), secs(601)] {
            assert!(refused(|o| o.connect_timeout = timeout).unwrap().contains("connect_timeout"));
        }
        for limit in [0, 65_001] {
            assert!(refused(|o| o.max_in_flight = limit).unwrap().contains("max_in_flight"));
        }
        assert!(refused(|o| o.tcp_keep_alive.time = Some(secs(0))).unwrap().contains("tcp_keepalive_time"));
    }
}
