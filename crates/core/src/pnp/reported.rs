//! A patch of reported properties, by the conventions.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use super::members::{MARK, Members};
use super::{Acknowledgement, PropertyError, PropertyKind, PropertyName, TwinProperty};
use crate::json;
use crate::limits::MAX_TWIN_SECTION;

/// A patch of the reported properties of a device model, of the root and of any number of components.
///
/// What it holds can always be sent: each property is checked when it is set, and one that is refused leaves the patch
/// as it was. It becomes JSON where a function takes the bytes of a patch.
///
/// ```
/// use iothub_core::ReportedProperties;
///
/// # fn run(client: &mut iothub_core::DeviceClient) -> Result<(), Box<dyn std::error::Error>> {
/// let mut report = ReportedProperties::new();
/// report.set("serialNumber", "SN-42")?;
/// report.set(("thermostat1", "maxTempSinceLastReboot"), 28.5)?.set(("thermostat1", "samples"), [3, 1, 2])?;
/// client.send_reported_state(report)?;
/// # Ok(())
/// # }
/// ```
///
/// That sends
/// `{"serialNumber":"SN-42","thermostat1":{"__t":"c","maxTempSinceLastReboot":28.5,"samples":[3,1,2]}}`.
#[doc(alias = "IOTHUB_CLIENT_PROPERTY_REPORTED")]
#[doc(alias = "IoTHubClient_Properties_Serializer_Destroy")]
#[derive(Clone, PartialEq, Eq)]
pub struct ReportedProperties {
    entries: Vec<Entry>,
    /// Of the JSON text.
    size: usize,
}

/// A member of the reported properties.
#[derive(Clone, PartialEq, Eq)]
enum Entry {
    Property(Member),
    Component { name: String, properties: Vec<Member> },
}

#[derive(Clone, PartialEq, Eq)]
struct Member {
    name: String,
    json: String,
}

impl ReportedProperties {
    /// An empty patch.
    pub fn new() -> Self {
        Self { entries: Vec::new(), size: "{}".len() }
    }

    /// Whether nothing was set: then there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reports the value of a property of the root (`"name"`) or of a component (`("component", "name")`).
    ///
    /// The value is whatever serializes to JSON, [`JsonText`](crate::JsonText) among it, and an [`Acknowledgement`] for a
    /// property that the back end can write. (Inside a larger value, a number that is not finite becomes `null`, as
    /// `serde_json` has it.)
    ///
    /// # Errors
    ///
    /// A name that no model can have (DTDL: ASCII letters, digits and underscores, beginning with a letter and not
    /// ending with an underscore, at most 512), a property that is there already, a value that is `null` or would be
    /// read as a component, and what would make the patch larger than the 32 KiB that the hub takes.
    #[doc(alias = "IoTHubClient_Properties_Serializer_CreateReported")]
    pub fn set<'n>(
        &mut self,
        property: impl Into<PropertyName<'n>>,
        value: impl Serialize,
    ) -> Result<&mut Self, PropertyError> {
        let property = property.into();
        let json = serde_json::to_string(&value)
            .map_err(|error| PropertyError::Value { property: property.to_string(), problem: error.to_string() })?;
        if json == "null" {
            return Err(PropertyError::Null(property.to_string()));
        }
        if property.component.is_none() && is_component(&json) {
            return Err(PropertyError::Component(property.to_string()));
        }
        self.put(property, json)
    }

    /// Deletes a property from what was reported; by the name of a component all of it.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub fn delete<'n>(&mut self, property: impl Into<PropertyName<'n>>) -> Result<&mut Self, PropertyError> {
        self.put(property.into(), "null".to_owned())
    }

    /// Acknowledges what the back end wrote: the value as it came, the status, the version that it came with, and a
    /// description for people unless that is empty.
    ///
    /// The status is as in HTTP by convention: 200 done, 202 under way, 400 not a possible value, 500 failed. To tell
    /// another value, [`set`](Self::set) an [`Acknowledgement`] of your own.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set), and for a property that is not writable.
    #[doc(alias = "IoTHubClient_Properties_Serializer_CreateWritableResponse")]
    pub fn acknowledge(
        &mut self,
        property: &TwinProperty<'_>,
        status: i32,
        description: &str,
    ) -> Result<&mut Self, PropertyError> {
        let PropertyKind::Writable { version } = property.kind() else {
            return Err(PropertyError::NotWritable(PropertyName::from(property).to_string()));
        };
        self.set(property, Acknowledgement::new(property.value, status, version).with_description(description))
    }

    /// The patch as JSON text.
    pub fn into_json(self) -> Bytes {
        let mut text = String::with_capacity(self.size);
        text.push('{');
        for (index, entry) in self.entries.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            entry.write(&mut text);
        }
        text.push('}');
        text.into()
    }

    fn put(&mut self, property: PropertyName<'_>, json: String) -> Result<&mut Self, PropertyError> {
        property.check()?;
        let member = Member { name: property.name.to_owned(), json };
        let entry = match property.component {
            None => Entry::Property(member),
            Some(component) => Entry::Component { name: component.to_owned(), properties: vec![member] },
        };
        let is_first = self.is_empty();
        match (self.entries.iter_mut().find(|known| known.name() == entry.name()), entry) {
            (None, entry) => {
                self.size = grown(self.size, entry.len() + usize::from(!is_first), property)?;
                self.entries.push(entry);
            }
            (Some(Entry::Component { properties: known, .. }), Entry::Component { properties: new, .. })
                if known.iter().all(|member| member.name != property.name) =>
            {
                let added: usize = new.iter().map(|member| member.len() + 1).sum();
                self.size = grown(self.size, added, property)?;
                known.extend(new);
            }
            _ => return Err(PropertyError::Duplicate(property.to_string())),
        }
        Ok(self)
    }
}

/// The size with so many bytes more, if the hub takes it.
fn grown(size: usize, by: usize, property: PropertyName<'_>) -> Result<usize, PropertyError> {
    match size + by {
        size if size > MAX_TWIN_SECTION => {
            Err(PropertyError::TooLarge { property: property.to_string(), size, limit: MAX_TWIN_SECTION })
        }
        size => Ok(size),
    }
}

/// Whether a reader would take the value for a component.
fn is_component(json: &str) -> bool {
    json::read(json.as_bytes()).ok().and_then(Members::of).is_some_and(|members| members.are_of_a_component())
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Self::Property(member) => &member.name,
            Self::Component { name, .. } => name,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Property(member) => member.len(),
            Self::Component { name, properties } => {
                let properties = properties.iter().map(|member| ",".len() + member.len());
                "\"\":{}".len() + name.len() + MARK.len() + properties.sum::<usize>()
            }
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Property(member) => member.write(out),
            Self::Component { name, properties } => {
                out.extend(["\"", name, "\":{", MARK]);
                for member in properties {
                    out.push(',');
                    member.write(out);
                }
                out.push('}');
            }
        }
    }
}

impl Member {
    fn len(&self) -> usize {
        "\"\":".len() + self.name.len() + self.json.len()
    }

    /// Its name has nothing to escape: it was checked.
    fn write(&self, out: &mut String) {
        out.extend(["\"", &self.name, "\":", &self.json]);
    }
}

impl Default for ReportedProperties {
    fn default() -> Self {
        Self::new()
    }
}

impl From<ReportedProperties> for Bytes {
    fn from(report: ReportedProperties) -> Self {
        report.into_json()
    }
}

// The properties are the application's, and may be secret.
impl fmt::Debug for ReportedProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReportedProperties").field("bytes", &self.size).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pnp::{JsonText, TwinProperties};
    use serde_json::json;

    fn text(report: ReportedProperties) -> String {
        let size = report.size;
        let text = String::from_utf8(report.into_json().to_vec()).unwrap();
        assert_eq!(text.len(), size);
        text
    }

    fn received(json: &str) -> TwinProperty<'_> {
        TwinProperties::from_twin(json.as_bytes()).unwrap().into_iter().next().unwrap()
    }

    #[test]
    fn root_and_components_are_one_patch_in_the_order_of_their_first_setting() {
        let mut report = ReportedProperties::new();
        assert!(report.is_empty());
        report.set("serial", "SN \"42\"").unwrap();
        report.set(("thermostat1", "max"), 28.5).unwrap().set(("thermostat2", "max"), 19).unwrap();
        report.set("online", true).unwrap().set(("thermostat1", "min"), json!({"at": [1, null]})).unwrap();
        assert_eq!(
            text(report),
            r#"{"serial":"SN \"42\"","thermostat1":{"__t":"c","max":28.5,"min":{"at":[1,null]}},"thermostat2":{"__t":"c","max":19},"online":true}"#
        );
        assert_eq!(text(ReportedProperties::new()), "{}");
    }

    #[test]
    fn the_same_name_is_free_in_another_component_and_taken_in_its_own() {
        let mut report = ReportedProperties::new();
        report.set("a", 1).unwrap().set(("c", "a"), 2).unwrap().set(("d", "a"), 3).unwrap();
        let before = report.clone();
        for taken in [PropertyName::from("a"), ("c", "a").into(), "c".into(), ("a", "b").into()] {
            assert_eq!(report.set(taken, 9).unwrap_err(), PropertyError::Duplicate(taken.to_string()));
        }
        assert_eq!(report.delete("a").unwrap_err(), PropertyError::Duplicate(PropertyName::from("a").to_string()));
        assert_eq!(report, before);
    }

    #[test]
    fn wrinkle_36_no_text_breaks_out_of_its_place() {
        let mut report = ReportedProperties::new();
        for name in ["", "$version", "__t", "a\":1,\"b", "a b", "größe"] {
            assert!(matches!(report.set(name, 1), Err(PropertyError::Name { .. })), "{name}");
            assert!(matches!(report.set((name, "a"), 1), Err(PropertyError::Name { .. })), "{name}");
            assert!(matches!(report.delete(name), Err(PropertyError::Name { .. })), "{name}");
        }
        assert!(report.is_empty());
        let property = received(r#"{"desired":{"target":21,"$version":3}}"#);
        report.acknowledge(&property, 200, "say \"hi\"\\\n\"}").unwrap();
        assert_eq!(text(report), r#"{"target":{"value":21,"ac":200,"av":3,"ad":"say \"hi\"\\\n\"}"}}"#);
    }

    #[test]
    fn wrinkle_36_json_text_is_sent_as_it_is() {
        let mut report = ReportedProperties::new();
        for (name, given) in [("a", "1.50"), ("b", "{ \"x\" : 1E+2 }"), ("c", "18446744073709551617")] {
            report.set(name, JsonText::new(given).unwrap()).unwrap();
        }
        report.set(("d", "a"), Acknowledgement::new(JsonText::new("2.0").unwrap(), 200, 1)).unwrap();
        assert_eq!(
            text(report),
            r#"{"a":1.50,"b":{ "x" : 1E+2 },"c":18446744073709551617,"d":{"__t":"c","a":{"value":2.0,"ac":200,"av":1}}}"#
        );
        for wrong in ["", "1 2", "{", "nul", "'a'", "1,\"b\":2"] {
            assert!(matches!(JsonText::new(wrong), Err(PropertyError::NotJson(_))), "{wrong}");
        }
    }

    #[test]
    fn a_value_that_is_null_is_not_sent_by_accident() {
        let mut report = ReportedProperties::new();
        for result in [
            report.clone().set("a", None::<u8>).map(|_| ()),
            report.clone().set("a", f64::NAN).map(|_| ()),
            report.clone().set("a", JsonText::new(" null ").unwrap()).map(|_| ()),
        ] {
            assert!(matches!(result, Err(PropertyError::Null(_))), "{result:?}");
        }
        report.delete("a").unwrap().delete(("c", "a")).unwrap();
        assert_eq!(text(report), r#"{"a":null,"c":{"__t":"c","a":null}}"#);
    }

    #[test]
    fn a_value_is_not_taken_for_a_component() {
        let mut report = ReportedProperties::new();
        let value = json!({"__t": "c", "a": 1});
        assert!(matches!(report.set("a", &value), Err(PropertyError::Component(_))));
        report.set("b", json!({"__t": "x"})).unwrap().set(("c", "a"), &value).unwrap();
        assert_eq!(text(report), r#"{"b":{"__t":"x"},"c":{"__t":"c","a":{"__t":"c","a":1}}}"#);
    }

    #[test]
    fn a_value_that_json_does_not_have_is_named() {
        let error = ReportedProperties::new().set("a", std::collections::HashMap::from([((1, 2), 3)])).unwrap_err();
        assert!(matches!(&error, PropertyError::Value { property, .. } if property.contains("\"a\"")), "{error}");
    }

    #[test]
    fn what_the_hub_would_not_take_is_refused_before_it_is_added() {
        let overhead = r#"{"a":"","c":{"__t":"c","b":1}}"#.len();
        let mut report = ReportedProperties::new();
        report.set("a", "x".repeat(MAX_TWIN_SECTION - overhead + 1)).unwrap();
        let full = report.clone();
        let error = report.set(("c", "b"), 1).unwrap_err();
        assert!(matches!(error, PropertyError::TooLarge { size, .. } if size == MAX_TWIN_SECTION + 1), "{error}");
        assert_eq!(report, full);
        let mut report = ReportedProperties::new();
        report.set("a", "x".repeat(MAX_TWIN_SECTION - overhead)).unwrap().set(("c", "b"), 1).unwrap();
        assert_eq!(text(report.clone()).len(), MAX_TWIN_SECTION);
        assert!(report.set(("c", "d"), 1).is_err());
    }

    #[test]
    fn an_acknowledgement_repeats_the_value_and_tells_version_and_status() {
        let mut report = ReportedProperties::new();
        let property = received(r#"{"desired":{"thermostat1":{"__t":"c","target":21.50},"$version":9}}"#);
        report.acknowledge(&property, 202, "").unwrap();
        let deleted = received(r#"{"desired":{"a":null,"$version":9}}"#);
        report.acknowledge(&deleted, 200, "gone").unwrap();
        assert_eq!(
            text(report),
            r#"{"thermostat1":{"__t":"c","target":{"value":21.50,"ac":202,"av":9}},"a":{"value":null,"ac":200,"av":9,"ad":"gone"}}"#
        );
    }

    #[test]
    fn what_the_device_reported_is_not_acknowledged() {
        let property = received(r#"{"desired":{"$version":9},"reported":{"a":1}}"#);
        let error = ReportedProperties::new().acknowledge(&property, 200, "").unwrap_err();
        assert!(matches!(error, PropertyError::NotWritable(_)), "{error}");
    }

    #[test]
    fn debug_shows_no_values() {
        let mut report = ReportedProperties::new();
        report.set("key", "geheim").unwrap();
        assert!(!format!("{report:?}").contains("geheim"));
    }
}
