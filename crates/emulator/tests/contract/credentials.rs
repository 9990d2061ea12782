//! Who is let in, and for how long, by a SAS token (E4, E11).

use std::time::Duration;

use iothub_emulator::{Activity, Config, DeviceAuth, DisconnectReason, Emulator, Hub, RefusalReason};
use rumqttc::mqttbytes::v4::Packet;

use crate::support::packets::{self, Connect, Will, primary_key};
use crate::support::peer::Peer;
use crate::support::sas::{Spelling, Token};
use crate::support::{hub_with_manual_clock, manual_clock, start, start_of_time, why_it_ended};

const HOUR: Duration = Duration::from_secs(3600);

/// The code of the CONNACK; when it refuses, nothing must follow but the end of the connection.
fn answer(hub: &Hub, connect: &Connect) -> u8 {
    let mut peer = Peer::open(hub);
    let code = peer.ask(connect).code as u8;
    if code != 0 {
        peer.expect_closed_without_packet();
    }
    code
}

#[test]
fn m_e04_a_token_is_accepted_in_every_spelling_and_order_of_the_official_sdks() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev.a-b:c#1").unwrap();
    let resource = format!("{}/devices/{}", hub.host_name(), device.id);
    let token = Token::new(&resource, &primary_key(&device), hub.now() + HOUR);
    let tokens = [
        token.clone().spelled(Spelling::Upper),
        token.clone().spelled(Spelling::Lower),
        token.clone().spelled(Spelling::Raw),
        token.clone().in_order(['g', 'e', 'r']),
        token.clone().in_order(['e', 'r', 'g']),
    ];
    for token in tokens {
        let connect = Connect::of(&hub, &device).password(&token.text());
        assert_eq!(answer(&hub, &connect), 0, "{token:?}");
    }
}

#[test]
fn m_e04_the_secondary_key_is_as_good_as_the_primary() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let secondary = device.secondary_key.as_ref().expect("a device with keys has two").expose().to_owned();
    assert_ne!(secondary, primary_key(&device));
    let token = Token::new("localhost/devices/dev", &secondary, hub.now() + HOUR);
    assert_eq!(answer(&hub, &Connect::of(&hub, &device).password(&token.text())), 0);
}

#[test]
fn m_e04_given_keys_are_the_keys() {
    let hub = Emulator::start().unwrap();
    let key = "c2l4dGVlbiBieXRlcyBvZiBrZXk=";
    let auth =
        DeviceAuth::SymmetricKey { primary: key.into(), secondary: "YW5vdGhlciBrZXkgb2YgdGhlIGRldmljZQ==".into() };
    let device = hub.create_device_with("dev", auth).unwrap();
    assert_eq!(primary_key(&device), key);
    let token = Token::new("localhost/devices/dev", key, hub.now() + HOUR);
    assert_eq!(answer(&hub, &Connect::of(&hub, &device).password(&token.text())), 0);
}

#[test]
fn m_e04_whatever_is_wrong_with_a_connect_the_answer_is_5_and_the_end() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let other = hub.create_device("dev2").unwrap();
    let key = primary_key(&device);
    let good = Connect::of(&hub, &device);
    let token = |resource: &str, key: &str| Token::new(resource, key, hub.now() + HOUR).text();
    let right = token("localhost/devices/dev", &key);
    let (before_signature, _) = right.split_once("sig=").unwrap();
    let without_password = Connect { password: None, ..good.clone() };
    let without_user_name = Connect { user_name: None, password: None, ..good.clone() };

    let wrong: Vec<(&str, Connect)> = vec![
        ("the client id is another device's", good.clone().client_id("dev2")),
        ("the client id differs in case", good.clone().client_id("Dev")),
        ("the client id is empty", good.clone().client_id("").clean()),
        ("the client id names a module", good.clone().client_id("dev/mod")),
        ("the user name is another device's", good.clone().user_name("localhost/dev2/?api-version=2021-04-12")),
        (
            "the device is unknown",
            good.clone()
                .client_id("nobody")
                .user_name("localhost/nobody/?api-version=2021-04-12")
                .password(&token("localhost/devices/nobody", &key)),
        ),
        ("the key is another device's", good.clone().password(&token("localhost/devices/dev", &primary_key(&other)))),
        ("the audience is another device", good.clone().password(&token("localhost/devices/dev2", &key))),
        (
            "the audience is a device whose name starts alike",
            good.clone().password(&token("localhost/devices/de", &key)),
        ),
        ("the audience is another hub", good.clone().password(&token("elsewhere/devices/dev", &key))),
        ("the audience is below the device", good.clone().password(&token("localhost/devices/dev/modules/mod", &key))),
        (
            "the token has expired",
            good.clone().password(&Token::new("localhost/devices/dev", &key, hub.now() - HOUR).text()),
        ),
        ("the signature is missing", good.clone().password(before_signature)),
        ("the signature is empty", good.clone().password(&right.replace(signature(&right), ""))),
        ("the signature is not base64", good.clone().password(&right.replace(signature(&right), "%%%"))),
        ("the expiry was moved after signing", good.clone().password(&moved_expiry(&right))),
        ("the expiry is no number", good.clone().password(&right.replace("&se=", "&se=x"))),
        ("the expiry is negative", good.clone().password(&right.replace("&se=", "&se=-"))),
        ("the scheme word is missing", good.clone().password(right.trim_start_matches("SharedAccessSignature "))),
        ("the password is the key", good.clone().password(&key)),
        ("the password is empty", good.clone().password("")),
        ("there is no password", without_password),
        ("there is no user name", without_user_name),
    ];
    for (what, connect) in wrong {
        assert_eq!(answer(&hub, &connect), 5, "{what}");
    }
    assert_eq!(answer(&hub, &good), 0, "nothing was wrong with the rest");
}

#[test]
fn m_e04_a_refusal_is_one_connack_and_the_end_of_the_connection() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let mut peer = Peer::open(&hub);
    peer.send(&Connect::of(&hub, &device).password("wrong").encode());
    let packets = peer.read_until_closed();
    assert_eq!(packets.len(), 1);
    assert!(matches!(&packets[0], Packet::ConnAck(answer) if answer.code as u8 == 5 && !answer.session_present));
}

#[test]
fn m_e04_the_record_tells_what_the_client_is_not_told() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let other = hub.create_device("other").unwrap();
    let expired = Token::new("localhost/devices/dev", &primary_key(&device), hub.now() - HOUR).text();
    let foreign = Token::new("localhost/devices/dev", &primary_key(&other), hub.now() + HOUR).text();
    let good = Connect::of(&hub, &device);
    for connect in [good.clone().password(&expired), good.clone().password(&foreign), good.client_id("other")] {
        assert_eq!(answer(&hub, &connect), 5);
    }
    hub.set_device_enabled("dev", false).unwrap();
    assert_eq!(answer(&hub, &Connect::of(&hub, &device)), 5);

    let reasons: Vec<RefusalReason> = hub.activity("dev").into_iter().filter_map(refusal).collect();
    assert!(matches!(reasons[0], RefusalReason::TokenExpired { .. }), "{reasons:?}");
    assert_eq!(reasons[1], RefusalReason::TokenSignature);
    assert_eq!(reasons[2], RefusalReason::ClientIdMismatch);
    assert_eq!(reasons[3], RefusalReason::DeviceDisabled);
    assert_eq!(reasons.len(), 4, "{reasons:?}");
}

fn refusal(activity: Activity) -> Option<RefusalReason> {
    match activity {
        Activity::ConnectRefused { code, why, .. } => {
            assert_eq!(code, 5);
            Some(why)
        }
        _ => None,
    }
}

#[test]
fn m_e04_a_disabled_device_is_refused_until_it_is_enabled_again() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    hub.set_device_enabled("dev", false).unwrap();
    assert_eq!(answer(&hub, &Connect::of(&hub, &device)), 5);
    hub.set_device_enabled("dev", true).unwrap();
    assert_eq!(answer(&hub, &Connect::of(&hub, &device)), 0);
}

#[test]
fn m_e04_disabling_or_deleting_a_device_ends_its_connection() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("disabled").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    hub.set_device_enabled("disabled", false).unwrap();
    peer.expect_closed_without_packet();
    assert_eq!(why_it_ended(&hub, "disabled"), DisconnectReason::DeviceDisabled);

    let device = hub.create_device("deleted").unwrap();
    let mut peer = Peer::connected(&hub, &device);
    let connect = Connect::of(&hub, &device);
    hub.delete_device("deleted").unwrap();
    peer.expect_closed_without_packet();
    assert_eq!(answer(&hub, &connect), 5);
}

#[test]
fn m_e04_a_rotated_key_is_refused_but_open_connections_stay() {
    let hub = Emulator::start().unwrap();
    let old = hub.create_device("dev").unwrap();
    let mut peer = Peer::connected(&hub, &old);
    let new = hub.rotate_keys("dev").unwrap();
    assert_ne!(primary_key(&old), primary_key(&new));
    peer.expect_quiet();
    assert_eq!(answer(&hub, &Connect::of(&hub, &old)), 5);
    peer.expect_quiet();
    assert_eq!(answer(&hub, &Connect::of(&hub, &new)), 0);
}

#[test]
fn m_e04_a_token_ends_with_the_second_of_its_expiry() {
    let hub = hub_with_manual_clock();
    let device = hub.create_device("dev").unwrap();
    let token = |seconds: i64| {
        let moment = start_of_time() + Duration::from_secs(u64::try_from(100 + seconds).unwrap());
        let token = Token::new("localhost/devices/dev", &primary_key(&device), moment);
        Connect::of(&hub, &device).password(&token.text())
    };
    hub.advance_clock(Duration::from_secs(100));
    assert_eq!(answer(&hub, &token(1)), 0);
    assert_eq!(answer(&hub, &token(-1)), 5);
}

#[test]
fn m_e04_the_code_of_a_refusal_can_be_chosen() {
    for code in 1..=4 {
        let hub = start(Config::new().with_refusal_code(code));
        let device = hub.create_device("dev").unwrap();
        assert_eq!(answer(&hub, &Connect::of(&hub, &device).password("wrong")), code);
        assert_eq!(answer(&hub, &Connect::of(&hub, &device)), 0);
    }
}

#[test]
fn m_e11_ten_minutes_after_its_expiry_a_token_ends_its_connection() {
    let hub = hub_with_manual_clock();
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::expiring(&hub, &device, Duration::from_secs(300)).keep_alive(0);
    let mut peer = Peer::connected_as(&hub, &connect);
    hub.advance_clock(Duration::from_secs(301));
    peer.expect_quiet();
    hub.advance_clock(Duration::from_secs(598));
    peer.expect_quiet();
    hub.advance_clock(Duration::from_secs(2));
    peer.expect_closed_without_packet();
    assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::TokenExpired);
    assert_eq!(answer(&hub, &connect), 5, "the same token does not come back");
}

#[test]
fn m_e11_a_packet_that_comes_too_late_does_not_save_the_connection() {
    let hub = start(manual_clock().with_sas_grace(Duration::ZERO));
    let device = hub.create_device("dev").unwrap();
    for _ in 0..20 {
        let connect = Connect::expiring(&hub, &device, Duration::from_secs(300)).keep_alive(0);
        let mut peer = Peer::connected_as(&hub, &connect);
        hub.advance_clock(Duration::from_secs(301));
        // The hub may have closed before this is written.
        let _ = peer.try_send(&packets::publish("devices/dev/messages/events/", 1, 0, 1, b"too late"));
        peer.expect_closed_without_packet();
    }
    assert_eq!(hub.telemetry("dev"), []);
}

#[test]
fn m_e11_the_grace_can_be_none() {
    let hub = start(manual_clock().with_sas_grace(Duration::ZERO));
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::expiring(&hub, &device, Duration::from_secs(300)).keep_alive(0);
    let mut peer = Peer::connected_as(&hub, &connect);
    hub.advance_clock(Duration::from_secs(299));
    peer.expect_quiet();
    hub.advance_clock(Duration::from_secs(1));
    peer.expect_closed_without_packet();
}

#[test]
fn m_e11_setting_the_date_ends_tokens_but_no_silence() {
    let hub = hub_with_manual_clock();
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::expiring(&hub, &device, Duration::from_secs(300)).keep_alive(10);
    let mut peer = Peer::connected_as(&hub, &connect);
    hub.set_clock(start_of_time() + Duration::from_secs(899));
    peer.expect_quiet();
    hub.set_clock(start_of_time() + Duration::from_secs(901));
    peer.expect_closed_without_packet();
    assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::TokenExpired);
}

#[test]
fn m_e11_expiry_is_an_end_without_disconnect_so_the_will_is_published() {
    let hub = start(manual_clock().with_sas_grace(Duration::ZERO));
    let device = hub.create_device("dev").unwrap();
    let connect = Connect::expiring(&hub, &device, Duration::from_secs(300))
        .will(Will::new("devices/dev/messages/events/", b"gone"))
        .keep_alive(0);
    let mut peer = Peer::connected_as(&hub, &connect);
    hub.advance_clock(Duration::from_secs(301));
    peer.expect_closed_without_packet();
    let telemetry = hub.wait_for_telemetry("dev", 1, crate::support::LIMIT).unwrap();
    assert_eq!(&telemetry[0].body[..], b"gone");
}

#[test]
fn m_e11_a_new_connection_with_a_new_token_lives_on() {
    let hub = start(manual_clock().with_sas_grace(Duration::ZERO));
    let device = hub.create_device("dev").unwrap();
    let short = Connect::expiring(&hub, &device, Duration::from_secs(300)).keep_alive(0);
    Peer::connected_as(&hub, &short).disconnect();
    let long = Connect::expiring(&hub, &device, Duration::from_secs(1000)).keep_alive(0);
    let mut peer = Peer::connected_as(&hub, &long);
    hub.advance_clock(Duration::from_secs(600));
    peer.expect_quiet();
    hub.advance_clock(Duration::from_secs(401));
    peer.expect_closed_without_packet();
}

/// The text of the signature in a token.
fn signature(token: &str) -> &str {
    let (_, rest) = token.split_once("sig=").unwrap();
    rest.split('&').next().unwrap()
}

fn moved_expiry(token: &str) -> String {
    let (rest, expiry) = token.split_once("&se=").unwrap();
    let expiry: u64 = expiry.parse().unwrap();
    format!("{rest}&se={}", expiry + 1)
}
