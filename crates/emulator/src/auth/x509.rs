//! Client certificates: thumbprint, common name, and the chain to a CA that signs for devices.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The CAs whose device certificates the hub trusts.
#[derive(Debug)]
pub(crate) struct Authorities(Arc<dyn ClientCertVerifier>);

impl Authorities {
    pub(crate) fn new(authority: &CertificateDer<'static>, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).map_err(|error| error.to_string())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        verifier.build().map(Self).map_err(|error| error.to_string())
    }

    /// Checks the chain and its dates; the text says what is wrong.
    pub(crate) fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<(), String> {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let verified = self.0.verify_client_cert(certificate, chain, UnixTime::since_unix_epoch(since));
        verified.map(drop).map_err(|error| format!("no trusted device CA vouches for it: {error}"))
    }
}

/// SHA-256 of the certificate, upper-case hex.
pub(crate) fn thumbprint(certificate: &CertificateDer<'_>) -> String {
    hex(&Sha256::digest(certificate))
}

/// Whether this is the certificate's SHA-256 or SHA-1, in upper-case hex: the registry takes either.
pub(crate) fn has_thumbprint(certificate: &CertificateDer<'_>, wanted: &str) -> bool {
    wanted == thumbprint(certificate) || wanted == hex(&Sha1::digest(certificate))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The last common name of the subject.
pub(crate) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    const EXPLICIT_0: u8 = 0xa0;
    const OBJECT_ID: u8 = 0x06;
    const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

    let mut certificate = Der(certificate);
    let mut tbs = Der(Der(certificate.expect(SEQUENCE)?).expect(SEQUENCE)?);
    if tbs.0.first() == Some(&EXPLICIT_0) {
        tbs.next()?; // version
    }
    for _serial_algorithm_issuer_validity in 0..4 {
        tbs.next()?;
    }
    let mut subject = Der(tbs.expect(SEQUENCE)?);
    let mut found = None;
    while !subject.0.is_empty() {
        let mut names = Der(subject.expect(SET)?);
        while !names.0.is_empty() {
            let mut attribute = Der(names.expect(SEQUENCE)?);
            if attribute.expect(OBJECT_ID)? == COMMON_NAME {
                let (_string_type, value) = attribute.next()?;
                found = Some(String::from_utf8(value.to_vec()).ok()?);
            }
        }
    }
    found
}

/// Reads DER elements one after another; `None` where the bytes do not hold what they promise.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Tls;

    #[test]
    fn a_certificate_of_the_device_ca_is_trusted_within_its_dates_and_names_its_device() {
        let tls = Tls::new(&["localhost".to_owned()]).unwrap();
        let issued = tls.issue_device_certificate("dev-1").unwrap();
        let chain = crate::tls::certificates(&issued.certificate_pem).unwrap();
        assert_eq!(common_name(&chain[0]).as_deref(), Some("dev-1"));
        assert_eq!(thumbprint(&chain[0]), issued.thumbprint);
        let authorities = tls.device_authorities();
        authorities.verify(&chain[0], &chain[1..], SystemTime::now()).unwrap();
        let late = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 42);
        assert!(authorities.verify(&chain[0], &chain[1..], late).is_err());
        let stranger = Tls::new(&["localhost".to_owned()]).unwrap();
        assert!(stranger.device_authorities().verify(&chain[0], &chain[1..], SystemTime::now()).is_err());
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_common_name() {
        let tls = Tls::new(&["localhost".to_owned()]).unwrap();
        let issued = tls.issue_device_certificate("dev-1").unwrap();
        let whole = crate::tls::certificates(&issued.certificate_pem).unwrap().remove(0);
        for length in 0..whole.len() {
            let _ = common_name(&CertificateDer::from(&whole[..length]));
        }
        assert_eq!(common_name(&CertificateDer::from(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff][..])), None);
    }
}
