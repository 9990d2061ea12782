//! The settings of a session, whatever it runs over.

use std::time::Duration;

use iothub_core::{CreateError, OptionError, TransportOption};
use iothub_net::{TcpKeepAlive, TimeRange};

use crate::packet_ids::PacketIds;

/// How many packet identifiers the telemetry window leaves to subscriptions.
const CONTROL_IDS: usize = 535;

const KEEP_ALIVE: TimeRange = TimeRange::whole_seconds(1, 1177, "a whole number of seconds from 1 to 1177");

/// The settings of an MQTT session, for transports that run it over a connection of their own.
///
/// `Default` gives the documented defaults; [`MqttTransport::new`](crate::MqttTransport::new) checks the ranges. The
/// keep-alive interval, the connect time-out and TCP's keep-alive can be changed later by a [`TransportOption`], for the
/// next connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionOptions {
    /// How long the connection may be idle before the client asks whether the hub is still there.
    ///
    /// Whole seconds, 1 to 1177; default 240 (C SDK). The hub closes a connection after 1.5 times this, and never waits
    /// longer than 1767 s, hence the upper limit (*Communicate with your IoT hub using the MQTT protocol*).
    pub keep_alive: Duration,
    /// How long the answer to CONNECT, to SUBSCRIBE and to UNSUBSCRIBE may take, each by itself.
    ///
    /// 100 ms to 10 minutes; default 30 s (C SDK, `connect_timeout`).
    pub connect_timeout: Duration,
    /// How many messages may be on their way, sent and not yet acknowledged.
    ///
    /// 1 to 65,000, which leaves packet identifiers to subscriptions; default 100. At a round trip of 100 ms that is
    /// 1,000 messages a second, ten times what one S1 unit takes (quotas), and a lost connection makes the client
    /// repeat no more than these. Raise it for a distant hub and a program that calls `do_work` seldom.
    pub max_in_flight: usize,
    /// Whether and how the operating system probes an idle connection, if it is one over TCP.
    ///
    /// Times are whole seconds, 1 to 32,767 (what Linux takes); default: all is left to the system. The client's own
    /// keep-alive is what notices a dead connection; this helps where something between drops one that is idle for less.
    pub tcp_keep_alive: TcpKeepAlive,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(240),
            connect_timeout: Duration::from_secs(30),
            max_in_flight: 100,
            tcp_keep_alive: TcpKeepAlive::default(),
        }
    }
}

impl SessionOptions {
    /// The keep-alive interval in seconds, as CONNECT carries it. In range once [`check`](Self::check) has passed.
    pub(crate) fn keep_alive_secs(&self) -> u16 {
        u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX)
    }

    /// Fails with [`CreateError::Option`] for the first option that is out of its range.
    pub fn check(&self) -> Result<(), CreateError> {
        KEEP_ALIVE.check("keep_alive", self.keep_alive)?;
        TimeRange::CONNECT_TIMEOUT.check("connect_timeout", self.connect_timeout)?;
        if !(1..=PacketIds::ALL - CONTROL_IDS).contains(&self.max_in_flight) {
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
        assert_eq!(refused(|_| {}), None);
        for secs in [1, 1177] {
            assert_eq!(refused(|o| o.keep_alive = Duration::from_secs(secs)), None);
        }
        for keep_alive in [Duration::ZERO, Duration::from_millis(1500), Duration::from_secs(1178)] {
            let text = refused(|o| o.keep_alive = keep_alive).unwrap();
            assert!(text.contains("keep_alive") && text.contains("1177"), "{text}");
        }
        for timeout in [Duration::from_millis(99), Duration::from_secs(601)] {
            assert!(refused(|o| o.connect_timeout = timeout).unwrap().contains("connect_timeout"));
        }
        for limit in [1, 65_000] {
            assert_eq!(refused(|o| o.max_in_flight = limit), None);
        }
        for limit in [0, 65_001] {
            assert!(refused(|o| o.max_in_flight = limit).unwrap().contains("max_in_flight"));
        }
        let secs = |secs| Some(Duration::from_secs(secs));
        assert_eq!(refused(|o| o.tcp_keep_alive.time = secs(32_767)), None);
        assert_eq!(refused(|o| o.tcp_keep_alive.interval = secs(1)), None);
        for wrong in [secs(0), secs(32_768), Some(Duration::from_millis(1500))] {
            assert!(refused(|o| o.tcp_keep_alive.time = wrong).unwrap().contains("tcp_keepalive_time"));
            assert!(refused(|o| o.tcp_keep_alive.interval = wrong).unwrap().contains("tcp_keepalive_interval"));
        }
    }
}
