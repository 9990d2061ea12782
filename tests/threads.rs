//! Where the client runs, and which threads it starts. One test, because it counts the threads of the process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use iothub_client::{DeviceClient, Event, Feature, Mqtt, Provider};
use iothub_emulator::{C2dMessage, Emulator, Hub};

const LIMIT: Duration = Duration::from_secs(30);

/// Ids and names of the threads of this process.
fn threads() -> BTreeMap<String, String> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return BTreeMap::new() };
    let name = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        Some((task.file_name().to_string_lossy().into_owned(), name.trim().to_owned()))
    };
    tasks.flatten().filter_map(name).collect()
}

/// One look-up of a name is one thread, and nothing else starts one.
fn check(place: &str, started: &BTreeMap<String, String>) {
    println!("{place}: {started:?}");
    assert!(started.len() <= 1, "{place}: {started:?}");
    // A thread bears its parent's name until it has set its own.
    let parent = std::fs::read_to_string("/proc/thread-self/comm").unwrap_or_default();
    let allowed = |name: &String| name == "iothub-resolver" || name == parent.trim();
    assert!(started.values().all(allowed), "{place}: {started:?}");
}

/// A session over each protocol that keeps a connection.
fn sessions(hub: &Hub, place: &str) {
    session(hub, &format!("{place}-mqtt"), &Mqtt::new(), hub.mqtt_address().port());
    #[cfg(feature = "amqp")]
    session(hub, &format!("{place}-amqp"), &iothub_client::Amqp::new(), hub.amqp_address().port());
}

/// A whole session: connect by name, send, receive, close. Looks at the threads that come up meanwhile.
fn session(hub: &Hub, device: &str, protocol: &dyn Provider, port: u16) {
    let before = threads();
    let mut started = BTreeMap::new();
    let device_string = hub.create_device(device).unwrap().connection_string().to_owned();
    let gateway = format!("GatewayHostName=localhost:{port}");
    let mut client = DeviceClient::builder(&format!("{device_string};{gateway}"))
        .trusted_certs(hub.ca_pem())
        .build(protocol)
        .unwrap();
    client.subscribe(Feature::CloudToDevice).unwrap();
    client.send_event("hello").unwrap();
    hub.send_c2d(device, C2dMessage::new("welcome")).unwrap();
    let limit = Instant::now() + LIMIT;
    let mut received = 0;
    loop {
        assert!(Instant::now() < limit, "{client:?}");
        client.do_work();
        while let Some(event) = client.next_event() {
            if let Event::Message(message) = event {
                message.complete();
                received += 1;
            }
        }
        started.extend(threads().into_iter().filter(|(id, _)| !before.contains_key(id)));
        if received > 0 && client.stats().delivered > 0 {
            break;
        }
        client.wait(LIMIT);
    }
    client.close(LIMIT);
    drop(client);
    assert_eq!(hub.telemetry(device).len(), 1);
    // The acknowledgement has left the client before `close` returned; the hub may still have to read it.
    hub.wait_until(LIMIT, "the message to be completed", |hub| hub.c2d_outcomes(device).len() == 1).unwrap();
    check(device, &started);
}

#[test]
fn the_client_runs_anywhere_and_starts_no_thread_but_the_resolvers() {
    let hub = Emulator::start().unwrap();
    sessions(&hub, "plain-thread");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { sessions(&hub, "current-thread-runtime") });

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        // On a worker, as a task of an application would be.
        let hub = hub.hub();
        tokio::spawn(async move { sessions(&hub, "multi-thread-runtime") }).await.unwrap();
    });
}
