//! The connection's life: status events that can follow each other, one error a drop, attempts when they were planned,
//! and no connection that the hub had to end for what the client did.

use std::time::{Duration, SystemTime};

use iothub_core::{ConnectionState, ConnectionStatus, Feature, StatusChange};
use iothub_emulator::{Activity, AmqpLink, ConnectionId, DisconnectReason};

use crate::chaos::ledger::{At, Ledger};
use crate::over::Over;

/// How long the end of a connection may be on its way to the client, or a token to the hub.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// How long the client waits over AMQP for the answer to a token: its connect time-out, and tokens end at whole seconds.
const ANSWER: Duration = Duration::from_secs(11);

/// How long a silent path may stay unnoticed over AMQP, while the hub goes on speaking: until its idle time-out.
const SILENCE: Duration = Duration::from_secs(400);

pub(super) fn check(ledger: &Ledger, over: Over, activity: &[Activity], of_nobody: &[Activity]) -> Vec<String> {
    let mut found = Vec::new();
    let mut before = ConnectionState::Idle;
    for (at, change) in &ledger.statuses {
        let time = at.as_secs_f64();
        if change.replaced == 0 && !may_follow(before, change.state) {
            found.push(format!("at {time}: {:?} follows {before:?}", change.state));
        }
        let is_failure = matches!(change.state, ConnectionState::Waiting | ConnectionState::Stopped);
        if is_failure != change.error.is_some()
            || (change.state == ConnectionState::Waiting) != change.next_attempt_in.is_some()
        {
            found.push(format!("at {time}: a malformed change {change:?}"));
        }
        before = change.state;
    }
    found.extend(ledger.statuses.windows(2).filter_map(|pair| check_attempt(pair, &ledger.reconnects)));
    found.extend(activity.iter().filter_map(|end| check_end(end, over, activity, ledger)));
    if over.is_amqp() {
        let all = [activity, of_nobody].concat();
        found.extend(
            [Feature::CloudToDevice, Feature::Twin, Feature::Methods]
                .into_iter()
                .filter_map(|feature| check_refusals(feature, ledger, &all)),
        );
    }
    found
}

/// The hub has refused or detached the links of a feature at least as often as the client says.
fn check_refusals(feature: Feature, ledger: &Ledger, activity: &[Activity]) -> Option<String> {
    let (node, links) = match feature {
        Feature::Twin => ("/twin", [AmqpLink::TwinRequests, AmqpLink::TwinReplies]),
        Feature::Methods => ("/methods/devicebound", [AmqpLink::MethodRequests, AmqpLink::MethodResponses]),
        _ => ("/messages/devicebound", [AmqpLink::CloudToDevice; 2]),
    };
    let is_refusal = |activity: &&Activity| match activity {
        Activity::AmqpAttachRefused { address, .. } => address.ends_with(node),
        Activity::AmqpDetached { link, by_client: false, .. } => links.contains(link),
        _ => false,
    };
    let refused = activity.iter().filter(is_refusal).count();
    let heard = ledger.refusals.iter().filter(|heard| **heard == feature).count();
    (heard > refused).then(|| format!("{feature} was refused {refused} times, and the client says {heard} times"))
}

fn may_follow(before: ConnectionState, after: ConnectionState) -> bool {
    use ConnectionState::{Closed, Connected, Connecting, Idle, Ready, Renewing, Stopped, Waiting};
    match after {
        Connecting => matches!(before, Idle | Waiting | Stopped),
        Connected => matches!(before, Connecting | Renewing),
        Ready => before == Connected,
        Renewing => matches!(before, Connected | Ready),
        Waiting | Stopped => matches!(before, Connecting | Connected | Ready | Renewing),
        Closed => true,
        _ => false,
    }
}

/// An attempt comes exactly when it was said to come, unless the application asked for it.
fn check_attempt(pair: &[(At, StatusChange)], asked: &[At]) -> Option<String> {
    let [(since, waiting), (at, _)] = pair else { return None };
    let planned = *since + waiting.next_attempt_in?;
    let was_asked = asked.iter().any(|asked| (since..=at).contains(&asked));
    (*at != planned && !was_asked)
        .then(|| format!("an attempt was planned for {}, and was made at {}", planned.as_secs_f64(), at.as_secs_f64()))
}

/// The hub ends no connection because the client broke a rule, or forgot its token or keep-alive.
fn check_end(end: &Activity, over: Over, activity: &[Activity], ledger: &Ledger) -> Option<String> {
    let Activity::Disconnected { at, why, connection } = end else { return None };
    let is_wrong = match why {
        DisconnectReason::ProtocolViolation(what) if what.contains("unattached-handle") => {
            !was_detached(*connection, activity)
        }
        DisconnectReason::ProtocolViolation(_)
        | DisconnectReason::Qos2
        | DisconnectReason::MessageTooLarge { .. }
        | DisconnectReason::UnknownTopic(_)
        | DisconnectReason::UnknownFilter(_)
        | DisconnectReason::TooManySubscriptions { .. }
        | DisconnectReason::PubackOutOfOrder { .. } => true,
        DisconnectReason::TokenExpired => {
            !ledger.clock_jumped && was_heard_of(*at, ledger) && !(over.is_amqp() && was_replaced_in_vain(*at, ledger))
        }
        // A path that loses everything, or swallows the client's packets, looks like silence.
        DisconnectReason::KeepAliveExpired => ledger.silence.is_empty(),
        _ => false,
    };
    is_wrong.then(|| format!("the hub ended connection {connection}: {why:?}"))
}

/// Whether a token for the same connection was still on its way, or lost on a silent path while the client waited for the hub's
/// answer.
fn was_replaced_in_vain(at: SystemTime, ledger: &Ledger) -> bool {
    let Ok(at) = at.duration_since(ledger.start) else { return false };
    let is_silent = ledger.silence.iter().any(|since| (*since..*since + SILENCE).contains(&at));
    let was_replaced = |within: Duration| ledger.reconnects.iter().any(|asked| (*asked..*asked + within).contains(&at));
    // It is renewed after 80 % of its life.
    was_replaced(ON_ITS_WAY)
        || is_silent && (was_replaced(ANSWER) || ledger.key_life.is_some_and(|life| life.mul_f64(0.2) < ANSWER))
}

/// Whether the hub detached or refused a link there. The client's AMQP package answers that at once, and then cannot take
/// back what the link itself was about to say; so the hub may hear of a link that is no more.
fn was_detached(connection: ConnectionId, activity: &[Activity]) -> bool {
    activity.iter().any(|activity| match activity {
        Activity::AmqpDetached { connection: of, by_client: false, .. } => *of == connection,
        // On record with the connection that carries the device's.
        Activity::AmqpAttachRefused { .. } => true,
        _ => false,
    })
}

/// Whether the client lost a connection that it used at that time; a half-open one it had given up before.
fn was_heard_of(at: SystemTime, ledger: &Ledger) -> bool {
    let Ok(at) = at.duration_since(ledger.start) else { return false };
    ledger.statuses.windows(2).any(|pair| {
        let [(until, before), (since, after)] = pair else { return false };
        let was_up = before.status() == ConnectionStatus::Authenticated;
        *until <= at && was_up && after.state == ConnectionState::Waiting && (at..at + ON_ITS_WAY).contains(since)
    })
}
