//! The list of events of a run: what the application and the network noted, and what the hub recorded, by time.

use std::time::{Duration, SystemTime};

use iothub_emulator::Activity;

use crate::sim::Sim;

/// Everything in the order of time; at the same time the hub comes last.
pub(super) fn events(sim: &Sim, device: &str) -> Vec<(Duration, String)> {
    let mut events = sim.events();
    let start = sim.now().wall - sim.elapsed();
    for activities in [sim.hub().activity(device), sim.hub().unattributed_activity()] {
        let mut clock = Clock::new(start, sim.hub_clock_settings());
        events
            .extend(activities.iter().map(|activity| (clock.time(activity.at()), format!("hub: {}", line(activity)))));
    }
    events.sort_by_key(|(at, _)| *at);
    events
}

/// Tells the time since the start of what the hub recorded by a clock that was set in between.
struct Clock {
    start: SystemTime,
    /// How far the hub's clock is ahead now, in seconds.
    ahead: i64,
    settings: std::iter::Peekable<std::vec::IntoIter<(Duration, i64)>>,
    last: Duration,
}

impl Clock {
    fn new(start: SystemTime, settings: Vec<(Duration, i64)>) -> Self {
        Self { start, ahead: 0, settings: settings.into_iter().peekable(), last: Duration::ZERO }
    }

    /// The records come in order, so the clock was set when a time would go backwards or leap over the setting.
    fn time(&mut self, at: SystemTime) -> Duration {
        loop {
            let time = self.since_start(at);
            match self.settings.peek() {
                Some((set_at, ahead)) if time.is_none_or(|time| time < self.last || time > *set_at) => {
                    self.ahead = *ahead;
                    self.settings.next();
                }
                _ => {
                    self.last = time.unwrap_or(self.last).max(self.last);
                    return self.last;
                }
            }
        }
    }

    fn since_start(&self, at: SystemTime) -> Option<Duration> {
        let by = Duration::from_secs(self.ahead.unsigned_abs());
        let right = if self.ahead < 0 { at + by } else { at - by };
        right.duration_since(self.start).ok()
    }
}

/// An activity without its time.
fn line(activity: &Activity) -> String {
    let connection = activity.connection();
    match activity {
        Activity::Connected { session_present, .. } => {
            format!("#{connection} connected, session present {session_present}")
        }
        Activity::Telemetry { sequence_number, packet_id, dup, .. } => {
            format!("#{connection} telemetry {sequence_number}, packet {packet_id:?}, dup {dup}")
        }
        Activity::Disconnected { why, .. } => format!("#{connection} disconnected: {why:?}"),
        other => {
            let text = format!("{other:?}");
            // The time and the connection are told already.
            let rest = text.split_once("connection: ").and_then(|(_, rest)| rest.split_once(", "));
            let name = text.split([' ', '{']).next().unwrap_or_default();
            format!("#{connection} {name} {}", rest.map_or("", |(_, rest)| rest.trim_end_matches(" }")))
        }
    }
}
