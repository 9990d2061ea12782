//! Headers, Open, sessions, frames (E1, E5 to E9).

use std::time::Duration;

use iothub_emulator::{Activity, Config, DisconnectReason};

use crate::support::frame::{Link, Message, *};
use crate::support::value::{V, composite, text};
use crate::support::{Peer, happened, world, world_with};

#[test]
fn a_e01_both_openings_are_served_each_with_its_own_header() {
    let hub = world();
    let mut peer = Peer::silent(&hub);
    peer.say_bytes(AMQP_HEADER);
    assert_eq!(peer.header().as_deref(), Some(AMQP_HEADER));
    let mut peer = Peer::silent(&hub);
    peer.say_bytes(SASL_HEADER);
    assert_eq!(peer.header().as_deref(), Some(SASL_HEADER));
    assert_eq!(peer.next().code, MECHANISMS);
}

#[test]
fn a_e01_any_other_header_is_answered_with_the_hubs_own_and_closed() {
    for header in [&b"AMQP\x02\x01\x00\x00"[..], b"AMQP\x00\x00\x09\x01", b"GET / HTTP/1.1"] {
        let hub = world();
        let mut peer = Peer::silent(&hub);
        peer.say_bytes(header);
        assert_eq!(peer.header().as_deref(), Some(AMQP_HEADER));
        assert!(peer.is_closed(), "{header:?}");
    }
}

#[test]
fn a_e01_a_header_may_come_byte_by_byte() {
    let hub = world();
    let mut peer = Peer::silent(&hub);
    AMQP_HEADER.iter().for_each(|byte| peer.say_bytes(&[*byte]));
    assert_eq!(peer.header().as_deref(), Some(AMQP_HEADER));
}

#[test]
fn a_e01_without_an_open_the_connection_ends_after_60_seconds() {
    let hub = world();
    let mut peer = Peer::silent(&hub);
    peer.say_bytes(AMQP_HEADER);
    hub.advance_clock(Duration::from_secs(59));
    peer.poll();
    assert!(!peer.is_closed());
    hub.advance_clock(Duration::from_secs(1));
    peer.poll();
    assert!(peer.is_closed());
}

#[test]
fn a_e05_the_open_of_the_hub_has_its_limits() {
    let hub = world();
    let mut peer = Peer::silent(&hub);
    peer.say_bytes(AMQP_HEADER);
    peer.header();
    peer.say(&open(Some(240_000)));
    let open = peer.next();
    let container = open.field(0).as_text();
    let id = container.strip_prefix("DeviceGateway_").unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{container}");
    assert_eq!(open.field(1), &text("localhost"));
    assert_eq!(open.fields[2..5], [V::Uint(65_536), V::Ushort(8191), V::Uint(240_000)]);
    let opened = |activity: &Activity| matches!(activity, Activity::AmqpOpened { container_id, sasl: None, .. } if container_id == "peer");
    assert_eq!(happened(&hub, "", opened), 1);
}

#[test]
fn a_e06_silence_for_the_idle_time_out_ends_the_connection() {
    let hub = world_with(Config::new().with_amqp_idle_time_out(Duration::from_secs(5)));
    let mut peer = Peer::open(&hub);
    hub.advance_clock(Duration::from_millis(4_999));
    peer.say_bytes(&[0, 0, 0, 8, 2, 0, 0, 0]);
    hub.advance_clock(Duration::from_millis(4_999));
    peer.poll();
    assert!(!peer.is_closed(), "an empty frame is a sign of life");
    hub.advance_clock(Duration::from_millis(1));
    peer.poll();
    assert_eq!(peer.find(CLOSE).condition(0).as_deref(), Some("amqp:connection:forced"));
    assert!(peer.is_closed());
    let idle = |activity: &Activity| {
        matches!(activity, Activity::Disconnected { why: DisconnectReason::KeepAliveExpired, .. })
    };
    assert_eq!(happened(&hub, "", idle), 1);
}

#[test]
fn a_e06_a_sign_of_life_is_on_record_for_every_identity_on_the_connection() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    peer.sender(0, "/devices/d/messages/events");
    peer.say_bytes(&[0, 0, 0, 8, 2, 0, 0, 0]);
    assert_eq!(happened(&hub, "d", |activity| matches!(activity, Activity::Ping { .. })), 1);
}

#[test]
fn a_e06_the_hub_sends_empty_frames_before_the_clients_time_out() {
    let hub = world();
    for (idle, least) in [(Some(8_000), 7_000), (None, 105_000), (Some(0), 105_000)] {
        let mut peer = Peer::silent(&hub);
        peer.say_bytes(AMQP_HEADER);
        peer.header();
        peer.say(&open(idle));
        peer.next();
        hub.advance_clock(Duration::from_millis(least - 1));
        assert_eq!(peer.heard(), None, "{idle:?}");
        hub.advance_clock(Duration::from_millis(1));
        assert_eq!(peer.next().code, 0, "{idle:?}");
    }
}

#[test]
fn a_e06_a_client_that_bears_less_than_5_seconds_is_refused() {
    let hub = world();
    let mut peer = Peer::silent(&hub);
    peer.say_bytes(AMQP_HEADER);
    peer.header();
    peer.say(&open(Some(4_999)));
    assert_eq!(peer.next().code, OPEN);
    assert_eq!(peer.next().condition(0).as_deref(), Some("amqp:not-allowed"));
    assert!(peer.is_closed());
}

#[test]
fn a_e07_the_begin_of_the_hub_has_its_windows() {
    let hub = world();
    let mut peer = Peer::open(&hub);
    peer.say_on(7, &begin());
    let begin = peer.next();
    assert_eq!((begin.channel, begin.code), (7, BEGIN));
    let expected = [V::Ushort(7), V::Uint(1), V::Uint(5_000), V::Uint(u32::MAX), V::Uint(262_143)];
    assert_eq!(begin.fields[..5], expected);
}

#[test]
fn a_e07_every_performative_is_written_with_all_its_fields() {
    let hub = world();
    let mut peer = Peer::silent(&hub);
    peer.say_bytes(AMQP_HEADER);
    peer.header();
    for (said, fields) in [
        (open(None), vec![(OPEN, 10)]),
        (begin(), vec![(BEGIN, 8)]),
        (Link::sender(0, "$cbs").attach(), vec![(ATTACH, 14), (FLOW, 11)]),
        (Link::sender(1, "nowhere").attach(), vec![(ATTACH, 14), (DETACH, 3)]),
        (end(), vec![(END, 1)]),
        (close(), vec![(CLOSE, 1)]),
    ] {
        peer.say(&said);
        let said: Vec<_> = peer.all().iter().map(|frame| (frame.code, frame.fields.len())).collect();
        assert_eq!(said, fields);
    }
}

#[test]
fn a_e07_many_sessions_and_links_share_a_connection() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    for channel in 1..=50 {
        peer.say_on(channel, &begin());
        assert_eq!(peer.next().channel, channel);
    }
    for handle in 0..1_200 {
        let answer = peer.attach_on(1, &Link::receiver(handle, "$cbs"));
        assert_eq!(answer.uint(1), handle);
    }
}

#[test]
fn a_e07_the_window_is_given_again_before_it_is_used_up() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    peer.sender(0, "/devices/d/messages/events");
    for _ in 0..6_000 {
        peer.send_as(0, 0, true, &Message::of(b"x").encoded());
    }
    assert_eq!(hub.telemetry_count("d"), 6_000);
    let of_the_session = peer.all_of(FLOW).into_iter().filter(|flow| *flow.field(4) == V::Null);
    let windows: Vec<u32> = of_the_session.map(|flow| flow.uint(1)).collect();
    assert_eq!(windows, [5_000, 5_000]);
}

#[test]
fn a_e08_a_frame_over_the_limit_or_without_sense_is_a_framing_error() {
    for bytes in [
        &b"\x00\x01\x00\x01\x02\x00\x00\x00"[..],
        b"\x00\x00\x00\x08\x01\x00\x00\x00",
        b"\x00\x00\x00\x04\x02\x00\x00\x00",
    ] {
        let hub = world();
        let mut peer = Peer::open(&hub);
        peer.say_bytes(bytes);
        assert_eq!(peer.next().condition(0).as_deref(), Some("amqp:connection:framing-error"), "{bytes:02x?}");
        assert!(peer.is_closed());
    }
}

#[test]
fn a_e08_what_cannot_be_decoded_is_a_decode_error() {
    let nested = raw_frame(0, 0, &[0; 5_000]);
    let unknown = frame(0, &composite(0x19, vec![]), &[]);
    let wrong_type = frame(0, &composite(ATTACH, vec![V::Uint(1)]), &[]);
    let broken_off = raw_frame(0, 0, b"\x00\x53\x12\xc0\x20\x01");
    for bytes in [nested, unknown, wrong_type, broken_off] {
        let hub = world();
        let mut peer = Peer::open(&hub);
        peer.say_bytes(&bytes);
        assert_eq!(peer.next().condition(0).as_deref(), Some("amqp:decode-error"));
        assert!(peer.is_closed());
    }
}

#[test]
fn a_e08_what_is_out_of_place_is_answered_with_its_condition() {
    let cases: [(u16, V, u64, &str); 8] = [
        (0, open(None), CLOSE, "amqp:not-allowed"),
        (0, begin(), CLOSE, "amqp:not-allowed"),
        (9, detach(0), CLOSE, "amqp:not-allowed"),
        (8_192, begin(), CLOSE, "amqp:connection:framing-error"),
        (0, Link::sender(262_144, "$cbs").attach(), CLOSE, "amqp:connection:framing-error"),
        (0, detach(5), END, "amqp:session:unattached-handle"),
        (0, credit(5, 0, 1), END, "amqp:session:unattached-handle"),
        (0, transfer(5, 0, 0, false, false), END, "amqp:session:unattached-handle"),
    ];
    for (channel, performative, code, condition) in cases {
        let hub = world();
        let mut peer = Peer::open(&hub);
        peer.say_on(channel, &performative);
        let answer = peer.next();
        assert_eq!((answer.code, answer.condition(0).as_deref()), (code, Some(condition)), "{performative:?}");
        assert_eq!(peer.is_closed(), code == CLOSE);
    }
}

#[test]
fn a_e08_a_handle_in_use_ends_the_session() {
    let hub = world();
    let mut peer = Peer::open(&hub);
    peer.sender(0, "$cbs");
    peer.say(&Link::receiver(0, "$cbs").attach());
    assert_eq!(peer.find(END).condition(0).as_deref(), Some("amqp:session:handle-in-use"));
    // The channel is free again once the peer has said End too.
    peer.say(&end());
    peer.say(&begin());
    assert_eq!(peer.next().code, BEGIN);
}

#[test]
fn a_e08_a_message_in_many_transfers_is_one_message() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    peer.sender(0, "/devices/d/messages/events");
    let body: Vec<u8> = (0..200_000).map(|index| index as u8).collect();
    peer.accepted(0, &Message::of(&body));
    assert_eq!(hub.telemetry("d")[0].body, body);
}

#[test]
fn a_e08_an_aborted_message_never_was() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    peer.sender(0, "/devices/d/messages/events");
    peer.say_bytes(&frame(0, &transfer(0, 50, 0, false, true), &Message::of(b"half").encoded()));
    let aborted = composite(
        TRANSFER,
        vec![
            V::Uint(0),
            V::Uint(50),
            V::Null,
            V::Null,
            V::Null,
            V::Bool(false),
            V::Null,
            V::Null,
            V::Null,
            V::Bool(true),
        ],
    );
    peer.say(&aborted);
    peer.accepted(0, &Message::of(b"whole"));
    assert_eq!(hub.telemetry("d").iter().map(|record| &record.body[..]).collect::<Vec<_>>(), [b"whole"]);
}

#[test]
fn a_e09_close_end_and_detach_are_answered() {
    let hub = world();
    let mut peer = Peer::open(&hub);
    peer.sender(3, "$cbs");
    peer.say(&detach(3));
    let answer = peer.next();
    assert_eq!((answer.code, answer.uint(0), answer.condition(2)), (DETACH, 3, None));
    peer.say(&end());
    assert_eq!(peer.next().code, END);
    peer.say(&close());
    let answer = peer.next();
    assert_eq!((answer.code, answer.condition(0)), (CLOSE, None));
    assert!(peer.is_closed());
    let by_device =
        |activity: &Activity| matches!(activity, Activity::Disconnected { why: DisconnectReason::ByDevice, .. });
    assert_eq!(happened(&hub, "", by_device), 1);
}

#[test]
fn a_e09_the_end_of_a_connection_ends_its_devices_connections() {
    let hub = world();
    let mut peer = Peer::of_device(&hub);
    assert!(!hub.connected("d"), "a token alone is no connection of the device");
    peer.sender(0, "/devices/d/messages/events");
    assert!(hub.connected("d"));
    peer.peer_closed();
    assert!(!hub.connected("d"));
    let lost =
        |activity: &Activity| matches!(activity, Activity::Disconnected { why: DisconnectReason::ConnectionLost, .. });
    assert_eq!(happened(&hub, "d", lost), 1);
}

#[test]
fn a_e09_the_last_detach_of_a_device_ends_its_connection_and_no_other() {
    let hub = world();
    crate::support::add_device(&hub, "e");
    let mut peer = Peer::of_device(&hub);
    peer.put_token("hub.test/devices/e", &crate::support::token(&hub, "e"));
    peer.sender(0, "/devices/d/messages/events");
    peer.receiver(1, "/devices/d/messages/devicebound", 1);
    peer.sender(2, "/devices/e/messages/events");
    peer.say(&detach(0));
    peer.find(DETACH);
    assert!(hub.connected("d"));
    peer.say(&detach(1));
    peer.find(DETACH);
    assert!(!hub.connected("d") && hub.connected("e"));
}
