//! Why something ended or was refused: conditions on the wire to typed reasons.

use fe2o3_amqp::connection;
use fe2o3_amqp::connection::{ConnectionStopReason, OpenError};
use fe2o3_amqp::link::SessionStopReason;
use fe2o3_amqp::link::{
    DetachError, IllegalLinkStateError, LinkStateError, ReceiverAttachError, RecvError, SendError, SenderAttachError,
};
use fe2o3_amqp::session;
use fe2o3_amqp_types::definitions::{Error, ErrorCondition};
use iothub_core::{ConnectionErrorKind, OpError};
use serde_amqp::primitives::Symbol;

/// Why a link or session is no more, as far as it can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The hub said why.
    Hub(Error),
    /// The hub ended the session, and said why. That is no word about a link.
    Session(Error),
    /// The hub ended it and said nothing.
    Silent,
    /// What it was part of ended first.
    WithItsParent,
    /// The hub did something that the protocol does not allow.
    Protocol(String),
}

pub(crate) fn condition(error: &Error) -> String {
    let symbol = serde_amqp::to_vec(&error.condition).and_then(|bytes| serde_amqp::from_slice::<Symbol>(&bytes));
    symbol.map_or_else(|_| "an unreadable condition".to_owned(), |symbol| symbol.as_str().to_owned())
}

/// The hub's words, in one line.
pub(crate) fn words(error: &Error) -> String {
    match error.description.as_deref() {
        None | Some("") => condition(error),
        Some(description) => format!("{}: {description}", condition(error)),
    }
}

/// The credentials are refused, or what they are for is unknown or forbidden.
pub(crate) fn is_refusal(error: &Error) -> bool {
    matches!(
        condition(error).as_str(),
        "amqp:unauthorized-access" | "amqp:not-found" | "amqp:not-allowed" | "amqp:not-implemented"
    )
}

/// What an error of the hub means for a connection, or for one device's part of it.
pub(crate) fn of_hub(error: &Error) -> ConnectionErrorKind {
    match condition(error).as_str() {
        "amqp:unauthorized-access" | "amqp:not-found" => ConnectionErrorKind::NotAuthorized,
        condition => ConnectionErrorKind::EndedByHub {
            condition: condition.to_owned(),
            detail: error.description.clone().unwrap_or_default(),
        },
    }
}

/// What a rejected transfer means for its messages.
///
/// A batch that is rejected for something that one of its messages can be at fault for says nothing about the others.
pub(crate) fn of_rejection(error: Option<&Error>, is_batch: bool) -> OpError {
    let Some(error) = error else {
        let words = "without a reason".to_owned();
        return if is_batch { OpError::BatchRejected(words) } else { OpError::Rejected(words) };
    };
    let words = words(error);
    match condition(error).as_str() {
        // The hub has no room, no time or no quota left for this device, or is not well.
        "amqp:resource-limit-exceeded"
        | "amqp:resource-locked"
        | "amqp:internal-error"
        | "amqp:connection:forced"
        | "amqp:link:detach-forced"
        | "com.microsoft:timeout"
        | "com.microsoft:device-container-throttled"
        | "com.microsoft:quota-exceeded" => OpError::NotNow(words),
        // About the device or the hub, whatever the message.
        "amqp:unauthorized-access"
        | "amqp:not-found"
        | "com.microsoft:iot-hub-suspended"
        | "com.microsoft:iot-hub-not-found-error" => OpError::Rejected(words),
        _ if is_batch => OpError::BatchRejected(words),
        _ => OpError::Rejected(words),
    }
}

impl Reason {
    /// What it means for the device; `None` if the connection's own end says it.
    pub(crate) fn kind(&self) -> Option<ConnectionErrorKind> {
        Some(match self {
            Self::Hub(error) | Self::Session(error) => of_hub(error),
            Self::Silent => ConnectionErrorKind::ClosedByPeer,
            Self::WithItsParent => return None,
            Self::Protocol(detail) => ConnectionErrorKind::Protocol { detail: detail.clone() },
        })
    }
}

impl From<SessionStopReason> for Reason {
    fn from(reason: SessionStopReason) -> Self {
        match reason {
            SessionStopReason::RemoteEndedWithError(error) => Self::Session(error),
            SessionStopReason::RemoteEnded => Self::Silent,
            SessionStopReason::ConnectionStopped(ConnectionStopReason::RemoteClosedWithError(_)) => Self::WithItsParent,
            SessionStopReason::EndedWithError(error) => Self::Protocol(words(&error)),
            _ => Self::WithItsParent,
        }
    }
}

impl From<session::Error> for Reason {
    fn from(error: session::Error) -> Self {
        match error {
            session::Error::RemoteEndedWithError(error) => Self::Session(error),
            session::Error::RemoteEnded => Self::Silent,
            // A session that only its connection ended says this too.
            _ => Self::WithItsParent,
        }
    }
}

impl From<DetachError> for Reason {
    fn from(error: DetachError) -> Self {
        match error {
            DetachError::RemoteClosedWithError(error) | DetachError::RemoteDetachedWithError(error) => Self::Hub(error),
            DetachError::SessionStopped(reason) => reason.into(),
            DetachError::ClosedByRemote => Self::Silent,
            _ => Self::Silent,
        }
    }
}

impl From<LinkStateError> for Reason {
    fn from(error: LinkStateError) -> Self {
        match error {
            LinkStateError::RemoteClosedWithError(error) | LinkStateError::RemoteDetachedWithError(error) => {
                Self::Hub(error)
            }
            LinkStateError::SessionStopped(reason) => reason.into(),
            LinkStateError::RemoteClosed | LinkStateError::RemoteDetached => Self::Silent,
            other => Self::Protocol(other.to_string()),
        }
    }
}

impl From<IllegalLinkStateError> for Reason {
    fn from(error: IllegalLinkStateError) -> Self {
        LinkStateError::from(error).into()
    }
}

impl From<RecvError> for Reason {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::LinkStateError(error) => error.into(),
            other => Self::Protocol(other.to_string()),
        }
    }
}

impl From<SendError> for Reason {
    fn from(error: SendError) -> Self {
        match error {
            SendError::LinkStateError(error) => error.into(),
            SendError::Detached(error) => error.into(),
            other => Self::Protocol(other.to_string()),
        }
    }
}

impl From<SenderAttachError> for Reason {
    fn from(error: SenderAttachError) -> Self {
        match error {
            SenderAttachError::RemoteClosedWithError(error) => Self::Hub(error),
            SenderAttachError::SessionStopped(reason) => reason.into(),
            other => Self::Protocol(other.to_string()),
        }
    }
}

impl From<ReceiverAttachError> for Reason {
    fn from(error: ReceiverAttachError) -> Self {
        match error {
            ReceiverAttachError::RemoteClosedWithError(error) => Self::Hub(error),
            ReceiverAttachError::SessionStopped(reason) => reason.into(),
            other => Self::Protocol(other.to_string()),
        }
    }
}

impl From<session::BeginError> for Reason {
    fn from(error: session::BeginError) -> Self {
        match error {
            session::BeginError::RemoteEndedWithError(error) => Self::Session(error),
            session::BeginError::RemoteEnded => Self::Silent,
            session::BeginError::ConnectionStopped(_) => Self::WithItsParent,
            other => Self::Protocol(other.to_string()),
        }
    }
}

/// Why a connection did not open. What the stream says of its end goes before what the protocol makes of it.
pub(crate) fn of_open(error: &OpenError, stream: Option<ConnectionErrorKind>) -> ConnectionErrorKind {
    match error {
        OpenError::RemoteClosedWithError(error) => of_hub(error),
        OpenError::ProtocolHeaderMismatch(_) => ConnectionErrorKind::ProtocolVersionRefused,
        other => stream.unwrap_or_else(|| match other {
            OpenError::RemoteClosed => ConnectionErrorKind::ClosedByPeer,
            other => ConnectionErrorKind::Protocol { detail: other.to_string() },
        }),
    }
}

/// Why a connection ended.
pub(crate) fn of_close(
    result: &Result<(), connection::Error>,
    stream: Option<ConnectionErrorKind>,
) -> ConnectionErrorKind {
    match result {
        Err(connection::Error::RemoteClosedWithError(error)) => of_hub(error),
        Ok(()) | Err(connection::Error::RemoteClosed) => ConnectionErrorKind::ClosedByPeer,
        Err(other) => stream.unwrap_or_else(|| ConnectionErrorKind::Protocol { detail: other.to_string() }),
    }
}

/// An error condition that the application's rejection of a message carries.
pub(crate) fn rejected_by_application() -> Error {
    Error::new(
        ErrorCondition::Custom(Symbol::from("amqp:not-allowed")),
        Some("rejected by the application".to_owned()),
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(condition: &'static str, is_batch: bool) -> OpError {
        let error = Error::new(ErrorCondition::Custom(Symbol::from(condition)), Some("why".to_owned()), None);
        // As it comes from the wire, where the conditions of the specification are told from others.
        let error = serde_amqp::from_slice(&serde_amqp::to_vec(&error).unwrap()).unwrap();
        of_rejection(Some(&error), is_batch)
    }

    #[test]
    fn a_rejection_says_whether_to_try_again_and_a_batch_hides_no_message_behind_another() {
        let later = ["amqp:resource-limit-exceeded", "amqp:internal-error", "com.microsoft:device-container-throttled"];
        for condition in later.into_iter().chain(["com.microsoft:quota-exceeded", "com.microsoft:timeout"]) {
            for is_batch in [false, true] {
                assert_eq!(rejected(condition, is_batch), OpError::NotNow(format!("{condition}: why")));
            }
        }
        for condition in ["amqp:unauthorized-access", "amqp:not-found", "com.microsoft:iot-hub-suspended"] {
            for is_batch in [false, true] {
                assert_eq!(rejected(condition, is_batch), OpError::Rejected(format!("{condition}: why")));
            }
        }
        let of_one =
            ["amqp:link:message-size-exceeded", "amqp:not-allowed", "amqp:decode-error", "amqp:not-implemented"];
        for condition in of_one.into_iter().chain(["com.microsoft:argument-error", "new:condition"]) {
            assert_eq!(rejected(condition, false), OpError::Rejected(format!("{condition}: why")));
            assert_eq!(rejected(condition, true), OpError::BatchRejected(format!("{condition}: why")));
        }
        assert_eq!(of_rejection(None, true), OpError::BatchRejected("without a reason".to_owned()));
    }

    #[test]
    fn the_end_of_a_session_is_no_word_of_the_hub_about_a_link_on_it() {
        let error = Error::new(ErrorCondition::Custom(Symbol::from("amqp:not-found")), None, None);
        let session = || SessionStopReason::RemoteEndedWithError(error.clone());
        let reasons: [Reason; 6] = [
            session::Error::RemoteEndedWithError(error.clone()).into(),
            session::BeginError::RemoteEndedWithError(error.clone()).into(),
            DetachError::SessionStopped(session()).into(),
            LinkStateError::SessionStopped(session()).into(),
            SenderAttachError::SessionStopped(session()).into(),
            ReceiverAttachError::SessionStopped(session()).into(),
        ];
        assert_eq!(reasons, std::array::from_fn(|_| Reason::Session(error.clone())));
        assert_eq!(Reason::from(DetachError::RemoteClosedWithError(error.clone())), Reason::Hub(error));
    }

    fn ended(condition: &'static str) -> ConnectionErrorKind {
        let error = Error::new(ErrorCondition::Custom(Symbol::from(condition)), Some("why".to_owned()), None);
        of_hub(&serde_amqp::from_slice(&serde_amqp::to_vec(&error).unwrap()).unwrap())
    }

    #[test]
    fn each_condition_by_which_the_hub_ends_something_is_told_by_its_name_and_tried_again_or_not() {
        // What other credentials, or another entry at the hub, may change: the C SDK's bad credential.
        for condition in ["amqp:unauthorized-access", "amqp:not-found"] {
            assert_eq!(ended(condition), ConnectionErrorKind::NotAuthorized, "{condition}");
        }
        for condition in [
            "amqp:not-allowed",
            "amqp:not-implemented",
            "amqp:internal-error",
            "amqp:resource-limit-exceeded",
            "amqp:resource-locked",
            "amqp:resource-deleted",
            "amqp:decode-error",
            "amqp:invalid-field",
            "amqp:illegal-state",
            "amqp:precondition-failed",
            "amqp:frame-size-too-small",
            "amqp:connection:forced",
            "amqp:connection:framing-error",
            "amqp:connection:redirect",
            "amqp:session:window-violation",
            "amqp:session:errant-link",
            "amqp:session:handle-in-use",
            "amqp:session:unattached-handle",
            "amqp:link:detach-forced",
            "amqp:link:stolen",
            "amqp:link:redirect",
            "amqp:link:message-size-exceeded",
            "amqp:link:transfer-limit-exceeded",
            "com.microsoft:timeout",
            "com.microsoft:message-lock-lost",
            "com.microsoft:device-container-throttled",
            "com.microsoft:iot-hub-suspended",
            "com.microsoft:iot-hub-not-found-error",
            "com.microsoft:argument-error",
            "com.microsoft:quota-exceeded",
        ] {
            let told = ConnectionErrorKind::EndedByHub { condition: condition.to_owned(), detail: "why".to_owned() };
            assert_eq!(ended(condition), told, "{condition}");
            let is_pointless = ["amqp:not-implemented", "com.microsoft:iot-hub-not-found-error"].contains(&condition);
            assert_eq!(told.is_terminal(), is_pointless, "{condition}");
        }
    }
}
