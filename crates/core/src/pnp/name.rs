//! How a property is named, and which names a device model can have.

use std::fmt;

use super::{PropertyError, TwinProperty};
use crate::limits::MAX_MODEL_NAME;

/// Which property of a device model is meant: its name, and the component that it is part of.
///
/// Functions that take one also take `"serialNumber"`, `("thermostat1", "targetTemperature")` or a received
/// [`TwinProperty`](crate::TwinProperty).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PropertyName<'a> {
    /// The component; `None` for a property of the root.
    pub component: Option<&'a str>,
    /// The property.
    pub name: &'a str,
}

impl PropertyName<'_> {
    pub(super) fn check(&self) -> Result<(), PropertyError> {
        self.component.map_or(Ok(()), check)?;
        check(self.name)
    }
}

impl fmt::Display for PropertyName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the property {:?}", self.name)?;
        self.component.map_or(Ok(()), |component| write!(f, " of the component {component:?}"))
    }
}

impl<'a> From<&'a str> for PropertyName<'a> {
    fn from(name: &'a str) -> Self {
        Self { component: None, name }
    }
}

impl<'a> From<&'a String> for PropertyName<'a> {
    fn from(name: &'a String) -> Self {
        name.as_str().into()
    }
}

impl<'a> From<(&'a str, &'a str)> for PropertyName<'a> {
    fn from((component, name): (&'a str, &'a str)) -> Self {
        Self { component: Some(component), name }
    }
}

impl<'a> From<&'a TwinProperty<'_>> for PropertyName<'a> {
    fn from(property: &'a TwinProperty<'_>) -> Self {
        Self { component: property.component(), name: property.name() }
    }
}

/// The rule of DTDL 2 to 4 for names. It leaves nothing that JSON would have to escape.
fn check(name: &str) -> Result<(), PropertyError> {
    let problem = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_MODEL_NAME {
        "it is longer than 512 characters"
    } else if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        "only ASCII letters, digits and underscores are allowed"
    } else if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        "it must begin with a letter"
    } else if name.ends_with('_') {
        "it must not end with an underscore"
    } else {
        return Ok(());
    };
    Err(PropertyError::Name { name: name.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_a_model_can_have() {
        let longest = "n".repeat(MAX_MODEL_NAME);
        for name in ["a", "Z9", "target_temperature", "a__b", &longest] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let too_long = "n".repeat(MAX_MODEL_NAME + 1);
        for name in ["", "$version", "__t", "_a", "a_", "9a", "a-b", "a.b", "a b", "a\"b", "größe", "a\n", &too_long]
        {
            let error = check(name).unwrap_err();
            assert!(matches!(&error, PropertyError::Name { name: refused, .. } if refused == name), "{error}");
        }
    }

    #[test]
    fn the_name_of_the_component_is_checked_too() {
        let check = |component, name| PropertyName { component, name }.check();
        assert_eq!(check(Some("thermostat1"), "a"), Ok(()));
        assert!(check(Some("a*b"), "a").is_err());
        assert!(check(Some(""), "a").is_err());
        assert!(check(Some("a"), "").is_err());
    }

    #[test]
    fn errors_name_property_and_component() {
        assert_eq!(PropertyName::from("a").to_string(), "the property \"a\"");
        assert_eq!(PropertyName::from(("c", "a")).to_string(), "the property \"a\" of the component \"c\"");
    }
}
