//! Error conditions by their names on the wire (docs/hub-over-amqp.md 5).

use fe2o3_amqp_types::definitions::{Error, ErrorCondition};
use serde_amqp::primitives::Symbol;

pub(super) const UNAUTHORIZED: &str = "amqp:unauthorized-access";
pub(super) const NOT_FOUND: &str = "amqp:not-found";
pub(super) const NOT_ALLOWED: &str = "amqp:not-allowed";
pub(super) const NOT_IMPLEMENTED: &str = "amqp:not-implemented";
pub(super) const DECODE_ERROR: &str = "amqp:decode-error";
pub(super) const INVALID_FIELD: &str = "amqp:invalid-field";
pub(super) const RESOURCE_LIMIT: &str = "amqp:resource-limit-exceeded";
pub(super) const CONNECTION_FORCED: &str = "amqp:connection:forced";
pub(super) const FRAMING_ERROR: &str = "amqp:connection:framing-error";
pub(super) const WINDOW_VIOLATION: &str = "amqp:session:window-violation";
pub(super) const HANDLE_IN_USE: &str = "amqp:session:handle-in-use";
pub(super) const UNATTACHED_HANDLE: &str = "amqp:session:unattached-handle";
pub(super) const STOLEN: &str = "amqp:link:stolen";
pub(super) const DETACH_FORCED: &str = "amqp:link:detach-forced";
pub(super) const REDIRECT: &str = "amqp:link:redirect";
pub(super) const TRANSFER_LIMIT: &str = "amqp:link:transfer-limit-exceeded";
pub(super) const MESSAGE_SIZE: &str = "amqp:link:message-size-exceeded";
pub(super) const THROTTLED: &str = "com.microsoft:device-container-throttled";
pub(super) const ARGUMENT_ERROR: &str = "com.microsoft:argument-error";
pub(super) const LOCK_LOST: &str = "com.microsoft:message-lock-lost";

/// An error to be sent.
pub(super) fn error(condition: &str, description: impl Into<String>) -> Error {
    Error::new(ErrorCondition::Custom(Symbol::from(condition)), Some(description.into()), None)
}
