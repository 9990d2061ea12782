//! The properties that a twin, or a change of one, brings.

use std::fmt;
use std::slice;
use std::vec;

use serde_json::value::RawValue;

use super::members::Members;
use super::{PropertyKind, TwinPropertiesError, TwinProperty};
use crate::json;
use crate::twin::{DesiredPatch, Twin, TwinUpdate};

/// The properties of a twin or of a change, one by one: first those that the back end wrote, then those that the device
/// reported, each in the order of the text.
///
/// Values stay the text that the hub sent. `$version` and whatever else begins with `$` is the hub's and left out, also
/// inside components. An object that has `"__t":"c"` is a component; everything else is one property of the root, also the
/// `null` with which a component is deleted.
///
/// ```
/// use iothub_core::{Device, Outbox, PropertyKind, ReportedProperties, TwinUpdate};
///
/// fn on_update(update: &TwinUpdate, outbox: &mut Outbox<Device>) -> Result<(), Box<dyn std::error::Error>> {
///     let mut report = ReportedProperties::new();
///     for property in &update.properties()? {
///         match (property.kind(), property.component(), property.name()) {
///             (PropertyKind::Writable { .. }, Some("thermostat1"), "targetTemperature") => {
///                 match property.read::<f64>() {
///                     Ok(target) => report.acknowledge(property, 200, &format!("heating to {target}"))?,
///                     Err(error) => report.acknowledge(property, 400, &error.to_string())?,
///                 };
///             }
///             _ => {}
///         }
///     }
///     if !report.is_empty() {
///         outbox.send_reported_state(report)?;
///     }
///     Ok(())
/// }
/// ```
#[doc(alias = "IOTHUB_CLIENT_PROPERTIES_DESERIALIZER_HANDLE")]
#[doc(alias = "IoTHubClient_Properties_Deserializer_Destroy")]
#[derive(Clone)]
pub struct TwinProperties<'a> {
    version: u64,
    properties: Vec<TwinProperty<'a>>,
}

impl TwinUpdate {
    /// The properties in it, by the conventions of Plug and Play.
    ///
    /// # Errors
    ///
    /// [`TwinPropertiesError`] if the hub sent a section that is no object.
    pub fn properties(&self) -> Result<TwinProperties<'_>, TwinPropertiesError> {
        match self {
            Self::Full(twin) => twin.properties(),
            Self::Patch(patch) => patch.properties(),
        }
    }
}

impl Twin {
    /// The desired and the reported properties, by the conventions of Plug and Play.
    ///
    /// # Errors
    ///
    /// As [`TwinUpdate::properties`].
    pub fn properties(&self) -> Result<TwinProperties<'_>, TwinPropertiesError> {
        TwinProperties::from_twin(self.json())
    }
}

impl DesiredPatch {
    /// The desired properties that changed, by the conventions of Plug and Play.
    ///
    /// # Errors
    ///
    /// As [`TwinUpdate::properties`].
    pub fn properties(&self) -> Result<TwinProperties<'_>, TwinPropertiesError> {
        TwinProperties::from_patch(self.json())
    }
}

impl<'a> TwinProperties<'a> {
    /// Reads a whole twin: `{"desired":{..,"$version":n},"reported":{..}}`. The section `reported` may be missing.
    ///
    /// For a text that the application kept; a [`Twin`] has [`properties`](Twin::properties).
    ///
    /// # Errors
    ///
    /// [`TwinPropertiesError`] says in which way the text is no twin. No single property makes it none.
    #[doc(alias = "IoTHubClient_Properties_Deserializer_Create")]
    #[doc(alias = "IOTHUB_CLIENT_PROPERTY_PAYLOAD_ALL")]
    pub fn from_twin(json: &'a [u8]) -> Result<Self, TwinPropertiesError> {
        let sections = object(read(json)?, "the twin")?;
        let desired = sections.get("desired").ok_or(TwinPropertiesError::NoDesired)?;
        let mut this = Self::from_desired(desired)?;
        if let Some(reported) = sections.get("reported") {
            this.add(object(reported, "the section \"reported\"")?, PropertyKind::Reported);
        }
        Ok(this)
    }

    /// Reads a change of the desired properties: `{..,"$version":n}`.
    ///
    /// # Errors
    ///
    /// As [`from_twin`](Self::from_twin).
    #[doc(alias = "IoTHubClient_Properties_Deserializer_Create")]
    #[doc(alias = "IOTHUB_CLIENT_PROPERTY_PAYLOAD_WRITABLE_UPDATES")]
    pub fn from_patch(json: &'a [u8]) -> Result<Self, TwinPropertiesError> {
        Self::from_desired(read(json)?)
    }

    fn from_desired(desired: &'a RawValue) -> Result<Self, TwinPropertiesError> {
        let members = object(desired, "the desired properties")?;
        let version = members.get("$version").and_then(|value| serde_json::from_str(value.get()).ok());
        let version = version.ok_or(TwinPropertiesError::NoVersion)?;
        let mut this = Self { version, properties: Vec::new() };
        this.add(members, PropertyKind::Writable { version });
        Ok(this)
    }

    fn add(&mut self, members: Members<'a>, kind: PropertyKind) {
        for (outer, value) in members.properties() {
            match Members::of(value).filter(Members::are_of_a_component) {
                Some(members) => {
                    self.properties.extend(members.properties_of_component().map(|(name, value)| TwinProperty {
                        component: Some(outer.clone()),
                        name,
                        value,
                        kind,
                    }))
                }
                None => self.properties.push(TwinProperty { component: None, name: outer, value, kind }),
            }
        }
    }

    /// The version of the desired properties.
    #[doc(alias = "IoTHubClient_Properties_Deserializer_GetVersion")]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The properties.
    #[doc(alias = "IoTHubClient_Properties_Deserializer_GetNext")]
    pub fn iter(&self) -> slice::Iter<'_, TwinProperty<'a>> {
        self.properties.iter()
    }
}

fn read(json: &[u8]) -> Result<&RawValue, TwinPropertiesError> {
    json::read(json).map_err(TwinPropertiesError::NotJson)
}

fn object<'a>(value: &'a RawValue, what: &'static str) -> Result<Members<'a>, TwinPropertiesError> {
    Members::of(value).ok_or(TwinPropertiesError::NotAnObject(what))
}

impl<'p, 'a> IntoIterator for &'p TwinProperties<'a> {
    type Item = &'p TwinProperty<'a>;
    type IntoIter = slice::Iter<'p, TwinProperty<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for TwinProperties<'a> {
    type Item = TwinProperty<'a>;
    type IntoIter = vec::IntoIter<TwinProperty<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.properties.into_iter()
    }
}

// Values are the application's, and may be secret.
impl fmt::Debug for TwinProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TwinProperties")
            .field("version", &self.version)
            .field("properties", &self.properties.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pnp::Acknowledgement;
    use bytes::Bytes;

    const WRITABLE: PropertyKind = PropertyKind::Writable { version: 7 };

    type Row<'a> = (PropertyKind, Option<&'a str>, &'a str, &'a str);

    fn rows<'a>(properties: &'a TwinProperties<'_>) -> Vec<Row<'a>> {
        properties.iter().map(|p| (p.kind(), p.component(), p.name(), p.json())).collect()
    }

    fn of_patch(json: &str) -> TwinProperties<'_> {
        TwinProperties::from_patch(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_twin_is_walked_in_the_order_of_its_text_and_desired_properties_come_first() {
        let json = r#"{
            "reported": {"serial": "SN-42", "pump": {"__t": "c", "rpm": 900}, "$version": 4},
            "desired": {"z": 1, "thermostat": {"target": 21, "__t": "c", "mode": {"a": [1, 2]}}, "a": null, "$version": 7}
        }"#;
        let properties = TwinProperties::from_twin(json.as_bytes()).unwrap();
        assert_eq!(properties.version(), 7);
        let expected = [
            (WRITABLE, None, "z", "1"),
            (WRITABLE, Some("thermostat"), "target", "21"),
            (WRITABLE, Some("thermostat"), "mode", r#"{"a": [1, 2]}"#),
            (WRITABLE, None, "a", "null"),
            (PropertyKind::Reported, None, "serial", "\"SN-42\""),
            (PropertyKind::Reported, Some("pump"), "rpm", "900"),
        ];
        assert_eq!(rows(&properties), expected);
    }

    #[test]
    fn a_change_has_its_version_and_says_what_is_deleted() {
        let properties = of_patch(r#"{"a":null,"thermostat":{"__t":"c","target":null},"$version":7}"#);
        assert_eq!(properties.version(), 7);
        assert!(properties.iter().all(TwinProperty::is_deleted));
        assert_eq!(
            rows(&properties),
            [(WRITABLE, None, "a", "null"), (WRITABLE, Some("thermostat"), "target", "null")]
        );
    }

    #[test]
    fn only_what_is_marked_is_a_component() {
        let properties = of_patch(
            r#"{"a":{"b":1},"c":{"__t":"x"},"d":{"__t":null},"e":["__t","c"],"f":{"g":{"__t":"c"}},"h":{"__t":"c"},
                "i":{"\u005f_t":"\u0063","j":1},"$version":7}"#,
        );
        let expected = [
            (WRITABLE, None, "a", r#"{"b":1}"#),
            (WRITABLE, None, "c", r#"{"__t":"x"}"#),
            (WRITABLE, None, "d", r#"{"__t":null}"#),
            (WRITABLE, None, "e", r#"["__t","c"]"#),
            (WRITABLE, None, "f", r#"{"g":{"__t":"c"}}"#),
            (WRITABLE, Some("i"), "j", "1"),
        ];
        assert_eq!(rows(&properties), expected);
    }

    #[test]
    fn what_is_the_hubs_is_left_out_inside_components_too() {
        let properties = of_patch(
            r#"{"$metadata":{"a":{}},"thermostat":{"__t":"c","$metadata":{"__t":"c"},"$version":3,"a":1},"$version":7}"#,
        );
        assert_eq!(rows(&properties), [(WRITABLE, Some("thermostat"), "a", "1")]);
    }

    #[test]
    fn wrinkle_36_numbers_come_as_they_are_spelled() {
        let properties =
            of_patch(r#"{"a":1.50,"b":1E+2,"c":18446744073709551617,"d":0.1000000000000000055511,"$version":7}"#);
        let values: Vec<_> = properties.iter().map(TwinProperty::json).collect();
        assert_eq!(values, ["1.50", "1E+2", "18446744073709551617", "0.1000000000000000055511"]);
    }

    #[test]
    fn one_property_that_cannot_be_read_hides_no_other() {
        let properties = of_patch(r#"{"a":"\ud800","\ud800b":1,"c":1e999,"d":2,"$version":7}"#);
        assert_eq!(
            properties.iter().map(TwinProperty::name).collect::<Vec<_>>(),
            ["a", "\u{FFFD}\u{FFFD}\u{FFFD}b", "c", "d"]
        );
        let read: Vec<_> = properties.iter().map(|property| property.read::<u8>().ok()).collect();
        assert_eq!(read, [None, Some(1), None, Some(2)]);
    }

    #[test]
    fn a_value_of_another_type_is_an_error_that_names_the_property() {
        let properties = of_patch(r#"{"thermostat":{"__t":"c","target":"warm"},"$version":7}"#);
        let error = properties.iter().next().unwrap().read::<f64>().unwrap_err();
        assert!(error.to_string().contains("\"target\" of the component \"thermostat\""), "{error}");
    }

    #[test]
    fn an_acknowledgement_of_an_earlier_run_can_be_read() {
        let json =
            r#"{"desired":{"$version":7},"reported":{"a":{"value":2,"ac":200,"av":3,"ad":"x"},"b":{"ac":404,"av":1}}}"#;
        let properties = TwinProperties::from_twin(json.as_bytes()).unwrap();
        let read: Vec<_> = properties.iter().map(|p| p.read::<Acknowledgement<Option<u8>>>().unwrap()).collect();
        assert_eq!(
            read,
            [Acknowledgement::new(Some(2), 200, 3).with_description("x"), Acknowledgement::new(None, 404, 1)]
        );
    }

    #[test]
    fn what_is_no_twin_is_named() {
        use TwinPropertiesError as E;
        let twin = |json: &'static str| TwinProperties::from_twin(json.as_bytes()).map(|_| ()).unwrap_err();
        let patch = |json: &'static str| TwinProperties::from_patch(json.as_bytes()).map(|_| ()).unwrap_err();
        assert!(matches!(twin(""), E::NotJson(_)));
        assert!(matches!(patch(r#"{"a":1,"$version":7}x"#), E::NotJson(_)));
        assert!(matches!(TwinProperties::from_patch(b"{\"\xff\":1,\"$version\":7}"), Err(E::NotJson(_))));
        assert_eq!(twin("[]"), E::NotAnObject("the twin"));
        assert_eq!(twin(r#"{"a":1,"$version":7}"#), E::NoDesired);
        assert_eq!(twin(r#"{"desired":[7]}"#), E::NotAnObject("the desired properties"));
        assert_eq!(twin(r#"{"desired":{"a":1}}"#), E::NoVersion);
        assert_eq!(twin(r#"{"desired":{"$version":7},"reported":null}"#), E::NotAnObject("the section \"reported\""));
        assert_eq!(patch("null"), E::NotAnObject("the desired properties"));
        assert_eq!(patch(r#"{"$version":"7"}"#), E::NoVersion);
        assert_eq!(patch(r#"{"$version":-1}"#), E::NoVersion);
    }

    #[test]
    fn a_twin_that_came_over_the_wire_has_its_properties() {
        let twin = Twin::parse(Bytes::from_static(br#"{"desired":{"a":1,"$version":7},"reported":{"b":2}}"#)).unwrap();
        assert_eq!(TwinUpdate::Full(twin).properties().unwrap().iter().len(), 2);
        let patch = DesiredPatch::parse(Bytes::from_static(br#"{"a":1,"$version":7}"#)).unwrap();
        let update = TwinUpdate::Patch(patch);
        assert_eq!(rows(&update.properties().unwrap()), [(WRITABLE, None, "a", "1")]);
    }

    #[test]
    fn deep_nesting_is_walked_past() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let json = format!(r#"{{"deep":{deep},"a":1,"$version":7}}"#);
        let properties = of_patch(&json);
        assert_eq!(properties.iter().map(TwinProperty::name).collect::<Vec<_>>(), ["deep", "a"]);
        assert!(properties.iter().next().unwrap().read::<serde_json::Value>().is_err());
    }

    #[test]
    fn debug_shows_no_values() {
        let properties = of_patch(r#"{"key":"geheim","$version":7}"#);
        assert!(!format!("{properties:?} {:?}", properties.iter().next()).contains("geheim"));
    }
}
