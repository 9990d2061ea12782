//! What only AMQP has: many clients on one connection, faults of links and sessions, and a runtime inside another.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::time::{Duration, Instant};

use iothub_client::{
    Amqp, ClientBuilder, ConnectionState, ConnectionStatusReason, Device, DeviceClient, Endpoint, Event, Face, Feature,
    ModuleClient, OpId, RetryConfig, SharedTransport, StatusChange, Trust, Waits, wait_any,
};
use iothub_emulator::{Activity, AmqpLink, C2dMessage, Emulator, Fault};

const LIMIT: Duration = Duration::from_secs(30);

fn options<K: Face>(emulator: &Emulator, builder: ClientBuilder<K>) -> ClientBuilder<K> {
    let retry = RetryConfig::default().with_initial_delay(Duration::from_millis(100)).with_jitter(0.0);
    builder.trusted_certs(emulator.ca_pem()).retry_policy(retry)
}

fn reachable(emulator: &Emulator, connection_string: &str) -> String {
    let port = emulator.amqp_address().port();
    format!("{connection_string};GatewayHostName={}:{port}", emulator.host_name())
}

fn shared(emulator: &Emulator) -> SharedTransport {
    let mut endpoint = Endpoint::new(emulator.host_name());
    endpoint.port = Some(emulator.amqp_address().port());
    endpoint.trust = Trust::Pem(emulator.ca_pem());
    SharedTransport::create(endpoint, Amqp::new()).unwrap()
}

fn device(emulator: &Emulator, id: &str, transport: &SharedTransport) -> DeviceClient {
    let device = emulator.create_device(id).unwrap();
    let text = reachable(emulator, device.connection_string());
    options(emulator, DeviceClient::builder(&text)).build(transport).unwrap()
}

/// Turns all clients until `done`.
fn drive(clients: &mut [&mut DeviceClient], mut done: impl FnMut(&mut [&mut DeviceClient]) -> bool) {
    let until = Instant::now() + LIMIT;
    loop {
        clients.iter_mut().for_each(|client| client.do_work());
        if done(clients) {
            return;
        }
        assert!(Instant::now() < until, "it did not become so");
        let mut waits: Vec<&mut dyn Waits> = Vec::new();
        clients.iter_mut().for_each(|client| waits.push(&mut **client));
        wait_any(&mut waits, Duration::from_secs(1));
    }
}

fn ready(clients: &mut [&mut DeviceClient]) {
    drive(clients, |clients| clients.iter().all(|client| client.connection_state() == ConnectionState::Ready));
}

fn statuses(client: &mut DeviceClient) -> Vec<StatusChange> {
    let next = |client: &mut DeviceClient| client.next_event();
    std::iter::from_fn(|| next(client))
        .filter_map(|event| match event {
            Event::Status(change) => Some(change),
            _ => None,
        })
        .collect()
}

fn deliver(client: &mut DeviceClient, text: &'static str) {
    let id: OpId = client.send_event_tracked(text).unwrap();
    let mut confirmed = false;
    drive(&mut [client], |clients| {
        while let Some(event) = clients[0].next_event() {
            confirmed |= matches!(event, Event::Confirmation { id: of, outcome: Ok(()) } if of == id);
        }
        confirmed
    });
}

#[test]
fn many_devices_and_a_module_share_a_connection_with_all_that_they_do() {
    let emulator = Emulator::start().unwrap();
    let transport = shared(&emulator);
    let mut clients: Vec<_> = (0..20).map(|n| device(&emulator, &format!("d{n}"), &transport)).collect();
    let module = emulator.create_module("d0", "m").unwrap();
    let text = reachable(&emulator, module.connection_string());
    let mut module = options(&emulator, ModuleClient::builder(&text)).build(&transport).unwrap();
    for client in &mut clients {
        client.subscribe(Feature::CloudToDevice).unwrap();
        client.subscribe(Feature::DesiredProperties).unwrap();
        client.send_event("hello").unwrap();
    }
    module.send_event("of the module").unwrap();
    let mut all: Vec<&mut DeviceClient> = clients.iter_mut().collect();
    ready(&mut all);
    for n in 0..20 {
        emulator.send_c2d(&format!("d{n}"), C2dMessage::new("down")).unwrap();
    }
    let (mut messages, mut twins) = (0, 0);
    drive(&mut all, |clients| {
        for client in clients.iter_mut() {
            while let Some(event) = client.next_event() {
                match event {
                    Event::Message(message) => {
                        messages += 1;
                        message.complete();
                    }
                    Event::Twin(_) => twins += 1,
                    _ => {}
                }
            }
        }
        messages == 20 && twins == 20 && (0..20).all(|n| emulator.telemetry_count(&format!("d{n}")) == 1)
    });
    drive(&mut all, |_| {
        module.do_work();
        emulator.telemetry_count(("d0", "m")) == 1
    });
    let opened = |activity: &Activity| matches!(activity, Activity::AmqpConnected { .. });
    let carriers: std::collections::BTreeSet<_> = (0..20)
        .flat_map(|n| emulator.activity(&format!("d{n}")))
        .filter(opened)
        .map(|activity| match activity {
            Activity::AmqpConnected { carrier, .. } => carrier,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(carriers.len(), 1, "all on one connection");
}

#[test]
fn a_duplicate_and_a_faulty_device_disturb_nobody_else() {
    let emulator = Emulator::start().unwrap();
    let transport = shared(&emulator);
    let mut good = device(&emulator, "good", &transport);
    let mut other = device(&emulator, "other", &transport);
    ready(&mut [&mut good, &mut other]);
    statuses(&mut good);
    let again = reachable(&emulator, emulator.device("good").unwrap().connection_string());
    let refused = options(&emulator, DeviceClient::builder(&again)).build(&transport).err().unwrap();
    assert!(refused.to_string().contains("registered already"), "{refused}");

    let stranger = reachable(&emulator, "HostName=localhost;DeviceId=stranger;SharedAccessKey=c2VjcmV0");
    let mut stranger = options(&emulator, DeviceClient::builder(&stranger)).build(&transport).unwrap();
    drive(&mut [&mut stranger, &mut good], |clients| clients[0].connection_state() == ConnectionState::Waiting);
    let why = statuses(&mut stranger).pop().unwrap();
    assert_eq!(why.reason, ConnectionStatusReason::BadCredential);

    emulator.inject_for("other", Fault::AmqpEnd { condition: Some("amqp:internal-error".to_owned()) });
    drive(&mut [&mut other, &mut good], |clients| clients[0].stats().connections == 2);
    drop(other);
    drop(stranger);
    deliver(&mut good, "still here");
    assert_eq!(good.stats().connections, 1);
    assert_eq!(statuses(&mut good), []);
}

#[test]
fn whatever_the_hub_ends_with_or_without_a_word_is_made_anew_and_nothing_is_lost() {
    let conditions = [None, Some("amqp:link:detach-forced".to_owned())];
    for condition in conditions {
        let faults = [
            Fault::AmqpDetach { link: AmqpLink::Telemetry, condition: condition.clone() },
            Fault::AmqpDetach { link: AmqpLink::CloudToDevice, condition: condition.clone() },
            Fault::AmqpDetach { link: AmqpLink::TokenReplies, condition: condition.clone() },
            Fault::AmqpEnd { condition: condition.clone() },
            Fault::AmqpClose { condition },
            Fault::KillTcp,
        ];
        for fault in faults {
            let emulator = Emulator::start().unwrap();
            let text = reachable(&emulator, emulator.create_device("d").unwrap().connection_string());
            let mut client = options(&emulator, DeviceClient::builder(&text)).build(&Amqp::new()).unwrap();
            client.subscribe(Feature::CloudToDevice).unwrap();
            ready(&mut [&mut client]);
            emulator.inject_for("d", Fault::DropPubacks { count: 1 });
            let id = client.send_event_tracked("outstanding").unwrap();
            drive(&mut [&mut client], |_| emulator.telemetry_count("d") == 1);
            emulator.inject_for("d", fault.clone());
            let mut confirmed = false;
            drive(&mut [&mut client], |clients| {
                while let Some(event) = clients[0].next_event() {
                    confirmed |= matches!(event, Event::Confirmation { id: of, outcome: Ok(()) } if of == id);
                }
                confirmed
            });
            assert_eq!(client.stats().connections, 2, "{fault:?}");
        }
    }
}

fn works(emulator: &Emulator, id: &str) {
    let text = reachable(emulator, emulator.create_device(id).unwrap().connection_string());
    let mut client = options(emulator, DeviceClient::builder(&text)).build(&Amqp::new()).unwrap();
    deliver(&mut client, "from within");
    client.close(LIMIT);
    let mut dropped: ClientBuilder<Device> = DeviceClient::builder(&text);
    dropped = options(emulator, dropped);
    let mut dropped = dropped.build(&Amqp::new()).unwrap();
    ready(&mut [&mut dropped]);
}

#[test]
fn it_works_inside_another_runtime_and_is_dropped_there() {
    let emulator = Emulator::start().unwrap();
    let one = tokio::runtime::Builder::new_current_thread().build().unwrap();
    one.block_on(async { works(&emulator, "one") });
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    many.block_on(async { works(&emulator, "many") });
}

/// A client that has got so far with its connection: before it, amid it, and behind it.
fn on_its_way(emulator: &Emulator, id: &str, turns: usize) -> DeviceClient {
    let device = emulator.device(id).unwrap_or_else(|| emulator.create_device(id).unwrap());
    let text = reachable(emulator, device.connection_string());
    let mut client = options(emulator, DeviceClient::builder(&text)).build(&Amqp::new()).unwrap();
    client.subscribe(Feature::CloudToDevice).unwrap();
    for _ in 0..turns {
        client.do_work();
        if client.connection_state() == ConnectionState::Ready {
            break;
        }
        client.wait(Duration::from_secs(1));
    }
    client
}

#[test]
fn it_is_dropped_anywhere_at_any_time_without_a_panic() {
    let emulator = Emulator::start().unwrap();
    let one = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for turns in [0, 1, 2, 3, 5, 8, 13, 21, 1000] {
        drop(on_its_way(&emulator, "d", turns));
        for runtime in [&one, &many] {
            runtime.block_on(async {
                drop(on_its_way(&emulator, "d", turns));
                let client = on_its_way(&emulator, "d", turns);
                tokio::task::spawn(async move { drop(client) }).await.unwrap();
                let client = on_its_way(&emulator, "d", turns);
                tokio::task::spawn_blocking(move || drop(client)).await.unwrap();
            });
        }
        // One that shares the connection, within a callback of the other.
        let transport = shared(&emulator);
        let device = |id: &str| {
            let device = emulator.device(id).unwrap_or_else(|| emulator.create_device(id).unwrap());
            let text = reachable(&emulator, device.connection_string());
            options(&emulator, DeviceClient::builder(&text)).build(&transport).unwrap()
        };
        let (mut first, mut second) = (device("first"), device("second"));
        for _ in 0..turns.min(30) {
            second.do_work();
        }
        let mut second = Some(second);
        first.set_connection_status_callback(move |change, _| {
            if change.state != ConnectionState::Connecting {
                drop(second.take());
            }
        });
        ready(&mut [&mut first]);
    }
}

#[test]
fn a_token_is_renewed_on_the_live_connection_and_no_link_notices() {
    let emulator = Emulator::start().unwrap();
    let text = reachable(&emulator, emulator.create_device("d").unwrap().connection_string());
    let builder = options(&emulator, DeviceClient::builder(&text)).token_lifetime(Duration::from_secs(5));
    let mut client = builder.build(&Amqp::new()).unwrap();
    client.subscribe(Feature::CloudToDevice).unwrap();
    ready(&mut [&mut client]);
    statuses(&mut client);
    let attached = || {
        let is_one = |activity: &Activity| matches!(activity, Activity::AmqpAttached { .. });
        emulator.activity("d").into_iter().filter(is_one).count()
    };
    let before = attached();
    drive(&mut [&mut client], |clients| clients[0].stats().renewals == 2);
    let id = client.send_event_tracked("after the first token's life").unwrap();
    let mut heard = Vec::new();
    drive(&mut [&mut client], |clients| {
        heard.extend(std::iter::from_fn(|| clients[0].next_event()));
        heard.iter().any(|event| matches!(event, Event::Confirmation { id: of, outcome: Ok(()) } if *of == id))
    });
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!((client.stats().connections, client.stats().resent, attached()), (1, 0, before));
}
