//! Microsoft's SDKs against our emulator over AMQP: a device, a module, back ends and a reader of the event stream. What counts is the hub's own record.

mod checks;
mod sdk;
mod site;

use std::time::{Duration, Instant};

use iothub_emulator::{Activity, AmqpLink, C2dMessage, Config, Hub, MethodCall, Who};
use serde_json::{Value, json};

use crate::process::{Ended, Process};
use crate::report::{Report, same, same_json};
use site::{Origin, Site};

/// How long each step may take; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);
/// The exit code of the scripts when the hub refused the connection.
const EXIT_REFUSED: i32 = 3;

const DEVICE: &str = "device";
const EDGE: &str = "edge";
const MODULE: &str = "module";
const MESSAGES: [&str; 3] = ["accept", "reject", "abandon"];

/// TLS to the AMQP port.
pub(crate) fn over_tls(report: &mut Report) -> Result<(), String> {
    run(Site::amqp, report)
}

/// The same on WebSockets to port 443.
pub(crate) fn over_web_socket(report: &mut Report) -> Result<(), String> {
    run(Site::web_socket, report)
}

fn run(start: impl FnOnce(Config) -> Result<Site, String>, report: &mut Report) -> Result<(), String> {
    let route = format!("FROM /messages/modules/{MODULE}/outputs/out INTO $upstream");
    let site = start(Config::new().with_consumer_group("second").with_edge_routes(EDGE, [route]))?;
    report.note(&site.describe());
    site.hub.create_device(DEVICE).map_err(text)?;
    site.hub.create_device(EDGE).map_err(text)?;
    site.hub.create_module(EDGE, MODULE).map_err(text)?;

    let started = Instant::now();
    device(&site, report)?;
    module(&site, report)?;
    python_service(&site, report)?;
    events(&site, report)?;
    wrong_keys(&site, report)?;
    report.note(&format!("{:.1} s", started.elapsed().as_secs_f64()));
    Ok(())
}

/// The Node SDK as a device, with the Node service SDK as its back end.
fn device(site: &Site, report: &mut Report) -> Result<(), String> {
    let hub = &site.hub;
    let before = site.connections().len();
    let connection_string = hub.device(DEVICE).ok_or("no device")?.connection_string;
    let who = Who::from(DEVICE);
    let process = sdk::node_device(site, &connection_string, false)?;
    let result = act(hub, who);
    let service = wait_for_link(hub, who, AmqpLink::CloudToDevice).and_then(|()| send_from_service(site));
    let ended = process.finish(LIMIT);

    let failed = report.failed();
    let mut check = |what: &str, outcome| report.check(&format!("node device: {what}"), outcome);
    checks::common(&mut check, hub, who, &ended, &result);
    check("shows each message, the one it gave back twice", shown_messages(&ended));
    check("accepts, rejects and gives back: the hub's queue is empty, each end is right", checks::outcomes(hub));
    let mut check = |what: &str, outcome| report.check(&format!("node service: {what}"), outcome);
    check("sends three messages", told(&service, "sent", &json!(3)));
    check("is told of a device that does not exist", told(&service, "nobody", &json!("DeviceNotFoundError")));
    check("receives the feedback on each", feedback(&service));
    check("ends without an error", exit_code(&service, 0));
    report.check(
        "node device and service: each came its way",
        site.came(before, &[Origin::NODE_DEVICE, Origin::NODE_SERVICE]),
    );
    explain(report, failed, hub, who, &[&ended, &service]);
    Ok(())
}

/// The Node service SDK sends its messages and is told how they ended.
fn send_from_service(site: &Site) -> Result<Ended, String> {
    let hub = &site.hub;
    let service = sdk::node_service(site, &hub.service_connection_string(), DEVICE)?;
    let all_have_ended = hub.wait_until(LIMIT, "the end of three messages", |hub| hub.c2d_outcomes(DEVICE).len() == 3);
    hub.flush_feedback();
    // If they have not, what the service says tells why, and the checks fail.
    service.finish(if all_have_ended.is_ok() { LIMIT } else { Duration::ZERO })
}

/// The Node SDK as a module of a device with routes.
fn module(site: &Site, report: &mut Report) -> Result<(), String> {
    let hub = &site.hub;
    let before = site.connections().len();
    let connection_string = hub.module(EDGE, MODULE).ok_or("no module")?.connection_string().to_owned();
    let who = Who::from((EDGE, MODULE));
    let process = sdk::node_device(site, &connection_string, true)?;
    let result = act(hub, who);
    let send = |()| hub.send_input(who, "in", C2dMessage::new("to the input")).map_err(text);
    let sent = wait_for_link(hub, who, AmqpLink::Inputs).and_then(send);
    let ended = process.finish(LIMIT);
    let failed = report.failed();
    let mut check = |what: &str, outcome| report.check(&format!("node module: {what}"), outcome);
    checks::common(&mut check, hub, who, &ended, &result);
    let shown = json!([{"input": "in", "body": "to the input"}]);
    check("shows the message to its input", sent.and_then(|_| told(&ended, "messages", &shown)));
    check("completes it", same("the number of messages that wait", &hub.input_queue(who).len(), &0));
    report.check("node module: it came its way", site.came(before, &[Origin::NODE_DEVICE]));
    explain(report, failed, hub, who, &[&ended]);
    Ok(())
}

/// The Python service SDK, which sends to a device that is not there.
fn python_service(site: &Site, report: &mut Report) -> Result<(), String> {
    let hub = &site.hub;
    let before = site.connections().len();
    let ended = sdk::python_service(site, &hub.service_connection_string(), DEVICE)?.finish(LIMIT);
    let failed = report.failed();
    let mut check = |what: &str, outcome| report.check(&format!("python service: {what}"), outcome);
    let waiting: Vec<String> = hub.c2d_queue(DEVICE).into_iter().map(|record| record.message_id).collect();
    check("sends three messages", told(&ended, "sent", &json!(3)));
    check(
        "sends three messages: they wait",
        same("their ids", &waiting, &MESSAGES.map(|body| format!("id-{body}")).to_vec()),
    );
    check("ends without an error", exit_code(&ended, 0));
    report.check("python service: it came its way", site.came(before, &[Origin::PYTHON_SERVICE]));
    explain(report, failed, hub, Who::from(DEVICE), &[&ended]);
    Ok(())
}

/// The Event Hubs SDK reads all that was sent.
fn events(site: &Site, report: &mut Report) -> Result<(), String> {
    let hub = &site.hub;
    let before = site.connections().len();
    let ended = sdk::python_events(site, &checks::half(hub))?.finish(4 * LIMIT);
    let failed = report.failed();
    let mut check = |what: &str, outcome| report.check(&format!("python event hubs: {what}"), outcome);
    check("lists the partitions", told(&ended, "partitions", &json!(["0", "1", "2", "3"])));
    let sent = checks::stored(hub);
    check("reads every message by offset, as it was sent", told(&ended, "by_offset", &sent));
    check("reads them again in a second group", told(&ended, "by_offset_in_second", &sent));
    check("reads the later ones by time", told(&ended, "by_time", &checks::later(hub)));
    check("ends without an error", exit_code(&ended, 0));
    report.check("python event hubs: it came its way", site.came(before, &[Origin::PYTHON_EVENTS]));
    explain(report, failed, hub, Who::from(DEVICE), &[&ended]);
    Ok(())
}

/// Keys of others: nobody gets in.
fn wrong_keys(site: &Site, report: &mut Report) -> Result<(), String> {
    let hub = &site.hub;
    let other = hub.create_device("other").map_err(text)?;
    let key = other.primary_key.ok_or("no key")?;
    let device = format!("HostName={};DeviceId={DEVICE};SharedAccessKey={}", hub.host_name(), key.expose());
    let service =
        format!("HostName={};SharedAccessKeyName=iothubowner;SharedAccessKey={}", hub.host_name(), key.expose());
    let refused = [
        ("node device", sdk::node_device(site, &device, false)?.finish(LIMIT)),
        ("node service", sdk::node_service(site, &service, DEVICE)?.finish(LIMIT)),
        ("python service", sdk::python_service(site, &service, DEVICE)?.finish(LIMIT)),
    ];
    let failed = report.failed();
    for (name, ended) in &refused {
        report.check(&format!("{name}, wrong key: it gives up and says so"), exit_code(ended, EXIT_REFUSED));
    }
    let refusals = hub.activity(DEVICE).into_iter().chain(hub.unattributed_activity());
    let refusals = refusals.filter(|entry| matches!(entry, Activity::TokenPut { status: 401, .. })).count();
    let enough = if refusals >= 3 { Ok(()) } else { Err(format!("the hub refused {refusals} tokens")) };
    report.check("wrong keys: the hub refuses each token", enough);
    explain(report, failed, hub, Who::from(DEVICE), &refused.each_ref().map(|(_, ended)| ended));
    Ok(())
}

/// What a back end does while a device or module runs its script: a desired change, then a method.
fn act(hub: &Hub, who: Who<'_>) -> Result<Value, String> {
    let asked = |entry: &Activity| matches!(entry, Activity::DesiredSubscribed { subscribed: true, .. });
    hub.wait_until(LIMIT, "the wish for desired changes", |hub| hub.activity(who).iter().any(asked)).map_err(text)?;
    hub.patch_desired(who, json!({"wanted": {"x": 1}})).map_err(text)?;
    let call = MethodCall::new("turn").payload(json!({"by": 90})).connect_timeout(LIMIT);
    let result = hub.invoke_method(who, call).map_err(text)?;
    Ok(json!({"status": result.status, "payload": result.payload}))
}

fn wait_for_link(hub: &Hub, who: Who<'_>, wanted: AmqpLink) -> Result<(), String> {
    let attached = |entry: &Activity| matches!(entry, Activity::AmqpAttached { link, .. } if *link == wanted);
    hub.wait_until(LIMIT, "the link for messages", |hub| hub.activity(who).iter().any(attached)).map_err(text)
}

fn shown_messages(ended: &Result<Ended, String>) -> Result<(), String> {
    let mut shown: Vec<String> = said(ended, "messages")?
        .as_array()
        .into_iter()
        .flatten()
        .map(|message| format!("{} {} {}", message["body"], message["message_id"], message["property"]))
        .collect();
    shown.sort();
    let expected = ["abandon", "abandon", "accept", "reject"].map(|body| format!("\"{body}\" \"id-{body}\" \"q\""));
    same("the messages", &shown, &expected.to_vec())
}

fn feedback(ended: &Result<Ended, String>) -> Result<(), String> {
    let mut records: Vec<String> = said(ended, "feedback")?
        .as_array()
        .into_iter()
        .flatten()
        .map(|record| format!("{} {}", record["id"], record["status"]))
        .collect();
    records.sort();
    let expected = [("abandon", "Success"), ("accept", "Success"), ("reject", "Rejected")];
    same("the feedback", &records, &expected.map(|(id, status)| format!("\"id-{id}\" \"{status}\"")).to_vec())
}

/// The script told this value under this name.
fn told(ended: &Result<Ended, String>, name: &str, expected: &Value) -> Result<(), String> {
    same_json("what the SDK shows", &said(ended, name)?, expected)
}

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
fn explain(report: &Report, failed_before: usize, hub: &Hub, who: Who<'_>, ended: &[&Result<Ended, String>]) {
    if report.failed() == failed_before {
        return;
    }
    report.note("the hub's record of it:");
    let entries = hub.activity(who).into_iter().chain(hub.unattributed_activity());
    entries.for_each(|entry| report.note(&format!("  {entry:?}")));
    for ended in ended {
        match ended {
            Ok(ended) => ended.stderr.lines().for_each(|line| report.note(&format!("stderr: {line}"))),
            Err(problem) => report.note(problem),
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A started script.
type Started = Result<Process, String>;
