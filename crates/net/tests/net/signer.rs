//! Client certificates whose private key stays with a signer.

use std::sync::{Arc, Mutex};

use iothub_core::{
    CertificateSigner, ClientCertificate, ConnectionErrorKind, CreateError, Endpoint, SignError,
    SignatureScheme as Scheme, Trust,
};
use iothub_net::{Connect, Connector};
use rcgen::KeyPair;
use rustls::SignatureScheme as Wire;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::SigningKey;
use rustls_pki_types::PrivateKeyDer;

use crate::support::authority::{Authority, Identity};
use crate::support::server::{self, TLS12, TLS13, hello};
use crate::support::{TIMEOUT, connect, connector, endpoint, greet, kind, with_certificate};

/// A module with one key that never leaves it, and that can be unplugged.
#[derive(Debug)]
struct Module {
    key: Mutex<Option<Arc<dyn SigningKey>>>,
    schemes: Vec<Scheme>,
    asked: Mutex<Vec<Scheme>>,
}

impl Module {
    fn new(key: &KeyPair, schemes: &[Scheme]) -> Arc<Self> {
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS#8");
        let key = any_supported_type(&key).expect("a key that ring knows");
        Arc::new(Self { key: Some(key).into(), schemes: schemes.to_vec(), asked: Mutex::default() })
    }

    fn unplug(&self) -> Option<Arc<dyn SigningKey>> {
        self.key.lock().unwrap().take()
    }

    fn asked(&self) -> Vec<Scheme> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl CertificateSigner for Module {
    fn schemes(&self) -> &[Scheme] {
        &self.schemes
    }

    fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.asked.lock().unwrap().push(scheme);
        let wire = match scheme {
            Scheme::EcdsaP256Sha256 => Wire::ECDSA_NISTP256_SHA256,
            Scheme::EcdsaP384Sha384 => Wire::ECDSA_NISTP384_SHA384,
            Scheme::RsaPssSha256 => Wire::RSA_PSS_SHA256,
            Scheme::RsaPssSha384 => Wire::RSA_PSS_SHA384,
            Scheme::RsaPssSha512 => Wire::RSA_PSS_SHA512,
            Scheme::RsaPkcs1Sha256 => Wire::RSA_PKCS1_SHA256,
            Scheme::RsaPkcs1Sha384 => Wire::RSA_PKCS1_SHA384,
            Scheme::RsaPkcs1Sha512 => Wire::RSA_PKCS1_SHA512,
            Scheme::Ed25519 => Wire::ED25519,
            other => panic!("{other:?} is new"),
        };
        let key = self.key.lock().unwrap();
        let key = key.as_ref().ok_or_else(|| SignError::new("the module is not plugged in"))?;
        let signer = key.choose_scheme(&[wire]).expect("a scheme of this key");
        signer.sign(message).map_err(|error| SignError::new(error.to_string()))
    }
}

fn certificate(identity: &Identity, module: &Arc<Module>) -> ClientCertificate {
    ClientCertificate::from_signer(&identity.pem, module.clone())
}

fn with_module(mut endpoint: Endpoint, identity: &Identity, module: &Arc<Module>) -> Endpoint {
    endpoint.certificate = Some(certificate(identity, module));
    endpoint
}

fn rsa() -> KeyPair {
    KeyPair::from_pem(include_str!("../fixtures/rsa.pkcs8.pem")).expect("a key")
}

/// Connects to a server that insists on a certificate; returns the schemes that the module was asked for.
fn schemes_used(
    key: KeyPair,
    schemes: &[Scheme],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Vec<Scheme> {
    let authority = Authority::new();
    let module = Module::new(&key, schemes);
    let device = authority.client_with("device-1", key);
    let config = authority.server(&["hub.example"]).config_with_clients(&authority, versions);
    let server = server::tls(config, hello);
    greet(&mut connector(&with_module(endpoint("hub.example", &authority), &device, &module), [server.address]));
    assert_eq!(server.join().2, 1, "the server saw no certificate");
    module.asked()
}

#[test]
fn every_kind_of_key_signs_for_both_versions_of_tls() {
    let of = |algorithm| KeyPair::generate_for(algorithm).expect("a key");
    for versions in [TLS12, TLS13] {
        let used = |key, scheme| schemes_used(key, &[scheme], versions);
        let scheme = Scheme::EcdsaP256Sha256;
        assert_eq!(used(of(&rcgen::PKCS_ECDSA_P256_SHA256), scheme), [scheme]);
        let scheme = Scheme::EcdsaP384Sha384;
        assert_eq!(used(of(&rcgen::PKCS_ECDSA_P384_SHA384), scheme), [scheme]);
        assert_eq!(used(of(&rcgen::PKCS_ED25519), Scheme::Ed25519), [Scheme::Ed25519]);
        for scheme in [Scheme::RsaPssSha256, Scheme::RsaPssSha384, Scheme::RsaPssSha512] {
            assert_eq!(used(rsa(), scheme), [scheme]);
        }
    }
    for scheme in [Scheme::RsaPkcs1Sha256, Scheme::RsaPkcs1Sha384, Scheme::RsaPkcs1Sha512] {
        assert_eq!(schemes_used(rsa(), &[scheme], TLS12), [scheme]);
    }
}

#[test]
fn the_signers_first_scheme_that_the_server_takes_is_used() {
    let schemes = [Scheme::RsaPkcs1Sha384, Scheme::RsaPssSha512, Scheme::RsaPssSha256];
    assert_eq!(schemes_used(rsa(), &schemes, TLS12), [Scheme::RsaPkcs1Sha384]);
    // TLS 1.3 has no PKCS #1.
    assert_eq!(schemes_used(rsa(), &schemes, TLS13), [Scheme::RsaPssSha512]);
}

#[test]
fn a_signer_without_a_scheme_in_common_with_the_server_is_told_of() {
    let authority = Authority::new();
    let module = Module::new(&rsa(), &[Scheme::RsaPkcs1Sha256]);
    let device = authority.client_with("device-1", rsa());
    let config = authority.server(&["hub.example"]).config_with_clients(&authority, TLS13);
    let server = server::tls(config, |mut tls| std::io::Read::read(&mut tls, &mut [0; 1]).map_err(drop));
    let endpoint = with_module(endpoint("hub.example", &authority), &device, &module);
    let kind = kind(connect(&mut connector(&endpoint, [server.address])));
    let detail = "the signer failed: the server takes none of its signature schemes [RsaPkcs1Sha256]".to_owned();
    assert_eq!(kind, ConnectionErrorKind::NotSigned { detail });
    assert_eq!(module.asked(), []);
    let _ = server.join();
}

/// What shows that nobody else has the key: without the module nothing works, with it everything does.
#[test]
fn the_key_stays_with_the_signer_and_its_failure_is_named() {
    for versions in [TLS12, TLS13] {
        let authority = Authority::new();
        let key = KeyPair::generate().expect("a key");
        let module = Module::new(&key, &[Scheme::EcdsaP256Sha256]);
        let device = authority.client_with("device-1", key);
        let server = authority.server(&["hub.example"]);
        let endpoint = with_module(endpoint("hub.example", &authority), &device, &module);

        let accepting = server::tls(server.config_with_clients(&authority, versions), hello);
        greet(&mut connector(&endpoint, [accepting.address]));
        accepting.join();

        let key = module.unplug();
        let refused = server::tls(server.config_with_clients(&authority, versions), |mut tls| {
            std::io::Read::read(&mut tls, &mut [0; 1]).map_err(drop)
        });
        let kind = kind(connect(&mut connector(&endpoint, [refused.address])));
        let detail = "the signer failed: the module is not plugged in".to_owned();
        assert_eq!(kind, ConnectionErrorKind::NotSigned { detail });
        assert!(refused.join().is_err(), "the server must not take the client in");

        *module.key.lock().unwrap() = key;
        let accepting = server::tls(server.config_with_clients(&authority, versions), hello);
        greet(&mut connector(&endpoint, [accepting.address]));
        accepting.join();
        assert_eq!(module.asked(), [Scheme::EcdsaP256Sha256; 3]);
    }
}

#[test]
fn another_certificate_is_shown_from_the_next_connection_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let (first, second) = (old.client("device-1"), new.client("device-1"));
    let server = old.server(&["hub.example"]);
    // Only the second authority's certificates are let in.
    let (one, two, three) = (
        server::tls(server.config_with_clients(&new, TLS12), |mut tls| {
            std::io::Read::read(&mut tls, &mut [0; 1]).map_err(drop)
        }),
        server::tls(server.config_with_clients(&new, TLS12), hello),
        server::tls(server.config_with_clients(&new, TLS12), |mut tls| {
            std::io::Read::read(&mut tls, &mut [0; 1]).map_err(drop)
        }),
    );
    let endpoint = with_certificate(endpoint("hub.example", &old), &first.pem, &first.key.serialize_pem());
    let addresses =
        crate::support::Scripted([&one.address, &two.address, &three.address].map(|at| Ok(vec![*at])).into());
    let mut connector = Connector::new(&endpoint, 8883, TIMEOUT, Some(Box::new(addresses))).expect("a good endpoint");

    connect(&mut connector).expect_err("a certificate of the wrong authority");
    let module = Module::new(&second.key, &[Scheme::EcdsaP256Sha256]);
    connector.set_certificate(Some(&certificate(&second, &module))).expect("a good certificate");
    greet(&mut connector);
    connector.set_certificate(None).expect("no certificate is always fine");
    connect(&mut connector).expect_err("no certificate");
    assert_eq!((one.join(), two.join().2, three.join()), (Err(()), 1, Err(())));
    assert_eq!(module.asked(), [Scheme::EcdsaP256Sha256]);
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_and_the_old_one_stays() {
    let authority = Authority::new();
    let device = authority.client("device-1");
    let server = server::tls(authority.server(&["hub.example"]).config_with_clients(&authority, TLS13), hello);
    let endpoint = with_certificate(endpoint("hub.example", &authority), &device.pem, &device.key.serialize_pem());
    let mut connector = connector(&endpoint, [server.address]);

    let module = Module::new(&device.key, &[]);
    let refusal = |error: CreateError| error.to_string();
    let mistakes = [
        (
            certificate(&device, &module),
            "private key cannot be used: its signer has no signature scheme that TLS can use",
        ),
        (
            ClientCertificate::from_signer("no PEM", Module::new(&device.key, &[Scheme::EcdsaP256Sha256])),
            "certificate cannot be used: no certificate found in the text; it must contain -----BEGIN CERTIFICATE-----, and a file's content, not its name",
        ),
        (
            ClientCertificate::from_signer(
                "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
                Module::new(&device.key, &[Scheme::EcdsaP256Sha256]),
            ),
            "certificate cannot be used: the first certificate of the text is malformed",
        ),
    ];
    for (certificate, expected) in mistakes {
        let error = connector.set_certificate(Some(&certificate)).expect_err("it must be refused");
        assert_eq!(refusal(error), expected);
    }
    greet(&mut connector);
    assert_eq!(server.join().2, 1);
}

#[test]
fn other_authorities_are_trusted_from_the_next_connection_on_and_the_certificate_stays() {
    let authority = Authority::new();
    let device = authority.client("device-1");
    let server = authority.server(&["hub.example"]);
    let refused = server::tls(server.config_with_clients(&authority, TLS13), |mut tls| {
        std::io::Read::read(&mut tls, &mut [0; 1]).map_err(drop)
    });
    let accepted = server::tls(server.config_with_clients(&authority, TLS13), hello);
    let mut endpoint = with_certificate(endpoint("hub.example", &authority), &device.pem, &device.key.serialize_pem());
    let trust = std::mem::replace(&mut endpoint.trust, Trust::Nobody);
    let addresses = crate::support::Scripted([&refused.address, &accepted.address].map(|at| Ok(vec![*at])).into());
    let mut connector = Connector::new(&endpoint, 8883, TIMEOUT, Some(Box::new(addresses))).expect("a good endpoint");

    let kind = kind(connect(&mut connector));
    assert!(matches!(kind, ConnectionErrorKind::UntrustedCertificate { .. }), "nobody is trusted: {kind}");
    connector.set_trust(&trust).expect("a good authority");
    let error = connector.set_trust(&Trust::Pem("no PEM".to_owned())).expect_err("it must be refused");
    assert!(error.to_string().starts_with("trusted_certs cannot be used"), "{error}");
    greet(&mut connector);
    assert_eq!((refused.join(), accepted.join().2), (Err(()), 1));
}

#[test]
fn a_connection_without_tls_refuses_a_certificate() {
    let (mut memory, _script) = iothub_net::memory::network("hub.example", 8883);
    let authority = Authority::new();
    let device = authority.client("device-1");
    let module = Module::new(&device.key, &[Scheme::EcdsaP256Sha256]);
    let error = memory.set_certificate(Some(&certificate(&device, &module))).expect_err("there is no TLS");
    assert_eq!(error.to_string(), "certificate cannot be used: this connection has no TLS to show it in");
    memory.set_certificate(None).expect("none is always fine");
}
