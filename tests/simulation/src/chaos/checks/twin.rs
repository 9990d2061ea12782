//! The twin: the same on both sides.

use iothub_emulator::TwinRecord;
use serde_json::Value;

use crate::chaos::ledger::Ledger;

pub(super) fn check(ledger: &Ledger, twin: &TwinRecord) -> Vec<String> {
    let mut found = Vec::new();
    match &ledger.desired {
        None => found.push("the application never heard of the desired properties".to_owned()),
        Some(known) if known.version != twin.desired_version || known.value != twin.desired => found.push(format!(
            "the desired properties are version {} {} at the hub, version {} {} at the application",
            twin.desired_version, twin.desired, known.version, known.value
        )),
        Some(_) => {}
    }
    for (n, outcomes) in ledger.gets.iter().enumerate().filter(|(_, outcomes)| outcomes.len() != 1) {
        found.push(format!("twin request {n} has {} outcomes: {outcomes:?}", outcomes.len()));
    }
    for (n, reported) in ledger.reported.iter().enumerate().filter(|(_, reported)| reported.outcomes.len() != 1) {
        found.push(format!("report {n} has {} outcomes: {:?}", reported.outcomes.len(), reported.outcomes));
    }
    let mut names: Vec<_> = ledger.reported.iter().flat_map(|reported| reported.patch.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let there = twin.reported.get(name).unwrap_or(&Value::Null);
        let possible = possible_values(ledger, name);
        if !possible.contains(&there) {
            found.push(format!("the reported {name} is {there} at the hub; possible are {possible:?}"));
        }
    }
    found
}

/// What a reported property may be: as the last patch that was stored for certain has it, or a later one that may have
/// been stored although its answer was lost.
fn possible_values<'a>(ledger: &'a Ledger, name: &str) -> Vec<&'a Value> {
    let mut possible = vec![&Value::Null];
    for reported in &ledger.reported {
        let Some(value) = reported.patch.get(name) else { continue };
        if reported.outcomes.first().is_some_and(Result::is_ok) {
            possible.clear();
        }
        possible.push(value);
    }
    possible
}
