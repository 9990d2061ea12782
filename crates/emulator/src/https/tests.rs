//! Requests and their answers, without a network.

use std::time::SystemTime;

use hyper::Request;

use super::{Answer, answer};
use crate::activity::{Activity, DisconnectReason};
use crate::arrival::Arrival;
use crate::clock::Clock;
use crate::config::Config;
use crate::faults::{DropPoint, Fault};
use crate::https::Protocol;
use crate::hub::{HubState, NOBODY};

/// The request of RFC 6455 1.2, at our path.
fn request(change: impl Fn(hyper::http::request::Builder) -> hyper::http::request::Builder) -> Request<()> {
    change(Request::builder().uri("/$iothub/websocket")).body(()).unwrap()
}

fn upgrade(builder: hyper::http::request::Builder) -> hyper::http::request::Builder {
    builder
        .header("Upgrade", "websocket")
        .header("Connection", "keep-alive, Upgrade")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Sec-WebSocket-Version", "13")
}

fn ask(hub: &mut HubState, request: &Request<()>) -> Answer {
    let now = Clock::new(Some(SystemTime::UNIX_EPOCH)).now();
    let mut arrival = Arrival::new(hub, now);
    answer(hub, now, &mut arrival, request)
}

fn hub() -> HubState {
    HubState::new(Config::new())
}

fn refused(request: &Request<()>) -> u16 {
    let mut hub = hub();
    let Answer::Respond(response) = ask(&mut hub, request) else { panic!("{request:?} is not refused") };
    let noted = hub.activity(&NOBODY).last();
    assert!(
        matches!(noted, Some(Activity::RequestRefused { status, .. }) if *status == response.status()),
        "{noted:?}"
    );
    assert!(response.headers().contains_key("x-ms-request-id"));
    response.status().as_u16()
}

#[test]
fn the_key_of_rfc_6455_is_answered_as_there_and_the_subprotocol_as_it_was_asked_for() {
    let asked = request(|builder| upgrade(builder).header("Sec-WebSocket-Protocol", "chat, MQTT"));
    let Answer::Switch(response, upgrade) = ask(&mut hub(), &asked) else { panic!("refused") };
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["Sec-WebSocket-Accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "MQTT");
    assert_eq!(upgrade.asked.subprotocol, "MQTT");
}

#[test]
fn the_path_may_be_escaped_in_any_case_and_with_slash_and_query() {
    for path in ["/$iothub/websocket/", "/%24iothub/websocket?iothub-no-client-cert=true", "/$IOTHUB/WebSocket"] {
        let asked = request(|builder| upgrade(builder).uri(path).header("Sec-WebSocket-Protocol", "mqtt"));
        let Answer::Switch(_, upgrade) = ask(&mut hub(), &asked) else { panic!("{path} is refused") };
        assert_eq!(upgrade.asked.path, path);
    }
}

#[test]
fn amqp_is_spoken_to_devices_and_to_back_ends_and_mqtt_to_devices_only() {
    for path in ["/$iothub/websocket", "/$iothub/websocket/", "/$servicebus/websocket", "/$servicebus/websocket/"] {
        for subprotocol in ["AMQPWSB10", "amqp"] {
            let asked = request(|builder| upgrade(builder).uri(path).header("Sec-WebSocket-Protocol", subprotocol));
            let Answer::Switch(_, upgrade) = ask(&mut hub(), &asked) else { panic!("{path} is refused") };
            assert_eq!((upgrade.protocol, upgrade.asked.subprotocol.as_str()), (Protocol::Amqp, subprotocol));
        }
    }
    let mqtt =
        request(|builder| upgrade(builder).uri("/$servicebus/websocket").header("Sec-WebSocket-Protocol", "mqtt"));
    assert_eq!(refused(&mqtt), 400);
}

#[test]
fn whatever_is_wrong_with_an_upgrade_is_a_bad_request() {
    let mqtt = |builder| upgrade(builder).header("Sec-WebSocket-Protocol", "mqtt");
    assert_eq!(refused(&request(|builder| mqtt(builder).uri("/"))), 400);
    assert_eq!(refused(&request(|builder| mqtt(builder).uri("/$iothub/websocket/x"))), 400);
    assert_eq!(refused(&request(upgrade)), 400);
    assert_eq!(refused(&request(|builder| upgrade(builder).header("Sec-WebSocket-Protocol", "stomp"))), 400);
    assert_eq!(refused(&request(|builder| mqtt(builder).method("POST"))), 400);
    assert_eq!(refused(&request(|builder| mqtt(builder).version(hyper::Version::HTTP_10))), 400);
    assert_eq!(refused(&request(|builder| mqtt(builder).header("Sec-WebSocket-Key", "second"))), 400);
    for (missing, status) in
        [("Connection", 400), ("Sec-WebSocket-Key", 400), ("Sec-WebSocket-Version", 426), ("Upgrade", 400)]
    {
        let mut asked = request(mqtt);
        asked.headers_mut().remove(missing);
        assert_eq!(refused(&asked), status, "without {missing}");
    }
    let mut asked = request(mqtt);
    asked.headers_mut().insert("Sec-WebSocket-Key", "c2hvcnQ=".parse().unwrap());
    assert_eq!(refused(&asked), 400);
}

#[test]
fn another_version_is_told_which_one_is_spoken() {
    let asked = request(|builder| builder.header("Upgrade", "websocket").header("Connection", "Upgrade"));
    let Answer::Respond(response) = ask(&mut hub(), &asked) else { panic!("accepted") };
    assert_eq!(response.headers()["Sec-WebSocket-Version"], "13");
}

#[test]
fn there_is_nothing_else_and_without_an_api_version_not_even_that() {
    assert_eq!(refused(&request(|builder| builder.uri("/devices?api-version=2021-04-12"))), 404);
    let Answer::Respond(response) = ask(&mut hub(), &request(|builder| builder.uri("/devices?top=1"))) else {
        panic!("accepted")
    };
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["iothub-errorcode"], "InvalidProtocolVersion");
}

#[test]
fn faults_refuse_fragment_or_drop_the_next_upgrade() {
    let asked = request(|builder| upgrade(builder).header("Sec-WebSocket-Protocol", "mqtt"));
    let mut hub = hub();
    for (injected, status) in [(503, 503), (101, 500), (999, 500)] {
        hub.inject(None, Fault::RefuseUpgrade { status: injected });
        assert!(matches!(ask(&mut hub, &asked), Answer::Respond(response) if response.status() == status));
    }
    hub.inject(None, Fault::FragmentMessages { size: 3 });
    assert!(matches!(ask(&mut hub, &asked), Answer::Switch(_, upgrade) if upgrade.frame_size == Some(3)));
    hub.inject(None, Fault::Drop { device: None, at: DropPoint::UpgradeReceived });
    assert!(matches!(ask(&mut hub, &asked), Answer::Nothing));
    let ended = hub.activity(&NOBODY).last();
    assert!(matches!(ended, Some(Activity::Disconnected { why: DisconnectReason::Fault(_), .. })), "{ended:?}");
    assert!(matches!(ask(&mut hub, &asked), Answer::Switch(_, upgrade) if upgrade.frame_size.is_none()));
}
