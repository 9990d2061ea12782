//! Where the client runs, and which threads it starts. One test, because it counts the threads of the process.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use iothub_client::{DeviceClient, Event, Feature, Mqtt};
use iothub_emulator::{C2dMessage, Emulator, Hub};

const LIMIT: Duration = Duration::from_secs(30);

/// Ids and names of the threads of this process.
fn threads() -> BTreeSet<(String, String)> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return BTreeSet::new() };
    let name = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        Some((task.file_name().to_string_lossy().into_owned(), name.trim().to_owned()))
    };
    tasks.flatten().filter_map(name).collect()
}

/// A whole session: connect by name, send, receive, close. Returns the names of the threads that came up meanwhile.
fn session(hub: &Hub, device: &str) -> BTreeSet<String> {
    let before = threads();
    let mut seen = BTreeSet::new();
    let device_string = hub.create_device(device).unwrap().connection_string().to_owned();
    let gateway = format!("GatewayHostName=localhost:{}", hub.mqtt_address().port());
    let mut client = DeviceClient::builder(&format!("{device_string};{gateway}"))
        .trusted_certs(hub.ca_pem())
        .build(&Mqtt::new())
        .unwrap();
    client.subscribe(Feature::CloudToDevice);
    client.send_event("hello").unwrap();
    hub.send_c2d(device, C2dMessage::new("welcome")).unwrap();
    let started = Instant::now();
    let mut received = 0;
    while received == 0 || client.stats().delivered == 0 {
        assert!(started.elapsed() < LIMIT, "{client:?}");
        client.do_work();
        while let Some(event) = client.next_event() {
            if let Event::Message(message) = event {
                message.complete();
                received += 1;
            }
        }
        seen.extend(threads().difference(&before).map(|(_, name)| name.clone()));
        client.wait(Duration::from_secs(1));
    }
    client.close(LIMIT);
    drop(client);
    assert_eq!(hub.telemetry(device).len(), 1);
    // The acknowledgement has left the client before `close` returned; the hub may still have to read it.
    hub.wait_until(LIMIT, "the message to be completed", |hub| hub.c2d_outcomes(device).len() == 1).unwrap();
    seen
}

#[test]
fn the_client_runs_anywhere_and_starts_no_thread_but_the_resolvers() {
    let hub = Emulator::start().unwrap();
    let allowed = BTreeSet::from(["iothub-resolver".to_owned()]);

    let seen = session(&hub, "plain-thread");
    println!("plain thread: {seen:?}");
    assert!(seen.is_subset(&allowed), "{seen:?}");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let seen = runtime.block_on(async { session(&hub, "current-thread-runtime") });
    println!("current-thread runtime: {seen:?}");
    assert!(seen.is_subset(&allowed), "{seen:?}");

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let seen = runtime.block_on(async {
        // On a worker, as a task of an application would be; the client is `Send`, so it may cross threads there.
        let hub = hub.hub();
        tokio::spawn(async move { session(&hub, "multi-thread-runtime") }).await.unwrap()
    });
    println!("multi-thread runtime: {seen:?}");
    assert!(seen.is_subset(&allowed), "{seen:?}");
}
