//! The seed file: settings, and devices with their modules and twins, to start with.

mod identity;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};

use iothub_emulator::{Config, Hub, HubError};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use identity::SeedIdentity;

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

#[derive(Debug)]
struct SeedDevice {
    identity: SeedIdentity,
    modules: Vec<SeedIdentity>,
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
                "devices" => seed.devices = each("devices", value, SeedDevice::parse)?,
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

    /// Creates the devices and their modules. The error has the place in the file.
    pub(crate) fn create_devices(&self, hub: &Hub) -> Result<(), (String, HubError)> {
        for (index, SeedDevice { identity, modules }) in self.devices.iter().enumerate() {
            let place = format!("devices[{index}]");
            identity.create_device(hub).map_err(|error| (place.clone(), error))?;
            for (index, module) in modules.iter().enumerate() {
                let created = module.create_module(hub, &identity.id);
                created.map_err(|error| (format!("{place}.modules[{index}]"), error))?;
            }
        }
        Ok(())
    }
}

impl SeedDevice {
    fn parse(place: &str, mut device: Map<String, Value>) -> Result<Self, String> {
        let modules = match device.remove("modules") {
            Some(modules) => each(&format!("{place}.modules"), modules, SeedIdentity::parse_module)?,
            None => Vec::new(),
        };
        Ok(Self { identity: SeedIdentity::parse(place, device)?, modules })
    }
}

/// What `parse` makes of each object of an array, with its place.
fn each<T>(
    place: &str,
    value: Value,
    parse: impl Fn(&str, Map<String, Value>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let Value::Array(values) = value else { return Err(format!("{place}: an array is needed")) };
    let parsed = values.into_iter().enumerate().map(|(index, value)| {
        let place = format!("{place}[{index}]");
        parse(&place, object(&place, value)?)
    });
    parsed.collect()
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
