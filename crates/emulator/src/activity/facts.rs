//! What a reader of the record asks of an entry whichever protocol it is from.

use std::net::SocketAddr;
use std::time::Duration;

use crate::activity::{Activity, RefusalReason, TlsVersion, WebSocketUpgrade};

impl Activity {
    /// Whether a device or module is connected from here on.
    #[must_use]
    pub fn is_connection(&self) -> bool {
        matches!(self, Self::Connected { .. } | Self::AmqpConnected { .. })
    }

    /// Why something was refused that was asked for with a credential: a CONNECT, a login, a token, a link.
    #[must_use]
    pub fn refusal(&self) -> Option<&RefusalReason> {
        match self {
            Self::ConnectRefused { why, .. } | Self::SaslRefused { why, .. } | Self::AmqpAttachRefused { why, .. } => {
                Some(why)
            }
            Self::TokenPut { why, .. } => why.as_ref(),
            _ => None,
        }
    }

    /// The other end of TCP of a connection that begins here.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Connected { peer, .. } | Self::AmqpOpened { peer, .. } | Self::AmqpConnected { peer, .. } => *peer,
            _ => None,
        }
    }

    /// How a connection that begins here became a WebSocket, if it did.
    #[must_use]
    pub fn web_socket(&self) -> Option<&WebSocketUpgrade> {
        match self {
            Self::Connected { web_socket, .. }
            | Self::AmqpOpened { web_socket, .. }
            | Self::AmqpConnected { web_socket, .. } => web_socket.as_ref(),
            _ => None,
        }
    }

    /// The TLS version of a connection that begins here.
    #[must_use]
    pub fn tls_version(&self) -> Option<TlsVersion> {
        match self {
            Self::Connected { tls_version, .. }
            | Self::AmqpOpened { tls_version, .. }
            | Self::AmqpConnected { tls_version, .. } => *tls_version,
            _ => None,
        }
    }

    /// What the client of a connection that begins here has named to keep it alive: the keep-alive time of MQTT, the idle time-out of AMQP.
    /// `None`: it has named none, or 0.
    #[must_use]
    pub fn keep_alive(&self) -> Option<Duration> {
        let named = match self {
            Self::Connected { keep_alive, .. } => Some(Duration::from_secs((*keep_alive).into())),
            Self::AmqpOpened { idle_time_out, .. } | Self::AmqpConnected { idle_time_out, .. } => *idle_time_out,
            _ => None,
        };
        named.filter(|time| !time.is_zero())
    }

    /// How the client names itself: `DeviceClientType` of an MQTT connection, `com.microsoft:client-version` of an AMQP link.
    #[must_use]
    pub fn client_version(&self) -> Option<&str> {
        match self {
            Self::Connected { client_type: version, .. } | Self::AmqpAttached { client_version: version, .. } => {
                version.as_deref()
            }
            _ => None,
        }
    }

    /// The model that the client names: of an MQTT connection, or of an AMQP link.
    #[must_use]
    pub fn model_id(&self) -> Option<&str> {
        match self {
            Self::Connected { model_id, .. } | Self::AmqpAttached { model_id, .. } => model_id.as_deref(),
            _ => None,
        }
    }
}
