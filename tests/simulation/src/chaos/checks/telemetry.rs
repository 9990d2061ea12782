//! Telemetry: at least once, resolved exactly once, in order, repeated only for a reason and marked as repeated.

use std::time::Duration;

use iothub_core::Stats;
use iothub_emulator::{Activity, TelemetryRecord};

use crate::chaos::ledger::{Ledger, Outcome, Sent};
use crate::over::Over;

/// A deadline is missed *after* it, not at it: one nanosecond.
const AFTER: Duration = Duration::from_nanos(1);

const UNRECORDED: &str = "is stored without a record of how it came";

pub(super) fn check(
    ledger: &Ledger,
    over: Over,
    stored: &[TelemetryRecord],
    activity: &[Activity],
    stats: Stats,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut copies = vec![Vec::new(); ledger.telemetry.len()];
    for record in stored {
        match number(record, &ledger.telemetry) {
            Some(n) => copies[n].push(record.sequence_number),
            None => found.push(format!("the hub stored a message that nobody sent: {:?}", record.body)),
        }
    }
    for (n, (sent, copies)) in ledger.telemetry.iter().zip(&copies).enumerate() {
        found.extend(
            check_outcome(sent, copies.len(), ledger.telemetry_is_refused).map(|what| format!("message {n} {what}")),
        );
        let repetition = match over.is_amqp() {
            // What is refused may be sent again without a loss: a batch is refused as a whole.
            true if ledger.telemetry_is_refused => None,
            true => check_amqp_copies(copies, activity),
            false => check_mqtt_copies(copies, activity),
        };
        found.extend(repetition.map(|what| format!("message {n} {what}")));
    }

    let firsts: Vec<_> = copies.iter().filter_map(|copies| copies.first()).collect();
    if !firsts.is_sorted() && !ledger.telemetry_is_refused {
        found.push("first deliveries of messages are out of order".to_owned());
    }
    let repeated = stored.len() - firsts.len();
    if repeated as u64 > stats.resent && !ledger.telemetry_is_refused {
        found.push(format!("{repeated} messages were stored again, the client resent only {}", stats.resent));
    }
    if stats.accepted != ledger.telemetry.len() as u64 || stats.accepted != stats.delivered + stats.undelivered {
        found.push(format!("{} messages were sent, and the counters say {stats:?}", ledger.telemetry.len()));
    }
    // Nobody is told what became of a message without confirmation, but it is counted.
    let told = ledger.telemetry.iter().flat_map(|sent| &sent.outcomes);
    let told = told.filter(|(_, outcome)| *outcome != Outcome::Delivered).count() as u64;
    let missing = ledger.telemetry.iter().zip(&copies).filter(|(sent, copies)| !sent.is_told && copies.is_empty());
    if missing.count() as u64 > stats.undelivered - told {
        found.push("messages without confirmation are missing at the hub, and were counted as delivered".to_owned());
    }
    found
}

fn number(record: &TelemetryRecord, sent: &[Sent]) -> Option<usize> {
    let text = std::str::from_utf8(&record.body).ok()?;
    let n: usize = text.split(':').next()?.parse().ok()?;
    (sent.get(n)?.body == text).then_some(n)
}

fn check_outcome(sent: &Sent, copies: usize, may_be_refused: bool) -> Option<String> {
    if !sent.is_told {
        return (sent.timeout.is_none() && copies == 0 && !may_be_refused)
            .then(|| "has no time-out, and is not at the hub".to_owned());
    }
    let [(at, outcome)] = &sent.outcomes[..] else {
        return Some(format!("has {} outcomes: {:?}", sent.outcomes.len(), sent.outcomes));
    };
    match (outcome, sent.timeout) {
        (Outcome::Delivered, _) if copies == 0 => Some("was confirmed, and is not at the hub".to_owned()),
        (Outcome::Delivered, Some(timeout)) if *at > sent.at + timeout => {
            Some(format!("was confirmed {:?} after it was sent, behind its time-out of {timeout:?}", *at - sent.at))
        }
        (Outcome::Delivered, _) => None,
        (Outcome::Rejected(_), _) if may_be_refused => None,
        (Outcome::TimedOut { maybe_delivered: false }, _) if copies > 0 => {
            Some("had not been sent when its time was up, and is at the hub".to_owned())
        }
        (Outcome::TimedOut { .. }, Some(timeout)) if *at == sent.at + timeout + AFTER => None,
        (outcome, timeout) => {
            Some(format!("ended as {outcome:?} after {:?}, with the time-out {timeout:?}", *at - sent.at))
        }
    }
}

/// A message that is stored again in the same session has the same packet identifier, and DUP.
fn check_mqtt_copies(copies: &[u64], activity: &[Activity]) -> Option<String> {
    let places: Vec<_> = copies.iter().filter_map(|sequence| place(*sequence, activity)).collect();
    if places.len() != copies.len() {
        return Some(UNRECORDED.to_owned());
    }
    places.windows(2).find_map(|pair| {
        let [(earlier, first_id, _), (later, id, dup)] = pair else { return None };
        let is_new = |activity: &Activity| matches!(activity, Activity::Connected { session_present: false, .. });
        if activity[*earlier..*later].iter().any(is_new) || (first_id == id && *dup) {
            return None;
        }
        Some(format!("came as packet {first_id:?} and again, in the same session, as packet {id:?} with dup {dup}"))
    })
}

/// A message is stored once for each connection of the device.
fn check_amqp_copies(copies: &[u64], activity: &[Activity]) -> Option<String> {
    let places = copies.iter().filter_map(|sequence| place(*sequence, activity));
    let connections: Vec<_> = places.map(|(at, ..)| activity[at].connection()).collect();
    if connections.len() != copies.len() {
        return Some(UNRECORDED.to_owned());
    }
    let repeats = connections.windows(2).any(|pair| pair[0] == pair[1]);
    repeats.then(|| format!("came again on the same connection: {connections:?}"))
}

/// Where among the activities a record came in, with its packet identifier and DUP.
fn place(wanted: u64, activity: &[Activity]) -> Option<(usize, Option<u16>, bool)> {
    activity.iter().enumerate().find_map(|(at, activity)| match activity {
        Activity::Telemetry { sequence_number, packet_id, dup, .. } if *sequence_number == wanted => {
            Some((at, *packet_id, *dup))
        }
        _ => None,
    })
}
