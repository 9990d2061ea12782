//! Cloud-to-device messages: none lost, none acknowledged without a decision, acknowledged in the order of arrival.

use iothub_emulator::{Activity, C2dOutcome, C2dRecord, C2dResult};

use crate::chaos::ledger::{Decision, Ledger};

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
        let was_completed = ledger
            .deliveries
            .iter()
            .any(|delivery| delivery.letter == n && delivery.decided == Some(Decision::Complete));
        match (&ended[..], waits) {
            ([], 1) => {}
            ([one], 0) if one.result == C2dResult::Expired => {}
            ([one], 0) if one.result == C2dResult::Completed && was_completed => {}
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
