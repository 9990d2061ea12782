//! The members of a JSON object, each with its text.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The mark of a component, as it is written.
pub(super) const MARK: &str = r#""__t":"c""#;
const MARK_NAME: &str = "__t";
const MARK_VALUE: &str = "c";

/// The members in the order of the text, repeated ones too.
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// The members of an object; `None` of any other value.
    pub(super) fn of(value: &'a RawValue) -> Option<Self> {
        serde_json::from_str(value.get()).ok()
    }

    /// The value of a member; the last one counts, as nearly everywhere.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// Whether they are a component's and not those of a value that happens to be an object.
    pub(super) fn are_of_a_component(&self) -> bool {
        self.get(MARK_NAME)
            .and_then(|value| serde_json::from_str::<String>(value.get()).ok())
            .is_some_and(|mark| mark == MARK_VALUE)
    }

    /// The members without those of the hub, whose names begin with `$` (no other name may).
    pub(super) fn properties(self) -> impl Iterator<Item = (Cow<'a, str>, &'a RawValue)> {
        self.0.into_iter().filter(|(name, _)| !name.starts_with('$'))
    }

    /// The members of a component without those of the hub and the mark.
    pub(super) fn properties_of_component(self) -> impl Iterator<Item = (Cow<'a, str>, &'a RawValue)> {
        self.properties().filter(|(name, _)| name != MARK_NAME)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A name as text. Asked for as bytes, so that half a surrogate pair, which JSON can spell and text cannot hold, becomes
/// replacement characters instead of an error that would hide every other member.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_bytes<E: Error>(self, name: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Name(String::from_utf8_lossy(name)))
            }

            fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Self::Value, E> {
                Ok(Name(String::from_utf8_lossy(name).into_owned().into()))
            }
        }

        deserializer.deserialize_bytes(Text)
    }
}
