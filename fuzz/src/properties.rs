//! Properties of a device model, in what the twin's target hears and reports. What must hold:
//!
//! - whatever an ordinary reading finds in a twin is walked, in its component, under its name, with its value;
//! - what is walked is a piece of what the hub sent;
//! - what is written is read back as it was given.

use iothub_core::{
    JsonText, PropertyKind, PropertyName, ReportedProperties, TwinProperties, TwinPropertiesError, TwinUpdate,
};
use serde_json::Value;

use super::script::Script;

/// Walks an update, and compares it with an ordinary reading.
pub fn walk(update: &TwinUpdate) {
    let text = std::str::from_utf8(update.json()).expect("only text is told");
    let properties = match update.properties() {
        Ok(properties) => properties,
        Err(TwinPropertiesError::NotAnObject(_)) => return,
        Err(error) => panic!("{error}: {text}"),
    };
    let range = text.as_bytes().as_ptr_range();
    for property in &properties {
        assert!(range.contains(&property.json().as_ptr()) && JsonText::new(property.json()).is_ok(), "{property:?}");
    }
    // A number or a nesting may be too much for `Value`.
    let Ok(whole) = serde_json::from_str::<Value>(text) else { return };
    let writable = PropertyKind::Writable { version: properties.version() };
    match update {
        TwinUpdate::Full(_) => {
            expect_section(&properties, whole.get("desired"), writable);
            expect_section(&properties, whole.get("reported"), PropertyKind::Reported);
        }
        _ => expect_section(&properties, Some(&whole), writable),
    }
}

fn expect_section(properties: &TwinProperties<'_>, section: Option<&Value>, kind: PropertyKind) {
    for (name, value) in section.and_then(Value::as_object).into_iter().flatten() {
        match value.as_object().filter(|members| members.get("__t").is_some_and(|mark| mark == "c")) {
            Some(members) => {
                for (inner, value) in members.iter().filter(|(inner, _)| *inner != "__t") {
                    expect(properties, kind, PropertyName { component: Some(name), name: inner }, value);
                }
            }
            None => expect(properties, kind, PropertyName { component: None, name }, value),
        }
    }
}

fn expect(properties: &TwinProperties<'_>, kind: PropertyKind, name: PropertyName<'_>, value: &Value) {
    let is_walked = properties.iter().any(|property| {
        let is_the_one = property.kind() == kind && PropertyName::from(property) == name;
        is_the_one && property.read::<Value>().as_ref() == Ok(value)
    });
    assert_eq!(is_walked, !name.name.starts_with('$') && !is_hidden(name), "{name}");
}

/// Below a name of the hub's nothing is walked.
fn is_hidden(name: PropertyName<'_>) -> bool {
    name.component.is_some_and(|component| component.starts_with('$'))
}

/// Writes up to four properties of the script (component, name and value as JSON text), and reads them back.
pub fn write(script: &mut Script<'_>) -> Vec<u8> {
    let mut report = ReportedProperties::new();
    let mut given = Vec::new();
    for _ in 0..=script.number() % 4 {
        let [component, name, value] = [(); 3].map(|()| String::from_utf8_lossy(script.bytes()).into_owned());
        let component = (!component.is_empty()).then_some(component);
        let Ok(json) = JsonText::new(&value) else { continue };
        if report.set(PropertyName { component: component.as_deref(), name: &name }, json).is_ok() {
            let value = value.trim_matches([' ', '\t', '\r', '\n']).to_owned();
            given.push((component, name, value));
        }
    }
    let patch = report.into_json().to_vec();
    let twin = [&b"{\"desired\":{\"$version\":1},\"reported\":"[..], &patch, b"}"].concat();
    let read = TwinProperties::from_twin(&twin).expect("what is written is a section of a twin");
    let mut read: Vec<_> = read
        .iter()
        .map(|property| {
            (property.component().map(str::to_owned), property.name().to_owned(), property.json().to_owned())
        })
        .collect();
    given.sort();
    read.sort();
    assert_eq!(read, given);
    patch
}
