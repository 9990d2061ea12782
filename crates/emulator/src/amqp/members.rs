//! The identities on a connection: for the hub, each of them is a connection of its own (docs/hub-over-amqp.md 1).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use fe2o3_amqp_types::messaging::DeliveryState;

use crate::activity::{Activity, AmqpLink, ConnectionId, DisconnectReason};
use crate::amqp::condition::{self, error};
use crate::amqp::link::Place;
use crate::amqp::transfer::Received;
use crate::amqp::{Head, State};
use crate::clock::Now;
use crate::hub::registry::Identity;
use crate::hub::session::Session;
use crate::hub::telemetry::Sender;
use crate::hub::{Carried, HubState, Opening};

#[derive(Debug)]
pub(super) struct Member {
    /// What the hub knows it by.
    pub(super) connection: ConnectionId,
    /// Its links here; of each kind there is one at most.
    pub(super) links: BTreeMap<AmqpLink, Place>,
    /// Desired patches that a fault holds back for the next one.
    pub(super) later_patches: Vec<Bytes>,
    /// Outcomes of its telemetry that a fault collects, to send them in another order.
    pub(super) reordering: Option<Reordering>,
    /// Its telemetry is rejected with this condition until then.
    pub(super) trouble: Option<(Duration, &'static str)>,
}

/// Outcomes that are collected until there are enough to reverse.
#[derive(Debug)]
pub(super) struct Reordering {
    pub(super) window: usize,
    pub(super) outcomes: Vec<(Received, DeliveryState)>,
}

impl Head {
    /// The identity has a link here: an older connection of it, whatever its protocol, gives way (E23).
    pub(super) fn join(&mut self, hub: &mut HubState, now: Now, identity: &Identity, auth_type: &'static str) {
        let State::Open(open) = &mut self.state else { return };
        if open.members.contains_key(identity) {
            return;
        }
        let connection = hub.next_connection();
        let sender = Sender {
            identity: identity.clone(),
            generation_id: hub.generation_id(identity),
            auth_type,
            model_id: None,
        };
        let carried = Some(Carried { by: self.id, session: Session::default() });
        hub.open(connection, Opening { sender, clean_session: true, will: None, carried }, false, now);
        hub.take_seat(connection, None);
        let member =
            Member { connection, links: BTreeMap::new(), later_patches: Vec::new(), reordering: None, trouble: None };
        open.members.insert(identity.clone(), member);
        tracing::debug!(connection = connection.0, carrier = self.id.0, %identity, "joined");
        hub.note(
            identity,
            Activity::AmqpConnected {
                at: now.wall,
                connection,
                carrier: self.id,
                idle_time_out: open.named_idle,
                tls_version: self.peer.tls_version,
                peer: self.peer.address,
                web_socket: self.peer.web_socket.clone(),
            },
        );
    }

    /// The identity's last link is gone.
    pub(super) fn leave_if_alone(&mut self, hub: &mut HubState, now: Now, identity: &Identity, why: &DisconnectReason) {
        let State::Open(open) = &mut self.state else { return };
        if open.members.get(identity).is_some_and(|member| !member.links.is_empty()) {
            return;
        }
        if let Some(member) = open.members.remove(identity) {
            hub.leave_seat(member.connection, why.clone(), now);
        }
    }

    /// The hub may have ended an identity's connection from elsewhere: by the service, or for a newer connection.
    pub(super) fn notice_ends(&mut self, hub: &mut HubState, now: Now) {
        let State::Open(open) = &mut self.state else { return };
        let gone: BTreeMap<Identity, DisconnectReason> = open
            .stirred
            .iter()
            .filter_map(|identity| {
                let member = open.members.get(identity)?;
                Some((identity.clone(), hub.why_ended(member.connection)?.clone()))
            })
            .collect();
        for (identity, why) in gone {
            let State::Open(open) = &mut self.state else { return };
            let Some(member) = open.members.remove(&identity) else { continue };
            hub.leave_seat(member.connection, why.clone(), now);
            if why == DisconnectReason::HubStopped {
                self.say_close(Some(error(condition::CONNECTION_FORCED, "the hub stops")));
                return self.close(hub, now, why);
            }
            let (condition, text) = match why {
                DisconnectReason::Replaced { .. } => {
                    (condition::STOLEN, "a newer connection of the identity took over")
                }
                DisconnectReason::DeviceDeleted | DisconnectReason::ModuleDeleted => {
                    (condition::NOT_FOUND, "the identity was deleted")
                }
                DisconnectReason::DeviceDisabled => (condition::UNAUTHORIZED, "the device was disabled"),
                _ => (condition::DETACH_FORCED, "the service asked for it"),
            };
            for place in member.links.into_values() {
                self.detach(hub, now, place, Some(error(condition, text)), &why);
            }
        }
    }

    /// What the hub knows this identity's part of the connection by.
    pub(super) fn member(&self, identity: Option<&Identity>) -> Option<&Member> {
        match &self.state {
            State::Open(open) => open.members.get(identity?),
            _ => None,
        }
    }

    pub(super) fn member_mut(&mut self, identity: &Identity) -> Option<&mut Member> {
        match &mut self.state {
            State::Open(open) => open.members.get_mut(identity),
            _ => None,
        }
    }
}
