//! What a client costs beside its CPU: allocations, bytes on the wire, memory, idle calls, wake-up latency; beside
//! rumqttc's stock event loop in the same run.
//!
//! ```sh
//! cargo bench --all-features --bench footprint
//! ```
//!
//! Times are the median of five rounds. Both speak TLS.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints, and fails by panicking"
)]

mod support;

use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use allocation_counter::measure;
use bytes::Bytes;
use iothub_client::{ConnectionState, DeviceClient, IncomingMessage, Outbox, Waits, wait_any};
use support::figures::{median, resident, thread_cpu, verdict};
use support::ours;
use support::rival::{Rival, wall_nanos};
use support::sink::Sink;
use support::sink::mqtt::{self, PUSH_TOPIC, PUSHES};

const ROUNDS: usize = 5;
const CLIENTS: usize = 1000;

/// What the C SDK needs for a message of 1,024 B over MQTT and TLS, from its own resource table.
const WIRE_BYTES_OF_C: f64 = 1242.0;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--clients") {
        return thousand_clients();
    }
    let sink = mqtt::start();
    let rival = Rival::build("rumqttc", &sink);
    let met = [
        allocations(&sink, &rival),
        bytes_on_the_wire(&sink),
        idle_calls(&sink),
        wake_ups(&sink, &rival),
        memory(&sink, &rival),
    ];
    if met.iter().all(|met| *met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn allocations(sink: &Sink, rival: &Rival) -> bool {
    const COUNT: u64 = 10_000;
    let payload = Bytes::from(vec![b'x'; 256]);
    let mut client = ours::connect(sink, 100);
    ours::send(&mut client, &payload, COUNT, 100);
    let ours = measure(|| ours::send(&mut client, &payload, COUNT, 100)).count_total as f64 / COUNT as f64;
    println!("allocations per send: iothub-client {ours:.3}, rumqttc {:.3}", rival.run(&["allocations"])[0]);
    verdict("allocations per steady-state send", ours, 2.0, "")
}

fn bytes_on_the_wire(sink: &Sink) -> bool {
    let payload = Bytes::from(vec![b'x'; 1024]);
    let mut client = ours::connect(sink, 1);
    ours::send(&mut client, &payload, 10, 1);
    let before = sink.bytes_in.load(Ordering::Relaxed);
    ours::send(&mut client, &payload, 100, 1);
    let bytes = (sink.bytes_in.load(Ordering::Relaxed) - before) as f64 / 100.0;
    println!("bytes on the wire for a message of 1,024 B, TLS included: {bytes:.0}");
    verdict("bytes on the wire for 1,024 B", bytes, WIRE_BYTES_OF_C, "B")
}

fn idle_calls(sink: &Sink) -> bool {
    const CALLS: u32 = 200_000;
    let mut client = ours::connect(sink, 1);
    let rounds = (0..ROUNDS).map(|_| {
        let start = thread_cpu();
        for _ in 0..CALLS {
            client.do_work();
        }
        (thread_cpu() - start).as_secs_f64() * 1e6 / f64::from(CALLS)
    });
    let micros = median(rounds.collect());
    println!("idle do_work, connected: {micros:.3} us (one read that finds nothing)");
    verdict("idle do_work", micros, 0.5, "us")
}

fn wake_ups(sink: &Sink, rival: &Rival) -> bool {
    let pushes = PUSHES.to_string();
    let mut rounds: Vec<(bool, f64)> = Vec::new();
    let mut plan: Vec<bool> = [true, false].repeat(ROUNDS);
    fastrand::shuffle(&mut plan);
    for is_ours in plan {
        let late = if is_ours { wake_ups_of_ours(sink) } else { rival.run(&["wake-ups", PUSH_TOPIC, &pushes]) };
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

/// How late messages from the sink are seen, in nanoseconds.
fn wake_ups_of_ours(sink: &Sink) -> Vec<f64> {
    let late = Arc::new(Mutex::new(Vec::new()));
    let mut client = ours::create(sink, 1);
    let seen = late.clone();
    let callback = move |message: IncomingMessage, _: &mut Outbox<_>| {
        let sent = u64::from_be_bytes(message.payload().as_ref().try_into().expect("a time"));
        seen.lock().expect("no panic").push(wall_nanos().saturating_sub(sent) as f64);
        message.complete();
    };
    client.set_message_callback(callback).expect("MQTT has messages");
    while late.lock().expect("no panic").len() < PUSHES {
        client.do_work();
        client.wait(ours::FOREVER);
    }
    let late = late.lock().expect("no panic");
    late.clone()
}

/// Memory of 1,000 idle clients, each kind in a process of its own, and the heap of one.
fn memory(sink: &Sink, rival: &Rival) -> bool {
    // The first client of a process loads what all share.
    drop(ours::connect(sink, 1));
    let mut client = None;
    let heap = measure(|| client = Some(ours::connect(sink, 1))).bytes_current;
    println!("heap of an idle client, its TLS session included: {:.1} KiB", heap as f64 / 1024.0);
    drop(client);
    let child = Command::new(std::env::current_exe().expect("this program"))
        .arg("--clients")
        .env("SINK_ADDRESS", sink.address.to_string())
        .env("SINK_CA", &sink.ca_pem)
        .stdout(Stdio::piped())
        .spawn()
        .and_then(Child::wait_with_output)
        .expect("this program again");
    assert!(child.status.success(), "the clients' process failed");
    let ours: f64 = String::from_utf8_lossy(&child.stdout).trim().parse().expect("a figure");
    let theirs = rival.run(&["clients", &CLIENTS.to_string()])[0];
    println!(
        "resident memory per client of {CLIENTS} idle ones on one thread: iothub-client {:.1} KiB, rumqttc {:.1} KiB",
        ours / 1024.0,
        theirs / 1024.0
    );
    true
}

/// In a process of its own: connects, parks on all through one wait, and prints resident bytes per client.
fn thousand_clients() -> ExitCode {
    let variable = |name| std::env::var(name).expect("set by the parent");
    let address = variable("SINK_ADDRESS").parse().expect("an address");
    let sink = Sink { address, ca_pem: variable("SINK_CA"), bytes_in: Default::default() };
    drop(ours::connect(&sink, 1));
    let before = resident();
    let mut clients: Vec<DeviceClient> = (0..CLIENTS).map(|_| ours::create(&sink, 1)).collect();
    while clients.iter().any(|client| client.connection_state() != ConnectionState::Ready) {
        clients.iter_mut().for_each(DeviceClient::do_work);
        let mut all: Vec<&mut dyn Waits> = clients.iter_mut().map(|client| client as &mut dyn Waits).collect();
        wait_any(&mut all, Duration::from_millis(100));
    }
    println!("{}", (resident() - before) as f64 / CLIENTS as f64);
    ExitCode::SUCCESS
}
