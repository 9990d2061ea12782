//! Random numbers that nobody can foretell, from where TLS has its own.

use std::io;
use std::sync::LazyLock;

use rustls::crypto::{SecureRandom, ring};

static SOURCE: LazyLock<&dyn SecureRandom> = LazyLock::new(|| ring::default_provider().secure_random);

/// So many random bytes; fails if the operating system has none.
pub(crate) fn random<const LENGTH: usize>() -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    SOURCE.fill(&mut bytes).map_err(|_| io::Error::other("the operating system has no random numbers"))?;
    Ok(bytes)
}
