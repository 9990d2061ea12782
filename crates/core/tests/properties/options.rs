//! Options by name and text.

use std::time::Duration;

use iothub_core::{C_OPTIONS, ClientOption, OptionError, OptionVerdict, TransportOption};
use proptest::prelude::*;
use proptest::sample::select;

use super::{ten_thousand, text};

/// Names whose options are a number, with what the number means.
type Meaning = fn(u32) -> ClientOption;
const NUMBERS: [(&str, Meaning); 9] = [
    ("messageTimeout", |number| {
        ClientOption::MessageTimeout((number > 0).then(|| Duration::from_millis(number.into())))
    }),
    ("sas_token_lifetime", |number| ClientOption::TokenLifetime(seconds(number))),
    ("sas_token_refresh_time", |number| ClientOption::TokenLifetime(seconds(number))),
    ("retry_interval_sec", |number| ClientOption::RetryInterval(seconds(number))),
    ("retry_max_delay_secs", |number| ClientOption::RetryMaxDelay(seconds(number))),
    ("keepalive", |number| TransportOption::KeepAlive(seconds(number)).into()),
    ("connect_timeout", |number| TransportOption::ConnectTimeout(seconds(number)).into()),
    ("tcp_keepalive_time", |number| TransportOption::TcpKeepAliveTime(seconds(number)).into()),
    ("tcp_keepalive_interval", |number| TransportOption::TcpKeepAliveInterval(seconds(number)).into()),
];

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}

proptest! {
    #![proptest_config(ten_thousand())]

    #[test]
    fn a_number_arrives_in_the_unit_of_its_option((name, meaning) in select(&NUMBERS[..]), number in any::<u32>()) {
        prop_assert_eq!(ClientOption::from_name(name, &number.to_string()), Ok(meaning(number)));
    }

    #[test]
    fn a_text_that_is_no_number_is_named_if_the_option_is_taken(
        (name, verdict) in select(C_OPTIONS),
        text in text("[0-9]{0,3}[^+0-9][0-9]{0,3}|[1-9][0-9]{10,20}|"),
    ) {
        match (ClientOption::from_name(name, &text), verdict) {
            (Err(OptionError::Text { text: named, .. }), OptionVerdict::Taken) => prop_assert_eq!(named, text),
            (Err(OptionError::Mapped { option, .. }), OptionVerdict::Mapped(_)) => prop_assert_eq!(option, name),
            (Err(OptionError::Refused { option, .. }), OptionVerdict::Refused(_)) => prop_assert_eq!(option, name),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn a_name_that_is_no_option_is_named(name in text("\\PC{0,9}|[a-zA-Z_]{1,9}"), text in text(".{0,9}")) {
        let is_known = C_OPTIONS.iter().any(|(known, _)| *known == name);
        match ClientOption::from_name(&name, &text) {
            Err(OptionError::Unknown(named)) => prop_assert_eq!(named, name),
            other => prop_assert!(is_known, "{other:?}"),
        }
    }
}
