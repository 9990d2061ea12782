//! Microsoft's SDKs against our emulator over MQTT, bare or on a WebSocket. What counts is the hub's own record: each step is looked up there.

mod backend;
mod record;
mod sample;
mod sdk;
mod story;
mod way;

use std::time::{Duration, Instant};

use iothub_emulator::{Activity, Device, Hub};

use crate::process::{Ended, Process};
use crate::report::{Report, same, same_json};
use backend::BackEnd;
use record::{DESIRED_CHANGES, METHODS, Record, TWIN_RESPONSES, call_results};
use sample::Sample;
use sdk::Sdk;
use serde_json::{Value, json};
use story::Story;
pub(crate) use way::Way;

/// How long each step may take; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a wait for the hub looks whether the SDK still runs, so that its early end fails at once.
const GLANCE: Duration = Duration::from_millis(500);
/// The exit code of the scripts when the hub refused the connection.
const EXIT_REFUSED: i32 = 3;

pub(crate) fn over_tls(report: &mut Report) -> Result<(), String> {
    let (hub, way) = Way::mqtt()?;
    run(&hub, &way, report)
}

pub(crate) fn over_web_socket(report: &mut Report) -> Result<(), String> {
    let (hub, way) = Way::web_socket()?;
    run(&hub, &way, report)
}

fn run(hub: &Hub, way: &Way, report: &mut Report) -> Result<(), String> {
    report.note(&way.describe(hub));
    for sdk in [sdk::node(), sdk::python()] {
        let started = Instant::now();
        with_its_key(&sdk, hub, way, report)?;
        with_a_wrong_key(&sdk, hub, way, report)?;
        report.note(&format!("{}: {:.1} s", sdk.name, started.elapsed().as_secs_f64()));
    }
    Ok(())
}

/// Everything that the story has, with the device's own key.
fn with_its_key(sdk: &Sdk, hub: &Hub, way: &Way, report: &mut Report) -> Result<(), String> {
    let device = hub.create_device(&format!("{}-device", sdk.name)).map_err(|error| error.to_string())?;
    let story = Story::new();
    let mut back_end = BackEnd::new(hub, &device, &story)?;
    let ended = converse(sdk, hub, way, &device, &story, &mut back_end);
    let (record, outcomes) = (Record::of(hub, &device), back_end.outcomes());
    let (telemetry, message, qos) = (&story.telemetry, &story.message, sdk.request_qos);

    let failed_before = report.failed();
    let mut check = |what: &str, outcome| report.check(&format!("{}: {what}", sdk.name), outcome);
    check("connects with user name, keep-alive and TLS version of this SDK", record.connected(sdk));
    check("connects the way it should", way.was_taken(&record));

    check("sends telemetry: every body is stored, in order", record.bodies(telemetry));
    check("sends telemetry: application properties are stored", record.properties(telemetry));
    check("sends telemetry: system properties are stored", record.system_properties(telemetry));
    check("sends telemetry: the hub has stamped it", record.stamps());
    check("sends telemetry: each message was acknowledged", record.acknowledged(telemetry.len()));

    check("subscribes to the answers to twin requests", record.subscribed(TWIN_RESPONSES, qos));
    check("gets its twin: the hub has answered, before and after the changes", record.read_twin(2));
    check("gets its twin: desired and reported with their versions", told(&ended, "twin", &story.twin()));
    check("reports: the hub has accepted and acknowledged each patch", record.accepted_reports(&story));
    check("reports: the hub's twin has what was reported", record.has_reported(&story));
    check("subscribes to desired changes", record.subscribed(DESIRED_CHANGES, qos));
    check("receives a desired change: the hub has sent it once", record.sent_change(&story));
    check("receives a desired change: with its version", told(&ended, "desired", &story.change()));
    check("gets its twin again: with every change", told(&ended, "twin_after", &story.twin_after()));

    check("subscribes to direct methods", record.subscribed(METHODS, qos));
    check("answers direct methods: the hub has sent each call once", record.sent_calls(&story));
    check("answers direct methods: names and payloads are as called", told(&ended, "methods", &story.calls()));
    check("answers direct methods: the hub has each answer, in time", record.answered_calls(&story));
    check("answers direct methods: each caller has status and payload", call_results(&outcomes, &story));

    check("subscribes to cloud-to-device messages with QoS 1", record.subscribed_to_messages());
    check("receives the cloud-to-device message with its properties", received(&ended, message));
    check("completes the cloud-to-device message", record.completed(message));
    check("has its cloud-to-device message reported to the service", record.reported(hub, message));

    check("disconnects in order, after one single connection", record.disconnected());
    check("ends without an error", exit_code(&ended, 0));
    explain(report, failed_before, &record, &ended);
    Ok(())
}

/// Its connection string has a key that is not the device's.
fn with_a_wrong_key(sdk: &Sdk, hub: &Hub, way: &Way, report: &mut Report) -> Result<(), String> {
    let device = hub.create_device(&format!("{}-impostor", sdk.name)).map_err(|error| error.to_string())?;
    let connection_string = with_another_key(&device, hub)?;
    let ended = sdk.start(hub, way, &connection_string, &json!({})).and_then(|process| process.finish(LIMIT));
    let record = Record::of(hub, &device);

    let failed_before = report.failed();
    let mut check = |what: &str, outcome| report.check(&format!("{}, wrong key: {what}", sdk.name), outcome);
    check("the hub refuses the signature", record.refused_signature());
    check("the SDK gives up and says why", refused(&ended, sdk));
    explain(report, failed_before, &record, &ended);
    Ok(())
}

fn converse(
    sdk: &Sdk,
    hub: &Hub,
    way: &Way,
    device: &Device,
    story: &Story,
    back_end: &mut BackEnd<'_>,
) -> Result<Ended, String> {
    let mut process = sdk.start(hub, way, device.connection_string(), &story.task())?;
    let limit = work_while_it_runs(hub, &mut process, back_end)?;
    let ended = process.finish(limit)?;
    // Its last bytes may still be on their way through the hub.
    let gone = |hub: &Hub| hub.activity(&device.id).iter().any(|entry| matches!(entry, Activity::Disconnected { .. }));
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

/// The script told this value under this name.
fn told(ended: &Result<Ended, String>, name: &str, expected: &Value) -> Result<(), String> {
    same_json("what the SDK shows", &said(ended, name)?, expected)
}

fn received(ended: &Result<Ended, String>, sent: &Sample) -> Result<(), String> {
    let found = said(ended, "received")?;
    same("the message as the SDK shows it", &Sample::from_json(&found)?, sent)
}

fn refused(ended: &Result<Ended, String>, sdk: &Sdk) -> Result<(), String> {
    exit_code(ended, EXIT_REFUSED)?;
    same("its error", &said(ended, "refused")?.as_str(), &Some(sdk.refusal))
}

/// The value that a script told under this name.
fn said(ended: &Result<Ended, String>, name: &str) -> Result<Value, String> {
    let ended = ended.as_ref().map_err(Clone::clone)?;
    let mut values = ended.stdout.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    values
        .find_map(|mut value| value.get_mut(name).map(Value::take))
        .ok_or_else(|| format!("it told nothing of '{name}'; it said {:?}", ended.stdout))
}

fn exit_code(ended: &Result<Ended, String>, expected: i32) -> Result<(), String> {
    let ended = ended.as_ref().map_err(Clone::clone)?;
    if ended.killed {
        return Err("it came to a stop, and was killed".to_owned());
    }
    same("its exit code", &ended.status.code(), &Some(expected))
}

/// After a failed check: all that is known.
fn explain(report: &Report, failed_before: usize, record: &Record, ended: &Result<Ended, String>) {
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

/// The device's connection string with the key of another device.
fn with_another_key(device: &Device, hub: &Hub) -> Result<String, String> {
    let other = hub.create_device(&format!("{}-other", device.id)).map_err(|error| error.to_string())?;
    match (&device.primary_key, &other.primary_key) {
        (Some(own), Some(other)) => Ok(device.connection_string().replace(own.expose(), other.expose())),
        _ => Err("a device without keys".to_owned()),
    }
}
