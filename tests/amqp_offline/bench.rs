//! A transport and its hub without a network, in virtual time.

use std::task::Waker;
use std::time::{Duration, Instant};

use iothub_client::{
    ConnectionErrorKind, Delivery, Disposition, Feature, Identity, Message, Now, Op, OpError, OpId, Registration,
    Reply, Slot, Submit, Transport, TransportEvent,
};
use iothub_emulator::{Config, OfflineConnection, OfflineHub};
use iothub_net::memory::{self, PeerEnd, Script};
use iothub_transport_amqp::{AmqpTransport, SessionOptions};

/// Every device is called so.
pub(crate) const DEVICE: &str = "d";

/// An event, to be compared.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Connected,
    Ready,
    Down(ConnectionErrorKind),
    Done(u64, Result<Reply, OpError>),
    /// A message with this text.
    Message(String, Delivery),
    /// A call of this method.
    Method(String, Delivery),
    Refused(Feature),
    Desired,
}

pub(crate) fn done(id: u64) -> Seen {
    Seen::Done(id, Ok(Reply::Ack))
}

/// The two ends of a connection, and what went from the client to the hub.
struct Wire {
    peer: PeerEnd,
    hub: OfflineConnection,
    sent: Vec<u8>,
}

pub(crate) struct Bench {
    pub(crate) hub: OfflineHub,
    transport: AmqpTransport,
    slot: Slot,
    script: Script,
    token: String,
    pub(crate) now: Now,
    wire: Option<Wire>,
}

impl Bench {
    pub(crate) fn with(change: impl FnOnce(&mut SessionOptions)) -> Self {
        Self::with_hub(Config::new(), change)
    }

    pub(crate) fn with_hub(config: Config, change: impl FnOnce(&mut SessionOptions)) -> Self {
        let now = Now::system();
        let hub = OfflineHub::new(config, now.wall).unwrap();
        let device = hub.create_device(DEVICE).unwrap();
        let (connect, script) = memory::network("hub.example", 5671);
        let mut options = SessionOptions::default();
        change(&mut options);
        let mut transport = AmqpTransport::new("amqp", Box::new(connect), options).unwrap();
        let identity = Identity::device(hub.host_name(), DEVICE);
        let slot = transport.register(Registration::new(identity, "test", Waker::noop().clone())).unwrap();
        let token = device.sas_token(Duration::from_secs(100_000));
        Self { hub, transport, slot, script, token, now, wire: None }
    }

    /// A connected one.
    pub(crate) fn connected() -> Self {
        let mut bench = Self::with(|_| {});
        bench.connect();
        bench
    }

    pub(crate) fn connect(&mut self) {
        assert_eq!(self.try_connect(), [Seen::Connected, Seen::Ready]);
    }

    pub(crate) fn try_connect(&mut self) -> Vec<Seen> {
        let peer = self.script.accept();
        self.wire = Some(Wire { peer, hub: self.hub.accept_amqp(), sent: Vec::new() });
        self.transport.connect(self.slot, Some(&self.token), self.now);
        self.work()
    }

    /// Lets client and hub move until neither does, and gives what happened.
    pub(crate) fn work(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        loop {
            self.transport.do_work(self.now);
            let events = std::iter::from_fn(|| self.transport.poll_event(self.slot));
            let before = seen.len();
            seen.extend(events.map(|event| match event {
                TransportEvent::Connected { .. } => Seen::Connected,
                TransportEvent::Ready => Seen::Ready,
                TransportEvent::Down(error) => Seen::Down(error.kind),
                TransportEvent::Done { id, result } => Seen::Done(id.0, result),
                TransportEvent::Message { message, delivery, .. } => Seen::Message(text(message.payload()), delivery),
                TransportEvent::Method { name, delivery, .. } => Seen::Method(name, delivery),
                TransportEvent::SubscriptionRefused { feature, .. } => Seen::Refused(feature),
                TransportEvent::DesiredProperties(_) => Seen::Desired,
                other => panic!("{other:?}"),
            }));
            let moved = self.carry();
            let is_due = self.transport.next_deadline().is_some_and(|due| due <= self.now.mono);
            if !moved && !is_due && seen.len() == before {
                return seen;
            }
        }
    }

    /// Carries what was said, both ways. Returns whether there was anything.
    fn carry(&mut self) -> bool {
        let Some(wire) = &mut self.wire else { return false };
        let from_client = wire.peer.receive();
        wire.sent.extend(&from_client);
        if !from_client.is_empty() {
            wire.hub.receive(&from_client);
        }
        wire.hub.poll();
        let from_hub = wire.hub.take_output();
        wire.peer.send(&from_hub);
        !from_client.is_empty() || !from_hub.is_empty()
    }

    /// Time passes on both sides.
    pub(crate) fn advance(&mut self, by: Duration) {
        self.now = self.now + by;
        self.hub.advance_clock(by);
    }

    /// Time passes in steps in which both sides live; gives what happened.
    pub(crate) fn live(&mut self, time: Duration) -> Vec<Seen> {
        let step = Duration::from_secs(1);
        let mut seen = Vec::new();
        for _ in 0..time.as_secs() {
            self.advance(step);
            seen.extend(self.work());
        }
        seen
    }

    pub(crate) fn due_in(&self) -> Option<Duration> {
        let due: Option<Instant> = self.transport.next_deadline();
        due.map(|due| due.saturating_duration_since(self.now.mono))
    }

    pub(crate) fn send(&mut self, id: u64, message: &Message) -> Submit {
        self.transport.submit(self.slot, OpId(id), Op::Telemetry(message), self.now)
    }

    /// Sends messages whose text is their number.
    pub(crate) fn send_all(&mut self, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            assert_eq!(self.send(id, &Message::new(id.to_string())), Submit::Taken);
        }
    }

    pub(crate) fn forget(&mut self, id: u64) {
        self.transport.forget(self.slot, OpId(id));
    }

    pub(crate) fn subscribe(&mut self, wanted: &[Feature]) {
        self.transport.subscribe(self.slot, wanted);
    }

    pub(crate) fn submit(&mut self, id: u64, op: Op<'_>) -> Submit {
        self.transport.submit(self.slot, OpId(id), op, self.now)
    }

    pub(crate) fn settle(&mut self, id: u64, delivery: Delivery, disposition: Disposition) {
        assert_eq!(self.submit(id, Op::Settle { delivery, disposition }), Submit::Taken);
    }

    /// Another device on the same connection, which begins to connect. Its events are not looked at.
    pub(crate) fn join(&mut self, id: &str) -> Slot {
        let token = self.hub.create_device(id).unwrap().sas_token(Duration::from_secs(100_000));
        let identity = Identity::device(self.hub.host_name(), id);
        let slot = self.transport.register(Registration::new(identity, "test", Waker::noop().clone())).unwrap();
        self.transport.connect(slot, Some(&token), self.now);
        slot
    }

    pub(crate) fn subscribe_other(&mut self, slot: Slot, wanted: &[Feature]) {
        self.transport.subscribe(slot, wanted);
    }

    pub(crate) fn disconnect(&mut self, slot: Slot) {
        self.transport.disconnect(slot, self.now);
    }

    pub(crate) fn unregister(&mut self, slot: Slot) {
        self.transport.unregister(slot);
    }

    /// One turn of the client, after which what it said reaches the hub.
    pub(crate) fn client_speaks(&mut self) {
        self.transport.do_work(self.now);
        let wire = self.wire.as_mut().unwrap();
        let from_client = wire.peer.receive();
        wire.sent.extend(&from_client);
        wire.hub.receive(&from_client);
    }

    /// The client says what it has to say, which does not reach the hub yet.
    pub(crate) fn speak(&mut self) {
        self.transport.do_work(self.now);
    }

    /// What the hub has said reaches the client's socket.
    pub(crate) fn hub_speaks(&mut self) {
        let wire = self.wire.as_mut().unwrap();
        wire.hub.poll();
        wire.peer.send(&wire.hub.take_output());
    }

    /// What the hub has said reaches the client frame by frame, and the client looks at each, though nothing of the client's
    /// reaches the hub.
    pub(crate) fn hub_speaks_slowly(&mut self) {
        let wire = self.wire.as_mut().unwrap();
        wire.hub.poll();
        let said = wire.hub.take_output();
        let mut rest = &said[..];
        while let Some(size) = rest.first_chunk() {
            let (frame, later) = rest.split_at(u32::from_be_bytes(*size) as usize);
            self.hub_says(frame);
            self.speak();
            rest = later;
        }
    }

    /// The hub says this, whatever else it does.
    pub(crate) fn hub_says(&mut self, bytes: &[u8]) {
        self.wire.as_mut().unwrap().peer.send(bytes);
    }

    /// The connection breaks when so many more bytes of the client's have reached the hub.
    pub(crate) fn cut_after(&mut self, bytes: usize) {
        self.wire.as_mut().unwrap().peer.cut_after_receiving(bytes);
    }

    /// How many bytes may be on their way to the hub.
    pub(crate) fn set_capacity(&mut self, bytes: usize) {
        self.wire.as_mut().unwrap().peer.set_capacity(bytes);
    }

    /// The hub notices that the client is gone.
    pub(crate) fn hub_notices(&mut self) {
        self.carry();
        self.wire.take().unwrap().hub.peer_closed();
    }

    /// The texts that the hub has stored, in order.
    pub(crate) fn stored(&self) -> Vec<String> {
        self.hub.telemetry(DEVICE).iter().map(|record| text(&record.body)).collect()
    }

    /// How many transfers of telemetry went out since the last look, each with whether it is a batch.
    pub(crate) fn transfers(&mut self) -> Vec<bool> {
        let sent = std::mem::take(&mut self.wire.as_mut().unwrap().sent);
        frames(&sent).filter_map(is_batch).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The bodies of the AMQP frames in these bytes.
fn frames(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        loop {
            if bytes.starts_with(b"AMQP") {
                bytes = &bytes[8..];
                continue;
            }
            let size = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
            let (frame, rest) = bytes.split_at(size);
            bytes = rest;
            return Some(&frame[8..]);
        }
    })
}

/// Whether the first frame of a transfer is one of a batch; `None` for other frames. A frame that goes on has no format.
fn is_batch(body: &[u8]) -> Option<bool> {
    const TRANSFER: [u8; 3] = [0x00, 0x53, 0x14];
    const BATCH: [u8; 5] = [0x70, 0x80, 0x01, 0x37, 0x00];
    let head = body.strip_prefix(&TRANSFER)?;
    let head = &head[..head.len().min(40)];
    let has = |bytes: &[u8]| head.windows(bytes.len()).any(|window| window == bytes);
    Some(has(&BATCH))
}
