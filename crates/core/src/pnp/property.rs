//! One property of a twin.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{PropertyName, PropertyValueError};

/// A property of a twin.
#[doc(alias = "IOTHUB_CLIENT_PROPERTY_PARSED")]
#[doc(alias = "IoTHubClient_Properties_DeserializerProperty_Destroy")]
#[derive(Clone)]
pub struct TwinProperty<'a> {
    pub(super) component: Option<Cow<'a, str>>,
    pub(super) name: Cow<'a, str>,
    pub(super) value: &'a RawValue,
    pub(super) kind: PropertyKind,
}

/// Who wrote a property.
#[doc(alias = "IOTHUB_CLIENT_PROPERTY_TYPE")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PropertyKind {
    /// The back end, which waits for an acknowledgement: a desired property.
    #[doc(alias = "IOTHUB_CLIENT_PROPERTY_TYPE_WRITABLE")]
    Writable {
        /// The version of the desired properties.
        version: u64,
    },
    /// The device: this is what the hub has stored of its reports.
    #[doc(alias = "IOTHUB_CLIENT_PROPERTY_TYPE_REPORTED_FROM_CLIENT")]
    Reported,
}

impl<'a> TwinProperty<'a> {
    /// The component that it is part of; `None` for a property of the root.
    pub fn component(&self) -> Option<&str> {
        self.component.as_deref()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who wrote it.
    pub fn kind(&self) -> PropertyKind {
        self.kind
    }

    /// The value: JSON text, as the hub sent it.
    pub fn json(&self) -> &'a str {
        self.value.get()
    }

    /// Whether the value is `null`: the property is deleted.
    pub fn is_deleted(&self) -> bool {
        self.json() == "null"
    }

    /// Reads the value.
    ///
    /// # Errors
    ///
    /// [`PropertyValueError`] if the value is not a `T`.
    pub fn read<T: Deserialize<'a>>(&self) -> Result<T, PropertyValueError> {
        serde_json::from_str(self.json()).map_err(|error| PropertyValueError {
            property: PropertyName::from(self).to_string(),
            problem: error.to_string(),
        })
    }
}

// The value is the application's, and may be secret.
impl fmt::Debug for TwinProperty<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TwinProperty")
            .field("component", &self.component)
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("bytes", &self.json().len())
            .finish_non_exhaustive()
    }
}
