//! The MQTT head: one connection's state machine over the hub's state. Bytes in, bytes out, next deadline; no socket, no runtime, no clock.
//!
//! Its driver works through [`crate::head::Head`].

mod acknowledge;
pub(crate) mod bag;
pub(crate) mod codec;
mod connect;
mod deliver;
mod iothub;
mod method;
mod publish;
mod request;
mod subscribe;
#[cfg(test)]
mod tests;
pub(crate) mod topic;
mod trouble;
mod twin;
mod user_name;

use std::time::{Duration, SystemTime};

use crate::activity::{Activity, ConnectionId, DisconnectReason};
use crate::arrival::Arrival;
use crate::auth::Peer;
use crate::clock::Now;
use crate::faults::{DropPoint, Fault};
use crate::head::Close;
use crate::hub::registry::Identity;
use crate::hub::{HubState, NOBODY};
use crate::outgoing::Outgoing;

use acknowledge::Pubacks;
use codec::{Decoder, Incoming, Malformed};
use request::Unacknowledged;
use trouble::Scheduled;

/// One MQTT connection.
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
    /// Nothing has come yet; CONNECT must, by this time.
    AwaitingConnect { deadline: Duration },
    /// CONNECT was accepted.
    Open(Box<Open>),
    /// CONNECT has come from this identity and is never answered: a fault.
    Silent { identity: Identity },
    /// The end: the driver writes what is left and closes.
    Closed(Close),
}

/// What an open connection needs beyond what the hub's state has.
#[derive(Debug)]
struct Open {
    identity: Identity,
    /// The longest silence that is allowed.
    keep_alive: Duration,
    last_heard: Duration,
    /// When the token and the hub's grace are over.
    expires: Option<SystemTime>,
    pubacks: Pubacks,
    unacknowledged: Unacknowledged,
    /// Desired patches that a fault holds back for the next one.
    later_patches: Vec<Vec<u8>>,
    /// What messages have asked for.
    scheduled: Vec<Scheduled>,
}

impl Head {
    /// The head of a connection that speaks MQTT from here on, with this other end.
    pub(crate) fn new(arrival: &Arrival, peer: Peer) -> Self {
        let state = if arrival.is_over() {
            State::Closed(Close::Bare)
        } else {
            State::AwaitingConnect { deadline: arrival.deadline() }
        };
        Self { id: arrival.id(), peer, decoder: Decoder::new(), state, outgoing: Outgoing::default() }
    }
}

impl crate::head::Head for Head {
    fn id(&self) -> ConnectionId {
        self.id
    }

    fn receive(&mut self, hub: &mut HubState, now: Now, mut bytes: &[u8]) {
        // First what is due and what the service has done: bytes that come after a deadline do not lift it.
        self.poll(hub, now);
        while !bytes.is_empty() && self.closing().is_none() && !self.cut_off() {
            match self.decoder.next(&mut bytes) {
                Ok(Some(packet)) => {
                    self.handle(hub, now, packet);
                    // A message may have asked for a fault that comes before the next packet.
                    self.suffer(hub, now);
                }
                Ok(None) => {}
                Err(Malformed::TooLarge) => {
                    let limit = codec::MAX_PACKET as usize;
                    self.close(hub, now, DisconnectReason::MessageTooLarge { size: limit + 1, limit });
                }
                Err(Malformed::Because(why)) => self.violate(hub, now, format!("malformed packet: {why}")),
            }
        }
        self.poll(hub, now);
    }

    fn poll(&mut self, hub: &mut HubState, now: Now) {
        self.notice_end(hub);
        let overdue = match &self.state {
            State::AwaitingConnect { deadline } if *deadline <= now.elapsed => Some(DisconnectReason::ConnectTimeout),
            State::Open(open) if open.silence_ends() <= now.elapsed => Some(DisconnectReason::KeepAliveExpired),
            State::Open(open) if open.expires.is_some_and(|date| date <= now.wall) => {
                Some(DisconnectReason::TokenExpired)
            }
            _ => None,
        };
        if let Some(why) = overdue {
            return self.close(hub, now, why);
        }
        self.suffer(hub, now);
        self.outgoing.release(now);
        self.send_due_pubacks(hub, now);
        self.send_letters(hub, now);
        self.deliver(hub, now);
    }

    fn peer_closed(&mut self, hub: &mut HubState, now: Now) {
        self.notice_end(hub);
        if self.closing().is_none() {
            self.close(hub, now, DisconnectReason::ConnectionLost);
        }
    }

    fn misused(&mut self, hub: &mut HubState, now: Now, how: String) {
        self.notice_end(hub);
        if self.closing().is_none() {
            self.violate(hub, now, how);
        }
    }

    fn overwhelmed(&mut self, hub: &mut HubState, now: Now, pending: usize) {
        self.notice_end(hub);
        if self.closing().is_none() {
            self.close(hub, now, DisconnectReason::DeviceDoesNotRead { pending });
        }
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
            State::AwaitingConnect { deadline } => Some(now.until_elapsed(*deadline)),
            State::Open(open) => {
                let silence = Some(now.until_elapsed(open.silence_ends()));
                let token = open.expires.map(|date| now.until_wall(date));
                let puback = open.pubacks.due().map(|due| now.until_elapsed(due));
                let packet = self.outgoing.due().map(|due| now.until_elapsed(due));
                let fault = open.scheduled.iter().map(|scheduled| now.until_elapsed(scheduled.due)).min();
                [silence, token, puback, packet, fault].into_iter().flatten().min()
            }
            State::Silent { .. } | State::Closed(_) => None,
        }
    }
}

impl Head {
    fn handle(&mut self, hub: &mut HubState, now: Now, packet: Incoming) {
        if let State::Open(open) = &mut self.state {
            open.last_heard = now.elapsed;
        }
        match (&self.state, packet) {
            (State::Closed(_) | State::Silent { .. }, _) => {}
            (State::AwaitingConnect { .. }, Incoming::Connect(connect)) => self.connect(hub, now, *connect),
            (State::AwaitingConnect { .. }, Incoming::ConnectOtherLevel(level)) => self.refuse_level(hub, now, level),
            (State::AwaitingConnect { .. }, _) => self.violate(hub, now, "a packet before CONNECT".to_owned()),
            (State::Open(_), Incoming::Connect(_) | Incoming::ConnectOtherLevel(_)) => {
                self.violate(hub, now, "a second CONNECT".to_owned());
            }
            (State::Open(_), Incoming::Publish(publish)) => self.publish(hub, now, publish),
            (State::Open(_), Incoming::Puback { packet_id }) => self.puback(hub, now, packet_id),
            (State::Open(_), Incoming::Subscribe { packet_id, filters }) => {
                self.subscribe(hub, now, packet_id, &filters)
            }
            (State::Open(_), Incoming::Unsubscribe { packet_id, filters }) => {
                self.unsubscribe(hub, now, packet_id, &filters)
            }
            (State::Open(_), Incoming::Pingreq) => self.ping(hub, now),
            (State::Open(_), Incoming::Disconnect) => self.close(hub, now, DisconnectReason::ByDevice),
        }
    }

    fn ping(&mut self, hub: &mut HubState, now: Now) {
        self.note(hub, Activity::Ping { at: now.wall, connection: self.id });
        let fault = self.take_fault(hub, now, |fault| {
            matches!(fault, Fault::WithholdPingresp | Fault::DelayPingresp { .. } | Fault::ReorderPingresp)
        });
        self.send_troubled(hub, now, codec::pingresp(), fault);
    }

    /// Writes a packet, or the first half of it if that is the fault. False: the connection is closed.
    fn send(&mut self, hub: &mut HubState, now: Now, packet: Vec<u8>) -> bool {
        if let Some(why) = hub.take_drop(self.identity(), self.id, now, DropPoint::MidPacket) {
            self.outgoing.push_part(packet[..packet.len() / 2].to_vec());
            self.close(hub, now, why);
            return false;
        }
        self.outgoing.push(packet);
        true
    }

    fn violate(&mut self, hub: &mut HubState, now: Now, how: String) {
        self.close(hub, now, DisconnectReason::ProtocolViolation(how));
    }

    fn close(&mut self, hub: &mut HubState, now: Now, why: DisconnectReason) {
        let close = match why {
            DisconnectReason::ByDevice | DisconnectReason::Fault(Fault::OrderlyClose) => Close::Orderly,
            DisconnectReason::Fault(Fault::KillTcp) => Close::Reset,
            _ => Close::Bare,
        };
        tracing::debug!(connection = self.id.0, identity = %self.identity(), ?why, "connection ends");
        match std::mem::replace(&mut self.state, State::Closed(close)) {
            State::Open(_) => hub.end(self.id, why, now),
            State::AwaitingConnect { .. } => {
                hub.note(&NOBODY, Activity::Disconnected { at: now.wall, connection: self.id, why });
            }
            State::Silent { identity } => {
                hub.note(&identity, Activity::Disconnected { at: now.wall, connection: self.id, why })
            }
            State::Closed(earlier) => self.state = State::Closed(earlier),
        }
    }

    /// The hub may have ended the connection from elsewhere: by the service, or for a newer connection.
    fn notice_end(&mut self, hub: &HubState) {
        if matches!(self.state, State::Open(_)) && !hub.is_open(self.id) {
            self.state = State::Closed(Close::Bare);
        }
    }

    fn note(&self, hub: &mut HubState, activity: Activity) {
        hub.note(self.identity(), activity);
    }

    fn identity(&self) -> &Identity {
        match &self.state {
            State::Open(open) => &open.identity,
            State::Silent { identity } => identity,
            State::AwaitingConnect { .. } | State::Closed(_) => &NOBODY,
        }
    }
}

impl Open {
    fn silence_ends(&self) -> Duration {
        self.last_heard.saturating_add(self.keep_alive)
    }
}
