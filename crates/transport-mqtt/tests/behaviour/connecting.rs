//! From the connect machine to the CONNACK.

use iothub_core::{ConnectStage, ConnectionErrorKind, Transport};

use crate::bench::{Bench, Seen, TOKEN, assert_violation, millis, registration, secs, transport};
use crate::wire::{connack, packet, puback, publish, suback, to_device};

/// CONNECT by hand: protocol name and level, flags, keep-alive, client identifier, user name, password.
fn expected_connect(client_id: &str, flags: u8, keep_alive: [u8; 2], query: &str, password: Option<&str>) -> Vec<u8> {
    let user_name = format!("contoso.azure-devices.net/{client_id}/?{query}");
    let mut body = b"\0\x04MQTT\x04".to_vec();
    body.push(flags);
    body.extend(keep_alive);
    for text in [client_id, &user_name].into_iter().chain(password) {
        body.extend((text.len() as u16).to_be_bytes());
        body.extend(text.as_bytes());
    }
    packet(0x10, &body)
}

const QUERY: &str = "api-version=2021-04-12&DeviceClientType=iothubclient%2F0.1%20%28Linux%3B%20x86_64%29";

#[test]
fn connect_is_byte_for_byte_what_the_hub_wants() {
    let mut bench = Bench::new();
    let mut peer = bench.script.accept();
    bench.transport.connect(bench.slot, Some(TOKEN), bench.now);
    assert_eq!(peer.receive(), b"", "nothing goes on the wire outside do_work");
    assert_eq!(bench.work(), []);
    assert_eq!(peer.receive(), expected_connect("dev-1", 0xC0, [0, 240], QUERY, Some(TOKEN)));
    assert_eq!(peer.flushes(), 1);
}

#[test]
fn a_module_introduces_itself_as_device_and_module() {
    let mut bench = Bench::module();
    let mut peer = bench.script.accept();
    bench.transport.connect(bench.slot, Some(TOKEN), bench.now);
    bench.work();
    assert_eq!(peer.receive(), expected_connect("dev-1/mod-1", 0xC0, [0, 240], QUERY, Some(TOKEN)));
}

#[test]
fn with_a_certificate_there_is_no_password_and_its_flag_is_0() {
    let mut bench = Bench::with(|options| options.keep_alive = secs(1177));
    let mut peer = bench.script.accept();
    bench.transport.connect(bench.slot, None, bench.now);
    bench.work();
    assert_eq!(peer.receive(), expected_connect("dev-1", 0x80, [0x04, 0x99], QUERY, None));
}

#[test]
fn the_model_id_follows_the_client_type() {
    let (mut transport, script) = transport(|_| {});
    let mut device = registration();
    device.model_id = Some("dtmi:com:example:Thermostat;1".to_owned());
    let slot = transport.register(device).unwrap();
    let mut peer = script.accept();
    let now = iothub_core::Now::system();
    transport.connect(slot, None, now);
    transport.do_work(now);
    let query = format!("{QUERY}&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1");
    assert_eq!(peer.receive(), expected_connect("dev-1", 0x80, [0, 240], &query, None));
}

#[test]
fn a_connect_that_the_socket_takes_in_pieces_arrives_whole() {
    let mut bench = Bench::new();
    let mut peer = bench.script.accept();
    peer.set_capacity(7);
    bench.transport.connect(bench.slot, Some(TOKEN), bench.now);
    let expected = expected_connect("dev-1", 0xC0, [0, 240], QUERY, Some(TOKEN));
    let mut received = Vec::new();
    for _ in 0..expected.len().div_ceil(7) {
        assert_eq!(bench.work(), []);
        received.extend(peer.receive());
    }
    assert_eq!(received, expected);
}

#[test]
fn the_hubs_yes_is_connected_and_with_nothing_subscribed_ready() {
    for session_present in [false, true] {
        Bench::new().connected_to(session_present);
    }
}

#[test]
fn each_refusal_of_the_hub_is_a_reason_of_its_own_and_closes() {
    let reasons = [
        (1, ConnectionErrorKind::ProtocolVersionRefused),
        (2, ConnectionErrorKind::IdentifierRefused),
        (3, ConnectionErrorKind::ServerUnavailable),
        (4, ConnectionErrorKind::BadUserNameOrPassword),
        (5, ConnectionErrorKind::NotAuthorized),
    ];
    for (code, reason) in reasons {
        let mut bench = Bench::new();
        let mut peer = bench.open();
        peer.send(&[0x20, 2, 0, code]);
        peer.close();
        assert_eq!(bench.work(), [Seen::Down(reason)]);
        assert!(peer.is_closed_by_client());
        assert_eq!(bench.due_in(), None);
    }
}

#[test]
fn a_malformed_connack_breaks_the_protocol() {
    for (bytes, named) in [
        (&[0x20, 2, 0, 6][..], "6"),
        (&[0x20, 2, 4, 0], "flags 0x04"),
        (&[0x20, 3, 0, 0, 0], "5 bytes"),
        (b"HTTP/1.1 400 Bad Request", "0x48"),
    ] {
        let mut bench = Bench::new();
        let mut peer = bench.open();
        peer.send(bytes);
        assert_violation(&bench.work(), named);
        assert!(peer.is_closed_by_client());
    }
}

#[test]
fn nothing_may_come_before_the_connack() {
    for (bytes, named) in [
        (puback(1), "PUBACK"),
        (suback(1, &[1]), "SUBACK"),
        (to_device(1, "", b"x"), "PUBLISH"),
        (vec![0xD0, 0], "PINGRESP"),
    ] {
        let mut bench = Bench::new();
        let mut peer = bench.open();
        peer.send(&bytes);
        assert_violation(&bench.work(), &format!("a {named} before the CONNACK"));
    }
}

#[test]
fn a_second_connack_breaks_the_protocol() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    peer.send(&connack(false));
    assert_violation(&bench.work(), "second CONNACK");
}

#[test]
fn a_hub_that_closes_before_or_after_its_answer_gave_no_reason() {
    let mut bench = Bench::new();
    let mut peer = bench.open();
    peer.close();
    assert_eq!(bench.work(), [Seen::Down(ConnectionErrorKind::ClosedByPeer)]);
    let mut peer = bench.connected();
    peer.close();
    assert_eq!(bench.work(), [Seen::Down(ConnectionErrorKind::ClosedByPeer)]);
}

#[test]
fn a_connection_that_breaks_says_where() {
    let mut bench = Bench::new();
    let peer = &mut bench.open();
    peer.cut();
    match &bench.work()[..] {
        [Seen::Down(ConnectionErrorKind::Network { stage: ConnectStage::Open, .. })] => {}
        other => panic!("{other:?}"),
    }
    let mut peer = bench.connected();
    peer.cut();
    match &bench.work()[..] {
        [Seen::Down(ConnectionErrorKind::Broken { .. })] => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_connack_that_does_not_come_is_awaited_for_the_connect_timeout() {
    let mut bench = Bench::with(|options| options.connect_timeout = secs(7));
    let peer = bench.open();
    assert_eq!(bench.due_in(), Some(secs(7)));
    bench.advance(secs(7) - millis(1));
    assert_eq!(bench.work(), []);
    bench.advance(millis(1));
    let late = ConnectionErrorKind::TimedOut { stage: ConnectStage::Open, after: secs(7) };
    assert_eq!(bench.work(), [Seen::Down(late)]);
    assert!(peer.is_closed_by_client());
}

#[test]
fn a_connack_that_is_there_counts_however_late_the_slice_is() {
    let mut bench = Bench::new();
    let mut peer = bench.open();
    peer.send(&connack(false));
    bench.advance(secs(3600));
    assert_eq!(bench.work(), [Seen::Connected(false), Seen::Ready]);
}

#[test]
fn the_connect_machines_failure_is_passed_on() {
    let mut bench = Bench::new();
    bench.script.fail(ConnectionErrorKind::Refused);
    bench.transport.connect(bench.slot, Some(TOKEN), bench.now);
    assert_eq!(bench.work(), [Seen::Down(ConnectionErrorKind::Refused)]);
    assert_eq!(bench.work(), [], "the transport does not try again by itself");
    assert_eq!(bench.script.attempts(), 1);
}

#[test]
fn a_token_that_no_connect_can_carry_is_not_sent() {
    let mut bench = Bench::new();
    bench.transport.connect(bench.slot, Some(&"t".repeat(65_536)), bench.now);
    let too_long = ConnectionErrorKind::TokenTooLong { length: 65_536, limit: 65_535 };
    assert_eq!(bench.work(), [Seen::Down(too_long)]);
    assert_eq!(bench.script.attempts(), 0);
}

#[test]
fn a_message_right_behind_the_connack_arrives_before_anything_was_subscribed() {
    let mut bench = Bench::new();
    let mut peer = bench.open();
    peer.send(&[connack(true), to_device(9, "a=1", b"early")].concat());
    match &bench.work()[..] {
        [Seen::Connected(true), Seen::Ready, Seen::Message(message, _)] => assert_eq!(message.payload(), "early"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn connecting_anew_ends_what_was_before() {
    let mut bench = Bench::new();
    let old = bench.connected();
    bench.send_all([1]);
    let mut new = bench.open();
    assert!(old.is_closed_by_client());
    new.send(&connack(true));
    assert_eq!(bench.work(), [Seen::Connected(true), Seen::Ready]);
}

#[test]
fn a_transport_that_was_never_asked_to_connect_waits_for_nothing() {
    let mut bench = Bench::new();
    assert_eq!(bench.work(), []);
    assert_eq!(bench.due_in(), None);
    let mut watched = Vec::new();
    bench.transport.readiness(&mut watched);
    assert!(watched.is_empty());
    assert_eq!(&*bench.transport.peer().0, "contoso.azure-devices.net");
}

#[test]
fn packets_that_no_server_sends_break_the_protocol() {
    for (bytes, named) in [
        (vec![0xE0, 0], "0xe0"),
        (vec![0xC0, 0], "0xc0"),
        (packet(0x50, &[0, 1]), "0x50"),
        (packet(0x62, &[0, 1]), "0x62"),
        (publish(0x34, "t", Some(1), b""), "QoS 2"),
        (publish(0x36, "t", Some(1), b""), "QoS"),
        (to_device(0, "", b"x"), "Zero"),
        (puback(0), "identifier 0"),
        (vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF], "remaining length"),
        (vec![0x30, 0x84, 0x80, 0x15], "344068 bytes"),
    ] {
        let mut bench = Bench::new();
        let mut peer = bench.connected();
        peer.send(&bytes);
        assert_violation(&bench.work(), named);
        assert!(peer.is_closed_by_client());
    }
}

#[test]
fn the_largest_packet_that_can_be_is_taken() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    let bag = format!("p={}", "v".repeat(65_535 - "devices/dev-1/messages/devicebound/p=".len()));
    peer.send(&to_device(1, &bag, &[7; 262_144]));
    match &bench.settle_down()[..] {
        [Seen::Message(message, _)] => assert_eq!(message.payload().len(), 262_144),
        other => panic!("{other:?}"),
    }
}
