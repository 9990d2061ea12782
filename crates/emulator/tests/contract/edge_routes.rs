//! Where an Edge device's routes lead, what a hub without routes does, and the name of a gateway (E49, E50).

use std::time::Duration;

use iothub_emulator::{Activity, C2dMessage, Config, DisconnectReason, Emulator, Hub, StartError};

use crate::support::modules::{self, connect, edge, edge_config, listener};
use crate::support::packets::{self, Connect, Will, primary_key};
use crate::support::peer::Peer;
use crate::support::sas::Token;
use crate::support::tls::TlsOptions;
use crate::support::{LIMIT, start, why_it_ended};

/// Where the messages of a module went, by the hub's record: its output, and the places.
fn routed(hub: &Hub, module: &str) -> Vec<(Option<String>, Vec<String>)> {
    let route = |activity| match activity {
        Activity::Routed { output, to, .. } => Some((output, to)),
        _ => None,
    };
    hub.activity(("dev", module)).into_iter().filter_map(route).collect()
}

#[test]
fn m_e49_each_message_goes_wherever_a_route_leads_it() {
    let hub = edge(&[
        r#"FROM /messages/modules/a/outputs/one INTO BrokeredEndpoint("/modules/b/inputs/i")"#,
        r#"FROM /messages/modules/a/outputs/* INTO BrokeredEndpoint("/modules/c/inputs/i")"#,
        "FROM /messages/modules/a/outputs/up INTO $upstream",
    ]);
    let (mut a, mut b, mut c) = (connect(&hub, "a"), listener(&hub, "b", 1), listener(&hub, "c", 1));
    for (output, body) in [("one", "1"), ("up", "2"), ("two", "3")] {
        a.publish(&modules::events("a", &format!("%24.on={output}")), body.as_bytes());
    }
    a.publish(&modules::events("a", ""), b"nowhere");
    assert_eq!(&b.expect_publish().payload[..], b"1");
    b.expect_quiet();
    for body in [b"1", b"2", b"3"] {
        assert_eq!(&c.expect_publish().payload[..], body);
    }
    c.expect_quiet();
    let stored = hub.telemetry(("dev", "a"));
    assert_eq!(stored.len(), 1);
    assert_eq!((&stored[0].body[..], stored[0].output()), (&b"2"[..], Some("up")));
    let (b, c) = ("/modules/b/inputs/i".to_owned(), "/modules/c/inputs/i".to_owned());
    let expected = [
        (Some("one".to_owned()), vec![b, c.clone()]),
        (Some("up".to_owned()), vec![c.clone(), "$upstream".to_owned()]),
        (Some("two".to_owned()), vec![c]),
        (None, vec![]),
    ];
    assert_eq!(routed(&hub, "a"), expected, "what no route takes is acknowledged, gone, and on record");
}

#[test]
fn m_e49_a_module_can_be_its_own_listener() {
    let hub = edge(&[r#"FROM /messages/modules/a/outputs/echo INTO BrokeredEndpoint("/modules/a/inputs/echo")"#]);
    let mut a = listener(&hub, "a", 1);
    a.publish(&modules::events("a", "%24.on=echo"), b"hello?");
    assert_eq!(&a.expect_publish().payload[..], b"hello?");
}

#[test]
fn m_e49_a_resend_is_routed_again_and_marked() {
    let hub = edge(&[r#"FROM /messages/* INTO BrokeredEndpoint("/modules/b/inputs/i")"#]);
    let (mut a, mut b) = (connect(&hub, "a"), listener(&hub, "b", 1));
    a.send(&packets::publish(&modules::events("a", ""), 1, packets::DUP, 7, b"x"));
    assert_eq!(a.expect_puback(), 7);
    let (_, bag) = modules::input("b", &b.expect_publish());
    assert!(bag.contains(&("mqtt-dup".to_owned(), Some("true".to_owned()))), "{bag:?}");
}

#[test]
fn m_e49_messages_of_the_device_itself_and_of_other_devices_are_not_routed() {
    let hub = edge(&[r#"FROM /messages/* INTO BrokeredEndpoint("/modules/b/inputs/i")"#]);
    let mut b = listener(&hub, "b", 1);
    let mut device = Peer::connected(&hub, &hub.device("dev").unwrap());
    hub.create_device("cloud").unwrap();
    let module = hub.create_module("cloud", "a").unwrap();
    let mut cloud = Peer::connected_as(&hub, &Connect::of_module(&hub, &module));
    device.publish("devices/dev/messages/events/%24.on=o", b"x");
    cloud.publish("devices/cloud/modules/a/messages/events/%24.on=o", b"x");
    b.expect_quiet();
    assert_eq!((hub.telemetry_count("dev"), hub.telemetry_count(("cloud", "a"))), (1, 1));
}

#[test]
fn m_e49_without_routes_inputs_and_outputs_mean_nothing() {
    let hub = Emulator::start().unwrap();
    let mut b = listener(&hub, "b", 1);
    let mut a = connect(&hub, "a");
    a.publish(&modules::events("a", "%24.on=o"), b"x");
    b.expect_quiet();
    let stored = hub.telemetry(("dev", "a"));
    assert_eq!((stored.len(), stored[0].output()), (1, Some("o")));
    assert!(routed(&hub, "a").is_empty());
    assert!(hub.send_input(("dev", "b"), "i", C2dMessage::new("x")).is_err());
}

#[test]
fn m_e49_a_will_goes_where_its_module_would_send_it() {
    let hub = edge(&[r#"FROM /messages/* INTO BrokeredEndpoint("/modules/b/inputs/wills")"#]);
    let mut b = listener(&hub, "b", 1);
    hub.create_module("dev", "a").unwrap();
    let will = Will::new(&modules::events("a", ""), b"gone");
    let module = hub.module("dev", "a").unwrap();
    Peer::connected_as(&hub, &Connect::of_module(&hub, &module).will(will)).cut();
    let (_, bag) = modules::input("b", &b.expect_publish());
    assert!(bag.contains(&("iothub-MessageType".to_owned(), Some("Will".to_owned()))), "{bag:?}");
    let published = |activity: &Activity| matches!(activity, Activity::WillPublished { sequence_number: None, .. });
    hub.wait_until(LIMIT, "it is on record", |hub| hub.activity(("dev", "a")).iter().any(published)).unwrap();
    assert!(hub.all_telemetry().is_empty());
}

#[test]
fn m_e49_what_does_not_fit_a_topic_once_it_is_escaped_closes() {
    let hub = edge(&[r#"FROM /messages/* INTO BrokeredEndpoint("/modules/b/inputs/i")"#]);
    listener(&hub, "b", 1).disconnect();
    let mut a = connect(&hub, "a");
    a.send(&packets::publish(&modules::events("a", &format!("p={}", "(".repeat(30_000))), 1, 0, 1, b"x"));
    a.expect_closed_without_packet();
    let why = why_it_ended(&hub, ("dev", "a"));
    assert!(matches!(why, DisconnectReason::MessageTooLarge { limit: 65_535, .. }), "{why:?}");
    assert!(hub.input_queue(("dev", "b")).is_empty());
}

#[test]
fn m_e49_a_route_that_is_not_understood_is_named_at_the_start() {
    let route = "FROM /messages/modules/a INTO $upstream";
    let error = Emulator::start_with(edge_config(&[route])).unwrap_err();
    let StartError::Config { field, problem } = &error else { panic!("{error}") };
    assert_eq!(*field, "edge_routes");
    assert!(problem.contains(route) && problem.contains("'dev'"), "{problem}");
}

#[test]
fn m_e50_a_gateways_name_is_in_the_certificate_and_in_no_token() {
    const GATEWAY: &str = "gateway.localtest";
    let hub = start(Config::new().with_host_name("hub.localtest").with_gateway_host_name(GATEWAY));
    assert_eq!(hub.host_names(), ["hub.localtest"]);
    let device = hub.create_device("dev").unwrap();
    assert!(device.connection_string().starts_with("HostName=hub.localtest;"));
    for host in [GATEWAY, "hub.localtest"] {
        let mut peer = Peer::open_to(&hub, host, &TlsOptions::default()).unwrap();
        peer.connect(&Connect::of(&hub, &device));
    }
    let mut peer = Peer::open_to(&hub, GATEWAY, &TlsOptions::default()).unwrap();
    let token =
        Token::new(&format!("{GATEWAY}/devices/dev"), &primary_key(&device), hub.now() + Duration::from_secs(3600));
    assert_eq!(peer.ask(&Connect::of(&hub, &device).password(&token.text())).code as u8, 5);
    // C# writes the gateway's name into the user name.
    let named = Connect::of(&hub, &device).user_name(&format!("{GATEWAY}/dev/?api-version=2021-04-12"));
    Peer::open_to(&hub, GATEWAY, &TlsOptions::default()).unwrap().connect(&named);
    assert!(Peer::open_to(&hub, "elsewhere.localtest", &TlsOptions::default()).is_err());
}
