//! A small AMQP peer for the emulator's black-box tests: frames written and read byte by byte here, over an in-memory connection and in virtual
//! time. It shares nothing with the emulator's codec, so that a mistake cannot agree with itself on both sides.

pub(crate) mod frame;
#[path = "../../support/list.rs"]
pub(crate) mod list;
pub(crate) mod value;

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use iothub_emulator::{Activity, Config, DeviceAuth, OfflineConnection, OfflineHub};

use frame::{Frame, Link, Message, *};
use value::{V, composite, described, sym, text};

pub(crate) const HUB: &str = "hub.test";
pub(crate) const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A hub with the device `d`, whose clock stands until it is advanced.
pub(crate) fn world() -> OfflineHub {
    world_with(Config::new())
}

pub(crate) fn world_with(config: Config) -> OfflineHub {
    let start = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let hub = OfflineHub::new(config.with_host_name(HUB).with_policy_key("iothubowner", KEY), start).unwrap();
    let keys = || DeviceAuth::SymmetricKey { primary: KEY.into(), secondary: KEY.into() };
    hub.create_device_with("d", keys()).unwrap();
    hub
}

/// Adds a second device with the same keys.
pub(crate) fn add_device(hub: &OfflineHub, id: &str) {
    hub.create_device_with(id, DeviceAuth::SymmetricKey { primary: KEY.into(), secondary: KEY.into() }).unwrap();
}

pub(crate) fn token(hub: &OfflineHub, device: &str) -> String {
    hub.device(device).unwrap().sas_token(HOUR)
}

/// Milliseconds since 1970 by the hub's clock.
pub(crate) fn millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// One connection.
pub(crate) struct Peer {
    connection: OfflineConnection,
    received: Vec<u8>,
    header_expected: bool,
    frames: VecDeque<Frame>,
    next_id: u32,
}

impl Deref for Peer {
    type Target = OfflineConnection;

    fn deref(&self) -> &OfflineConnection {
        &self.connection
    }
}

impl DerefMut for Peer {
    fn deref_mut(&mut self) -> &mut OfflineConnection {
        &mut self.connection
    }
}

impl Peer {
    /// TLS is up, nothing is said.
    pub(crate) fn silent(hub: &OfflineHub) -> Self {
        let connection = hub.accept_amqp();
        Self { connection, received: Vec::new(), header_expected: true, frames: VecDeque::new(), next_id: 0 }
    }

    /// Open, with one session on channel 0, and without SASL.
    pub(crate) fn open(hub: &OfflineHub) -> Self {
        let mut peer = Self::silent(hub);
        peer.say_bytes(AMQP_HEADER);
        assert_eq!(peer.header().as_deref(), Some(AMQP_HEADER));
        peer.say(&open(None));
        assert_eq!(peer.next().code, OPEN);
        peer.say(&begin());
        assert_eq!(peer.next().code, BEGIN);
        peer
    }

    /// As [`open`](Self::open), with the token of the device `d` put.
    pub(crate) fn of_device(hub: &OfflineHub) -> Self {
        let mut peer = Self::open(hub);
        peer.attach_cbs();
        assert_eq!(peer.put_token("hub.test/devices/d", &token(hub, "d")), 200);
        peer
    }

    /// As [`open`](Self::open), with a token of the owner put.
    pub(crate) fn of_service(hub: &OfflineHub) -> Self {
        let mut peer = Self::open(hub);
        peer.attach_cbs();
        let token = hub.policy_token("iothubowner", HOUR).unwrap();
        assert_eq!(peer.put_token(HUB, &token), 200);
        peer
    }

    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        self.connection.receive(bytes);
    }

    pub(crate) fn say(&mut self, performative: &V) {
        self.say_on(0, performative);
    }

    pub(crate) fn say_on(&mut self, channel: u16, performative: &V) {
        self.say_bytes(&frame(channel, performative, &[]));
    }

    fn listen(&mut self) {
        self.connection.poll();
        let output = self.connection.take_output();
        self.received.extend(output);
    }

    /// The protocol header that the hub has sent.
    pub(crate) fn header(&mut self) -> Option<Vec<u8>> {
        self.listen();
        self.header_expected = false;
        (self.received.len() >= 8).then(|| self.received.drain(..8).collect())
    }

    /// The next frame, if there is one. Empty frames count.
    pub(crate) fn heard(&mut self) -> Option<Frame> {
        self.listen();
        assert!(!self.header_expected, "read the header first");
        while let Some(frame) = Frame::take(&mut self.received) {
            self.frames.push_back(frame);
        }
        self.frames.pop_front()
    }

    pub(crate) fn next(&mut self) -> Frame {
        self.heard().expect("the hub says something")
    }

    /// The next frame of this kind; others before it are passed over, and come later.
    pub(crate) fn find(&mut self, code: u64) -> Frame {
        let mut passed_over = Vec::new();
        loop {
            let frame = self.heard().unwrap_or_else(|| panic!("no {code:#x}, but {passed_over:#x?}"));
            if frame.code == code {
                passed_over.into_iter().rev().for_each(|frame| self.frames.push_front(frame));
                return frame;
            }
            passed_over.push(frame);
        }
    }

    /// Everything that the hub has said, besides signs of life.
    pub(crate) fn all(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.heard()).filter(|frame| frame.code != 0).collect()
    }

    pub(crate) fn all_of(&mut self, code: u64) -> Vec<Frame> {
        let (wanted, rest): (Vec<Frame>, Vec<Frame>) = self.all().into_iter().partition(|frame| frame.code == code);
        self.frames = rest.into();
        wanted
    }

    /// Attaches and gives the answer, behind which everything else stands.
    pub(crate) fn attach(&mut self, link: &Link) -> Frame {
        self.attach_on(0, link)
    }

    pub(crate) fn attach_on(&mut self, channel: u16, link: &Link) -> Frame {
        self.say_on(channel, &link.attach());
        self.find(ATTACH)
    }

    /// Attaches what is refused, and gives the condition.
    pub(crate) fn refused(&mut self, link: &Link) -> String {
        self.attach(link);
        let detach = self.find(DETACH);
        assert_eq!(detach.field(1), &V::Bool(true), "a refusal closes the link");
        self.say(&detach_of(detach.uint(0)));
        detach.condition(2).expect("a refusal says why")
    }

    /// Attaches a sender that must be given credit.
    pub(crate) fn sender(&mut self, handle: u32, address: &str) {
        self.attach(&Link::sender(handle, address));
        let flow = self.find(FLOW);
        assert_eq!(flow.uint(4), handle);
    }

    /// Attaches a receiver and gives it credit.
    pub(crate) fn receiver(&mut self, handle: u32, address: &str, count: u32) {
        self.attach(&Link::receiver(handle, address));
        self.say(&credit(handle, 0, count));
    }

    /// Attaches `$cbs` both ways, on handles 1000 and 1001.
    pub(crate) fn attach_cbs(&mut self) {
        self.sender(1000, "$cbs");
        self.receiver(1001, "$cbs", 100);
    }

    pub(crate) fn put_token(&mut self, name: &str, token: &str) -> i32 {
        self.say_put_token(V::Ulong(7), name, token, false);
        let reply = self.find(TRANSFER);
        let reply = Message::decode(&reply.payload);
        assert_eq!(reply.prop(CORRELATION_ID), Some(&V::Ulong(7)));
        self.all_of(DISPOSITION);
        match reply.app("status-code") {
            Some(V::Int(status)) => *status,
            other => panic!("status-code is {other:?}"),
        }
    }

    pub(crate) fn say_put_token(&mut self, id: V, name: &str, token: &str, settled: bool) {
        let request = put_token(name, token).property(MESSAGE_ID, id);
        self.send_as(1000, 0, settled, &request.encoded());
    }

    /// Sends a message unsettled, and gives its delivery id.
    pub(crate) fn send(&mut self, handle: u32, message: &Message) -> u32 {
        self.send_as(handle, 0, false, &message.encoded())
    }

    pub(crate) fn send_as(&mut self, handle: u32, format: u32, settled: bool, payload: &[u8]) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        let parts: Vec<&[u8]> = if payload.is_empty() { vec![payload] } else { payload.chunks(60_000).collect() };
        for (index, part) in parts.iter().enumerate() {
            let more = index + 1 < parts.len();
            self.say_bytes(&frame(0, &transfer(handle, id, format, settled, more), part));
        }
        id
    }

    /// The settled outcome of the next delivery that was sent: its code, and the condition of a rejection.
    pub(crate) fn outcome(&mut self) -> (u32, u64, Option<String>) {
        let disposition = self.find(DISPOSITION);
        assert_eq!(disposition.field(0), &V::Bool(true), "the hub is the receiver");
        assert_eq!(disposition.field(3), &V::Bool(true), "the hub settles at once");
        let (code, fields) = disposition.field(4).fields();
        let condition = fields.first().map(|error| error.fields().1[0].as_text().to_owned());
        (disposition.uint(1), code, condition)
    }

    /// Sends a message, and says how it was rejected.
    pub(crate) fn rejected(&mut self, handle: u32, format: u32, payload: &[u8]) -> String {
        let id = self.send_as(handle, format, false, payload);
        let (settled, code, condition) = self.outcome();
        assert_eq!((settled, code), (id, REJECTED));
        condition.expect("a rejection says why")
    }

    pub(crate) fn accepted(&mut self, handle: u32, message: &Message) {
        let id = self.send(handle, message);
        assert_eq!(self.outcome(), (id, ACCEPTED, None));
    }

    /// Attaches both twin links, on handles 20 and 21.
    pub(crate) fn attach_twin(&mut self) {
        for link in [Link::sender(20, "/devices/d/twin"), Link::receiver(21, "/devices/d/twin")] {
            self.attach(&link.property("com.microsoft:channel-correlation-id", text("twin:x")));
        }
        self.say(&credit(21, 0, 100));
    }

    /// Attaches both method links, on handles 30 and 31.
    pub(crate) fn attach_methods(&mut self) {
        let address = "/devices/d/methods/devicebound";
        for link in [Link::sender(30, address), Link::receiver(31, address)] {
            self.attach(&link.property("com.microsoft:channel-correlation-id", text("methods:x")));
        }
        self.say(&credit(31, 0, 100));
    }

    /// A message that the hub has sent.
    pub(crate) fn message(&mut self) -> (Frame, Message) {
        let frame = self.find(TRANSFER);
        let message = Message::decode(&frame.payload);
        (frame, message)
    }
}

pub(crate) fn detach_of(handle: u32) -> V {
    detach(handle)
}

pub(crate) fn put_token(name: &str, token: &str) -> Message {
    Message::value(text(token))
        .application("operation", text("put-token"))
        .application("type", text("servicebus.windows.net:sastoken"))
        .application("name", text(name))
}

pub(crate) fn sasl_init(mechanism: &str, response: Option<&[u8]>) -> Vec<u8> {
    let response = response.map_or(V::Null, |bytes| V::Bin(bytes.to_vec()));
    raw_frame(1, 0, &composite(INIT, vec![sym(mechanism), response]).encoded())
}

/// A filter on the annotations of stored messages.
pub(crate) fn selector(text_of_it: &str) -> V {
    let name = "apache.org:selector-filter:string";
    V::Map(vec![(sym(name), described(0x468c_0000_0004, text(text_of_it)))])
}

/// What happened to the device `d` or, with an empty name, on connections that belong to none.
pub(crate) fn happened(hub: &OfflineHub, device: &str, what: impl Fn(&Activity) -> bool) -> usize {
    let activity = if device.is_empty() { hub.unattributed_activity() } else { hub.activity(device) };
    activity.iter().filter(|activity| what(activity)).count()
}
