//! A transport, its engine and its hub, all in the test's hands.

use std::task::Waker;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use iothub_core::{
    ConnectionErrorKind, Delivery, Disposition, Feature, Identity, Message, Now, Op, OpError, OpId, Registration,
    Reply, Slot, Submit, Transport, TransportEvent,
};
use iothub_net::memory::{self, PeerEnd, Script};
use iothub_transport_mqtt::{MqttTransport, SessionOptions};

use crate::wire::{connack, packet_id, split, suback};

/// An event, to be compared.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Connected(bool),
    Ready,
    SubscriptionRefused(Feature),
    Down(ConnectionErrorKind),
    Disconnected,
    Done(u64, Result<Reply, OpError>),
    Message(Message, Delivery),
    Input(String, Message, Delivery),
    DesiredProperties(Bytes),
    Method(String, Bytes, Delivery),
}

pub(crate) const TOKEN: &str = "SharedAccessSignature sr=contoso.azure-devices.net%2Fdevices%2Fdev-1&sig=x%3D&se=1";

const PRODUCT: &str = "iothubclient/0.1 (Linux; x86_64)";

pub(crate) struct Bench {
    pub(crate) transport: MqttTransport,
    pub(crate) slot: Slot,
    pub(crate) script: Script,
    pub(crate) now: Now,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut SessionOptions)) -> Self {
        Self::registered(registration(), change)
    }

    /// With the module `mod-1` of the device.
    pub(crate) fn module() -> Self {
        Self::registered(module("mod-1"), |_| {})
    }

    fn registered(registration: Registration, change: impl FnOnce(&mut SessionOptions)) -> Self {
        let (mut transport, script) = transport(change);
        let slot = transport.register(registration).unwrap();
        // The wall clock is fixed, for it is part of the ids of twin requests.
        let now = Now { wall: UNIX_EPOCH + millis(0x1000), ..Now::system() };
        Self { transport, slot, script, now }
    }

    /// A slice, and what happened.
    pub(crate) fn work(&mut self) -> Vec<Seen> {
        self.transport.do_work(self.now);
        self.events()
    }

    pub(crate) fn events(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.transport.poll_event(self.slot)).map(seen).collect()
    }

    /// Slices, until there is nothing to do now.
    pub(crate) fn settle_down(&mut self) -> Vec<Seen> {
        let mut seen = self.work();
        while self.transport.next_deadline().is_some_and(|due| due <= self.now.mono) {
            seen.extend(self.work());
        }
        seen
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.now = self.now + by;
    }

    /// How long until the transport wants to be called, as a whole number of milliseconds.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        let due: Option<Instant> = self.transport.next_deadline();
        due.map(|due| due.saturating_duration_since(self.now.mono))
    }

    /// Starts to connect, up to the CONNECT, which is taken from the wire.
    pub(crate) fn open(&mut self) -> PeerEnd {
        let mut peer = self.script.accept();
        self.transport.connect(self.slot, Some(TOKEN), self.now);
        assert_eq!(self.work(), []);
        let sent = split(&peer.receive());
        assert!(sent.len() == 1 && sent[0][0] == 0x10, "one CONNECT, not {sent:x?}");
        peer
    }

    /// Connects with nothing subscribed.
    pub(crate) fn connected(&mut self) -> PeerEnd {
        self.connected_to(false)
    }

    /// Connects again, to a hub that has kept the session or not.
    pub(crate) fn connected_to(&mut self, session_present: bool) -> PeerEnd {
        let mut peer = self.open();
        peer.send(&connack(session_present));
        assert_eq!(self.work(), [Seen::Connected(session_present), Seen::Ready]);
        assert_eq!(peer.receive(), b"");
        peer
    }

    pub(crate) fn want(&mut self, wanted: &[Feature]) {
        self.transport.subscribe(self.slot, wanted);
    }

    /// Connects with these subscribed, and takes the SUBSCRIBE from the wire.
    pub(crate) fn subscribed_to(&mut self, wanted: &[Feature]) -> PeerEnd {
        self.want(wanted);
        let mut peer = self.open();
        peer.send(&connack(true));
        assert_eq!(self.work(), [Seen::Connected(true)]);
        let sent = peer.receive();
        assert_eq!(sent[0], 0x82, "a SUBSCRIBE");
        peer.send(&suback(packet_id(&sent), &vec![0; wanted.len()]));
        assert_eq!(self.work(), [Seen::Ready]);
        peer
    }

    pub(crate) fn submit(&mut self, id: u64, op: Op<'_>) -> Submit {
        self.transport.submit(self.slot, OpId(id), op, self.now)
    }

    pub(crate) fn send(&mut self, id: u64, message: &Message) -> Submit {
        self.transport.submit(self.slot, OpId(id), Op::Telemetry(message), self.now)
    }

    /// Sends a message for each id, with the id as its payload.
    pub(crate) fn send_all(&mut self, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            assert_eq!(self.send(id, &Message::new(id.to_string())), Submit::Taken);
        }
    }

    pub(crate) fn settle(&mut self, id: u64, delivery: Delivery, disposition: Disposition) -> Submit {
        self.transport.submit(self.slot, OpId(id), Op::Settle { delivery, disposition }, self.now)
    }

    pub(crate) fn accept(&mut self, id: u64, delivery: Delivery) {
        assert_eq!(self.settle(id, delivery, Disposition::Accept), Submit::Taken);
    }

    /// The hub sends these bytes, and messages are all that comes of them.
    pub(crate) fn deliver(&mut self, peer: &mut PeerEnd, bytes: &[u8]) -> Vec<Delivery> {
        peer.send(bytes);
        let delivery = |seen| match seen {
            Seen::Message(_, delivery) | Seen::Input(_, _, delivery) => delivery,
            other => panic!("{other:?}"),
        };
        self.work().into_iter().map(delivery).collect()
    }
}

pub(crate) fn transport(change: impl FnOnce(&mut SessionOptions)) -> (MqttTransport, Script) {
    let (connect, script) = memory::network("contoso.azure-devices.net", 8883);
    let mut options = SessionOptions::default();
    change(&mut options);
    (MqttTransport::new("mqtt", Box::new(connect), options).unwrap(), script)
}

pub(crate) fn registration() -> Registration {
    let identity = Identity::device("contoso.azure-devices.net", "dev-1");
    Registration::new(identity, PRODUCT, Waker::noop().clone())
}

pub(crate) fn module(id: &str) -> Registration {
    let identity = Identity::module("contoso.azure-devices.net", "dev-1", id);
    Registration::new(identity, PRODUCT, Waker::noop().clone())
}

fn seen(event: TransportEvent) -> Seen {
    match event {
        TransportEvent::Connected { session_present } => Seen::Connected(session_present),
        TransportEvent::Ready => Seen::Ready,
        TransportEvent::SubscriptionRefused { feature, .. } => Seen::SubscriptionRefused(feature),
        TransportEvent::Down(error) => {
            assert_eq!((&*error.host, error.port), ("contoso.azure-devices.net", 8883));
            Seen::Down(error.kind)
        }
        TransportEvent::Disconnected => Seen::Disconnected,
        TransportEvent::Done { id, result } => Seen::Done(id.0, result),
        TransportEvent::Message { message, input: None, delivery } => Seen::Message(message, delivery),
        TransportEvent::Message { message, input: Some(input), delivery } => Seen::Input(input, message, delivery),
        TransportEvent::DesiredProperties(body) => Seen::DesiredProperties(body),
        TransportEvent::Method { name, body, delivery } => Seen::Method(name, body, delivery),
        other => panic!("an event that this bench does not know: {other:?}"),
    }
}

pub(crate) fn done(id: u64) -> Seen {
    Seen::Done(id, Ok(Reply::Ack))
}

pub(crate) fn stale(id: u64) -> Seen {
    Seen::Done(id, Err(OpError::Stale))
}

/// Asserts that the connection went down once, for breaking the protocol in a way that the detail names.
pub(crate) fn assert_violation(seen: &[Seen], named: &str) {
    match seen {
        [Seen::Down(ConnectionErrorKind::Protocol { detail })] => assert!(detail.contains(named), "{detail}"),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
