//! The comparison of both sides: what the client said, and what the hub recorded. Each concern adds its violations.

mod c2d;
mod connection;
mod methods;
mod telemetry;
mod twin;

use std::collections::BTreeMap;

use iothub_core::ConnectionState;
use iothub_emulator::Activity;

use super::DEVICE;
use super::application::Application;

pub(super) fn all(application: &mut Application) {
    let hub = application.sim.hub().clone();
    let activity = hub.activity(DEVICE);
    let stats = application.client.stats();
    let ledger = &application.ledger;
    let mut found = telemetry::check(ledger, application.over, &hub.telemetry(DEVICE), &activity, stats);
    found.extend(c2d::check(ledger, &hub.c2d_outcomes(DEVICE), &hub.c2d_queue(DEVICE), &activity));
    match hub.twin(DEVICE) {
        Ok(twin) => found.extend(twin::check(ledger, &twin)),
        Err(error) => found.push(error.to_string()),
    }
    found.extend(methods::check(ledger, application.over));
    found.extend(connection::check(ledger, application.over, &activity, &hub.unattributed_activity()));
    application.ledger.violations.extend(found);
}

/// How much of what can happen has happened.
pub(super) fn coverage(application: &Application) -> BTreeMap<&'static str, u64> {
    let (ledger, stats) = (&application.ledger, application.client.stats());
    let hub = application.sim.hub();
    let stored = hub.telemetry_count(DEVICE) as u64;
    let drops = ledger.statuses.iter().filter(|(_, change)| change.state == ConnectionState::Waiting).count();
    let stops = ledger.statuses.iter().filter(|(_, change)| change.state == ConnectionState::Stopped).count();
    let calls_answered = ledger.calls.iter().filter(|call| matches!(call.result, Some(Ok(_)))).count();
    let sessions_lost = hub.activity(DEVICE);
    let sessions_lost = sessions_lost
        .iter()
        .filter(|activity| matches!(activity, Activity::Connected { session_present: false, .. }))
        .count();
    BTreeMap::from([
        ("messages accepted", stats.accepted),
        ("messages undelivered", stats.undelivered),
        ("messages resent", stats.resent),
        ("telemetry stored", stored),
        ("c2d received", stats.received),
        ("calls answered", calls_answered as u64),
        ("calls without an answer", (ledger.calls.len() - calls_answered) as u64),
        ("reports", ledger.reported.len() as u64),
        ("twin requests", ledger.gets.len() as u64),
        ("renewals", stats.renewals),
        ("connections", stats.connections),
        ("new sessions", sessions_lost as u64),
        ("drops and failed attempts", drops as u64),
        ("stops", stops as u64),
        ("stale answers", ledger.stale),
        ("refused operations", ledger.refused),
    ])
}
