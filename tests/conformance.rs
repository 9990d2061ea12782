//! Every transport does what `tests/conformance` says. The behaviours and how to run them: `tests/conformance/README.md`.

use iothub_conformance::BEHAVIOURS;
#[cfg(feature = "mqtt")]
use {
    iothub_client::{Mqtt, Provider},
    iothub_conformance::{Settings, Subject, suite},
    iothub_emulator::Hub,
};

#[cfg(feature = "mqtt")]
struct OverMqtt;

#[cfg(feature = "mqtt")]
impl Subject for OverMqtt {
    fn provider(&self, _: &Hub, settings: &Settings) -> Box<dyn Provider> {
        let mut mqtt = Mqtt::new();
        if let Some(interval) = settings.keep_alive {
            mqtt = mqtt.keep_alive(interval);
        }
        if let Some(limit) = settings.connect_timeout {
            mqtt = mqtt.connect_timeout(limit);
        }
        if let Some(messages) = settings.max_in_flight {
            mqtt = mqtt.max_in_flight(messages);
        }
        Box::new(mqtt)
    }
}

#[cfg(feature = "mqtt")]
suite!(mqtt, OverMqtt);

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
