//! A small device peer for the emulator's black-box tests: blocking, over `std` sockets and `rustls`, with packets
//! written byte by byte here and read by the `rumqttc` codec. It shares nothing with the client crates nor with the
//! emulator's own codec, so that a mistake cannot agree with itself on both sides.
//!
//! What the tests of one concern need and no other does stays with those tests.

pub(crate) mod bag;
pub(crate) mod c2d;
pub(crate) mod list;
pub(crate) mod modules;
pub(crate) mod packets;
pub(crate) mod peer;
pub(crate) mod sas;
pub(crate) mod tls;
pub(crate) mod twin;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use iothub_emulator::{Activity, Config, DisconnectReason, Emulator, Hub, Who};

/// How long any single wait may take before the test gives up: generous, because it is only ever used up by a failure.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A moment with a round number of seconds, for tests that move the clock by hand.
pub(crate) fn start_of_time() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// A hub whose clock moves only by `advance_clock`.
pub(crate) fn hub_with_manual_clock() -> Emulator {
    start(manual_clock())
}

/// The default configuration with the manual clock of [`start_of_time`].
pub(crate) fn manual_clock() -> Config {
    Config::new().with_manual_clock(start_of_time())
}

pub(crate) fn start(config: Config) -> Emulator {
    Emulator::start_with(config).expect("the emulator starts")
}

/// Waits until the hub itself knows that the connection is gone.
pub(crate) fn wait_until_gone<'a>(hub: &Hub, who: impl Into<Who<'a>>) {
    let who = who.into();
    let what = format!("the connection of {who:?} to end");
    hub.wait_until(LIMIT, &what, |hub| !hub.connected(who)).expect("the connection ends");
}

/// Why the last connection ended, by the hub's own record. Waits for that end.
pub(crate) fn why_it_ended<'a>(hub: &Hub, who: impl Into<Who<'a>>) -> DisconnectReason {
    let who = who.into();
    wait_until_gone(hub, who);
    let ended = hub.activity(who).into_iter().rev().find_map(|activity| match activity {
        Activity::Disconnected { why, .. } => Some(why),
        _ => None,
    });
    ended.expect("the end of the connection is on record")
}
