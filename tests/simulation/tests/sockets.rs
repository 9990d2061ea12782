//! One renewal as it really is: TLS over loopback, the machine's clock, a token of the shortest life.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use iothub_core::{ConnectionState, DeviceClient, Event};
use iothub_emulator::{Activity, Config, DisconnectReason, Emulator};
use iothub_transport_mqtt::Mqtt;

const DEVICE: &str = "d";

/// The shortest life that a token may have; it is renewed after 4 s.
const LIFE: Duration = Duration::from_secs(5);

const LIMIT: Duration = Duration::from_secs(30);

/// A message is sent about as often.
const INTERVAL: Duration = Duration::from_millis(5);

#[test]
fn a_token_is_renewed_over_real_sockets_without_loss_repetition_or_outage() {
    let emulator = Emulator::start_with(Config::new().with_sas_grace(Duration::ZERO)).unwrap();
    let device = emulator.create_device(DEVICE).unwrap();
    let gateway = format!("GatewayHostName={}:{}", emulator.host_name(), emulator.mqtt_address().port());
    let mut client = DeviceClient::builder(&format!("{};{gateway}", device.connection_string()))
        .trusted_certs(emulator.ca_pem())
        .token_lifetime(LIFE)
        .build(&Mqtt::new())
        .unwrap();

    let (mut sent, mut waiting, mut states) = (0, BTreeSet::new(), Vec::new());
    let end = Instant::now() + LIMIT;
    // One message more is sent and confirmed on the new connection.
    while client.stats().connections < 2 || !waiting.is_empty() {
        assert!(Instant::now() < end, "no renewal within {LIMIT:?}: {states:?}");
        if client.stats().connections < 2 || states.last() != Some(&ConnectionState::Ready) {
            waiting.insert(client.send_event_tracked(sent.to_string()).unwrap());
            sent += 1;
        }
        client.do_work();
        while let Some(event) = client.next_event() {
            match event {
                Event::Status(change) => states.push(change.state),
                Event::Confirmation { id, outcome } => {
                    outcome.unwrap();
                    assert!(waiting.remove(&id), "one outcome for each");
                }
                other => panic!("{other:?}"),
            }
        }
        client.wait(INTERVAL);
    }

    use ConnectionState::{Connected, Connecting, Ready, Renewing};
    assert_eq!(states, [Connecting, Connected, Ready, Renewing, Connected, Ready]);
    let stored = emulator.telemetry(DEVICE);
    let bodies: Vec<_> = stored.iter().map(|record| String::from_utf8_lossy(&record.body).into_owned()).collect();
    assert_eq!(bodies, (0..sent).map(|n: u32| n.to_string()).collect::<Vec<_>>(), "each once, in order");
    let first = emulator.activity(DEVICE).into_iter().find_map(|activity| match activity {
        Activity::Disconnected { why, .. } => Some(why),
        _ => None,
    });
    assert_eq!(first, Some(DisconnectReason::ByDevice), "the hub did not have to end it");
}
