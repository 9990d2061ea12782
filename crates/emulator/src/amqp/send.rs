//! Transfers out: what waits for credit and window, in order, cut to the peer's frame size.

use std::collections::BTreeSet;

use bytes::Bytes;
use fe2o3_amqp_types::definitions::Handle;
use fe2o3_amqp_types::performatives::{Performative, Transfer};
use serde_amqp::primitives::Binary;

use crate::activity::{AmqpLink, DisconnectReason};
use crate::amqp::condition::{self, error};
use crate::amqp::frame::{self, Layer};
use crate::amqp::link::Place;
use crate::amqp::session::{Session, Unsettled, What};
use crate::amqp::{Head, State};
use crate::clock::Now;
use crate::faults::DropPoint;
use crate::guid;
use crate::hub::HubState;
use crate::hub::registry::Identity;

/// Replies that wait for credit on one link: more than a client can ask for with the credit that it has.
const MAX_QUEUE: usize = 4_000;
/// What may be out and unsettled in one session: then nothing new goes out.
const MAX_UNSETTLED: usize = 10_000;
/// A little more than the fields that grow from one transfer of a delivery to the next.
const MIN_ROOM: usize = 16;

/// A delivery that is not yet written, or not all of it.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) handle: u32,
    transfer: Transfer,
    payload: Bytes,
}

/// A message to be sent.
pub(super) struct Parcel {
    pub(super) tag: [u8; 16],
    pub(super) payload: Bytes,
    pub(super) what: What,
}

impl Parcel {
    /// A message whose tag says nothing.
    pub(super) fn new(payload: Bytes) -> Self {
        Self { tag: guid::dotnet_bytes(guid::random_bits()), payload, what: What::Nothing }
    }
}

impl Session {
    /// Whether a delivery can be begun now.
    fn has_room(&self) -> bool {
        self.pending.is_empty() && self.outgoing_left > 0 && self.unsettled.len() < MAX_UNSETTLED
    }

    /// Begins a delivery on a link with credit, and gives its id.
    fn begin_delivery(&mut self, handle: u32, settled: bool, parcel: Parcel) {
        let delivery_id = self.next_delivery_id;
        self.next_delivery_id = delivery_id.wrapping_add(1);
        if !settled {
            self.unsettled.insert(delivery_id, Unsettled { handle, what: parcel.what });
        }
        let transfer = Transfer {
            handle: Handle(handle),
            delivery_id: Some(delivery_id),
            delivery_tag: Some(Binary::from(parcel.tag.to_vec())),
            message_format: Some(0),
            settled: Some(settled),
            more: false,
            rcv_settle_mode: None,
            state: None,
            resume: false,
            aborted: false,
            batchable: false,
        };
        self.pending.push_back(Pending { handle, transfer, payload: parcel.payload });
    }

    /// The next frame of what is pending, as far as the peer's window lets it go.
    fn next_frame(&mut self, channel: u16, max_frame: usize) -> Option<Vec<u8>> {
        if self.outgoing_left == 0 {
            return None;
        }
        let Pending { transfer, payload, .. } = self.pending.front_mut()?;
        transfer.more = true;
        let room = max_frame.saturating_sub(frame::overhead(&Performative::Transfer(transfer.clone())));
        let part = payload.split_to(payload.len().min(room.max(MIN_ROOM)));
        transfer.more = !payload.is_empty();
        let frame = frame::write(Layer::Amqp, channel, &Performative::Transfer(transfer.clone()), &part);
        if payload.is_empty() {
            self.pending.pop_front();
        }
        self.outgoing_left -= 1;
        self.next_outgoing_id = self.next_outgoing_id.wrapping_add(1);
        Some(frame)
    }
}

impl Head {
    /// Sends what the hub has for this connection and what its links may take.
    pub(super) fn pump(&mut self, hub: &mut HubState, now: Now) {
        self.send_letters(hub, now);
        let State::Open(open) = &mut self.state else { return };
        let stirred = std::mem::take(&mut open.stirred);
        let mut places = std::mem::take(&mut open.restless);
        places.extend(stirred.iter().filter_map(|identity| open.members.get(identity)).flat_map(|m| m.links.values()));
        places.extend(&open.services);
        for place in &places {
            let State::Open(open) = &self.state else { return };
            let Some(kind) = open.link(*place).map(|link| link.node.kind) else { continue };
            while self.has_room(*place) && self.send_next(hub, now, *place, kind) {}
            self.end_drain(now, *place);
        }
        let channels: BTreeSet<u16> = places.iter().map(|place| place.channel).collect();
        channels.into_iter().for_each(|channel| self.flush(hub, now, channel));
    }

    fn has_room(&self, place: Place) -> bool {
        let State::Open(open) = &self.state else { return false };
        let credit = open.link(place).and_then(|link| link.sender()).map_or(0, |sender| sender.credit);
        credit > 0 && open.sessions.get(&place.channel).is_some_and(Session::has_room)
    }

    /// Sends one message on a link with credit. False: there is none.
    fn send_next(&mut self, hub: &mut HubState, now: Now, place: Place, kind: AmqpLink) -> bool {
        let State::Open(open) = &mut self.state else { return false };
        let Some(sender) = open.link_mut(place).and_then(|link| link.sender_mut()) else { return false };
        if let Some(payload) = sender.queue.pop_front() {
            self.deliver(hub, now, place, Parcel::new(payload));
            return true;
        }
        match kind {
            AmqpLink::CloudToDevice | AmqpLink::Inputs => self.send_c2d(hub, now, place),
            AmqpLink::Feedback => self.send_feedback(hub, now, place),
            AmqpLink::Events => self.send_event(hub, now, place),
            _ => false,
        }
    }

    /// Sends a message on a link that has credit and room.
    pub(super) fn deliver(&mut self, hub: &mut HubState, now: Now, place: Place, parcel: Parcel) {
        let State::Open(open) = &mut self.state else { return };
        let Some(session) = open.sessions.get_mut(&place.channel) else { return };
        let Some(sender) = session.links.get_mut(&place.handle).and_then(|link| link.sender_mut()) else { return };
        sender.credit = sender.credit.saturating_sub(1);
        sender.delivery_count = sender.delivery_count.wrapping_add(1);
        let settled = sender.settled;
        session.begin_delivery(place.handle, settled, parcel);
        self.flush(hub, now, place.channel);
    }

    /// Sends a reply now, or when there is credit and its turn.
    pub(super) fn reply_on(&mut self, hub: &mut HubState, now: Now, place: Place, payload: Bytes) {
        let State::Open(open) = &mut self.state else { return };
        let Some(sender) = open.link_mut(place).and_then(|link| link.sender_mut()) else { return };
        if sender.queue.len() >= MAX_QUEUE {
            let text = "too many replies wait for credit";
            let why = DisconnectReason::ProtocolViolation(text.to_owned());
            return self.detach(hub, now, place, Some(error(condition::RESOURCE_LIMIT, text)), &why);
        }
        sender.queue.push_back(payload);
        while self.has_room(place) && self.has_queued(place) {
            self.send_next(hub, now, place, AmqpLink::TokenReplies);
        }
    }

    fn has_queued(&self, place: Place) -> bool {
        let State::Open(open) = &self.state else { return false };
        open.link(place).and_then(|link| link.sender()).is_some_and(|sender| !sender.queue.is_empty())
    }

    /// A peer that drains gets its credit back once there is nothing more for it.
    fn end_drain(&mut self, now: Now, place: Place) {
        if !self.has_room(place) {
            return;
        }
        let State::Open(open) = &mut self.state else { return };
        let Some(sender) = open.link_mut(place).and_then(|link| link.sender_mut()) else { return };
        if sender.drain && sender.credit > 0 {
            sender.delivery_count = sender.delivery_count.wrapping_add(sender.credit);
            sender.credit = 0;
            self.say_flow(now, place.channel, Some(place.handle));
        }
    }

    fn flush(&mut self, hub: &mut HubState, now: Now, channel: u16) {
        loop {
            let State::Open(open) = &mut self.state else { return };
            let max_frame = open.max_frame.min(frame::MAX_FRAME) as usize;
            let Some(session) = open.sessions.get_mut(&channel) else { return };
            let handle = session.pending.front().map(|pending| pending.handle);
            let Some(frame) = session.next_frame(channel, max_frame) else { return };
            let owner = handle.and_then(|handle| session.links.get(&handle)?.node.identity.clone());
            if !self.push_or_break_off(hub, now, owner.as_ref(), frame) {
                return;
            }
        }
    }

    /// Writes a frame on a link of this identity, unless a fault breaks the connection off in the midst of it. False: it does.
    pub(super) fn push_or_break_off(
        &mut self,
        hub: &mut HubState,
        now: Now,
        owner: Option<&Identity>,
        frame: Vec<u8>,
    ) -> bool {
        match owner.and_then(|owner| hub.take_drop(owner, self.id, now, DropPoint::MidPacket)) {
            None => self.push(now, frame),
            Some(why) => {
                self.outgoing.push_part(frame[..frame.len() / 2].to_vec());
                self.close(hub, now, why);
                return false;
            }
        }
        true
    }
}
