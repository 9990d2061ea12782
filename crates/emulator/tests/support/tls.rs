//! The peer's side of TLS: ring passed explicitly, one trusted CA, and a record of whether the hub asked for a
//! certificate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion};

pub(crate) static TLS_1_2: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
pub(crate) static TLS_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// What a peer brings to the handshake.
#[derive(Clone, Debug)]
pub(crate) struct TlsOptions {
    versions: &'static [&'static SupportedProtocolVersion],
    certificate: Arc<Presented>,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self { versions: rustls::ALL_VERSIONS, certificate: Arc::new(Presented::default()) }
    }
}

impl TlsOptions {
    pub(crate) fn only(mut self, version: &'static [&'static SupportedProtocolVersion]) -> Self {
        self.versions = version;
        self
    }

    /// Presents this certificate chain, and proves possession of this key, if the hub asks.
    pub(crate) fn presenting(mut self, chain_pem: &str, key_pem: &str) -> Self {
        let chain = certificates(chain_pem);
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).expect("the key is PEM");
        let key = ring::sign::any_supported_type(&key).expect("ring can sign with the key");
        self.certificate =
            Arc::new(Presented { asked: AtomicBool::new(false), key: Some(Arc::new(CertifiedKey::new(chain, key))) });
        self
    }

    /// True once a handshake with these options carried a request for a client certificate.
    pub(crate) fn was_asked_for_a_certificate(&self) -> bool {
        self.certificate.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn config(&self, ca_pem: &str) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca_pem) {
            roots.add(certificate).expect("the CA certificate is usable");
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(self.versions)
            .expect("the versions fit the provider")
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::clone(&self.certificate) as Arc<dyn ResolvesClientCert>);
        Arc::new(config)
    }
}

pub(crate) fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("the certificates are PEM");
    assert!(!certificates.is_empty(), "the PEM text holds no certificate");
    certificates
}

#[derive(Debug, Default)]
struct Presented {
    asked: AtomicBool,
    key: Option<Arc<CertifiedKey>>,
}

impl ResolvesClientCert for Presented {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::SeqCst);
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}
