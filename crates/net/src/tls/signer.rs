//! A client certificate whose private key stays with a [`CertificateSigner`]: the handshake hands it what to sign.

use std::sync::Arc;

use iothub_core::{CertificateSigner, SignError, SignatureScheme as Scheme};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, OtherError, SignatureAlgorithm, SignatureScheme};

/// The key of such a certificate, as rustls sees it.
#[derive(Debug)]
pub(super) struct RemoteKey {
    signer: Arc<dyn CertificateSigner>,
}

impl RemoteKey {
    /// `None` if the signer has no scheme that TLS knows.
    pub(super) fn new(signer: Arc<dyn CertificateSigner>) -> Option<Self> {
        signer.schemes().iter().any(|scheme| on_the_wire(*scheme).is_some()).then_some(Self { signer })
    }
}

impl SigningKey for RemoteKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let known = self.signer.schemes().iter().filter_map(|ours| on_the_wire(*ours).map(|(wire, _)| (*ours, wire)));
        let shared = known.clone().find(|(_, wire)| offered.contains(wire));
        if let Some((ours, wire)) = shared {
            return Some(Box::new(RemoteSigner { signer: self.signer.clone(), ours, wire }));
        }
        // Without a signer rustls would show no certificate, and all that the hub could say is that it wants one.
        let (_, wire) = known.clone().next()?;
        Some(Box::new(NothingShared { ours: known.map(|(ours, _)| ours).collect(), wire }))
    }

    /// What servers choose a cipher suite by; the first scheme tells.
    fn algorithm(&self) -> SignatureAlgorithm {
        let algorithm = self.signer.schemes().iter().find_map(|ours| on_the_wire(*ours));
        algorithm.map_or(SignatureAlgorithm::Anonymous, |(_, algorithm)| algorithm)
    }
}

/// Signs one handshake.
#[derive(Debug)]
struct RemoteSigner {
    signer: Arc<dyn CertificateSigner>,
    ours: Scheme,
    wire: SignatureScheme,
}

impl Signer for RemoteSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        tracing::debug!(scheme = ?self.ours, "asking the signer of the client certificate");
        self.signer.sign(self.ours, message).map_err(failed)
    }

    fn scheme(&self) -> SignatureScheme {
        self.wire
    }
}

/// Fails the handshake with a reason.
#[derive(Debug)]
struct NothingShared {
    ours: Vec<Scheme>,
    wire: SignatureScheme,
}

impl Signer for NothingShared {
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, Error> {
        Err(failed(SignError::new(format!("the server takes none of its signature schemes {:?}", self.ours))))
    }

    fn scheme(&self) -> SignatureScheme {
        self.wire
    }
}

fn failed(error: SignError) -> Error {
    OtherError(Arc::new(error)).into()
}

/// A scheme and its kind of key, as TLS names them; `None` for one that is newer than this crate.
fn on_the_wire(scheme: Scheme) -> Option<(SignatureScheme, SignatureAlgorithm)> {
    Some(match scheme {
        Scheme::EcdsaP256Sha256 => (SignatureScheme::ECDSA_NISTP256_SHA256, SignatureAlgorithm::ECDSA),
        Scheme::EcdsaP384Sha384 => (SignatureScheme::ECDSA_NISTP384_SHA384, SignatureAlgorithm::ECDSA),
        Scheme::RsaPssSha256 => (SignatureScheme::RSA_PSS_SHA256, SignatureAlgorithm::RSA),
        Scheme::RsaPssSha384 => (SignatureScheme::RSA_PSS_SHA384, SignatureAlgorithm::RSA),
        Scheme::RsaPssSha512 => (SignatureScheme::RSA_PSS_SHA512, SignatureAlgorithm::RSA),
        Scheme::RsaPkcs1Sha256 => (SignatureScheme::RSA_PKCS1_SHA256, SignatureAlgorithm::RSA),
        Scheme::RsaPkcs1Sha384 => (SignatureScheme::RSA_PKCS1_SHA384, SignatureAlgorithm::RSA),
        Scheme::RsaPkcs1Sha512 => (SignatureScheme::RSA_PKCS1_SHA512, SignatureAlgorithm::RSA),
        Scheme::Ed25519 => (SignatureScheme::ED25519, SignatureAlgorithm::ED25519),
        _ => return None,
    })
}
