//! Proofs made elsewhere: a key that stays in an HSM or TPM, and signs what the client gives it.

use std::fmt;
use std::task::{Poll, Waker};
use std::time::Instant;

use crate::endpoint::Trust;
use crate::platform::{Now, Readiness};

/// Signs tokens with a device's symmetric key, without giving the key away.
///
/// This is what the C SDK's device auth module (`IOTHUB_SECURITY_TYPE_SAS`) is. One call of
/// [`poll_sign`](Self::poll_sign) serves one token; the client asks for one at each connection.
///
/// [`SharedAccessKey`](crate::SharedAccessKey) is the implementation in software:
///
/// ```
/// use iothub_core::{Now, SasSigner, SignError, SharedAccessKey};
/// use std::task::{Poll, Waker};
///
/// /// Stands for a driver of your module.
/// struct Tpm(SharedAccessKey);
///
/// impl SasSigner for Tpm {
///     fn poll_sign(&mut self, data: &[u8], now: Now, waker: &Waker) -> Poll<Result<Vec<u8>, SignError>> {
///         self.0.poll_sign(data, now, waker)
///     }
/// }
/// ```
#[doc(alias = "IOTHUB_SECURITY_TYPE")]
pub trait SasSigner: Send {
    /// Signs `data` with HMAC-SHA256 under the device's key: 32 bytes.
    ///
    /// May answer `Pending`, and wake `waker` when it is worth asking again; the client then asks with the same data. It
    /// gives up after 30 s and tries anew as after any failed attempt to connect. Must not block: it runs inside
    /// `do_work`.
    fn poll_sign(&mut self, data: &[u8], now: Now, waker: &Waker) -> Poll<Result<Vec<u8>, SignError>>;

    /// The client no longer wants the signature that it was waiting for.
    fn cancel(&mut self) {}

    /// Whether the token's scope is percent-encoded as a whole, `/` too, in the signed text and in the token: as the C SDK
    /// does it on IoT Edge.
    fn escapes_scope(&self) -> bool {
        false
    }

    /// Whom to trust from the connection on for which the last signature was made; asked after each one. For a signer that
    /// also knows the authority of the host, as the security daemon of IoT Edge does.
    fn take_trust(&mut self) -> Option<Trust> {
        None
    }

    /// When to ask again even if nothing wakes the client: for a signer with time-outs of its own.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Adds the descriptors that bring the answer: for a signer with sockets of its own.
    fn readiness(&self, out: &mut Vec<Readiness>) {
        let _ = out;
    }
}

/// Signs TLS handshakes with the private key of a device's certificate, without giving the key away.
///
/// It is called inside `do_work` while a connection is made, and TLS waits for the answer; a module that needs long
/// for a signature delays `do_work` by that.
pub trait CertificateSigner: Send + Sync + fmt::Debug {
    /// The schemes that the key can sign with, the best first. The first one that the hub offers too is used.
    fn schemes(&self) -> &[SignatureScheme];

    /// Signs the whole message, not a hash of it. An ECDSA signature is its ASN.1 DER form, as in TLS.
    fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// How a message is signed in a TLS handshake (RFC 8446, 4.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureScheme {
    /// ECDSA on the curve P-256, with SHA-256.
    EcdsaP256Sha256,
    /// ECDSA on the curve P-384, with SHA-384.
    EcdsaP384Sha384,
    /// RSASSA-PSS with SHA-256.
    RsaPssSha256,
    /// RSASSA-PSS with SHA-384.
    RsaPssSha384,
    /// RSASSA-PSS with SHA-512.
    RsaPssSha512,
    /// RSASSA-PKCS1-v1_5 with SHA-256; TLS 1.2 only.
    RsaPkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 with SHA-384; TLS 1.2 only.
    RsaPkcs1Sha384,
    /// RSASSA-PKCS1-v1_5 with SHA-512; TLS 1.2 only.
    RsaPkcs1Sha512,
    /// Ed25519.
    Ed25519,
}

/// A signature that could not be made. The text is shown in errors and logs, so it must hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signer failed: {0}")]
pub struct SignError(String);

impl SignError {
    /// A failure, in words: what went wrong, and what to do.
    pub fn new(detail: impl Into<String>) -> Self {
        Self(detail.into())
    }
}
