//! What has to be in the hub's record, and what a reader of the event stream has to see of it.

use std::time::UNIX_EPOCH;

use iothub_emulator::{Activity, AmqpLink, C2dResult, Hub, TelemetryRecord, Who};
use serde_json::{Value, json};

use super::{DEVICE, told};
use crate::process::Ended;
use crate::report::{same, same_json};

/// How this SDK introduces itself on its links.
const CLIENT_VERSION: &str = "azure-iot-device/1.18.4 (node ";
const API_VERSION: &str = "2021-04-12";

/// What a device and a module have in common.
pub(super) fn common(
    check: &mut impl FnMut(&str, Result<(), String>),
    hub: &Hub,
    who: Who<'_>,
    ended: &Result<Ended, String>,
    result: &Result<Value, String>,
) {
    check("puts its token, and attaches its links under its version", links(hub, who));
    check("sends telemetry: bodies, properties and stamps are stored", telemetry(hub, who));
    let twin = json!({"desired": {"$version": 1}, "reported": {"$version": 1}});
    check("gets its twin", told(ended, "twin", &twin));
    let reported = hub.twin(who).map_err(|error| error.to_string());
    check("reports", reported.and_then(|twin| same_json("what is reported", &twin.reported, &json!({"a": {"b": 1}}))));
    check("receives a desired change", told(ended, "desired", &json!({"wanted": {"x": 1}, "$version": 2})));
    check("answers a method: as called", told(ended, "method", &json!({"name": "turn", "payload": {"by": 90}})));
    let answer = json!({"status": 207, "payload": {"answer": {"by": 90}}});
    check(
        "answers a method: the caller has the answer",
        result.clone().and_then(|result| same_json("it", &result, &answer)),
    );
    check(
        "says goodbye: the hub knows nothing of it any more",
        same("whether it is connected", &hub.connected(who), &false),
    );
    check("ends without an error", super::exit_code(ended, 0));
}

fn links(hub: &Hub, who: Who<'_>) -> Result<(), String> {
    let activity = hub.activity(who);
    let put = activity.iter().any(|entry| matches!(entry, Activity::TokenPut { status: 200, .. }));
    if !put {
        return Err("no token was taken".to_owned());
    }
    let messages = if who.module.is_some() { AmqpLink::Inputs } else { AmqpLink::CloudToDevice };
    for wanted in [
        AmqpLink::Telemetry,
        AmqpLink::TwinRequests,
        AmqpLink::TwinReplies,
        AmqpLink::MethodRequests,
        AmqpLink::MethodResponses,
        messages,
    ] {
        let attached = activity.iter().any(|entry| match entry {
            Activity::AmqpAttached { link, client_version: Some(client), api_version, .. } => {
                let needs_api = matches!(link, AmqpLink::TwinRequests | AmqpLink::MethodRequests);
                *link == wanted
                    && client.starts_with(CLIENT_VERSION)
                    && (!needs_api || api_version.as_deref() == Some(API_VERSION))
            }
            _ => false,
        });
        if !attached {
            return Err(format!("{wanted:?} is not attached as expected"));
        }
    }
    Ok(())
}

fn telemetry(hub: &Hub, who: Who<'_>) -> Result<(), String> {
    let records = hub.telemetry(who);
    let bodies: Vec<_> = records.iter().map(|record| String::from_utf8_lossy(&record.body).into_owned()).collect();
    same("the bodies", &bodies, &["one", "two", "three"].map(str::to_owned).to_vec())?;
    for (record, body) in records.iter().zip(bodies) {
        same("the property", &record.property("name"), &Some(Some("värde 1&2")))?;
        for (name, value) in [
            ("message-id", format!("id-{body}")),
            ("correlation-id", "correlation".to_owned()),
            ("content-type", "text/plain".to_owned()),
            ("content-encoding", "utf-8".to_owned()),
        ] {
            same(name, &record.system.get(name), &Some(&value))?;
        }
        let device = record.stamps.get("iothub-connection-device-id").map(String::as_str);
        same("the stamp", &device, &Some(who.device))?;
        same("the output", &record.output(), &who.module.map(|_| "out"))?;
    }
    Ok(())
}

/// How the three messages to the device ended.
pub(super) fn outcomes(hub: &Hub) -> Result<(), String> {
    let mut ends: Vec<_> =
        hub.c2d_outcomes(DEVICE).into_iter().map(|outcome| (outcome.message_id, outcome.result)).collect();
    ends.sort_by(|one, other| one.0.cmp(&other.0));
    let expected =
        [("id-abandon", C2dResult::Completed), ("id-accept", C2dResult::Completed), ("id-reject", C2dResult::Rejected)];
    same("the outcomes", &ends, &expected.map(|(id, result)| (id.to_owned(), result)).to_vec())?;
    let abandoned = |entry: &Activity| matches!(entry, Activity::MessageAbandoned { .. });
    same("how many were given back", &hub.activity(DEVICE).into_iter().filter(abandoned).count(), &1)
}

/// What the reader of the stream is told of it.
pub(super) struct Half {
    /// How many messages are stored.
    pub(super) count: usize,
    /// A moment, in milliseconds since 1970.
    pub(super) since: u128,
    /// How many of the messages are later.
    pub(super) later: usize,
}

/// A moment between the messages of the first device and those of the second.
pub(super) fn half(hub: &Hub) -> Half {
    let records = hub.all_telemetry();
    let first_device = records.iter().filter(|record| record.device_id == DEVICE).map(millis);
    let since = first_device.max().unwrap_or_default();
    let later = records.iter().filter(|record| millis(record) > since).count();
    Half { count: records.len(), since, later }
}

fn millis(record: &TelemetryRecord) -> u128 {
    record.enqueued.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

/// Everything that is stored, as the reader has to show it.
pub(super) fn stored(hub: &Hub) -> Value {
    hub.all_telemetry().iter().map(shown).collect()
}

/// What is stored behind that moment.
pub(super) fn later(hub: &Hub) -> Value {
    let since = half(hub).since;
    hub.all_telemetry().iter().filter(|record| millis(record) > since).map(shown).collect()
}

fn shown(record: &TelemetryRecord) -> Value {
    let mut properties: serde_json::Map<String, Value> =
        record.properties.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    properties.extend(record.output().map(|output| ("iothub-outputname".to_owned(), json!(output))));
    json!({
        "body": String::from_utf8_lossy(&record.body),
        "properties": properties,
        "device": record.device_id,
        "module": record.module_id,
        "auth_method": record.stamps.get("iothub-connection-auth-method"),
        "message_id": record.system.get("message-id"),
        "content_type": record.system.get("content-type"),
        "sequence": record.sequence_number,
        "offset": record.sequence_number.to_string(),
        "enqueued": millis(record),
    })
}
