//! Who is let in, and what a session is.

use std::task::Waker;
use std::time::Duration;

use iothub_emulator::{
    Activity, C2dMessage, DeviceAuth, DisconnectReason, Hub, LocalEvent, LocalFeature, LocalLogin, LocalLoginError,
    RefusalReason,
};

use crate::support::c2d::{self, cut, listener as mqtt_listener};
use crate::support::{hub_with_manual_clock, wait_until_gone};
use crate::{DAY, connect, event, events, listener, login, record};

fn refusal(hub: &Hub, login: LocalLogin) -> RefusalReason {
    match hub.connect_local(login, Waker::noop()) {
        Err(LocalLoginError::Refused(why)) => why,
        other => panic!("a refusal was to come, not {other:?}"),
    }
}

#[test]
fn a_device_with_its_token_is_let_in_and_on_record() {
    let hub = hub_with_manual_clock();
    let login = login(&hub).client_type("test/1").model_id("dtmi:test;1");
    let connection = hub.connect_local(login, Waker::noop()).unwrap();
    assert!(hub.connected("dev"));
    assert!(!connection.session_present());
    let connected = record(&hub, |activity| match activity {
        Activity::Connected { connection, client_type, model_id, clean_session, .. } => {
            Some((connection, client_type.unwrap(), model_id.unwrap(), clean_session))
        }
        _ => None,
    });
    assert_eq!(connected, [(connection.id(), "test/1".to_owned(), "dtmi:test;1".to_owned(), false)]);
}

#[test]
fn a_credential_is_checked_as_over_mqtt() {
    let hub = hub_with_manual_clock();
    let device = hub.create_device("dev").unwrap();
    let other = hub.create_device("other").unwrap();
    let with = |token: String| LocalLogin::new("dev").token(token);
    assert_eq!(refusal(&hub, LocalLogin::new("nobody").token(device.sas_token(DAY))), RefusalReason::UnknownDevice);
    assert_eq!(refusal(&hub, LocalLogin::new("dev")), RefusalReason::CredentialMissing);
    assert_eq!(refusal(&hub, with(String::new())), RefusalReason::CredentialMissing);
    assert!(matches!(refusal(&hub, with("please".to_owned())), RefusalReason::TokenMalformed(_)));
    assert!(matches!(refusal(&hub, with(other.sas_token(DAY))), RefusalReason::TokenAudience { .. }));
    let old = device.sas_token(DAY);
    hub.rotate_keys("dev").unwrap();
    assert_eq!(refusal(&hub, with(old)), RefusalReason::TokenSignature);
    let expired = hub.device("dev").unwrap().sas_token(Duration::ZERO);
    assert!(matches!(refusal(&hub, with(expired)), RefusalReason::TokenExpired { .. }));
    hub.set_device_enabled("dev", false).unwrap();
    assert_eq!(refusal(&hub, login(&hub)), RefusalReason::DeviceDisabled);
    let certificate = hub.issue_device_certificate("x509").unwrap();
    let auth = DeviceAuth::Thumbprint { primary: certificate.thumbprint, secondary: None };
    hub.create_device_with("x509", auth).unwrap();
    assert_eq!(refusal(&hub, LocalLogin::new("x509").token("x")), RefusalReason::CredentialMissing);
    let refused = record(&hub, |activity| match activity {
        Activity::ConnectRefused { why, .. } => Some(why),
        _ => None,
    });
    assert_eq!(refused.len(), 7, "{refused:?}");
    assert!(!hub.connected("dev"));
}

#[test]
fn a_login_shows_no_token() {
    let hub = hub_with_manual_clock();
    let text = format!("{:?}", login(&hub));
    assert!(text.contains("dev") && !text.contains("sig"), "{text}");
}

#[test]
fn a_module_is_let_in_beside_its_device() {
    let hub = hub_with_manual_clock();
    let _device = connect(&hub);
    let module = hub.create_module("dev", "m").unwrap();
    let login = LocalLogin::new(("dev", "m")).token(module.sas_token(DAY));
    let mut module = hub.connect_local(login, Waker::noop()).unwrap();
    assert!(hub.connected("dev") && hub.connected(("dev", "m")));
    module.subscribe(LocalFeature::Inputs).unwrap();
    let refused = module.subscribe(LocalFeature::CloudToDevice).unwrap_err();
    assert!(refused.to_string().contains("cloud-to-device messages"), "{refused}");
}

#[test]
fn the_newest_connection_of_an_identity_stays_whichever_way_it_came() {
    let hub = hub_with_manual_clock();
    let mut first = connect(&hub);
    let mut second = connect(&hub);
    assert_eq!(events(&mut first), [LocalEvent::Closed(DisconnectReason::Replaced { by: second.id() })]);
    let mut over_mqtt = c2d::connect(&hub);
    assert!(matches!(event(&mut second), LocalEvent::Closed(DisconnectReason::Replaced { .. })));
    let third = connect(&hub);
    over_mqtt.expect_closed_without_packet();
    drop((first, second));
    assert!(hub.connected("dev"), "what is left of older connections does not disturb the newest");
    third.disconnect();
    assert!(!hub.connected("dev"));
}

#[test]
fn a_session_is_kept_unless_it_is_clean() {
    let hub = hub_with_manual_clock();
    listener(&hub, &[LocalFeature::CloudToDevice]).disconnect();
    c2d::send(&hub, "m1");
    let mut kept = connect(&hub);
    assert!(kept.session_present());
    assert!(matches!(event(&mut kept), LocalEvent::Message(_)));
    drop(kept);
    let mut clean = hub.connect_local(login(&hub).clean_session(true), Waker::noop()).unwrap();
    assert!(!clean.session_present());
    assert_eq!(events(&mut clean), []);
    clean.subscribe(LocalFeature::CloudToDevice).unwrap();
    clean.disconnect();
    let mut next = connect(&hub);
    assert!(!next.session_present());
    assert_eq!(events(&mut next), []);
}

#[test]
fn a_session_is_the_same_over_mqtt() {
    let hub = hub_with_manual_clock();
    cut(&hub, mqtt_listener(&hub, 1));
    c2d::send(&hub, "m1");
    let mut connection = connect(&hub);
    assert!(connection.session_present());
    assert!(matches!(event(&mut connection), LocalEvent::Message(_)));
    connection.unsubscribe(LocalFeature::CloudToDevice).unwrap();
    connection.disconnect();
    c2d::connect(&hub).expect_quiet();
}

#[test]
fn a_session_of_qos_0_completes_what_it_sends() {
    let hub = hub_with_manual_clock();
    cut(&hub, mqtt_listener(&hub, 0));
    c2d::send(&hub, "m1");
    let mut connection = connect(&hub);
    let LocalEvent::Message(message) = event(&mut connection) else { panic!("m1 was to come") };
    assert!(hub.c2d_queue("dev").is_empty());
    assert!(connection.complete(message.delivery).is_err());
}

#[test]
fn more_subscriptions_than_the_limit_end_the_connection() {
    let hub = crate::support::start(crate::support::manual_clock().with_subscription_limit(1));
    let mut connection = listener(&hub, &[LocalFeature::CloudToDevice]);
    connection.subscribe(LocalFeature::CloudToDevice).unwrap();
    connection.subscribe(LocalFeature::Methods).unwrap_err();
    let end = LocalEvent::Closed(DisconnectReason::TooManySubscriptions { limit: 1 });
    assert_eq!(events(&mut connection), [end]);
}

#[test]
fn nothing_connects_to_a_hub_that_was_stopped() {
    let emulator = hub_with_manual_clock();
    let hub = emulator.hub();
    let mut connection = connect(&hub);
    emulator.stop();
    assert_eq!(events(&mut connection), [LocalEvent::Closed(DisconnectReason::HubStopped)]);
    let refused = hub.connect_local(login(&hub), Waker::noop()).unwrap_err();
    assert_eq!(refused, LocalLoginError::HubStopped);
    hub.send_c2d("dev", C2dMessage::new("x")).unwrap();
    wait_until_gone(&hub, "dev");
}
