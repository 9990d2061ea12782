//! Runs chaos: one seed with its list of events, or many fresh ones. See the README.

#![expect(clippy::print_stdout, reason = "a test runner tells its results on the terminal")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use iothub_simulation::{Over, Report, chaos};

const USAGE: &str = "usage: iothub-simulation [--over PROTOCOL] [--seed N | --seeds COUNT [--from N]]
  --over PROTOCOL  mqtt, mqtt-ws, amqp or amqp-ws; default: each in turn, by seed
  --seed N         runs this seed, and prints its list of events
  --seeds COUNT    runs so many seeds, and prints what fails; default 300
  --from N         the first of them; default: from the clock, so that each run has fresh ones";

/// How long a seed may take, in real time: far more than it does, so that a busy machine is no failure.
const LIMIT: Duration = Duration::from_secs(60);

enum Task {
    One(u64),
    Many { from: u64, count: u64 },
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match task(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Some((over, Task::One(seed))) => {
            let report = chaos(seed, over.unwrap_or(Over::of_seed(seed)));
            println!("{report}");
            if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Some((over, Task::Many { from, count })) => many(over, from, count),
        None => {
            println!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn task(arguments: &[&str]) -> Option<(Option<Over>, Task)> {
    let number = |text: &str| text.parse::<u64>().ok();
    let fresh = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) * 1000;
    Some(match arguments {
        ["--over", over, rest @ ..] if !rest.contains(&"--over") => (Some(over.parse().ok()?), task(rest)?.1),
        [] => (None, Task::Many { from: fresh(), count: 300 }),
        ["--seed", seed] => (None, Task::One(number(seed)?)),
        ["--seeds", count] => (None, Task::Many { from: fresh(), count: number(count)? }),
        ["--seeds", count, "--from", from] => (None, Task::Many { from: number(from)?, count: number(count)? }),
        _ => return None,
    })
}

fn many(over: Option<Over>, from: u64, count: u64) -> ExitCode {
    println!("chaos over {}: {count} seeds from {from}", over.map_or("all in turn", Over::name));
    let (mut failed, mut slowest, began) = (0, (Duration::ZERO, from), Instant::now());
    let (mut mishaps, mut covered) = (BTreeMap::new(), BTreeMap::new());
    for seed in from..from + count {
        let start = Instant::now();
        let report = chaos(seed, over.unwrap_or(Over::of_seed(seed)));
        let took = start.elapsed();
        slowest = slowest.max((took, seed));
        if !report.violations.is_empty() {
            failed += 1;
            println!("{report}");
        }
        if took > LIMIT {
            failed += 1;
            println!("seed {seed} took {took:?}, longer than {LIMIT:?}");
        }
        add(&report, &mut mishaps, &mut covered);
    }
    println!("what took effect: {}", list(&mishaps));
    println!("what was covered: {}", list(&covered));
    println!(
        "{count} seeds in {:.1} s, the slowest {} in {:.3} s",
        began.elapsed().as_secs_f32(),
        slowest.1,
        slowest.0.as_secs_f32()
    );
    println!("{} passed, {failed} failed", count - failed.min(count));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn add(report: &Report, mishaps: &mut BTreeMap<String, u64>, covered: &mut BTreeMap<&'static str, u64>) {
    for (name, times) in &report.mishaps {
        *mishaps.entry(name.clone()).or_default() += u64::from(*times);
    }
    for (name, times) in &report.covered {
        *covered.entry(name).or_default() += times;
    }
}

fn list<K: std::fmt::Display>(counts: &BTreeMap<K, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}
