//! Options by the C SDK's names: what they change, and when.

use std::time::Duration;

use iothub_core::ConnectionState::Waiting;
use iothub_core::{
    ClientOption, ConnectionErrorKind, OptionError, RetryConfig, RetryPolicy, Undelivered, UndeliveredReason,
};
use iothub_emulator::{CbsFault, Fault};

use crate::bench::{Bench, DEVICE};
use crate::program::Program;
use crate::record;
use crate::subject::Subject;

fn set(program: &mut Program, name: &str, text: &str) -> Result<(), OptionError> {
    program.set_option(ClientOption::from_name(name, text)?)
}

/// Sets an option of the transport; `false` if it has none of this name, and says so.
fn set_if_known(program: &mut Program, name: &'static str, text: &str) -> bool {
    match set(program, name, text) {
        Ok(()) => true,
        Err(OptionError::NotOfTransport { option, .. }) => {
            assert_eq!(option, name);
            false
        }
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn retry_interval_and_maximum_apply_to_the_next_failure(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    bench.set_device_enabled(DEVICE, false).expect("it exists");
    let (mut program, clock) = bench.start_with_clock(|builder| builder.retry_policy(RetryPolicy::ExponentialBackoff));
    let first = program.until_status(Waiting, 0);
    assert_eq!(first.next_attempt_in, Some(Duration::from_secs(1)));
    set(&mut program, "retry_interval_sec", "2").expect("it is an option");
    set(&mut program, "retry_max_delay_secs", "5").expect("it is an option");
    let expected = RetryConfig::new(RetryPolicy::ExponentialBackoff)
        .with_initial_delay(Duration::from_secs(2))
        .with_max_delay(Duration::from_secs(5));
    assert_eq!(*program.retry_policy(), expected);
    let mut delay = Duration::from_secs(1);
    for (attempt, seconds) in [(2, 4), (3, 5), (4, 5)] {
        let told = program.statuses.len();
        clock.advance(delay);
        let waiting = program.until_status(Waiting, told);
        delay = Duration::from_secs(seconds);
        assert_eq!((waiting.attempt, waiting.next_attempt_in), (attempt, Some(delay)), "the count goes on");
    }
    assert_eq!(record::refusals(&bench).len(), 4);
    program.finish();
}

pub(crate) fn message_timeout_applies_to_messages_sent_afterwards(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    if !bench.can_inject(Fault::DropPubacks { count: 3 }) {
        return;
    }
    let (mut program, clock) = bench.start_with_clock(|builder| builder);
    let before = program.send("before");
    set(&mut program, "messageTimeout", "1500").expect("it is an option");
    let limited = program.send("limited");
    set(&mut program, "messageTimeout", "0").expect("it is an option");
    let after = program.send("after");
    program.until_stored(3);
    clock.advance(Duration::from_millis(1600));
    program.until_confirmed(&[limited]);
    let outcome = program.outcome(limited);
    assert!(matches!(outcome, Some(Err(Undelivered { reason: UndeliveredReason::TimedOut, .. }))), "{outcome:?}");
    assert_eq!((program.outcome(before), program.outcome(after)), (None, None));
    bench.disconnect_device(DEVICE).expect("it exists");
    program.until_confirmed(&[before, after]);
    assert_eq!(record::first_stored(&bench), ["before", "limited", "after"]);
    program.finish();
}

pub(crate) fn sas_token_lifetime_applies_to_the_next_token(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let (mut program, clock) = bench.start_with_clock(|builder| builder);
    program.round_trip();
    set(&mut program, "sas_token_lifetime", "600").expect("it is an option");
    clock.advance(Duration::from_secs(500));
    program.round_trip();
    assert_eq!(program.stats().renewals, 0, "the present token has an hour");
    bench.disconnect_device(DEVICE).expect("it exists");
    program.round_trip();
    clock.advance(Duration::from_secs(479));
    program.round_trip();
    assert_eq!((program.stats().renewals, record::connections(&bench)), (0, 2), "80 % are not over");
    clock.advance(Duration::from_secs(30));
    program.until("the token is renewed", |program| program.stats().renewals == 1);
    program.round_trip();
    program.until_hub("the hub has the third token", |hub| record::tokens(hub) == 3);
    assert_eq!(record::connections(&bench), if bench.renews_in_place() { 2 } else { 3 });
    program.finish();
}

pub(crate) fn keepalive_applies_to_the_next_connection(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program.round_trip();
    if !set_if_known(&mut program, "keepalive", "60") {
        return program.finish();
    }
    program.round_trip();
    bench.disconnect_device(DEVICE).expect("it exists");
    program.round_trip();
    assert_eq!(record::keep_alives(&bench), [240, 60].map(Duration::from_secs));
    program.finish();
}

pub(crate) fn connect_timeout_applies_to_the_next_connection(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let (mut program, clock) = bench.start_with_clock(|builder| builder);
    let silent = bench.can_inject_one_of([Fault::WithholdConnack, Fault::Cbs(CbsFault::Withhold)]);
    if silent.is_none() || !set_if_known(&mut program, "connect_timeout", "600") {
        return program.finish();
    }
    program.until_hub("the client wants to connect", |hub| record::faults(hub).len() == 1);
    clock.advance(Duration::from_secs(500));
    program.turn();
    assert!(!program.states().contains(&Waiting), "it has 600 s");
    clock.advance(Duration::from_secs(101));
    let waiting = program.until_status(Waiting, 0);
    let error = waiting.error.expect("it has a cause");
    assert!(matches!(error.kind, ConnectionErrorKind::TimedOut { .. }), "{error}");
    program.until_ready();
    program.finish();
}

pub(crate) fn what_is_no_option_or_out_of_range_is_named_and_changes_nothing(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let before = *program.retry_policy();
    assert_eq!(set(&mut program, "keepAlive", "60"), Err(OptionError::Unknown("keepAlive".to_owned())));
    for text in ["", "-1", "1.5", "ten", "99999999999"] {
        let error = set(&mut program, "messageTimeout", text).expect_err("it is no number");
        assert!(matches!(error, OptionError::Text { option: "messageTimeout", .. }), "{error}");
    }
    for (name, text) in [("sas_token_lifetime", "4"), ("retry_interval_sec", "0"), ("retry_max_delay_secs", "0")] {
        let error = set(&mut program, name, text).expect_err("it is out of range");
        assert!(matches!(error, OptionError::Range { option, .. } if option == name), "{error}");
    }
    for (name, text) in
        [("keepalive", "0"), ("keepalive", "1178"), ("connect_timeout", "0"), ("connect_timeout", "601")]
    {
        let error = set(&mut program, name, text).expect_err("it is out of range, or not of the transport");
        let is_named = match &error {
            OptionError::Range { option, .. } | OptionError::NotOfTransport { option, .. } => *option == name,
            _ => false,
        };
        assert!(is_named, "{error}");
    }
    assert_eq!(*program.retry_policy(), before);
    program.round_trip();
    assert_eq!(record::connections(&bench), 1);
    program.finish();
}
