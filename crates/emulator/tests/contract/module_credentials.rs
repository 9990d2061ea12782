//! Who is let in as a module: its own key or certificate, its device's key for exactly this module, and nothing else (E47).

use std::time::Duration;

use iothub_emulator::{Activity, DeviceAuth, Emulator, Hub, RefusalReason};

use crate::support::packets::{Connect, key_in, primary_key};
use crate::support::peer::Peer;
use crate::support::sas::{Spelling, Token};
use crate::support::tls::TlsOptions;

const HOUR: Duration = Duration::from_secs(3600);
const MODULE: &str = "localhost/devices/dev/modules/m";

/// The code of the CONNACK; when it refuses, nothing must follow but the end of the connection.
fn answer(hub: &Hub, connect: &Connect, options: &TlsOptions) -> u8 {
    let mut peer = Peer::open_with(hub, options).unwrap();
    let code = peer.ask(connect).code as u8;
    if code != 0 {
        peer.expect_closed_without_packet();
    }
    code
}

/// As module `m` of `dev`, with this password.
fn as_module(hub: &Hub, password: &str) -> u8 {
    answer(hub, &Connect::without_password(hub, "dev/m").password(password), &TlsOptions::default())
}

fn token(hub: &Hub, resource: &str, key: &str) -> String {
    Token::new(resource, key, hub.now() + HOUR).text()
}

/// A hub with a device, two of its modules and their keys: `dev`, `m`, `n`.
fn three_identities() -> (Emulator, [String; 3]) {
    let hub = Emulator::start().unwrap();
    let device = primary_key(&hub.create_device("dev").unwrap());
    let [m, n] = ["m", "n"].map(|id| key_in(hub.create_module("dev", id).unwrap().connection_string()));
    (hub, [device, m, n])
}

#[test]
fn m_e47_a_modules_token_is_accepted_in_every_spelling_with_either_key() {
    let hub = Emulator::start().unwrap();
    hub.create_device("dev").unwrap();
    let module = hub.create_module("dev", "m.a-b:c#1").unwrap();
    let DeviceAuth::SymmetricKey { primary, secondary } = &module.auth else { panic!("it has keys") };
    let resource = "localhost/devices/dev/modules/m.a-b:c#1";
    for key in [primary, secondary] {
        for spelling in [Spelling::Raw, Spelling::Upper, Spelling::Lower] {
            let token = Token::new(resource, key.expose(), hub.now() + HOUR).spelled(spelling).text();
            let connect = Connect::of_module(&hub, &module).password(&token);
            assert_eq!(answer(&hub, &connect, &TlsOptions::default()), 0, "{spelling:?}");
        }
    }
    let connect = Connect::of_module(&hub, &module).password(&module.sas_token(HOUR));
    assert_eq!(answer(&hub, &connect, &TlsOptions::default()), 0);
}

#[test]
fn m_e47_a_token_of_anybody_else_does_not_open_a_module() {
    let (hub, [device, m, n]) = three_identities();
    for (what, resource, key) in [
        ("the device's own token", "localhost/devices/dev", &device),
        ("the device's key for all that is below it", "localhost/devices/dev/modules", &device),
        ("the device's key for the hub", "localhost", &device),
        ("the device's key for another module", "localhost/devices/dev/modules/n", &device),
        ("another module's own token", "localhost/devices/dev/modules/n", &n),
        ("another module's key", MODULE, &n),
        ("the module's key for another module", "localhost/devices/dev/modules/n", &m),
        ("the module's key for the same module of another device", "localhost/devices/other/modules/m", &m),
        ("the module's key, its id in another case", "localhost/devices/dev/modules/M", &m),
        ("the module's key without the segment", "localhost/devices/dev/m", &m),
        ("the module's key below the module", "localhost/devices/dev/modules/m/inputs", &m),
        ("the module's key for another hub", "elsewhere/devices/dev/modules/m", &m),
    ] {
        assert_eq!(as_module(&hub, &token(&hub, resource, key)), 5, "{what}");
    }
    let expired = Token::new(MODULE, &m, hub.now() - HOUR).text();
    assert_eq!(as_module(&hub, &expired), 5, "an expired token");
    assert_eq!(as_module(&hub, ""), 5, "no token");
    assert_eq!(as_module(&hub, &token(&hub, MODULE, &m)), 0, "nothing was wrong with the rest");
}

#[test]
fn m_e47_a_modules_token_does_not_open_its_device() {
    let (hub, [device, m, _]) = three_identities();
    let as_device = |password: &str| {
        answer(&hub, &Connect::without_password(&hub, "dev").password(password), &TlsOptions::default())
    };
    for (what, resource, key) in [
        ("the module's own token", MODULE, &m),
        ("the module's key for the device", "localhost/devices/dev", &m),
        ("the device's key for the module", MODULE, &device),
    ] {
        assert_eq!(as_device(&token(&hub, resource, key)), 5, "{what}");
    }
    assert_eq!(as_device(&token(&hub, "localhost/devices/dev", &device)), 0);
}

#[test]
fn m_e47_the_key_of_its_device_signs_for_a_module_by_name() {
    let (hub, [device, ..]) = three_identities();
    assert_eq!(as_module(&hub, &token(&hub, MODULE, &device)), 0);
    let raw = Token::new(MODULE, &device, hub.now() + HOUR).spelled(Spelling::Raw).text();
    assert_eq!(as_module(&hub, &raw), 0);
    hub.rotate_keys("dev").unwrap();
    assert_eq!(as_module(&hub, &token(&hub, MODULE, &device)), 5, "a key that the device no longer has");
}

#[test]
fn m_e47_names_that_do_not_fit_each_other_are_refused() {
    let (hub, [_, m, _]) = three_identities();
    let good = Connect::without_password(&hub, "dev/m").password(&token(&hub, MODULE, &m));
    for (what, connect) in [
        ("the client id is the device's", good.clone().client_id("dev")),
        ("the client id is another module's", good.clone().client_id("dev/n")),
        ("the client id is the module's alone", good.clone().client_id("m")),
        ("the client id has another case", good.clone().client_id("dev/M")),
        ("the user name is the device's", good.clone().user_name("localhost/dev/?api-version=2021-04-12")),
        ("the user name is another module's", good.clone().user_name("localhost/dev/n/?api-version=2021-04-12")),
        ("the user name has a segment more", good.clone().user_name("localhost/dev/m/x/?api-version=2021-04-12")),
        ("the user name names no module", good.clone().user_name("localhost/dev//?api-version=2021-04-12")),
    ] {
        assert_eq!(answer(&hub, &connect, &TlsOptions::default()), 5, "{what}");
    }
    let old_form = good.clone().user_name("localhost/dev/m/api-version=2016-11-14");
    assert_eq!(answer(&hub, &old_form, &TlsOptions::default()), 0);
    assert_eq!(answer(&hub, &good, &TlsOptions::default()), 0, "nothing was wrong with the rest");
}

#[test]
fn m_e47_an_unknown_module_is_refused_on_its_own_record() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    assert_eq!(as_module(&hub, &token(&hub, MODULE, &primary_key(&device))), 5);
    let why = hub.activity(("dev", "m")).into_iter().find_map(|activity| match activity {
        Activity::ConnectRefused { why, .. } => Some(why),
        _ => None,
    });
    assert_eq!(why, Some(RefusalReason::UnknownDevice));
    assert!(hub.activity("dev").is_empty());
}

#[test]
fn m_e47_a_rotated_key_is_refused_and_the_open_connection_stays() {
    let (hub, [_, m, _]) = three_identities();
    let mut peer = Peer::connected_as(&hub, &Connect::of_module(&hub, &hub.module("dev", "m").unwrap()));
    let rotated = hub.rotate_module_keys("dev", "m").unwrap();
    peer.expect_quiet();
    assert_eq!(as_module(&hub, &token(&hub, MODULE, &m)), 5);
    assert_eq!(as_module(&hub, &token(&hub, MODULE, &key_in(rotated.connection_string()))), 0);
}

#[test]
fn m_e47_a_module_may_have_a_certificate() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    let issued = hub.issue_module_certificate("dev", "m").unwrap();
    let (own, of_device, of_other) = (
        TlsOptions::default().presenting(&issued.certificate_pem, &issued.private_key_pem),
        presented(&hub, "dev"),
        presented(&hub, "m"),
    );
    let bare = Connect::without_password(&hub, "dev/m");

    let module = hub.create_module_with("dev", "m", DeviceAuth::CertificateAuthority).unwrap();
    assert_eq!(module.connection_string(), "HostName=localhost;DeviceId=dev;ModuleId=m;x509=true");
    assert_eq!(module.sas_token(HOUR), "");
    assert_eq!(answer(&hub, &bare, &own), 0);
    assert_eq!(answer(&hub, &bare, &of_device), 5, "the certificate of its device");
    assert_eq!(answer(&hub, &bare, &of_other), 5, "the certificate of a device called as the module");
    assert_eq!(answer(&hub, &bare, &TlsOptions::default()), 5, "no certificate");
    let token = token(&hub, MODULE, &primary_key(&device));
    assert_eq!(answer(&hub, &bare.clone().password(&token), &TlsOptions::default()), 5, "a token of its device");

    hub.delete_module("dev", "m").unwrap();
    let thumbprint = DeviceAuth::Thumbprint { primary: issued.thumbprint, secondary: None };
    hub.create_module_with("dev", "m", thumbprint).unwrap();
    assert_eq!(answer(&hub, &bare, &own), 0);
    assert_eq!(answer(&hub, &bare, &of_device), 5);
}

fn presented(hub: &Hub, device: &str) -> TlsOptions {
    let issued = hub.issue_device_certificate(device).unwrap();
    TlsOptions::default().presenting(&issued.certificate_pem, &issued.private_key_pem)
}
