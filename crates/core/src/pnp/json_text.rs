//! A value that is JSON text already.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::PropertyError;
use crate::json;

/// A value that the application has as JSON text, to be reported as it is: `21.50` stays `21.50`.
///
/// ```
/// use iothub_core::{JsonText, ReportedProperties};
///
/// let mut report = ReportedProperties::new();
/// report.set("total", JsonText::new("18446744073709551616.10")?)?;
/// assert_eq!(report.into_json(), r#"{"total":18446744073709551616.10}"#);
/// # Ok::<(), iothub_core::PropertyError>(())
/// ```
#[derive(Clone, Copy)]
pub struct JsonText<'a>(&'a RawValue);

impl<'a> JsonText<'a> {
    /// Takes a text that is one JSON value.
    ///
    /// # Errors
    ///
    /// [`PropertyError::NotJson`].
    pub fn new(text: &'a str) -> Result<Self, PropertyError> {
        json::read(text.as_bytes()).map(Self).map_err(PropertyError::NotJson)
    }
}

impl Serialize for JsonText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

// Properties are the application's, and may be secret.
impl fmt::Debug for JsonText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonText").field("bytes", &self.0.get().len()).finish_non_exhaustive()
    }
}
