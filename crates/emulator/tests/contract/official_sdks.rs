//! Whole sessions as the official SDKs put them on the wire (recorded from C 1.15, Node 1.18 and Python 2.14), replayed
//! packet by packet: what those programs send must simply work (E3, E4, E13, E20 together).

use std::collections::BTreeMap;

use iothub_emulator::{C2dMessage, C2dResult, Config, FeedbackMode};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Packet;

use crate::support::bag::{self, pair};
use crate::support::packets::{self, Connect, primary_key};
use crate::support::peer::Peer;
use crate::support::sas::{Spelling, Token, lower_hex};
use crate::support::start;
use crate::support::tls::{TLS_1_2, TlsOptions};

const HOST: &str = "hub.localtest";

struct Recorded {
    user_name: &'static str,
    keep_alive: u16,
    spelling: Spelling,
    only_tls_1_2: bool,
    /// The SUBSCRIBE packets, in order.
    subscribes: &'static [&'static [(&'static str, u8)]],
    telemetry: &'static str,
    creation_time: Option<&'static str>,
    /// QoS, `$rid` and body of the request for the twin.
    twin_get: (u8, &'static str, &'static [u8]),
}

const C_SDK: Recorded = Recorded {
    user_name: "hub.localtest/dev1/?api-version=2020-09-30&DeviceClientType=iothubclient%2f1.15.0%20(native%3b%20Linux%3b%20x86_64)",
    keep_alive: 240,
    spelling: Spelling::Raw,
    only_tls_1_2: false,
    subscribes: &[
        &[("devices/dev1/messages/devicebound/#", 1), ("$iothub/twin/res/#", 0), ("$iothub/methods/POST/#", 0)],
        &[("$iothub/twin/PATCH/properties/desired/#", 0)],
    ],
    telemetry: "devices/dev1/messages/events/k%201=v%261&%24.cid=cid1&%24.mid=mid1&%24.ct=application%2fjson&%24.ce=utf-8&%24.ctime=2026-01-02T03%3a04%3a05Z",
    creation_time: Some("2026-01-02T03:04:05Z"),
    twin_get: (0, "4", b""),
};

const NODE_SDK: Recorded = Recorded {
    user_name: "hub.localtest/dev1/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18.4%20(node%20v20.20.2%3B%20Debian%2012%3B%20x64)",
    keep_alive: 180,
    spelling: Spelling::Upper,
    only_tls_1_2: false,
    subscribes: &[
        &[("$iothub/methods/POST/#", 0)],
        &[("$iothub/twin/res/#", 0)],
        &[("$iothub/twin/PATCH/properties/desired/#", 0)],
        &[("devices/dev1/messages/devicebound/#", 1)],
    ],
    telemetry: "devices/dev1/messages/events/%24.mid=mid1&%24.cid=cid1&%24.ct=application%2Fjson&%24.ce=utf-8&k%201=v%261",
    creation_time: None,
    twin_get: (0, "f1c51fb1-0816-4a02-b536-a739a618d6f3", b" "),
};

const PYTHON_SDK: Recorded = Recorded {
    user_name: "hub.localtest/dev1/?api-version=2019-10-01&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0%283.11.7%3BLinux%20%231%20SMP%20PREEMPT_DYNAMIC%20%400%3Bx86_64%29",
    keep_alive: 60,
    spelling: Spelling::Upper,
    only_tls_1_2: true,
    subscribes: &[
        &[("devices/dev1/messages/devicebound/#", 1)],
        &[("$iothub/methods/POST/#", 1)],
        &[("$iothub/twin/PATCH/properties/desired/#", 1)],
        &[("$iothub/twin/res/#", 1)],
    ],
    telemetry: "devices/dev1/messages/events/%24.mid=mid1&%24.cid=cid1&%24.ct=application%2Fjson&%24.ce=utf-8&k%201=v%261",
    creation_time: None,
    twin_get: (1, "86e48792-3034-4037-9021-aa785b54e18d", b" "),
};

fn replay(sdk: &Recorded) {
    let hub = start(Config::new().with_host_name(HOST));
    let device = hub.create_device("dev1").unwrap();
    let token = Token::new(
        "hub.localtest/devices/dev1",
        &primary_key(&device),
        hub.now() + std::time::Duration::from_secs(3600),
    );
    let connect = Connect::of(&hub, &device)
        .user_name(sdk.user_name)
        .password(&token.spelled(sdk.spelling).text())
        .keep_alive(sdk.keep_alive);
    let options = if sdk.only_tls_1_2 { TlsOptions::default().only(TLS_1_2) } else { TlsOptions::default() };

    let mut peer = Peer::open_to(&hub, HOST, &options).unwrap();
    assert!(!peer.connect(&connect));
    for filters in sdk.subscribes {
        let requested: Vec<u8> = filters.iter().map(|(_, qos)| *qos).collect();
        assert_eq!(peer.subscribe(filters), requested);
    }
    expect_twin_answer(&mut peer, sdk);
    peer.publish(sdk.telemetry, b"hello");
    let record = hub.telemetry("dev1").remove(0);
    assert_eq!(&record.body[..], b"hello");
    assert_eq!(record.properties, [pair("k 1", Some("v&1"))]);
    let mut expected = BTreeMap::from(
        [
            ("message-id", "mid1"),
            ("correlation-id", "cid1"),
            ("content-type", "application/json"),
            ("content-encoding", "utf-8"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    if let Some(time) = sdk.creation_time {
        expected.insert("iothub-creation-time-utc".to_owned(), time.to_owned());
    }
    assert_eq!(record.system, expected);

    let message = C2dMessage::new("hello c2d").message_id("m1").ack(FeedbackMode::Full).property("prop1", "v 1");
    hub.send_c2d("dev1", message).unwrap();
    let publish = peer.expect_publish();
    assert_eq!(publish.qos, QoS::AtLeastOnce);
    let (_, bag) = publish.topic.split_once("devices/dev1/messages/devicebound/").unwrap();
    let pairs = bag::decode(bag);
    assert_eq!(bag::value(&pairs, "$.mid"), "m1");
    assert_eq!(bag::value(&pairs, "prop1"), "v 1");
    peer.puback(publish.pkid);
    peer.expect_quiet();
    assert_eq!(hub.c2d_outcomes("dev1")[0].result, C2dResult::Completed);
    peer.send(packets::DISCONNECT);
    peer.expect_closed_without_packet();
}

/// Whatever the hub knows of twins, the request gets one answer, its PUBACK at QoS 1, and nobody is disconnected.
fn expect_twin_answer(peer: &mut Peer, sdk: &Recorded) {
    let (qos, request_id, body) = sdk.twin_get;
    peer.send(&packets::publish(&format!("$iothub/twin/GET/?$rid={request_id}"), qos, 0, 77, body));
    let mut answers = 0;
    let mut acknowledgements = 0;
    for packet in peer.drain() {
        match packet {
            Packet::PubAck(ack) if ack.pkid == 77 => acknowledgements += 1,
            Packet::Publish(publish) => {
                assert!(publish.topic.starts_with("$iothub/twin/res/"), "{}", publish.topic);
                assert!(publish.topic.ends_with(&format!("/?$rid={request_id}")), "{}", publish.topic);
                answers += 1;
            }
            other => panic!("{other:?} is no answer to a twin request"),
        }
    }
    assert_eq!((answers, acknowledgements), (1, qos));
}

#[test]
fn a_session_of_the_c_sdk_works_unmodified() {
    replay(&C_SDK);
}

#[test]
fn a_session_of_the_node_sdk_works_unmodified() {
    replay(&NODE_SDK);
}

#[test]
fn a_session_of_the_python_sdk_works_unmodified() {
    replay(&PYTHON_SDK);
}

#[test]
fn the_tests_own_token_matches_a_signature_made_elsewhere() {
    // printf 'hub.localtest%%2Fdevices%%2Fdev1\n1800000000' | openssl dgst -sha256 -hmac 'sixteen byte key' -binary | base64
    let key = "c2l4dGVlbiBieXRlIGtleQ==";
    let expires = crate::support::start_of_time();
    let token = Token::new("hub.localtest/devices/dev1", key, expires).text();
    let expected = "SharedAccessSignature sr=hub.localtest%2Fdevices%2Fdev1&sig=P6IfVGNYTBIW9l%2F2F5xgJFMTN%2FhwvnDztf2DOKApeeo%3D&se=1800000000";
    assert_eq!(token, expected);
    assert_eq!(lower_hex("a%2FB%3D"), "a%2fB%3d");
}
