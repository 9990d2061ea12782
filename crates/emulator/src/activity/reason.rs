//! Why a CONNECT was refused, and why a connection ended: what the hub knows and often does not tell.

use std::time::SystemTime;

use crate::activity::ConnectionId;
use crate::faults::Fault;

/// Why a CONNECT, a login, a token or a link was refused. Over MQTT the device is told only the code.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The protocol level is not 4 (MQTT 3.1.1).
    ProtocolLevel(u8),
    /// The user name does not follow docs/hub-over-mqtt.md 1.2; the text says where.
    UserName(String),
    /// The user name has no `api-version` and [`Config::with_require_api_version`](crate::Config::with_require_api_version) is on.
    ApiVersionMissing,
    /// The client id is not the identity of the user name.
    ClientIdMismatch,
    /// The identity is not in the registry.
    UnknownDevice,
    /// The device is disabled, and so are its modules.
    DeviceDisabled,
    /// No token and no certificate was given, or not the kind that the identity needs.
    CredentialMissing,
    /// The token's form is wrong; the text says how, without any of its values.
    TokenMalformed(&'static str),
    /// The token's `sr` does not cover the identity.
    TokenAudience {
        /// The decoded `sr`.
        audience: String,
    },
    /// The token's signature fits neither key.
    TokenSignature,
    /// The token's `se` is past.
    TokenExpired {
        /// `se`.
        expiry: SystemTime,
        /// The hub's clock.
        now: SystemTime,
    },
    /// The client certificate is not the one that the identity needs; the text says why.
    Certificate(String),
    /// The hub has no such node over AMQP, or not for this client; the text says what is wrong.
    Node(String),
    /// A fault was injected.
    Fault,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The device sent DISCONNECT.
    ByDevice,
    /// The device closed, or the network broke, without DISCONNECT.
    ConnectionLost,
    /// TLS was not established; the text says why.
    TlsFailed(String),
    /// No CONNECT came in time.
    ConnectTimeout,
    /// CONNECT was refused.
    Refused,
    /// Nothing was heard for one and a half keep-alive times.
    KeepAliveExpired,
    /// The SAS token's `se` and the hub's grace are past.
    TokenExpired,
    /// A newer connection of the same identity took over.
    Replaced {
        /// The newer one.
        by: ConnectionId,
    },
    /// The service disabled the device.
    DeviceDisabled,
    /// The service deleted the device.
    DeviceDeleted,
    /// The service deleted the module.
    ModuleDeleted,
    /// The service asked for it.
    ByService,
    /// The device broke the protocol; the text says how.
    ProtocolViolation(String),
    /// The device sent a PUBLISH with QoS 2.
    Qos2,
    /// A message is over the size limit.
    MessageTooLarge {
        /// Its size, or the packet's.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A route leads to a module that has too many messages waiting already. Nothing of the message was delivered.
    InputQueueFull {
        /// `device/module`.
        module: String,
        /// How many may wait.
        limit: usize,
    },
    /// A PUBLISH to a topic that the hub does not know, or of another identity.
    UnknownTopic(String),
    /// A SUBSCRIBE to a filter that the hub does not know, or of another identity.
    UnknownFilter(String),
    /// More subscriptions than the limit.
    TooManySubscriptions {
        /// The limit.
        limit: usize,
    },
    /// A PUBACK came for another message than the oldest one.
    PubackOutOfOrder {
        /// Its packet id.
        packet_id: u16,
    },
    /// The device did not read what it was sent.
    DeviceDoesNotRead {
        /// How many bytes wait for it.
        pending: usize,
    },
    /// A fault was injected, or asked for by a message.
    Fault(Fault),
    /// The emulator stopped.
    HubStopped,
}
