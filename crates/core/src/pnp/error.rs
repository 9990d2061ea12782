//! What can be wrong with properties that are written or read.

/// A property that cannot be reported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PropertyError {
    /// A property or component has a name that no device model can have.
    #[error("{name:?} cannot be the name of a property or component of a device model: {problem}")]
    Name {
        /// The name.
        name: String,
        /// Which rule it breaks.
        problem: &'static str,
    },
    /// The property, or a component or property of the root under the same name, is there already.
    #[error("{0} is among these reported properties already; start another patch to report it again")]
    Duplicate(String),
    /// The value is `null`, which would delete the property.
    #[error(
        "the value of {0} is null, which deletes: use `delete` if that is meant (a number that is not finite is null in JSON, too)"
    )]
    Null(String),
    /// The value is an object that bears the mark of components.
    #[error(
        "the value of {0} has the member \"__t\":\"c\", so it would be read as a component: name the component instead"
    )]
    Component(String),
    /// The value is of a type that JSON does not have.
    #[error("the value of {property} cannot be written as JSON: {problem}")]
    Value {
        /// Which property.
        property: String,
        /// What its serialization said.
        problem: String,
    },
    /// A text that was given as JSON is none.
    #[error("a value given as JSON text is not JSON: {0}")]
    NotJson(String),
    /// The property does not fit any more.
    #[error(
        "with {property} the reported properties would have {size} bytes, the hub takes {limit}: send what is there, then the rest"
    )]
    TooLarge {
        /// Which property.
        property: String,
        /// The size with it.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The device itself had reported the property, so that there is nothing to acknowledge.
    #[error("{0} was reported by the device: only what the back end wrote is acknowledged")]
    NotWritable(String),
}

/// A text that is neither a twin nor a change of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TwinPropertiesError {
    /// It is not JSON.
    #[error("the properties are not JSON: {0}")]
    NotJson(String),
    /// The whole, or one of its two sections, is something else than an object.
    #[error("{0} is not a JSON object")]
    NotAnObject(&'static str),
    /// A whole twin without desired properties.
    #[error("the twin has no section \"desired\": is it a change of the desired properties alone?")]
    NoDesired,
    /// The desired properties have no version.
    #[error("the desired properties have no \"$version\" that is a whole number")]
    NoVersion,
}

/// A property whose value is not what the application asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value of {property} cannot be taken: {problem}")]
#[non_exhaustive]
pub struct PropertyValueError {
    /// Which property.
    pub property: String,
    /// What its type said. It may quote the value.
    pub problem: String,
}
