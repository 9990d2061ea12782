//! Cloud-to-device messages: none lost, none acknowledged without a decision, acknowledged in the order of arrival.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use iothub_emulator::{Activity, C2dOutcome, C2dRecord, C2dResult};

use crate::chaos::ledger::{At, Decision, Ledger};

/// How often the hub delivers a message that comes back; then it gives it up.
const MAX_DELIVERIES: usize = 10;

pub(super) fn check(
    ledger: &Ledger,
    outcomes: &[C2dOutcome],
    queue: &[C2dRecord],
    activity: &[Activity],
) -> Vec<String> {
    let mut found = Vec::new();
    for (n, letter) in ledger.letters.iter().enumerate() {
        let ended: Vec<_> = outcomes.iter().filter(|outcome| outcome.message_id == letter.id).collect();
        let waits = queue.iter().filter(|record| record.message_id == letter.id).count();
        let was_completed = ledger.hub_settles || decisions(ledger, n, Decision::Complete).next().is_some();
        let was_rejected = decisions(ledger, n, Decision::Reject).next().is_some();
        match (&ended[..], waits) {
            ([], 1) => {}
            ([one], 0) if one.result == C2dResult::Expired => {}
            ([one], 0) if one.result == C2dResult::Completed && was_completed => {}
            ([one], 0) if one.result == C2dResult::Rejected && was_rejected => {}
            ([one], 0)
                if one.result == C2dResult::DeliveryCountExceeded
                    && times_sent(&letter.id, activity) >= MAX_DELIVERIES => {}
            ([one], 0) if one.result == C2dResult::Completed => {
                found.push(format!("{} is completed at the hub, and the application never did so", letter.id));
            }
            (ended, waits) => {
                found.push(format!("{} has the outcomes {ended:?}, and is {waits} times in the queue", letter.id));
            }
        }
    }
    found.extend(check_order(ledger, activity));
    found.extend(check_acknowledgements(activity));
    if !ledger.clock_jumped && !ledger.hub_settles {
        found.extend(check_completions(ledger, activity));
    }
    found
}

fn times_sent(id: &str, activity: &[Activity]) -> usize {
    activity
        .iter()
        .filter(|activity| matches!(activity, Activity::C2dSent { message_id, .. } if message_id == id))
        .count()
}

/// When the application decided so about this letter, be it that nobody heard of it any more.
fn decisions(ledger: &Ledger, letter: usize, decision: Decision) -> impl Iterator<Item = At> {
    ledger.deliveries.iter().filter_map(move |delivery| match delivery.decided {
        Some((at, decided)) if delivery.letter == letter && decided == decision => Some(at),
        _ => None,
    })
}

/// Each acknowledgement follows a decision that was made since the message went on the same connection. (The hub's times
/// mean something only if its clock was never set.)
fn check_completions(ledger: &Ledger, activity: &[Activity]) -> Vec<String> {
    let time = |at: SystemTime| at.duration_since(ledger.start).unwrap_or_default();
    let mut sent = BTreeMap::new();
    let mut found = Vec::new();
    for activity in activity {
        match activity {
            Activity::C2dSent { at, connection, message_id, .. } => {
                sent.entry((*connection, message_id)).or_insert_with(|| time(*at));
            }
            Activity::C2dAcked { at, connection, message_id } => {
                let since = sent.get(&(*connection, message_id)).copied().unwrap_or(Duration::MAX);
                let letter = ledger.letters.iter().position(|letter| letter.id == *message_id);
                let is_decided = letter.is_some_and(|letter| {
                    decisions(ledger, letter, Decision::Complete).any(|done| (since..=time(*at)).contains(&done))
                });
                if !is_decided {
                    found.push(format!("connection {connection}: {message_id} is acknowledged, and was not completed"));
                }
            }
            _ => {}
        }
    }
    found
}

/// What comes is what was sent, in that order.
fn check_order(ledger: &Ledger, activity: &[Activity]) -> Option<String> {
    let mut sent = activity.iter().filter_map(|activity| match activity {
        Activity::C2dSent { message_id, .. } => Some(message_id),
        _ => None,
    });
    let came = ledger.deliveries.iter().map(|delivery| &ledger.letters[delivery.letter].id);
    for id in came {
        if !sent.any(|sent| sent == id) {
            return Some(format!("{id} came, but not in the order of sending"));
        }
    }
    None
}

/// On each connection, acknowledgements come in the order in which the messages went.
fn check_acknowledgements(activity: &[Activity]) -> Vec<String> {
    let mut connections: Vec<_> = activity.iter().map(Activity::connection).collect();
    connections.sort_unstable();
    connections.dedup();
    let mut found = Vec::new();
    for connection in connections {
        let of_it = || activity.iter().filter(move |activity| activity.connection() == connection);
        let mut sent = of_it().filter_map(|activity| match activity {
            Activity::C2dSent { packet_id, .. } => *packet_id,
            _ => None,
        });
        let acknowledged = of_it().filter_map(|activity| match activity {
            Activity::PubackReceived { packet_id, .. } => Some(*packet_id),
            _ => None,
        });
        for id in acknowledged {
            if !sent.any(|sent| sent == id) {
                found.push(format!("connection {connection}: packet {id} is acknowledged out of order"));
                break;
            }
        }
    }
    found
}
