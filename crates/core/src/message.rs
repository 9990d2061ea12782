//! Messages: a payload, the application's properties, and the system's.

use std::fmt;

use bytes::Bytes;

use crate::limits;

/// A message to or from the hub.
///
/// A message owns what it holds; sending moves it into the client, and a failed delivery hands it back. Cloning is
/// cheap for the payload, which is reference-counted.
///
/// ```
/// use iothub_core::Message;
///
/// let message = Message::new(r#"{"temperature":21.5}"#)
///     .with_content_type("application/json")?
///     .with_content_encoding("utf-8")?
///     .with_property("room", "kitchen")?;
/// assert_eq!(message.property("room"), Some("kitchen"));
/// # Ok::<(), iothub_core::MessageError>(())
/// ```
#[doc(alias = "IOTHUB_MESSAGE_HANDLE")]
#[doc(alias = "IoTHubMessage_CreateFromByteArray")]
#[doc(alias = "IoTHubMessage_CreateFromString")]
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    payload: Bytes,
    /// In the order in which they were first set, names unique.
    properties: Vec<(String, String)>,
    /// In the order of [`SystemProperty`], names unique.
    system: Vec<(SystemProperty, String)>,
}

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
}

impl SystemProperty {
    /// Whether a device may set it on a message that it sends.
    fn is_settable(self) -> bool {
        !matches!(self, Self::UserId | Self::To | Self::ExpiryTime | Self::Ack)
    }
}

impl fmt::Display for SystemProperty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MessageId => "message id",
            Self::CorrelationId => "correlation id",
            Self::ContentType => "content type",
            Self::ContentEncoding => "content encoding",
            Self::CreationTime => "creation time",
            Self::UserId => "user id",
            Self::To => "to",
            Self::ExpiryTime => "expiry time",
            Self::Ack => "ack",
        })
    }
}

/// A property that a message cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The name of an application property is empty.
    #[error("a property needs a name, this one is empty")]
    EmptyName,
    /// The name of an application property is one of the hub's own.
    #[error("the property name {0:?} begins with `$.`, which is kept for system properties: choose another name")]
    ReservedName(String),
    /// The name of an application property has a character that not every transport can carry.
    #[error(
        "the property name {name:?} has the character {character:?}; only printable ASCII (0x20 to 0x7E) is allowed"
    )]
    NameCharacter {
        /// The name.
        name: String,
        /// The first such character.
        character: char,
    },
    /// The value of a property has a character that not every transport can carry.
    #[error(
        "the value of {property} has the character {character:?}; only printable ASCII (0x20 to 0x7E) is allowed: encode it, or put it into the payload"
    )]
    ValueCharacter {
        /// Which property.
        property: String,
        /// The first such character.
        character: char,
    },
    /// A message id or correlation id is too long.
    #[error("the {property} has {length} characters, the hub takes {limit}")]
    TooLong {
        /// Which of the two.
        property: SystemProperty,
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// Only the hub sets this one.
    #[error("the {0} is set by the hub and cannot be sent: use an application property")]
    ReceiveOnly(SystemProperty),
}

impl Message {
    /// A message with this payload and no properties. An empty payload is allowed.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), properties: Vec::new(), system: Vec::new() }
    }

    /// The payload.
    #[doc(alias = "IoTHubMessage_GetByteArray")]
    #[doc(alias = "IoTHubMessage_GetString")]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Adds an application property, or replaces its value in place.
    ///
    /// # Errors
    ///
    /// Name and value must be printable ASCII (0x20 to 0x7E, as in the C SDK); the name must not be empty nor begin
    /// with `$.`. The value may be empty.
    #[doc(alias = "IoTHubMessage_SetProperty")]
    pub fn with_property(mut self, name: impl Into<String>, value: impl Into<String>) -> Result<Self, MessageError> {
        let (name, value) = (name.into(), value.into());
        if name.is_empty() {
            return Err(MessageError::EmptyName);
        }
        if name.starts_with("$.") {
            return Err(MessageError::ReservedName(name));
        }
        if let Some(character) = unprintable(&name) {
            return Err(MessageError::NameCharacter { name, character });
        }
        if let Some(character) = unprintable(&value) {
            return Err(MessageError::ValueCharacter { property: format!("the property {name:?}"), character });
        }
        self.put_property(name, value);
        Ok(self)
    }

    /// Sets a system property, or replaces its value.
    ///
    /// # Errors
    ///
    /// The value must be printable ASCII; see [`SystemProperty`] for what each takes, and which are received only.
    pub fn with_system(mut self, property: SystemProperty, value: impl Into<String>) -> Result<Self, MessageError> {
        let value = value.into();
        if !property.is_settable() {
            return Err(MessageError::ReceiveOnly(property));
        }
        if let Some(character) = refused_character(property, &value) {
            return Err(MessageError::ValueCharacter { property: format!("the {property}"), character });
        }
        let is_id = matches!(property, SystemProperty::MessageId | SystemProperty::CorrelationId);
        if is_id && value.len() > limits::MAX_MESSAGE_ID {
            return Err(MessageError::TooLong { property, length: value.len(), limit: limits::MAX_MESSAGE_ID });
        }
        self.put_system(property, value);
        Ok(self)
    }

    /// Sets the message id: [`with_system`](Self::with_system) by name.
    pub fn with_message_id(self, id: impl Into<String>) -> Result<Self, MessageError> {
        self.with_system(SystemProperty::MessageId, id)
    }

    /// Sets the correlation id: [`with_system`](Self::with_system) by name.
    pub fn with_correlation_id(self, id: impl Into<String>) -> Result<Self, MessageError> {
        self.with_system(SystemProperty::CorrelationId, id)
    }

    /// Sets the content type: [`with_system`](Self::with_system) by name.
    pub fn with_content_type(self, mime: impl Into<String>) -> Result<Self, MessageError> {
        self.with_system(SystemProperty::ContentType, mime)
    }

    /// Sets the content encoding: [`with_system`](Self::with_system) by name.
    pub fn with_content_encoding(self, charset: impl Into<String>) -> Result<Self, MessageError> {
        self.with_system(SystemProperty::ContentEncoding, charset)
    }

    /// The value of an application property; names are case-sensitive.
    ///
    /// A received property without a value has the empty value.
    #[doc(alias = "IoTHubMessage_GetProperty")]
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The application properties, in the order in which they were first set or received.
    #[doc(alias = "IoTHubMessage_Properties")]
    pub fn properties(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.properties.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The value of a system property.
    pub fn system(&self, property: SystemProperty) -> Option<&str> {
        self.system.iter().find(|(p, _)| *p == property).map(|(_, v)| v.as_str())
    }

    /// The system properties that are set.
    pub fn system_properties(&self) -> impl ExactSizeIterator<Item = (SystemProperty, &str)> {
        self.system.iter().map(|(p, v)| (*p, v.as_str()))
    }

    /// The message id.
    #[doc(alias = "IoTHubMessage_GetMessageId")]
    pub fn message_id(&self) -> Option<&str> {
        self.system(SystemProperty::MessageId)
    }

    /// The correlation id.
    #[doc(alias = "IoTHubMessage_GetCorrelationId")]
    pub fn correlation_id(&self) -> Option<&str> {
        self.system(SystemProperty::CorrelationId)
    }

    /// The size in bytes by which the hub measures a message: the payload, the values of the system properties,
    /// and the names and values of the application properties.
    pub fn size(&self) -> usize {
        self.payload.len()
            + self.system.iter().map(|(_, v)| v.len()).sum::<usize>()
            + self.properties.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>()
    }

    /// Adds what a transport received, without the checks for what is sent: the hub has made its own.
    pub fn put_property(&mut self, name: String, value: String) {
        match self.properties.iter_mut().find(|(n, _)| *n == name) {
            Some((_, v)) => *v = value,
            None => self.properties.push((name, value)),
        }
    }

    /// Adds what a transport received, as [`put_property`](Self::put_property).
    pub fn put_system(&mut self, property: SystemProperty, value: String) {
        match self.system.binary_search_by_key(&property, |(p, _)| *p) {
            Ok(at) => self.system[at].1 = value,
            Err(at) => self.system.insert(at, (property, value)),
        }
    }
}

/// Prints sizes and names only: payloads and values are the application's, and may be secret.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("message_id", &self.message_id())
            .field("payload_bytes", &self.payload.len())
            .field("properties", &self.properties.len())
            .finish_non_exhaustive()
    }
}

impl<T: Into<Bytes>> From<T> for Message {
    fn from(payload: T) -> Self {
        Self::new(payload)
    }
}

/// The first character that is not printable ASCII.
fn unprintable(text: &str) -> Option<char> {
    text.chars().find(|c| !matches!(c, ' '..='~'))
}

/// The first character that the system property does not take.
fn refused_character(property: SystemProperty, value: &str) -> Option<char> {
    match property {
        SystemProperty::MessageId | SystemProperty::CorrelationId => {
            value.chars().find(|c| !(c.is_ascii_alphanumeric() || "-:.+%_#*?!(),=@;$'".contains(*c)))
        }
        _ => unprintable(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_set_again_keeps_its_place() {
        let message = Message::new("x").with_property("a", "1").and_then(|m| m.with_property("b", "2"));
        let message = message.and_then(|m| m.with_property("a", "3")).unwrap();
        assert_eq!(message.properties().collect::<Vec<_>>(), [("a", "3"), ("b", "2")]);
    }

    #[test]
    fn names_are_checked() {
        let with = |name: &str| Message::new("x").with_property(name, "v").unwrap_err();
        assert_eq!(with(""), MessageError::EmptyName);
        assert_eq!(with("$.mid"), MessageError::ReservedName("$.mid".into()));
        assert_eq!(with("a\nb"), MessageError::NameCharacter { name: "a\nb".into(), character: '\n' });
        assert!(with("größe").to_string().contains('ö'));
        assert!(Message::new("x").with_property("$iothub & = #", "").is_ok());
    }

    #[test]
    fn values_are_checked() {
        let error = Message::new("x").with_property("p", "é").unwrap_err();
        assert_eq!(error, MessageError::ValueCharacter { property: "the property \"p\"".into(), character: 'é' });
        let error = Message::new("x").with_content_type("a\r\nb").unwrap_err();
        assert_eq!(error, MessageError::ValueCharacter { property: "the content type".into(), character: '\r' });
        assert!(Message::new("x").with_message_id("a b").is_err());
        let error = Message::new("x").with_correlation_id("c".repeat(129)).unwrap_err();
        assert_eq!(error, MessageError::TooLong { property: SystemProperty::CorrelationId, length: 129, limit: 128 });
        assert!(Message::new("x").with_correlation_id("c".repeat(128)).is_ok());
    }

    #[test]
    fn what_the_hub_sets_cannot_be_sent() {
        let error = Message::new("x").with_system(SystemProperty::UserId, "u").unwrap_err();
        assert_eq!(error, MessageError::ReceiveOnly(SystemProperty::UserId));
    }

    #[test]
    fn the_size_counts_payload_property_names_and_values() {
        let message = Message::new("12345").with_message_id("1234567").and_then(|m| m.with_property("ab", "cde"));
        assert_eq!(message.unwrap().size(), 5 + 7 + 2 + 3);
    }

    #[test]
    fn debug_shows_no_payload_and_no_values() {
        let message = Message::new("geheim").with_property("name", "wert").unwrap();
        let text = format!("{message:?}");
        assert!(!text.contains("geheim") && !text.contains("wert"), "{text}");
    }
}
