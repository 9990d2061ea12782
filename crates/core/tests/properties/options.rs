//! Options by name and text.

use std::time::Duration;

use iothub_core::{ClientOption, OptionError, TransportOption};
use proptest::prelude::*;

use super::ten_thousand;

/// Every name with what a number means under it.
type Meaning = fn(u32) -> ClientOption;
const NAMES: [(&str, Meaning); 7] = [
    ("messageTimeout", |number| {
        ClientOption::MessageTimeout((number > 0).then(|| Duration::from_millis(number.into())))
    }),
    ("sas_token_lifetime", |number| ClientOption::TokenLifetime(seconds(number))),
    ("sas_token_refresh_time", |number| ClientOption::TokenLifetime(seconds(number))),
    ("retry_interval_sec", |number| ClientOption::RetryInterval(seconds(number))),
    ("retry_max_delay_secs", |number| ClientOption::RetryMaxDelay(seconds(number))),
    ("keepalive", |number| ClientOption::Transport(TransportOption::KeepAlive(seconds(number)))),
    ("connect_timeout", |number| ClientOption::Transport(TransportOption::ConnectTimeout(seconds(number)))),
];

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}

proptest! {
    #![proptest_config(ten_thousand())]

    #[test]
    fn a_number_arrives_in_the_unit_of_its_option(at in 0..NAMES.len(), number in any::<u32>()) {
        let (name, meaning) = NAMES[at];
        prop_assert_eq!(ClientOption::from_name(name, &number.to_string()), Ok(meaning(number)));
    }

    #[test]
    fn a_text_that_is_no_number_is_named(at in 0..NAMES.len(), text in "[0-9]{0,3}[^+0-9][0-9]{0,3}|[1-9][0-9]{10,20}|") {
        let (name, _) = NAMES[at];
        match ClientOption::from_name(name, &text) {
            Err(OptionError::Text { text: named, .. }) => prop_assert_eq!(named, text),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn a_name_that_is_no_option_is_named(name in "\\PC{0,9}|[a-z_]{1,9}", text in ".{0,9}") {
        match ClientOption::from_name(&name, &text) {
            Err(OptionError::Unknown(named)) => prop_assert_eq!(named, name),
            _ => prop_assert!(!name.is_empty() && name.is_ascii()),
        }
    }
}
