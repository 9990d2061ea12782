//! Sessions: windows, delivery ids, and which performative goes to which link (docs/hub-over-amqp.md 1; E7-E9).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use fe2o3_amqp_types::definitions::{Error, Handle};
use fe2o3_amqp_types::performatives::{Begin, Disposition, End as EndPerformative, Flow, Performative};

use crate::activity::DisconnectReason;
use crate::amqp::c2d::Given;
use crate::amqp::condition::{self, error};
use crate::amqp::frame::{self, Layer};
use crate::amqp::link::{Link, Place};
use crate::amqp::send::Pending;
use crate::amqp::{Head, State};
use crate::clock::Now;
use crate::hub::HubState;
use crate::record::FeedbackRecord;

/// docs/hub-over-amqp.md 1.
const INCOMING_WINDOW: u32 = 5_000;
/// docs/hub-over-amqp.md 1.
pub(super) const HANDLE_MAX: u32 = 262_143;
/// docs/hub-over-amqp.md 1: the transfer id that the real hub begins with.
const FIRST_OUTGOING_ID: u32 = 1;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) links: BTreeMap<u32, Link>,
    /// Handles of links that the hub has detached; the peer has not answered yet.
    pub(super) detaching: BTreeSet<u32>,
    /// The hub has said End; the peer has not answered yet.
    ending: bool,
    next_incoming_id: u32,
    /// How many transfers the peer may still send.
    incoming_left: u32,
    pub(super) next_outgoing_id: u32,
    /// How many transfers the peer still takes.
    pub(super) outgoing_left: u32,
    pub(super) next_delivery_id: u32,
    /// What waits for the peer's window.
    pub(super) pending: VecDeque<Pending>,
    /// What the hub has sent and nobody has settled, by delivery id.
    pub(super) unsettled: BTreeMap<u32, Unsettled>,
}

/// A delivery of the hub that the peer may settle.
#[derive(Debug)]
pub(super) struct Unsettled {
    pub(super) handle: u32,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// Its outcome changes nothing.
    Nothing,
    /// A cloud-to-device message.
    C2d(Given),
    /// A batch of feedback.
    Feedback(Vec<FeedbackRecord>),
}

impl Head {
    pub(super) fn begin(&mut self, hub: &mut HubState, now: Now, channel: u16, begin: &Begin) {
        let State::Open(open) = &mut self.state else { return };
        if open.sessions.contains_key(&channel) {
            let text = format!("channel {channel} has a session already");
            return self.fail(hub, now, condition::NOT_ALLOWED, text);
        }
        let session = Session {
            links: BTreeMap::new(),
            detaching: BTreeSet::new(),
            ending: false,
            next_incoming_id: begin.next_outgoing_id,
            incoming_left: INCOMING_WINDOW,
            next_outgoing_id: FIRST_OUTGOING_ID,
            outgoing_left: begin.incoming_window,
            next_delivery_id: 0,
            pending: VecDeque::new(),
            unsettled: BTreeMap::new(),
        };
        open.sessions.insert(channel, session);
        let answer = Begin {
            remote_channel: Some(channel),
            next_outgoing_id: FIRST_OUTGOING_ID,
            incoming_window: INCOMING_WINDOW,
            outgoing_window: u32::MAX,
            handle_max: Handle(HANDLE_MAX),
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        self.say(now, channel, Performative::Begin(answer));
    }

    pub(super) fn perform_in_session(
        &mut self,
        hub: &mut HubState,
        now: Now,
        channel: u16,
        performative: Performative,
        payload: Bytes,
    ) {
        let State::Open(open) = &mut self.state else { return };
        let Some(session) = open.sessions.get_mut(&channel) else {
            return self.fail(hub, now, condition::NOT_ALLOWED, format!("channel {channel} has no session"));
        };
        if session.ending {
            if matches!(performative, Performative::End(_)) {
                open.sessions.remove(&channel);
            }
            return;
        }
        match performative {
            Performative::Attach(attach) => self.attach(hub, now, channel, attach),
            Performative::Flow(flow) => self.flow(hub, now, channel, &flow),
            Performative::Transfer(transfer) => {
                session.next_incoming_id = session.next_incoming_id.wrapping_add(1);
                let Some(left) = session.incoming_left.checked_sub(1) else {
                    let text = "a transfer beyond the session's window";
                    return self.end_session(hub, now, channel, Some(error(condition::WINDOW_VIOLATION, text)));
                };
                session.incoming_left = left;
                if left <= INCOMING_WINDOW / 2 {
                    session.incoming_left = INCOMING_WINDOW;
                    self.say_flow(now, channel, None);
                }
                self.transfer(hub, now, channel, &transfer, payload);
            }
            Performative::Disposition(disposition) => self.disposition(hub, now, channel, &disposition),
            Performative::Detach(detach) => self.peer_detaches(hub, now, channel, &detach),
            Performative::End(_) => {
                self.drop_links(hub, now, channel, &DisconnectReason::ByDevice);
                self.say(now, channel, Performative::End(EndPerformative { error: None }));
                if let State::Open(open) = &mut self.state {
                    open.sessions.remove(&channel);
                }
            }
            // They are handled before; a new performative of the crate would be a defect here.
            Performative::Open(_) | Performative::Begin(_) | Performative::Close(_) => {}
        }
    }

    /// The hub ends a session, with or without saying why.
    pub(super) fn end_session(&mut self, hub: &mut HubState, now: Now, channel: u16, error: Option<Error>) {
        let why = match &error {
            Some(error) => DisconnectReason::ProtocolViolation(error.to_string()),
            None => DisconnectReason::ByService,
        };
        self.end_session_because(hub, now, channel, error, &why);
    }

    /// The same, for a reason that is not in the error.
    pub(super) fn end_session_because(
        &mut self,
        hub: &mut HubState,
        now: Now,
        channel: u16,
        error: Option<Error>,
        why: &DisconnectReason,
    ) {
        self.drop_links(hub, now, channel, why);
        self.say(now, channel, Performative::End(EndPerformative { error }));
        if let State::Open(open) = &mut self.state
            && let Some(session) = open.sessions.get_mut(&channel)
        {
            session.ending = true;
        }
    }

    fn drop_links(&mut self, hub: &mut HubState, now: Now, channel: u16, why: &DisconnectReason) {
        let State::Open(open) = &mut self.state else { return };
        let handles: Vec<u32> =
            open.sessions.get(&channel).map(|session| session.links.keys().copied().collect()).unwrap_or_default();
        for handle in handles {
            self.drop_link(hub, now, Place { channel, handle }, why);
        }
    }

    fn flow(&mut self, hub: &mut HubState, now: Now, channel: u16, flow: &Flow) {
        let State::Open(open) = &mut self.state else { return };
        let Some(session) = open.sessions.get_mut(&channel) else { return };
        // What the peer had not seen when it said this counts against its window (AMQP 2.5.6).
        let unseen = session.next_outgoing_id.wrapping_sub(flow.next_incoming_id.unwrap_or(FIRST_OUTGOING_ID));
        session.outgoing_left = flow.incoming_window.saturating_sub(positive(unseen));
        open.stir_session(channel);
        let Some(session) = open.sessions.get_mut(&channel) else { return };
        let Some(Handle(handle)) = flow.handle else {
            if flow.echo {
                self.say_flow(now, channel, None);
            }
            return;
        };
        if session.detaching.contains(&handle) {
            return;
        }
        let Some(link) = session.links.get_mut(&handle) else {
            let text = format!("no link has the handle {handle}");
            return self.end_session(hub, now, channel, Some(error(condition::UNATTACHED_HANDLE, text)));
        };
        if let (Some(sender), Some(credit)) = (link.sender_mut(), flow.link_credit) {
            let behind = sender.delivery_count.wrapping_sub(flow.delivery_count.unwrap_or(0));
            sender.credit = credit.saturating_sub(positive(behind));
            sender.drain = flow.drain;
        }
        if flow.echo {
            self.say_flow(now, channel, Some(handle));
        }
    }

    /// Tells the peer where a session stands, and one of its links.
    pub(super) fn say_flow(&mut self, now: Now, channel: u16, handle: Option<u32>) {
        let State::Open(open) = &mut self.state else { return };
        let Some(session) = open.sessions.get(&channel) else { return };
        let end = handle.and_then(|handle| session.links.get(&handle)).map(|link| &link.end);
        let (delivery_count, link_credit, drain) = match end {
            Some(crate::amqp::link::End::Receiver(receiver)) => {
                (Some(receiver.delivery_count), Some(receiver.credit), false)
            }
            Some(crate::amqp::link::End::Sender(sender)) => {
                (Some(sender.delivery_count), Some(sender.credit), sender.drain)
            }
            None => (None, None, false),
        };
        let flow = Flow {
            next_incoming_id: Some(session.next_incoming_id),
            incoming_window: session.incoming_left,
            next_outgoing_id: session.next_outgoing_id,
            outgoing_window: u32::MAX,
            handle: handle.map(Handle),
            delivery_count,
            link_credit,
            available: None,
            drain,
            echo: false,
            properties: None,
        };
        self.say(now, channel, Performative::Flow(flow));
    }

    fn disposition(&mut self, hub: &mut HubState, now: Now, channel: u16, disposition: &Disposition) {
        use fe2o3_amqp_types::definitions::Role;
        // As a sender the peer can only settle what the hub has settled before: nothing is left to do.
        if disposition.role == Role::Sender {
            return;
        }
        let State::Open(open) = &mut self.state else { return };
        let Some(session) = open.sessions.get_mut(&channel) else { return };
        let last = disposition.last.unwrap_or(disposition.first);
        // Only what is really unsettled is looked at, however wide the range is. Ids may wrap.
        let span = last.wrapping_sub(disposition.first);
        let ids: Vec<u32> =
            session.unsettled.keys().copied().filter(|id| id.wrapping_sub(disposition.first) <= span).collect();
        // There is room for more.
        open.stir_session(channel);
        for id in ids {
            self.settled_by_peer(hub, now, channel, id, disposition);
        }
    }

    /// Writes a performative without a payload.
    pub(super) fn say(&mut self, now: Now, channel: u16, performative: Performative) {
        self.push(now, frame::write(Layer::Amqp, channel, &performative, &[]));
    }
}

/// A difference of serial numbers (RFC 1982); one below zero is none.
fn positive(difference: u32) -> u32 {
    if difference > u32::MAX / 2 { 0 } else { difference }
}
