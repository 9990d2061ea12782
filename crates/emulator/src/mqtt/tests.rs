//! The head in virtual time, without a network: what a device sees, and what the hub knows.

use std::time::{Duration, SystemTime};

use super::{Close, Head};
use crate::clock::{Clock, Now, unix_seconds};
use crate::config::{BadFilter, Config, LockExpiry, OutOfOrderPuback, UnknownTopic};
use crate::device::DeviceAuth;
use crate::faults::{DropPoint, Fault};
use crate::hub::HubState;
use crate::message::C2dMessage;
use crate::record::{Activity, C2dResult, DisconnectReason, RefusalReason};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const PINGREQ: &[u8] = b"\xc0\x00";
const DISCONNECT: &[u8] = b"\xe0\x00";

/// A hub with a device `d`, a clock that the test moves, and raw MQTT peers.
struct World {
    clock: Clock,
    hub: HubState,
}

impl World {
    fn new(config: Config) -> Self {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let clock = Clock::new(Some(start));
        let mut hub = HubState::new(config.validated().unwrap());
        let keys = DeviceAuth::SymmetricKey { primary: KEY.into(), secondary: KEY.into() };
        hub.create_device("d", keys, clock.now()).unwrap();
        Self { clock, hub }
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn pass(&mut self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.hub.advance(self.clock.now());
    }

    fn peer(&mut self) -> Head {
        let now = self.now();
        Head::new(&mut self.hub, now)
    }

    /// Feeds bytes and gives the answer.
    fn say(&mut self, head: &mut Head, bytes: &[u8]) -> Vec<u8> {
        let now = self.now();
        head.receive(&mut self.hub, now, bytes);
        head.take_output()
    }

    /// What the head has to say by itself.
    fn poll(&mut self, head: &mut Head) -> Vec<u8> {
        let now = self.now();
        head.poll(&mut self.hub, now);
        head.take_output()
    }

    fn connect_packet(&self, flags: u8, keep_alive: u16, lifetime: u64) -> Vec<u8> {
        let token = crate::auth::sas::sign(KEY, "localhost/devices/d", unix_seconds(self.now().wall) + lifetime);
        connect_packet(flags, keep_alive, "d", "localhost/d/?api-version=2021-04-12", &token)
    }

    fn connected(&mut self) -> Head {
        let mut head = self.peer();
        let connect = self.connect_packet(0xc0, 60, 3600);
        assert_eq!(self.say(&mut head, &connect)[..2], *b"\x20\x02");
        head
    }

    fn send_c2d(&mut self, id: &str) {
        let now = self.now();
        self.hub.send_c2d("d", id.to_owned(), C2dMessage::new("x"), now).unwrap();
    }

    fn last_activity(&self) -> &Activity {
        self.hub.activity("d").last().unwrap()
    }

    fn why(&self) -> &DisconnectReason {
        let ends = self.hub.activity("d").filter_map(|activity| match activity {
            Activity::Disconnected { why, .. } => Some(why),
            _ => None,
        });
        ends.last().unwrap()
    }

    fn refusal(&self) -> &RefusalReason {
        let refusals = self.hub.activity("d").filter_map(|activity| match activity {
            Activity::ConnectRefused { why, .. } => Some(why),
            _ => None,
        });
        refusals.last().unwrap()
    }
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut length = body.len();
    let mut bytes = vec![first];
    loop {
        let more = length >= 128;
        bytes.push((length % 128) as u8 | if more { 0x80 } else { 0 });
        length /= 128;
        if !more {
            return [bytes, body.to_vec()].concat();
        }
    }
}

fn connect_packet(flags: u8, keep_alive: u16, client_id: &str, user_name: &str, password: &str) -> Vec<u8> {
    let mut body = [b"\x00\x04MQTT\x04".as_slice(), &[flags], &keep_alive.to_be_bytes(), &text(client_id)].concat();
    if flags & 0x04 != 0 {
        body.extend([text("devices/d/messages/events/a=b"), text("gone")].concat());
    }
    body.extend([text(user_name), text(password)].concat());
    packet(0x10, &body)
}

fn publish(first: u8, topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let id = if first & 0x06 == 0 { Vec::new() } else { packet_id.to_be_bytes().to_vec() };
    packet(first, &[text(topic), id, payload.to_vec()].concat())
}

fn subscribe(packet_id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let filters: Vec<u8> = filters.iter().flat_map(|(filter, qos)| [text(filter), vec![*qos]].concat()).collect();
    packet(0x82, &[packet_id.to_be_bytes().to_vec(), filters].concat())
}

const EVENTS: &str = "devices/d/messages/events/";

#[test]
fn packets_behind_connect_are_answered_behind_connack_in_order() {
    let mut world = World::new(Config::new());
    let mut head = world.peer();
    let connect = world.connect_packet(0xc0, 60, 3600);
    let bytes = [connect, publish(0x32, EVENTS, 7, b"x"), PINGREQ.to_vec()].concat();
    assert_eq!(world.say(&mut head, &bytes), b"\x20\x02\x00\x00\x40\x02\x00\x07\xd0\x00");
}

#[test]
fn a_thousand_pipelined_messages_are_acknowledged_in_order_in_one_piece() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    let bytes: Vec<u8> = (1..=1000).flat_map(|id| publish(0x32, EVENTS, id, b"x")).collect();
    let expected: Vec<u8> =
        (1..=1000u16).flat_map(|id| [b"\x40\x02".to_vec(), id.to_be_bytes().to_vec()].concat()).collect();
    assert_eq!(world.say(&mut head, &bytes), expected);
    assert_eq!(world.hub.telemetry_count("d"), 1000);
}

#[test]
fn nothing_but_connect_may_come_first_and_only_once() {
    let mut world = World::new(Config::new());
    let mut head = world.peer();
    assert!(world.say(&mut head, PINGREQ).is_empty());
    assert_eq!(head.closing(), Some(Close::Bare));
    let mut head = world.connected();
    let again = world.connect_packet(0xc0, 60, 3600);
    assert!(world.say(&mut head, &again).is_empty());
    assert_eq!(*world.why(), DisconnectReason::ProtocolViolation("a second CONNECT".into()));
}

#[test]
fn a_connection_without_connect_ends_after_a_minute() {
    let mut world = World::new(Config::new());
    let mut head = world.peer();
    assert_eq!(head.timeout(world.now()), Some(Duration::from_secs(60)));
    world.pass(59);
    world.poll(&mut head);
    assert_eq!(head.closing(), None);
    world.pass(1);
    world.poll(&mut head);
    assert_eq!(head.closing(), Some(Close::Bare));
}

/// Client id, user name, password, and what the hub's record must say.
type BadCredential<'a> = (&'a str, &'a str, String, fn(&RefusalReason) -> bool);

#[test]
fn every_bad_credential_gets_5_and_only_the_hub_knows_why() {
    let good = "localhost/d/?api-version=1";
    let token = |key: &str, resource: &str, expiry: u64| crate::auth::sas::sign(key, resource, expiry);
    let later = 1_800_000_000;
    let other_key = "BBECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let cases: [BadCredential<'_>; 7] = [
        ("d", good, token(other_key, "localhost/devices/d", later), |why| *why == RefusalReason::TokenSignature),
        ("d", good, token(KEY, "localhost/devices/e", later), |why| matches!(why, RefusalReason::TokenAudience { .. })),
        ("d", good, token(KEY, "elsewhere/devices/d", later), |why| matches!(why, RefusalReason::TokenAudience { .. })),
        ("d", good, token(KEY, "localhost/devices/d", 1_700_000_000), |why| {
            matches!(why, RefusalReason::TokenExpired { .. })
        }),
        ("d", good, String::new(), |why| *why == RefusalReason::CredentialMissing),
        ("D", good, token(KEY, "localhost/devices/d", later), |why| *why == RefusalReason::ClientIdMismatch),
        ("d", "localhost", token(KEY, "localhost/devices/d", later), |why| matches!(why, RefusalReason::UserName(_))),
    ];
    for (client_id, user_name, password, expected) in cases {
        let mut world = World::new(Config::new());
        let mut head = world.peer();
        let answer = world.say(&mut head, &connect_packet(0xc0, 60, client_id, user_name, &password));
        assert_eq!(answer, b"\x20\x02\x00\x05", "{user_name}");
        assert_eq!(head.closing(), Some(Close::Orderly));
        assert!(expected(world.refusal()), "{:?}", world.refusal());
        assert!(world.hub.connected(&crate::hub::registry::Identity::device("d")).is_none());
    }
}

#[test]
fn a_module_is_not_known_and_a_disabled_device_is_refused() {
    let mut world = World::new(Config::new());
    let token = crate::auth::sas::sign(KEY, "localhost/devices/d", 1_800_000_000);
    let mut head = world.peer();
    let module = connect_packet(0xc0, 60, "d/m", "localhost/d/m/?api-version=1", &token);
    assert_eq!(world.say(&mut head, &module), b"\x20\x02\x00\x05");
    assert_eq!(*world.refusal(), RefusalReason::UnknownDevice);
    let now = world.now();
    world.hub.set_enabled("d", false, now).unwrap();
    let mut head = world.peer();
    let connect = world.connect_packet(0xc0, 60, 3600);
    assert_eq!(world.say(&mut head, &connect), b"\x20\x02\x00\x05");
    assert_eq!(*world.refusal(), RefusalReason::DeviceDisabled);
}

#[test]
fn another_protocol_level_gets_1() {
    let mut world = World::new(Config::new());
    let mut head = world.peer();
    assert_eq!(world.say(&mut head, b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x01d"), b"\x20\x02\x00\x01");
}

#[test]
fn silence_for_one_and_a_half_keep_alive_times_ends_the_connection_and_any_packet_prevents_it() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    world.pass(89);
    assert_eq!(world.say(&mut head, PINGREQ), b"\xd0\x00");
    world.pass(89);
    assert_eq!(head.timeout(world.now()), Some(Duration::from_secs(1)));
    world.poll(&mut head);
    assert_eq!(head.closing(), None);
    world.pass(1);
    world.poll(&mut head);
    assert_eq!(*world.why(), DisconnectReason::KeepAliveExpired);
}

#[test]
fn keep_alive_is_capped_and_zero_gets_the_cap() {
    for keep_alive in [0, 1178, 65535] {
        let mut world = World::new(Config::new());
        let mut head = world.peer();
        let connect = world.connect_packet(0xc0, keep_alive, 1_000_000);
        world.say(&mut head, &connect);
        assert_eq!(head.timeout(world.now()), Some(Duration::from_secs(1767)));
    }
}

#[test]
fn the_connection_ends_when_the_token_and_the_grace_are_over() {
    let mut world = World::new(Config::new().with_sas_grace(Duration::from_secs(600)));
    let mut head = world.peer();
    let connect = world.connect_packet(0xc0, 0, 100);
    world.say(&mut head, &connect);
    world.pass(699);
    world.poll(&mut head);
    assert_eq!(head.closing(), None);
    world.pass(1);
    assert!(world.poll(&mut head).is_empty());
    assert_eq!(*world.why(), DisconnectReason::TokenExpired);
    assert_eq!(head.closing(), Some(Close::Bare));
}

#[test]
fn a_newer_connection_ends_the_older_one_whose_will_is_published() {
    let mut world = World::new(Config::new());
    let mut first = world.peer();
    let connect = world.connect_packet(0xc4, 60, 3600);
    world.say(&mut first, &connect);
    let mut second = world.connected();
    assert!(world.poll(&mut first).is_empty());
    assert_eq!(first.closing(), Some(Close::Bare));
    assert_eq!(world.say(&mut second, PINGREQ), b"\xd0\x00");
    let will = world.hub.telemetry("d").next().unwrap();
    assert_eq!(will.body, "gone");
    assert_eq!(will.property("iothub-MessageType"), Some(Some("Will")));
    assert_eq!(will.property("a"), Some(Some("b")));
}

#[test]
fn a_will_is_published_unless_the_device_says_goodbye() {
    for (ends, published) in [(DISCONNECT, 0), (b"\xf0\x00".as_slice(), 1)] {
        let mut world = World::new(Config::new());
        let mut head = world.peer();
        let connect = world.connect_packet(0xc4, 60, 3600);
        world.say(&mut head, &connect);
        world.say(&mut head, ends);
        assert_eq!(world.hub.telemetry_count("d"), published);
    }
}

#[test]
fn a_stored_session_delivers_without_subscribe_and_a_clean_one_forgets() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    assert_eq!(
        world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 1)])),
        b"\x90\x03\x00\x01\x01"
    );
    world.say(&mut head, DISCONNECT);
    world.send_c2d("m1");
    let mut head = world.peer();
    let connect = world.connect_packet(0xc0, 60, 3600);
    let answer = world.say(&mut head, &connect);
    assert_eq!(answer[..5], *b"\x20\x02\x01\x00\x32", "session present, then the message at QoS 1");
    world.say(&mut head, DISCONNECT);

    let mut head = world.peer();
    let clean = world.connect_packet(0xc2, 60, 3600);
    assert_eq!(world.say(&mut head, &clean), b"\x20\x02\x00\x00");
    world.say(&mut head, DISCONNECT);
    let mut head = world.peer();
    assert_eq!(world.say(&mut head, &connect), b"\x20\x02\x00\x00");
}

#[test]
fn subscriptions_are_granted_at_most_qos_1_and_unsubscribing_stops_delivery() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    let filters = [
        ("devices/d/messages/devicebound/#", 2),
        ("$iothub/twin/res/#", 0),
        ("$iothub/twin/PATCH/properties/desired/#", 1),
        ("$iothub/methods/POST/#", 0),
        ("devices/+/messages/devicebound/#", 1),
    ];
    assert_eq!(world.say(&mut head, &subscribe(9, &filters)), b"\x90\x07\x00\x09\x01\x00\x01\x00\x01");
    let unsubscribe = [text("devices/d/messages/devicebound/#"), text("devices/+/messages/devicebound/#")].concat();
    assert_eq!(
        world.say(&mut head, &packet(0xa2, &[b"\x00\x0a", unsubscribe.as_slice()].concat())),
        b"\xb0\x02\x00\x0a"
    );
    world.send_c2d("m1");
    assert!(world.poll(&mut head).is_empty());
}

#[test]
fn a_bad_filter_or_one_too_many_is_answered_as_configured() {
    let bad = subscribe(1, &[("#", 1)]);
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    assert!(world.say(&mut head, &bad).is_empty());
    assert_eq!(*world.why(), DisconnectReason::UnknownFilter("#".into()));

    let mut world = World::new(Config::new().with_bad_filter(BadFilter::SubackFailure).with_subscription_limit(1));
    let mut head = world.connected();
    assert_eq!(world.say(&mut head, &bad), b"\x90\x03\x00\x01\x80");
    let two = subscribe(2, &[("$iothub/twin/res/#", 1), ("$iothub/methods/POST/#", 1), ("$iothub/twin/res/#", 0)]);
    assert_eq!(world.say(&mut head, &two), b"\x90\x05\x00\x02\x01\x80\x00");

    let mut world = World::new(Config::new().with_bad_filter(BadFilter::Ignore));
    let mut head = world.connected();
    assert_eq!(world.say(&mut head, &bad), b"\x90\x03\x00\x01\x01");
}

#[test]
fn messages_in_flight_come_again_with_dup_after_a_reconnect() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 1)]));
    world.send_c2d("m1");
    let first = world.poll(&mut head);
    let now = world.now();
    head.peer_closed(&mut world.hub, now);
    let mut head = world.peer();
    let connect = world.connect_packet(0xc0, 60, 3600);
    let answer = world.say(&mut head, &connect);
    assert_eq!(answer[4], first[0] | 0x08);
    assert_eq!(answer[5..], first[1..]);
    assert_eq!(world.hub.c2d_queue("d", world.clock.now())[0].delivery_count, 0);
}

#[test]
fn a_puback_completes_a_message_and_one_out_of_order_is_handled_as_configured() {
    for (reaction, completed, closed) in
        [(OutOfOrderPuback::Ignore, 0, false), (OutOfOrderPuback::Accept, 1, false), (OutOfOrderPuback::Close, 0, true)]
    {
        let mut world = World::new(Config::new().with_out_of_order_puback(reaction));
        let mut head = world.connected();
        world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 1)]));
        world.send_c2d("m1");
        world.send_c2d("m2");
        world.poll(&mut head);
        // The first sequence number is 1, so its packet id is 2.
        world.say(&mut head, b"\x40\x02\x00\x03");
        assert_eq!(world.hub.c2d_outcomes("d").count(), completed, "{reaction:?}");
        assert_eq!(head.closing().is_some(), closed, "{reaction:?}");
    }
}

#[test]
fn a_lock_that_ends_on_a_live_connection_redelivers_or_holds() {
    for (reaction, again) in [(LockExpiry::Redeliver, true), (LockExpiry::Hold, false)] {
        let mut world =
            World::new(Config::new().with_lock_expiry(reaction).with_max_keep_alive(Duration::from_secs(1767)));
        let mut head = world.connected();
        world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 1)]));
        world.send_c2d("m1");
        let first = world.poll(&mut head);
        world.pass(60);
        let second = world.poll(&mut head);
        assert_eq!(!second.is_empty(), again, "{reaction:?}");
        assert!(!again || (second[0] == first[0] | 0x08 && second[1..] == first[1..]));
        world.say(&mut head, b"\x40\x02\x00\x02");
        assert_eq!(world.hub.c2d_outcomes("d").next().unwrap().result, C2dResult::Completed, "{reaction:?}");
    }
}

#[test]
fn at_qos_0_sending_completes() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 0)]));
    world.send_c2d("m1");
    assert_eq!(world.poll(&mut head)[0], 0x30);
    assert_eq!(world.hub.c2d_outcomes("d").next().unwrap().result, C2dResult::Completed);
}

#[test]
fn without_a_subscription_messages_wait_or_are_rejected_as_configured() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    world.send_c2d("m1");
    assert!(world.poll(&mut head).is_empty());
    assert_eq!(world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 1)]))[5], 0x32, "it waited");

    let mut world = World::new(Config::new().with_drop_unmatched(true));
    world.send_c2d("m1");
    let mut head = world.connected();
    world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 1)]));
    assert_eq!(world.hub.c2d_outcomes("d").next().unwrap().result, C2dResult::Rejected);
}

#[test]
fn qos_2_an_oversize_message_and_an_unknown_topic_end_the_connection_without_puback() {
    let oversize = vec![0; 262_145];
    for (bytes, expected) in [
        (publish(0x34, EVENTS, 1, b"x"), DisconnectReason::Qos2),
        (publish(0x32, EVENTS, 1, &oversize), DisconnectReason::MessageTooLarge { size: 262_145, limit: 262_144 }),
        (
            publish(0x32, "devices/e/messages/events/", 1, b"x"),
            DisconnectReason::UnknownTopic("devices/e/messages/events/".into()),
        ),
    ] {
        let mut world = World::new(Config::new());
        let mut head = world.connected();
        assert!(world.say(&mut head, &bytes).is_empty());
        assert_eq!(*world.why(), expected);
        assert_eq!(world.hub.telemetry_count("d"), 0);
    }
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    assert_eq!(world.say(&mut head, &publish(0x32, EVENTS, 1, &oversize[..262_144])), b"\x40\x02\x00\x01");
}

#[test]
fn an_unknown_topic_may_be_dropped_or_stored_as_configured() {
    let bytes = publish(0x32, "other", 1, b"x");
    let mut world = World::new(Config::new().with_unknown_topic(UnknownTopic::DropAndAck));
    let mut head = world.connected();
    assert_eq!(world.say(&mut head, &bytes), b"\x40\x02\x00\x01");
    assert_eq!(world.hub.telemetry_count("d"), 0);

    let mut world = World::new(Config::new().with_unknown_topic(UnknownTopic::LegacyUnmatched));
    let mut head = world.connected();
    assert_eq!(world.say(&mut head, &bytes), b"\x40\x02\x00\x01");
    assert_eq!(world.hub.telemetry("d").next().unwrap().property("$PG.Subject"), Some(Some("other")));
    assert!(world.say(&mut head, &publish(0x32, "a/#", 2, b"x")).is_empty(), "a wildcard closes all the same");
}

#[test]
fn a_repeated_and_a_retained_message_are_stored_and_marked() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    let bytes = [publish(0x32, EVENTS, 1, b"x"), publish(0x3b, EVENTS, 1, b"x")].concat();
    assert_eq!(world.say(&mut head, &bytes), b"\x40\x02\x00\x01\x40\x02\x00\x01");
    let second = world.hub.telemetry("d").nth(1).unwrap();
    assert_eq!(second.property("mqtt-dup"), Some(Some("true")));
    assert_eq!(second.property("mqtt-retain"), Some(Some("true")));
}

#[test]
fn twin_requests_are_answered_501_and_a_request_without_id_ends_the_connection() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    world.say(&mut head, &subscribe(1, &[("$iothub/twin/res/#", 0)]));
    let answer = world.say(&mut head, &publish(0x32, "$iothub/twin/GET/?$rid=a-1", 5, b" "));
    assert!(String::from_utf8_lossy(&answer).contains("$iothub/twin/res/501/?$rid=a-1"));
    assert!(answer.ends_with(b"\x40\x02\x00\x05"), "QoS 1 is acknowledged");
    world.say(&mut head, &publish(0x30, "$iothub/twin/GET/", 0, b""));
    assert!(matches!(world.why(), DisconnectReason::UnknownTopic(_)));
}

#[test]
fn each_drop_point_fires_once_and_nothing_is_answered_beyond_it() {
    use DropPoint as P;
    let filter = [("devices/d/messages/devicebound/#", 1)];
    // What the device gets behind CONNACK, and whether its telemetry is stored, for each point.
    let cases: [(DropPoint, &[u8], usize); 8] = [
        (P::ConnackSent, b"", 0),
        (P::SubscribeReceived, b"", 0),
        (P::SubackSent, b"\x90\x03\x00\x01\x01", 0),
        (P::PublishReceived, b"\x90\x03\x00\x01\x01", 0),
        (P::PublishStored, b"\x90\x03\x00\x01\x01", 1),
        (P::PubackSent, b"\x90\x03\x00\x01\x01\x40\x02\x00\x02", 1),
        (P::MidPacket, b"\x90\x03", 0),
        (P::ConnectReceived, b"", 0),
    ];
    for (point, answer, stored) in cases {
        let mut world = World::new(Config::new());
        world.hub.faults.push(None, Fault::Drop { device: Some("d".into()), at: point });
        let mut head = world.peer();
        let connect = world.connect_packet(0xc0, 60, 3600);
        let bytes = [connect, subscribe(1, &filter), publish(0x32, EVENTS, 2, b"x")].concat();
        let seen = world.say(&mut head, &bytes);
        let behind_connack = if point == P::ConnectReceived { &seen[..] } else { &seen[4..] };
        assert_eq!(behind_connack, answer, "{point:?}");
        assert_eq!(world.hub.telemetry_count("d"), stored, "{point:?}");
        assert_eq!(head.closing(), Some(Close::Bare), "{point:?}");
        assert!(matches!(world.why(), DisconnectReason::Fault(_)), "{point:?}");
        assert_eq!(world.hub.faults.len(), 0, "{point:?}");
        world.connected();
    }
}

#[test]
fn a_message_that_a_drop_kept_back_is_not_marked_as_sent() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 1)]));
    world.send_c2d("m1");
    world.send_c2d("m2");
    world.hub.faults.push(None, Fault::Drop { device: None, at: DropPoint::C2dSent });
    world.poll(&mut head);
    assert!(head.closing().is_some());
    world.connected();
    let dups: Vec<bool> = world
        .hub
        .activity("d")
        .filter_map(|activity| match activity {
            Activity::C2dSent { dup, .. } => Some(*dup),
            _ => None,
        })
        .collect();
    assert_eq!(dups, [false, true, false]);
}

#[test]
fn pubacks_can_be_dropped_delayed_and_reordered() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    let three: Vec<u8> = (1..=3).flat_map(|id| publish(0x32, EVENTS, id, b"x")).collect();
    world.hub.faults.push(None, Fault::DropPubacks { count: 2 });
    assert_eq!(world.say(&mut head, &three), b"\x40\x02\x00\x03");
    world.hub.faults.push(None, Fault::ReorderPubacks { window: 2 });
    assert_eq!(world.say(&mut head, &three), b"\x40\x02\x00\x02\x40\x02\x00\x01\x40\x02\x00\x03");
    world.hub.faults.push(None, Fault::DelayPubacks { count: 1, by: Duration::from_secs(5) });
    assert!(world.say(&mut head, &three).is_empty());
    assert_eq!(head.timeout(world.now()), Some(Duration::from_secs(5)));
    world.pass(5);
    assert_eq!(world.poll(&mut head), b"\x40\x02\x00\x01\x40\x02\x00\x02\x40\x02\x00\x03");
    assert_eq!(world.hub.telemetry_count("d"), 9);
}

#[test]
fn answers_can_be_withheld_refused_or_forgotten() {
    let mut world = World::new(Config::new());
    let connect = world.connect_packet(0xc0, 60, 3600);
    world.hub.faults.push(None, Fault::WithholdConnack);
    let mut head = world.peer();
    assert!(world.say(&mut head, &connect).is_empty());
    assert_eq!((head.closing(), head.timeout(world.now())), (None, None));
    world.hub.faults.push(None, Fault::RefuseConnect { code: 3 });
    let mut head = world.peer();
    assert_eq!(world.say(&mut head, &connect), b"\x20\x02\x00\x03");

    let mut head = world.connected();
    world.hub.faults.push(None, Fault::WithholdPingresp);
    assert!(world.say(&mut head, PINGREQ).is_empty());
    assert_eq!(world.say(&mut head, PINGREQ), b"\xd0\x00");
    world.hub.faults.push(None, Fault::RefuseSubscription);
    assert_eq!(world.say(&mut head, &subscribe(1, &[("$iothub/twin/res/#", 1)])), b"\x90\x03\x00\x01\x80");
    world.hub.faults.push(None, Fault::SessionLost);
    let mut head = world.peer();
    assert_eq!(world.say(&mut head, &connect), b"\x20\x02\x00\x00");
}

#[test]
fn a_fault_for_another_device_does_not_fire() {
    let mut world = World::new(Config::new());
    world.hub.faults.push(Some("e".into()), Fault::WithholdConnack);
    world.connected();
    assert_eq!(world.hub.faults.len(), 1);
}

#[test]
fn deleting_or_disabling_a_device_ends_its_connection() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    let now = world.now();
    world.hub.set_enabled("d", false, now).unwrap();
    assert!(world.poll(&mut head).is_empty());
    assert_eq!(head.closing(), Some(Close::Bare));
    assert!(matches!(world.last_activity(), Activity::Disconnected { why: DisconnectReason::DeviceDisabled, .. }));
}
