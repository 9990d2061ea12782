//! The device twin as the application sees it: the whole, changes of the desired properties, and what can go wrong.
//!
//! Twins travel as JSON text; nothing is reformatted on the way.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::json;
use crate::limits::MAX_TWIN_SECTION;

/// A whole twin: `{"desired":{..,"$version":n},"reported":{..,"$version":m}}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Twin {
    json: Bytes,
    desired_version: u64,
}

/// A change of the desired properties: the changed members, `null` for a deleted one, and `$version`.
#[derive(Clone, PartialEq, Eq)]
pub struct DesiredPatch {
    json: Bytes,
    version: u64,
}

/// What a twin subscription delivers.
///
/// First comes the whole twin, then each change in order. After a reconnect, or when changes were missed, the whole comes
/// again. A change that the whole contained already is not delivered.
#[doc(alias = "DEVICE_TWIN_UPDATE_STATE")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TwinUpdate {
    /// The whole twin.
    #[doc(alias = "DEVICE_TWIN_UPDATE_COMPLETE")]
    Full(Twin),
    /// A change of the desired properties.
    #[doc(alias = "DEVICE_TWIN_UPDATE_PARTIAL")]
    Patch(DesiredPatch),
}

/// The hub has stored a patch of the reported properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reported {
    /// The new version of the reported properties, if the hub told it (an Edge gateway does not).
    pub version: Option<u64>,
}

/// A twin request that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TwinError {
    /// The hub refused it.
    #[error("the hub answered {status}{}{detail}", if detail.is_empty() { "" } else { ": " })]
    Status {
        /// As in HTTP: 400 for a patch that is not allowed, 404, 429 when throttled, 5xx.
        status: u16,
        /// What the hub said.
        detail: String,
    },
    /// The transport cannot do it.
    #[error("{0}")]
    Rejected(String),
    /// The hub did not answer in time. It may have done what it was asked to.
    #[error("the hub did not answer within {} s", after.as_secs())]
    TimedOut {
        /// How long the client waited.
        after: Duration,
    },
    /// The hub's answer is not a twin.
    #[error("the hub's answer is not a twin: {0}")]
    Malformed(String),
    /// The client was closed first.
    #[error("the client was closed before the hub answered")]
    Destroyed,
}

impl TwinUpdate {
    /// The text, as the hub sent it.
    pub fn json(&self) -> &Bytes {
        match self {
            Self::Full(twin) => twin.json(),
            Self::Patch(patch) => patch.json(),
        }
    }
}

impl Twin {
    /// The text, as the hub sent it.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The version of the desired properties.
    pub fn desired_version(&self) -> u64 {
        self.desired_version
    }

    pub(crate) fn parse(text: Bytes) -> Result<Self, TwinError> {
        #[derive(Deserialize)]
        struct Document<'a> {
            #[serde(borrow)]
            desired: &'a RawValue,
        }
        let document: Document<'_> = json::read_object(&text).map_err(TwinError::Malformed)?;
        let desired: Versioned = json::read_object(document.desired.get().as_bytes()).map_err(TwinError::Malformed)?;
        Ok(Self { desired_version: desired.version, json: text })
    }
}

impl DesiredPatch {
    /// The text, as the hub sent it.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The version of the desired properties after this change.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn parse(text: Bytes) -> Result<Self, TwinError> {
        let document: Versioned = json::read_object(&text).map_err(TwinError::Malformed)?;
        Ok(Self { json: text, version: document.version })
    }
}

#[derive(Deserialize)]
struct Versioned {
    #[serde(rename = "$version")]
    version: u64,
}

// The properties are the application's, and may be secret.
impl fmt::Debug for Twin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Twin")
            .field("bytes", &self.json.len())
            .field("desired_version", &self.desired_version)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for DesiredPatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DesiredPatch")
            .field("bytes", &self.json.len())
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// A patch that the client does not send, because the hub would not take it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// It is not a JSON object.
    #[error("the reported properties are not a JSON object: {0}")]
    NotAnObject(String),
    /// It is too large.
    #[error("the reported properties have {size} bytes, the hub takes {limit}: send less at a time")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
}

/// Whether a patch of the reported properties may be sent.
pub(crate) fn check_patch(text: &[u8]) -> Result<(), PatchError> {
    if text.len() > MAX_TWIN_SECTION {
        return Err(PatchError::TooLarge { size: text.len(), limit: MAX_TWIN_SECTION });
    }
    json::read::<HashMap<String, IgnoredAny>>(text).map(drop).map_err(PatchError::NotAnObject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_the_text_is_kept() {
        let json = Bytes::from_static(br#"{"desired":{"a":1.50,"$version":7},"reported":{"$version":2}}"#);
        let twin = Twin::parse(json.clone()).unwrap();
        assert_eq!((twin.desired_version(), twin.json()), (7, &json));
        let json = Bytes::from_static(br#"{"a":null,"$version":8}"#);
        assert_eq!(DesiredPatch::parse(json).unwrap().version(), 8);
    }

    #[test]
    fn an_answer_that_is_no_twin_is_malformed() {
        for text in ["", "null", "[]", r#"{"errorCode":400}"#, r#"{"desired":{}}"#, r#"{"desired":{"$version":-1}}"#] {
            assert!(matches!(Twin::parse(Bytes::from(text)), Err(TwinError::Malformed(_))), "{text}");
            assert!(matches!(DesiredPatch::parse(Bytes::from(text)), Err(TwinError::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn an_array_of_the_same_values_is_no_twin_and_no_change() {
        for text in [r#"{"desired":[7]}"#, "[[7]]", r#"[{"$version":7}]"#] {
            assert!(matches!(Twin::parse(Bytes::from(text)), Err(TwinError::Malformed(_))), "{text}");
        }
        assert!(matches!(DesiredPatch::parse(Bytes::from("[7]")), Err(TwinError::Malformed(_))));
    }

    #[test]
    fn only_json_objects_of_the_hubs_size_are_reported() {
        assert_eq!(check_patch(br#" {"a":{"b":[1,null]}} "#), Ok(()));
        for text in ["", "1", "[1]", "{", "{'a':1}", "{\"a\":1}x"] {
            assert!(matches!(check_patch(text.as_bytes()), Err(PatchError::NotAnObject(_))), "{text}");
        }
        let of = |size: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(size - 8));
        assert_eq!(check_patch(of(MAX_TWIN_SECTION).as_bytes()), Ok(()));
        assert!(matches!(check_patch(of(MAX_TWIN_SECTION + 1).as_bytes()), Err(PatchError::TooLarge { .. })));
    }

    #[test]
    fn debug_shows_no_properties() {
        let twin = Twin::parse(Bytes::from_static(br#"{"desired":{"key":"geheim","$version":1}}"#)).unwrap();
        assert!(!format!("{twin:?}").contains("geheim"));
    }
}
