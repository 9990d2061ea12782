//! Topics and property bags: what the client reads out of topics that it receives, and what others read out of its own.
//!
//! The first letter of the input says what the rest is. Received topics are compared with a reading of their own, made
//! here; sent ones go through the emulator, which shares no code with the client.

use std::collections::BTreeMap;
use std::time::Duration;

use iothub_core::{
    Feature, Identity, Message, Now, Op, OpId, Reply, Slot, Submit, SystemProperty, Transport, TransportEvent,
};
use iothub_emulator::{C2dMessage, Config, OfflineConnection, OfflineHub};
use iothub_net::memory::PeerEnd;
use iothub_transport_mqtt::MqttTransport;

use super::script::Script;
use super::wire::{self, Packet, Splitter};
use super::world::{self, DEVICE, FEATURES, HUB, MODULE, MODULE_FEATURES, TOKEN};

const SYSTEM: [(&str, SystemProperty); 15] = [
    ("$.mid", SystemProperty::MessageId),
    ("$.cid", SystemProperty::CorrelationId),
    ("$.ct", SystemProperty::ContentType),
    ("$.ce", SystemProperty::ContentEncoding),
    ("$.ctime", SystemProperty::CreationTime),
    ("$.uid", SystemProperty::UserId),
    ("$.to", SystemProperty::To),
    ("$.exp", SystemProperty::ExpiryTime),
    ("iothub-ack", SystemProperty::Ack),
    ("$.ifid", SystemProperty::InterfaceId),
    ("$.on", SystemProperty::OutputName),
    ("$.sub", SystemProperty::ComponentName),
    ("$.diagid", SystemProperty::DiagnosticId),
    ("$.cdid", SystemProperty::ConnectionDeviceId),
    ("$.cmid", SystemProperty::ConnectionModuleId),
];

/// The one that is a list inside its value.
const TRACE: (&str, &str) = ("$.diagctx", "creationtimeutc=");

const METHODS: &str = "$iothub/methods/POST/";
const TWIN: &str = "$iothub/twin/res/";
const DESIRED: &str = "$iothub/twin/PATCH/properties/desired/";

/// The longest request id of a method call that the client promises to answer.
const MAX_RID: usize = 256;

/// Runs one input.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let Some(what) = script.step() else { return };
    let rest = script.rest();
    if rest.len() > 60_000 {
        return;
    }
    match what {
        'c' => a_message_has_what_its_bag_says(rest),
        'i' => an_input_message_has_what_its_topic_says(rest),
        't' => a_twin_answer_resolves_its_own_request(rest),
        'm' => a_call_is_answered_where_it_came_from(rest),
        'd' => a_change_is_known_by_its_prefix(rest),
        'w' => a_foreign_topic_brings_nothing(rest),
        'e' => the_hub_reads_what_was_sent(rest),
        's' => the_client_reads_what_the_hub_sent(rest),
        _ => {}
    }
}

fn a_message_has_what_its_bag_says(bag: &[u8]) {
    let mut peer = Peer::connected();
    let topic = [format!("devices/{DEVICE}/messages/devicebound/").as_bytes(), bag].concat();
    peer.publish(&topic, b"payload");
    let Ok(bag) = std::str::from_utf8(bag) else { return peer.expect_violation() };
    let [TransportEvent::Message { message, input: None, .. }] = &peer.events()[..] else {
        panic!("one message was sent")
    };
    assert_has(message, bag);
}

fn an_input_message_has_what_its_topic_says(tail: &[u8]) {
    let mut peer = Peer::of_module();
    peer.publish(&[format!("devices/{DEVICE}/modules/{MODULE}/inputs/").as_bytes(), tail].concat(), b"payload");
    let Ok(tail) = std::str::from_utf8(tail) else { return peer.expect_violation() };
    let [TransportEvent::Message { message, input: Some(input), .. }] = &peer.events()[..] else {
        panic!("one message was sent")
    };
    let at = tail.find('/').unwrap_or(tail.len());
    assert_eq!(input, &tail[..at]);
    assert_has(message, tail.get(at + 1..).unwrap_or_default());
}

fn assert_has(message: &Message, bag: &str) {
    let (properties, system) = decoded_bag(bag);
    assert_eq!(message.payload(), "payload");
    assert_eq!(message.properties().map(owned).collect::<Vec<_>>(), properties, "{bag:?}");
    assert_eq!(message.system_properties().map(|(p, v)| (p, v.to_owned())).collect::<BTreeMap<_, _>>(), system);
}

fn a_twin_answer_resolves_its_own_request(tail: &[u8]) {
    let mut peer = Peer::connected();
    assert_eq!(peer.transport.submit(peer.slot, OpId(7), Op::TwinGet, peer.now), Submit::Taken);
    let request = peer.sent();
    let [request] = &request[..] else { panic!("one request, not {request:x?}") };
    let topic = String::from_utf8(request.published().unwrap().topic.to_vec()).unwrap();
    let rid = topic.strip_prefix("$iothub/twin/GET/?$rid=").expect("the request's topic").to_owned();

    let Ok(tail) = std::str::from_utf8(tail) else {
        peer.publish(&[TWIN.as_bytes(), tail].concat(), b"{}");
        return peer.expect_violation();
    };
    let tail = tail.replace("RID", &rid);
    peer.publish(format!("{TWIN}{tail}").as_bytes(), b"{}");
    let events = peer.events();
    assert!(events.len() <= 1, "{events:?}");
    let outcome = events.into_iter().next().map(|event| match event {
        TransportEvent::Done { id: OpId(7), result } => result,
        other => panic!("{other:?}"),
    });
    if !tail.contains(&rid) {
        assert!(outcome.is_none(), "{tail:?} answers {rid}");
    }
    // The forms that a hub sends: `{status}/?$rid={rid}` with more parameters perhaps.
    let status = tail.split_once('/').map(|(status, _)| status).unwrap_or_default();
    let parameters = tail.strip_prefix(&format!("{status}/?$rid={rid}"));
    let is_whole = parameters.is_some_and(|rest| rest.is_empty() || rest.starts_with('&'));
    if is_whole && status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit()) {
        match outcome {
            Some(Ok(Reply::Twin(body))) => assert!(status.starts_with('2') && body == "{}", "{tail:?}"),
            Some(Err(_)) => assert!(!status.starts_with('2'), "{tail:?}"),
            other => panic!("{tail:?} gave {other:?}"),
        }
    }
}

fn a_call_is_answered_where_it_came_from(tail: &[u8]) {
    let mut peer = Peer::connected();
    peer.publish(&[METHODS.as_bytes(), tail].concat(), b"{\"a\":1}");
    let Ok(tail) = std::str::from_utf8(tail) else { return peer.expect_violation() };
    let expected = tail.split_once("/?$rid=").filter(|(_, rid)| {
        let can_be_a_topic = !rid.contains(['+', '#', '\0']);
        can_be_a_topic && !rid.is_empty() && rid.len() <= MAX_RID
    });
    let events = peer.events();
    let Some((name, rid)) = expected else {
        assert!(events.is_empty(), "{tail:?} gave {events:?}");
        return;
    };
    let [TransportEvent::Method { name: called, body, delivery }] = &events[..] else { panic!("{tail:?}: {events:?}") };
    assert_eq!((called.as_str(), &body[..]), (name, &b"{\"a\":1}"[..]));
    let op = Op::MethodResponse { delivery: *delivery, status: -7, body: b"[1]" };
    assert_eq!(peer.transport.submit(peer.slot, OpId(7), op, peer.now), Submit::Taken);
    let answer = peer.sent();
    let [answer] = &answer[..] else { panic!("one answer, not {answer:x?}") };
    let answer = answer.published().unwrap();
    assert_eq!(answer.topic, format!("$iothub/methods/res/-7/?$rid={rid}").as_bytes());
    assert_eq!((answer.qos, answer.payload), (0, &b"[1]"[..]));
    assert!(matches!(&peer.events()[..], [TransportEvent::Done { id: OpId(7), result: Ok(Reply::Ack) }]));
}

fn a_change_is_known_by_its_prefix(tail: &[u8]) {
    let mut peer = Peer::connected();
    peer.publish(&[DESIRED.as_bytes(), tail].concat(), tail);
    if std::str::from_utf8(tail).is_err() {
        return peer.expect_violation();
    }
    let events = peer.events();
    assert!(matches!(&events[..], [TransportEvent::DesiredProperties(body)] if body == tail), "{events:?}");
}

fn a_foreign_topic_brings_nothing(topic: &[u8]) {
    let mut peer = Peer::connected();
    peer.publish(topic, b"{}");
    let Ok(topic) = std::str::from_utf8(topic) else { return peer.expect_violation() };
    let topic = topic.to_ascii_lowercase();
    let ours = [METHODS, DESIRED, "devices/dev1/messages/devicebound"].map(str::to_ascii_lowercase);
    let events = peer.events();
    if !ours.iter().any(|prefix| topic.starts_with(prefix)) {
        assert!(events.is_empty(), "{topic:?} gave {events:?}");
    }
}

/// The rest is up to four system properties and then names and values, with a zero byte between any two.
fn the_hub_reads_what_was_sent(rest: &[u8]) {
    let texts: Vec<String> = rest.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into()).collect();
    let (system, application) = texts.split_at(texts.len().min(4));
    let mut message = Message::new("payload");
    for ((_, property), value) in SYSTEM.iter().zip(system).filter(|(_, value)| !value.is_empty()) {
        message = message.clone().with_system(*property, value.clone()).unwrap_or(message);
    }
    for pair in application.chunks_exact(2).filter(|pair| !is_of_the_hub(&pair[0])) {
        message = message.clone().with_property(pair[0].clone(), pair[1].clone()).unwrap_or(message);
    }
    let mut link = Link::ready();
    match link.transport.submit(link.slot, OpId(7), Op::Telemetry(&message), link.now) {
        Submit::Taken => {}
        Submit::Refused(_) => return,
        other => panic!("{other:?}, and there is room"),
    }
    let events = link.turn();
    assert!(matches!(&events[..], [TransportEvent::Done { id: OpId(7), result: Ok(Reply::Ack) }]), "{events:?}");
    let stored = link.hub.telemetry(DEVICE);
    let [record] = &stored[..] else { panic!("{stored:?}") };
    assert_eq!(record.body, *message.payload());
    let sent: Vec<_> = message.properties().map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).collect();
    assert_eq!(record.properties, sent);
    let names = ["message-id", "correlation-id", "content-type", "content-encoding"];
    let sent = SYSTEM.iter().zip(names).filter_map(|((_, property), name)| Some((name, message.system(*property)?)));
    assert_eq!(record.system.iter().map(|(n, v)| (&**n, &**v)).collect::<BTreeMap<_, _>>(), sent.collect());
}

/// The rest is up to five system properties and then names and values, with a zero byte between any two; a name at the
/// end has no value.
fn the_client_reads_what_the_hub_sent(rest: &[u8]) {
    let texts: Vec<String> = rest.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into()).collect();
    let (system, application) = texts.split_at(texts.len().min(5));
    let value = |at: usize| system.get(at).filter(|value| !value.is_empty()).cloned();
    let mut message = C2dMessage::new("payload").message_id(value(0).unwrap_or_else(|| "m".into()));
    let mut expected = BTreeMap::from([(SystemProperty::MessageId, value(0).unwrap_or_else(|| "m".into()))]);
    for (at, property) in [
        SystemProperty::CorrelationId,
        SystemProperty::ContentType,
        SystemProperty::ContentEncoding,
        SystemProperty::UserId,
    ]
    .into_iter()
    .enumerate()
    {
        let Some(value) = value(at + 1) else { continue };
        expected.insert(property, value.clone());
        message = match property {
            SystemProperty::CorrelationId => message.correlation_id(value),
            SystemProperty::ContentType => message.content_type(value),
            SystemProperty::ContentEncoding => message.content_encoding(value),
            _ => message.user_id(value),
        };
    }
    expected.insert(SystemProperty::To, format!("/devices/{DEVICE}/messages/devicebound"));
    let mut properties: Vec<(String, String)> = Vec::new();
    for pair in application.chunks(2).filter(|pair| !pair[0].is_empty() && !is_of_the_hub(&pair[0])) {
        if properties.iter().any(|(name, _)| *name == pair[0]) {
            continue;
        }
        message = message.property(pair[0].clone(), pair.get(1).map(String::as_str));
        properties.push((pair[0].clone(), pair.get(1).cloned().unwrap_or_default()));
    }
    let mut link = Link::ready();
    if link.hub.send_c2d(DEVICE, message).is_err() {
        return;
    }
    let events = link.turn();
    let [TransportEvent::Message { message, .. }] = &events[..] else { panic!("one message was sent: {events:?}") };
    assert_eq!(message.properties().map(owned).collect::<Vec<_>>(), properties);
    assert_eq!(message.system_properties().map(|(p, v)| (p, v.to_owned())).collect::<BTreeMap<_, _>>(), expected);
}

/// Names to which the hub gives a meaning: as an application's they do not come through.
fn is_of_the_hub(name: &str) -> bool {
    name.starts_with("iothub-") || name.starts_with("$.") || name.starts_with("dt-") || name.starts_with("AzIoTHub_")
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

type Bag = (Vec<(String, String)>, BTreeMap<SystemProperty, String>);

/// Reads a bag; of a repeated key the place of the first and the value of the last count. A slash at its end is none of
/// it.
fn decoded_bag(bag: &str) -> Bag {
    let bag = bag.strip_suffix('/').unwrap_or(bag);
    let (mut properties, mut system): Bag = Default::default();
    for pair in bag.split('&').filter(|pair| !pair.is_empty()) {
        let at = pair.find('=').unwrap_or(pair.len());
        let (key, value) = (decoded(&pair[..at]), decoded(pair.get(at + 1..).unwrap_or_default()));
        if let Some((_, property)) = SYSTEM.iter().find(|(known, _)| *known == key) {
            system.insert(*property, value);
        } else if key == TRACE.0 && value.starts_with(TRACE.1) {
            system.insert(SystemProperty::DiagnosticTime, value.replacen(TRACE.1, "", 1));
        } else if let Some(known) = properties.iter_mut().find(|(name, _)| *name == key) {
            known.1 = value;
        } else {
            properties.push((key, value));
        }
    }
    (properties, system)
}

fn decoded(text: &str) -> String {
    let digit = |at: usize| text.as_bytes().get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut bytes, mut at) = (Vec::new(), 0);
    while let Some(&byte) = text.as_bytes().get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A connected transport, and this file as the hub.
struct Peer {
    transport: MqttTransport,
    slot: Slot,
    peer: PeerEnd,
    now: Now,
}

impl Peer {
    fn connected() -> Self {
        Self::of(Identity::device(HUB, DEVICE), &FEATURES)
    }

    fn of_module() -> Self {
        Self::of(Identity::module(HUB, DEVICE, MODULE), &MODULE_FEATURES)
    }

    fn of(identity: Identity, features: &[Feature]) -> Self {
        let (mut transport, slot, network) = world::transport_of(identity, 10);
        transport.subscribe(slot, features);
        let peer = network.accept();
        let now = world::start();
        transport.connect(slot, Some(TOKEN), now);
        let mut this = Self { transport, slot, peer, now };
        this.sent();
        this.peer.send(&wire::connack(false, 0));
        let sent = this.sent();
        this.peer.send(&wire::suback(sent[0].id().unwrap(), &[1, 0, 0, 0]));
        let events = this.events();
        assert!(matches!(&events[..], [TransportEvent::Connected { .. }, TransportEvent::Ready]), "{events:?}");
        this
    }

    fn publish(&mut self, topic: &[u8], payload: &[u8]) {
        self.peer.send(&wire::publish(topic, None, payload));
    }

    fn sent(&mut self) -> Vec<Packet> {
        self.transport.do_work(self.now);
        Splitter::default().push(&self.peer.receive())
    }

    fn events(&mut self) -> Vec<TransportEvent> {
        self.transport.do_work(self.now);
        std::iter::from_fn(|| self.transport.poll_event(self.slot)).collect()
    }

    /// A topic that is not UTF-8 ends the connection.
    fn expect_violation(&mut self) {
        let events = self.events();
        assert!(matches!(&events[..], [TransportEvent::Down(_)]), "{events:?}");
    }
}

/// A connected transport, and the emulator as the hub.
struct Link {
    transport: MqttTransport,
    slot: Slot,
    peer: PeerEnd,
    now: Now,
    hub: OfflineHub,
    connection: OfflineConnection,
}

impl Link {
    fn ready() -> Self {
        let now = world::start();
        let (hub, device) = world::hub(Config::new().with_message_faults(false), now);
        let connection = hub.accept();
        let (mut transport, slot, network) = world::transport(10);
        transport.subscribe(slot, &[Feature::CloudToDevice]);
        let peer = network.accept();
        transport.connect(slot, Some(&device.sas_token(Duration::from_secs(3600))), now);
        let mut link = Self { transport, slot, peer, now, hub, connection };
        let events = link.turn();
        assert!(matches!(&events[..], [TransportEvent::Connected { .. }, TransportEvent::Ready]), "{events:?}");
        link
    }

    /// Moves bytes until none move.
    fn turn(&mut self) -> Vec<TransportEvent> {
        loop {
            self.transport.do_work(self.now);
            let to_hub = self.peer.receive();
            self.connection.receive(&to_hub);
            let to_client = self.connection.take_output();
            self.peer.send(&to_client);
            if to_hub.is_empty() && to_client.is_empty() {
                break;
            }
        }
        std::iter::from_fn(|| self.transport.poll_event(self.slot)).collect()
    }
}
