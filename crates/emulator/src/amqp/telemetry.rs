//! Messages from devices and modules: plain and batched, into the shape in which the hub stores them (docs/hub-over-amqp.md 3; E25-E29).

use bytes::Bytes;
use fe2o3_amqp_types::definitions::Error;
use fe2o3_amqp_types::messaging::Properties;

use crate::activity::DisconnectReason;
use crate::amqp::Head;
use crate::amqp::condition::{self, error};
use crate::amqp::message::{self, BATCH, Incoming};
use crate::amqp::transfer::Received;
use crate::clock::{Now, iso8601};
use crate::faults::DropPoint;
use crate::hub::HubState;
use crate::hub::registry::Identity;
use crate::hub::telemetry::{Draft, is_stamp};

/// Application properties that are system properties.
pub(super) const IN_APPLICATION: [&str; 5] =
    ["iothub-outputname", "iothub-message-schema", "iothub-creation-time-utc", "iothub-operation", "iothub-ack"];
/// Annotations that are system properties.
pub(super) const IN_ANNOTATIONS: [&str; 4] =
    ["iothub-interface-id", "dt-subject", "Diagnostic-Id", "Correlation-Context"];

impl Head {
    pub(super) fn telemetry(&mut self, hub: &mut HubState, now: Now, identity: &Identity, received: &Received) {
        if self.drops(hub, now, identity, DropPoint::PublishReceived) {
            return;
        }
        let read = read(&received.payload, received.message_format);
        let (outer, drafts) = match read {
            Ok(read) => read,
            Err(rejected) => return self.settle(hub, now, received, Some(rejected)),
        };
        if let Some(rejected) = self.trouble(now, identity) {
            return self.settle(hub, now, received, Some(rejected));
        }
        let asked = std::iter::once(&outer)
            .chain(&drafts)
            .fold(Asked::Nothing, |asked, draft| asked.max(self.asks_for_fault(hub, now, identity, &draft.properties)));
        let Some(connection) = self.member(Some(identity)).map(|member| member.connection) else { return };
        if let Some(rejected) = self.refused_by_fault(hub, now, identity, &drafts) {
            return self.settle(hub, now, received, Some(rejected));
        }
        // One outcome is for the whole batch, so nothing of it is taken if one message is not.
        if let Err(why) = hub.room_for(connection, &drafts) {
            return self.settle(hub, now, received, Some(refusal(&why)));
        }
        let count = drafts.len();
        for draft in drafts {
            if let Err(why) = hub.take_telemetry(connection, draft, None, false, now) {
                return self.settle(hub, now, received, Some(refusal(&why)));
            }
        }
        if self.drops(hub, now, identity, DropPoint::PublishStored) {
            return;
        }
        if asked != Asked::ForAnEnd || hub.config.ack_fault_message {
            self.acknowledge(hub, now, identity, received, count);
        }
    }
}

/// What a message asks for by its properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    Nothing,
    /// Telemetry is to fail for some time.
    ForFailures,
    /// Something is to end.
    ForAnEnd,
}

/// The messages of a transfer, and what stands around them in a batch.
fn read(payload: &Bytes, format: u32) -> Result<(Draft, Vec<Draft>), Error> {
    let undecodable = |why: String| error(condition::DECODE_ERROR, why);
    let whole = Incoming::read(payload).map_err(undecodable)?;
    match format {
        0 => Ok((Draft::default(), vec![draft(&whole)?])),
        BATCH => {
            let inner = whole.data.iter().map(|section| {
                let message = Incoming::read(section).map_err(undecodable)?;
                draft(&message)
            });
            let drafts = inner.collect::<Result<Vec<_>, _>>()?;
            let outer = Draft { properties: properties(&whole), ..Draft::default() };
            Ok((outer, drafts))
        }
        _ => Err(error(condition::NOT_IMPLEMENTED, format!("the message format {format:#x} is not known"))),
    }
}

fn draft(message: &Incoming) -> Result<Draft, Error> {
    let body = message.body().map_err(|why| error(condition::ARGUMENT_ERROR, why))?;
    let mut draft = Draft { body, properties: properties(message), ..Draft::default() };
    let mut set = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            draft.system.insert(name.to_owned(), value);
        }
    };
    let Properties { message_id, correlation_id, user_id, to, content_type, content_encoding, .. } =
        &message.properties;
    set("message-id", message_id.as_ref().map(message::id_text));
    set("correlation-id", correlation_id.as_ref().map(message::id_text));
    set("user-id", user_id.as_ref().map(|id| String::from_utf8_lossy(id).into_owned()));
    set("to", to.clone());
    set("content-type", content_type.as_ref().map(|text| text.as_str().to_owned()));
    set("content-encoding", content_encoding.as_ref().map(|text| text.as_str().to_owned()));
    let expiry = message.properties.absolute_expiry_time.as_ref();
    set("absolute-expiry-time", expiry.map(|time| iso8601(message::time_of(time))));
    for name in IN_APPLICATION {
        set(name, message.application(name).and_then(message::text));
    }
    for name in IN_ANNOTATIONS {
        set(name, message.annotation(name).and_then(message::text));
    }
    draft.checked().map_err(|why| refusal(&why))
}

/// A message that the hub does not take, over other protocols the end of the connection.
fn refusal(why: &DisconnectReason) -> Error {
    match why {
        DisconnectReason::MessageTooLarge { size, limit } => {
            error(condition::MESSAGE_SIZE, format!("a message of {size} bytes is over the limit of {limit}"))
        }
        DisconnectReason::InputQueueFull { module, limit } => {
            error(condition::RESOURCE_LIMIT, format!("{limit} messages wait for '{module}' already"))
        }
        other => error(condition::NOT_ALLOWED, format!("{other:?}")),
    }
}

/// What is the application's own. A value that is no text is shown as one; null is a name without a value.
fn properties(message: &Incoming) -> Vec<(String, Option<String>)> {
    let own =
        message.application.iter().filter(|(name, _)| !IN_APPLICATION.contains(&name.as_str()) && !is_stamp(name));
    own.map(|(name, value)| (name.clone(), message::text(value))).collect()
}
