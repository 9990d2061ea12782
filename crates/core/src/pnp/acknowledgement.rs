//! The answer of a device to a writable property.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a device reports of a writable property: the value that it has now, and what became of the one that was asked
/// for.
///
/// [`ReportedProperties::acknowledge`](crate::ReportedProperties::acknowledge) makes one that confirms the value. Make it
/// yourself to tell another one: the value was limited, or nobody asked and the device starts with a value of its own
/// (status 203 and version 0 by convention).
///
/// ```
/// use iothub_core::{Acknowledgement, ReportedProperties};
///
/// let mut report = ReportedProperties::new();
/// report.set("targetTemperature", Acknowledgement::new(21.5, 203, 0).with_description("as delivered"))?;
/// assert_eq!(
///     report.into_json(),
///     r#"{"targetTemperature":{"value":21.5,"ac":203,"av":0,"ad":"as delivered"}}"#
/// );
/// # Ok::<(), iothub_core::PropertyError>(())
/// ```
///
/// It can be read too, from the reported properties of a whole twin: what the device acknowledged before it restarted.
#[doc(alias = "IOTHUB_CLIENT_PROPERTY_WRITABLE_RESPONSE")]
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Acknowledgement<T> {
    /// The value that the property has on the device.
    pub value: T,
    /// `ac`: how it went, as in HTTP: 200 done, 202 under way, 400 not a possible value, 500 failed.
    #[serde(rename = "ac")]
    pub status: i32,
    /// `av`: the version of the desired properties that is answered.
    #[serde(rename = "av")]
    pub version: u64,
    /// `ad`: more for people.
    #[serde(rename = "ad", default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl<T> Acknowledgement<T> {
    /// An acknowledgement without a description.
    pub fn new(value: T, status: i32, version: u64) -> Self {
        Self { value, status, version, description: None }
    }

    /// Adds a description; an empty one is none.
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into()).filter(|text| !text.is_empty());
        self
    }
}

// Properties are the application's, and may be secret.
impl<T> fmt::Debug for Acknowledgement<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acknowledgement")
            .field("status", &self.status)
            .field("version", &self.version)
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}
