//! The application on the client: its turns, and what it plans to do later. What it hears is in `hearing`, what it asks in
//! `asking`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use iothub_core::{
    DeviceClient, Event, Feature, IncomingMessage, MethodRequest, OpId, RetryConfig, RetryPolicy, Twin, Undelivered,
};
use serde_json::json;

use super::DEVICE;
use super::ledger::{Decision, Ledger};
use crate::network::Path;
use crate::over::Over;
use crate::sim::Sim;

/// What reached the application.
pub(super) enum Heard {
    Event(Event),
    Confirmed(usize, Result<(), Undelivered>),
    TwinCame(usize, Result<Twin, String>),
    Stored(usize, Result<(), String>),
}

/// What the application will do later.
pub(super) enum Plan {
    Decide(IncomingMessage, usize, Decision),
    Answer(MethodRequest, usize),
    Forget(MethodRequest, usize),
    Reconnect,
    Subscribe(Feature),
    ReplaceToken,
    /// Not the application's: somebody enables the device again.
    EnableDevice,
    /// Not the application's either: the hub's clock is set right.
    SetHubClock,
    SetPath(Path),
    /// The hub leaves nothing out any more.
    SayAll,
}

/// What an id of a tracked operation stands for.
pub(super) enum Tracked {
    Telemetry(usize),
    Get(usize),
    Report(usize),
}

pub(super) struct Application {
    pub(super) sim: Sim,
    pub(super) over: Over,
    pub(super) client: DeviceClient,
    pub(super) ledger: Ledger,
    pub(super) random: fastrand::Rng,
    pub(super) subscribed: Vec<Feature>,
    /// Events come through callbacks, else through `next_event`.
    pub(super) uses_callbacks: bool,
    /// The client was given a token instead of the key, and takes tokens of this life.
    pub(super) token_life: Option<Duration>,
    pub(super) heard: Arc<Mutex<Vec<Heard>>>,
    pub(super) tracked: BTreeMap<OpId, Tracked>,
    pub(super) plans: Vec<(Duration, Plan)>,
    /// After healing everything is handled at once.
    pub(super) is_healed: bool,
}

impl Application {
    pub(super) fn start(sim: &Sim, over: Over, mut random: fastrand::Rng) -> Self {
        let key = sim.create_device(DEVICE).expect("a new hub takes a device");
        let life = Duration::from_secs(random.u64(40..=200));
        let token_life = (random.u8(0..4) == 0).then_some(life);
        let connection_string = match token_life {
            None => key,
            Some(life) => {
                let host = sim.hub().host_name();
                format!("HostName={host};DeviceId={DEVICE};SharedAccessSignature={}", token(sim, life))
            }
        };
        let policies = [
            RetryPolicy::Interval,
            RetryPolicy::LinearBackoff,
            RetryPolicy::ExponentialBackoff,
            RetryPolicy::ExponentialBackoffWithJitter,
        ];
        let policy = policies[random.usize(0..policies.len())];
        let mut retry = RetryConfig::new(policy)
            .with_initial_delay(Duration::from_secs(1))
            .with_max_delay(Duration::from_secs(8))
            .with_jitter(0.0);
        if random.u8(0..4) == 0 {
            retry = retry.with_limit(Duration::from_secs(20));
        }
        let window = random.usize(1..=20);
        let provider = sim
            .provider()
            .keep_alive(Duration::from_secs(30))
            .connect_timeout(Duration::from_secs(10))
            .max_in_flight(window);
        let client = DeviceClient::builder(&connection_string)
            .token_lifetime(life)
            .retry_policy(retry)
            .build(&provider)
            .expect("the client's options are in order");
        let uses_callbacks = random.bool();
        sim.note(format!(
            "application: {policy:?}, window {window}, callbacks {uses_callbacks}, given token {token_life:?}"
        ));
        let mut application = Self {
            sim: sim.clone(),
            over,
            client,
            ledger: Ledger::new(sim.now().wall, token_life.is_none().then_some(life)),
            random,
            subscribed: Vec::new(),
            uses_callbacks,
            token_life,
            heard: Arc::default(),
            tracked: BTreeMap::new(),
            plans: Vec::new(),
            is_healed: false,
        };
        application.remember_desired();
        application.hear_status();
        for feature in [Feature::CloudToDevice, Feature::DesiredProperties, Feature::Methods] {
            application.subscribe(feature);
        }
        application
    }

    pub(super) fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    /// Adds to the list of events.
    pub(super) fn say(&self, text: impl AsRef<str>) {
        self.sim.note(format!("application: {}", text.as_ref()));
    }

    /// Lets so much time pass.
    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now() + time;
        self.run_until(time, |application| application.now() >= end);
    }

    /// Lets time pass until it is so; `false` if that takes longer than the limit.
    pub(super) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now() + limit;
        loop {
            self.turn();
            if done(self) {
                return true;
            }
            let now = self.now();
            if now >= end {
                return false;
            }
            let due = self.plans.iter().map(|(due, _)| *due).fold(end, Duration::min);
            self.client.wait(due.saturating_sub(now));
        }
    }

    fn turn(&mut self) {
        self.client.do_work();
        self.listen();
        self.act();
        self.collect_results();
    }

    /// Does what is planned for now.
    fn act(&mut self) {
        let now = self.now();
        let (due, later) = std::mem::take(&mut self.plans).into_iter().partition(|(due, _)| *due <= now);
        self.plans = later;
        let due: Vec<_> = due;
        due.into_iter().for_each(|(_, plan)| self.carry_out(plan));
    }

    pub(super) fn carry_out(&mut self, plan: Plan) {
        match plan {
            Plan::Decide(message, delivery, decision) => {
                self.say(format!("{decision:?}s {}", message.message_id().unwrap_or_default()));
                self.ledger.deliveries[delivery].decided = Some((self.sim.elapsed(), decision));
                match decision {
                    Decision::Complete => message.complete(),
                    Decision::Abandon => message.abandon(),
                    Decision::Reject => {
                        if let Err(refused) = message.reject() {
                            self.ledger.violate(format!("a message cannot be rejected: {refused}"));
                        }
                    }
                    Decision::Drop => drop(message),
                }
            }
            Plan::Answer(request, n) => {
                let status = answer_status(n);
                self.say(format!("answers call {n}"));
                self.ledger.calls[n].answers.push((self.sim.elapsed(), i64::from(status)));
                if let Err(refused) = request.respond(status, json!({ "call": n }).to_string()) {
                    self.ledger.violate(format!("the answer to call {n} is refused: {refused}"));
                }
            }
            Plan::Forget(request, n) => {
                self.say(format!("drops call {n}"));
                self.ledger.calls[n].dropped.push(self.sim.elapsed());
                drop(request);
            }
            Plan::Reconnect => {
                self.say("asks to reconnect");
                self.ledger.reconnects.push(self.sim.elapsed());
                self.client.reconnect();
            }
            Plan::Subscribe(feature) => {
                self.unsubscribe(feature);
                self.subscribe(feature);
            }
            Plan::ReplaceToken => self.replace_token(),
            Plan::EnableDevice => self.enable_device(true),
            Plan::SetHubClock => self.set_hub_clock(0),
            Plan::SetPath(path) => self.sim.set_path(path),
            Plan::SayAll => self.sim.withhold(&[]),
        }
    }

    fn collect_results(&mut self) {
        for (n, call) in self.ledger.calls.iter_mut().enumerate() {
            if call.result.is_none()
                && let Some(result) = call.pending.as_ref().and_then(|pending| pending.try_result())
            {
                self.sim.note(format!("service: call {n} ends with {result:?}"));
                call.result = Some(result);
            }
        }
    }
}

/// A token for the device, that lives so long by the hub's clock.
pub(super) fn token(sim: &Sim, life: Duration) -> String {
    sim.hub().device(DEVICE).expect("the device exists").sas_token(life)
}

/// The status with which the application answers a call.
fn answer_status(call: usize) -> i32 {
    200 + i32::try_from(call % 50).unwrap_or(0)
}
