//! A message as the service sends it: cloud-to-device, or to an input of a module.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::hub::registry::Identity;
use crate::who::Who;

/// Which outcomes of a cloud-to-device message the service hears about (`iothub-ack`, docs/hub-over-mqtt.md 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeedbackMode {
    /// None; on the wire `none`.
    None,
    /// Only that the device completed it.
    Positive,
    /// Only that it did not: expired, delivered too often, rejected or purged.
    Negative,
    /// Either.
    Full,
}

impl FeedbackMode {
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Positive => "positive",
            Self::Negative => "negative",
            Self::Full => "full",
        }
    }
}

/// When a message stops being deliverable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// So long after it was enqueued.
    After(Duration),
    /// At this moment of the hub's clock.
    At(SystemTime),
}

/// A cloud-to-device message, or one to an input of a module ([`Hub::send_input`](crate::Hub::send_input)). Without a time to live it expires after one hour (docs/hub-over-mqtt.md 3), to an input after two (6).
///
/// ```
/// use iothub_emulator::{C2dMessage, FeedbackMode};
/// let message = C2dMessage::new("open the window")
///     .message_id("m-1")
///     .property("floor", "3")
///     .property("urgent", None)
///     .ack(FeedbackMode::Full);
/// # let _ = message;
/// ```
#[derive(Clone, Debug, Default)]
pub struct C2dMessage {
    pub(crate) body: Bytes,
    pub(crate) message_id: Option<String>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) properties: Vec<(String, Option<String>)>,
    pub(crate) ack: Option<FeedbackMode>,
    pub(crate) expiry: Option<Expiry>,
    /// The input that it is for.
    pub(crate) input: Option<String>,
    /// Who sent it to an input.
    pub(crate) sender: Option<Identity>,
    /// Further system properties that a route passes on, by the names of records.
    pub(crate) passed_on: Vec<(&'static str, String)>,
}

/// What [`C2dMessage::property`] takes as a value: text (which may be empty), or `None` for a property without one.
pub trait IntoPropertyValue {
    /// The value, or `None` for a null one.
    fn into_property_value(self) -> Option<String>;
}

impl IntoPropertyValue for &str {
    fn into_property_value(self) -> Option<String> {
        Some(self.to_owned())
    }
}

impl IntoPropertyValue for String {
    fn into_property_value(self) -> Option<String> {
        Some(self)
    }
}

// Only `Option<&str>`: a second `Option` would make a bare `None` ambiguous.
impl IntoPropertyValue for Option<&str> {
    fn into_property_value(self) -> Option<String> {
        self.map(str::to_owned)
    }
}

impl C2dMessage {
    /// A message with this body; at most 64 KiB together with its properties, to an input 256 KiB.
    #[must_use]
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// The message id; the hub makes one if there is none.
    #[must_use]
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        self.message_id = Some(id.into());
        self
    }

    /// The correlation id.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// The user id.
    #[must_use]
    pub fn user_id(mut self, id: impl Into<String>) -> Self {
        self.user_id = Some(id.into());
        self
    }

    /// The content type of the body, such as `application/json`.
    #[must_use]
    pub fn content_type(mut self, text: impl Into<String>) -> Self {
        self.content_type = Some(text.into());
        self
    }

    /// The content encoding of the body, such as `utf-8`.
    #[must_use]
    pub fn content_encoding(mut self, text: impl Into<String>) -> Self {
        self.content_encoding = Some(text.into());
        self
    }

    /// Adds an application property: text, empty text, or `None` for a name without a value.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl IntoPropertyValue) -> Self {
        self.properties.push((name.into(), value.into_property_value()));
        self
    }

    /// Which outcomes to report. Unset is as `None`, but nothing is written on the wire.
    #[must_use]
    pub fn ack(mut self, mode: FeedbackMode) -> Self {
        self.ack = Some(mode);
        self
    }

    /// Expires so long after it is enqueued. Replaces [`expiry`](Self::expiry).
    #[must_use]
    pub fn ttl(mut self, after: Duration) -> Self {
        self.expiry = Some(Expiry::After(after));
        self
    }

    /// Expires at this moment of the hub's clock. Replaces [`ttl`](Self::ttl).
    #[must_use]
    pub fn expiry(mut self, at: SystemTime) -> Self {
        self.expiry = Some(Expiry::At(at));
        self
    }

    /// Who seems to have sent it to an input: `%24.cdid` and `%24.cmid` in the bag (docs/hub-over-mqtt.md 6). Only for input messages.
    #[must_use]
    pub fn sender<'a>(mut self, who: impl Into<Who<'a>>) -> Self {
        self.sender = Some(who.into().into());
        self
    }

    /// Body, property names and values, as the hub counts them (docs/hub-over-mqtt.md 2.4).
    pub(crate) fn size(&self) -> usize {
        let system =
            [&self.message_id, &self.correlation_id, &self.user_id, &self.content_type, &self.content_encoding];
        self.body.len()
            + system.iter().filter_map(|value| value.as_ref()).map(String::len).sum::<usize>()
            + self
                .properties
                .iter()
                .map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len))
                .sum::<usize>()
            + self.passed_on.iter().map(|(_, value)| value.len()).sum::<usize>()
    }
}
