//! Direct methods: every call has one result, and an answer that was given in time on a living connection is it.

use std::time::Duration;

use iothub_core::ConnectionState;
use iothub_emulator::{MethodError, MethodResult};
use serde_json::json;

use crate::chaos::ledger::{Call, Came, Ledger};
use crate::over::Over;

/// The statuses with which the client itself answers: dropped, and nobody asked for it.
const DROPPED: i64 = 500;
const UNWANTED: i64 = 501;

/// How long an answer may be under way, on the slowest path.
const UNDER_WAY: Duration = Duration::from_secs(5);

/// How long an answer may wait over AMQP until a link that is being attached is given up: the client's connect time-out.
const ATTACHING: Duration = Duration::from_secs(10);

/// How long a loss that nobody is told of may last: over MQTT until keep-alive notices it, over AMQP until the hub's idle time-out
/// or the client's wait for a confirmation ends.
const SILENCE: Duration = Duration::from_secs(120);
const AMQP_SILENCE: Duration = Duration::from_secs(400);

pub(super) fn check(ledger: &Ledger, over: Over) -> Vec<String> {
    let wrong = |(n, call): (usize, &Call)| check_call(n, call, ledger, over).map(|what| format!("call {n} {what}"));
    ledger.calls.iter().enumerate().filter_map(wrong).collect()
}

fn check_call(n: usize, call: &Call, ledger: &Ledger, over: Over) -> Option<String> {
    match &call.result {
        None => Some("has no result".to_owned()),
        Some(Ok(MethodResult { status, payload, .. })) => {
            let was_answered =
                call.answers.iter().any(|(_, answer)| answer == status) && *payload == json!({ "call": n });
            let is_right = match *status {
                DROPPED => !call.dropped.is_empty(),
                UNWANTED => call.came.is_empty(),
                _ => was_answered,
            };
            (!is_right).then(|| format!("got {status} {payload}, which nobody answered"))
        }
        Some(Err(MethodError::Timeout { .. })) => {
            let was_lost = |came: &Came| was_lost(came, call, ledger, over);
            (!call.came.is_empty() && !call.came.iter().any(was_lost))
                .then(|| "was answered in time on a connection that lived, and timed out all the same".to_owned())
        }
        Some(Err(MethodError::DeviceNotOnline { .. })) => {
            (!call.came.is_empty()).then(|| "came to the device, which the hub says is not online".to_owned())
        }
        Some(Err(error)) => Some(format!("ended with {error}")),
    }
}

/// Whether a call that came may have no answer: given too late, or the connection ended, or lost what was sent.
fn was_lost(came: &Came, call: &Call, ledger: &Ledger, over: Over) -> bool {
    let ends = call.answers.iter().map(|(at, _)| *at).chain(call.dropped.iter().copied());
    let Some(answered) = ends.filter(|at| *at >= came.at).min() else { return true };
    let until = answered + UNDER_WAY;
    let (attaching, silence) = if over.is_amqp() { (ATTACHING, AMQP_SILENCE) } else { (Duration::ZERO, SILENCE) };
    let mut later = ledger.statuses[came.after..].iter().take_while(|(at, _)| *at <= until + attaching);
    // A connection that is being replaced when the call comes ends sooner or later.
    let before = ledger.statuses[..came.after].last();
    let is_replaced = before.is_some_and(|(_, change)| change.state == ConnectionState::Renewing);
    let connection_ended = is_replaced || later.any(|(_, change)| change.state != ConnectionState::Ready);
    let is_silent = ledger.silence.iter().any(|since| (*since..=*since + silence).contains(&answered));
    let links_went = ledger.methods_went.iter().any(|at| (takes_effect_from(came, ledger)..=until).contains(at));
    until >= call.started + call.timeout || connection_ended || is_silent || links_went || ledger.answers_are_stuck
}

/// Since when a subscription that ended may take the links of this call with it: one that ended while the client was connecting does so
/// only when it is ready.
fn takes_effect_from(came: &Came, ledger: &Ledger) -> Duration {
    let is_connecting =
        |state: ConnectionState| matches!(state, ConnectionState::Connecting | ConnectionState::Connected);
    let before = &ledger.statuses[..came.after];
    if before.last().is_some_and(|(_, change)| is_connecting(change.state)) {
        return before
            .iter()
            .rev()
            .find(|(_, change)| !is_connecting(change.state))
            .map_or(Duration::ZERO, |(at, _)| *at);
    }
    came.at
}
