//! What is different for a module: its topics, its inputs and outputs.

use std::time::{Duration, UNIX_EPOCH};

use iothub_core::{
    ConnectionErrorKind, CreateError, Disposition, Feature, Message, Op, OpError, Submit, SystemProperty, Transport,
    Unsupported,
};

use crate::bench::{Bench, Seen, done, module, stale, transport};
use crate::wire::{
    connack, puback, publish, publish_once, publishes, split, suback, subscribe_all, to_device, to_input,
};

const TELEMETRY: &str = "devices/dev-1/modules/mod-1/messages/events/";
const INPUTS: (&str, u8) = ("devices/dev-1/modules/mod-1/inputs/#", 1);

/// An input's name and the message, if that is all that came.
fn only_input(seen: Vec<Seen>) -> (String, Message) {
    match <[Seen; 1]>::try_from(seen) {
        Ok([Seen::Input(input, message, _)]) => (input, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_to_an_output_goes_to_the_modules_own_topic_with_the_outputs_name() {
    let mut bench = Bench::module();
    let mut peer = bench.connected();
    let message = Message::new("hello")
        .with_property("k 1", "v&1")
        .and_then(|message| message.with_output_name("out 1"))
        .and_then(|message| message.with_message_id("mid1"))
        .unwrap();
    assert_eq!(bench.send(1, &message), Submit::Taken);
    bench.work();
    let topic = format!("{TELEMETRY}%24.mid=mid1&%24.on=out%201&k%201=v%261");
    assert_eq!(peer.receive(), publish(0x32, &topic, Some(1), b"hello"));
    peer.send(&puback(1));
    assert_eq!(bench.work(), [done(1)]);
}

#[test]
fn tracing_component_and_interface_have_their_places_in_the_topic() {
    let mut bench = Bench::module();
    let mut peer = bench.connected();
    let message = Message::new("{}")
        .with_creation_time(UNIX_EPOCH)
        .as_security_message()
        .with_component_name("thermostat1")
        .and_then(|message| message.with_diagnostics("id/1", UNIX_EPOCH + Duration::from_secs(1_506_054_516)))
        .unwrap();
    assert_eq!(bench.send(1, &message), Submit::Taken);
    bench.work();
    let bag = "%24.ct=application%2Fjson&%24.ctime=1970-01-01T00%3A00%3A00Z\
               &%24.ifid=urn%3Aazureiot%3ASecurity%3ASecurityAgent%3A1&%24.sub=thermostat1\
               &%24.diagid=id%2F1&%24.diagctx=creationtimeutc%3D1506054516";
    assert_eq!(publishes(&peer.receive())[0].topic, format!("{TELEMETRY}{bag}"));
}

#[test]
fn the_topic_limit_is_exact_with_every_property_that_a_module_can_set() {
    let mut bench = Bench::module();
    let mut peer = bench.connected();
    let with = |value: String| {
        Message::new("x")
            .as_security_message()
            .with_creation_time(UNIX_EPOCH)
            .with_output_name("out 1")
            .and_then(|message| message.with_component_name("c/1"))
            .and_then(|message| message.with_diagnostics("d 1", UNIX_EPOCH + Duration::from_secs(7)))
            .and_then(|message| message.with_property("k", value))
            .unwrap()
    };
    bench.send(1, &with(String::new()));
    bench.work();
    let room = 65_535 - publishes(&peer.receive())[0].topic.len();
    let error = Unsupported::TopicTooLong { length: 65_536, limit: 65_535 };
    assert_eq!(bench.send(2, &with("v".repeat(room + 1))), Submit::Refused(OpError::Unsupported(error)));
    assert_eq!(bench.send(3, &with("v".repeat(room))), Submit::Taken);
    bench.settle_down();
    assert_eq!(publishes(&peer.receive())[0].topic.len(), 65_535);
}

#[test]
fn inputs_twin_and_methods_are_subscribed_in_one_packet() {
    let mut bench = Bench::module();
    bench.want(&[Feature::Methods, Feature::DesiredProperties, Feature::Twin, Feature::Inputs]);
    let mut peer = bench.open();
    peer.send(&connack(true));
    assert_eq!(bench.work(), [Seen::Connected(true)]);
    let twin = ("$iothub/twin/res/#", 0);
    let desired = ("$iothub/twin/PATCH/properties/desired/#", 0);
    let methods = ("$iothub/methods/POST/#", 0);
    assert_eq!(peer.receive(), subscribe_all(1, &[INPUTS, twin, desired, methods]));
    peer.send(&suback(1, &[1, 0, 0, 0]));
    assert_eq!(bench.work(), [Seen::Ready]);
}

#[test]
fn a_message_to_an_input_names_the_input_and_its_sender() {
    let mut bench = Bench::module();
    let mut peer = bench.connected();
    let bag = "%24.cdid=dev-1&%24.cmid=mod%202&%24.mid=m1&%24.ce=utf-8&prop1=v%201";
    peer.send(&to_input(101, &format!("input1/{bag}"), b"hello"));
    let (input, message) = only_input(bench.work());
    assert_eq!((input.as_str(), &message.payload()[..]), ("input1", &b"hello"[..]));
    let system = [
        (SystemProperty::MessageId, "m1"),
        (SystemProperty::ContentEncoding, "utf-8"),
        (SystemProperty::ConnectionDeviceId, "dev-1"),
        (SystemProperty::ConnectionModuleId, "mod 2"),
    ];
    assert_eq!(message.system_properties().collect::<Vec<_>>(), system);
    assert_eq!(message.properties().collect::<Vec<_>>(), [("prop1", "v 1")]);
    bench.settle_down();
    assert_eq!(peer.receive(), b"", "arrival alone is not acknowledged");
}

#[test]
fn an_inputs_topic_may_end_with_and_without_properties_and_slash() {
    for (tail, input, properties) in [
        ("in1", "in1", 0),
        ("in1/", "in1", 0),
        ("in1/a=b&c", "in1", 2),
        ("in1/a=b&c=/", "in1", 2),
        ("In%201/", "In%201", 0),
    ] {
        let mut bench = Bench::module();
        let mut peer = bench.connected();
        peer.send(&to_input(1, tail, b"x"));
        let (name, message) = only_input(bench.work());
        assert_eq!((name.as_str(), message.properties().len()), (input, properties), "{tail}");
        assert!(message.property("c").is_none_or(str::is_empty), "{tail}");
    }
}

#[test]
fn messages_of_all_inputs_are_acknowledged_in_the_order_of_arrival() {
    let mut bench = Bench::module();
    let mut peer = bench.connected();
    let all = [to_input(1, "a/", b"x"), to_input(2, "b/", b"x"), to_input(3, "a/", b"x"), to_input(4, "c", b"x")];
    let deliveries = bench.deliver(&mut peer, &all.concat());
    bench.accept(4, deliveries[3]);
    bench.accept(3, deliveries[2]);
    assert_eq!(bench.settle_down(), [], "held by the first");
    assert_eq!(bench.settle(1, deliveries[0], Disposition::Abandon), Submit::Taken);
    bench.accept(2, deliveries[1]);
    assert_eq!(bench.work(), [done(1), done(2), done(3), done(4)]);
    assert_eq!(peer.receive(), [puback(2), puback(3), puback(4)].concat());
}

#[test]
fn an_input_message_comes_once_and_is_stale_after_the_connection() {
    let mut bench = Bench::module();
    let mut peer = bench.connected();
    let [delivery] = bench.deliver(&mut peer, &to_input(1, "a/", b"x")).try_into().unwrap();
    peer.send(&publish(0x3A, "devices/dev-1/modules/mod-1/inputs/a/", Some(1), b"x"));
    assert_eq!(bench.work(), []);
    peer.set_capacity(0);
    bench.accept(5, delivery);
    assert_eq!(bench.work(), [], "its acknowledgement cannot leave");
    peer.close();
    assert_eq!(bench.work(), [stale(5), Seen::Down(ConnectionErrorKind::ClosedByPeer)]);
    let mut peer = bench.connected_to(true);
    assert_eq!(bench.deliver(&mut peer, &to_input(1, "a/", b"x")).len(), 1, "the hub delivers it again");
    assert_eq!(bench.settle(6, delivery, Disposition::Accept), Submit::Refused(OpError::Stale));
}

#[test]
fn a_call_at_qos_1_is_acknowledged_at_once_behind_an_undecided_input_message() {
    let mut bench = Bench::module();
    let mut peer = bench.subscribed_to(&[Feature::Inputs, Feature::Methods]);
    let call = publish(0x32, "$iothub/methods/POST/m/?$rid=1", Some(9), b"{}");
    peer.send(&[to_input(1, "a/", b"x"), call].concat());
    let delivery = match &bench.work()[..] {
        [Seen::Input(..), Seen::Method(name, _, delivery)] if name == "m" => *delivery,
        other => panic!("{other:?}"),
    };
    assert_eq!(peer.receive(), puback(9));
    assert_eq!(bench.submit(5, Op::MethodResponse { delivery, status: 200, body: b"1" }), Submit::Taken);
    assert_eq!(bench.work(), [done(5)]);
    assert_eq!(peer.receive(), publish_once("$iothub/methods/res/200/?$rid=1", b"1"));
}

#[test]
fn a_modules_twin_has_the_topics_of_a_devices() {
    let mut bench = Bench::module();
    let mut peer = bench.subscribed_to(&[Feature::Twin]);
    assert_eq!(bench.submit(5, Op::TwinReport(br#"{"a":1}"#)), Submit::Taken);
    assert_eq!(bench.work(), []);
    let topic = "$iothub/twin/PATCH/properties/reported/?$rid=1000-1-1";
    assert_eq!(peer.receive(), publish_once(topic, br#"{"a":1}"#));
}

#[test]
fn cloud_to_device_messages_are_refused_to_a_module_and_what_comes_is_not_handed_up() {
    let mut bench = Bench::module();
    bench.want(&[Feature::CloudToDevice]);
    let mut peer = bench.open();
    peer.send(&connack(true));
    let refused = Seen::SubscriptionRefused(Feature::CloudToDevice);
    assert_eq!(bench.work(), [Seen::Connected(true), refused, Seen::Ready]);
    peer.send(&to_device(3, "", b"x"));
    assert_eq!(bench.work(), []);
    assert_eq!(split(&peer.receive()), [puback(3)]);
}

#[test]
fn an_input_of_a_device_or_of_another_module_brings_nothing() {
    for mut bench in [Bench::new(), Bench::module()] {
        let mut peer = bench.connected();
        let topic = "devices/dev-1/modules/mod-2/inputs/a/";
        peer.send(&publish(0x32, topic, Some(4), b"x"));
        assert_eq!(bench.work(), []);
        assert_eq!(peer.receive(), puback(4));
    }
}

#[test]
fn a_module_id_that_no_topic_can_hold_is_refused_by_name() {
    let (mut transport, _script) = transport(|_| {});
    for id in ["a+b", "#", "a/b", "a\u{1}"] {
        match transport.register(module(id)) {
            Err(error @ CreateError::Register { transport: "mqtt", .. }) => {
                assert!(error.to_string().contains("module id"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    transport.register(module("$edgeAgent")).unwrap();
}
