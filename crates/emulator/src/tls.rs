//! The emulator's certificates and its TLS setup: a CA and a leaf made at start, and a second CA that signs for devices.
//!
//! Keys are ECDSA P-256 (the real hub's are RSA; ring makes no RSA keys). The provider is ring, passed explicitly.

use std::fmt;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};

use crate::auth::x509::{Authorities, thumbprint};
use crate::device::{DeviceCertificate, SecretKey};

/// All certificates of one emulator.
pub(crate) struct Tls {
    ca_pem: String,
    server: Arc<ServerConfig>,
    device_ca: CertifiedIssuer<'static, KeyPair>,
    authorities: Arc<Authorities>,
}

impl Tls {
    pub(crate) fn new(host_names: &[String]) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let ca = authority("iothub-emulator CA", &provider)?;
        let device_ca = authority("iothub-emulator device CA", &provider)?;
        let authorities = Arc::new(Authorities::new(device_ca.der(), Arc::clone(&provider))?);

        let key = KeyPair::generate().map_err(text)?;
        let mut leaf = CertificateParams::new(host_names.to_vec()).map_err(text)?;
        leaf.serial_number = Some(serial_number(&provider)?);
        leaf.distinguished_name.push(DnType::CommonName, host_names.first().map_or("", String::as_str));
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.use_authority_key_identifier_extension = true;
        let certificate = leaf.signed_by(&key, &ca).map_err(text)?;

        let verifier = Arc::new(AnyCertificate { algorithms: provider.signature_verification_algorithms });
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(text)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .map_err(text)?;
        Ok(Self { ca_pem: ca.pem(), server: Arc::new(server), device_ca, authorities })
    }

    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    pub(crate) fn device_authorities(&self) -> Arc<Authorities> {
        Arc::clone(&self.authorities)
    }

    /// A certificate whose common name is the device id, with its CA behind it.
    pub(crate) fn issue_device_certificate(&self, device_id: &str) -> Result<DeviceCertificate, String> {
        let key = KeyPair::generate().map_err(text)?;
        let mut leaf = CertificateParams::new(Vec::new()).map_err(text)?;
        leaf.serial_number = Some(serial_number(&rustls::crypto::ring::default_provider())?);
        leaf.distinguished_name.push(DnType::CommonName, device_id);
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = leaf.signed_by(&key, &self.device_ca).map_err(text)?;
        Ok(DeviceCertificate {
            certificate_pem: format!("{}{}", certificate.pem(), self.device_ca.pem()),
            private_key_pem: key.serialize_pem(),
            thumbprint: thumbprint(certificate.der()),
        })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// The certificates of a PEM text.
#[cfg(test)]
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    use rustls_pki_types::pem::PemObject;
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(text)
}

/// A random symmetric key of 32 bytes.
pub(crate) fn random_key() -> Result<SecretKey, String> {
    use base64::Engine as _;
    let mut key = [0; 32];
    fill(&rustls::crypto::ring::default_provider(), &mut key)?;
    Ok(base64::engine::general_purpose::STANDARD.encode(key).into())
}

fn authority(name: &str, provider: &CryptoProvider) -> Result<CertifiedIssuer<'static, KeyPair>, String> {
    let mut params = CertificateParams::new(Vec::new()).map_err(text)?;
    params.serial_number = Some(serial_number(provider)?);
    // Each emulator's CA has a name of its own, so that a client which trusts two of them cannot mistake one for the other.
    let mut tag = [0; 4];
    fill(provider, &mut tag)?;
    params.distinguished_name.push(DnType::CommonName, format!("{name} {:08x}", u32::from_be_bytes(tag)));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(text)?).map_err(text)
}

fn serial_number(provider: &CryptoProvider) -> Result<SerialNumber, String> {
    let mut serial = [0; 16];
    fill(provider, &mut serial)?;
    serial[0] &= 0x7f; // a positive number
    Ok(SerialNumber::from_slice(&serial))
}

fn fill(provider: &CryptoProvider, bytes: &mut [u8]) -> Result<(), String> {
    provider.secure_random.fill(bytes).map_err(|_| "the system gives no random bytes".to_owned())
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// Asks for a client certificate, takes any or none, and makes the peer prove that it has the key. Whether it may connect is decided at CONNECT,
/// as the real hub does (docs/hub-over-mqtt.md 1.6).
#[derive(Debug)]
struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
