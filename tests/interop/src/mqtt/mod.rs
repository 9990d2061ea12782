//! Microsoft's SDKs against our emulator over MQTT. What counts is the hub's own record: each step is looked up there.

mod backend;
mod checks;
mod record;
mod routing;
mod run;
mod sample;
mod sdk;
mod story;
mod subject;

use std::time::{Duration, Instant};

use iothub_emulator::{Emulator, Hub};
use serde_json::json;

use crate::report::{Report, same};
use record::Record;
use run::{EXIT_REFUSED, Run, exit_code, explain, said};
use sdk::Sdk;
use story::Story;
use subject::Subject;

/// How long each step may take; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    let sdks = [sdk::node(), sdk::python()];
    let edge_devices = sdks.each_ref().map(edge_device);
    let config = routing::config(edge_devices.iter().map(String::as_str));
    let emulator = Emulator::start_with(config).map_err(|error| error.to_string())?;
    report.note(&format!("a hub of ours listens on {}", emulator.mqtt_address()));
    for sdk in &sdks {
        let started = Instant::now();
        as_device(sdk, &emulator, report)?;
        as_module(sdk, &emulator, report)?;
        report.note(&format!("{}: {:.1} s", sdk.name, started.elapsed().as_secs_f64()));
    }
    Ok(())
}

/// The device whose module the SDK plays.
fn edge_device(sdk: &Sdk) -> String {
    format!("{}-edge", sdk.name)
}

/// Everything that the story has for a device, with its own key and with another's.
fn as_device(sdk: &Sdk, hub: &Hub, report: &mut Report) -> Result<(), String> {
    let story = Story::new();
    let subject = Subject::device(hub, &format!("{}-device", sdk.name))?;
    let run = Run::play(sdk, hub, &subject, &story, &story.task())?;
    let failed_before = report.failed();
    let mut check = |what: &str, outcome| report.check(&format!("{} device: {what}", sdk.name), outcome);
    checks::common(&mut check, &run);
    checks::cloud_to_device(&mut check, &run, hub);
    explain(report, failed_before, &run.record, &run.ended);

    let impostor = Subject::device(hub, &format!("{}-impostor", sdk.name))?;
    with_a_wrong_key(sdk, hub, &impostor, &subject, "device", report)
}

/// Everything that the story has for a module of a device with routes, with its own key and with another's.
fn as_module(sdk: &Sdk, hub: &Hub, report: &mut Report) -> Result<(), String> {
    let story = Story::new();
    let subject = Subject::module(hub, &edge_device(sdk))?;
    let task = story.module_task(&routing::OUTPUTS, routing::arrivals(&story, &subject).len());
    let run = Run::play(sdk, hub, &subject, &story, &task)?;
    let failed_before = report.failed();
    let mut check = |what: &str, outcome| report.check(&format!("{} module: {what}", sdk.name), outcome);
    checks::common(&mut check, &run);
    checks::outputs_and_inputs(&mut check, &run, hub);
    explain(report, failed_before, &run.record, &run.ended);

    let impostor = Subject::module(hub, &format!("{}-edge-impostor", sdk.name))?;
    with_a_wrong_key(sdk, hub, &impostor, &subject, "module", report)
}

/// The connection string has the key of another device or module, `other`.
fn with_a_wrong_key(
    sdk: &Sdk,
    hub: &Hub,
    subject: &Subject,
    other: &Subject,
    kind: &str,
    report: &mut Report,
) -> Result<(), String> {
    let process = sdk.start(hub, subject.who(), &subject.with_the_key_of(other), &json!({}));
    let ended = process.and_then(|process| process.finish(LIMIT));
    let record = Record::of(hub, subject);

    let failed_before = report.failed();
    let mut check = |what: &str, outcome| report.check(&format!("{} {kind}, wrong key: {what}", sdk.name), outcome);
    check("the hub refuses the signature", record.refused_signature());
    let refused = || {
        exit_code(&ended, EXIT_REFUSED)?;
        same("its error", &said(&ended, "refused")?.as_str(), &Some(sdk.refusal))
    };
    check("the SDK gives up and says why", refused());
    explain(report, failed_before, &record, &ended);
    Ok(())
}
