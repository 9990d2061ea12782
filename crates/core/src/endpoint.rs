//! Where a client connects to, whom it trusts there, and the certificate that it shows.
//!
//! Certificates travel as PEM text; making a TLS configuration of them is the business of `iothub-net`.

use std::fmt;
use std::sync::Arc;

use crate::secret::Secret;
use crate::signer::CertificateSigner;

/// What a transport needs to know about the other end before it can connect.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Endpoint {
    /// The host to connect to and to verify: the gateway if there is one, else the hub.
    pub host: String,
    /// A port that replaces the transport's own, as in `GatewayHostName=host:port`.
    pub port: Option<u16>,
    /// Which authorities may vouch for the host.
    pub trust: Trust,
    /// The certificate that the client shows, if it has one.
    pub certificate: Option<ClientCertificate>,
}

impl Endpoint {
    /// An endpoint with system trust, the transport's port and no client certificate.
    pub fn new(host: impl Into<String>) -> Self {
        Self { host: host.into(), port: None, trust: Trust::default(), certificate: None }
    }
}

/// Which authorities may vouch for the hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// The operating system's root certificates.
    #[default]
    System,
    /// Only these root certificates, as PEM text; the C option `TrustedCerts`.
    Pem(String),
    /// Nobody yet: every TLS connection fails until trust is set.
    Nobody,
}

/// A device's X.509 certificate chain, and its private key or what signs with it.
#[derive(Clone)]
pub struct ClientCertificate {
    chain_pem: String,
    key: CertificateKey,
}

/// What signs for a certificate.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CertificateKey {
    /// The private key as PEM text.
    Pem(Secret),
    /// A signer that keeps the key to itself, such as an HSM.
    Signer(Arc<dyn CertificateSigner>),
}

impl ClientCertificate {
    /// The certificate chain, leaf first, and the leaf's private key (PKCS#8, SEC1 or PKCS#1).
    ///
    /// The text is parsed when the client is created; a mistake in it is a `CreateError` there.
    #[doc(alias = "x509certificate")]
    #[doc(alias = "x509privatekey")]
    pub fn from_pem(chain_pem: impl Into<String>, key_pem: impl Into<String>) -> Self {
        Self { chain_pem: chain_pem.into(), key: CertificateKey::Pem(Secret::new(key_pem)) }
    }

    /// The certificate chain, leaf first, as PEM text, and a signer that holds the leaf's private key.
    #[doc(alias = "x509EccCertificate")]
    #[doc(alias = "x509EccAliasKey")]
    #[doc(alias = "Engine")]
    pub fn from_signer(chain_pem: impl Into<String>, signer: Arc<dyn CertificateSigner>) -> Self {
        Self { chain_pem: chain_pem.into(), key: CertificateKey::Signer(signer) }
    }

    /// The chain, leaf first, as PEM text.
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The private key, or what signs with it.
    pub fn key(&self) -> &CertificateKey {
        &self.key
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("key", &self.key).finish_non_exhaustive()
    }
}
