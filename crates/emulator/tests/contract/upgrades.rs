//! How a connection to the HTTPS port becomes a WebSocket, and what is refused (E1, E9; E45 for refusals on demand).

use std::io::{Read as _, Write as _};
use std::time::Duration;

use iothub_emulator::{
    Activity, Config, DeviceAuth, DisconnectReason, DropPoint, Emulator, Fault, Hub, ProxyAnswer, ProxyConfig,
    TestProxy, TlsVersion,
};
use rumqttc::mqttbytes::v4::Packet;

use crate::support::packets::Connect;
use crate::support::peer::{Peer, read_to_end, tcp_to};
use crate::support::tls::{TLS_1_2, TLS_1_3, TlsOptions};
use crate::support::web_socket::{BINARY, FIN, Https, PATH, WebSocket, frame, request};
use crate::support::{LIMIT, hub_with_manual_clock, start};

/// The requests of the official SDKs as they were recorded (C 1.15, Node 1.18, Python 2.14), each with its subprotocol.
const RECORDED: [(&str, &[&str]); 3] = [
    (
        "MQTT",
        &[
            "GET /$iothub/websocket HTTP/1.1",
            "Host: hub.localtest:443",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: h3h4gz0eCMzQ+Ko+hTEPGg==",
            "Sec-WebSocket-Protocol: MQTT",
            "Sec-WebSocket-Version: 13",
        ],
    ),
    (
        "mqtt",
        &[
            "GET /$iothub/websocket HTTP/1.1",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: uC1w5PpplSaLqBJ+rLzcEw==",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
            "Sec-WebSocket-Protocol: mqtt",
            "Host: hub.localtest",
        ],
    ),
    (
        "mqtt",
        &[
            "GET /$iothub/websocket HTTP/1.1",
            "Host: hub.localtest:443",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Origin: https://hub.localtest:443",
            "Sec-WebSocket-Key: WOBx0jHUSZ+5OJf4/TkH1Q==",
            "Sec-Websocket-Version: 13",
            "Sec-Websocket-Protocol: mqtt",
        ],
    ),
];

fn refusals(hub: &Hub) -> Vec<(String, u16)> {
    let refusal = |activity| match activity {
        Activity::RequestRefused { path, status, .. } => Some((path, status)),
        _ => None,
    };
    hub.unattributed_activity().into_iter().filter_map(refusal).collect()
}

fn ended(hub: &Hub, why: impl Fn(&DisconnectReason) -> bool) -> bool {
    hub.unattributed_activity()
        .iter()
        .any(|activity| matches!(activity, Activity::Disconnected { why: found, .. } if why(found)))
}

#[test]
fn m_e01_mqtt_is_spoken_over_a_web_socket_too() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    assert!(hub.https_address().ip().is_loopback());
    for (path, subprotocol) in [
        (PATH, "mqtt"),
        (PATH, "MQTT"),
        ("/$iothub/websocket/", "mqtt"),
        ("/$iothub/websocket?iothub-no-client-cert=true", "mqtt"),
        ("/%24iothub/websocket", "mqtt"),
    ] {
        let web_socket = Https::open(&hub).upgrade(path, subprotocol);
        let peer_address = web_socket.address();
        let mut peer = Peer::over(web_socket);
        peer.connect(&Connect::of(&hub, &device));
        peer.publish("devices/dev/messages/events/", b"over WebSocket");
        peer.disconnect();
        let connected = hub.activity("dev").into_iter().rev().find_map(|activity| match activity {
            Activity::Connected { web_socket, peer, .. } => Some((web_socket, peer)),
            _ => None,
        });
        let (upgrade, peer) = connected.unwrap();
        let upgrade = upgrade.unwrap();
        assert_eq!((upgrade.path.as_str(), upgrade.subprotocol.as_str()), (path, subprotocol));
        assert_eq!(peer, Some(peer_address));
    }
    assert_eq!(hub.telemetry_count("dev"), 5);
}

#[test]
fn m_e01_the_record_tells_a_web_socket_from_the_mqtt_port() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    Peer::connected(&hub, &device).disconnect();
    let activity = hub.activity("dev");
    assert!(activity.iter().any(|activity| matches!(
        activity,
        Activity::Connected { web_socket: None, peer: Some(peer), .. } if peer.ip().is_loopback()
    )));
}

#[test]
fn m_e01_behind_a_proxy_the_record_names_the_proxy() {
    let hub = start(Config::new().with_host_name("hub.localtest"));
    let device = hub.create_device("dev").unwrap();
    let proxy = TestProxy::start(ProxyConfig::new().with_hub(&hub).with_credentials("user", "password")).unwrap();
    let mut tcp = tcp_to(proxy.address());
    let connect = "CONNECT hub.localtest:443 HTTP/1.1\r\nProxy-Authorization: Basic dXNlcjpwYXNzd29yZA==\r\n\r\n";
    tcp.write_all(connect.as_bytes()).unwrap();
    let mut answer = [0; "HTTP/1.1 200 OK\r\n\r\n".len()];
    tcp.read_exact(&mut answer).unwrap();
    let https = Https::open_on(tcp, &hub, &TlsOptions::default());
    Peer::over(https.upgrade(PATH, "mqtt")).connect(&Connect::of(&hub, &device));

    let answer = proxy.requests()[0].answer;
    let ProxyAnswer::Tunnel { from, to } = answer else { panic!("{answer:?}") };
    assert_eq!(to, hub.https_address());
    let came_from = |activity: &Activity| matches!(activity, Activity::Connected { peer, .. } if *peer == Some(from));
    assert!(hub.activity("dev").iter().any(came_from), "{:?}", hub.activity("dev"));
}

#[test]
fn m_e01_the_upgrades_of_the_official_sdks_are_granted() {
    let hub = Emulator::start().unwrap();
    for (subprotocol, lines) in RECORDED {
        let answer = Https::open(&hub).ask(lines);
        assert_eq!(answer.status, 101, "{lines:?}");
        assert_eq!(answer.header("sec-websocket-protocol"), Some(subprotocol));
        assert_eq!(answer.header("sec-websocket-extensions"), None);
    }
}

#[test]
fn m_e01_web_sockets_have_tls_1_2_and_1_3_and_optional_certificates() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("key").unwrap();
    for (options, on_record) in [
        (TlsOptions::default().only(TLS_1_2), TlsVersion::Tls12),
        (TlsOptions::default().only(TLS_1_3), TlsVersion::Tls13),
    ] {
        let mut peer = Peer::over(Https::open_with(&hub, &options).upgrade(PATH, "mqtt"));
        peer.connect(&Connect::of(&hub, &device));
        assert!(options.was_asked_for_a_certificate());
        let found = |activity: &Activity| matches!(activity, Activity::Connected { tls_version, .. } if *tls_version == Some(on_record));
        assert!(hub.activity("key").iter().any(found));
    }

    let certificate = hub.issue_device_certificate("x509").unwrap();
    hub.create_device_with("x509", DeviceAuth::CertificateAuthority).unwrap();
    let connect = Connect::without_password(&hub, "x509");
    let options = TlsOptions::default().presenting(&certificate.certificate_pem, &certificate.private_key_pem);
    Peer::over(Https::open_with(&hub, &options).upgrade(PATH, "mqtt")).connect(&connect);
    assert_eq!(Peer::over(WebSocket::open(&hub)).ask(&connect).code as u8, 5, "without its certificate");
}

#[test]
fn m_e01_a_wrong_path_or_subprotocol_is_a_bad_request_and_the_next_request_may_be_right() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut https = Https::open(&hub);
    let mut without = request(PATH, "");
    without.retain(|line| !line.starts_with("Sec-WebSocket-Protocol"));
    for (lines, status) in [
        (request("/", "mqtt"), 400),
        (request("/mqtt?x=1", "mqtt"), 400),
        (request(PATH, "stomp"), 400),
        (request(PATH, "wamp, chat"), 400),
        (without, 400),
    ] {
        let answer = https.ask(&lines);
        assert_eq!(answer.status, status, "{lines:?}");
        assert!(answer.header("x-ms-request-id").is_some());
    }
    let paths = ["/", "/mqtt?x=1", PATH, PATH, PATH];
    assert_eq!(refusals(&hub), paths.map(|path| (path.to_owned(), 400)));
    Peer::over(https.upgrade(PATH, "mqtt")).connect(&Connect::of(&hub, &device));
}

#[test]
fn m_e01_a_request_that_breaks_the_rules_of_an_upgrade_is_refused() {
    let hub = Emulator::start().unwrap();
    for (from, to, status) in [
        ("GET", "POST", 400),
        ("Connection: Upgrade", "Connection: keep-alive", 400),
        ("Upgrade: websocket", "X: y", 400),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Key: c2hvcnQ=", 400),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", 426),
    ] {
        let lines: Vec<_> = request(PATH, "mqtt").iter().map(|line| line.replace(from, to)).collect();
        assert_eq!(Https::open(&hub).ask(&lines).status, status, "{to}");
    }
}

#[test]
fn m_e01_other_requests_find_nothing_yet() {
    let hub = Emulator::start().unwrap();
    let mut https = Https::open(&hub);
    let answer = https.ask(&["GET /devices HTTP/1.1", "Host: hub.localtest"]);
    assert_eq!((answer.status, answer.header("iothub-errorcode")), (400, Some("InvalidProtocolVersion")));
    let request =
        ["POST /devices?api-version=2021-04-12 HTTP/1.1", "Host: hub.localtest", "Content-Length: 2", "", "{}"];
    https.send(request.join("\r\n").as_bytes());
    assert_eq!(https.answer().unwrap().status, 404);
}

#[test]
fn m_e01_what_is_no_http_ends_the_connection() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let endless = format!("GET {PATH} HTTP/1.1\r\nHost: {}", "x".repeat(64 * 1024)).into_bytes();
    for bytes in [Connect::of(&hub, &device).encode(), b"\x81\x00 no request\r\n\r\n".to_vec(), endless] {
        let mut https = Https::open(&hub);
        https.send(&bytes);
        while let Some(answer) = https.answer() {
            assert!((400..500).contains(&answer.status), "{answer:?}");
        }
    }
    hub.wait_until(LIMIT, "the end to be on record", |hub| {
        ended(hub, |why| matches!(why, DisconnectReason::ProtocolViolation(_)))
    })
    .unwrap();
    assert!(!hub.connected("dev"));
}

#[test]
fn m_e09_a_request_and_then_a_connect_have_their_time_on_the_https_port_too() {
    let hub = hub_with_manual_clock();
    let device = hub.create_device("dev").unwrap();
    let mut no_tls = tcp_to(hub.https_address());
    let mut silent = Https::open(&hub);
    let mut half = Https::open(&hub);
    half.send(b"GET /$iothub/web");
    let mut no_connect = Peer::over(WebSocket::open(&hub));

    hub.advance_clock(Duration::from_secs(59));
    let mut in_time = Peer::over(WebSocket::open(&hub));
    hub.advance_clock(Duration::from_secs(2));
    assert!(read_to_end(&mut no_tls).is_empty());
    assert!(silent.answer().is_none());
    assert!(half.answer().is_none());
    no_connect.expect_closed_without_packet();
    hub.advance_clock(Duration::from_secs(57));
    in_time.connect(&Connect::of(&hub, &device));
    in_time.expect_quiet();
    assert!(ended(&hub, |why| *why == DisconnectReason::ConnectTimeout));
}

#[test]
fn m_e07_the_newest_connection_displaces_the_older_whichever_its_port() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut first = Peer::connected(&hub, &device);
    let mut second = Peer::over(WebSocket::open(&hub));
    second.connect(&Connect::of(&hub, &device));
    first.expect_closed_without_packet();
    let mut third = Peer::connected(&hub, &device);
    second.expect_closed_without_packet();
    third.expect_quiet();
}

#[test]
fn m_e45_an_upgrade_can_be_refused_or_dropped() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut https = Https::open(&hub);
    hub.inject(Fault::RefuseUpgrade { status: 503 });
    assert_eq!(https.ask(&request(PATH, "mqtt")).status, 503);
    Peer::over(https.upgrade(PATH, "mqtt")).connect(&Connect::of(&hub, &device));

    for (point, status) in [
        (DropPoint::TcpAccepted, None),
        (DropPoint::TlsEstablished, None),
        (DropPoint::UpgradeReceived, None),
        (DropPoint::UpgradeSent, Some(101)),
    ] {
        hub.inject_for("another", Fault::Drop { device: None, at: point });
        if point == DropPoint::TcpAccepted {
            assert!(read_to_end(&mut tcp_to(hub.https_address())).is_empty());
        } else {
            let mut https = Https::open(&hub);
            https.send_request(&request(PATH, "mqtt"));
            assert_eq!(https.answer().map(|answer| answer.status), status, "{point:?}");
            assert!(https.answer().is_none());
        }
        assert_eq!(hub.pending_faults(), 0, "{point:?}");
    }
    hub.wait_until(LIMIT, "four drops on record", |hub| {
        let fault = |activity: &&Activity| {
            matches!(activity, Activity::Disconnected { why: DisconnectReason::Fault(Fault::Drop { .. }), .. })
        };
        hub.unattributed_activity().iter().filter(fault).count() == 4
    })
    .unwrap();
}

#[test]
fn m_e01_what_is_sent_behind_the_request_is_not_lost() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut https = Https::open(&hub);
    let mut bytes = format!("{}\r\n\r\n", request(PATH, "mqtt").join("\r\n")).into_bytes();
    bytes.extend(frame(FIN | BINARY, &Connect::of(&hub, &device).encode()));
    https.send(&bytes);
    let mut peer = Peer::over(https.upgraded().1);
    assert!(matches!(peer.read(), Packet::ConnAck(answer) if answer.code as u8 == 0));
}
