//! Outputs and inputs of the module that an SDK plays: where its messages go, what comes back, and what has to be on record.

use iothub_emulator::{Activity, Config, Hub};
use serde_json::Value;

use super::record::Record;
use super::sample::Sample;
use super::story::Story;
use super::subject::{MODULE, Subject};
use crate::report::same;

/// The output of each message of the story. The first leads to another module, the second back to its sender; both lead to the hub.
pub(crate) const OUTPUTS: [&str; 2] = ["measurements", "echo"];
/// The input of what the back end sends.
pub(crate) const COMMANDS: &str = "commands";
/// A module that is never there: what is routed to it waits.
const LISTENER: &str = "listener";

/// With the routes of each of these devices.
pub(crate) fn config<'a>(devices: impl IntoIterator<Item = &'a str>) -> Config {
    let [to_listener, to_itself] = OUTPUTS;
    let routes = [
        format!("FROM /messages/modules/{MODULE}/* INTO $upstream"),
        format!(
            "FROM /messages/modules/{MODULE}/outputs/{to_listener} INTO BrokeredEndpoint(\"/modules/{LISTENER}/inputs/all\")"
        ),
        format!(
            "FROM /messages/modules/{MODULE}/outputs/{to_itself} INTO BrokeredEndpoint(\"/modules/{MODULE}/inputs/{to_itself}\")"
        ),
    ];
    devices.into_iter().fold(Config::new(), |config, device| config.with_edge_routes(device, &routes))
}

/// Each message went where the routes say.
pub(crate) fn routed(record: &Record) -> Result<(), String> {
    let found = record.all(|entry| match entry {
        Activity::Routed { output, to, dup: false, .. } => Some((output.clone(), to.clone())),
        _ => None,
    })?;
    let [to_listener, to_itself] = OUTPUTS;
    let expected = [
        (to_listener, format!("/modules/{LISTENER}/inputs/all")),
        (to_itself, format!("/modules/{MODULE}/inputs/{to_itself}")),
    ];
    let expected = expected.map(|(output, input)| (Some(output.to_owned()), vec!["$upstream".to_owned(), input]));
    same("the list of routed messages, (output, places)", &found, &expected.to_vec())
}

/// The first message waits for the other module.
pub(crate) fn waits_for_the_listener(hub: &Hub, subject: &Subject, story: &Story) -> Result<(), String> {
    let queue = hub.input_queue((subject.who().device, LISTENER));
    let found: Vec<_> = queue.iter().map(|record| (record.input.as_deref(), record.message_id.as_str())).collect();
    same("what waits for the other module", &found, &vec![(Some("all"), story.telemetry[0].message_id())])
}

/// The messages that have to arrive, in this order: the one that was waiting, and the back end's. Each SDK shows the sender's
/// names, which it does not know, as application properties.
pub(crate) fn arrivals(story: &Story, subject: &Subject) -> Vec<(&'static str, Sample)> {
    let own = story.telemetry[1].with_sender(subject.who().device, subject.who().module);
    let from_service = story.message.with_sender(subject.who().device, Some(LISTENER));
    vec![(OUTPUTS[1], own), (COMMANDS, from_service)]
}

/// Who seems to send what the back end sends.
pub(crate) fn sender(subject: &Subject) -> (&str, &'static str) {
    (subject.who().device, LISTENER)
}

/// The input of a message that a script tells of.
pub(crate) fn input_of(told: &Value) -> Option<&str> {
    told["input"].as_str()
}
