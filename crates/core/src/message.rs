//! Messages: a payload, the application's properties, and the system's.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::limits;
use crate::system_property::{SECURITY_INTERFACE, SystemProperty, unprintable};
use crate::timestamp::Timestamp;

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
    /// A system property that names something is empty.
    #[error("the {0} is empty: give it a value, or leave it out")]
    Empty(SystemProperty),
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
        Self::check_system(property, &value)?;
        self.put_system(property, value);
        Ok(self)
    }

    /// Whether a message that is sent can have this value.
    pub(crate) fn check_system(property: SystemProperty, value: &str) -> Result<(), MessageError> {
        if !property.is_settable() {
            return Err(MessageError::ReceiveOnly(property));
        }
        if value.is_empty() && property.is_name() {
            return Err(MessageError::Empty(property));
        }
        if let Some(character) = property.refused_character(value) {
            return Err(MessageError::ValueCharacter { property: format!("the {property}"), character });
        }
        let is_id = matches!(property, SystemProperty::MessageId | SystemProperty::CorrelationId);
        if is_id && value.len() > limits::MAX_MESSAGE_ID {
            return Err(MessageError::TooLong { property, length: value.len(), limit: limits::MAX_MESSAGE_ID });
        }
        Ok(())
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

    /// Sets the time at which the message was made: [`with_system`](Self::with_system) with the text that the hub uses.
    #[must_use]
    pub fn with_creation_time(mut self, time: SystemTime) -> Self {
        self.put_system(SystemProperty::CreationTime, Timestamp(time).to_string());
        self
    }

    /// Sets the component of a Plug and Play model that the message is from: [`with_system`](Self::with_system) by name.
    pub fn with_component_name(self, component: impl Into<String>) -> Result<Self, MessageError> {
        self.with_system(SystemProperty::ComponentName, component)
    }

    /// Sets the output of a module that the message leaves by: [`with_system`](Self::with_system) by name. A device's
    /// client refuses it.
    pub fn with_output_name(self, output: impl Into<String>) -> Result<Self, MessageError> {
        self.with_system(SystemProperty::OutputName, output)
    }

    /// Marks the message for tracing on its way through the hub: the trace's id, and when it began (whole seconds).
    #[doc(alias = "IOTHUB_MESSAGE_DIAGNOSTIC_PROPERTY_DATA")]
    pub fn with_diagnostics(self, id: impl Into<String>, since: SystemTime) -> Result<Self, MessageError> {
        let seconds = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.with_system(SystemProperty::DiagnosticId, id)?
            .with_system(SystemProperty::DiagnosticTime, seconds.to_string())
    }

    /// Makes it a security message, which the hub hands to Defender for IoT instead of the application's back end. Its
    /// payload is JSON; a content type that was not set becomes `application/json`. (The C SDK overwrites the content
    /// *encoding* with that.)
    #[doc(alias = "IoTHubMessage_SetAsSecurityMessage")]
    #[must_use]
    pub fn as_security_message(mut self) -> Self {
        self.put_system(SystemProperty::InterfaceId, SECURITY_INTERFACE.to_owned());
        if self.system(SystemProperty::ContentType).is_none() {
            self.put_system(SystemProperty::ContentType, "application/json".to_owned());
        }
        self
    }

    /// Whether it is a security message.
    #[doc(alias = "IoTHubMessage_IsSecurityMessage")]
    pub fn is_security_message(&self) -> bool {
        self.system(SystemProperty::InterfaceId) == Some(SECURITY_INTERFACE)
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

    /// Takes a system property away; gives its value back.
    pub(crate) fn take_system(&mut self, property: SystemProperty) -> Option<String> {
        let at = self.system.binary_search_by_key(&property, |(p, _)| *p).ok()?;
        Some(self.system.remove(at).1)
    }

    /// Takes away what only the hub sets, so that a received message can be sent on.
    pub(crate) fn forget_how_it_came(&mut self) {
        self.system.retain(|(property, _)| property.is_settable());
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
