//! The stored messages, as an Event-Hubs-compatible stream shows them to a service: partitions, positions, annotations (docs/hub-over-amqp.md 4; E45).

use std::time::{Duration, SystemTime};

use fe2o3_amqp_types::definitions::Error;
use fe2o3_amqp_types::messaging::{MessageId, Properties, Source};
use fe2o3_amqp_types::primitives::SimpleValue;
use serde_amqp::Value;
use serde_amqp::primitives::Symbol;

use crate::activity::{ConnectionId, DisconnectReason};
use crate::amqp::address::Partition;
use crate::amqp::condition::{self, error};
use crate::amqp::link::Place;
use crate::amqp::message::{self, Body, Outgoing};
use crate::amqp::send::Parcel;
use crate::amqp::{Head, State};
use crate::clock::Now;
use crate::escape::escape;
use crate::hub::HubState;
use crate::hub::events::ClaimId;
use crate::record::TelemetryRecord;

const SELECTOR: &str = "apache.org:selector-filter:string";

/// How far a link has read.
#[derive(Debug)]
pub(super) struct Reader {
    partition: usize,
    /// The sequence number of the last message that was sent, or that the reader does not want.
    position: u64,
    /// Messages before this moment are not wanted, nor those at it, unless it says so.
    since: Option<(SystemTime, bool)>,
    /// Of an exclusive reader.
    pub(super) claim: Option<ClaimId>,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// Behind the message with this number.
    After(u64),
    /// Behind this moment, or at it.
    At(SystemTime, bool),
    /// Behind what is there.
    Latest,
}

/// Whether this partition and consumer group exist, and are served here.
pub(super) fn check(hub: &HubState, partition: &Partition) -> Result<(), Error> {
    if !hub.config.consumer_groups.iter().any(|group| group.eq_ignore_ascii_case(&partition.group)) {
        return Err(error(condition::NOT_FOUND, format!("there is no consumer group '{}'", partition.group)));
    }
    index(hub, partition)?;
    match &hub.config.event_redirect {
        Some(host) if partition.at_the_hub => Err(redirect(hub, host, partition)),
        _ => Ok(()),
    }
}

/// Where the stream is, for a client that comes to the hub for it.
fn redirect(hub: &HubState, host: &str, partition: &Partition) -> Error {
    let (name, port) = host.split_once(':').unwrap_or((host, "5671"));
    let address = format!(
        "amqps://{host}/{}/ConsumerGroups/{}/Partitions/{}",
        hub.config.event_hub_name, partition.group, partition.index
    );
    let info = [
        ("hostname", Value::String(name.to_owned())),
        ("network-host", Value::String(name.to_owned())),
        ("port", Value::Int(port.parse().unwrap_or(5671))),
        ("address", Value::String(address)),
    ];
    let mut redirect = error(condition::REDIRECT, "the events are at another host");
    redirect.info = Some(Box::new(info.into_iter().map(|(name, value)| (Symbol::from(name), value)).collect()));
    redirect
}

fn index(hub: &HubState, partition: &Partition) -> Result<usize, Error> {
    let index = partition.index.parse().ok().filter(|index| *index < hub.config.event_partitions);
    index.ok_or_else(|| error(condition::NOT_FOUND, format!("there is no partition '{}'", partition.index)))
}

impl Reader {
    pub(super) fn new(
        hub: &mut HubState,
        connection: ConnectionId,
        partition: &Partition,
        source: Option<&Source>,
        epoch: Option<i64>,
    ) -> Result<Self, Error> {
        let index = index(hub, partition)?;
        let start = start(source).map_err(|why| error(condition::INVALID_FIELD, why))?;
        let stolen = || error(condition::STOLEN, "a reader with a higher epoch has this partition");
        let claim = hub.claim_partition(connection, &partition.group, index, epoch).map_err(|()| stolen())?;
        let (position, since) = match start {
            Start::After(sequence) => (sequence, None),
            Start::At(moment, at_it) => (0, Some((moment, at_it))),
            Start::Latest => (hub.partition_facts(index).last_sequence.unwrap_or(0), None),
        };
        Ok(Self { partition: index, position, since, claim })
    }

    fn wants(&self, record: &TelemetryRecord) -> bool {
        // Moments of the stream are whole milliseconds.
        let enqueued = message::time_of(&message::timestamp_of(record.enqueued));
        self.since.is_none_or(|(moment, at_it)| enqueued > moment || at_it && enqueued == moment)
    }
}

impl Head {
    /// Sends the next stored message that the reader wants. False: there is none yet.
    pub(super) fn send_event(&mut self, hub: &mut HubState, now: Now, place: Place) -> bool {
        let State::Open(open) = &mut self.state else { return false };
        let Some(sender) = open.link_mut(place).and_then(|link| link.sender_mut()) else { return false };
        let Some(reader) = &mut sender.reader else { return false };
        while let Some(record) = hub.stored_after(reader.partition, reader.position) {
            reader.position = record.sequence_number;
            if reader.wants(record) {
                let payload = event(record).encode();
                self.deliver(hub, now, place, Parcel::new(payload));
                return true;
            }
        }
        false
    }

    /// Detaches readers whose partition another one has claimed.
    pub(super) fn notice_claims(&mut self, hub: &mut HubState, now: Now) {
        let State::Open(open) = &self.state else { return };
        let lost: Vec<Place> = open
            .services()
            .filter(|(_, link)| {
                let claim = link.sender().and_then(|sender| sender.reader.as_ref()).and_then(|reader| reader.claim);
                claim.is_some_and(|claim| !hub.holds_claim(claim))
            })
            .map(|(place, _)| place)
            .collect();
        for place in lost {
            let why = error(condition::STOLEN, "a reader with a higher epoch took over");
            self.detach(hub, now, place, Some(why), &DisconnectReason::ByService);
        }
    }
}

fn event(record: &TelemetryRecord) -> Outgoing {
    let number = i64::try_from(record.sequence_number).unwrap_or(i64::MAX);
    let mut annotations = vec![
        ("x-opt-sequence-number", Value::Long(number)),
        ("x-opt-offset", Value::String(record.sequence_number.to_string())),
        ("x-opt-enqueued-time", message::timestamp(record.enqueued)),
        ("x-opt-partition-key", Value::String(record.device_id.clone())),
        ("iothub-enqueuedtime", message::timestamp(record.enqueued)),
    ];
    for name in crate::hub::telemetry::STAMPS {
        if let (Some(value), true) = (record.stamps.get(name), name != "iothub-enqueuedtime") {
            annotations.push((name, Value::String(value.clone())));
        }
    }
    let system = |name: &str| record.system.get(name).cloned();
    for name in super::telemetry::IN_ANNOTATIONS {
        if let Some(value) = system(name) {
            annotations.push((name, Value::String(value)));
        }
    }
    let own = record
        .properties
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().map_or(SimpleValue::Null, SimpleValue::String)));
    let of_the_system = super::telemetry::IN_APPLICATION
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), SimpleValue::String(system(name)?))));
    let module = record.module_id.as_ref().map(|module| format!("/modules/{}", escape(module))).unwrap_or_default();
    Outgoing {
        annotations,
        properties: Properties {
            message_id: system("message-id").map(MessageId::String),
            user_id: system("user-id").map(|id| id.into_bytes().into()),
            to: Some(format!("/devices/{}{module}/messages/events", escape(&record.device_id))),
            correlation_id: system("correlation-id").map(MessageId::String),
            content_type: system("content-type").as_deref().map(message::symbol),
            content_encoding: system("content-encoding").as_deref().map(message::symbol),
            ..Properties::default()
        },
        application: own.chain(of_the_system).collect(),
        body: Body::Data(record.body.clone()),
    }
}

/// Where the filter of a source lets the reader begin; without one, with the oldest message.
fn start(source: Option<&Source>) -> Result<Start, String> {
    let filters = source.and_then(|source| source.filter.as_ref());
    let Some(filter) = filters.and_then(|filters| filters.get(&Symbol::from(SELECTOR))) else {
        return Ok(Start::After(0));
    };
    let text = match filter {
        Value::Described(described) => message::text(&described.value),
        other => message::text(other),
    };
    selector(&text.ok_or("the selector is no text")?)
}

/// `amqp.annotation.<name> > '<value>'`, with `>=` too, and with or without quotes.
fn selector(text: &str) -> Result<Start, String> {
    let wrong = || format!("the selector '{}' is not known", text.chars().take(100).collect::<String>());
    let (name, rest) = text.split_once('>').ok_or_else(wrong)?;
    let (at_it, value) = match rest.strip_prefix('=') {
        Some(value) => (true, value),
        None => (false, rest),
    };
    let value = value.trim().trim_matches('\'');
    if value == "@latest" {
        return Ok(Start::Latest);
    }
    let number: i64 = value.parse().map_err(|_| wrong())?;
    let from_zero = u64::try_from(number).ok();
    match name.trim() {
        "amqp.annotation.x-opt-offset" | "amqp.annotation.x-opt-sequence-number" => {
            Ok(Start::After(from_zero.map_or(0, |number| number.saturating_sub(u64::from(at_it)))))
        }
        "amqp.annotation.x-opt-enqueued-time" | "amqp.annotation.x-opt-enqueuedtimeutc" => {
            let since = Duration::from_millis(from_zero.unwrap_or(0));
            Ok(Start::At(SystemTime::UNIX_EPOCH.checked_add(since).ok_or_else(wrong)?, at_it))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_of_every_sdk_are_read() {
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        for (text, start) in [
            ("amqp.annotation.x-opt-offset > '-1'", Start::After(0)),
            ("amqp.annotation.x-opt-offset > '17'", Start::After(17)),
            ("amqp.annotation.x-opt-offset > '@latest'", Start::Latest),
            ("amqp.annotation.x-opt-sequence-number >= '17'", Start::After(16)),
            ("amqp.annotation.x-opt-enqueuedtimeutc > 1500", Start::At(at(1500), false)),
            ("amqp.annotation.x-opt-enqueued-time >= '1500'", Start::At(at(1500), true)),
        ] {
            assert_eq!(selector(text), Ok(start), "{text}");
        }
        for text in ["", "x > 1", "amqp.annotation.x-opt-offset > 'soon'", "amqp.annotation.x-opt-offset = 1"] {
            assert!(selector(text).is_err(), "{text}");
        }
    }
}
