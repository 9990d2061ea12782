//! The messages that are sent, and their form between the runner and the scripts.

use std::collections::BTreeMap;

use iothub_emulator::C2dMessage;
use serde_json::{Value, json};

/// A message with every property that both SDKs can set and show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) body: Vec<u8>,
    /// By the names of the scripts: `message_id`, `correlation_id`, `user_id`, `content_type`, `content_encoding`.
    pub(crate) system: BTreeMap<String, String>,
    pub(crate) properties: BTreeMap<String, String>,
}

/// One message of text and one of every byte there is.
pub(crate) fn telemetry() -> Vec<Sample> {
    let awkward = [
        ("plain", "value"),
        ("space in the name", "and in the value"),
        ("reserved", "a=b&c/d?e#f+g%h$i"),
        ("größe", "5 µm – 漢字"),
        ("empty", ""),
    ];
    vec![
        sample(br#"{"temperature":21.5}"#, "telemetry 1", ["application/json", "utf-8"], &awkward),
        sample(&Vec::from_iter(0..=255), "telemetry/2&", ["application/octet-stream", "identity"], &[("n", "2")]),
    ]
}

pub(crate) fn cloud_to_device() -> Sample {
    let properties = [("plain", "value"), ("space in the name", "a=b&c/d?e#f+g%h"), ("größe", "µ"), ("empty", "")];
    sample("öffne das Fenster".as_bytes(), "c2d 1/2", ["text/plain", "utf-8"], &properties)
}

fn sample(body: &[u8], id: &str, [content_type, encoding]: [&str; 2], properties: &[(&str, &str)]) -> Sample {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let correlation = format!("about {id}");
    let system = [
        ("message_id", id),
        ("correlation_id", &correlation),
        ("user_id", "user@example"),
        ("content_type", content_type),
        ("content_encoding", encoding),
    ];
    Sample {
        body: body.to_vec(),
        system: system.into_iter().map(owned).collect(),
        properties: properties.iter().copied().map(owned).collect(),
    }
}

impl Sample {
    pub(crate) fn to_json(&self) -> Value {
        let mut value = json!(self.system);
        value["body_hex"] = Value::String(self.body.iter().map(|byte| format!("{byte:02x}")).collect());
        value["properties"] = json!(self.properties);
        value
    }

    /// Reads what a script tells of a message that it received.
    pub(crate) fn from_json(value: &Value) -> Result<Self, String> {
        let texts = |value: &Value| -> BTreeMap<String, String> {
            let entries = value.as_object().into_iter().flatten();
            entries.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
        };
        let mut system = texts(value);
        // The input stands beside the properties.
        system.remove("input");
        let body = system.remove("body_hex").and_then(|hex| from_hex(&hex)).ok_or("a message without a body")?;
        let mut properties = texts(&value["properties"]);
        // The hub tells the device which feedback is wanted; the Node SDK counts it among the application's properties.
        properties.remove("iothub-ack");
        Ok(Self { body, system, properties })
    }

    /// As it arrives at an input: with the names of who sent it.
    pub(crate) fn with_sender(&self, device: &str, module: Option<&str>) -> Self {
        let mut properties = self.properties.clone();
        properties.insert("$.cdid".to_owned(), device.to_owned());
        properties.extend(module.map(|module| ("$.cmid".to_owned(), module.to_owned())));
        Self { body: self.body.clone(), system: self.system.clone(), properties }
    }

    /// The same as the service sends it.
    pub(crate) fn to_c2d(&self) -> C2dMessage {
        let system = |name: &str| self.system.get(name).cloned().unwrap_or_default();
        let message = C2dMessage::new(self.body.clone())
            .message_id(system("message_id"))
            .correlation_id(system("correlation_id"))
            .user_id(system("user_id"))
            .content_type(system("content_type"))
            .content_encoding(system("content_encoding"));
        self.properties.iter().fold(message, |message, (name, value)| message.property(name, value.as_str()))
    }

    pub(crate) fn message_id(&self) -> &str {
        self.system.get("message_id").map_or("", String::as_str)
    }
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_survives_the_way_through_a_script() {
        for sample in telemetry() {
            assert_eq!(Sample::from_json(&sample.to_json()), Ok(sample));
        }
    }

    #[test]
    fn a_message_without_a_body_is_refused() {
        assert!(Sample::from_json(&json!({"message_id": "1"})).is_err());
        assert!(Sample::from_json(&json!({"body_hex": "0"})).is_err());
    }
}
