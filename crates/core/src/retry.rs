//! When to try again after a connection failed or was lost.

use std::time::{Duration, Instant};

/// How the delays between attempts grow.
#[doc(alias = "IOTHUB_CLIENT_RETRY_POLICY")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetryPolicy {
    /// Connect once; when that fails or the connection drops, stop.
    #[doc(alias = "IOTHUB_CLIENT_RETRY_NONE")]
    None,
    /// Always the shortest delay, [`MIN_DELAY`]. The C SDK tries on every `DoWork`, which storms the hub.
    #[doc(alias = "IOTHUB_CLIENT_RETRY_IMMEDIATE")]
    Immediate,
    /// Always the initial delay; the maximum does not apply.
    #[doc(alias = "IOTHUB_CLIENT_RETRY_INTERVAL")]
    Interval,
    /// The initial delay times the number of attempts, up to the maximum.
    #[doc(alias = "IOTHUB_CLIENT_RETRY_LINEAR_BACKOFF")]
    LinearBackoff,
    /// Double the delay with each attempt, up to the maximum.
    #[doc(alias = "IOTHUB_CLIENT_RETRY_EXPONENTIAL_BACKOFF")]
    ExponentialBackoff,
    /// Double the delay with each attempt up to the maximum, less a random part. The default.
    #[doc(alias = "IOTHUB_CLIENT_RETRY_EXPONENTIAL_BACKOFF_WITH_JITTER")]
    ExponentialBackoffWithJitter,
    /// A random delay up to the initial one.
    #[doc(alias = "IOTHUB_CLIENT_RETRY_RANDOM")]
    Random,
}

/// A retry policy with its parameters.
///
/// The first attempt after a drop is immediate; the one after `n` attempts waits as the policy says, at least
/// [`MIN_DELAY`]. A connection that lasts shorter than `max_delay` does not start the sequence anew, except that the
/// first such drop is answered at once: so two programs with one device id, which drop each other's connection,
/// slow down instead of storming the hub.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetryConfig {
    /// How delays grow.
    pub policy: RetryPolicy,
    /// The first delay that is not zero. Default 1 s for the exponential policies and 5 s for the others, as in the C
    /// SDK. C option `retry_interval_sec`.
    pub initial_delay: Duration,
    /// The longest delay. Default 30 s. C option `retry_max_delay_secs`.
    pub max_delay: Duration,
    /// Which part of each delay is random with `ExponentialBackoffWithJitter`: 0.0 makes delays exact, 1.0 spreads them
    /// down to [`MIN_DELAY`]. Default 0.5 ("equal jitter"), so that a fleet that lost the hub together does not come
    /// back together; the C SDK's 5 % vanish in whole seconds.
    pub jitter: f64,
    /// For how long an outage is retried; `None`, the default, is without limit.
    pub limit: Option<Duration>,
}

/// The shortest delay before any attempt but the first of an outage: 100 ms.
pub const MIN_DELAY: Duration = Duration::from_millis(100);

/// Longer delays count as this one, a hundred years: no clock holds all that a `Duration` can.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl RetryConfig {
    /// The policy with its defaults.
    pub fn new(policy: RetryPolicy) -> Self {
        Self {
            policy,
            initial_delay: match policy {
                RetryPolicy::ExponentialBackoff | RetryPolicy::ExponentialBackoffWithJitter => Duration::from_secs(1),
                _ => Duration::from_secs(5),
            },
            max_delay: Duration::from_secs(30),
            jitter: 0.5,
            limit: None,
        }
    }

    /// Sets the first delay that is not zero.
    pub fn with_initial_delay(self, initial_delay: Duration) -> Self {
        Self { initial_delay, ..self }
    }

    /// Sets the longest delay.
    pub fn with_max_delay(self, max_delay: Duration) -> Self {
        Self { max_delay, ..self }
    }

    /// Sets the random part, clamped to 0.0..=1.0.
    pub fn with_jitter(self, jitter: f64) -> Self {
        Self { jitter: if jitter.is_nan() { 0.0 } else { jitter.clamp(0.0, 1.0) }, ..self }
    }

    /// Sets for how long an outage is retried.
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// The delay after `attempts` attempts, for a random number `random` in 0.0..=1.0.
    fn delay(&self, attempts: u32, random: f64) -> Duration {
        if attempts == 0 {
            return Duration::ZERO;
        }
        let (initial, max) = (self.initial_delay.min(LONGEST), self.max_delay.min(LONGEST));
        let doubled = 2u32.saturating_pow(attempts - 1);
        let exponential = initial.saturating_mul(doubled).min(max);
        let delay = match self.policy {
            RetryPolicy::None | RetryPolicy::Immediate => Duration::ZERO,
            RetryPolicy::Interval => initial,
            RetryPolicy::LinearBackoff => initial.saturating_mul(attempts).min(max),
            RetryPolicy::ExponentialBackoff => exponential,
            RetryPolicy::ExponentialBackoffWithJitter => {
                exponential.mul_f64(1.0 - self.jitter.clamp(0.0, 1.0) * random)
            }
            RetryPolicy::Random => initial.mul_f64(random),
        };
        delay.max(MIN_DELAY)
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self::new(RetryPolicy::ExponentialBackoffWithJitter)
    }
}

impl From<RetryPolicy> for RetryConfig {
    fn from(policy: RetryPolicy) -> Self {
        Self::new(policy)
    }
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Try again after this delay.
    After(Duration),
    /// The policy allows no further attempt.
    Stop,
}

/// Counts the attempts of an outage, and judges when a connection has proved itself.
#[derive(Debug)]
pub(crate) struct Retry {
    config: RetryConfig,
    random: fastrand::Rng,
    /// Attempts made in this outage.
    attempts: u32,
    /// Connections in a row that dropped before they had lasted `max_delay`.
    short_lived: u32,
    outage_since: Option<Instant>,
}

impl Retry {
    pub(crate) fn new(config: RetryConfig) -> Self {
        Self { config, random: fastrand::Rng::new(), attempts: 0, short_lived: 0, outage_since: None }
    }

    pub(crate) fn config(&self) -> &RetryConfig {
        &self.config
    }

    /// Changes the parameters; the count of attempts goes on.
    pub(crate) fn adjust(&mut self, config: RetryConfig) {
        self.config = config;
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(crate) fn attempt_starts(&mut self, now: Instant) {
        self.outage_since.get_or_insert(now);
        self.attempts = self.attempts.saturating_add(1);
    }

    pub(crate) fn attempt_failed(&mut self, now: Instant) -> Decision {
        self.decide(now)
    }

    pub(crate) fn connected(&mut self) {
        self.outage_since = None;
    }

    pub(crate) fn connection_lost(&mut self, since: Instant, now: Instant) -> Decision {
        let proved_itself = now.duration_since(since) >= self.config.max_delay;
        self.attempts = if proved_itself { 0 } else { self.short_lived };
        self.short_lived = if proved_itself { 0 } else { self.short_lived.saturating_add(1) };
        self.outage_since = Some(now);
        self.decide(now)
    }

    fn decide(&mut self, now: Instant) -> Decision {
        let outage = self.outage_since.map_or(Duration::ZERO, |since| now.duration_since(since));
        let too_long = self.config.limit.is_some_and(|limit| outage >= limit);
        match self.config.policy {
            RetryPolicy::None => Decision::Stop,
            _ if too_long => Decision::Stop,
            _ => Decision::After(self.config.delay(self.attempts, self.random.f64())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(retry: &mut Retry, count: usize, start: Instant) -> Vec<f64> {
        let mut now = start;
        let mut delays = Vec::new();
        for _ in 0..count {
            let Decision::After(delay) = retry.decide(now) else { panic!("stopped after {delays:?}") };
            delays.push(delay.as_secs_f64());
            now += delay;
            retry.attempt_starts(now);
        }
        delays
    }

    fn exact() -> RetryConfig {
        RetryConfig::default().with_jitter(0.0)
    }

    #[test]
    fn without_jitter_the_sequence_is_that_of_the_c_sdk() {
        let mut retry = Retry::new(exact());
        assert_eq!(delays(&mut retry, 8, Instant::now()), [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
    }

    #[test]
    fn each_policy_has_the_sequence_of_the_c_sdk() {
        let sequence = |policy| {
            let config = RetryConfig::new(policy);
            (0..8).map(|attempts| config.delay(attempts, 0.5).as_millis()).collect::<Vec<_>>()
        };
        use RetryPolicy::*;
        assert_eq!(sequence(Immediate), [0, 100, 100, 100, 100, 100, 100, 100]);
        assert_eq!(sequence(Interval), [0, 5000, 5000, 5000, 5000, 5000, 5000, 5000]);
        assert_eq!(sequence(LinearBackoff), [0, 5000, 10_000, 15_000, 20_000, 25_000, 30_000, 30_000]);
        assert_eq!(sequence(ExponentialBackoff), [0, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(sequence(ExponentialBackoffWithJitter), [0, 750, 1500, 3000, 6000, 12_000, 22_500, 22_500]);
        assert_eq!(sequence(Random), [0, 2500, 2500, 2500, 2500, 2500, 2500, 2500]);
    }

    #[test]
    fn jitter_spreads_delays_below_the_exact_one_with_millisecond_resolution() {
        let config = RetryConfig::default();
        let spread: Vec<_> = (0..=4).map(|i| config.delay(1, f64::from(i) / 4.0).as_millis()).collect();
        assert_eq!(spread, [1000, 875, 750, 625, 500]);
        let mut retry = Retry::new(config);
        let all: Vec<Vec<f64>> = (0..20)
            .map(|_| {
                retry.attempts = 0;
                delays(&mut retry, 6, Instant::now())
            })
            .collect();
        assert!(all.iter().any(|one| *one != all[0]), "twenty sequences are all the same");
    }

    #[test]
    fn no_attempt_but_the_first_comes_sooner_than_the_minimum() {
        let config = RetryConfig::default().with_initial_delay(Duration::ZERO).with_jitter(1.0);
        assert_eq!(config.delay(0, 1.0), Duration::ZERO);
        assert_eq!(config.delay(1, 1.0), MIN_DELAY);
        assert_eq!(config.delay(u32::MAX, 1.0), MIN_DELAY);
    }

    #[test]
    fn a_connection_that_lasted_starts_the_sequence_anew() {
        let mut retry = Retry::new(exact());
        let start = Instant::now();
        delays(&mut retry, 4, start);
        retry.connected();
        let decision = retry.connection_lost(start, start + Duration::from_secs(30));
        assert_eq!(decision, Decision::After(Duration::ZERO));
    }

    #[test]
    fn connections_that_do_not_last_wait_longer_each_time() {
        let mut retry = Retry::new(exact());
        let now = Instant::now();
        let waits: Vec<_> = (0..5)
            .map(|_| {
                retry.attempt_starts(now);
                retry.connected();
                retry.connection_lost(now, now + Duration::from_secs(1))
            })
            .collect();
        assert_eq!(waits, [0, 1, 2, 4, 8].map(|s| Decision::After(Duration::from_secs(s))));
    }

    #[test]
    fn the_limit_is_measured_from_the_drop() {
        let mut retry = Retry::new(exact().with_limit(Duration::from_secs(10)));
        let drop = Instant::now() + Duration::from_secs(60);
        assert_eq!(retry.connection_lost(drop - Duration::from_secs(40), drop), Decision::After(Duration::ZERO));
        retry.attempt_starts(drop);
        assert!(matches!(retry.attempt_failed(drop + Duration::from_millis(9_999)), Decision::After(_)));
        assert_eq!(retry.attempt_failed(drop + Duration::from_secs(10)), Decision::Stop);
    }

    #[test]
    fn without_a_policy_nothing_is_tried_again() {
        let mut retry = Retry::new(RetryPolicy::None.into());
        retry.attempt_starts(Instant::now());
        assert_eq!(retry.attempt_failed(Instant::now()), Decision::Stop);
    }
}
