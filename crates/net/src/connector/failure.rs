//! Which of several failed addresses to tell about.

use std::io;
use std::net::SocketAddr;

use iothub_core::{ConnectStage, ConnectionErrorKind};

/// Why one address failed.
pub(super) struct Failure {
    pub(super) kind: ConnectionErrorKind,
    pub(super) weight: Weight,
}

/// How much a failure tells, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// This machine cannot reach that kind of address at all (no IPv6, say).
    NotTried,
    /// There is a machine, and nothing listens.
    Refused,
    /// Packets got lost on the way.
    Unreachable,
    /// The proxy did not answer.
    Proxy,
    /// It got as far as TLS.
    Tls,
}

impl Failure {
    /// The connect call itself failed; on loopback that is also how a refusal comes.
    pub(super) fn not_tried(address: SocketAddr, error: &io::Error) -> Self {
        match Self::tcp(address, error) {
            Self { kind, weight: Weight::Unreachable } => Self { kind, weight: Weight::NotTried },
            refused => refused,
        }
    }

    /// The TCP connection failed.
    pub(super) fn tcp(address: SocketAddr, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            return Self { kind: ConnectionErrorKind::Refused, weight: Weight::Refused };
        }
        Self { kind: network(ConnectStage::Tcp, address, error), weight: Weight::Unreachable }
    }

    /// Nobody answered the TCP connection.
    pub(super) fn tcp_silent(kind: ConnectionErrorKind) -> Self {
        Self { kind, weight: Weight::Unreachable }
    }

    /// The proxy took the connection and did not answer.
    pub(super) fn proxy(kind: ConnectionErrorKind) -> Self {
        Self { kind, weight: Weight::Proxy }
    }

    /// The connection broke during TLS.
    pub(super) fn tls_broken(address: SocketAddr, error: &io::Error) -> Self {
        Self { kind: network(ConnectStage::Tls, address, error), weight: Weight::Tls }
    }

    /// The server closed during TLS.
    pub(super) fn tls_closed() -> Self {
        let detail = "the server closed the connection during the handshake".to_owned();
        Self { kind: ConnectionErrorKind::Tls { detail }, weight: Weight::Tls }
    }

    /// The server stayed silent during TLS.
    pub(super) fn tls_silent(kind: ConnectionErrorKind) -> Self {
        Self { kind, weight: Weight::Tls }
    }
}

fn network(stage: ConnectStage, address: SocketAddr, error: &io::Error) -> ConnectionErrorKind {
    ConnectionErrorKind::Network { stage, detail: format!("{address}: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 8883))
    }

    #[test]
    fn a_refusal_tells_more_than_a_family_that_this_machine_lacks() {
        let no_route = Failure::not_tried(address(), &io::ErrorKind::NetworkUnreachable.into());
        let refused = Failure::not_tried(address(), &io::ErrorKind::ConnectionRefused.into());
        assert_eq!(refused.kind, ConnectionErrorKind::Refused);
        assert!(refused.weight > no_route.weight);
    }

    #[test]
    fn a_network_failure_names_the_address() {
        let failure = Failure::tcp(address(), &io::ErrorKind::HostUnreachable.into());
        let ConnectionErrorKind::Network { stage: ConnectStage::Tcp, detail } = failure.kind else { panic!() };
        assert_eq!(detail, "127.0.0.1:8883: host unreachable");
    }

    #[test]
    fn who_got_furthest_tells_most() {
        let reset = io::ErrorKind::ConnectionReset.into();
        assert!(Failure::tls_broken(address(), &reset).weight > Failure::tcp(address(), &reset).weight);
        assert!(Failure::tls_closed().weight > Failure::tcp(address(), &reset).weight);
    }
}
