//! One link: what it is for, its credit, and what is half received or waits to be sent on it.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::activity::AmqpLink;
use crate::amqp::Open;
use crate::amqp::address::Node;
use crate::amqp::events::Reader;

/// Where a link is: its session's channel and its handle, which are the same on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) channel: u16,
    pub(super) handle: u32,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) node: Node,
    /// What pairs the two links of a twin or of methods.
    pub(super) channel_id: String,
    pub(super) end: End,
}

/// The hub's end.
#[derive(Debug)]
pub(super) enum End {
    Receiver(Receiver),
    Sender(Sender),
}

/// The hub receives.
#[derive(Debug)]
pub(super) struct Receiver {
    /// How many messages the peer may still send.
    pub(super) credit: u32,
    pub(super) delivery_count: u32,
    /// To what the credit is filled up.
    pub(super) full_credit: u32,
    pub(super) partial: Option<Partial>,
}

/// A message of which not all has come.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) delivery_id: u32,
    pub(super) message_format: u32,
    pub(super) settled: bool,
    pub(super) payload: BytesMut,
}

/// The hub sends.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) credit: u32,
    pub(super) delivery_count: u32,
    /// The peer wants what there is, and then its credit back.
    pub(super) drain: bool,
    /// Whether deliveries go out settled.
    pub(super) settled: bool,
    /// Made, and not sent for want of credit.
    pub(super) queue: VecDeque<Bytes>,
    /// The address that a reply may ask for.
    pub(super) reply_to: Option<String>,
    /// Of a link that reads the event stream.
    pub(super) reader: Option<Reader>,
}

impl Link {
    pub(super) fn sender(&self) -> Option<&Sender> {
        match &self.end {
            End::Sender(sender) => Some(sender),
            End::Receiver(_) => None,
        }
    }

    pub(super) fn sender_mut(&mut self) -> Option<&mut Sender> {
        match &mut self.end {
            End::Sender(sender) => Some(sender),
            End::Receiver(_) => None,
        }
    }
}

impl AmqpLink {
    /// Whether a token, certificate or login must allow it: all but those that are there to get one.
    pub(super) fn needs_a_right(self) -> bool {
        !matches!(self, Self::TokenRequests | Self::TokenReplies)
    }
}

impl Open {
    pub(super) fn links(&self) -> impl Iterator<Item = (Place, &Link)> {
        self.sessions.iter().flat_map(|(channel, session)| {
            session.links.iter().map(|(handle, link)| (Place { channel: *channel, handle: *handle }, link))
        })
    }

    pub(super) fn link(&self, place: Place) -> Option<&Link> {
        self.sessions.get(&place.channel)?.links.get(&place.handle)
    }

    pub(super) fn link_mut(&mut self, place: Place) -> Option<&mut Link> {
        self.sessions.get_mut(&place.channel)?.links.get_mut(&place.handle)
    }

    /// The link of this kind that belongs to the same identity, if it does to one.
    pub(super) fn find(&self, node: &Node) -> Option<(Place, &Link)> {
        let place = match &node.identity {
            Some(identity) => *self.members.get(identity)?.links.get(&node.kind)?,
            None => self.services().find(|(_, link)| link.node.kind == node.kind)?.0,
        };
        self.link(place).map(|link| (place, link))
    }

    /// The links that belong to no identity.
    pub(super) fn services(&self) -> impl Iterator<Item = (Place, &Link)> {
        self.services.iter().filter_map(|place| Some((*place, self.link(*place)?)))
    }

    /// A new link is there.
    pub(super) fn insert(&mut self, place: Place, link: Link) {
        match link.node.identity.as_ref().and_then(|identity| self.members.get_mut(identity)) {
            Some(member) => drop(member.links.insert(link.node.kind, place)),
            None => drop(self.services.insert(place)),
        }
        if let Some(session) = self.sessions.get_mut(&place.channel) {
            session.links.insert(place.handle, link);
        }
    }

    /// A link is gone.
    pub(super) fn remove(&mut self, place: Place) -> Option<Link> {
        let link = self.sessions.get_mut(&place.channel)?.links.remove(&place.handle)?;
        self.services.remove(&place);
        self.restless.remove(&place);
        if let Some(member) = link.node.identity.as_ref().and_then(|identity| self.members.get_mut(identity))
            && member.links.get(&link.node.kind) == Some(&place)
        {
            member.links.remove(&link.node.kind);
        }
        Some(link)
    }

    /// All links of a session may have something to send.
    pub(super) fn stir_session(&mut self, channel: u16) {
        let Some(session) = self.sessions.get(&channel) else { return };
        let senders = session.links.iter().filter(|(_, link)| link.sender().is_some());
        self.restless.extend(senders.map(|(handle, _)| Place { channel, handle: *handle }));
    }
}
