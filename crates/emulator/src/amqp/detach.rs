//! Links end: by the hub, by the peer, or with what they are in (docs/hub-over-amqp.md 3; E9, E16).

use fe2o3_amqp_types::definitions::{Error, Handle};
use fe2o3_amqp_types::performatives::{Detach, Performative};

use crate::activity::{Activity, AmqpLink, DisconnectReason};
use crate::amqp::attach::condition_of;
use crate::amqp::condition::{self, error};
use crate::amqp::link::{Link, Place};
use crate::amqp::session::{Unsettled, What};
use crate::amqp::{Head, State};
use crate::clock::Now;
use crate::hub::c2d::Settlement;
use crate::hub::session::Feature;
use crate::hub::{HubState, NOBODY};

impl Head {
    pub(super) fn say_detach(&mut self, now: Now, place: Place, error: Option<Error>) {
        let detach = Detach { handle: Handle(place.handle), closed: true, error };
        self.say(now, place.channel, Performative::Detach(detach));
        if let State::Open(open) = &mut self.state
            && let Some(session) = open.sessions.get_mut(&place.channel)
        {
            session.detaching.insert(place.handle);
        }
    }

    /// The hub detaches a link, with or without saying why on the wire.
    pub(super) fn detach(
        &mut self,
        hub: &mut HubState,
        now: Now,
        place: Place,
        error: Option<Error>,
        why: &DisconnectReason,
    ) {
        self.note_detached(hub, now, place, error.as_ref(), false);
        self.drop_link(hub, now, place, why);
        self.say_detach(now, place, error);
    }

    pub(super) fn peer_detaches(&mut self, hub: &mut HubState, now: Now, channel: u16, detach: &Detach) {
        let Handle(handle) = detach.handle;
        let place = Place { channel, handle };
        let State::Open(open) = &mut self.state else { return };
        let Some(session) = open.sessions.get_mut(&channel) else { return };
        if session.detaching.remove(&handle) {
            return;
        }
        if !session.links.contains_key(&handle) {
            let text = format!("no link has the handle {handle}");
            return self.end_session(hub, now, channel, Some(error(condition::UNATTACHED_HANDLE, text)));
        }
        self.note_detached(hub, now, place, detach.error.as_ref(), true);
        self.drop_link(hub, now, place, &DisconnectReason::ByDevice);
        let answer = Detach { handle: Handle(handle), closed: detach.closed, error: None };
        self.say(now, channel, Performative::Detach(answer));
    }

    fn note_detached(&self, hub: &mut HubState, now: Now, place: Place, error: Option<&Error>, by_client: bool) {
        let State::Open(open) = &self.state else { return };
        let Some(link) = open.link(place) else { return };
        let identity = link.node.identity.as_ref();
        let connection = self.member(identity).map_or(self.id, |member| member.connection);
        let activity = Activity::AmqpDetached {
            at: now.wall,
            connection,
            link: link.node.kind,
            name: link.name.clone(),
            condition: error.map(condition_of),
            by_client,
        };
        hub.note(identity.unwrap_or(&NOBODY), activity);
    }

    /// Forgets a link, and gives back what it holds.
    pub(super) fn drop_link(&mut self, hub: &mut HubState, now: Now, place: Place, why: &DisconnectReason) {
        let State::Open(open) = &mut self.state else { return };
        let Some(link) = open.remove(place) else { return };
        let Some(session) = open.sessions.get_mut(&place.channel) else { return };
        session.pending.retain(|pending| pending.handle != place.handle);
        let theirs: Vec<u32> = session
            .unsettled
            .iter()
            .filter(|(_, unsettled)| unsettled.handle == place.handle)
            .map(|(id, _)| *id)
            .collect();
        let given: Vec<Unsettled> = theirs.iter().filter_map(|id| session.unsettled.remove(id)).collect();
        for Unsettled { what, .. } in given {
            match what {
                What::Nothing => {}
                What::Feedback(records) => hub.give_back_feedback(records),
                What::C2d(given) => {
                    if let Some(member) = self.member(link.node.identity.as_ref()) {
                        given.settle(hub, member.connection, Settlement::Abandon, now);
                    }
                }
            }
        }
        self.forget_replies(place);
        self.unsubscribe(hub, &link);
        if let Some(identity) = &link.node.identity {
            self.leave_if_alone(hub, now, identity, why);
        }
    }

    fn unsubscribe(&mut self, hub: &mut HubState, link: &Link) {
        let Some(member) = self.member(link.node.identity.as_ref()) else {
            if let Some(reader) = link.sender().and_then(|sender| sender.reader.as_ref()) {
                hub.give_up_claim(reader.claim);
            }
            return;
        };
        let features: &[Feature] = match link.node.kind {
            AmqpLink::CloudToDevice => &[Feature::CloudToDevice],
            AmqpLink::Inputs => &[Feature::Inputs],
            AmqpLink::TwinReplies => &[Feature::TwinResponses, Feature::DesiredPatches],
            AmqpLink::MethodRequests | AmqpLink::MethodResponses => &[Feature::Methods],
            _ => &[],
        };
        for feature in features {
            hub.unsubscribe_link(member.connection, *feature);
        }
    }
}
