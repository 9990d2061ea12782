//! Where a message of a device or module goes: into the hub's store, or, on an Edge device, where its routes say (docs/hub-over-mqtt.md 6).

use std::collections::BTreeMap;

use crate::activity::{Activity, ConnectionId, DisconnectReason};
use crate::clock::Now;
use crate::error::HubError;
use crate::guid;
use crate::hub::HubState;
use crate::hub::registry::{Identity, not_found};
use crate::hub::telemetry::{Draft, Sender};
use crate::message::C2dMessage;
use crate::mqtt::bag::{MAX_TOPIC, topic_length};
use crate::record::OUTPUT_NAME;
use crate::routes::Endpoint;

/// System properties that a route passes on besides those that every message may have (docs/hub-over-mqtt.md 2.3, Edge).
const PASSED_ON: [&str; 6] = [
    "to",
    "absolute-expiry-time",
    "iothub-creation-time-utc",
    "dt-subject",
    "iothub-message-schema",
    "iothub-operation",
];

/// What became of a message that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// In the hub's store; `None`: no route led there.
    pub(crate) sequence_number: Option<u64>,
    /// Where the routes of an Edge device led; `None`: it has none to follow.
    pub(crate) routed: Option<Vec<Endpoint>>,
}

impl HubState {
    /// Takes a message of an open connection, and records that. The error says why its connection has to end; then nothing has happened.
    pub(crate) fn take_telemetry(
        &mut self,
        connection: ConnectionId,
        draft: Draft,
        packet_id: Option<u16>,
        dup: bool,
        now: Now,
    ) -> Result<Taken, DisconnectReason> {
        let Some(sender) = self.sender(connection).cloned() else { return Ok(Taken::default()) };
        let (at, output) = (now.wall, draft.system.get(OUTPUT_NAME).cloned());
        let taken = self.take_from(&sender, draft, connection, now)?;
        if let Some(places) = &taken.routed {
            let to = places.iter().map(ToString::to_string).collect();
            self.note(&sender.identity, Activity::Routed { at, connection, output, to, packet_id, dup });
        }
        if let Some(sequence_number) = taken.sequence_number {
            self.note(&sender.identity, Activity::Telemetry { at, connection, sequence_number, packet_id, dup });
        }
        Ok(taken)
    }

    /// Takes a message of a connection that may have ended.
    pub(super) fn take_from(
        &mut self,
        sender: &Sender,
        draft: Draft,
        connection: ConnectionId,
        now: Now,
    ) -> Result<Taken, DisconnectReason> {
        let Some(places) = self.places(sender, &draft) else {
            return Ok(Taken { sequence_number: Some(self.store(sender, draft, connection, now)), routed: None });
        };
        let inputs = inputs(sender, &draft, &places);
        self.room_at(&inputs)?;
        for (target, message) in inputs {
            let message_id = message.message_id.clone().unwrap_or_else(guid::random);
            self.enqueue(&target, message_id, message, self.config.input_ttl, now);
        }
        let upstream = places.contains(&Endpoint::Upstream);
        let sequence_number = upstream.then(|| self.store(sender, draft, connection, now));
        Ok(Taken { sequence_number, routed: Some(places) })
    }

    /// Whether the hub can take all of these messages of an open connection. The error says why it takes none.
    pub(crate) fn room_for(&self, connection: ConnectionId, drafts: &[Draft]) -> Result<(), DisconnectReason> {
        let Some(sender) = self.sender(connection) else { return Ok(()) };
        let all = drafts.iter().filter_map(|draft| Some(inputs(sender, draft, &self.places(sender, draft)?)));
        self.room_at(&all.flatten().collect::<Vec<_>>())
    }

    /// Where the routes of an Edge device lead; `None`: it has none.
    fn places(&self, sender: &Sender, draft: &Draft) -> Option<Vec<Endpoint>> {
        self.config.routes.of(&sender.identity, draft.system.get(OUTPUT_NAME).map(String::as_str))
    }

    fn room_at(&self, inputs: &[(Identity, C2dMessage)]) -> Result<(), DisconnectReason> {
        let limit = self.config.input_queue_limit;
        let mut coming: BTreeMap<&Identity, usize> = BTreeMap::new();
        for (target, message) in inputs {
            let coming = coming.entry(target).or_default();
            *coming += 1;
            if self.pending(target) + *coming > limit {
                return Err(DisconnectReason::InputQueueFull { module: target.to_string(), limit });
            }
            let size = topic_length(target, "", message);
            if size > MAX_TOPIC {
                return Err(DisconnectReason::MessageTooLarge { size, limit: MAX_TOPIC });
            }
        }
        Ok(())
    }

    /// Enqueues a message that the caller has checked for an input of a module.
    pub(crate) fn send_input(
        &mut self,
        identity: &Identity,
        message_id: String,
        message: C2dMessage,
        now: Now,
    ) -> Result<(), HubError> {
        if !self.registry.knows(identity) {
            return Err(not_found(identity));
        }
        let refused = |problem| Err(HubError::NoInputs { identity: identity.to_string(), problem });
        if identity.module.is_none() {
            return refused("only modules have inputs; name one");
        }
        if !self.config.routes.is_edge(&identity.device) {
            return refused("its device has no edge routes; start the hub with Config::with_edge_routes for it");
        }
        self.check_room(identity, self.config.input_queue_limit)?;
        self.enqueue(identity, message_id, message, self.config.input_ttl, now);
        Ok(())
    }
}

/// The inputs that these places are, each with its message.
fn inputs(sender: &Sender, draft: &Draft, places: &[Endpoint]) -> Vec<(Identity, C2dMessage)> {
    let input = |place: &Endpoint| match place {
        Endpoint::Input { module, input } => {
            Some((Identity::module(&sender.identity.device, module), input_message(&sender.identity, input, draft)))
        }
        Endpoint::Upstream => None,
    };
    places.iter().filter_map(input).collect()
}

/// What a module's input gets of a message: everything but its output, its interface and its trace.
fn input_message(sender: &Identity, input: &str, draft: &Draft) -> C2dMessage {
    let system = |name: &str| draft.system.get(name).cloned();
    C2dMessage {
        body: draft.body.clone(),
        message_id: system("message-id"),
        correlation_id: system("correlation-id"),
        user_id: system("user-id"),
        content_type: system("content-type"),
        content_encoding: system("content-encoding"),
        properties: draft.properties.clone(),
        ack: None,
        expiry: None,
        input: Some(input.to_owned()),
        sender: Some(sender.clone()),
        passed_on: PASSED_ON.into_iter().filter_map(|name| Some((name, system(name)?))).collect(),
    }
}
