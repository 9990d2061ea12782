//! Keep-alive: a PINGREQ when nothing was sent for a while, and a limit on the wait for its answer.
//!
//! The hub closes a connection on which it hears nothing for 1.5 times the keep-alive interval.

use std::time::{Duration, Instant};

/// The longest wait for a PINGRESP, as in the C SDK; half the interval if that is shorter.
const LONGEST_RESPONSE: Duration = Duration::from_secs(80);

/// The most that a PINGREQ is sent before its time.
const LARGEST_MARGIN: Duration = Duration::from_secs(5);

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// Send a PINGREQ; the wait for its answer has begun.
    Ping,
    /// The peer is silent: no answer for this long.
    Dead(Duration),
}

pub(crate) struct KeepAlive {
    /// How long nothing may be sent: a twentieth less than promised, so that the packet is not late at the hub.
    silence: Duration,
    response: Duration,
    /// Until when the answer to a PINGREQ must come, if one is awaited.
    answer_by: Option<Instant>,
}

impl KeepAlive {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            silence: interval - (interval / 20).min(LARGEST_MARGIN),
            response: (interval / 2).min(LONGEST_RESPONSE),
            answer_by: None,
        }
    }

    /// What to do now, given when the client last sent anything.
    pub(crate) fn due(&mut self, last_sent: Instant, now: Instant) -> Due {
        if now < self.deadline(last_sent) {
            return Due::Nothing;
        }
        if self.answer_by.is_some() {
            return Due::Dead(self.response);
        }
        self.answer_by = Some(now + self.response);
        Due::Ping
    }

    /// A PINGRESP came.
    pub(crate) fn answered(&mut self) {
        self.answer_by = None;
    }

    /// When [`due`](Self::due) has something to do next.
    pub(crate) fn deadline(&self, last_sent: Instant) -> Instant {
        self.answer_by.unwrap_or(last_sent + self.silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ping_is_a_little_early_and_its_answer_is_awaited_for_half_the_interval() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut keep_alive = KeepAlive::new(Duration::from_secs(1));
        assert_eq!(keep_alive.deadline(start), at(950));
        assert_eq!(keep_alive.due(start, at(949)), Due::Nothing);
        assert_eq!(keep_alive.due(start, at(950)), Due::Ping);
        assert_eq!(keep_alive.deadline(at(950)), at(1450));
        assert_eq!(keep_alive.due(at(950), at(1449)), Due::Nothing);
        assert_eq!(keep_alive.due(at(950), at(1450)), Due::Dead(Duration::from_millis(500)));
    }

    #[test]
    fn margin_and_wait_are_limited_for_long_intervals() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut keep_alive = KeepAlive::new(Duration::from_secs(1177));
        assert_eq!(keep_alive.deadline(start), at(1172));
        assert_eq!(keep_alive.due(start, at(1172)), Due::Ping);
        assert_eq!(keep_alive.deadline(at(1172)), at(1252));
        keep_alive.answered();
        assert_eq!(keep_alive.deadline(at(1172)), at(2344));
    }
}
