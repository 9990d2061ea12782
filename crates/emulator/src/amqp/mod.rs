//! The AMQP head: one connection's state machine over the hub's state (docs/hub-over-amqp.md). Its driver works through [`crate::head::Head`].
//!
//! Performatives and sections are `fe2o3-amqp-types`, their encoding is `serde_amqp`; framing, connection, sessions and links are here.

mod address;
mod attach;
mod c2d;
mod cbs;
mod condition;
mod connection;
mod detach;
mod events;
mod feedback;
mod frame;
mod grants;
mod link;
mod management;
mod members;
mod message;
mod method;
mod sasl;
mod scan;
mod send;
mod service;
mod session;
mod telemetry;
mod transfer;
mod trouble;
mod twin;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::activity::{Activity, ConnectionId, DisconnectReason};
use crate::arrival::Arrival;
use crate::auth::Peer;
use crate::clock::Now;
use crate::faults::Fault;
use crate::head::Close;
use crate::hub::registry::Identity;
use crate::hub::{HubState, NOBODY};
use crate::outgoing::Outgoing;

use frame::Decoder;
use grants::Grants;
use link::Place;
use members::Member;
use sasl::Login;
use session::Session;
use trouble::Scheduled;

/// One AMQP connection.
#[derive(Debug)]
pub(crate) struct Head {
    id: ConnectionId,
    peer: Peer,
    decoder: Decoder,
    state: State,
    outgoing: Outgoing,
}

#[derive(Debug)]
enum State {
    /// Not open yet; it must be by this time.
    Opening { deadline: Duration, stage: Stage },
    /// Both sides have said Open.
    Open(Box<Open>),
    /// The end: the driver writes what is left and closes.
    Closed(Close),
}

/// What has to come next.
#[derive(Debug)]
enum Stage {
    /// A protocol header; behind SASL it can only be AMQP's.
    Header(Option<Login>),
    SaslInit,
    Open(Login),
}

/// What an open connection needs beyond what the hub's state has.
#[derive(Debug)]
struct Open {
    grants: Grants,
    /// By their channel, which is the peer's too.
    sessions: BTreeMap<u16, Session>,
    /// The identities whose links are on this connection.
    members: BTreeMap<Identity, Member>,
    /// Links that belong to none.
    services: BTreeSet<Place>,
    /// Identities for which the hub may have something new.
    stirred: BTreeSet<Identity>,
    /// Links on which more may be sent than before.
    restless: BTreeSet<Place>,
    /// The largest frame that the peer takes.
    max_frame: u32,
    /// The idle time-out that the peer named, for the record.
    named_idle: Option<Duration>,
    /// The longest silence of the hub that the peer bears.
    heartbeat: Duration,
    last_heard: Duration,
    last_sent: Duration,
    /// The longest silence of the peer that the hub bears.
    idle_time_out: Duration,
    /// What messages have asked for, and what faults hold back.
    scheduled: Vec<Scheduled>,
}

impl Head {
    /// The head of a connection that speaks AMQP from here on, with this other end.
    pub(crate) fn new(arrival: &Arrival, peer: Peer) -> Self {
        let state = if arrival.is_over() {
            State::Closed(Close::Bare)
        } else {
            State::Opening { deadline: arrival.deadline(), stage: Stage::Header(None) }
        };
        Self { id: arrival.id(), peer, decoder: Decoder::default(), state, outgoing: Outgoing::default() }
    }
}

impl crate::head::Head for Head {
    fn id(&self) -> ConnectionId {
        self.id
    }

    fn receive(&mut self, hub: &mut HubState, now: Now, bytes: &[u8]) {
        // First what is due and what the service has done: bytes that come after a deadline do not lift it.
        self.poll(hub, now);
        if self.closing().is_some() || self.cut_off() {
            return;
        }
        self.decoder.push(bytes);
        if let State::Open(open) = &mut self.state {
            open.last_heard = now.elapsed;
        }
        while self.closing().is_none() && !self.cut_off() {
            match self.decoder.next() {
                Ok(Some(incoming)) => {
                    self.handle(hub, now, incoming);
                    // A message may have asked for a fault that comes before the next frame.
                    self.suffer(hub, now);
                }
                Ok(None) => break,
                Err(why) => self.fail(hub, now, condition::FRAMING_ERROR, why),
            }
        }
        self.poll(hub, now);
    }

    fn poll(&mut self, hub: &mut HubState, now: Now) {
        match &self.state {
            State::Opening { deadline, .. } if *deadline <= now.elapsed => {
                return self.close(hub, now, DisconnectReason::ConnectTimeout);
            }
            State::Open(open) if open.silence_ends() <= now.elapsed => {
                let text = format!("nothing was heard for {} ms", open.idle_time_out.as_millis());
                self.say_close(Some(condition::error(condition::CONNECTION_FORCED, text)));
                return self.close(hub, now, DisconnectReason::KeepAliveExpired);
            }
            _ => {}
        }
        if let State::Open(open) = &mut self.state {
            open.stirred.append(&mut hub.take_stirred(self.id));
        }
        self.notice_ends(hub, now);
        self.notice_claims(hub, now);
        self.expire_grants(hub, now);
        self.suffer(hub, now);
        self.outgoing.release(now);
        self.pump(hub, now);
        self.beat(now);
    }

    fn peer_closed(&mut self, hub: &mut HubState, now: Now) {
        self.close(hub, now, DisconnectReason::ConnectionLost);
    }

    fn misused(&mut self, hub: &mut HubState, now: Now, how: String) {
        self.fail(hub, now, condition::FRAMING_ERROR, how);
    }

    fn overwhelmed(&mut self, hub: &mut HubState, now: Now, pending: usize) {
        self.close(hub, now, DisconnectReason::DeviceDoesNotRead { pending });
    }

    fn outgoing(&self) -> &Outgoing {
        &self.outgoing
    }

    fn outgoing_mut(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    fn closing(&self) -> Option<Close> {
        match self.state {
            State::Closed(close) => Some(close),
            _ => None,
        }
    }

    fn timeout(&self, now: Now) -> Option<Duration> {
        match &self.state {
            State::Opening { deadline, .. } => Some(now.until_elapsed(*deadline)),
            State::Open(open) => {
                let silence = Some(now.until_elapsed(open.silence_ends()));
                let beat = Some(now.until_elapsed(open.beat_due()));
                let token = open.grants.next_expiry().map(|date| now.until_wall(date));
                let frame = self.outgoing.due().map(|due| now.until_elapsed(due));
                let fault = open.scheduled.iter().map(|scheduled| now.until_elapsed(scheduled.due)).min();
                [silence, beat, token, frame, fault].into_iter().flatten().min()
            }
            State::Closed(_) => None,
        }
    }
}

impl Head {
    /// Writes a frame. Nothing is written behind the end.
    fn push(&mut self, now: Now, frame: Vec<u8>) {
        if let State::Open(open) = &mut self.state {
            open.last_sent = now.elapsed;
        }
        self.outgoing.push(frame);
    }

    /// A sign of life, if the peer would miss one.
    fn beat(&mut self, now: Now) {
        if matches!(&self.state, State::Open(open) if open.beat_due() <= now.elapsed) {
            self.push(now, frame::empty());
        }
    }

    /// The end of the connection and of everything on it; nothing is said any more.
    fn close(&mut self, hub: &mut HubState, now: Now, why: DisconnectReason) {
        let close = match why {
            DisconnectReason::Fault(Fault::KillTcp) => Close::Reset,
            DisconnectReason::Fault(Fault::Drop { .. }) | DisconnectReason::ConnectionLost => Close::Bare,
            _ => Close::Orderly,
        };
        match std::mem::replace(&mut self.state, State::Closed(close)) {
            State::Closed(earlier) => {
                self.state = State::Closed(earlier);
                return;
            }
            State::Open(open) => {
                for member in open.members.values() {
                    hub.leave_seat(member.connection, why.clone(), now);
                }
                open.give_back_feedback(hub);
                hub.forget_listener(self.id);
                hub.take_stirred(self.id);
            }
            State::Opening { .. } => {}
        }
        tracing::debug!(connection = self.id.0, ?why, "AMQP connection ends");
        hub.note(&NOBODY, Activity::Disconnected { at: now.wall, connection: self.id, why });
    }
}

impl Open {
    fn silence_ends(&self) -> Duration {
        self.last_heard.saturating_add(self.idle_time_out)
    }

    fn beat_due(&self) -> Duration {
        self.last_sent.saturating_add(self.heartbeat)
    }
}
