//! What went wrong, from reqwest's chain of causes. Its own texts carry the URL, which may hold a signature.

use std::error::Error;
use std::io;

use iothub_core::{ConnectStage, ConnectionErrorKind, HttpError};
use iothub_net::tls::handshake_error;

pub(crate) fn of(error: &reqwest::Error, peer: &str, is_local: bool) -> HttpError {
    let peer = peer.to_owned();
    let causes = causes(error);
    let detail = causes.last().map_or_else(|| "no cause is known".to_owned(), ToString::to_string);
    let tls = causes.iter().find_map(|cause| cause.downcast_ref::<rustls::Error>());
    match tls {
        // With TLS 1.3 a server that does not like the client's certificate says so after the handshake.
        Some(tls) if error.is_connect() || matches!(tls, rustls::Error::AlertReceived(_)) => {
            HttpError::NotConnected { peer, kind: handshake_error(tls) }
        }
        _ if error.is_builder() => HttpError::Malformed { peer, detail },
        _ if error.is_connect() && is_local => HttpError::Socket { peer, detail },
        _ if error.is_connect() => {
            let kind = if error.is_dns() { ConnectionErrorKind::Dns { detail } } else { network(&causes, detail) };
            HttpError::NotConnected { peer, kind }
        }
        _ => HttpError::Broken { peer, detail },
    }
}

/// The causes of an error, the innermost last. Those inside an I/O error are hidden from `source`.
fn causes(error: &reqwest::Error) -> Vec<&(dyn Error + 'static)> {
    let mut causes: Vec<&(dyn Error + 'static)> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause);
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    causes
}

fn network(causes: &[&(dyn Error + 'static)], detail: String) -> ConnectionErrorKind {
    let io = causes.iter().rev().find_map(|cause| cause.downcast_ref::<io::Error>());
    match io.map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => ConnectionErrorKind::Refused,
        // A TCP connection that is made does not end; what does is the handshake on it.
        Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
            ConnectionErrorKind::Network { stage: ConnectStage::Tls, detail }
        }
        _ => ConnectionErrorKind::Network { stage: ConnectStage::Tcp, detail },
    }
}
