//! One run of a script with the back end at its side, and what the script told.

use std::time::{Duration, Instant};

use iothub_emulator::{Activity, Hub};
use serde_json::Value;

use super::LIMIT;
use super::backend::{BackEnd, Outcome};
use super::record::Record;
use super::sdk::Sdk;
use super::story::Story;
use super::subject::Subject;
use crate::process::{Ended, Process};
use crate::report::{Report, same, same_json};

/// How often a wait for the hub looks whether the SDK still runs, so that its early end fails at once.
const GLANCE: Duration = Duration::from_millis(500);
/// The exit code of the scripts when the hub refused the connection.
pub(crate) const EXIT_REFUSED: i32 = 3;

/// A run that is over.
pub(crate) struct Run<'a> {
    pub(crate) sdk: &'a Sdk,
    pub(crate) subject: &'a Subject,
    pub(crate) story: &'a Story,
    pub(crate) ended: Result<Ended, String>,
    pub(crate) record: Record,
    /// How the method calls ended.
    pub(crate) outcomes: Vec<Outcome>,
}

impl<'a> Run<'a> {
    /// Lets the SDK do its task with the subject's own key, and the back end its parts.
    pub(crate) fn play(
        sdk: &'a Sdk,
        hub: &Hub,
        subject: &'a Subject,
        story: &'a Story,
        task: &Value,
    ) -> Result<Self, String> {
        let mut back_end = BackEnd::new(hub, subject, story)?;
        let ended = converse(sdk, hub, subject, task, &mut back_end);
        let record = Record::of(hub, subject);
        Ok(Self { sdk, subject, story, ended, record, outcomes: back_end.outcomes() })
    }

    /// The script told this value under this name.
    pub(crate) fn told(&self, name: &str, expected: &Value) -> Result<(), String> {
        same_json("what the SDK shows", &said(&self.ended, name)?, expected)
    }
}

fn converse(
    sdk: &Sdk,
    hub: &Hub,
    subject: &Subject,
    task: &Value,
    back_end: &mut BackEnd<'_>,
) -> Result<Ended, String> {
    let mut process = sdk.start(hub, subject.who(), &subject.connection_string, task)?;
    let limit = work_while_it_runs(hub, &mut process, back_end)?;
    let ended = process.finish(limit)?;
    // Its last bytes may still be on their way through the hub.
    let is_end = |entry: &Activity| matches!(entry, Activity::Disconnected { .. });
    let gone = |hub: &Hub| hub.activity(subject.who()).iter().any(is_end);
    hub.wait_until(LIMIT, "the end of its connection", gone).map_err(|error| error.to_string())?;
    Ok(ended)
}

/// Lets the back end do its parts, until it has done them all or the script has ended without asking for the rest. Gives how
/// long the script may still run: not at all if it has come to a stop.
fn work_while_it_runs(hub: &Hub, process: &mut Process, back_end: &mut BackEnd<'_>) -> Result<Duration, String> {
    let mut deadline = Instant::now() + LIMIT;
    while !back_end.is_done() {
        let ended = process.has_ended();
        if hub.wait_until(GLANCE, "a subscription", |_| back_end.has_work()).is_ok() {
            back_end.work()?;
            deadline = Instant::now() + LIMIT;
        } else if ended {
            break;
        } else if Instant::now() >= deadline {
            return Ok(Duration::ZERO);
        }
    }
    Ok(LIMIT)
}

/// The value that a script told under this name.
pub(crate) fn said(ended: &Result<Ended, String>, name: &str) -> Result<Value, String> {
    let ended = ended.as_ref().map_err(Clone::clone)?;
    let mut values = ended.stdout.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    values
        .find_map(|mut value| value.get_mut(name).map(Value::take))
        .ok_or_else(|| format!("it told nothing of '{name}'; it said {:?}", ended.stdout))
}

pub(crate) fn exit_code(ended: &Result<Ended, String>, expected: i32) -> Result<(), String> {
    let ended = ended.as_ref().map_err(Clone::clone)?;
    if ended.killed {
        return Err("it came to a stop, and was killed".to_owned());
    }
    same("its exit code", &ended.status.code(), &Some(expected))
}

/// After a failed check: all that is known.
pub(crate) fn explain(report: &Report, failed_before: usize, record: &Record, ended: &Result<Ended, String>) {
    if report.failed() == failed_before {
        return;
    }
    report.note("the hub's record of it:");
    record.lines().for_each(|line| report.note(&format!("  {line}")));
    match ended {
        Ok(ended) => ended.stderr.lines().for_each(|line| report.note(&format!("stderr: {line}"))),
        Err(problem) => report.note(problem),
    }
}
