//! From PEM text to a TLS configuration, with errors that name the option and what is wrong with it.
//!
//! The texts never contain any part of the input: a mistake in a certificate option may well be a pasted key.

use std::sync::Arc;

use iothub_core::{CertificateKey, ClientCertificate, CreateError, Secret, Trust};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::ring;
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use rustls_native_certs::CertificateResult;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::clock::VerificationClock;
use super::signer::RemoteKey;

/// The options, as users know them.
const TRUSTED_CERTS: &str = "trusted_certs";
const CERTIFICATE: &str = "certificate";
const PRIVATE_KEY: &str = "private key";
const SYSTEM_ROOTS: &str = "the root certificates of this system";

/// Builds the one configuration that all connections of a connector, or of an HTTPS engine, use.
///
/// # Errors
///
/// [`CreateError::Certificate`] names what cannot be used.
pub fn client_config(
    trust: &Trust,
    certificate: Option<&ClientCertificate>,
    clock: &VerificationClock,
) -> Result<Arc<ClientConfig>, CreateError> {
    let roots = match trust {
        Trust::System => system_roots(rustls_native_certs::load_native_certs())?,
        Trust::Pem(text) => pem_roots(text)?,
        Trust::Nobody => RootCertStore::empty(),
        // The enum may grow; trusting more than was asked for is never right.
        _ => return Err(wrong(TRUSTED_CERTS, "this kind of trust is not known to iothub-net")),
    };
    // The provider is named, never the process default: an application may have two, or another one.
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(clock.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| wrong("the TLS configuration", error.to_string()))?
        .with_root_certificates(roots)
        .with_client_cert_resolver(identity(certificate)?);
    // A resumed session is not verified again, neither the hub's certificate nor ours. Reconnects are rare enough for a
    // whole handshake each.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The same configuration with another certificate to show, or none.
pub(crate) fn with_certificate(
    config: &ClientConfig,
    certificate: Option<&ClientCertificate>,
) -> Result<Arc<ClientConfig>, CreateError> {
    let mut config = config.clone();
    config.client_auth_cert_resolver = identity(certificate)?;
    Ok(Arc::new(config))
}

/// The same configuration with other authorities to trust.
pub(crate) fn with_trust(
    config: &ClientConfig,
    trust: &Trust,
    clock: &VerificationClock,
) -> Result<Arc<ClientConfig>, CreateError> {
    let mut new = Arc::unwrap_or_clone(client_config(trust, None, clock)?);
    new.client_auth_cert_resolver = config.client_auth_cert_resolver.clone();
    Ok(Arc::new(new))
}

/// The name that goes into SNI and that the server's certificate must carry; addresses are verified, but not sent.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, CreateError> {
    ServerName::try_from(host.to_owned()).map_err(|_| CreateError::Option {
        option: "HostName",
        value: host.to_owned(),
        allowed: "a DNS name or an IP address",
    })
}

fn system_roots(found: CertificateResult) -> Result<RootCertStore, CreateError> {
    let mut roots = RootCertStore::empty();
    let (usable, unusable) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let causes: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        let causes = if causes.is_empty() { "none were found".to_owned() } else { causes.join("; ") };
        return Err(wrong(
            SYSTEM_ROOTS,
            format!(
                "{causes}; install them (often the package ca-certificates) or give the hub's with `{TRUSTED_CERTS}`"
            ),
        ));
    }
    // Systems carry a few odd certificates; those that can be used are enough.
    for error in &found.errors {
        tracing::warn!(%error, "some root certificates of this system could not be loaded");
    }
    tracing::debug!(usable, unusable, "loaded the root certificates of this system");
    Ok(roots)
}

fn pem_roots(text: &str) -> Result<RootCertStore, CreateError> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates(TRUSTED_CERTS, text)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|_| {
            wrong(TRUSTED_CERTS, format!("certificate {} of the text is not an X.509 certificate", index + 1))
        })?;
    }
    Ok(roots)
}

/// What the client shows to a server that asks who it is.
fn identity(certificate: Option<&ClientCertificate>) -> Result<Arc<dyn ResolvesClientCert>, CreateError> {
    let Some(certificate) = certificate else { return Ok(Arc::new(NoCertificate)) };
    let chain = certificates(CERTIFICATE, certificate.chain_pem())?;
    let key = match certificate.key() {
        CertificateKey::Pem(text) => CertifiedKey::from_der(chain, private_key(text)?, &ring::default_provider()),
        CertificateKey::Signer(signer) => {
            let key = RemoteKey::new(signer.clone())
                .ok_or_else(|| wrong(PRIVATE_KEY, "its signer has no signature scheme that TLS can use"))?;
            let key = CertifiedKey::new(chain, Arc::new(key));
            // With a key at hand rustls reads the certificate to compare the two.
            key.end_entity_cert().and_then(|leaf| ParsedCertificate::try_from(leaf).map(drop)).map(|()| key)
        }
        _ => return Err(wrong(PRIVATE_KEY, "this kind of key is not known to iothub-net")),
    };
    Ok(Arc::new(SingleCertAndKey::from(key.map_err(unusable_identity)?)))
}

/// A client that does not say who it is by a certificate.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// All certificates of a PEM text; other sections are skipped, a text without any is an error.
fn certificates(option: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, CreateError> {
    let mut found = Vec::new();
    for section in CertificateDer::pem_slice_iter(text.as_bytes()) {
        found.push(section.map_err(|error| {
            wrong(option, format!("after {} good certificates, {}", found.len(), pem_mistake(&error)))
        })?);
    }
    if found.is_empty() {
        return Err(wrong(
            option,
            "no certificate found in the text; it must contain -----BEGIN CERTIFICATE-----, and a file's content, not its name",
        ));
    }
    Ok(found)
}

fn private_key(text: &Secret) -> Result<PrivateKeyDer<'static>, CreateError> {
    let text = text.expose();
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound if text.contains("ENCRYPTED PRIVATE KEY") => {
            wrong(PRIVATE_KEY, "the key is encrypted, which is not supported; decrypt it first (openssl pkey)")
        }
        pem::Error::NoItemsFound => wrong(
            PRIVATE_KEY,
            "no private key found in the text; it must be PEM: PKCS#8 (BEGIN PRIVATE KEY), SEC1 (BEGIN EC PRIVATE KEY) or PKCS#1 (BEGIN RSA PRIVATE KEY)",
        ),
        error => wrong(PRIVATE_KEY, pem_mistake(&error)),
    })
}

/// What is wrong with a PEM text, without quoting from it.
fn pem_mistake(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no -----END line (is the text cut off?)",
        pem::Error::IllegalSectionStart { .. } => "a -----BEGIN line is malformed",
        pem::Error::Base64Decode(_) => "a section is not valid base64",
        pem::Error::SectionTooLarge => "a section is too large",
        _ => "the text is not PEM",
    }
}

/// Why rustls does not take certificate and key together.
fn unusable_identity(error: rustls::Error) -> CreateError {
    match error {
        rustls::Error::InconsistentKeys(_) => wrong(PRIVATE_KEY, "it does not belong to the certificate"),
        rustls::Error::InvalidCertificate(_) => wrong(CERTIFICATE, "the first certificate of the text is malformed"),
        _ => wrong(
            PRIVATE_KEY,
            "it is not a key that TLS can use: RSA of at least 2048 bits, ECDSA P-256 or P-384, or Ed25519",
        ),
    }
}

fn wrong(what: &'static str, detail: impl Into<String>) -> CreateError {
    CreateError::Certificate { what, detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> CertificateResult {
        let mut found = CertificateResult::default();
        found.certs.extend(certificates);
        found
    }

    #[test]
    fn a_system_without_roots_is_told_what_to_do() {
        for nothing_usable in [found([]), found([CertificateDer::from(b"odd".to_vec())])] {
            let error = system_roots(nothing_usable).expect_err("no roots").to_string();
            assert!(
                error.starts_with("the root certificates of this system cannot be used: none were found"),
                "{error}"
            );
            assert!(error.contains("`trusted_certs`"), "{error}");
        }
    }

    #[test]
    fn odd_roots_beside_good_ones_are_left_out() {
        let good = rcgen::generate_simple_self_signed(["root".to_owned()]).expect("a certificate").cert;
        let roots = system_roots(found([CertificateDer::from(b"odd".to_vec()), good.der().clone()])).expect("roots");
        assert_eq!(roots.len(), 1);
    }
}
