//! SUBSCRIBE and UNSUBSCRIBE (E13 to E16).

use iothub_emulator::{Activity, BadFilter, C2dMessage, Config, DisconnectReason, Emulator, Fault, Hub};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Packet;

use crate::support::packets::{self, Connect};
use crate::support::peer::Peer;
use crate::support::{start, why_it_ended};

const DEVICEBOUND: &str = "devices/dev/messages/devicebound/#";
const ANY_DEVICEBOUND: &str = "devices/+/messages/devicebound/#";

/// Every filter that the documents and the official SDKs have a device subscribe to.
const DOCUMENTED: [&str; 5] = [
    DEVICEBOUND,
    ANY_DEVICEBOUND,
    "$iothub/twin/res/#",
    "$iothub/twin/PATCH/properties/desired/#",
    "$iothub/methods/POST/#",
];

/// Filters that a broker would take and a hub does not.
const FOREIGN: [&str; 22] = [
    "#",
    "+",
    "+/#",
    "devices/#",
    "devices/dev/#",
    "devices/dev/messages/#",
    "devices/dev/messages/devicebound",
    "devices/dev/messages/devicebound/",
    "devices/dev/messages/devicebound/+",
    "devices/dev/messages/events/#",
    "devices/dev/messages/devicebound/#/",
    "devices/dev2/messages/devicebound/#",
    "devices/DEV/messages/devicebound/#",
    "devices/de+/messages/devicebound/#",
    "/devices/dev/messages/devicebound/#",
    "devices/dev/modules/mod/#",
    "devices/dev/modules/mod/inputs/#",
    "$iothub/#",
    "$iothub/twin/#",
    "$iothub/twin/PATCH/properties/reported/#",
    "$iothub/methods/res/#",
    "$SYS/#",
];

/// What the hub's record says was granted, in order.
fn granted(hub: &Hub) -> Vec<(String, String)> {
    hub.activity("dev")
        .iter()
        .filter_map(|activity| match activity {
            Activity::Subscribed { filter, granted, .. } => Some((filter.clone(), format!("{granted:?}"))),
            _ => None,
        })
        .collect()
}

#[test]
fn m_e13_a_suback_grants_at_most_qos_1_filter_by_filter() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    let requested: Vec<(&str, u8)> = DOCUMENTED.into_iter().zip([0, 1, 2, 1, 0]).collect();
    assert_eq!(peer.subscribe(&requested), [0, 1, 1, 1, 0]);
    let recorded: Vec<String> = granted(&hub).into_iter().map(|(filter, _)| filter).collect();
    assert_eq!(recorded, DOCUMENTED);
}

#[test]
fn m_e13_a_suback_echoes_the_packet_id_and_one_subscribe_may_repeat_a_filter() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    for id in [1, 0x1234, u16::MAX] {
        let filters = [(DEVICEBOUND, 1), (DEVICEBOUND, 0), ("$iothub/methods/POST/#", 0), (DEVICEBOUND, 2)];
        peer.send(&packets::subscribe(id, &filters));
        let Packet::SubAck(ack) = peer.read() else {
            panic!("a SUBACK comes");
        };
        assert_eq!(ack.pkid, id);
        assert_eq!(ack.return_codes.len(), 4);
    }
}

#[test]
fn m_e13_malformed_subscribes_close() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let good = packets::subscribe(1, &[(DEVICEBOUND, 1)]);
    let mut wrong_flags = good.clone();
    wrong_flags[0] = 0x80;
    let malformed: [(&str, Vec<u8>); 5] = [
        ("no filter", packets::subscribe(1, &[])),
        ("QoS 3", packets::subscribe(1, &[(DEVICEBOUND, 3)])),
        ("packet id 0", packets::subscribe(0, &[(DEVICEBOUND, 1)])),
        ("header flags 0", wrong_flags),
        ("an empty filter", packets::subscribe(1, &[("", 1)])),
    ];
    for (what, packet) in malformed {
        let mut peer = Peer::connected(&hub, &device);
        peer.send(&packet);
        assert_eq!(peer.read_until_closed(), [], "{what}");
    }
    assert_eq!(granted(&hub), []);
}

#[test]
fn m_e14_each_documented_filter_is_accepted_alone() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    for filter in DOCUMENTED {
        let mut peer = Peer::connected(&hub, &device);
        assert_eq!(peer.subscribe(&[(filter, 1)]), [1], "{filter}");
    }
}

#[test]
fn m_e14_the_wildcard_in_place_of_the_device_id_means_this_device_only() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    hub.create_device("dev2").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.subscribe(&[(ANY_DEVICEBOUND, 1)]);
    hub.send_c2d("dev2", C2dMessage::new("for another")).unwrap();
    hub.send_c2d("dev", C2dMessage::new("for this one")).unwrap();
    let publish = peer.expect_publish();
    assert_eq!(&publish.payload[..], b"for this one");
    assert!(publish.topic.starts_with("devices/dev/messages/devicebound/"), "{}", publish.topic);
    peer.puback(publish.pkid);
    peer.expect_quiet();
}

#[test]
fn m_e14_any_other_filter_closes() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    hub.create_device("dev2").unwrap();
    for filter in FOREIGN {
        let mut peer = Peer::connected(&hub, &device);
        peer.send(&packets::subscribe(1, &[(filter, 1)]));
        assert_eq!(peer.read_until_closed(), [], "{filter}");
        assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::UnknownFilter(filter.to_owned()));
    }
    assert_eq!(granted(&hub), []);
}

#[test]
fn m_e14_one_bad_filter_among_good_ones_closes() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.send(&packets::subscribe(1, &[(DEVICEBOUND, 1), ("nowhere/#", 1)]));
    peer.expect_closed_without_packet();
}

#[test]
fn m_e14_a_bad_filter_can_fail_in_the_suback_instead() {
    let hub = start(Config::new().with_bad_filter(BadFilter::SubackFailure));
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    let codes = peer.subscribe(&[("nowhere/#", 1), (DEVICEBOUND, 1), ("#", 0)]);
    assert_eq!(codes, [0x80, 1, 0x80]);
    hub.send_c2d("dev", C2dMessage::new("once")).unwrap();
    let publish = peer.expect_publish();
    peer.puback(publish.pkid);
    peer.expect_quiet();
}

#[test]
fn m_e14_a_bad_filter_can_be_ignored_instead() {
    let hub = start(Config::new().with_bad_filter(BadFilter::Ignore));
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    assert_eq!(peer.subscribe(&[("#", 1), ("nowhere", 0)]), [1, 0]);
    hub.send_c2d("dev", C2dMessage::new("not subscribed")).unwrap();
    peer.expect_quiet();
    assert_eq!(hub.c2d_queue("dev").len(), 1, "what was granted in name only delivers nothing");
}

#[test]
fn m_e14_a_subscription_can_be_refused_on_demand() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    hub.inject_for("dev", Fault::RefuseSubscription);
    assert_eq!(peer.subscribe(&[(DEVICEBOUND, 1)]), [0x80]);
    assert_eq!(hub.pending_faults(), 0);
    hub.send_c2d("dev", C2dMessage::new("waiting")).unwrap();
    peer.expect_quiet();
    assert_eq!(peer.subscribe(&[(DEVICEBOUND, 1)]), [1]);
    assert_eq!(&peer.expect_publish().payload[..], b"waiting");
}

#[test]
fn m_e15_a_repeated_subscribe_changes_nothing_but_the_qos() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    for _ in 0..3 {
        assert_eq!(peer.subscribe(&[(DEVICEBOUND, 1)]), [1]);
    }
    hub.send_c2d("dev", C2dMessage::new("one copy")).unwrap();
    let publish = peer.expect_publish();
    assert_eq!(publish.qos, QoS::AtLeastOnce);
    peer.puback(publish.pkid);
    peer.expect_quiet();

    assert_eq!(peer.subscribe(&[(DEVICEBOUND, 0)]), [0]);
    hub.send_c2d("dev", C2dMessage::new("one copy")).unwrap();
    assert_eq!(peer.expect_publish().qos, QoS::AtMostOnce);
    peer.expect_quiet();
}

#[test]
fn m_e15_a_repeated_subscribe_does_not_send_an_unacknowledged_message_again() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.subscribe(&[(DEVICEBOUND, 1)]);
    hub.send_c2d("dev", C2dMessage::new("one copy")).unwrap();
    let publish = peer.expect_publish();
    peer.subscribe(&[(DEVICEBOUND, 1)]);
    peer.expect_quiet();
    peer.puback(publish.pkid);
    peer.expect_quiet();
    assert_eq!(hub.c2d_queue("dev").len(), 0);
}

#[test]
fn m_e15_overlapping_filters_deliver_one_copy() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.subscribe(&[(DEVICEBOUND, 1), (ANY_DEVICEBOUND, 1)]);
    hub.send_c2d("dev", C2dMessage::new("one copy")).unwrap();
    let publish = peer.expect_publish();
    peer.puback(publish.pkid);
    peer.expect_quiet();
    peer.unsubscribe(&[ANY_DEVICEBOUND]);
    hub.send_c2d("dev", C2dMessage::new("still subscribed")).unwrap();
    assert_eq!(&peer.expect_publish().payload[..], b"still subscribed");
}

#[test]
fn m_e15_unsubscribe_stops_delivery_and_changes_the_session() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::of(&hub, &device);
    let mut peer = Peer::connected_as(&hub, &connect);
    peer.subscribe(&[(DEVICEBOUND, 1), ("$iothub/methods/POST/#", 0)]);
    peer.unsubscribe(&[DEVICEBOUND]);
    hub.send_c2d("dev", C2dMessage::new("waiting")).unwrap();
    peer.expect_quiet();
    assert!(hub.activity("dev").iter().any(|activity| matches!(
        activity,
        Activity::Unsubscribed { filter, .. } if filter == DEVICEBOUND
    )));
    peer.disconnect();

    let mut peer = Peer::open(&hub);
    assert!(peer.connect(&connect), "the session lives on");
    peer.expect_quiet();
    assert_eq!(hub.c2d_queue("dev").len(), 1);
    peer.subscribe(&[(DEVICEBOUND, 1)]);
    assert_eq!(&peer.expect_publish().payload[..], b"waiting");
}

#[test]
fn m_e15_unsubscribe_is_answered_for_whatever_filter() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    peer.unsubscribe(&[DEVICEBOUND]);
    peer.unsubscribe(&["$iothub/twin/res/#", "$iothub/methods/POST/#", DEVICEBOUND]);
    peer.expect_quiet();
}

#[test]
fn m_e16_every_documented_filter_fits_the_default_limit_of_five() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    let five: Vec<(&str, u8)> = DOCUMENTED.into_iter().map(|filter| (filter, 1)).collect();
    assert_eq!(peer.subscribe(&five), [1; 5]);
    assert_eq!(peer.subscribe(&five), [1; 5], "the same again adds none");
}

#[test]
fn m_e16_the_limit_is_a_setting_and_an_unsubscribe_makes_room() {
    let hub = start(Config::new().with_subscription_limit(2));
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    assert_eq!(peer.subscribe(&[(DOCUMENTED[0], 1), (DOCUMENTED[2], 1)]), [1, 1]);
    peer.unsubscribe(&[DOCUMENTED[2]]);
    assert_eq!(peer.subscribe(&[(DOCUMENTED[3], 1)]), [1]);
    peer.send(&packets::subscribe(9, &[(DOCUMENTED[4], 1)]));
    peer.expect_closed_without_packet();
    assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::TooManySubscriptions { limit: 2 });
}

#[test]
fn m_e16_a_subscription_over_the_limit_fails_in_the_suback_where_bad_filters_do() {
    let hub = start(Config::new().with_subscription_limit(2).with_bad_filter(BadFilter::SubackFailure));
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    let codes = peer.subscribe(&[(DOCUMENTED[2], 1), (DOCUMENTED[3], 0), (DOCUMENTED[4], 1)]);
    assert_eq!(codes, [1, 0, 0x80]);
    peer.expect_quiet();
}
