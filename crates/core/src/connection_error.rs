//! Why a connection could not be made, or was lost.
//!
//! One type serves every transport. Its text is what an operator reads in a log: where, what happened, and one
//! thing to try. The texts are listed in `docs/errors.md`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::status::ConnectionStatusReason;
use crate::timestamp::Timestamp;
use crate::way_error::{ProxyError, WebSocketError};

/// A connection that could not be made, or was lost: where, and why.
///
/// No key, token or password is ever part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host}:{port}: {kind}")]
#[non_exhaustive]
pub struct ConnectionError {
    /// The host that the client talks to: the hub, or its gateway.
    pub host: Arc<str>,
    /// The TCP port.
    pub port: u16,
    /// What happened.
    pub kind: ConnectionErrorKind,
}

impl ConnectionError {
    /// An error of this kind at this host and port.
    pub fn new(host: impl Into<Arc<str>>, port: u16, kind: ConnectionErrorKind) -> Self {
        Self { host: host.into(), port, kind }
    }
}

/// A stage on the way to a connection, for the errors that may happen in several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectStage {
    /// Looking up the host name.
    Resolve,
    /// The TCP connection.
    Tcp,
    /// The TLS handshake.
    Tls,
    /// The upgrade to a WebSocket.
    Upgrade,
    /// The login: the hub's answers to the protocol's opening and the credentials (MQTT: CONNACK; AMQP: open, put-token,
    /// and the link for telemetry).
    Open,
    /// The hub's answer to a subscription (MQTT: SUBACK or UNSUBACK; AMQP: the attach of its links).
    Subscribe,
}

impl std::fmt::Display for ConnectStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Resolve => "the look-up of the host name",
            Self::Tcp => "the TCP connection",
            Self::Tls => "the TLS handshake",
            Self::Upgrade => "the upgrade to a WebSocket",
            Self::Open => "the login at the hub",
            Self::Subscribe => "the subscription at the hub",
        })
    }
}

/// What went wrong with a connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionErrorKind {
    /// The host name has no address, or no resolver answered.
    #[error(
        "the host name could not be resolved ({detail}); check HostName in the connection string and the DNS of this machine"
    )]
    Dns {
        /// What the resolver said.
        detail: String,
    },
    /// Every address refused the TCP connection.
    #[error("the connection was refused; check that the hub listens on this port and that no firewall closes it")]
    Refused,
    /// The network failed before or during the connection.
    #[error("{stage} failed ({detail}); check that this machine has a route to the hub")]
    Network {
        /// Where it failed.
        stage: ConnectStage,
        /// What the operating system said.
        detail: String,
    },
    /// A stage took longer than the connect time-out.
    #[error(
        "{stage} did not finish within {} s; check the network and any firewall or proxy on the way, or allow more time with `connect_timeout`",
        after.as_secs_f32()
    )]
    TimedOut {
        /// Which stage.
        stage: ConnectStage,
        /// The limit that ran out.
        after: Duration,
    },
    /// No trusted authority vouches for the server's certificate.
    #[error(
        "the server's certificate is not trusted ({detail}); if the hub uses a private authority, give its root certificate with `trusted_certs`"
    )]
    UntrustedCertificate {
        /// What the verifier said.
        detail: String,
    },
    /// The server's certificate is for other names.
    #[error(
        "the server's certificate is for another host name ({detail}); check that HostName or GatewayHostName is the name in the certificate"
    )]
    WrongHostName {
        /// The names it is for, as far as known.
        detail: String,
    },
    /// The server's certificate is outside its validity.
    #[error(
        "the server's certificate is not valid at this time ({detail}); check the clock of this machine, then the certificate"
    )]
    CertificateTime {
        /// What the verifier said.
        detail: String,
    },
    /// The TLS handshake failed for another reason.
    #[error(
        "the TLS handshake failed ({detail}); check that the port speaks TLS 1.2 or 1.3 and that the client certificate, if any, is the device's"
    )]
    Tls {
        /// What the TLS library said.
        detail: String,
    },
    /// The proxy did not connect to the hub.
    #[error("the proxy {proxy} {error}")]
    Proxy {
        /// Its host and port.
        proxy: String,
        /// What went wrong there.
        error: ProxyError,
    },
    /// The connection was made, but the server did not make a WebSocket of it.
    #[error(
        "the upgrade to a WebSocket failed: {0}; check that this host is an IoT Hub or an Edge gateway, and that nothing on the way changes the connection"
    )]
    WebSocket(WebSocketError),
    /// The hub refused the credentials (MQTT: CONNACK 5).
    #[error(
        "the hub refused the credentials without saying why: the device may be unknown or disabled, its key or certificate wrong, or a clock off; check the connection string against the hub's entry for this device"
    )]
    NotAuthorized,
    /// The hub cannot serve now (MQTT: CONNACK 3).
    #[error("the hub is not available at the moment; the client tries again, check the hub's state if it stays so")]
    ServerUnavailable,
    /// The server does not speak this protocol version (MQTT: CONNACK 1).
    #[error("the server refused the protocol version; check that this host is an IoT Hub or an Edge gateway")]
    ProtocolVersionRefused,
    /// The server refused the client identifier (MQTT: CONNACK 2).
    #[error("the server refused the client identifier; check the device id")]
    IdentifierRefused,
    /// The server refused user name or password (MQTT: CONNACK 4).
    #[error("the server refused the user name or the password; check the device id and its key")]
    BadUserNameOrPassword,
    /// The shared access signature is longer than the protocol can carry, so it was not sent.
    #[error("the shared access signature has {length} bytes, the protocol takes {limit}; supply a shorter one")]
    TokenTooLong {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The shared access signature had expired by this machine's clock, so it was not sent.
    #[error(
        "the shared access signature expired at {}, by the clock of this machine; supply a new one, or check the clock",
        Timestamp(*at)
    )]
    TokenExpired {
        /// When it expired.
        at: SystemTime,
    },
    /// The client's key did not sign: a token, so that nothing was sent, or the TLS handshake.
    #[error("nothing could be signed with the client's key ({detail}); check the module or service that holds the key")]
    NotSigned {
        /// What the signer said.
        detail: String,
    },
    /// The peer closed the connection and gave no reason.
    #[error(
        "the hub closed the connection without a reason; it does so when another client connects with this device id, when the token has expired, when the device was disabled, and when a limit or quota is exceeded"
    )]
    ClosedByPeer,
    /// The hub ended the connection, or this client's part of it, and said why (AMQP's error conditions).
    #[error("the hub ended it: {condition}{}{detail}; the client connects again, unless that is pointless", if detail.is_empty() { "" } else { ": " })]
    EndedByHub {
        /// The condition by its name on the wire, such as `amqp:link:detach-forced`.
        condition: String,
        /// What the hub said.
        detail: String,
    },
    /// The connection broke.
    #[error("the connection broke ({detail}); the client reconnects, check the network if it happens often")]
    Broken {
        /// What the operating system or the TLS library said.
        detail: String,
    },
    /// The peer went silent: no answer to a keep-alive request.
    #[error(
        "no answer to the keep-alive request within {} s; the network path is dead, the client reconnects",
        after.as_secs_f32()
    )]
    NoPingResponse {
        /// How long the client waited.
        after: Duration,
    },
    /// The hub left a sent message without its acknowledgement although the connection seemed alive.
    #[error(
        "the hub did not acknowledge a sent message within {} s; the client reconnects and sends it again, check the hub's throttling and quota if it happens often",
        after.as_secs_f32()
    )]
    NoAcknowledgement {
        /// How long the client waited.
        after: Duration,
    },
    /// The peer sent something that the protocol does not allow.
    #[error("the server broke the protocol ({detail}); check that this host is an IoT Hub or an Edge gateway")]
    Protocol {
        /// What it did.
        detail: String,
    },
    /// A message left undecided held back the acknowledgements of later ones for too long.
    #[error(
        "an undecided cloud-to-device message held back {held} later acknowledgements for {} s; the client reconnects once so that the hub delivers again: complete or abandon messages sooner",
        held_for.as_secs_f32()
    )]
    SettlementsHeld {
        /// How many settled messages waited behind it.
        held: usize,
        /// For how long.
        held_for: Duration,
    },
}

impl ConnectionErrorKind {
    /// The C SDK's reason that comes closest.
    pub fn status_reason(&self) -> ConnectionStatusReason {
        use ConnectionStatusReason as Reason;
        match self {
            Self::Dns { .. }
            | Self::Refused
            | Self::Network { .. }
            | Self::TimedOut { .. }
            | Self::UntrustedCertificate { .. }
            | Self::WrongHostName { .. }
            | Self::CertificateTime { .. }
            | Self::Tls { .. }
            | Self::Proxy { .. }
            | Self::WebSocket(_) => Reason::NoNetwork,
            Self::NotAuthorized
            | Self::IdentifierRefused
            | Self::BadUserNameOrPassword
            | Self::TokenTooLong { .. }
            | Self::NotSigned { .. } => Reason::BadCredential,
            Self::TokenExpired { .. } => Reason::ExpiredSasToken,
            Self::NoPingResponse { .. } => Reason::NoPingResponse,
            Self::ServerUnavailable
            | Self::ProtocolVersionRefused
            | Self::ClosedByPeer
            | Self::EndedByHub { .. }
            | Self::Broken { .. }
            | Self::NoAcknowledgement { .. }
            | Self::Protocol { .. }
            | Self::SettlementsHeld { .. } => Reason::CommunicationError,
        }
    }

    /// Whether trying again without a change is pointless, so that the client stops.
    ///
    /// As in the C SDK, refused credentials are tried again: the hub answers alike for a device that is about to be
    /// created or enabled.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::ProtocolVersionRefused | Self::IdentifierRefused | Self::BadUserNameOrPassword => true,
            // What the client asks for does not exist there, and it would ask for the same again.
            Self::EndedByHub { condition, .. } => {
                matches!(condition.as_str(), "amqp:not-implemented" | "com.microsoft:iot-hub-not-found-error")
            }
            _ => false,
        }
    }
}
