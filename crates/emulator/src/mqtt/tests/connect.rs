//! CONNECT, keep-alive, expiry, wills and the ends of connections.

use super::*;

#[test]
fn packets_behind_connect_are_answered_behind_connack_in_order() {
    let mut world = World::new(Config::new());
    let mut head = world.peer();
    let connect = world.connect_packet(0xc0, 60, 3600);
    let bytes = [connect, publish(0x32, EVENTS, 7, b"x"), PINGREQ.to_vec()].concat();
    assert_eq!(world.say(&mut head, &bytes), b"\x20\x02\x00\x00\x40\x02\x00\x07\xd0\x00");
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
        assert!(world.hub.connected(d()).is_none());
    }
}

#[test]
fn an_unknown_module_and_a_disabled_device_are_refused() {
    let mut world = World::new(Config::new());
    let token = crate::auth::sas::sign(KEY, "localhost/devices/d", 1_800_000_000);
    let mut head = world.peer();
    let module = connect_packet(0xc0, 60, "d/m", "localhost/d/m/?api-version=1", &token);
    assert_eq!(world.say(&mut head, &module), b"\x20\x02\x00\x05");
    let refused = world.hub.activity(&Identity::module("d", "m")).next();
    assert!(
        matches!(refused, Some(Activity::ConnectRefused { why: RefusalReason::UnknownDevice, .. })),
        "on the module's record: {refused:?}"
    );
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
    let will = world.hub.telemetry(d()).next().unwrap();
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
        assert_eq!(world.hub.telemetry_count(d()), published);
    }
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
