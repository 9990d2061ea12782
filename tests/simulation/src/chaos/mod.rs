//! Chaos, reproducible: an application uses everything a client has, while everything goes wrong that can.
//!
//! A run has four acts. In the first, operations and mishaps alternate with virtual time in between. Then everything
//! heals, and what is under way comes to its end. Then both sides are compared. Last, the client is closed with work
//! in its hands, and that is compared too.

mod application;
mod asking;
mod checks;
mod healing;
mod hearing;
mod ledger;
mod mishaps;
mod narrator;
mod operations;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use iothub_emulator::{Config, LockExpiry, OutOfOrderPuback};

use crate::over::Over;
use crate::sim::Sim;
use application::Application;
use mishaps::Mishaps;

/// The device of every run.
const DEVICE: &str = "chaos";

const OPERATIONS: usize = 200;
const MISHAPS: usize = 20;

/// How long healing may take; the longest wait that is part of it is the hub's lock of 60 s, a few times over.
const HEALING: Duration = Duration::from_secs(1800);

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The seed that makes the same run again.
    pub seed: u64,
    /// What the client spoke.
    pub over: Over,
    /// What both ends did and heard: the time since the start, and what. Two runs of a seed have the same list.
    pub events: Vec<(Duration, String)>,
    /// What must not be; empty if all is well.
    pub violations: Vec<String>,
    /// Which mishaps took effect, and how often.
    pub mishaps: BTreeMap<String, u32>,
    /// Counters of what the run covered.
    pub covered: BTreeMap<&'static str, u64>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, event) in &self.events {
            writeln!(f, "{:>12.6}  {event}", at.as_secs_f64())?;
        }
        let Self { seed, over, violations, .. } = self;
        writeln!(f, "\nseed {seed} over {over}: {} violations", violations.len())?;
        for violation in violations {
            writeln!(f, "  {violation}")?;
        }
        writeln!(f, "the same again: cargo run -p iothub-simulation -- --over {over} --seed {seed}")
    }
}

/// Runs a seed with a client that speaks this.
pub fn chaos(seed: u64, over: Over) -> Report {
    let mut random = fastrand::Rng::with_seed(seed);
    let lock_expiry = if random.u8(0..4) == 0 { LockExpiry::Hold } else { LockExpiry::Redeliver };
    let sim = Sim::with_hub(seed, hub_settings(lock_expiry, &mut random)).over(over);
    let run = catch_unwind(AssertUnwindSafe(|| run(&sim, over, lock_expiry, &mut random)));
    let (violations, mishaps, covered) = match run {
        Ok(done) => done,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            let violation = format!("panic: {}", text.unwrap_or("without a text"));
            (vec![violation], BTreeMap::new(), BTreeMap::new())
        }
    };
    Report { seed, over, events: narrator::events(&sim, DEVICE), violations, mishaps, covered }
}

/// Where it is not certain what the real hub does, seeds differ.
fn hub_settings(lock_expiry: LockExpiry, random: &mut fastrand::Rng) -> Config {
    let order = [OutOfOrderPuback::Ignore, OutOfOrderPuback::Accept];
    Config::new()
        .with_sas_grace(Duration::ZERO)
        .with_lock_expiry(lock_expiry)
        .with_out_of_order_puback(order[random.usize(0..2)])
        .with_release_on_disconnect(random.u8(0..4) > 0)
}

type Findings = (Vec<String>, BTreeMap<String, u32>, BTreeMap<&'static str, u64>);

fn run(sim: &Sim, over: Over, lock_expiry: LockExpiry, random: &mut fastrand::Rng) -> Findings {
    let mut application = Application::start(sim, over, random.fork());
    let mut mishaps = Mishaps::new(MISHAPS, over, random.fork());
    let mut left = (OPERATIONS, MISHAPS);
    while left != (0, 0) {
        if random.usize(0..left.0 + left.1) < left.0 {
            left.0 -= 1;
            operations::any(&mut application, random);
        } else {
            left.1 -= 1;
            mishaps.next(&mut application);
        }
        application.run_for(operations::pause(random));
    }

    application.heal(lock_expiry);
    if !application.run_until(HEALING, Application::is_settled) {
        let what = application.what_is_unsettled();
        application.ledger.violate(format!("after healing, {} s were not enough: {what}", HEALING.as_secs()));
    }
    checks::all(&mut application);
    let covered = checks::coverage(&application);
    application.end(random.bool());
    let ledger = application.ledger;
    (ledger.violations, mishaps.took_effect(sim), covered)
}
