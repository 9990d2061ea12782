//! Every transport does what `tests/conformance` says. The behaviours and how to run them: `tests/conformance/README.md`.

#[cfg(feature = "amqp")]
use {
    iothub_client::Amqp,
    iothub_emulator::{DropPoint, Fault},
};
#[cfg(feature = "mqtt")]
use iothub_client::Mqtt;
use iothub_conformance::BEHAVIOURS;
#[cfg(any(feature = "amqp", feature = "mqtt"))]
use {
    iothub_client::Provider,
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

#[cfg(feature = "amqp")]
struct OverAmqp;

#[cfg(feature = "amqp")]
impl Subject for OverAmqp {
    fn provider(&self, _: &Hub, settings: &Settings) -> Box<dyn Provider> {
        let mut amqp = Amqp::new();
        if let Some(interval) = settings.keep_alive {
            // The hub takes no less than 5 s.
            amqp = amqp.keep_alive(interval.max(std::time::Duration::from_secs(5)));
        }
        if let Some(limit) = settings.connect_timeout {
            amqp = amqp.connect_timeout(limit);
        }
        if let Some(messages) = settings.max_in_flight {
            amqp = amqp.max_in_flight(messages);
        }
        Box::new(amqp)
    }

    fn address(&self, hub: &Hub) -> Option<std::net::SocketAddr> {
        Some(hub.amqp_address())
    }

    /// Faults that are made of MQTT's packets.
    fn knows(&self, fault: &Fault) -> bool {
        let of_mqtt_alone = match fault {
            Fault::Drop { at, .. } => matches!(
                at,
                DropPoint::ConnectReceived
                    | DropPoint::ConnackSent
                    | DropPoint::SubscribeReceived
                    | DropPoint::SubackSent
            ),
            fault => matches!(
                fault,
                Fault::WithholdConnack
                    | Fault::DelayConnack { .. }
                    | Fault::ReorderConnack
                    | Fault::RefuseConnect { .. }
                    | Fault::ReorderPubacks { .. }
                    | Fault::WithholdSuback
                    | Fault::DelaySuback { .. }
                    | Fault::ReorderSuback
                    | Fault::RefuseSubscription
                    | Fault::WithholdPingresp
                    | Fault::DelayPingresp { .. }
                    | Fault::ReorderPingresp
                    | Fault::SessionLost
                    | Fault::DuplicateDelivery
            ),
        };
        !of_mqtt_alone
    }

    fn settles_in_order(&self) -> bool {
        false
    }

    fn marks_repeats(&self) -> bool {
        false
    }
}

#[cfg(feature = "amqp")]
suite!(amqp, OverAmqp);

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
