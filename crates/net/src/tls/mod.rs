//! TLS by rustls with ring. No type of theirs leaves this crate but here, hidden, for the HTTPS engine.

mod clock;
mod config;
mod error;
mod session;
mod signer;

pub use clock::VerificationClock;
pub use config::client_config;
pub(crate) use config::{server_name, with_certificate, with_trust};
pub use error::handshake_error;
pub(crate) use session::{HandshakeFailure, TlsSession};
