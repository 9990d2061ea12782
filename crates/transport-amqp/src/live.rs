//! One connection from the moment that its stream is open: its tasks, its traffic, its silence.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use iothub_core::{ConnectStage, ConnectionErrorKind, Now, Readiness, Slot};
use iothub_net::Stream;
use tokio::sync::{mpsc, oneshot};

use crate::cbs::Tokens;
use crate::device::{self, Device};
use crate::hub::{self, Opening, Request};
use crate::io::Io;
use crate::member::{Member, Running, State};
use crate::options::SessionOptions;
use crate::outlet::{Outlet, Queue, Seen};
use crate::slices::Slices;
use crate::telemetry::Source;

/// How long the goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Where the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening { until: Instant },
    Open,
    Closing { until: Instant },
}

pub(crate) struct Live {
    slices: Slices,
    io: Io,
    queue: Queue,
    requests: mpsc::UnboundedSender<Request>,
    tokens: Tokens,
    phase: Phase,
    /// Until when the hub must give credit for tokens, which wait for it.
    tokens_until: Option<Instant>,
    keep_alive: Duration,
    connect_timeout: Duration,
    batching: bool,
    /// What had come and gone at the last look.
    moved: (u64, u64),
    last_sent: Instant,
    /// The time of the last slice, and how long the hub has been silent while slices ran.
    last_slice: Instant,
    silence: Duration,
    /// The last slice ended before its tasks did.
    has_more: bool,
}

impl Live {
    /// Starts to open over this stream.
    pub(crate) fn new(
        stream: Stream,
        hub: &str,
        by_token: bool,
        options: &SessionOptions,
        now: Now,
    ) -> io::Result<Self> {
        let (slices, io, queue) = (Slices::new()?, Io::new(stream), Queue::default());
        let (requests, requested) = mpsc::unbounded_channel();
        let (tokens, put) = Tokens::new();
        let opening = Opening { hub: hub.to_owned(), idle_time_out: options.keep_alive_millis(), by_token };
        slices.spawn(hub::run(opening, io.clone(), queue.clone(), requested, put));
        Ok(Self {
            slices,
            io,
            queue,
            requests,
            tokens,
            phase: Phase::Opening { until: now.mono + options.connect_timeout },
            tokens_until: None,
            keep_alive: options.keep_alive,
            connect_timeout: options.connect_timeout,
            batching: options.batching,
            moved: (0, 0),
            last_sent: now.mono,
            last_slice: now.mono,
            silence: Duration::ZERO,
            has_more: true,
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// Starts the part of a member that waits for the connection.
    pub(crate) fn start(&mut self, slot: Slot, member: &mut Member) {
        let State::Waiting { token } = &mut member.state else { return };
        let token = token.take();
        let (to_commands, commands) = mpsc::unbounded_channel();
        let device = Device {
            names: member.names.clone(),
            token,
            wanted: member.wanted.clone(),
            outlet: Outlet { queue: self.queue.clone(), slot, run: member.run },
            connection: self.requests.clone(),
            tokens: self.tokens.clone(),
            commands,
            telemetry: Source { line: member.telemetry.begin(), batching: self.batching },
        };
        let (here, is_here) = oneshot::channel();
        self.slices.spawn(device::run(device, is_here));
        member.state =
            State::Running(Running { commands: to_commands, here, is_online: false, awaits: BTreeMap::new() });
        self.has_more = true;
    }

    /// Says goodbye; `Closed` follows.
    pub(crate) fn close(&mut self, now: Instant) {
        if !self.is_closing() {
            self.phase = Phase::Closing { until: now + CLOSE_TIMEOUT };
            // A connection that is gone says `Closed` by itself.
            let _ = self.requests.send(Request::Close);
            self.has_more = true;
        }
    }

    /// Something was asked of the tasks.
    pub(crate) fn is_due(&mut self) {
        self.has_more = true;
    }

    /// Lets bytes and tasks move.
    pub(crate) fn drive(&mut self, now: Now) {
        self.io.push();
        // Many clients drive one connection: a turn in which nothing comes and nothing is asked costs one look at the stream.
        if self.io.kick() || self.has_more {
            let (io, queue) = (&self.io, &self.queue);
            let progress = || {
                let (received, sent) = io.moved();
                received.wrapping_add(sent).wrapping_add(queue.count())
            };
            self.has_more = self.slices.run(&progress);
            self.io.push();
            self.has_more |= self.io.has_room();
        }
        let moved = self.io.moved();
        // Time in which nobody looked is not the hub's silence.
        let since = now.mono.saturating_duration_since(self.last_slice).min(self.keep_alive / 4);
        self.silence = if moved.0 == self.moved.0 { self.silence + since } else { Duration::ZERO };
        self.last_slice = now.mono;
        if moved.1 != self.moved.1 {
            self.last_sent = now.mono;
        }
        self.moved = moved;
        if self.beat_due().is_some_and(|due| due <= now.mono) {
            self.io.beat();
            self.io.push();
            self.last_sent = now.mono;
            self.moved = self.io.moved();
        }
    }

    /// Whether nothing waits to leave, and all that has come is taken in.
    pub(crate) fn is_all_said(&self) -> bool {
        !self.has_more && !self.io.wants_write()
    }

    /// What the tasks have seen, or that they are late.
    pub(crate) fn take(&mut self, now: Now) -> Option<Seen> {
        if let Some(seen) = self.queue.take() {
            match seen {
                Seen::Open if !self.is_closing() => self.phase = Phase::Open,
                Seen::TokensWait(waits) => self.tokens_until = waits.then(|| now.mono + self.connect_timeout),
                _ => {}
            }
            return Some(seen);
        }
        let late = match self.phase {
            Phase::Open if self.tokens_until.is_some_and(|until| until <= now.mono) => {
                Some(ConnectionErrorKind::TimedOut { stage: ConnectStage::Open, after: self.connect_timeout })
            }
            Phase::Opening { until } if until <= now.mono => {
                Some(ConnectionErrorKind::TimedOut { stage: ConnectStage::Open, after: self.connect_timeout })
            }
            Phase::Closing { until } if until <= now.mono => return Some(Seen::Closed(None)),
            Phase::Open if self.silence >= self.silence_limit() => {
                Some(ConnectionErrorKind::NoPingResponse { after: self.silence_limit() })
            }
            _ => None,
        };
        let gone = || {
            let detail = "the task of the connection ended".to_owned();
            let kind = self.io.end().unwrap_or(ConnectionErrorKind::Protocol { detail });
            // Its last words are in the queue already, and that is empty.
            self.requests.is_closed().then_some(kind)
        };
        late.or_else(gone).map(|kind| Seen::Closed(Some(kind)))
    }

    fn silence_limit(&self) -> Duration {
        self.keep_alive + self.keep_alive / 2
    }

    /// When the client must speak: at half of what the hub waits.
    fn beat_due(&self) -> Option<Instant> {
        let time_out = self.io.remote_idle_time_out()?;
        Some(self.last_sent + Duration::from_millis(u64::from(time_out)) / 2)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.has_more {
            return Some(self.last_slice);
        }
        let phase = match self.phase {
            Phase::Opening { until } | Phase::Closing { until } => until,
            Phase::Open => self.last_slice + (self.silence_limit() - self.silence).min(self.keep_alive / 4),
        };
        let tokens = self.tokens_until.filter(|_| self.is_open());
        self.beat_due().into_iter().chain(tokens).chain([phase]).min()
    }

    pub(crate) fn readiness(&self, out: &mut Vec<Readiness>) {
        self.io.readiness(out);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.io.shutdown();
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use fe2o3_amqp_types::performatives::Open;
    use iothub_net::memory::PeerEnd;

    use super::*;

    const HEADER: &[u8] = b"AMQP\x00\x01\x00\x00";
    const EMPTY: &[u8] = &[0, 0, 0, 8, 2, 0, 0, 0];

    fn open(idle_time_out: u32) -> Vec<u8> {
        let open = Open {
            container_id: "hub".to_owned(),
            hostname: None,
            max_frame_size: 65_536.into(),
            channel_max: 8191.into(),
            idle_time_out: Some(idle_time_out),
            outgoing_locales: None,
            incoming_locales: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        let body = serde_amqp::to_vec(&open).unwrap();
        let mut frame = u32::try_from(8 + body.len()).unwrap().to_be_bytes().to_vec();
        frame.extend([2, 0, 0, 0]);
        frame.extend(body);
        frame
    }

    /// An open connection to a hub that has announced this time-out, without tokens.
    fn opened(idle_time_out: u32) -> (Live, PeerEnd, Now) {
        let (stream, mut peer) = iothub_net::memory::pair();
        let now = Now { mono: Instant::now(), wall: SystemTime::now() };
        let mut live = Live::new(stream, "hub.example", false, &SessionOptions::default(), now).unwrap();
        live.drive(now);
        assert_eq!(peer.receive(), HEADER);
        peer.send(&[HEADER, &open(idle_time_out)].concat());
        live.drive(now);
        assert!(matches!(live.take(now), Some(Seen::Open)));
        live.drive(now);
        peer.receive();
        (live, peer, now)
    }

    #[test]
    fn an_idle_client_speaks_at_half_of_what_the_hub_waits() {
        let (mut live, mut peer, now) = opened(20_000);
        assert_eq!(live.next_deadline(), Some(now.mono + Duration::from_secs(10)));
        live.drive(now + Duration::from_millis(9_999));
        assert_eq!(peer.receive(), b"");
        live.drive(now + Duration::from_secs(10));
        assert_eq!(peer.receive(), EMPTY);
        assert_eq!(live.next_deadline(), Some(now.mono + Duration::from_secs(20)));
    }

    #[test]
    fn a_hub_that_stays_silent_is_given_up_and_one_that_nobody_listened_to_is_not() {
        let (mut live, mut peer, mut now) = opened(240_000);
        now = now + Duration::from_secs(100_000);
        live.drive(now);
        assert!(live.take(now).is_none(), "the silence was the client's own");
        for _ in 0..5 {
            assert!(live.take(now).is_none());
            now = now + Duration::from_secs(60);
            live.drive(now);
        }
        let Some(Seen::Closed(Some(ConnectionErrorKind::NoPingResponse { after }))) = live.take(now) else {
            panic!("it is not given up")
        };
        assert_eq!(after, Duration::from_secs(360));
        peer.send(EMPTY);
        live.drive(now);
        assert!(live.take(now).is_none(), "one frame is enough");
    }

    #[test]
    fn a_hub_that_does_not_open_in_time_is_given_up() {
        let (stream, _peer) = iothub_net::memory::pair();
        let now = Now { mono: Instant::now(), wall: SystemTime::now() };
        let mut live = Live::new(stream, "hub.example", false, &SessionOptions::default(), now).unwrap();
        live.drive(now);
        assert!(live.take(now).is_none());
        let late = now + Duration::from_secs(30);
        live.drive(late);
        let seen = live.take(late);
        assert!(matches!(seen, Some(Seen::Closed(Some(ConnectionErrorKind::TimedOut { .. })))), "{seen:?}");
    }
}
