//! What a client costs beside its CPU: allocations, bytes on the wire, memory, idle calls, wake-up latency; beside
//! rumqttc's stock event loop in the same run.
//!
//! ```sh
//! cargo bench --bench footprint
//! ```
//!
//! Times are the median of five rounds. Our client speaks TLS; the rival does not (see `support/rival.rs`), so its memory is
//! smaller by a TLS session.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints, and fails by panicking"
)]

mod support;

use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use bytes::Bytes;
use iothub_client::{ConnectionState, DeviceClient, Waits, wait_any};
use support::figures::{median, resident, verdict};
use support::sink::Sink;
use support::{ours, rival};

const ROUNDS: usize = 5;
const CLIENTS: usize = 1000;

/// What the C SDK needs for a message of 1,024 B over MQTT and TLS, from its own resource table.
const WIRE_BYTES_OF_C: f64 = 1242.0;

fn main() -> ExitCode {
    match std::env::args().skip_while(|argument| argument != "--clients").nth(1).as_deref() {
        Some("ours") => return thousand_of_ours(),
        Some("rival") => return thousand_of_rivals(),
        _ => {}
    }
    let sink = Sink::start();
    let met = [allocations(&sink), bytes_on_the_wire(&sink), idle_calls(&sink), wake_ups(&sink), memory(&sink)];
    if met.iter().all(|met| *met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn allocations(sink: &Sink) -> bool {
    const COUNT: u64 = 10_000;
    let payload = Bytes::from(vec![b'x'; 256]);
    let mut client = ours::connect(sink, 100);
    ours::send(&mut client, &payload, COUNT, 100);
    let ours = measure(|| ours::send(&mut client, &payload, COUNT, 100)).count_total as f64 / COUNT as f64;
    let mut client = rival::connect(sink, 100);
    rival::send(&mut client, "devices/bench/messages/events/", &payload, COUNT);
    let rival = measure(|| rival::send(&mut client, "devices/bench/messages/events/", &payload, COUNT));
    println!("allocations per send: iothub-client {ours:.3}, rumqttc {:.3}", rival.count_total as f64 / COUNT as f64);
    verdict("allocations per steady-state send", ours, 2.0, "")
}

fn bytes_on_the_wire(sink: &Sink) -> bool {
    let payload = Bytes::from(vec![b'x'; 1024]);
    let mut client = ours::connect(sink, 1);
    ours::send(&mut client, &payload, 10, 1);
    let before = sink.tls_bytes_in.load(Ordering::Relaxed);
    ours::send(&mut client, &payload, 100, 1);
    let bytes = (sink.tls_bytes_in.load(Ordering::Relaxed) - before) as f64 / 100.0;
    println!("bytes on the wire for a message of 1,024 B, TLS included: {bytes:.0}");
    verdict("bytes on the wire for 1,024 B", bytes, WIRE_BYTES_OF_C, "B")
}

fn idle_calls(sink: &Sink) -> bool {
    const CALLS: u32 = 200_000;
    let mut client = ours::connect(sink, 1);
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        for _ in 0..CALLS {
            client.do_work();
        }
        start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
    });
    let micros = median(rounds.collect());
    println!("idle do_work, connected: {micros:.3} us (one read that finds nothing)");
    verdict("idle do_work", micros, 0.5, "us")
}

fn wake_ups(sink: &Sink) -> bool {
    let mut rounds: Vec<(bool, f64)> = Vec::new();
    let mut plan: Vec<bool> = [true, false].repeat(ROUNDS);
    fastrand::shuffle(&mut plan);
    for is_ours in plan {
        let late = if is_ours { ours::wake_ups(sink) } else { rival::wake_ups(sink) };
        rounds.push((is_ours, median(late) / 1e3));
    }
    let of = |ours| median(rounds.iter().filter(|(is_ours, _)| *is_ours == ours).map(|(_, micros)| *micros).collect());
    println!(
        "from the hub's write to the application, p50: iothub-client {:.1} us, rumqttc {:.1} us",
        of(true),
        of(false)
    );
    verdict("wake-up p50", of(true), 150.0, "us")
}

/// Memory of 1,000 idle clients, each kind in a process of its own, and the heap of one.
fn memory(sink: &Sink) -> bool {
    // The first client of a process loads what all share.
    drop(ours::connect(sink, 1));
    let mut client = None;
    let heap = measure(|| client = Some(ours::connect(sink, 1))).bytes_current;
    println!("heap of an idle client, its TLS session included: {:.1} KiB", heap as f64 / 1024.0);
    drop(client);
    for kind in ["ours", "rival"] {
        let per_client = run_clients(sink, kind);
        let name = if kind == "ours" { "iothub-client, TLS" } else { "rumqttc, no TLS" };
        println!("resident memory per client of {CLIENTS} idle ones on one thread, {name}: {per_client}");
    }
    true
}

fn run_clients(sink: &Sink, kind: &str) -> String {
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--clients", kind])
        .env("SINK_TLS", sink.tls.to_string())
        .env("SINK_PLAIN", sink.plain.to_string())
        .env("SINK_CA", &sink.ca_pem)
        .stdout(Stdio::piped())
        .spawn()
        .and_then(Child::wait_with_output)
        .expect("this program again");
    assert!(child.status.success(), "{kind} failed");
    String::from_utf8_lossy(&child.stdout).trim().to_owned()
}

/// The sink of the parent process.
fn parents_sink() -> Sink {
    let variable = |name| std::env::var(name).expect("set by the parent");
    Sink {
        tls: variable("SINK_TLS").parse().expect("an address"),
        plain: variable("SINK_PLAIN").parse().expect("an address"),
        ca_pem: variable("SINK_CA"),
        tls_bytes_in: Default::default(),
        epoch: Instant::now(),
    }
}

fn thousand_of_ours() -> ExitCode {
    let sink = parents_sink();
    drop(ours::connect(&sink, 1));
    let before = resident();
    let mut clients: Vec<DeviceClient> = (0..CLIENTS).map(|_| ours::create(&sink, 1)).collect();
    while clients.iter().any(|client| client.connection_state() != ConnectionState::Ready) {
        clients.iter_mut().for_each(DeviceClient::do_work);
        let mut all: Vec<&mut dyn Waits> = clients.iter_mut().map(|client| client as &mut dyn Waits).collect();
        wait_any(&mut all, Duration::from_millis(100));
    }
    report(before)
}

fn thousand_of_rivals() -> ExitCode {
    let sink = parents_sink();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let before = resident();
        let mut connecting = tokio::task::JoinSet::new();
        for _ in 0..CLIENTS {
            let (client, mut events) = rumqttc::AsyncClient::new(rival::options(&sink, 1), 10);
            connecting.spawn(async move {
                while !matches!(events.poll().await, Ok(rumqttc::Event::Incoming(rumqttc::Packet::ConnAck(_)))) {}
                (client, events)
            });
        }
        let connected = connecting.join_all().await;
        let code = report(before);
        drop(connected);
        code
    })
}

fn report(before: u64) -> ExitCode {
    println!("{:.1} KiB", (resident() - before) as f64 / 1024.0 / CLIENTS as f64);
    ExitCode::SUCCESS
}
