//! The hub's record of the device, reduced to what a behaviour asks about.

use std::time::Duration;

use iothub_emulator::{
    Activity, AmqpLink, C2dResult, ConnectionId, DisconnectReason, Fault, Hub, PubackEffect, RefusalReason, Who,
};

use crate::bench::DEVICE;

/// The payloads of the stored telemetry, as text, in order.
pub(crate) fn stored(hub: &Hub) -> Vec<String> {
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    hub.telemetry(DEVICE).iter().map(|record| text(&record.body)).collect()
}

/// The same without repetitions: each payload where it stands first.
pub(crate) fn first_stored(hub: &Hub) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    stored(hub).into_iter().filter(|body| seen.insert(body.clone())).collect()
}

fn of_activity<T>(hub: &Hub, pick: impl FnMut(Activity) -> Option<T>) -> Vec<T> {
    hub.activity(DEVICE).into_iter().filter_map(pick).collect()
}

/// How many connections the hub accepted.
pub(crate) fn connections(hub: &Hub) -> usize {
    of_activity(hub, |activity| {
        matches!(activity, Activity::Connected { .. } | Activity::AmqpConnected { .. }).then_some(())
    })
    .len()
}

/// The connections that carried the device or module, in order.
pub(crate) fn carriers<'a>(hub: &Hub, who: impl Into<Who<'a>>) -> Vec<ConnectionId> {
    let carrier = |activity| match activity {
        Activity::AmqpConnected { carrier, .. } => Some(carrier),
        _ => None,
    };
    hub.activity(who).into_iter().filter_map(carrier).collect()
}

/// Whether the hub had a session for each connection that it accepted.
pub(crate) fn sessions_present(hub: &Hub) -> Vec<bool> {
    of_activity(hub, |activity| match activity {
        Activity::Connected { session_present, .. } => Some(session_present),
        _ => None,
    })
}

/// Why the hub refused connections, in order, those of whom it does not know first.
pub(crate) fn refusals(hub: &Hub) -> Vec<RefusalReason> {
    refusals_of(hub, DEVICE)
}

/// The same for another device.
pub(crate) fn refusals_of(hub: &Hub, device: &str) -> Vec<RefusalReason> {
    let refusal = |activity: Activity| activity.refusal().cloned();
    hub.unattributed_activity().into_iter().chain(hub.activity(device)).filter_map(refusal).collect()
}

/// How many tokens of the device the hub has taken: one for each connection, and those that were replaced on one.
pub(crate) fn tokens(hub: &Hub) -> usize {
    let is_one =
        |activity: &Activity| matches!(activity, Activity::Connected { .. } | Activity::TokenPut { why: None, .. });
    of_activity(hub, |activity| is_one(&activity).then_some(())).len()
}

/// What the hub is told of the client: what it is, and its Plug and Play model.
pub(crate) fn introduction(hub: &Hub) -> (Option<String>, Option<String>) {
    let told = hub.activity(DEVICE);
    let first = |fact: fn(&Activity) -> Option<&str>| told.iter().find_map(fact).map(str::to_owned);
    (first(Activity::client_version), first(Activity::model_id))
}

/// How long each connection may be idle, as the client asks for it.
pub(crate) fn keep_alives(hub: &Hub) -> Vec<Duration> {
    of_activity(hub, |activity| activity.keep_alive())
}

/// How often the client has spoken only to keep the connection alive.
pub(crate) fn pings(hub: &Hub) -> usize {
    of_activity(hub, |activity| matches!(activity, Activity::Ping { .. }).then_some(())).len()
}

/// Whether the hub has got the wish to hear of changes of the twin.
pub(crate) fn follows_the_twin(hub: &Hub) -> bool {
    hub.activity(DEVICE).iter().any(|activity| match activity {
        Activity::Subscribed { filter, .. } => filter.contains("desired"),
        Activity::DesiredSubscribed { subscribed, .. } => *subscribed,
        _ => false,
    })
}

/// Whether the hub was to forget its session, for each connection that has one.
pub(crate) fn clean_sessions(hub: &Hub) -> Vec<bool> {
    of_activity(hub, |activity| match activity {
        Activity::Connected { clean_session, .. } => Some(clean_session),
        _ => None,
    })
}

/// Why connections ended, in order.
pub(crate) fn ends(hub: &Hub) -> Vec<DisconnectReason> {
    of_activity(hub, |activity| match activity {
        Activity::Disconnected { why, .. } => Some(why),
        _ => None,
    })
}

/// How many subscriptions the hub answered.
pub(crate) fn subscriptions(hub: &Hub) -> usize {
    let is_one = |activity: &Activity| match activity {
        Activity::Subscribed { .. } => true,
        Activity::AmqpAttached { link, .. } => {
            matches!(
                link,
                AmqpLink::CloudToDevice | AmqpLink::Inputs | AmqpLink::MethodRequests | AmqpLink::TwinReplies
            )
        }
        _ => false,
    };
    of_activity(hub, |activity| is_one(&activity).then_some(())).len()
}

/// What became of the device's acknowledgements, in order.
pub(crate) fn acknowledgements(hub: &Hub) -> Vec<PubackEffect> {
    of_activity(hub, |activity| match activity {
        Activity::PubackReceived { effect, .. } => Some(effect),
        _ => None,
    })
}

/// The faults that took effect, in order, those before a device was known first.
pub(crate) fn faults(hub: &Hub) -> Vec<Fault> {
    let fault = |activity| match activity {
        Activity::FaultFired { fault, .. } => Some(fault),
        _ => None,
    };
    hub.unattributed_activity().into_iter().chain(hub.activity(DEVICE)).filter_map(fault).collect()
}

/// For each stored message in order: whether it was marked as sent again.
pub(crate) fn marked_as_repeated(hub: &Hub) -> Vec<bool> {
    of_activity(hub, |activity| match activity {
        Activity::Telemetry { dup, .. } => Some(dup),
        _ => None,
    })
}

/// The messages that were sent to the device, in order, and whether each was marked as sent again.
pub(crate) fn sent(hub: &Hub) -> Vec<(String, bool)> {
    of_activity(hub, |activity| match activity {
        Activity::C2dSent { message_id, dup, .. } => Some((message_id, dup)),
        _ => None,
    })
}

/// The messages to the device that wait or are locked, in order.
pub(crate) fn queued(hub: &Hub) -> Vec<String> {
    hub.c2d_queue(DEVICE).into_iter().map(|record| record.message_id).collect()
}

/// How messages to the device ended, in order.
pub(crate) fn outcomes(hub: &Hub) -> Vec<(String, C2dResult)> {
    hub.c2d_outcomes(DEVICE).into_iter().map(|outcome| (outcome.message_id, outcome.result)).collect()
}

/// The messages that the device completed, in order.
pub(crate) fn completed(hub: &Hub) -> Vec<String> {
    let completed = |(id, result)| (result == C2dResult::Completed).then_some(id);
    outcomes(hub).into_iter().filter_map(completed).collect()
}

/// The statuses with which the hub answered requests for the twin, in order.
pub(crate) fn twin_gets(hub: &Hub) -> Vec<u16> {
    of_activity(hub, |activity| match activity {
        Activity::TwinGet { status, .. } => Some(status),
        _ => None,
    })
}

/// For each report of properties, in order: the status, and the version that it made.
pub(crate) fn reports(hub: &Hub) -> Vec<(u16, Option<u64>)> {
    of_activity(hub, |activity| match activity {
        Activity::TwinReported { status, version, .. } => Some((status, version)),
        _ => None,
    })
}

/// The versions of the changes of the desired properties that were sent to the device, in order.
pub(crate) fn desired_sent(hub: &Hub) -> Vec<u64> {
    of_activity(hub, |activity| match activity {
        Activity::DesiredSent { version, .. } => Some(version),
        _ => None,
    })
}

/// How many method requests were sent to the device.
pub(crate) fn calls_sent(hub: &Hub) -> usize {
    of_activity(hub, |activity| matches!(activity, Activity::MethodSent { .. }).then_some(())).len()
}

/// The device's answers to method requests in order: the status, and whether nobody waited for it.
pub(crate) fn method_answers(hub: &Hub) -> Vec<(i64, bool)> {
    of_activity(hub, |activity| match activity {
        Activity::MethodAnswered { status, late, .. } => Some((status, late)),
        _ => None,
    })
}
