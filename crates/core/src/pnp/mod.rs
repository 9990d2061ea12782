//! The conventions of Plug and Play: what a device model's properties and commands look like in twins and methods.
//!
//! A model names properties, telemetry and commands, and groups some of them in components. On the wire a component is
//! a member of the twin that is marked with `"__t":"c"`, a command of one is a method `component*command`, and a
//! writable property is acknowledged by reporting it together with a status and a version. Nothing here touches the
//! network; what is written here is sent with `send_reported_state`.
//!
//! - `reported`, `acknowledgement`: writing; `received`, `property`: reading; `command`: the names of methods
//! - `name`: how properties are named; `members`: the members of an object; `json_text`: values given as text; `error`

mod acknowledgement;
mod command;
mod error;
mod json_text;
mod members;
mod name;
mod property;
mod received;
mod reported;

pub use acknowledgement::Acknowledgement;
pub use error::{PropertyError, PropertyValueError, TwinPropertiesError};
pub use json_text::JsonText;
pub use name::PropertyName;
pub use property::{PropertyKind, TwinProperty};
pub use received::TwinProperties;
pub use reported::ReportedProperties;
