//! The properties that the hub, not the application, gives a meaning.

use std::fmt;

/// A property that the hub, not the application, gives a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SystemProperty {
    /// The sender's name for the message: at most 128 characters of ASCII letters, digits and
    /// `- : . + % _ # * ? ! ( ) , = @ ; $ '`.
    #[doc(alias = "IoTHubMessage_SetMessageId")]
    MessageId,
    /// The message that this one answers; characters and length as for `MessageId`.
    #[doc(alias = "IoTHubMessage_SetCorrelationId")]
    CorrelationId,
    /// The MIME type of the payload; `application/json` with encoding `utf-8` lets the hub route by content.
    #[doc(alias = "IoTHubMessage_SetContentTypeSystemProperty")]
    ContentType,
    /// The character set of the payload: `utf-8`, `utf-16` or `utf-32` for routing by content.
    #[doc(alias = "IoTHubMessage_SetContentEncodingSystemProperty")]
    ContentEncoding,
    /// When the message was made, ISO 8601 in UTC.
    #[doc(alias = "IoTHubMessage_SetMessageCreationTimeUtcSystemProperty")]
    CreationTime,
    /// Which interface of the hub the message is for: [`SECURITY_INTERFACE`] makes it a security message.
    InterfaceId,
    /// The output of a module that the message leaves by. Modules only.
    #[doc(alias = "IoTHubMessage_SetOutputName")]
    OutputName,
    /// The component of a Plug and Play model that the message is from.
    #[doc(alias = "IoTHubMessage_SetComponentName")]
    ComponentName,
    /// Names the message in a trace of its way through the hub.
    #[doc(alias = "IoTHubMessage_SetDiagnosticPropertyData")]
    DiagnosticId,
    /// When the trace began, in seconds since 1970-01-01 UTC, decimal.
    DiagnosticTime,
    /// The user that a cloud-to-device message is from. Received only.
    #[doc(alias = "IoTHubMessage_GetMessageUserIdSystemProperty")]
    UserId,
    /// The address that a cloud-to-device message was sent to. Received only.
    To,
    /// When a cloud-to-device message expires, ISO 8601 in UTC. Received only.
    ExpiryTime,
    /// Which feedback the sender of a cloud-to-device message asked for: `none`, `positive`, `negative` or `full`.
    /// Received only.
    Ack,
    /// The device that sent the message to a module's input. Received only.
    #[doc(alias = "IoTHubMessage_GetConnectionDeviceId")]
    ConnectionDeviceId,
    /// The module that sent the message to a module's input. Received only.
    #[doc(alias = "IoTHubMessage_GetConnectionModuleId")]
    ConnectionModuleId,
}

/// The [`InterfaceId`](SystemProperty::InterfaceId) of security messages, which the hub hands to Defender for IoT.
pub const SECURITY_INTERFACE: &str = "urn:azureiot:Security:SecurityAgent:1";

impl SystemProperty {
    /// Whether a device may set it on a message that it sends.
    pub(crate) fn is_settable(self) -> bool {
        use SystemProperty::{Ack, ConnectionDeviceId, ConnectionModuleId, ExpiryTime, To, UserId};
        !matches!(self, UserId | To | ExpiryTime | Ack | ConnectionDeviceId | ConnectionModuleId)
    }

    /// Whether it names something, so that an empty value would make no sense.
    pub(crate) fn is_name(self) -> bool {
        matches!(self, Self::InterfaceId | Self::OutputName | Self::ComponentName | Self::DiagnosticId)
    }

    /// The first character of the value that the property does not take.
    pub(crate) fn refused_character(self, value: &str) -> Option<char> {
        match self {
            Self::MessageId | Self::CorrelationId => {
                value.chars().find(|c| !(c.is_ascii_alphanumeric() || "-:.+%_#*?!(),=@;$'".contains(*c)))
            }
            Self::DiagnosticTime => value.chars().find(|c| !(c.is_ascii_digit() || *c == '.')),
            _ => unprintable(value),
        }
    }
}

/// The first character that is not printable ASCII.
pub(crate) fn unprintable(text: &str) -> Option<char> {
    text.chars().find(|c| !matches!(c, ' '..='~'))
}

impl fmt::Display for SystemProperty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MessageId => "message id",
            Self::CorrelationId => "correlation id",
            Self::ContentType => "content type",
            Self::ContentEncoding => "content encoding",
            Self::CreationTime => "creation time",
            Self::InterfaceId => "interface id",
            Self::OutputName => "output name",
            Self::ComponentName => "component name",
            Self::DiagnosticId => "diagnostic id",
            Self::DiagnosticTime => "diagnostic time",
            Self::UserId => "user id",
            Self::To => "to",
            Self::ExpiryTime => "expiry time",
            Self::Ack => "ack",
            Self::ConnectionDeviceId => "connection device id",
            Self::ConnectionModuleId => "connection module id",
        })
    }
}
