//! Certificates and keys given as text: what is taken, and how mistakes are told.

use iothub_core::{CreateError, Endpoint, Trust};
use iothub_net::Connector;

use crate::support::authority::Authority;
use crate::support::{TIMEOUT, endpoint, with_certificate};

fn create(endpoint: &Endpoint) -> Result<Connector, CreateError> {
    Connector::new(endpoint, 8883, TIMEOUT, None)
}

fn refusal(endpoint: &Endpoint) -> String {
    create(endpoint).expect_err("it must be refused").to_string()
}

fn with_roots(text: &str) -> Endpoint {
    let mut endpoint = Endpoint::new("hub.example");
    endpoint.trust = Trust::Pem(text.to_owned());
    endpoint
}

const RSA_CERTIFICATE: &str = include_str!("../fixtures/rsa.cert.pem");
const RSA_PKCS1: &str = include_str!("../fixtures/rsa.pkcs1.pem");
const EC_CERTIFICATE: &str = include_str!("../fixtures/ec.cert.pem");
const EC_SEC1: &str = include_str!("../fixtures/ec.sec1.pem");
const EC_ENCRYPTED: &str = include_str!("../fixtures/ec.encrypted.pem");

#[test]
fn keys_come_as_pkcs8_sec1_or_pkcs1() {
    let authority = Authority::new();
    let device = authority.client("device-1");
    for (chain, key) in
        [(&*device.pem, &*device.key.serialize_pem()), (EC_CERTIFICATE, EC_SEC1), (RSA_CERTIFICATE, RSA_PKCS1)]
    {
        create(&with_certificate(endpoint("hub.example", &authority), chain, key)).expect("a good key");
    }
}

#[test]
fn several_roots_and_text_around_them_are_fine() {
    let text = format!("the roots:\n{}\nand\n{}", Authority::new().pem(), Authority::new().pem());
    create(&with_roots(&text)).expect("good roots");
}

#[test]
fn roots_without_a_certificate_are_refused() {
    for text in ["", "/etc/ssl/root.pem", EC_SEC1] {
        let refusal = refusal(&with_roots(text));
        assert!(refusal.starts_with("trusted_certs cannot be used: no certificate found in the text"), "{refusal}");
    }
}

#[test]
fn mistakes_in_roots_are_named() {
    let good = Authority::new().pem();
    let cut_off = format!("{good}{}", &good[..good.len() / 2]);
    let not_base64 = good.replace("MI", "!!");
    let not_x509 = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    for (text, expected) in [
        (&*cut_off, "after 1 good certificates, a section has no -----END line (is the text cut off?)"),
        (&*not_base64, "after 0 good certificates, a section is not valid base64"),
        (&format!("{good}{not_x509}"), "certificate 2 of the text is not an X.509 certificate"),
    ] {
        assert_eq!(refusal(&with_roots(text)), format!("trusted_certs cannot be used: {expected}"));
    }
}

#[test]
fn a_key_that_does_not_belong_to_the_certificate_is_refused() {
    let authority = Authority::new();
    let (one, other) = (authority.client("one"), authority.client("other"));
    let endpoint = with_certificate(endpoint("hub.example", &authority), &one.pem, &other.key.serialize_pem());
    assert_eq!(refusal(&endpoint), "private key cannot be used: it does not belong to the certificate");
}

#[test]
fn a_text_without_a_key_is_refused() {
    let authority = Authority::new();
    let device = authority.client("device-1");
    let refusal = refusal(&with_certificate(endpoint("hub.example", &authority), &device.pem, &device.pem));
    assert!(refusal.starts_with("private key cannot be used: no private key found in the text"), "{refusal}");
}

#[test]
fn a_text_without_a_client_certificate_is_refused() {
    let authority = Authority::new();
    let key = authority.client("device-1").key.serialize_pem();
    let refusal = refusal(&with_certificate(endpoint("hub.example", &authority), &key, &key));
    assert!(refusal.starts_with("certificate cannot be used: no certificate found in the text"), "{refusal}");
}

#[test]
fn an_encrypted_key_is_recognised() {
    let authority = Authority::new();
    let refusal = refusal(&with_certificate(endpoint("hub.example", &authority), EC_CERTIFICATE, EC_ENCRYPTED));
    assert!(refusal.contains("the key is encrypted"), "{refusal}");
}

#[test]
fn no_part_of_a_key_is_in_an_error() {
    let authority = Authority::new();
    let device = authority.client("device-1");
    let good = device.key.serialize_pem();
    let secret = good.lines().nth(1).expect("a line of base64");
    for key in [
        good.replace("-----END PRIVATE KEY-----", ""),
        good.replacen("-----\n", "", 1),
        good.replace("MI", "!!"),
        format!("-----BEGIN PRIVATE KEY-----\naGVsbG8={secret}\n-----END PRIVATE KEY-----"),
        format!("-----BEGIN {secret}"),
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", &secret[..40]),
    ] {
        let error = create(&with_certificate(endpoint("hub.example", &authority), &device.pem, &key))
            .expect_err("it must be refused");
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(text.contains("private key"), "{text}");
            assert!(!text.contains(&secret[..8]), "{text}");
        }
    }
}

#[test]
fn a_host_that_is_neither_name_nor_address_is_refused() {
    for host in ["", "hub example", "hub.example:8883"] {
        let mut endpoint = with_roots(&Authority::new().pem());
        endpoint.host = host.to_owned();
        let refusal = refusal(&endpoint);
        assert_eq!(refusal, format!("the option HostName is {host}; it must be a DNS name or an IP address"));
    }
}

#[test]
fn a_time_out_of_zero_is_refused() {
    let endpoint = with_roots(&Authority::new().pem());
    let refusal = Connector::new(&endpoint, 8883, std::time::Duration::ZERO, None).expect_err("no time").to_string();
    assert_eq!(refusal, "the option connect_timeout is 0 s; it must be more than zero");
}

#[test]
fn debug_shows_where_it_connects_and_nothing_else() {
    let connector = create(&with_roots(&Authority::new().pem())).expect("good roots");
    assert_eq!(format!("{connector:?}"), "Connector(hub.example:8883)");
}
