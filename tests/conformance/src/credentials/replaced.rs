//! Keys that stay where they are, and credentials that are replaced while the client lives.

use std::sync::Arc;
use std::task::{Poll, Waker};

use iothub_core::{
    CertificateKey, CertificateSigner, ClientCertificate, ConnectionState, ConnectionStatus, Credential, DeviceClient,
    Now, SasSigner, Secret, SharedAccessKey, SignError, SignatureScheme,
};
use iothub_emulator::DeviceAuth;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::SigningKey;

use super::with_certificate;
use crate::bench::{Bench, DEVICE};
use crate::record;
use crate::subject::Subject;

/// Stands for a TPM: it answers when it is asked for the second time, and gives nothing but signatures.
struct Tpm {
    key: SharedAccessKey,
    is_ready: bool,
}

impl SasSigner for Tpm {
    fn poll_sign(&mut self, data: &[u8], now: Now, waker: &Waker) -> Poll<Result<Vec<u8>, SignError>> {
        self.is_ready = !self.is_ready;
        if self.is_ready {
            waker.wake_by_ref();
            return Poll::Pending;
        }
        self.key.poll_sign(data, now, waker)
    }
}

/// Stands for an HSM: it has the key of a certificate, and gives nothing but signatures.
#[derive(Debug)]
struct Hsm(Arc<dyn SigningKey>);

impl CertificateSigner for Hsm {
    fn schemes(&self) -> &[SignatureScheme] {
        &[SignatureScheme::EcdsaP256Sha256]
    }

    fn sign(&self, _: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signer = self.0.choose_scheme(&[rustls::SignatureScheme::ECDSA_NISTP256_SHA256]);
        let signer = signer.ok_or_else(|| SignError::new("the key is on another curve"))?;
        signer.sign(message).map_err(|error| SignError::new(error.to_string()))
    }
}

fn key(text: &str) -> SharedAccessKey {
    SharedAccessKey::from_base64(&Secret::new(text)).expect("the hub's keys are base64")
}

/// The two keys of the device.
fn keys(bench: &Bench<'_>) -> [SharedAccessKey; 2] {
    let device = bench.device(DEVICE).expect("it is registered");
    [device.primary_key, device.secondary_key].map(|text| key(text.expect("it has keys").expose()))
}

/// The options of the device's client with this credential.
fn builder(bench: &Bench<'_>, credential: impl Into<Credential>) -> iothub_core::ClientBuilder<iothub_core::Device> {
    let builder = DeviceClient::builder_for(&bench.host_name(), DEVICE, credential);
    bench.options(builder.gateway(format!("{}:{}", bench.host_name(), bench.port())))
}

pub(crate) fn a_signer_that_keeps_the_key_is_as_good_as_the_key(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let [key, _] = keys(&bench);
    let tpm = Credential::signer(Tpm { key, is_ready: false });
    let mut program = bench.run(builder(&bench, tpm), DEVICE.into());
    program.round_trip();
    // A new connection has a new signature.
    bench.disconnect_device(DEVICE).expect("it exists");
    program.round_trip();
    assert_eq!((record::connections(&bench), record::refusals(&bench).len()), (2, 0));
    program.finish();
}

pub(crate) fn a_certificate_whose_key_stays_with_a_signer_is_enough(subject: &dyn Subject) {
    let auth = |thumbprint| DeviceAuth::Thumbprint { primary: thumbprint, secondary: None };
    let (bench, certificate) = with_certificate(subject, auth);
    let CertificateKey::Pem(pem) = certificate.key() else { panic!("it was made of PEM") };
    let pem = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).expect("it is PEM");
    let hsm = Hsm(rustls::crypto::ring::sign::any_supported_type(&pem).expect("the key can sign"));
    let certificate = ClientCertificate::from_signer(certificate.chain_pem(), Arc::new(hsm));
    super::certificate_is_enough(&bench, certificate);
}

pub(crate) fn another_key_on_a_live_client_costs_no_outage_and_no_message(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let [first, second] = keys(&bench);
    let mut program = bench.run(builder(&bench, first), DEVICE.into());
    program.round_trip();
    let ids: Vec<_> = (0..20).map(|n| program.send(format!("m{n}"))).collect();
    program.set_credential(second).expect("it is a key");
    program.until_confirmed(&ids);
    program.until("the token has been replaced", |program| {
        program.stats().renewals == 1 && program.connection_state() == ConnectionState::Ready
    });
    program.until_hub("the hub has the other token", |hub| record::tokens(hub) == 2);
    let connections = if bench.renews_in_place() { 1 } else { 2 };
    assert_eq!((record::connections(&bench), bench.telemetry_count(DEVICE)), (connections, 21));
    let outage = program.statuses.iter().skip_while(|change| change.state != ConnectionState::Ready);
    assert!(outage.into_iter().all(|change| change.state.status() == ConnectionStatus::Authenticated));
    program.finish();
}

pub(crate) fn a_key_is_replaced_by_a_certificate_and_back_on_a_live_client(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let [first, _] = keys(&bench);
    let mut program = bench.run(builder(&bench, first), DEVICE.into());
    program.round_trip();

    // The hub knows the device by a certificate from now on.
    let issued = bench.issue_device_certificate(DEVICE).expect("the hub has a device CA");
    bench.delete_device(DEVICE).expect("it exists");
    bench.create_device_with(DEVICE, DeviceAuth::CertificateAuthority).expect("it is gone");
    let certificate = ClientCertificate::from_pem(issued.certificate_pem, issued.private_key_pem);
    program.set_credential(certificate).expect("it is in order");
    program.round_trip();
    let record = bench.telemetry(DEVICE).pop().expect("it was stored");
    assert!(record.stamps["iothub-connection-auth-method"].contains("x509"), "{record:?}");

    bench.delete_device(DEVICE).expect("it exists");
    bench.create_device(DEVICE).expect("it is gone");
    let [first, _] = keys(&bench);
    program.set_credential(first).expect("it is a key");
    program.round_trip();
    let record = bench.telemetry(DEVICE).pop().expect("it was stored");
    assert!(record.stamps["iothub-connection-auth-method"].contains("sas"), "{record:?}");
    program.finish();
}
