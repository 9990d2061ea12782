//! The seed file: settings and devices to start with.

use std::net::{Ipv4Addr, SocketAddr};

use iothub_emulator::{Config, DeviceAuth, Hub, HubError, SecretKey};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Where the program listens if neither flag nor seed says so: the ports that SDKs expect.
const DEFAULT_MQTT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 8883);
const DEFAULT_AMQP: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 5671);

#[derive(Debug, Default)]
pub(crate) struct Seed {
    config: Config,
    /// The settings that the file names.
    settings: Vec<String>,
    devices: Vec<SeedDevice>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SeedDevice {
    id: String,
    primary_key: Option<SecretKey>,
    secondary_key: Option<SecretKey>,
    thumbprint: Option<String>,
    secondary_thumbprint: Option<String>,
    enabled: bool,
}

impl Default for SeedDevice {
    fn default() -> Self {
        Self {
            id: String::new(),
            primary_key: None,
            secondary_key: None,
            thumbprint: None,
            secondary_thumbprint: None,
            enabled: true,
        }
    }
}

impl Seed {
    /// Reads the file's text. The error names the field.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let mut seed = Self::default();
        for (name, value) in object("the file", value)? {
            match name.as_str() {
                "config" => {
                    let settings = object("config", value)?;
                    seed.settings = settings.keys().cloned().collect();
                    seed.config = fields("config", settings)?;
                }
                "devices" => {
                    let Value::Array(devices) = value else { return Err("devices: an array is needed".to_owned()) };
                    for (index, device) in devices.into_iter().enumerate() {
                        let place = format!("devices[{index}]");
                        let device: SeedDevice = fields(&place, object(&place, device)?)?;
                        device.check(&place)?;
                        seed.devices.push(device);
                    }
                }
                _ => return Err(format!("{name}: no such field; there are config and devices")),
            }
        }
        Ok(seed)
    }

    /// The settings, over which the flags win.
    pub(crate) fn config(&self, host_names: &[String], mqtt: Option<SocketAddr>, amqp: Option<SocketAddr>) -> Config {
        let mut config = self.config.clone();
        if !host_names.is_empty() {
            config = config.with_host_names(host_names);
        }
        let in_file = |setting: &str| self.settings.iter().any(|name| name == setting);
        if let Some(address) = mqtt.or((!in_file("mqtt_address")).then_some(DEFAULT_MQTT.into())) {
            config = config.with_mqtt_address(address);
        }
        if let Some(address) = amqp.or((!in_file("amqp_address")).then_some(DEFAULT_AMQP.into())) {
            config = config.with_amqp_address(address);
        }
        config
    }

    /// Creates the devices. The error has the place in the file.
    pub(crate) fn create_devices(&self, hub: &Hub) -> Result<(), (String, HubError)> {
        for (index, device) in self.devices.iter().enumerate() {
            device.create(hub).map_err(|error| (format!("devices[{index}]"), error))?;
        }
        Ok(())
    }
}

impl SeedDevice {
    fn check(&self, place: &str) -> Result<(), String> {
        if self.id.is_empty() {
            return Err(format!("{place}.id: it is missing or empty"));
        }
        let keys = self.primary_key.is_some() || self.secondary_key.is_some();
        if keys && (self.thumbprint.is_some() || self.secondary_thumbprint.is_some()) {
            return Err(format!("{place}: it has keys and thumbprints; give one kind"));
        }
        if self.thumbprint.is_none() && self.secondary_thumbprint.is_some() {
            return Err(format!("{place}.secondary_thumbprint: give thumbprint first"));
        }
        if self.primary_key.is_none() && self.secondary_key.is_some() {
            return Err(format!("{place}.secondary_key: give primary_key first"));
        }
        Ok(())
    }

    fn create(&self, hub: &Hub) -> Result<(), HubError> {
        match (&self.primary_key, &self.thumbprint) {
            (Some(primary), _) => {
                let secondary = self.secondary_key.clone().unwrap_or_else(|| primary.clone());
                hub.create_device_with(&self.id, DeviceAuth::SymmetricKey { primary: primary.clone(), secondary })?;
            }
            (None, Some(primary)) => {
                let auth =
                    DeviceAuth::Thumbprint { primary: primary.clone(), secondary: self.secondary_thumbprint.clone() };
                hub.create_device_with(&self.id, auth)?;
            }
            (None, None) => {
                hub.create_device(&self.id)?;
            }
        }
        if self.enabled { Ok(()) } else { hub.set_device_enabled(&self.id, false) }
    }
}

fn object(place: &str, value: Value) -> Result<Map<String, Value>, String> {
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(format!("{place}: an object is needed")),
    }
}

/// A struct from its fields, all of which have defaults. Each field is tried alone first, so that an error can name it.
fn fields<T: DeserializeOwned>(place: &str, fields: Map<String, Value>) -> Result<T, String> {
    for (name, value) in &fields {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        serde_json::from_value::<T>(alone.into()).map_err(|error| format!("{place}.{name}: {error}"))?;
    }
    serde_json::from_value(fields.into()).map_err(|error| format!("{place}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use iothub_emulator::Emulator;

    #[test]
    fn devices_and_settings_are_as_in_the_file_and_flags_win() {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let text = format!(
            r#"{{"config": {{"host_names": ["file.test"], "sas_grace": 0.5, "unknown_topic": "drop-and-ack", "mqtt_address": "127.0.0.1:0"}},
                "devices": [{{"id": "made"}}, {{"id": "given", "primary_key": "{key}", "enabled": false}}, {{"id": "x509", "thumbprint": "{}"}}]}}"#,
            "ab".repeat(32)
        );
        let seed = Seed::parse(&text).unwrap();
        let emulator = Emulator::start_with(seed.config(&[], None, Some(([127, 0, 0, 1], 0).into()))).unwrap();
        assert_eq!(emulator.host_name(), "file.test");
        seed.create_devices(&emulator).unwrap();
        let given = emulator.device("given").unwrap();
        assert_eq!(given.primary_key.as_ref().map(SecretKey::expose), Some(key));
        assert!(!given.enabled);
        assert!(emulator.device("made").unwrap().primary_key.is_some());
        assert!(emulator.device("x509").unwrap().connection_string.ends_with(";x509=true"));
        let free = Some(([127, 0, 0, 1], 0).into());
        let emulator = Emulator::start_with(seed.config(&["flag.test".into()], free, free)).unwrap();
        assert_eq!(emulator.host_names(), ["flag.test"]);
    }

    #[test]
    fn a_wrong_field_is_named_and_no_key_is_shown() {
        for (text, part) in [
            ("{", "not JSON"),
            ("[]", "the file: an object"),
            (r#"{"device": []}"#, "device: no such field"),
            (r#"{"config": {"sas_grace": "long"}}"#, "config.sas_grace"),
            (r#"{"config": {"sas_grace": -1}}"#, "config.sas_grace"),
            (r#"{"config": {"graces": 1}}"#, "config.graces"),
            (r#"{"devices": {}}"#, "devices: an array"),
            (r#"{"devices": [{"id": "a"}, {"id": 5}]}"#, "devices[1].id"),
            (r#"{"devices": [{}]}"#, "devices[0].id"),
            (r#"{"devices": [{"id": "a", "primary_key": "k", "thumbprint": "t"}]}"#, "one kind"),
            (r#"{"devices": [{"id": "a", "secondary_key": "k"}]}"#, "devices[0].secondary_key"),
        ] {
            let problem = Seed::parse(text).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
        let seed = Seed::parse(r#"{"devices": [{"id": "a", "primary_key": "no-secret"}]}"#).unwrap();
        let emulator = Emulator::start().unwrap();
        let (place, error) = seed.create_devices(&emulator).unwrap_err();
        assert_eq!(place, "devices[0]");
        assert!(!error.to_string().contains("no-secret"), "{error}");
    }
}
