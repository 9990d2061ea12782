//! Questions about the event stream on `$management` (docs/hub-over-amqp.md 4; E45).

use std::time::SystemTime;

use serde_amqp::Value;
use serde_amqp::primitives::{Array, OrderedMap};

use crate::activity::AmqpLink;
use crate::amqp::Head;
use crate::amqp::cbs::{description, status_reply};
use crate::amqp::message::{self, Body, Incoming};
use crate::amqp::transfer::Received;
use crate::clock::Now;
use crate::hub::HubState;

impl Head {
    pub(super) fn management(&mut self, hub: &mut HubState, now: Now, received: &Received, request: &Incoming) {
        self.settle(hub, now, received, None);
        let (status, body) = match answer(hub, now, request) {
            Ok(facts) => (200, Body::Value(Value::Map(facts))),
            Err(status) => (status, Body::None),
        };
        let mut reply = status_reply(request.properties.message_id.clone(), status, description(status));
        reply.body = body;
        let reply_to = request.properties.reply_to.as_deref();
        if let Some(place) = self.reply_link(received.place, AmqpLink::ManagementReplies, reply_to) {
            self.reply_on(hub, now, place, reply.encode());
        }
    }
}

/// What was asked for, or the status of a refusal.
fn answer(hub: &HubState, now: Now, request: &Incoming) -> Result<OrderedMap<Value, Value>, i32> {
    let text = |name: &str| request.application(name).and_then(message::text);
    if text("operation").as_deref() != Some("READ") {
        return Err(501);
    }
    let name = text("name").unwrap_or_default();
    if !name.eq_ignore_ascii_case(&hub.config.event_hub_name) && !name.eq_ignore_ascii_case("messages/events") {
        return Err(404);
    }
    let kind = text("type").unwrap_or_default();
    let mut facts = vec![("name", Value::String(name)), ("type", Value::String(kind.clone()))];
    match kind.as_str() {
        "com.microsoft:eventhub" => {
            let ids = (0..hub.config.event_partitions).map(|index| Value::String(index.to_string()));
            facts.extend([
                ("created_at", message::timestamp(SystemTime::UNIX_EPOCH)),
                ("partition_count", Value::Int(i32::try_from(hub.config.event_partitions).unwrap_or(i32::MAX))),
                ("partition_ids", Value::Array(Array::from(ids.collect::<Vec<_>>()))),
            ]);
        }
        "com.microsoft:partition" => {
            let partition = text("partition").unwrap_or_default();
            let index = partition.parse().ok().filter(|index| *index < hub.config.event_partitions).ok_or(404)?;
            let stored = hub.partition_facts(index);
            let number = |sequence: Option<u64>| sequence.and_then(|sequence| i64::try_from(sequence).ok());
            let last = number(stored.last_sequence);
            facts.extend([
                ("partition", Value::String(partition)),
                ("begin_sequence_number", Value::Long(number(stored.first_sequence).unwrap_or(0))),
                ("last_enqueued_sequence_number", Value::Long(last.unwrap_or(-1))),
                ("last_enqueued_offset", Value::String(last.unwrap_or(-1).to_string())),
                ("last_enqueued_time_utc", message::timestamp(stored.last_enqueued.unwrap_or(now.wall))),
                ("is_partition_empty", Value::Bool(last.is_none())),
            ]);
        }
        _ => return Err(400),
    }
    Ok(facts.into_iter().map(|(name, value)| (Value::String(name.to_owned()), value)).collect())
}
