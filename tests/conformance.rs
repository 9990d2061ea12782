//! Every transport does what `tests/conformance` says. The behaviours and how to run them: `tests/conformance/README.md`.

#[cfg(feature = "mqtt")]
use iothub_client::Mqtt;
#[cfg(feature = "mqtt-ws")]
use iothub_client::MqttWs;
use iothub_conformance::BEHAVIOURS;
#[cfg(feature = "mqtt-ws")]
use std::net::SocketAddr;
#[cfg(any(feature = "mqtt", feature = "mqtt-ws"))]
use {
    iothub_client::Provider,
    iothub_conformance::{Settings, Subject, suite},
    iothub_emulator::Hub,
};

/// The transport of this type with these settings.
#[cfg(any(feature = "mqtt", feature = "mqtt-ws"))]
macro_rules! mqtt_with {
    ($transport:ty, $settings:expr) => {{
        let mut transport = <$transport>::new();
        if let Some(interval) = $settings.keep_alive {
            transport = transport.keep_alive(interval);
        }
        if let Some(limit) = $settings.connect_timeout {
            transport = transport.connect_timeout(limit);
        }
        if let Some(messages) = $settings.max_in_flight {
            transport = transport.max_in_flight(messages);
        }
        Box::new(transport)
    }};
}

#[cfg(feature = "mqtt")]
struct OverMqtt;

#[cfg(feature = "mqtt")]
impl Subject for OverMqtt {
    fn provider(&self, _: &Hub, settings: &Settings) -> Box<dyn Provider> {
        mqtt_with!(Mqtt, settings)
    }
}

#[cfg(feature = "mqtt")]
suite!(mqtt, OverMqtt);

#[cfg(feature = "mqtt-ws")]
struct OverMqttWs;

#[cfg(feature = "mqtt-ws")]
impl Subject for OverMqttWs {
    fn provider(&self, _: &Hub, settings: &Settings) -> Box<dyn Provider> {
        mqtt_with!(MqttWs, settings)
    }

    fn address(&self, hub: &Hub) -> Option<SocketAddr> {
        Some(hub.https_address())
    }
}

#[cfg(feature = "mqtt-ws")]
suite!(mqtt_ws, OverMqttWs);

/// Names in the README's lists: `` - `name`: what it says``, under a heading that names the concern in code.
fn listed() -> Vec<String> {
    let mut concern = "";
    let mut names = Vec::new();
    for line in include_str!("conformance/README.md").lines() {
        let in_code = |line: &'static str| line.split('`').nth(1).unwrap_or_default();
        if line.starts_with("### `") {
            concern = in_code(line);
        } else if line.starts_with("- `") && !concern.is_empty() {
            names.push(format!("{concern}::{}", in_code(line)));
        }
    }
    names
}

#[test]
fn the_readme_lists_every_behaviour_and_no_other() {
    let suite: Vec<_> = BEHAVIOURS.iter().map(|behaviour| behaviour.name).collect();
    assert_eq!(listed(), suite);
}
