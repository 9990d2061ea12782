//! An idle client sleeps: it wakes at keep-alive rate, and nobody polls.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test fails by panicking")]

use std::time::Duration;

use iothub_client::{ConnectionState, DeviceClient, Mqtt};
use iothub_emulator::{Activity, Emulator};

const LIMIT: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

/// Nanoseconds that this thread has spent on a CPU, where the system tells.
fn cpu_time() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[test]
fn a_connected_idle_client_wakes_at_keep_alive_rate() {
    let hub = Emulator::start().unwrap();
    let device = hub.create_device("sleeper").unwrap();
    let gateway = format!("GatewayHostName=localhost:{}", hub.mqtt_address().port());
    let mut client = DeviceClient::builder(&format!("{};{gateway}", device.connection_string()))
        .trusted_certs(hub.ca_pem())
        .build(&Mqtt::new().keep_alive(Duration::from_secs(1)))
        .unwrap();
    let started = std::time::Instant::now();
    while client.connection_state() != ConnectionState::Ready {
        assert!(started.elapsed() < LIMIT, "{client:?}");
        client.do_work();
        client.wait(Duration::from_secs(1));
    }

    // Ten keep-alive requests are ten seconds; then the waker ends the wait.
    let pings = |hub: &iothub_emulator::Hub| {
        hub.activity("sleeper").iter().filter(|activity| matches!(activity, Activity::Ping { .. })).count()
    };
    let first = pings(&hub);
    let watcher = std::thread::spawn({
        let (hub, waker) = (hub.hub(), client.waker());
        move || {
            let result = hub.wait_until(LIMIT, "ten keep-alive requests", |hub| pings(hub) >= first + 10);
            waker.wake();
            result
        }
    });
    let (returns, cpu) = (client.stats().poller_returns, cpu_time());
    while !watcher.is_finished() {
        client.do_work();
        client.wait(HOUR);
    }
    watcher.join().unwrap().unwrap();

    let returns = client.stats().poller_returns - returns;
    if let (Some(before), Some(after)) = (cpu, cpu_time()) {
        println!("idle for 10 keep-alive intervals: {returns} returns, {:.2} ms CPU", (after - before) as f64 / 1e6);
    }
    assert!(returns <= 25, "{returns} returns from the poller");
    assert_eq!(client.connection_state(), ConnectionState::Ready);
    assert_eq!(client.stats().connections, 1);
}
