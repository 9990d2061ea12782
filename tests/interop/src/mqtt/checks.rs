//! The checks of a run: those for devices and modules alike, and those for what only one of them has.

use iothub_emulator::Hub;

use super::record::{DESIRED_CHANGES, METHODS, TWIN_RESPONSES, call_results};
use super::routing;
use super::run::{Run, exit_code, said};
use super::sample::Sample;
use crate::report::same;

/// Tells a check by what it is about and its outcome.
pub(crate) trait Check: FnMut(&str, Result<(), String>) {}

impl<F: FnMut(&str, Result<(), String>)> Check for F {}

/// Connection, telemetry, twin, methods, and the end.
pub(crate) fn common(check: &mut impl Check, run: &Run<'_>) {
    let (record, story, qos) = (&run.record, run.story, run.sdk.request_qos);
    let telemetry = &story.telemetry;
    check("connects with user name, keep-alive and TLS version of this SDK", record.connected(run.sdk));

    check("sends telemetry: every body is stored, in order", record.bodies(telemetry));
    check("sends telemetry: application properties are stored", record.properties(telemetry));
    check("sends telemetry: system properties are stored", record.system_properties(telemetry));
    check("sends telemetry: the hub has stamped it", record.stamps());
    check("sends telemetry: each message was acknowledged", record.acknowledged(telemetry.len()));

    check("subscribes to the answers to twin requests", record.subscribed(TWIN_RESPONSES, qos));
    check("gets its twin: the hub has answered, before and after the changes", record.read_twin(2));
    check("gets its twin: desired and reported with their versions", run.told("twin", &story.twin()));
    check("reports: the hub has accepted and acknowledged each patch", record.accepted_reports(story));
    check("reports: the hub's twin has what was reported", record.has_reported(story));
    check("subscribes to desired changes", record.subscribed(DESIRED_CHANGES, qos));
    check("receives a desired change: the hub has sent it once", record.sent_change(story));
    check("receives a desired change: with its version", run.told("desired", &story.change()));
    check("gets its twin again: with every change", run.told("twin_after", &story.twin_after()));

    check("subscribes to direct methods", record.subscribed(METHODS, qos));
    check("answers direct methods: the hub has sent each call once", record.sent_calls(story));
    check("answers direct methods: names and payloads are as called", run.told("methods", &story.calls()));
    check("answers direct methods: the hub has each answer, in time", record.answered_calls(story));
    check("answers direct methods: each caller has status and payload", call_results(&run.outcomes, story));

    check("disconnects in order, after one single connection", record.disconnected());
    check("ends without an error", exit_code(&run.ended, 0));
}

/// What only a device has.
pub(crate) fn cloud_to_device(check: &mut impl Check, run: &Run<'_>, hub: &Hub) {
    let (record, message) = (&run.record, &run.story.message);
    check("subscribes to cloud-to-device messages with QoS 1", record.subscribed_to_messages());
    check("receives the cloud-to-device message with its properties", received(run, &[(None, message.clone())]));
    check("completes the cloud-to-device message", record.completed(&[(None, message)]));
    check("has its cloud-to-device message reported to the service", record.reported(hub, message));
}

/// What only a module has.
pub(crate) fn outputs_and_inputs(check: &mut impl Check, run: &Run<'_>, hub: &Hub) {
    let (record, story) = (&run.record, run.story);
    let arrivals: Vec<(Option<&str>, Sample)> =
        routing::arrivals(story, run.subject).into_iter().map(|(input, sample)| (Some(input), sample)).collect();
    let sent: Vec<(Option<&str>, &Sample)> = arrivals.iter().map(|(input, sample)| (*input, sample)).collect();
    check("sends to outputs: each message names its own", record.outputs(&routing::OUTPUTS));
    check("sends to outputs: each message went where its routes lead", routing::routed(record));
    check(
        "sends to outputs: the other module has its message waiting",
        routing::waits_for_the_listener(hub, run.subject, story),
    );
    check("subscribes to inputs with QoS 1", record.subscribed_to_messages());
    check("receives input messages with input, properties and sender", received(run, &arrivals));
    check("completes the input messages", record.completed(&sent));
}

/// The script shows these messages, each with its input if it has one, in this order.
fn received(run: &Run<'_>, expected: &[(Option<&str>, Sample)]) -> Result<(), String> {
    let told = said(&run.ended, "received")?;
    let told = told.as_array().ok_or("it told of no list of messages")?;
    let found = told.iter().map(|message| Ok((routing::input_of(message), Sample::from_json(message)?)));
    same("the list of messages as the SDK shows them", &found.collect::<Result<Vec<_>, String>>()?, &expected.to_vec())
}
