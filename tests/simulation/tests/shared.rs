//! Several devices on one AMQP connection: what goes wrong with one is no event for the others.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use iothub_core::{DeviceClient, Endpoint, Event, Feature, SharedTransport, Waits, wait_any};
use iothub_emulator::{AmqpLink, AmqpOutcome, C2dMessage, CbsFault, Fault, MethodCall};
use iothub_simulation::{Over, Sim};
use serde_json::json;

const DEVICES: usize = 5;
const ROUNDS: usize = 12;
const ROUND: Duration = Duration::from_secs(15);

/// The one with which things go wrong, and when.
const FAULTY: usize = 0;
const FAULTY_ROUND: usize = 5;

/// Shorter than a run, so that tokens are renewed.
const LIFE: Duration = Duration::from_secs(100);

struct Fleet {
    sim: Sim,
    clients: Vec<DeviceClient>,
    /// What each heard, and when.
    logs: Vec<Vec<(Duration, String)>>,
    /// How many messages of each have their outcome.
    confirmed: Vec<usize>,
}

fn id(device: usize) -> String {
    format!("d{device}")
}

impl Fleet {
    fn new() -> Self {
        let sim = Sim::new(1).over(Over::Amqp);
        let texts: Vec<_> = (0..DEVICES).map(|device| sim.create_device(&id(device)).unwrap()).collect();
        let shared = SharedTransport::create(Endpoint::new(sim.hub().host_name()), sim.provider()).unwrap();
        let make = |text: &String| {
            let mut client = DeviceClient::builder(text).token_lifetime(LIFE).build(&shared).unwrap();
            for feature in [Feature::CloudToDevice, Feature::DesiredProperties, Feature::Methods] {
                client.subscribe(feature).unwrap();
            }
            client
        };
        let clients = texts.iter().map(make).collect();
        Self { sim, clients, logs: vec![Vec::new(); DEVICES], confirmed: vec![0; DEVICES] }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.sim.elapsed() + time;
        while self.sim.elapsed() < end {
            for device in 0..DEVICES {
                self.clients[device].do_work();
                while let Some(event) = self.clients[device].next_event() {
                    self.hear(device, event);
                }
            }
            let left = end - self.sim.elapsed();
            wait_any(&mut self.clients.iter_mut().map(|client| client as &mut dyn Waits).collect::<Vec<_>>(), left);
        }
    }

    fn hear(&mut self, device: usize, event: Event) {
        self.logs[device].push((self.sim.elapsed(), format!("{event:?}")));
        match event {
            Event::Message(message) => message.complete(),
            Event::Method(request) => request.respond(200, "{}").unwrap(),
            Event::Confirmation { .. } => self.confirmed[device] += 1,
            _ => {}
        }
    }

    /// A little of everything, for each.
    fn round(&mut self, round: usize) {
        let hub = self.sim.hub().clone();
        let calls: Vec<_> = (0..DEVICES)
            .map(|device| {
                let client = &mut self.clients[device];
                for n in 0..3 {
                    client.send_event_tracked(format!("{round}:{n}")).unwrap();
                }
                client.send_reported_state_tracked(json!({ "round": round }).to_string()).unwrap();
                hub.send_c2d(&id(device), C2dMessage::new("x").message_id(round.to_string())).unwrap();
                hub.patch_desired(&id(device), json!({ "round": round })).unwrap();
                hub.start_method(&id(device), MethodCall::new("do").connect_timeout(ROUND)).unwrap()
            })
            .collect();
        self.pass(ROUND);
        drop(calls);
    }
}

/// A run in which this goes wrong with one device.
fn run(faults: &[Fault]) -> Fleet {
    let mut fleet = Fleet::new();
    for round in 0..ROUNDS {
        if round == FAULTY_ROUND {
            for fault in faults {
                fleet.sim.hub().inject_for(&id(FAULTY), fault.clone());
            }
        }
        fleet.round(round);
    }
    // What the hub has left without an outcome is sent again after a minute.
    fleet.pass(Duration::from_secs(120));
    fleet
}

fn condition(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// What can go wrong with one device, and not with its connection.
fn troubles() -> Vec<Vec<Fault>> {
    let mut troubles = Vec::new();
    for link in [
        AmqpLink::Telemetry,
        AmqpLink::CloudToDevice,
        AmqpLink::TwinRequests,
        AmqpLink::TwinReplies,
        AmqpLink::MethodRequests,
        AmqpLink::MethodResponses,
    ] {
        let detach = |condition| Fault::AmqpDetach { link, condition };
        troubles.push(vec![detach(None)]);
        troubles.push(vec![detach(condition("amqp:link:detach-forced"))]);
        // The session ends, and on the way back this link is refused.
        let end = Fault::AmqpEnd { condition: None };
        troubles.push(vec![end.clone(), Fault::AmqpRefuseAttach { link, condition: "amqp:internal-error".to_owned() }]);
        troubles.push(vec![end.clone(), Fault::AmqpWithholdCredit { link }]);
        troubles.push(vec![end, Fault::AmqpWrongSettleMode { link }]);
    }
    troubles.extend([
        vec![Fault::AmqpEnd { condition: None }],
        vec![Fault::AmqpEnd { condition: condition("amqp:unauthorized-access") }],
        vec![Fault::Cbs(CbsFault::Withhold)],
        vec![Fault::Cbs(CbsFault::Status(401))],
        vec![Fault::Cbs(CbsFault::Status(503))],
        vec![Fault::DropPubacks { count: 2 }],
        vec![Fault::AmqpOutcome(AmqpOutcome::Released)],
        vec![Fault::Throttle { lasts: Duration::from_secs(20) }],
        vec![Fault::LateMethod { by: Duration::from_secs(20) }],
    ]);
    troubles
}

#[test]
fn what_goes_wrong_with_one_device_is_no_event_for_the_others() {
    let quiet = run(&[]);
    assert_eq!(quiet.confirmed, [ROUNDS * 3; DEVICES]);
    for faults in troubles() {
        let fleet = run(&faults);
        assert_ne!(fleet.logs[FAULTY], quiet.logs[FAULTY], "{faults:?} had no effect");
        for device in (0..DEVICES).filter(|device| *device != FAULTY) {
            for (event, expected) in fleet.logs[device].iter().zip(&quiet.logs[device]) {
                assert_eq!(event, expected, "device {device} with {faults:?}");
            }
            assert_eq!(fleet.logs[device].len(), quiet.logs[device].len(), "device {device} with {faults:?}");
        }
        assert_eq!(fleet.confirmed, quiet.confirmed, "each message has its outcome, with {faults:?}");
    }
}

#[test]
fn the_end_of_the_connection_is_an_outage_for_all_and_loses_nothing() {
    for fault in [
        Fault::KillTcp,
        Fault::AmqpClose { condition: None },
        Fault::AmqpClose { condition: condition("amqp:connection:forced") },
        Fault::AmqpDetach { link: AmqpLink::TokenRequests, condition: None },
        Fault::AmqpDetach { link: AmqpLink::TokenReplies, condition: condition("amqp:internal-error") },
    ] {
        let fleet = run(std::slice::from_ref(&fault));
        assert_eq!(fleet.confirmed, [ROUNDS * 3; DEVICES], "{fault:?}");
        for device in 0..DEVICES {
            assert_eq!(fleet.clients[device].stats().connections, 2, "device {device} with {fault:?}");
            assert!(fleet.sim.hub().telemetry_count(&id(device)) >= ROUNDS * 3);
            assert!(fleet.sim.hub().c2d_queue(&id(device)).is_empty());
        }
    }
}
