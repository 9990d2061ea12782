//! What a link of an AMQP connection is for.

/// What a link is for, and in which direction it goes: each variant is one link of docs/hub-over-amqp.md 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AmqpLink {
    /// Tokens to the hub: the client's sender to `$cbs`.
    TokenRequests,
    /// What became of them: the client's receiver from `$cbs`.
    TokenReplies,
    /// Messages from a device or module: its sender to `messages/events`.
    Telemetry,
    /// Messages to a module's inputs: its receiver from `messages/events`.
    Inputs,
    /// Cloud-to-device messages: a receiver from `messages/devicebound`.
    CloudToDevice,
    /// Twin requests: a sender to `twin`.
    TwinRequests,
    /// Their answers, and desired patches: a receiver from `twin`.
    TwinReplies,
    /// Method requests to the device: its receiver from `methods/devicebound`.
    MethodRequests,
    /// Its answers: its sender to `methods/devicebound`.
    MethodResponses,
    /// Cloud-to-device messages from a service: its sender to `/messages/devicebound`.
    ServiceMessages,
    /// Feedback to a service.
    Feedback,
    /// Notifications of uploaded files to a service.
    FileNotifications,
    /// Stored messages to a service: a receiver from a partition of the event stream.
    Events,
    /// Questions about the event stream: a sender to `$management`.
    ManagementRequests,
    /// Their answers: a receiver from `$management`.
    ManagementReplies,
}

impl AmqpLink {
    /// Whether it belongs to a device or module.
    pub(crate) fn is_of_an_identity(self) -> bool {
        matches!(
            self,
            Self::Telemetry
                | Self::Inputs
                | Self::CloudToDevice
                | Self::TwinRequests
                | Self::TwinReplies
                | Self::MethodRequests
                | Self::MethodResponses
        )
    }

    /// The other half of a pair that belongs together.
    pub(crate) fn partner(self) -> Option<Self> {
        match self {
            Self::TwinRequests => Some(Self::TwinReplies),
            Self::TwinReplies => Some(Self::TwinRequests),
            Self::MethodRequests => Some(Self::MethodResponses),
            Self::MethodResponses => Some(Self::MethodRequests),
            _ => None,
        }
    }
}
