//! SASL (E2 to E4).

use iothub_emulator::{Activity, RefusalReason};

use crate::support::frame::{Link, Message, *};
use crate::support::value::{V, sym};
use crate::support::{HOUR, KEY, Peer, happened, sasl_init, token, world};

/// Goes through SASL, and gives the peer and the outcome's code.
fn login(hub: &iothub_emulator::OfflineHub, mechanism: &str, response: Option<&[u8]>) -> (Peer, u8) {
    let mut peer = Peer::silent(hub);
    peer.say_bytes(SASL_HEADER);
    peer.header();
    assert_eq!(peer.next().code, MECHANISMS);
    peer.say_bytes(&sasl_init(mechanism, response));
    let outcome = peer.next();
    assert_eq!((outcome.kind, outcome.code), (1, OUTCOME));
    let V::Ubyte(code) = *outcome.field(0) else { panic!("{outcome:?}") };
    let welcome = if code == 0 { V::Bin(b"Welcome!".to_vec()) } else { V::Null };
    assert_eq!(outcome.field(1), &welcome);
    if code == 0 {
        peer.say_bytes(AMQP_HEADER);
        assert_eq!(peer.header().as_deref(), Some(AMQP_HEADER));
        peer.say(&open(None));
        assert_eq!(peer.next().code, OPEN);
        peer.say(&begin());
        assert_eq!(peer.next().code, BEGIN);
    }
    (peer, code)
}

fn plain(user: &str, password: &str) -> Vec<u8> {
    format!("\0{user}\0{password}").into_bytes()
}

#[test]
fn a_e02_the_mechanisms_are_offered_in_the_hubs_order() {
    let hub = world();
    let mut peer = Peer::silent(&hub);
    peer.say_bytes(SASL_HEADER);
    peer.header();
    let offer = peer.next();
    assert_eq!(offer.kind, 1);
    let names = ["EXTERNAL", "MSSBCBS", "ANONYMOUS", "PLAIN"].map(sym).to_vec();
    assert_eq!(offer.field(0), &V::Array(names));
}

#[test]
fn a_e02_mssbcbs_and_anonymous_get_in_with_or_without_a_response() {
    let hub = world();
    for mechanism in ["MSSBCBS", "ANONYMOUS"] {
        for response in [None, Some(&b""[..]), Some(b"trace")] {
            assert_eq!(login(&hub, mechanism, response).1, 0, "{mechanism} {response:?}");
        }
    }
    let opened =
        |activity: &Activity| matches!(activity, Activity::AmqpOpened { sasl: Some(name), .. } if name == "MSSBCBS");
    assert_eq!(happened(&hub, "", opened), 3);
}

#[test]
fn a_e02_what_is_pipelined_is_worked_through_in_order() {
    let hub = world();
    let mut peer = Peer::silent(&hub);
    let all = [SASL_HEADER, &sasl_init("ANONYMOUS", None), AMQP_HEADER, &frame(0, &open(None), &[])].concat();
    peer.say_bytes(&all);
    assert_eq!(peer.header().as_deref(), Some(SASL_HEADER));
    assert!(!peer.is_closed());
}

#[test]
fn a_e02_another_mechanism_is_refused() {
    let hub = world();
    let (peer, code) = login(&hub, "SCRAM-SHA-256", Some(b"n,,n=x"));
    assert_eq!(code, 1);
    assert!(peer.is_closed());
}

#[test]
fn a_e03_plain_with_a_devices_token_needs_no_other() {
    let hub = world();
    for user in ["d@sas.hub", "d@sas.hub.test", "d@hub"] {
        let (mut peer, code) = login(&hub, "PLAIN", Some(&plain(user, &token(&hub, "d"))));
        assert_eq!(code, 0, "{user}");
        peer.sender(0, "/devices/d/messages/events");
        peer.accepted(0, &Message::of(b"x"));
        assert_eq!(peer.refused(&Link::sender(1, "$cbs")), "amqp:not-allowed");
    }
}

#[test]
fn a_e03_plain_with_a_policys_token_or_key_opens_the_service_side() {
    let hub = world();
    let token = hub.policy_token("iothubowner", HOUR).unwrap();
    for (user, password) in [("iothubowner@sas.root.hub", token.as_str()), ("iothubowner", KEY)] {
        let (mut peer, code) = login(&hub, "PLAIN", Some(&plain(user, password)));
        assert_eq!(code, 0, "{user}");
        peer.sender(0, "/messages/devicebound");
    }
}

#[test]
fn a_e03_plain_with_anything_wrong_is_refused_and_closed() {
    let hub = world();
    let good = token(&hub, "d");
    let other = token(&hub, "d").replace("devices%2Fd&", "devices%2Fe&");
    let policy = hub.policy_token("service", HOUR).unwrap();
    for (user, password) in [
        ("d@sas.hub", "x"),
        ("d@sas.hub", ""),
        ("d@sas.hub", &other),
        ("e@sas.hub", &good),
        ("d@sas.other", &good),
        ("d", &good),
        ("iothubowner@sas.root.hub", &policy),
        ("nobody@sas.root.hub", &policy),
        ("service@sas.root.other", &policy),
        ("iothubowner", "bm90IHRoZSBrZXk="),
    ] {
        let (peer, code) = login(&hub, "PLAIN", Some(&plain(user, password)));
        assert_eq!(code, 1, "{user}");
        assert!(peer.is_closed());
    }
    let (_, code) = login(&hub, "PLAIN", Some(b"no parts"));
    assert_eq!(code, 1);
    let refused = |activity: &Activity| matches!(activity, Activity::SaslRefused { .. });
    assert_eq!(happened(&hub, "", refused), 11);
}

#[test]
fn a_e04_external_without_a_certificate_is_refused() {
    let hub = world();
    let (peer, code) = login(&hub, "EXTERNAL", None);
    assert_eq!(code, 1);
    assert!(peer.is_closed());
    let missing =
        |activity: &Activity| matches!(activity, Activity::SaslRefused { why: RefusalReason::CredentialMissing, .. });
    assert_eq!(happened(&hub, "", missing), 1);
}
