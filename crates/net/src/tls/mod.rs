//! TLS by rustls with ring; no type of theirs leaves this crate.

mod clock;
mod config;
mod error;
mod session;
mod signer;

pub(crate) use clock::VerificationClock;
pub(crate) use config::{client_config, server_name, with_certificate};
pub(crate) use error::handshake_error;
pub(crate) use session::{HandshakeFailure, TlsSession};
