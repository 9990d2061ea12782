//! Every retry policy: the delays that it tells, how many attempts the hub sees, and where it ends.

use std::net::TcpListener;
use std::time::Duration;

use iothub_core::ConnectionState::{Connecting, Ready, Stopped, Waiting};
use iothub_core::{ConnectionStatusReason, MIN_DELAY, RetryConfig, RetryPolicy};
use iothub_emulator::RefusalReason;

use crate::bench::{Bench, DEVICE};
use crate::clock::Clock;
use crate::program::Program;
use crate::record;
use crate::subject::Subject;

/// What the failed attempts told: their number, and how long until the next.
fn waits(program: &Program) -> Vec<(u32, Duration)> {
    let waits = program.statuses.iter().filter(|change| change.state == Waiting);
    waits.map(|change| (change.attempt, change.next_attempt_in.expect("it says when"))).collect()
}

/// Fails this often, with the delays in between passed at once; gives the delays.
fn fail(program: &mut Program, clock: &Clock, times: usize) -> Vec<Duration> {
    let mut delays = Vec::new();
    for failed in 0..times {
        program.until("an attempt has failed", |program| waits(program).len() > failed);
        let (attempt, delay) = waits(program)[failed];
        assert_eq!(attempt as usize, failed + 1);
        delays.push(delay);
        clock.advance(delay);
    }
    delays
}

/// The hub refuses a device whose client has this policy, and lets it in at last; gives the delays that were told.
fn delays(subject: &dyn Subject, policy: impl Into<RetryConfig>, times: usize) -> Vec<Duration> {
    let bench = Bench::new(subject);
    bench.set_device_enabled(DEVICE, false).expect("it exists");
    let config = policy.into();
    let (mut program, clock) = bench.start_with_clock(|builder| builder.retry_policy(config));
    let id = program.send("kept");
    let delays = fail(&mut program, &clock, times);
    assert_eq!(record::refusals(&bench), vec![RefusalReason::DeviceDisabled; times], "attempts that nobody told of");
    bench.set_device_enabled(DEVICE, true).expect("it exists");
    program.until_confirmed(&[id]);
    let attempts = program.statuses.iter().filter(|change| change.state == Connecting).map(|change| change.attempt);
    assert_eq!(attempts.collect::<Vec<_>>(), (1..=times as u32 + 1).collect::<Vec<_>>());
    assert_eq!(record::stored(&bench), ["kept"]);
    program.finish();
    delays
}

fn seconds<const N: usize>(seconds: [u64; N]) -> [Duration; N] {
    seconds.map(Duration::from_secs)
}

pub(crate) fn none_tries_once(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    bench.set_device_enabled(DEVICE, false).expect("it exists");
    let (mut program, clock) = bench.start_with_clock(|builder| builder.retry_policy(RetryPolicy::None));
    let id = program.send("kept");
    let stopped = program.until_status(Stopped, 0);
    assert_eq!((stopped.reason, stopped.next_attempt_in), (ConnectionStatusReason::RetryExpired, None));
    assert_eq!((program.next_deadline(), program.states()), (None, vec![Connecting, Stopped]));
    clock.advance(Duration::from_secs(24 * 3600));
    program.turn();
    assert_eq!(record::refusals(&bench), [RefusalReason::DeviceDisabled]);
    bench.set_device_enabled(DEVICE, true).expect("it exists");
    program.reconnect();
    program.until_confirmed(&[id]);
    program.finish();
}

pub(crate) fn immediate_waits_the_shortest_delay(subject: &dyn Subject) {
    assert_eq!(delays(subject, RetryPolicy::Immediate, 6), [MIN_DELAY; 6]);
}

pub(crate) fn interval_waits_the_same_each_time(subject: &dyn Subject) {
    assert_eq!(delays(subject, RetryPolicy::Interval, 6), seconds([5; 6]));
    let exact = Duration::from_millis(1234);
    let config = RetryConfig::new(RetryPolicy::Interval).with_initial_delay(exact);
    assert_eq!(delays(subject, config, 3), [exact; 3], "to the millisecond");
}

pub(crate) fn linear_backoff_adds_the_same_each_time_up_to_the_maximum(subject: &dyn Subject) {
    assert_eq!(delays(subject, RetryPolicy::LinearBackoff, 8), seconds([5, 10, 15, 20, 25, 30, 30, 30]));
}

pub(crate) fn exponential_backoff_doubles_up_to_the_maximum(subject: &dyn Subject) {
    assert_eq!(delays(subject, RetryPolicy::ExponentialBackoff, 8), seconds([1, 2, 4, 8, 16, 30, 30, 30]));
}

pub(crate) fn jitter_takes_a_random_part_off_each_delay(subject: &dyn Subject) {
    let exact = seconds([1, 2, 4, 8, 16, 30, 30, 30]);
    let told = delays(subject, RetryPolicy::ExponentialBackoffWithJitter, 8);
    for (told, exact) in told.iter().zip(exact) {
        assert!(*told <= exact && *told >= exact / 2, "{told:?} is no part of {exact:?}");
    }
    assert_ne!(told, exact, "nothing is random");
    let whole_seconds = told.iter().all(|delay| delay.subsec_millis() == 0);
    assert!(!whole_seconds, "delays are random to the millisecond: {told:?}");
}

pub(crate) fn random_waits_up_to_the_initial_delay(subject: &dyn Subject) {
    let told = delays(subject, RetryPolicy::Random, 8);
    assert!(told.iter().all(|delay| (MIN_DELAY..=Duration::from_secs(5)).contains(delay)), "{told:?}");
    assert!(told.iter().any(|delay| *delay != told[0]), "nothing is random: {told:?}");
}

pub(crate) fn with_every_policy_but_none_the_first_attempt_after_a_drop_is_immediate(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    use RetryPolicy::{ExponentialBackoff, ExponentialBackoffWithJitter, Immediate, Interval, LinearBackoff, Random};
    for policy in [Immediate, Interval, LinearBackoff, ExponentialBackoff, ExponentialBackoffWithJitter, Random] {
        let (mut program, _clock) = bench.start_with_clock(|builder| builder.retry_policy(policy));
        program.until_ready();
        bench.disconnect_device(DEVICE).expect("it exists");
        assert_eq!(program.until_status(Waiting, 3).next_attempt_in, Some(Duration::ZERO), "{policy:?}");
        program.until_ready();
        program.finish();
    }
    assert_eq!(record::connections(&bench), 12);
}

pub(crate) fn connections_that_do_not_last_wait_longer_each_time_and_one_that_does_starts_anew(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let (mut program, clock) = bench.start_with_clock(|builder| builder.retry_policy(RetryPolicy::ExponentialBackoff));
    let drop = |program: &mut Program| {
        program.until_ready();
        let told = program.statuses.len();
        bench.disconnect_device(DEVICE).expect("it exists");
        let delay = program.until_status(Waiting, told).next_attempt_in.expect("it says when");
        clock.advance(delay);
        delay
    };
    let told: Vec<_> = (0..4).map(|_| drop(&mut program)).collect();
    assert_eq!(told, seconds([0, 1, 2, 4]));
    program.until_ready();
    clock.advance(Duration::from_secs(30));
    assert_eq!(drop(&mut program), Duration::ZERO);
    program.until_ready();
    assert_eq!(record::connections(&bench), 6);
    program.finish();
}

/// Refused until the limit of a minute is over; gives the stopped program.
fn stopped_at_the_limit<'a>(subject: &'a dyn Subject) -> (Bench<'a>, Program, RetryConfig) {
    let bench = Bench::new(subject);
    bench.set_device_enabled(DEVICE, false).expect("it exists");
    let config = RetryConfig::new(RetryPolicy::Interval)
        .with_initial_delay(Duration::from_secs(25))
        .with_limit(Duration::from_secs(60));
    let (mut program, clock) = bench.start_with_clock(|builder| builder.retry_policy(config));
    // At 0, 25 and 50 s; the fourth, at 75 s, is the first behind the limit.
    assert_eq!(fail(&mut program, &clock, 3), seconds([25; 3]));
    let stopped = program.until_status(Stopped, 0);
    assert_eq!((stopped.reason, stopped.attempt), (ConnectionStatusReason::RetryExpired, 4));
    assert!(stopped.error.is_some() && stopped.next_attempt_in.is_none());
    assert_eq!(program.next_deadline(), None, "a stopped client has nothing planned");
    clock.advance(Duration::from_secs(24 * 3600));
    program.turn();
    assert_eq!(record::refusals(&bench).len(), 4);
    (bench, program, config)
}

pub(crate) fn after_the_limit_the_client_stops_until_it_is_told_to_reconnect(subject: &dyn Subject) {
    let (bench, mut program, _) = stopped_at_the_limit(subject);
    let id = program.send("kept");
    program.reconnect();
    program.until("it tries again, with a limit of its own", |program| waits(program).len() == 4);
    assert_eq!(waits(&program)[3], (1, Duration::from_secs(25)));
    bench.set_device_enabled(DEVICE, true).expect("it exists");
    program.reconnect();
    program.until_confirmed(&[id]);
    assert_eq!(record::stored(&bench), ["kept"]);
    program.finish();
}

pub(crate) fn a_new_policy_revives_a_client_that_stopped_at_the_limit(subject: &dyn Subject) {
    let (bench, mut program, config) = stopped_at_the_limit(subject);
    assert_eq!(*program.retry_policy(), config);
    bench.set_device_enabled(DEVICE, true).expect("it exists");
    program.set_retry_policy(RetryPolicy::Interval);
    program.until_ready();
    assert_eq!(record::connections(&bench), 1);
    program.finish();
}

pub(crate) fn a_new_policy_ends_the_wait_of_the_old_one(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    bench.set_device_enabled(DEVICE, false).expect("it exists");
    let long = RetryConfig::new(RetryPolicy::Interval).with_initial_delay(Duration::from_secs(3600));
    let (mut program, _clock) = bench.start_with_clock(|builder| builder.retry_policy(long));
    program.until_status(Waiting, 0);
    program.set_retry_policy(RetryConfig::new(RetryPolicy::Interval).with_initial_delay(Duration::from_secs(7)));
    program.until("it has tried again", |program| waits(program).len() == 2);
    assert_eq!(waits(&program), [(1, Duration::from_secs(3600)), (1, Duration::from_secs(7))]);
    program.finish();
}

pub(crate) fn a_port_on_which_nobody_listens_is_tried_again(subject: &dyn Subject) {
    let mut bench = Bench::new(subject);
    let gone = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port");
    let device = bench.device(DEVICE).expect("it exists");
    let gateway = format!("GatewayHostName={}:{}", bench.host_name(), gone.port());
    bench.connection_string = format!("{};{gateway}", device.connection_string());
    let (mut program, clock) = bench.start_with_clock(|builder| builder.retry_policy(RetryPolicy::LinearBackoff));
    assert_eq!(fail(&mut program, &clock, 4), seconds([5, 10, 15, 20]));
    for change in program.statuses.iter().filter(|change| change.state == Waiting) {
        assert_eq!(change.reason, ConnectionStatusReason::NoNetwork);
        let text = change.error.as_ref().expect("it has a cause").to_string();
        assert!(text.starts_with(&format!("localhost:{}: ", gone.port())), "{text}");
    }
    assert!(!program.states().contains(&Ready));
    assert!(bench.activity(DEVICE).is_empty() && bench.unattributed_activity().is_empty());
    program.finish();
}
