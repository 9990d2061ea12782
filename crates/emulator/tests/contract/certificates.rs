//! Devices that prove themselves with a certificate (E2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_emulator::{DeviceAuth, Emulator, Hub};
use rcgen::{CertificateParams, KeyPair};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::support::packets::Connect;
use crate::support::peer::Peer;
use crate::support::sas;
use crate::support::tls::{TLS_1_2, TLS_1_3, TlsOptions, certificates};

/// A certificate that nobody but itself vouches for.
struct SelfSigned {
    certificate_pem: String,
    key_pem: String,
    thumbprint: String,
}

impl SelfSigned {
    fn new(common_name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name.to_owned());
        let certificate = params.self_signed(&key).unwrap();
        let thumbprint = Sha256::digest(certificate.der()).iter().map(|byte| format!("{byte:02X}")).collect();
        Self { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), thumbprint }
    }

    fn presented(&self) -> TlsOptions {
        TlsOptions::default().presenting(&self.certificate_pem, &self.key_pem)
    }
}

/// The CONNACK of a device without password, or `None` when the connection ended before one.
fn answer(hub: &Hub, device: &str, options: &TlsOptions) -> Option<u8> {
    let mut peer = Peer::open_with(hub, options).ok()?;
    // A hub that refuses the certificate itself may have closed by now.
    let _ = peer.try_send(&Connect::without_password(hub, device).encode());
    let packet = peer.read_or_closed()?;
    let rumqttc::mqttbytes::v4::Packet::ConnAck(answer) = packet else {
        panic!("instead of a CONNACK came {packet:?}");
    };
    let code = answer.code as u8;
    if code == 0 {
        peer.disconnect();
    } else {
        peer.expect_closed_without_packet();
    }
    Some(code)
}

fn thumbprint(primary: &SelfSigned, secondary: Option<&SelfSigned>) -> DeviceAuth {
    DeviceAuth::Thumbprint {
        primary: primary.thumbprint.clone(),
        secondary: secondary.map(|certificate| certificate.thumbprint.clone()),
    }
}

#[test]
fn m_e02_a_client_certificate_is_asked_for_but_not_required() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("dev").unwrap();
    for options in [TlsOptions::default().only(TLS_1_2), TlsOptions::default().only(TLS_1_3)] {
        let mut peer = Peer::open_with(&hub, &options).unwrap();
        assert!(options.was_asked_for_a_certificate());
        peer.connect(&Connect::of(&hub, &device));
    }
}

#[test]
fn m_e02_a_device_with_a_certificate_gets_in_by_either_thumbprint() {
    let hub = Emulator::start().unwrap();
    let (first, second, stranger) = (SelfSigned::new("x509"), SelfSigned::new("x509"), SelfSigned::new("x509"));
    hub.create_device_with("x509", thumbprint(&first, Some(&second))).unwrap();
    assert_eq!(answer(&hub, "x509", &first.presented()), Some(0));
    assert_eq!(answer(&hub, "x509", &second.presented()), Some(0));
    assert_eq!(answer(&hub, "x509", &stranger.presented()), Some(5));
    for version in [TLS_1_2, TLS_1_3] {
        assert_eq!(answer(&hub, "x509", &first.presented().only(version)), Some(0));
    }
}

#[test]
fn m_e02_a_device_with_a_certificate_is_refused_without_it() {
    let hub = Emulator::start().unwrap();
    let certificate = SelfSigned::new("x509");
    hub.create_device_with("x509", thumbprint(&certificate, None)).unwrap();
    assert_eq!(answer(&hub, "x509", &TlsOptions::default()), Some(5));
}

#[test]
fn m_e02_a_device_with_a_certificate_is_refused_with_a_token_in_its_place() {
    let hub = Emulator::start().unwrap();
    hub.create_device_with("x509", thumbprint(&SelfSigned::new("x509"), None)).unwrap();
    let key = STANDARD.encode(b"any key");
    let token = sas::valid_for_an_hour("localhost/devices/x509", &key, hub.now());
    let mut peer = Peer::open(&hub);
    let answer = peer.ask(&Connect::without_password(&hub, "x509").password(&token));
    assert_eq!(answer.code as u8, 5);
}

#[test]
fn m_e02_a_device_with_a_key_is_refused_with_a_certificate_in_its_place() {
    let hub = Emulator::start().unwrap();
    hub.create_device("dev").unwrap();
    assert_eq!(answer(&hub, "dev", &SelfSigned::new("dev").presented()), Some(5));
    let issued = hub.issue_device_certificate("dev").unwrap();
    let options = TlsOptions::default().presenting(&issued.certificate_pem, &issued.private_key_pem);
    assert_eq!(answer(&hub, "dev", &options), Some(5));
}

#[test]
fn m_e02_a_certificate_of_a_trusted_authority_opens_only_its_own_device() {
    let hub = Emulator::start().unwrap();
    hub.create_device_with("ca-dev", DeviceAuth::CertificateAuthority).unwrap();
    hub.create_device_with("ca-other", DeviceAuth::CertificateAuthority).unwrap();
    let issued = hub.issue_device_certificate("ca-dev").unwrap();
    let options = TlsOptions::default().presenting(&issued.certificate_pem, &issued.private_key_pem);
    assert_eq!(answer(&hub, "ca-dev", &options), Some(0));
    assert_eq!(answer(&hub, "ca-other", &options), Some(5));
    assert_eq!(answer(&hub, "ca-dev", &SelfSigned::new("ca-dev").presented()), Some(5));
    assert_eq!(answer(&hub, "ca-dev", &TlsOptions::default()), Some(5));
}

#[test]
fn m_e02_an_issued_certificate_serves_by_thumbprint_too() {
    let hub = Emulator::start().unwrap();
    let issued = hub.issue_device_certificate("x509").unwrap();
    let auth = DeviceAuth::Thumbprint { primary: issued.thumbprint.clone(), secondary: None };
    hub.create_device_with("x509", auth).unwrap();
    let options = TlsOptions::default().presenting(&issued.certificate_pem, &issued.private_key_pem);
    assert_eq!(answer(&hub, "x509", &options), Some(0));
    assert!(!format!("{issued:?}").contains("PRIVATE KEY"), "the key is not in the Debug text");
}

#[test]
fn m_e02_a_certificate_without_its_private_key_is_worth_nothing() {
    let hub = Emulator::start().unwrap();
    let certificate = SelfSigned::new("x509");
    hub.create_device_with("x509", thumbprint(&certificate, None)).unwrap();
    let thief = SelfSigned::new("x509");
    for version in [TLS_1_2, TLS_1_3] {
        let options = TlsOptions::default().presenting(&certificate.certificate_pem, &thief.key_pem).only(version);
        assert_eq!(answer(&hub, "x509", &options), None);
    }
    assert!(!hub.connected("x509"));
}

#[test]
fn m_e02_thumbprints_are_compared_without_regard_to_case() {
    let hub = Emulator::start().unwrap();
    let certificate = SelfSigned::new("x509");
    let auth = DeviceAuth::Thumbprint { primary: certificate.thumbprint.to_lowercase(), secondary: None };
    hub.create_device_with("x509", auth).unwrap();
    assert_eq!(answer(&hub, "x509", &certificate.presented()), Some(0));
}

#[test]
fn m_e02_a_thumbprint_may_be_the_sha_1_of_the_certificate() {
    let hub = Emulator::start().unwrap();
    let (certificate, stranger) = (SelfSigned::new("x509"), SelfSigned::new("x509"));
    let sha_1 = |certificate: &SelfSigned| -> String {
        let der = &certificates(&certificate.certificate_pem)[0];
        Sha1::digest(der).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
    };
    // One of each kind: the registry takes both.
    let auth =
        DeviceAuth::Thumbprint { primary: sha_1(&certificate), secondary: Some(SelfSigned::new("x").thumbprint) };
    hub.create_device_with("x509", auth).unwrap();
    assert_eq!(answer(&hub, "x509", &certificate.presented()), Some(0));
    assert_eq!(answer(&hub, "x509", &stranger.presented()), Some(5));
    for digits in [39, 41, 63, 65] {
        let auth = DeviceAuth::Thumbprint { primary: "A".repeat(digits), secondary: None };
        assert!(hub.create_device_with("other", auth).is_err(), "{digits}");
    }
}

#[test]
fn m_e02_the_connection_string_of_a_certificate_device_holds_no_key() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device_with("ca-dev", DeviceAuth::CertificateAuthority).unwrap();
    assert_eq!(device.connection_string(), "HostName=localhost;DeviceId=ca-dev;x509=true");
    let issued = hub.issue_device_certificate("ca-dev").unwrap();
    assert!(!certificates(&issued.certificate_pem).is_empty());
}
