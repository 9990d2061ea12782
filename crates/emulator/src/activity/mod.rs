//! What happened on each connection, as the hub saw it: the record that tests check beside the client's view.

mod amqp;
mod entry;
mod facts;
mod place;
mod reason;

use std::fmt;

pub use amqp::AmqpLink;
pub use entry::Activity;
pub use reason::{DisconnectReason, RefusalReason};

/// Names one connection; unique in the life of an emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The TLS version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// What a connection on the HTTPS port asked for when it became a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebSocketUpgrade {
    /// The target of the request as it was sent, with its query.
    pub path: String,
    /// The subprotocol as it was asked for and is spoken.
    pub subprotocol: String,
}

/// What became of a PUBACK from a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PubackEffect {
    /// It completed a message, or was for a twin or method publish at QoS 1.
    Completed,
    /// It was not for the oldest message in flight; see [`Config::with_out_of_order_puback`](crate::Config::with_out_of_order_puback).
    OutOfOrder,
    /// No message in flight has this packet id.
    Unknown,
}
