//! The steps of twin and direct methods in the hub's record.

use iothub_emulator::Activity;

use super::Record;
use crate::mqtt::backend::Outcome;
use crate::mqtt::story::{Method, Story};
use crate::report::{same, same_json};

impl Record {
    /// The device asked for its twin so often, and was sent it each time.
    pub(crate) fn read_twin(&self, times: usize) -> Result<(), String> {
        let found = self.all(|entry| match entry {
            Activity::TwinGet { status, answered, .. } => Some((*status, *answered)),
            _ => None,
        })?;
        same("the list of twin requests, (status, answered)", &found, &vec![(200, true); times])
    }

    /// Each patch of reported properties was accepted, counted, and acknowledged.
    pub(crate) fn accepted_reports(&self, story: &Story) -> Result<(), String> {
        let found = self.all(|entry| match entry {
            Activity::TwinReported { status, version, answered, .. } => Some((*status, *version, *answered)),
            _ => None,
        })?;
        let expected = story.reported_versions().into_iter().map(|version| (204, Some(version), true)).collect();
        same("the list of reports, (status, version, answered)", &found, &expected)
    }

    pub(crate) fn has_reported(&self, story: &Story) -> Result<(), String> {
        let twin = self.twin.as_ref().ok_or("the device has no twin")?;
        same_json("reported in the hub's twin", &twin.reported, &story.reported_after)?;
        same("its version", &Some(twin.reported_version), &story.reported_versions().last().copied())
    }

    /// The change was made in the hub, and was sent once.
    pub(crate) fn sent_change(&self, story: &Story) -> Result<(), String> {
        let found = self.all(|entry| match entry {
            Activity::DesiredSent { version, .. } => Some(*version),
            _ => None,
        })?;
        same("the list of desired changes sent, by version", &found, &vec![story.desired_version_after()])?;
        let twin = self.twin.as_ref().ok_or("the device has no twin")?;
        same_json("desired in the hub's twin", &twin.desired, &story.desired_after)?;
        same("its version", &twin.desired_version, &story.desired_version_after())
    }

    /// Each call was sent once, in order.
    pub(crate) fn sent_calls(&self, story: &Story) -> Result<(), String> {
        let found: Vec<String> = self.calls()?.into_iter().map(|(name, _)| name).collect();
        let expected: Vec<String> = story.methods.iter().map(|method| method.name.to_owned()).collect();
        same("the list of calls sent", &found, &expected)
    }

    /// Each call that was sent was answered once, under its request id, in time and with its status.
    pub(crate) fn answered_calls(&self, story: &Story) -> Result<(), String> {
        let mut found = self.all(|entry| match entry {
            Activity::MethodAnswered { rid, status, late, .. } => Some((Some(rid.clone()), Some(*status), *late)),
            // What the hub could not read has no status.
            Activity::MethodMisanswered { rid, .. } => Some((rid.clone(), None, false)),
            _ => None,
        })?;
        // Two calls are under way at once, and the device may answer either first.
        found.sort();
        let calls = self.calls()?;
        same("the number of calls sent", &calls.len(), &story.methods.len())?;
        let answer = |((_, rid), method): ((_, String), &Method)| (Some(rid), Some(method.status), false);
        let mut expected: Vec<_> = calls.into_iter().zip(&story.methods).map(answer).collect();
        expected.sort();
        same("the list of answers, (request id, status, late)", &found, &expected)
    }

    /// The calls that were sent, by name and request id.
    fn calls(&self) -> Result<Vec<(String, String)>, String> {
        self.all(|entry| match entry {
            Activity::MethodSent { name, rid, .. } => Some((name.clone(), rid.clone())),
            _ => None,
        })
    }
}

/// Each caller has the device's status and payload.
pub(crate) fn call_results(outcomes: &[Outcome], story: &Story) -> Result<(), String> {
    same("the number of calls made", &outcomes.len(), &story.methods.len())?;
    for (outcome, method) in outcomes.iter().zip(&story.methods) {
        let result = match outcome {
            Some(Ok(result)) => result,
            Some(Err(error)) => return Err(format!("the call of '{}' failed: {error}", method.name)),
            None => return Err(format!("the call of '{}' has no answer", method.name)),
        };
        same(&format!("the status of '{}'", method.name), &result.status, &method.status)?;
        same_json(&format!("the payload of '{}'", method.name), &result.payload, &method.response)?;
    }
    Ok(())
}
