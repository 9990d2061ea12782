//! Where and when each entry of the record happened.

use std::time::SystemTime;

use crate::activity::{Activity, ConnectionId};

impl Activity {
    /// The connection it happened on.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        self.place().0
    }

    /// When it happened, by the hub's clock.
    #[must_use]
    pub fn at(&self) -> SystemTime {
        self.place().1
    }

    fn place(&self) -> (ConnectionId, SystemTime) {
        match self {
            Self::Connected { at, connection, .. }
            | Self::ConnectRefused { at, connection, .. }
            | Self::Subscribed { at, connection, .. }
            | Self::Unsubscribed { at, connection, .. }
            | Self::Telemetry { at, connection, .. }
            | Self::Routed { at, connection, .. }
            | Self::PublishDropped { at, connection, .. }
            | Self::WillPublished { at, connection, .. }
            | Self::WillDropped { at, connection, .. }
            | Self::PubackSent { at, connection, .. }
            | Self::PubackReceived { at, connection, .. }
            | Self::C2dSent { at, connection, .. }
            | Self::C2dAcked { at, connection, .. }
            | Self::InputSent { at, connection, .. }
            | Self::InputAcked { at, connection, .. }
            | Self::MessageAbandoned { at, connection, .. }
            | Self::MessageRejected { at, connection, .. }
            | Self::Ping { at, connection, .. }
            | Self::TwinGet { at, connection, .. }
            | Self::TwinReported { at, connection, .. }
            | Self::DesiredSent { at, connection, .. }
            | Self::MethodSent { at, connection, .. }
            | Self::MethodAnswered { at, connection, .. }
            | Self::MethodMisanswered { at, connection, .. }
            | Self::FaultScheduled { at, connection, .. }
            | Self::FaultIgnored { at, connection, .. }
            | Self::FaultFired { at, connection, .. }
            | Self::AmqpOpened { at, connection, .. }
            | Self::SaslRefused { at, connection, .. }
            | Self::TokenPut { at, connection, .. }
            | Self::AmqpConnected { at, connection, .. }
            | Self::AmqpAttached { at, connection, .. }
            | Self::AmqpAttachRefused { at, connection, .. }
            | Self::AmqpDetached { at, connection, .. }
            | Self::DesiredSubscribed { at, connection, .. }
            | Self::Disconnected { at, connection, .. } => (*connection, *at),
        }
    }
}
