//! CPU per message and throughput of QoS 1 telemetry, beside rumqttc's stock event loop in the same run.
//!
//! ```sh
//! cargo bench --all-features --bench telemetry
//! ```
//!
//! 256 B messages to a sink in this process, windows of 1, 100 and 1,000. Each figure is the median of five rounds, whose
//! order is shuffled. Both speak TLS; only the client's thread counts.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints, and fails by panicking"
)]

mod support;

use std::process::ExitCode;
use std::time::Instant;

use bytes::Bytes;
use support::figures::{median, thread_cpu, verdict};
use support::ours;
use support::rival::Rival;
use support::sink::{Sink, mqtt};

const ROUNDS: usize = 5;

/// At window 100 a message may cost this part of the rival's CPU at the most.
const TARGET: f64 = 1.0 / 8.0;

/// And so many times as much over a WebSocket.
const WEB_SOCKET: f64 = 2.0;

#[derive(Clone, Copy, PartialEq)]
enum Driver {
    Ours,
    OverWebSocket,
    Rival,
}

const DRIVERS: [(Driver, &str); 3] = [
    (Driver::Ours, "iothub-client"),
    (Driver::OverWebSocket, "iothub-client over WebSocket"),
    (Driver::Rival, "rumqttc"),
];

/// One round's figures.
struct Round {
    driver: Driver,
    window: u64,
    per_second: f64,
    cpu_micros: f64,
}

fn main() -> ExitCode {
    let sink = mqtt::start();
    let rival = Rival::build("rumqttc", &sink);
    let payload = Bytes::from(vec![b'x'; 256]);
    let mut plan: Vec<(Driver, u64, u64)> = Vec::new();
    for (window, count) in [(1, 5_000), (100, 200_000), (1000, 200_000)] {
        for (driver, _) in DRIVERS {
            plan.extend([(driver, window, count); ROUNDS]);
        }
    }
    fastrand::shuffle(&mut plan);
    let total = plan.len();
    let mut rounds = Vec::new();
    for (number, (driver, window, count)) in plan.into_iter().enumerate() {
        eprint!("\rround {} of {total}", number + 1);
        rounds.push(run(&sink, &rival, driver, window, count, &payload));
    }
    eprintln!();

    println!("window  client                         messages/s   CPU us/message");
    for window in [1, 100, 1000] {
        for (driver, name) in DRIVERS {
            let of = |figure: fn(&Round) -> f64| figures(&rounds, driver, window, figure);
            println!("{window:>6}  {name:<28} {:>12.0} {:>16.3}", of(|r| r.per_second), of(|r| r.cpu_micros));
        }
    }
    let cpu = |driver| figures(&rounds, driver, 100, |round| round.cpu_micros);
    let ratio = cpu(Driver::Ours) / cpu(Driver::Rival);
    let met = verdict("CPU per message at window 100, part of rumqttc's", ratio, TARGET, "");
    let ratio = cpu(Driver::OverWebSocket) / cpu(Driver::Ours);
    let met_too = verdict("CPU per message at window 100 over WebSocket, times that without", ratio, WEB_SOCKET, "");
    if met && met_too { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(sink: &Sink, rival: &Rival, driver: Driver, window: u64, count: u64, payload: &Bytes) -> Round {
    let (per_second, cpu_micros) = match driver {
        Driver::Ours | Driver::OverWebSocket => {
            let mut client = match driver {
                Driver::OverWebSocket => ours::connect_over_web_socket(sink, window as usize),
                _ => ours::connect(sink, window as usize),
            };
            ours::send(&mut client, payload, count / 10, window);
            let (cpu, start) = (thread_cpu(), Instant::now());
            ours::send(&mut client, payload, count, window);
            let (cpu, time) = (thread_cpu() - cpu, start.elapsed());
            (count as f64 / time.as_secs_f64(), cpu.as_secs_f64() * 1e6 / count as f64)
        }
        Driver::Rival => {
            let figures = rival.run(&["telemetry", &window.to_string(), &count.to_string()]);
            (figures[0], figures[1])
        }
    };
    Round { driver, window, per_second, cpu_micros }
}

fn figures(rounds: &[Round], driver: Driver, window: u64, figure: fn(&Round) -> f64) -> f64 {
    median(rounds.iter().filter(|round| round.driver == driver && round.window == window).map(figure).collect())
}
