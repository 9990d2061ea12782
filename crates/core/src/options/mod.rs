//! Options that can be changed after creation: typed, or by the C SDK's name and a text.

mod c_names;

use std::time::Duration;

pub use c_names::{C_OPTIONS, OptionVerdict};

/// An option of the client.
///
/// | Option | C name | Range | Default | Takes effect |
/// |---|---|---|---|---|
/// | `MessageTimeout` | `messageTimeout` (ms, 0 is off) | any | off | for messages sent afterwards |
/// | `TokenLifetime` | `sas_token_lifetime` (s) | 5 s and up | 1 h | at the next token |
/// | `RetryInterval` | `retry_interval_sec` (s) | 1 s and up | 1 s or 5 s, by policy | at the next failure |
/// | `RetryMaxDelay` | `retry_max_delay_secs` (s) | the interval and up | 30 s | at the next failure |
/// | `DiagnosticSampling` | `diag_sampling_percentage` (%) | 0 to 100 | 0, off | for messages sent afterwards |
/// | `Transport` | see [`TransportOption`] | | | |
///
/// [`C_OPTIONS`] says of every option of the C SDK what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientOption {
    /// How long a message may take to its confirmation; `None` is without limit.
    MessageTimeout(Option<Duration>),
    /// How long a token that the client signs is valid.
    TokenLifetime(Duration),
    /// The first delay of the retry policy.
    RetryInterval(Duration),
    /// The longest delay of the retry policy.
    RetryMaxDelay(Duration),
    /// Which part of the messages is marked for tracing through the hub: see
    /// [`Message::with_diagnostics`](crate::Message::with_diagnostics). One that has no room for the mark goes without it.
    DiagnosticSampling {
        /// Of a hundred messages so many, evenly spread, the first one among them.
        percent: u32,
    },
    /// An option of the transport.
    Transport(TransportOption),
}

/// An option of a transport. Each transport takes some and refuses the others by name.
///
/// | Option | C name | Range | Default | Takes effect | Transports |
/// |---|---|---|---|---|---|
/// | `KeepAlive` | `keepalive` (s) | 1 s (AMQP: 5 s) to 1177 s, whole | 240 s | at the next connection | MQTT, AMQP |
/// | `ConnectTimeout` | `connect_timeout` (s) | 100 ms to 10 min | 30 s | at the next connection | MQTT, AMQP |
/// | `TcpKeepAlive` | `tcp_keepalive` (0 or 1) | | the system's | at the next connection | MQTT, AMQP |
/// | `TcpKeepAliveTime` | `tcp_keepalive_time` (s) | 1 s to 32767 s, whole | the system's | at the next connection | MQTT, AMQP |
/// | `TcpKeepAliveInterval` | `tcp_keepalive_interval` (s) | 1 s to 32767 s, whole | the system's | at the next connection | MQTT, AMQP |
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportOption {
    /// How long a connection may be idle before the client asks whether the hub is still there; over AMQP, how long the
    /// hub may be silent.
    KeepAlive(Duration),
    /// How long each stage of connecting may take.
    ConnectTimeout(Duration),
    /// Whether the operating system probes an idle TCP connection. `KeepAlive` does that better: its probes reach the
    /// hub through proxies too.
    TcpKeepAlive(bool),
    /// How long a TCP connection must be idle before the system probes it.
    TcpKeepAliveTime(Duration),
    /// How long the system waits between two probes.
    TcpKeepAliveInterval(Duration),
}

impl TransportOption {
    /// The C SDK's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::KeepAlive(_) => "keepalive",
            Self::ConnectTimeout(_) => "connect_timeout",
            Self::TcpKeepAlive(_) => "tcp_keepalive",
            Self::TcpKeepAliveTime(_) => "tcp_keepalive_time",
            Self::TcpKeepAliveInterval(_) => "tcp_keepalive_interval",
        }
    }
}

impl From<TransportOption> for ClientOption {
    fn from(option: TransportOption) -> Self {
        Self::Transport(option)
    }
}

/// An option that cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// No option has this name.
    #[error("there is no option {0:?}")]
    Unknown(String),
    /// Something else does the option's job.
    #[error("the option {option} is not set here; instead: {to}")]
    Mapped {
        /// Which option.
        option: &'static str,
        /// What does its job.
        to: &'static str,
    },
    /// There is no such option here.
    #[error("the option {option} is refused: {reason}")]
    Refused {
        /// Which option.
        option: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// The text is not a value of the option.
    #[error("the option {option} takes {wanted}, {text:?} is none")]
    Text {
        /// Which option.
        option: &'static str,
        /// What it takes.
        wanted: &'static str,
        /// What was given.
        text: String,
    },
    /// The value is out of range.
    #[error("the option {option} is {value}; it must be {allowed}")]
    Range {
        /// Which option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The transport does not have it.
    #[error("{transport} has no option {option}")]
    NotOfTransport {
        /// Which option.
        option: &'static str,
        /// Which transport.
        transport: &'static str,
    },
}

impl ClientOption {
    /// Reads an option from the C SDK's name and a text: whole numbers in the unit that C uses. What became of each name
    /// stands in [`C_OPTIONS`].
    ///
    /// ```
    /// use iothub_core::ClientOption;
    /// use std::time::Duration;
    ///
    /// let option = ClientOption::from_name("messageTimeout", "1500")?;
    /// assert_eq!(option, ClientOption::MessageTimeout(Some(Duration::from_millis(1500))));
    /// # Ok::<(), iothub_core::OptionError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`OptionError`] names what is unknown or wrong; ranges are checked when the option is set.
    pub fn from_name(name: &str, text: &str) -> Result<Self, OptionError> {
        let wrong = |option, wanted| OptionError::Text { option, wanted, text: text.to_owned() };
        let number = |option, wanted| text.parse::<u32>().map(u64::from).map_err(|_| wrong(option, wanted));
        let seconds = |option| number(option, "a number of seconds").map(Duration::from_secs);
        Ok(match name {
            "messageTimeout" => match number("messageTimeout", "a number of milliseconds")? {
                0 => Self::MessageTimeout(None),
                millis => Self::MessageTimeout(Some(Duration::from_millis(millis))),
            },
            "sas_token_lifetime" | "sas_token_refresh_time" => Self::TokenLifetime(seconds("sas_token_lifetime")?),
            "retry_interval_sec" => Self::RetryInterval(seconds("retry_interval_sec")?),
            "retry_max_delay_secs" => Self::RetryMaxDelay(seconds("retry_max_delay_secs")?),
            "diag_sampling_percentage" => {
                let percent = text.parse().map_err(|_| wrong("diag_sampling_percentage", "a number of per cent"))?;
                Self::DiagnosticSampling { percent }
            }
            "keepalive" => TransportOption::KeepAlive(seconds("keepalive")?).into(),
            "connect_timeout" => TransportOption::ConnectTimeout(seconds("connect_timeout")?).into(),
            "tcp_keepalive" => match text {
                "0" | "1" => TransportOption::TcpKeepAlive(text == "1").into(),
                _ => return Err(wrong("tcp_keepalive", "0 or 1")),
            },
            "tcp_keepalive_time" => TransportOption::TcpKeepAliveTime(seconds("tcp_keepalive_time")?).into(),
            "tcp_keepalive_interval" => {
                TransportOption::TcpKeepAliveInterval(seconds("tcp_keepalive_interval")?).into()
            }
            other => {
                return Err(match c_names::verdict(other) {
                    Some((option, OptionVerdict::Mapped(to))) => OptionError::Mapped { option, to },
                    Some((option, OptionVerdict::Refused(reason))) => OptionError::Refused { option, reason },
                    _ => OptionError::Unknown(other.to_owned()),
                });
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_of_the_c_sdk_are_read_in_their_units() {
        let read = |name, text| ClientOption::from_name(name, text).unwrap();
        let secs = Duration::from_secs;
        assert_eq!(read("messageTimeout", "0"), ClientOption::MessageTimeout(None));
        assert_eq!(read("sas_token_lifetime", "60"), ClientOption::TokenLifetime(secs(60)));
        assert_eq!(read("retry_interval_sec", "2"), ClientOption::RetryInterval(secs(2)));
        assert_eq!(read("retry_max_delay_secs", "9"), ClientOption::RetryMaxDelay(secs(9)));
        assert_eq!(read("keepalive", "60"), ClientOption::Transport(TransportOption::KeepAlive(secs(60))));
        assert_eq!(read("connect_timeout", "7"), ClientOption::Transport(TransportOption::ConnectTimeout(secs(7))));
    }

    #[test]
    fn what_is_no_option_or_no_value_is_named() {
        assert_eq!(ClientOption::from_name("keepAlive", "1"), Err(OptionError::Unknown("keepAlive".into())));
        let text = ClientOption::from_name("keepalive", "-1").unwrap_err().to_string();
        assert_eq!(text, "the option keepalive takes a number of seconds, \"-1\" is none");
    }
}
