//! Protocol headers, Open and Close, and what is wrong with a connection as a whole (docs/hub-over-amqp.md 1; E1-E9).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fe2o3_amqp_types::definitions::Error;
use fe2o3_amqp_types::performatives::{self, ChannelMax, MaxFrameSize, Performative};
use fe2o3_amqp_types::sasl::SaslInit;

use crate::activity::{Activity, DisconnectReason};
use crate::amqp::condition::{self, error};
use crate::amqp::frame::{self, Frame, Incoming, Layer, MAX_FRAME};
use crate::amqp::grants::Grants;
use crate::amqp::sasl::Login;
use crate::amqp::{Head, Open, Stage, State};
use crate::clock::Now;
use crate::hub::{HubState, NOBODY};

/// The highest channel (docs/hub-over-amqp.md 1).
const CHANNEL_MAX: u16 = 8191;
/// A peer that cannot bear a shorter silence is refused (docs/hub-over-amqp.md 1).
const MIN_IDLE: u32 = 5_000;
/// What a peer bears that does not say (docs/hub-over-amqp.md 1).
const DEFAULT_IDLE: u32 = 120_000;
/// The least that every peer must take (AMQP 2.4.1).
const MIN_FRAME: u32 = 512;

impl Head {
    pub(super) fn handle(&mut self, hub: &mut HubState, now: Now, incoming: Incoming) {
        match incoming {
            Incoming::Header(layer) => self.header(hub, now, layer),
            Incoming::Frame(frame) => self.frame(hub, now, &frame),
        }
    }

    fn header(&mut self, hub: &mut HubState, now: Now, layer: Option<Layer>) {
        let State::Opening { stage, .. } = &mut self.state else { return };
        let Stage::Header(login) = stage else { return };
        match (layer, login.take()) {
            (Some(Layer::Sasl), None) => {
                *stage = Stage::SaslInit;
                self.push(now, Layer::Sasl.header().to_vec());
                self.offer_mechanisms(now);
            }
            (Some(Layer::Amqp), login) => {
                *stage = Stage::Open(login.unwrap_or_default());
                self.push(now, Layer::Amqp.header().to_vec());
            }
            _ => {
                // The answer to a protocol that is not spoken is the one that is (AMQP 2.2).
                self.push(now, Layer::Amqp.header().to_vec());
                let why = "its protocol header is neither AMQP 1.0 nor SASL".to_owned();
                self.close(hub, now, DisconnectReason::ProtocolViolation(why));
            }
        }
    }

    fn frame(&mut self, hub: &mut HubState, now: Now, frame: &Frame) {
        let expected = match &self.state {
            State::Opening { stage: Stage::SaslInit, .. } => Layer::Sasl,
            _ => Layer::Amqp,
        };
        if frame.layer != expected {
            return self.fail(hub, now, condition::FRAMING_ERROR, "a frame of another layer".to_owned());
        }
        if frame.layer == Layer::Sasl {
            return match frame::read::<SaslInit>(&frame.body) {
                Ok((init, _)) => self.sasl_init(hub, now, &init),
                Err(why) => self.close(hub, now, DisconnectReason::ProtocolViolation(format!("SASL: {why}"))),
            };
        }
        if frame.body.is_empty() {
            return self.note_beat(hub, now);
        }
        match frame::read::<Performative>(&frame.body) {
            Ok((performative, payload)) => self.perform(hub, now, frame.channel, performative, payload),
            Err(why) => self.fail(hub, now, condition::DECODE_ERROR, why),
        }
    }

    /// A sign of life of the peer, which is one of every identity on the connection.
    fn note_beat(&self, hub: &mut HubState, now: Now) {
        let State::Open(open) = &self.state else { return };
        for (identity, member) in &open.members {
            hub.note(identity, Activity::Ping { at: now.wall, connection: member.connection });
        }
    }

    pub(super) fn open(&mut self, hub: &mut HubState, now: Now, open: performatives::Open) {
        let State::Opening { stage: Stage::Open(login), .. } = &mut self.state else {
            return self.fail(hub, now, condition::NOT_ALLOWED, "a second Open".to_owned());
        };
        let login = std::mem::take(login);
        let sasl = login.mechanism();
        let idle_time_out = open.idle_time_out.map(|millis| Duration::from_millis(millis.into()));
        let idle = open.idle_time_out.filter(|idle| *idle > 0);
        self.say_open(hub, now);
        if idle.is_some_and(|idle| idle < MIN_IDLE) {
            let text = format!("an idle time-out below {MIN_IDLE} ms is not served");
            return self.refuse_open(hub, now, condition::NOT_ALLOWED, text);
        }
        if open.max_frame_size.0 < MIN_FRAME {
            return self.refuse_open(hub, now, condition::INVALID_FIELD, "a max-frame-size below 512".to_owned());
        }
        tracing::debug!(connection = self.id.0, container = open.container_id, "AMQP connection opens");
        hub.note(
            &NOBODY,
            Activity::AmqpOpened {
                at: now.wall,
                connection: self.id,
                container_id: open.container_id,
                hostname: open.hostname,
                sasl: sasl.map(str::to_owned),
                idle_time_out,
                tls_version: self.peer.tls_version,
                peer: self.peer.address,
                web_socket: self.peer.web_socket.clone(),
            },
        );
        let idle = Duration::from_millis(idle.unwrap_or(DEFAULT_IDLE).into());
        self.state = State::Open(Box::new(Open {
            grants: Grants::new(login, &self.peer),
            sessions: BTreeMap::new(),
            members: BTreeMap::new(),
            services: BTreeSet::new(),
            stirred: BTreeSet::new(),
            restless: BTreeSet::new(),
            max_frame: open.max_frame_size.0,
            named_idle: idle_time_out,
            // As the real hub: at seven eighths of the peer's time-out.
            heartbeat: idle / 8 * 7,
            last_heard: now.elapsed,
            last_sent: now.elapsed,
            scheduled: Vec::new(),
            idle_time_out: hub.config.amqp_idle_time_out,
        }));
    }

    /// The hub has said Open, and does not take the peer's.
    fn refuse_open(&mut self, hub: &mut HubState, now: Now, condition: &str, why: String) {
        self.say_close(Some(error(condition, why.clone())));
        self.close(hub, now, DisconnectReason::ProtocolViolation(format!("{condition}: {why}")));
    }

    fn say_open(&mut self, hub: &HubState, now: Now) {
        let millis = u32::try_from(hub.config.amqp_idle_time_out.as_millis()).unwrap_or(u32::MAX);
        let open = performatives::Open {
            container_id: format!("DeviceGateway_{:032x}", fastrand::u128(..)),
            hostname: Some("localhost".to_owned()),
            max_frame_size: MaxFrameSize(MAX_FRAME),
            channel_max: ChannelMax(CHANNEL_MAX),
            idle_time_out: Some(millis),
            outgoing_locales: None,
            incoming_locales: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        self.push(now, frame::write(Layer::Amqp, 0, &Performative::Open(open), &[]));
    }

    /// The peer says Close: it is answered, and that is the end.
    pub(super) fn peer_says_close(&mut self, hub: &mut HubState, now: Now, close: &performatives::Close) {
        self.say_close(None);
        let why = match &close.error {
            Some(error) => DisconnectReason::ProtocolViolation(format!("the client closed with an error: {error}")),
            None => DisconnectReason::ByDevice,
        };
        self.close(hub, now, why);
    }

    pub(super) fn say_close(&mut self, error: Option<Error>) {
        let close = Performative::Close(performatives::Close { error });
        self.outgoing.push(frame::write(Layer::Amqp, 0, &close, &[]));
    }

    /// What the peer did ends the connection.
    pub(super) fn fail(&mut self, hub: &mut HubState, now: Now, condition: &str, why: String) {
        match &self.state {
            // Close may only follow Open.
            State::Opening { stage: Stage::Open(_), .. } => {
                self.say_open(hub, now);
                self.say_close(Some(error(condition, why.clone())));
            }
            State::Opening { .. } => {}
            State::Open(_) => self.say_close(Some(error(condition, why.clone()))),
            State::Closed(_) => return,
        }
        self.close(hub, now, DisconnectReason::ProtocolViolation(format!("{condition}: {why}")));
    }

    fn perform(
        &mut self,
        hub: &mut HubState,
        now: Now,
        channel: u16,
        performative: Performative,
        payload: bytes::Bytes,
    ) {
        match (&self.state, performative) {
            (State::Closed(_), _) => {}
            (_, Performative::Open(open)) => self.open(hub, now, open),
            (State::Opening { .. }, _) => {
                self.fail(hub, now, condition::NOT_ALLOWED, "a performative before Open".to_owned());
            }
            (State::Open(_), Performative::Close(close)) => self.peer_says_close(hub, now, &close),
            (State::Open(_), Performative::Begin(begin)) => {
                if channel > CHANNEL_MAX {
                    let text = format!("channel {channel} is over the limit of {CHANNEL_MAX}");
                    return self.fail(hub, now, condition::FRAMING_ERROR, text);
                }
                self.begin(hub, now, channel, &begin);
            }
            (State::Open(_), performative) => self.perform_in_session(hub, now, channel, performative, payload),
        }
    }
}

impl Login {
    /// The SASL mechanism, if there was SASL.
    fn mechanism(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Sasl(mechanism) => Some(mechanism),
            Self::Identity { .. } | Self::Policy { .. } => Some("PLAIN"),
        }
    }
}
