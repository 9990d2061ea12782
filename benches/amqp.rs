//! AMQP: CPU per message of telemetry, one message a transfer and batched, of one device and of 500 on a connection, beside
//! fe2o3-amqp used plainly in the same run; and what a call of `do_work` costs when there is nothing to do.
//!
//! ```sh
//! cargo bench --features amqp --bench amqp
//! ```
//!
//! 256 B messages to a sink in this process, windows of 100. Each figure is the median of five rounds, whose order is shuffled.
//! All speak TLS; only the client's thread counts.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints, and fails by panicking"
)]

mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use iothub_client::{Amqp, ConnectionState, DeviceClient, Endpoint, Feature, SharedTransport, Trust, Waits, wait_any};
use iothub_emulator::Emulator;
use support::figures::{median, thread_cpu, verdict};
use support::ours;
use support::rival::Rival;
use support::sink::{Sink, amqp};

const ROUNDS: usize = 5;
const WINDOW: u64 = 100;
const COUNT: u64 = 50_000;

/// Of so many devices on one connection, each sends so many messages, and waits for no more than so many at a time.
const DEVICES: usize = 500;
const COUNT_EACH: u64 = 100;
const WINDOW_EACH: u64 = 10;

/// Batched, a message may cost this part of the rival's CPU at the most.
const BATCHED: f64 = 1.0 / 4.0;

/// Microseconds that a call may cost when there is nothing to do.
const IDLE: f64 = 2.0;

#[derive(Clone, Copy, PartialEq)]
enum Driver {
    Batched,
    Single,
    ManyDevices,
    Rival,
}

const DRIVERS: [(Driver, &str); 4] = [
    (Driver::Batched, "iothub-client, batched"),
    (Driver::Single, "iothub-client, one message a transfer"),
    (Driver::ManyDevices, "iothub-client, 500 devices, batched"),
    (Driver::Rival, "fe2o3-amqp, one message a transfer"),
];

fn main() -> ExitCode {
    let sink = amqp::start();
    let rival = Rival::build("fe2o3", &sink);
    let payload = Bytes::from(vec![b'x'; 256]);
    let mut plan: Vec<Driver> = DRIVERS.iter().flat_map(|(driver, _)| [*driver; ROUNDS]).collect();
    fastrand::shuffle(&mut plan);
    let mut rounds: Vec<(Driver, f64)> = Vec::new();
    for (number, driver) in plan.into_iter().enumerate() {
        let name = DRIVERS.iter().find(|(other, _)| *other == driver).map_or("", |(_, name)| name);
        eprint!("\rround {} of {}: {name:<40}", number + 1, DRIVERS.len() * ROUNDS);
        rounds.push((driver, run(&sink, &rival, driver, &payload)));
    }
    eprintln!();
    let of = |driver| median(rounds.iter().filter(|round| round.0 == driver).map(|round| round.1).collect());
    println!("client                                   CPU us/message");
    for (driver, name) in DRIVERS {
        println!("{name:<40} {:>14.3}", of(driver));
    }
    let part = of(Driver::Batched) / of(Driver::Rival);
    let met = [
        verdict("CPU per message, batched, part of plain fe2o3-amqp's", part, BATCHED, ""),
        verdict("idle do_work over AMQP, every link attached", idle_call(), IDLE, "us"),
    ];
    if met.iter().all(|met| *met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// CPU microseconds a message.
fn run(sink: &Sink, rival: &Rival, driver: Driver, payload: &Bytes) -> f64 {
    match driver {
        Driver::Batched | Driver::Single => {
            let mut client = ours::connect_over_amqp(sink, WINDOW as usize, driver == Driver::Batched);
            ours::send(&mut client, payload, COUNT / 10, WINDOW);
            let start = thread_cpu();
            ours::send(&mut client, payload, COUNT, WINDOW);
            (thread_cpu() - start).as_secs_f64() * 1e6 / COUNT as f64
        }
        Driver::ManyDevices => {
            let mut clients = many_devices(sink);
            send_from_all(&mut clients, payload, COUNT_EACH / 10);
            let start = thread_cpu();
            send_from_all(&mut clients, payload, COUNT_EACH);
            (thread_cpu() - start).as_secs_f64() * 1e6 / (COUNT_EACH * DEVICES as u64) as f64
        }
        Driver::Rival => rival.run(&["telemetry", &WINDOW.to_string(), &COUNT.to_string()])[1],
    }
}

fn many_devices(sink: &Sink) -> Vec<DeviceClient> {
    let mut endpoint = Endpoint::new("localhost");
    endpoint.port = Some(sink.address.port());
    endpoint.trust = Trust::Pem(sink.ca_pem.clone());
    let amqp = Amqp::new().max_in_flight(WINDOW_EACH as usize);
    let shared = SharedTransport::create(endpoint, amqp).expect("AMQP can be shared");
    let create = |number| {
        let text = ours::connection_string(sink, &format!("bench-{number}"));
        DeviceClient::create_from_connection_string(&text, &shared).expect("a client")
    };
    let mut clients: Vec<DeviceClient> = (0..DEVICES).map(create).collect();
    turn(&mut clients, |clients| clients.iter().all(|client| client.connection_state() == ConnectionState::Ready));
    clients
}

/// Sends so many messages from each, with up to two windows in each client's hands, until all are confirmed.
fn send_from_all(clients: &mut [DeviceClient], payload: &Bytes, count: u64) {
    let goal = clients[0].stats().accepted + count;
    turn(clients, |clients| {
        for client in clients.iter_mut() {
            while client.stats().accepted < goal && client.stats().accepted - client.stats().delivered < 2 * WINDOW_EACH
            {
                client.send_event(payload.clone()).expect("room in the queue");
            }
        }
        clients.iter().all(|client| client.stats().delivered == goal)
    });
}

/// One thread drives all.
fn turn(clients: &mut [DeviceClient], mut is_done: impl FnMut(&mut [DeviceClient]) -> bool) {
    loop {
        clients.iter_mut().for_each(DeviceClient::do_work);
        if is_done(clients) {
            return;
        }
        let mut all: Vec<&mut dyn Waits> = clients.iter_mut().map(|client| client as &mut dyn Waits).collect();
        wait_any(&mut all, ours::FOREVER);
    }
}

/// CPU microseconds of a call, when there is nothing to do for a device that has every link. The hub is the local one, for
/// the sink has no twins.
fn idle_call() -> f64 {
    const CALLS: u32 = 100_000;
    let hub = Emulator::start().expect("a local hub");
    let device = hub.create_device("idle").expect("a device");
    let port = hub.amqp_address().port();
    let text = format!("{};GatewayHostName={}:{port}", device.connection_string(), hub.host_name());
    let mut client = DeviceClient::builder(&text).trusted_certs(hub.ca_pem()).build(&Amqp::new()).expect("a client");
    let has_twin = Arc::new(AtomicBool::new(false));
    let seen = has_twin.clone();
    client.set_twin_callback(move |_, _| seen.store(true, Ordering::Relaxed)).expect("AMQP has twins");
    client.subscribe(Feature::CloudToDevice).expect("AMQP has messages");
    client.subscribe(Feature::Methods).expect("AMQP has methods");
    while client.connection_state() != ConnectionState::Ready || !has_twin.load(Ordering::Relaxed) {
        client.do_work();
        client.wait(ours::FOREVER);
    }
    let rounds = (0..ROUNDS).map(|_| {
        let start = thread_cpu();
        (0..CALLS).for_each(|_| client.do_work());
        (thread_cpu() - start).as_secs_f64() * 1e6 / f64::from(CALLS)
    });
    median(rounds.collect())
}
