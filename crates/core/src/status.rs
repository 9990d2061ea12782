//! The connection's status, as the application hears of it.

use std::time::Duration;

use crate::connection_error::ConnectionError;

/// Whether the hub accepts the client at the moment.
#[doc(alias = "IOTHUB_CLIENT_CONNECTION_STATUS")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionStatus {
    /// Connected, and accepted by the hub.
    #[doc(alias = "IOTHUB_CLIENT_CONNECTION_AUTHENTICATED")]
    Authenticated,
    /// Not connected.
    #[doc(alias = "IOTHUB_CLIENT_CONNECTION_UNAUTHENTICATED")]
    Unauthenticated,
}

/// Why the status is what it is, in the C SDK's terms; [`StatusChange::error`] says more.
#[doc(alias = "IOTHUB_CLIENT_CONNECTION_STATUS_REASON")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionStatusReason {
    /// The shared access signature has expired.
    #[doc(alias = "IOTHUB_CLIENT_CONNECTION_EXPIRED_SAS_TOKEN")]
    ExpiredSasToken,
    /// The hub said that the device is disabled. MQTT cannot say so: it answers as for any bad credential.
    #[doc(alias = "IOTHUB_CLIENT_CONNECTION_DEVICE_DISABLED")]
    DeviceDisabled,
    /// The hub refused the credentials.
    #[doc(alias = "IOTHUB_CLIENT_CONNECTION_BAD_CREDENTIAL")]
    BadCredential,
    /// The retry policy allows no further attempt.
    #[doc(alias = "IOTHUB_CLIENT_CONNECTION_RETRY_EXPIRED")]
    RetryExpired,
    /// The hub could not be reached, or did not prove who it is.
    #[doc(alias = "IOTHUB_CLIENT_CONNECTION_NO_NETWORK")]
    NoNetwork,
    /// An established connection was lost.
    #[doc(alias = "IOTHUB_CLIENT_CONNECTION_COMMUNICATION_ERROR")]
    CommunicationError,
    /// All is well, or the change was asked for.
    #[doc(alias = "IOTHUB_CLIENT_CONNECTION_OK")]
    Ok,
    /// The hub stopped answering keep-alive requests.
    #[doc(alias = "IOTHUB_CLIENT_CONNECTION_NO_PING_RESPONSE")]
    NoPingResponse,
    /// The hub's daily quota is used up. MQTT cannot say so: the hub closes the connection.
    #[doc(alias = "IOTHUB_CLIENT_CONNECTION_QUOTA_EXCEEDED")]
    QuotaExceeded,
}

/// Where a client is in its connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Created, `do_work` not yet called.
    Idle,
    /// An attempt is under way.
    Connecting,
    /// The hub has accepted the client; subscriptions are not yet granted.
    Connected,
    /// Connected, and everything that was subscribed to will arrive.
    Ready,
    /// The connection is being replaced by one with a new token. What is under way may end first; what is sent
    /// meanwhile waits. This is planned, and no outage.
    Renewing,
    /// Not connected; the next attempt is planned.
    Waiting,
    /// Not connected, and no attempt is planned: the retry policy, a terminal answer of the hub or the expiry of a
    /// ready token ended them. Left by `reconnect`, `set_retry_policy` or `set_shared_access_signature`.
    Stopped,
    /// Closed for good.
    Closed,
}

impl ConnectionState {
    /// The C SDK's two-valued view.
    pub fn status(self) -> ConnectionStatus {
        match self {
            Self::Connected | Self::Ready | Self::Renewing => ConnectionStatus::Authenticated,
            _ => ConnectionStatus::Unauthenticated,
        }
    }
}

/// A change of the connection's state.
#[doc(alias = "IOTHUB_CLIENT_CONNECTION_STATUS_CALLBACK")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusChange {
    /// The state entered.
    pub state: ConnectionState,
    /// The C SDK's reason.
    pub reason: ConnectionStatusReason,
    /// What went wrong, when something did.
    pub error: Option<ConnectionError>,
    /// `Connecting`: which attempt of this outage it is, 1 for the first. `Waiting`: how many have been made.
    pub attempt: u32,
    /// `Waiting`: how long until the next attempt.
    pub next_attempt_in: Option<Duration>,
    /// How many unread changes to the same state this one replaced in the event queue.
    pub replaced: u64,
}

impl StatusChange {
    pub(crate) fn new(state: ConnectionState, reason: ConnectionStatusReason) -> Self {
        Self { state, reason, error: None, attempt: 0, next_attempt_in: None, replaced: 0 }
    }

    /// The C SDK's two-valued view of the state.
    pub fn status(&self) -> ConnectionStatus {
        self.state.status()
    }
}

/// Whether telemetry is on its way.
#[doc(alias = "IOTHUB_CLIENT_STATUS")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendStatus {
    /// Every message that was handed over has its outcome.
    #[doc(alias = "IOTHUB_CLIENT_SEND_STATUS_IDLE")]
    Idle,
    /// At least one message is queued or not yet confirmed.
    #[doc(alias = "IOTHUB_CLIENT_SEND_STATUS_BUSY")]
    Busy,
}
