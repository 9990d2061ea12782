//! Whole sessions as the official SDKs put them on the wire (recorded from C 1.15, Node 1.18 and Python 2.14), replayed
//! packet by packet: what those programs send must simply work (E3, E4, E13, E20 together).

use std::collections::BTreeMap;

use iothub_emulator::{C2dMessage, C2dResult, Config, FeedbackMode, Hub, MethodCall, Who};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use serde_json::{Value, json};

use crate::support::bag::{self, pair};
use crate::support::packets::{self, Connect, key_in, primary_key};
use crate::support::peer::Peer;
use crate::support::sas::{Spelling, Token, lower_hex};
use crate::support::tls::{TLS_1_2, TlsOptions};
use crate::support::{LIMIT, start};

const HOST: &str = "hub.localtest";

struct Recorded {
    /// The module of `dev1` that it is; `None`: the device.
    module: Option<&'static str>,
    user_name: &'static str,
    keep_alive: u16,
    spelling: Spelling,
    only_tls_1_2: bool,
    /// The SUBSCRIBE packets, in order.
    subscribes: &'static [&'static [(&'static str, u8)]],
    telemetry: &'static str,
    creation_time: Option<&'static str>,
    /// The QoS of twin requests and method responses.
    qos: u8,
    /// `$rid` and body of the request for the twin.
    twin_get: (&'static str, &'static [u8]),
    /// `$rid` and body of the reported properties.
    report: (&'static str, &'static [u8]),
    method_response: &'static [u8],
}

const C_SDK: Recorded = Recorded {
    module: None,
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
    qos: 0,
    twin_get: ("4", b""),
    report: ("5", br#"{"a":1}"#),
    method_response: br#"{"ok":1}"#,
};

const NODE_SDK: Recorded = Recorded {
    module: None,
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
    qos: 0,
    twin_get: ("f1c51fb1-0816-4a02-b536-a739a618d6f3", b" "),
    report: ("420bc71c-b2d6-4499-b288-b1b360232d46", br#"{"a":1}"#),
    method_response: br#"{"ok":1}"#,
};

const PYTHON_SDK: Recorded = Recorded {
    module: None,
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
    qos: 1,
    twin_get: ("86e48792-3034-4037-9021-aa785b54e18d", b" "),
    report: ("db989fdd-7340-434c-a81f-7b999c06e5f8", br#"{"a": 1}"#),
    method_response: br#"{"ok": 1}"#,
};

const C_SDK_MODULE: Recorded = Recorded {
    module: Some("mod1"),
    user_name: "hub.localtest/dev1/mod1/?api-version=2020-09-30&DeviceClientType=iothubclient%2f1.15.0%20(native%3b%20Linux%3b%20x86_64)",
    subscribes: &[
        &[("$iothub/twin/res/#", 0), ("$iothub/methods/POST/#", 0), ("devices/dev1/modules/mod1/#", 1)],
        &[("$iothub/twin/PATCH/properties/desired/#", 0)],
    ],
    telemetry: "devices/dev1/modules/mod1/messages/events/k%201=v%261&%24.cid=cid1&%24.mid=mid1&%24.ct=application%2fjson&%24.ce=utf-8&%24.ctime=2026-01-02T03%3a04%3a05Z&%24.on=out1",
    ..C_SDK
};

const NODE_SDK_MODULE: Recorded = Recorded {
    module: Some("mod1"),
    user_name: "hub.localtest/dev1/mod1/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18.4%20(node%20v20.20.2%3B%20Debian%2012%3B%20x64)",
    subscribes: &[
        &[("devices/dev1/modules/mod1/inputs/#", 1)],
        &[("$iothub/methods/POST/#", 0)],
        &[("$iothub/twin/res/#", 0)],
        &[("$iothub/twin/PATCH/properties/desired/#", 0)],
    ],
    telemetry: "devices/dev1/modules/mod1/messages/events/%24.on=out1&%24.mid=mid1&%24.cid=cid1&%24.ct=application%2Fjson&%24.ce=utf-8&k%201=v%261/",
    ..NODE_SDK
};

const PYTHON_SDK_MODULE: Recorded = Recorded {
    module: Some("mod1"),
    user_name: "hub.localtest/dev1/mod1/?api-version=2019-10-01&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0%283.11.7%3BLinux%20%231%20SMP%20PREEMPT_DYNAMIC%20%400%3Bx86_64%29",
    subscribes: &[
        &[("devices/dev1/modules/mod1/inputs/#", 1)],
        &[("$iothub/methods/POST/#", 1)],
        &[("$iothub/twin/PATCH/properties/desired/#", 1)],
        &[("$iothub/twin/res/#", 1)],
    ],
    telemetry: "devices/dev1/modules/mod1/messages/events/%24.on=out1&%24.mid=mid1&%24.cid=cid1&%24.ct=application%2Fjson&%24.ce=utf-8&k%201=v%261",
    ..PYTHON_SDK
};

impl Recorded {
    fn who(&self) -> Who<'static> {
        Who { device: "dev1", module: self.module }
    }

    /// As it signs in: `dev1` or `dev1/mod1`, its token's resource, and its key.
    fn credential(&self, hub: &Hub) -> (String, String, String) {
        let device = hub.create_device("dev1").unwrap();
        let (id, resource) = ("dev1".to_owned(), "hub.localtest/devices/dev1".to_owned());
        match self.module {
            None => (id, resource, primary_key(&device)),
            Some(module) => {
                let key = key_in(hub.create_module("dev1", module).unwrap().connection_string());
                (format!("{id}/{module}"), format!("{resource}/modules/{module}"), key)
            }
        }
    }
}

fn replay(sdk: &Recorded) {
    let routes = ["FROM /messages/modules/mod1/outputs/out1 INTO $upstream"];
    let hub = start(Config::new().with_host_name(HOST).with_edge_routes("dev1", routes));
    let (client_id, resource, key) = sdk.credential(&hub);
    let token = Token::new(&resource, &key, hub.now() + std::time::Duration::from_secs(3600));
    let connect = Connect::without_password(&hub, &client_id)
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
    replay_method(&hub, &mut peer, sdk);
    replay_twin(&hub, &mut peer, sdk);
    peer.publish(sdk.telemetry, b"hello");
    let record = hub.telemetry(sdk.who()).remove(0);
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
    if sdk.module.is_some() {
        expected.insert("iothub-outputname".to_owned(), "out1".to_owned());
    }
    assert_eq!(record.system, expected);
    replay_message(&hub, &mut peer, sdk);
    peer.send(packets::DISCONNECT);
    peer.expect_closed_without_packet();
}

/// A cloud-to-device message, or one to an input.
fn replay_message(hub: &Hub, peer: &mut Peer, sdk: &Recorded) {
    let message = C2dMessage::new("hello c2d").message_id("m1").property("prop1", "v 1");
    let below = match sdk.module {
        None => {
            hub.send_c2d("dev1", message.ack(FeedbackMode::Full)).unwrap();
            "devices/dev1/messages/devicebound/"
        }
        Some(_) => {
            hub.send_input(sdk.who(), "input1", message).unwrap();
            "devices/dev1/modules/mod1/inputs/input1/"
        }
    };
    let publish = peer.expect_publish();
    assert_eq!(publish.qos, QoS::AtLeastOnce);
    let pairs = bag::decode(publish.topic.strip_prefix(below).unwrap());
    assert_eq!(bag::value(&pairs, "$.mid"), "m1");
    assert_eq!(bag::value(&pairs, "prop1"), "v 1");
    peer.puback(publish.pkid);
    peer.expect_quiet();
    let outcomes = if sdk.module.is_some() { hub.input_outcomes(sdk.who()) } else { hub.c2d_outcomes("dev1") };
    assert_eq!(outcomes[0].result, C2dResult::Completed);
}

fn replay_method(hub: &Hub, peer: &mut Peer, sdk: &Recorded) {
    let pending = hub.start_method(sdk.who(), MethodCall::new("stubMethod").payload(json!({"a": 1}))).unwrap();
    let request = peer.expect_publish();
    assert_eq!(
        (request.topic.as_str(), &request.payload[..]),
        ("$iothub/methods/POST/stubMethod/?$rid=1", br#"{"a":1}"#.as_slice())
    );
    assert_eq!(request.qos, QoS::AtMostOnce);
    assert_eq!(ask(peer, sdk, "$iothub/methods/res/200/?$rid=1", sdk.method_response), []);
    let result = pending.wait(LIMIT).unwrap();
    assert_eq!((result.status, result.payload), (200, json!({"ok": 1})));
}

fn replay_twin(hub: &Hub, peer: &mut Peer, sdk: &Recorded) {
    let (rid, body) = sdk.twin_get;
    let replies = ask(peer, sdk, &format!("$iothub/twin/GET/?$rid={rid}"), body);
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0].topic, format!("$iothub/twin/res/200/?$rid={rid}"));
    let twin: Value = serde_json::from_slice(&replies[0].payload).unwrap();
    assert_eq!(twin, json!({"desired": {"$version": 1}, "reported": {"$version": 1}}));

    let (rid, body) = sdk.report;
    let replies = ask(peer, sdk, &format!("$iothub/twin/PATCH/properties/reported/?$rid={rid}"), body);
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0].topic, format!("$iothub/twin/res/204/?$rid={rid}&$version=2"));
    assert!(replies[0].payload.is_empty());
    assert_eq!(hub.twin(sdk.who()).unwrap().reported, json!({"a": 1}));

    hub.patch_desired(sdk.who(), json!({"k": 1})).unwrap();
    let patch = peer.expect_publish();
    assert_eq!(patch.topic, "$iothub/twin/PATCH/properties/desired/?$version=2");
}

/// Publishes as the SDK does and gives what is answered; at QoS 1 there must be one PUBACK too.
fn ask(peer: &mut Peer, sdk: &Recorded, topic: &str, body: &[u8]) -> Vec<Publish> {
    peer.send(&packets::publish(topic, sdk.qos, 0, 77, body));
    let mut answers = Vec::new();
    let mut acknowledgements = 0;
    for packet in peer.drain() {
        match packet {
            Packet::PubAck(ack) if ack.pkid == 77 => acknowledgements += 1,
            Packet::Publish(publish) => answers.push(publish),
            other => panic!("{other:?} is no answer"),
        }
    }
    assert_eq!(acknowledgements, sdk.qos);
    answers
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
fn a_session_of_a_module_of_each_sdk_works_unmodified() {
    for sdk in [&C_SDK_MODULE, &NODE_SDK_MODULE, &PYTHON_SDK_MODULE] {
        replay(sdk);
    }
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
