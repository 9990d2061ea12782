//! The two SDKs: how each is started, and how it shows itself to a hub. The versions are those of the lock files.

use iothub_emulator::{TlsVersion, Who};
use serde_json::Value;

use super::site::{Site, Way};
use crate::process::{Lines, Process, command};
use crate::proxy;

/// One SDK with its scripts.
#[derive(Debug)]
pub(crate) struct Sdk {
    pub(crate) name: &'static str,
    program: String,
    device_script: String,
    module_script: String,
    /// Whether it finds the hub's MQTT port in `GatewayHostName`; otherwise its script is told.
    port_in_gateway: bool,
    pub(crate) api_version: &'static str,
    /// How its `DeviceClientType` starts.
    pub(crate) client_type: &'static str,
    /// Seconds.
    pub(crate) keep_alive: u16,
    /// At which QoS it subscribes to twin and methods.
    pub(crate) request_qos: u8,
    pub(crate) tls: TlsVersion,
    /// The error that it raises when the hub refuses its credentials.
    pub(crate) refusal: &'static str,
}

pub(crate) fn node() -> Sdk {
    Sdk {
        name: "node",
        program: "node".to_owned(),
        device_script: here("node/device.js"),
        module_script: here("node/module.js"),
        port_in_gateway: true,
        api_version: "2021-04-12",
        client_type: "azure-iot-device/1.18.4 (node ",
        keep_alive: 180,
        request_qos: 0,
        tls: TlsVersion::Tls13,
        refusal: "UnauthorizedError",
    }
}

pub(crate) fn python() -> Sdk {
    Sdk {
        name: "python",
        program: here("python/.venv/bin/python"),
        device_script: here("python/device.py"),
        module_script: here("python/module.py"),
        port_in_gateway: false,
        api_version: "2019-10-01",
        client_type: "azure-iot-device-iothub-py/2.14.0(",
        keep_alive: 60,
        request_qos: 1,
        // It asks OpenSSL for TLS 1.2 and nothing else.
        tls: TlsVersion::Tls12,
        refusal: "CredentialError",
    }
}

impl Sdk {
    /// Starts its script for a device or module, with a connection string and a task, towards this hub on its way.
    pub(crate) fn start(
        &self,
        site: &Site,
        who: Who<'_>,
        connection_string: &str,
        task: &Value,
    ) -> Result<Process, String> {
        let script = if who.module.is_some() { &self.module_script } else { &self.device_script };
        let hub = &site.hub;
        let mut connection_string = connection_string.to_owned();
        let mut command = command(&self.program);
        match &site.way {
            Way::Mqtt => {
                let port = hub.mqtt_address().port();
                if self.port_in_gateway {
                    connection_string.push_str(&format!(";GatewayHostName={}:{port}", hub.host_name()));
                } else {
                    command.env("INTEROP_PORT", port.to_string());
                }
            }
            Way::WebSocket(proxy) => {
                command.env("INTEROP_PROXY", proxy::url(proxy));
            }
        }
        command
            .arg(script)
            .env("INTEROP_CONNECTION_STRING", connection_string)
            .env("INTEROP_CA", hub.ca_pem())
            .env("INTEROP_TASK", task.to_string());
        Process::start(command, Lines::OfStdout)
    }
}

/// A path in this package.
fn here(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}
