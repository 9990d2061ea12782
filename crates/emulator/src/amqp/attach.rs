//! Links begin: who may attach what, under which settle modes and limits (docs/hub-over-amqp.md 3; E17-E24).

use std::collections::VecDeque;

use fe2o3_amqp_types::definitions::{Error, Fields, Handle, ReceiverSettleMode, Role, SenderSettleMode};
use fe2o3_amqp_types::messaging::TargetArchetype;
use fe2o3_amqp_types::performatives::{Attach, Performative};
use serde_amqp::Value;

use crate::activity::{Activity, AmqpLink, DisconnectReason, RefusalReason};
use crate::amqp::address::{self, Node};
use crate::amqp::condition::{self, error};
use crate::amqp::events::Reader;
use crate::amqp::grants::Refusal;
use crate::amqp::link::{End, Link, Place, Receiver, Sender};
use crate::amqp::session::HANDLE_MAX;
use crate::amqp::{Head, State, events, message};
use crate::clock::Now;
use crate::faults::{DropPoint, Fault};
use crate::hub::registry::Identity;
use crate::hub::session::Feature;
use crate::hub::{HubState, NOBODY};

/// The largest message of the hub on a link, which no client asks for more than (docs/hub-over-amqp.md 3).
const MAX_MESSAGE: u64 = 1_048_576;
/// What a client may send before the hub gives more (docs/hub-over-amqp.md 3).
const CREDIT: u32 = 1_000;
const TOKEN_CREDIT: u32 = 100;

/// What a client says of itself and of a link.
struct Facts {
    client_version: Option<String>,
    api_version: Option<String>,
    model_id: Option<String>,
    /// The text behind the first colon; without one it is empty.
    channel_id: String,
    epoch: Option<i64>,
}

impl Facts {
    fn of(properties: Option<&Fields>) -> Self {
        let value = |name: &str| properties?.iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| value);
        let text = |name: &str| value(name).and_then(message::text);
        let channel = text("com.microsoft:channel-correlation-id").unwrap_or_default();
        Self {
            client_version: text("com.microsoft:client-version"),
            api_version: text("com.microsoft:api-version"),
            model_id: text("com.microsoft:model-id"),
            channel_id: channel.split_once(':').map(|(_, id)| id.to_owned()).unwrap_or_default(),
            epoch: value("com.microsoft:epoch").and_then(message::integer),
        }
    }
}

/// Why an attach is refused: what the peer is told, and what the hub knows.
struct Refused {
    error: Error,
    why: RefusalReason,
}

impl Refused {
    /// The hub does not provide this.
    fn node(error: Error) -> Self {
        Self { why: RefusalReason::Node(error.description.clone().unwrap_or_default()), error }
    }

    fn fault(error: Error) -> Self {
        Self { error, why: RefusalReason::Fault }
    }
}

impl Head {
    pub(super) fn attach(&mut self, hub: &mut HubState, now: Now, channel: u16, attach: Attach) {
        let Handle(handle) = attach.handle;
        if handle > HANDLE_MAX {
            let text = format!("handle {handle} is over the limit of {HANDLE_MAX}");
            return self.fail(hub, now, condition::FRAMING_ERROR, text);
        }
        let State::Open(open) = &mut self.state else { return };
        let Some(session) = open.sessions.get(&channel) else { return };
        if session.links.contains_key(&handle) || session.detaching.contains(&handle) {
            let text = format!("handle {handle} is in use");
            return self.end_session(hub, now, channel, Some(error(condition::HANDLE_IN_USE, text)));
        }
        let place = Place { channel, handle };
        let address = address_of(&attach).unwrap_or_default().to_owned();
        let Some(node) = address::node(&address, &attach.role, &hub.config.host_names, &hub.config.event_hub_name)
        else {
            let text = format!("the hub has no node '{}' for this direction", shown(&address));
            return self.refuse(hub, now, place, &attach, &NOBODY, Refused::node(error(condition::NOT_ALLOWED, text)));
        };
        let owner = node.identity.clone().unwrap_or_else(|| NOBODY.clone());
        if self.drops(hub, now, &owner, DropPoint::AttachReceived) {
            return;
        }
        let wanted = |fault: &Fault| matches!(fault, Fault::AmqpWithholdAttach { link } if *link == node.kind);
        if self.take_fault(hub, now, &owner, wanted).is_some() {
            return self.ignore(place);
        }
        match self.allowed(hub, now, &owner, &node) {
            Ok(auth_type) => self.accept(hub, now, place, attach, node, &owner, auth_type),
            Err(refused) => self.refuse(hub, now, place, &attach, &owner, refused),
        }
    }

    /// Whether the peer may attach here, and how it is authenticated.
    fn allowed(&self, hub: &mut HubState, now: Now, owner: &Identity, node: &Node) -> Result<&'static str, Refused> {
        let wanted = |fault: &Fault| matches!(fault, Fault::AmqpRefuseAttach { link, .. } if *link == node.kind);
        if let Some(Fault::AmqpRefuseAttach { condition, .. }) = self.take_fault(hub, now, owner, wanted) {
            return Err(Refused::fault(error(&condition, "a fault was injected")));
        }
        let State::Open(open) = &self.state else { return Ok("sas") };
        if let Some((until, condition)) = self.member(node.identity.as_ref()).and_then(|member| member.trouble)
            && until > now.elapsed
            && condition == condition::UNAUTHORIZED
        {
            return Err(Refused::fault(error(condition, "a fault was asked for")));
        }
        if !node.kind.needs_a_right() {
            if open.grants.takes_tokens() {
                return Ok("sas");
            }
            return Err(Refused::node(error(
                condition::NOT_ALLOWED,
                "this connection is authenticated without tokens",
            )));
        }
        let auth_type = open.grants.authorise(hub, &self.peer, now, node).map_err(|Refusal { condition, why }| {
            tracing::debug!(%owner, ?why, "attach refused");
            Refused { error: error(condition, format!("{why:?}")), why }
        })?;
        match &node.partition {
            Some(partition) => events::check(hub, partition).map(|()| auth_type).map_err(Refused::node),
            None => Ok(auth_type),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "what one attach needs; a struct for it would be used once")]
    fn accept(
        &mut self,
        hub: &mut HubState,
        now: Now,
        place: Place,
        attach: Attach,
        node: Node,
        owner: &Identity,
        auth_type: &'static str,
    ) {
        let facts = Facts::of(attach.properties.as_ref());
        let reader = match &node.partition {
            None => None,
            Some(partition) => match Reader::new(hub, self.id, partition, attach.source.as_deref(), facts.epoch) {
                Ok(reader) => Some(reader),
                Err(error) => return self.refuse(hub, now, place, &attach, owner, Refused::node(error)),
            },
        };
        self.make_room(hub, now, &node, &facts.channel_id);
        if let Some(identity) = &node.identity {
            self.join(hub, now, identity, auth_type);
        }
        let modes = self.settle_modes(hub, now, owner, &attach, node.kind);
        let is_sender = attach.role == Role::Receiver;
        let end = if is_sender {
            End::Sender(Sender {
                credit: 0,
                delivery_count: 0,
                drain: false,
                settled: modes.0 == SenderSettleMode::Settled,
                queue: VecDeque::new(),
                reply_to: target_address(&attach).map(str::to_owned),
                reader,
            })
        } else {
            let full_credit = if node.kind == AmqpLink::TokenRequests { TOKEN_CREDIT } else { CREDIT };
            let wanted = |fault: &Fault| matches!(fault, Fault::AmqpWithholdCredit { link } if *link == node.kind);
            let withheld = self.take_fault(hub, now, owner, wanted).is_some();
            let full_credit = if withheld { 0 } else { full_credit };
            let delivery_count = attach.initial_delivery_count.unwrap_or(0);
            End::Receiver(Receiver { credit: full_credit, delivery_count, full_credit, partial: None })
        };
        let link = Link { name: attach.name.clone(), node: node.clone(), channel_id: facts.channel_id, end };
        self.say_attach(hub, now, place, &attach, modes, true);
        let State::Open(open) = &mut self.state else { return };
        open.insert(place, link);
        if !is_sender {
            self.say_flow(now, place.channel, Some(place.handle));
        }
        let connection = self.member(node.identity.as_ref()).map_or(self.id, |member| member.connection);
        if let Some(model_id) = &facts.model_id {
            hub.set_model_id(connection, model_id);
        }
        hub.note(
            owner,
            Activity::AmqpAttached {
                at: now.wall,
                connection,
                link: node.kind,
                name: attach.name,
                client_version: facts.client_version,
                api_version: facts.api_version,
                model_id: facts.model_id,
            },
        );
        self.subscribe(hub, &node);
        self.drops(hub, now, owner, DropPoint::Attached);
    }

    /// What a new link displaces: one of the same kind of the identity, and partners that belong to another pair (E22).
    fn make_room(&mut self, hub: &mut HubState, now: Now, node: &Node, channel_id: &str) {
        if node.identity.is_none() {
            return;
        }
        let State::Open(open) = &self.state else { return };
        let same = open.find(node).map(|(place, _)| place);
        let partner = node.kind.partner().map(|kind| Node { kind, ..node.clone() });
        let other_pair = partner
            .and_then(|partner| open.find(&partner))
            .filter(|(_, link)| link.channel_id != channel_id)
            .map(|(place, _)| place);
        for place in [same, other_pair].into_iter().flatten() {
            let text = "a newer link of the same identity took over";
            self.detach(hub, now, place, Some(error(condition::STOLEN, text)), &DisconnectReason::ByDevice);
        }
    }

    /// The modes of the reply, whatever was asked for (E20).
    fn settle_modes(
        &self,
        hub: &mut HubState,
        now: Now,
        owner: &Identity,
        attach: &Attach,
        kind: AmqpLink,
    ) -> (SenderSettleMode, ReceiverSettleMode) {
        use {ReceiverSettleMode as Rcv, SenderSettleMode as Snd};
        let modes = match kind {
            AmqpLink::TwinRequests | AmqpLink::TwinReplies | AmqpLink::MethodRequests | AmqpLink::MethodResponses => {
                (Snd::Settled, Rcv::First)
            }
            AmqpLink::CloudToDevice => (Snd::Mixed, Rcv::Second),
            AmqpLink::Inputs => (Snd::Mixed, Rcv::First),
            AmqpLink::Feedback | AmqpLink::FileNotifications | AmqpLink::Events => {
                (attach.snd_settle_mode.clone(), attach.rcv_settle_mode.clone())
            }
            _ => (attach.snd_settle_mode.clone(), Rcv::First),
        };
        let wanted = |fault: &Fault| matches!(fault, Fault::AmqpWrongSettleMode { link } if *link == kind);
        if self.take_fault(hub, now, owner, wanted).is_none() {
            return modes;
        }
        let snd = if modes.0 == Snd::Settled { Snd::Unsettled } else { Snd::Settled };
        let rcv = if modes.1 == Rcv::First { Rcv::Second } else { Rcv::First };
        (snd, rcv)
    }

    /// The answer to an attach; of a refused one, without the terminus that the hub would have to provide (AMQP 2.6.3).
    fn say_attach(
        &mut self,
        hub: &HubState,
        now: Now,
        place: Place,
        asked: &Attach,
        modes: (SenderSettleMode, ReceiverSettleMode),
        accepted: bool,
    ) {
        let is_sender = asked.role == Role::Receiver;
        let limit = if is_sender { MAX_MESSAGE } else { hub.config.amqp_max_message_size };
        let max_message_size = asked.max_message_size.filter(|size| *size > 0).map_or(limit, |size| size.min(limit));
        let answer = Attach {
            name: asked.name.clone(),
            handle: Handle(place.handle),
            role: if is_sender { Role::Sender } else { Role::Receiver },
            snd_settle_mode: modes.0,
            rcv_settle_mode: modes.1,
            source: asked.source.clone().filter(|_| accepted || !is_sender),
            target: asked.target.clone().filter(|_| accepted || is_sender),
            unsettled: None,
            incomplete_unsettled: false,
            initial_delivery_count: is_sender.then_some(0),
            max_message_size: Some(max_message_size),
            offered_capabilities: None,
            desired_capabilities: None,
            properties: asked.properties.clone(),
        };
        self.say(now, place.channel, Performative::Attach(answer));
    }

    /// Attach, then detach with the reason: how the real hub refuses (docs/hub-over-amqp.md 3).
    fn refuse(
        &mut self,
        hub: &mut HubState,
        now: Now,
        place: Place,
        asked: &Attach,
        owner: &Identity,
        refused: Refused,
    ) {
        let Refused { error, why } = refused;
        let modes = (asked.snd_settle_mode.clone(), asked.rcv_settle_mode.clone());
        self.say_attach(hub, now, place, asked, modes, false);
        let (address, condition) = (address_of(asked).unwrap_or_default(), condition_of(&error));
        hub.note(
            if hub.registry.knows(owner) { owner } else { &NOBODY },
            Activity::AmqpAttachRefused { at: now.wall, connection: self.id, address: shown(address), condition, why },
        );
        self.say_detach(now, place, Some(error));
    }

    /// Never answers on a link, whatever the peer says on it.
    fn ignore(&mut self, place: Place) {
        if let State::Open(open) = &mut self.state
            && let Some(session) = open.sessions.get_mut(&place.channel)
        {
            session.detaching.insert(place.handle);
        }
    }

    /// Tells the hub what a new link is there for.
    fn subscribe(&mut self, hub: &mut HubState, node: &Node) {
        let Some(identity) = &node.identity else {
            if matches!(node.kind, AmqpLink::Feedback | AmqpLink::Events) {
                hub.listen(self.id);
            }
            return;
        };
        let Some(member) = self.member(Some(identity)) else { return };
        let connection = member.connection;
        let feature = match node.kind {
            AmqpLink::CloudToDevice => Feature::CloudToDevice,
            AmqpLink::Inputs => Feature::Inputs,
            AmqpLink::TwinReplies => Feature::TwinResponses,
            // Without both links no request is sent (E42).
            AmqpLink::MethodRequests | AmqpLink::MethodResponses if self.has_partner(node) => Feature::Methods,
            _ => return,
        };
        hub.subscribe_link(connection, feature);
        if let State::Open(open) = &mut self.state {
            // A call may wait for it.
            open.stirred.insert(identity.clone());
        }
        if node.kind == AmqpLink::TwinReplies && hub.config.amqp_desired_on_attach {
            hub.subscribe_link(connection, Feature::DesiredPatches);
        }
    }

    fn has_partner(&self, node: &Node) -> bool {
        let State::Open(open) = &self.state else { return false };
        node.kind.partner().is_some_and(|kind| open.find(&Node { kind, ..node.clone() }).is_some())
    }
}

/// The address of the node that the hub has to provide.
fn address_of(attach: &Attach) -> Option<&str> {
    match attach.role {
        Role::Sender => target_address(attach),
        Role::Receiver => attach.source.as_ref()?.address.as_deref(),
    }
}

fn target_address(attach: &Attach) -> Option<&str> {
    match attach.target.as_deref()? {
        TargetArchetype::Target(target) => target.address.as_deref(),
    }
}

pub(super) fn condition_of(error: &Error) -> String {
    match serde_amqp::to_value(&error.condition) {
        Ok(Value::Symbol(symbol)) => symbol.as_str().to_owned(),
        _ => String::new(),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}
