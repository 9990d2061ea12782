//! Planned renewals of the token, by the thousand: nothing is lost, repeated or unresolved, and none is an outage.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use iothub_core::{ConnectionState, DeviceClient, Event, Feature, OpId, StatusChange, TwinUpdate};
use iothub_emulator::{
    Activity, AmqpLink, C2dMessage, C2dResult, DisconnectReason, MethodCall, MethodError, PendingMethod,
};
use iothub_simulation::{Over, Path, Sim, Way};
use serde_json::{Value, json};

const DEVICE: &str = "d";

/// The life of a token. It is renewed after 80 % of it.
const LIFE: Duration = Duration::from_secs(60);

/// How long before a renewal the load begins: shorter than a round trip, so that everything is under way.
const BEFORE: Duration = Duration::from_millis(50);

/// How long a renewal may take.
const LIMIT: Duration = Duration::from_secs(300);

/// An application under load, and what it heard.
struct Load {
    sim: Sim,
    client: DeviceClient,
    random: fastrand::Rng,
    sent: usize,
    /// Messages without an outcome, by their number.
    waiting: BTreeMap<OpId, usize>,
    reports_waiting: usize,
    received: Vec<usize>,
    letters: usize,
    /// Calls under way, by their number.
    calls: BTreeMap<usize, PendingMethod>,
    called: usize,
    /// The calls that came to the application.
    came: BTreeSet<usize>,
    desired_version: u64,
    statuses: Vec<StatusChange>,
    /// How many messages were without an outcome at each drop.
    in_flight_at_drops: Vec<usize>,
    /// Renewals that began with messages in flight.
    busy_renewals: usize,
    /// When the present token came into use.
    connected_at: Duration,
}

impl Load {
    fn new(seed: u64, over: Over) -> Self {
        let sim = Sim::new(seed).over(over);
        let (least, most) = (Duration::from_millis(100), Duration::from_millis(300));
        sim.set_path(Path { latency: least..most, piece: Some(400), ..Path::default() });
        let connection_string = sim.create_device(DEVICE).unwrap();
        let builder = DeviceClient::builder(&connection_string).token_lifetime(LIFE);
        let mut client = builder.build(&sim.provider()).unwrap();
        for feature in [Feature::CloudToDevice, Feature::DesiredProperties, Feature::Methods] {
            client.subscribe(feature).unwrap();
        }
        Self {
            sim,
            client,
            random: fastrand::Rng::with_seed(seed),
            sent: 0,
            waiting: BTreeMap::new(),
            reports_waiting: 0,
            received: Vec::new(),
            letters: 0,
            calls: BTreeMap::new(),
            called: 0,
            came: BTreeSet::new(),
            desired_version: 0,
            statuses: Vec::new(),
            in_flight_at_drops: Vec::new(),
            busy_renewals: 0,
            connected_at: Duration::ZERO,
        }
    }

    fn until(&mut self, limit: Duration, what: &str, done: impl Fn(&Self) -> bool) {
        let end = self.sim.elapsed() + limit;
        loop {
            self.client.do_work();
            while let Some(event) = self.client.next_event() {
                self.handle(event);
            }
            self.collect_results();
            if done(self) {
                return;
            }
            assert!(self.sim.elapsed() < end, "{what}: not within {limit:?}; {:?}", self.client);
            self.client.wait(end - self.sim.elapsed());
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.sim.elapsed() + time;
        self.until(time, "time passes", |load| load.sim.elapsed() >= end);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Status(change) => {
                match change.state {
                    ConnectionState::Connected => self.connected_at = self.sim.elapsed(),
                    ConnectionState::Waiting => self.in_flight_at_drops.push(self.waiting.len()),
                    _ => {}
                }
                self.statuses.push(change);
            }
            Event::Confirmation { id, outcome } => {
                outcome.unwrap();
                self.waiting.remove(&id).expect("one outcome for each");
            }
            Event::Message(message) => {
                self.received.push(String::from_utf8_lossy(message.payload()).parse().unwrap());
                message.complete();
            }
            Event::Twin(TwinUpdate::Full(twin)) => self.desired_version = twin.desired_version(),
            Event::Twin(TwinUpdate::Patch(patch)) => {
                assert_eq!(patch.version(), self.desired_version + 1);
                self.desired_version = patch.version();
            }
            Event::ReportedState { outcome, .. } => {
                outcome.unwrap();
                self.reports_waiting -= 1;
            }
            Event::Method(request) => {
                let body = request.payload().clone();
                assert!(self.came.insert(serde_json::from_slice(&body).unwrap()), "a call comes once");
                request.respond(200, body).unwrap();
            }
            // Its connection is gone; without a drop the statistics must not count one.
            Event::StaleSettlement { .. } | Event::StaleMethodResponse { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    /// A call that came is answered at once, so without a drop it has that answer. One that the hub sent as the client
    /// was leaving is lost, for calls are not queued, and times out.
    fn collect_results(&mut self) {
        let (came, has_dropped) = (&self.came, !self.in_flight_at_drops.is_empty());
        self.calls.retain(|number, call| match call.try_result() {
            None => true,
            Some(Ok(result)) => {
                assert_eq!((result.status, result.payload), (200, Value::from(*number)));
                false
            }
            Some(Err(error)) => {
                assert!(matches!(error, MethodError::Timeout { .. }), "{error}");
                assert!(has_dropped || !came.contains(number), "call {number} was answered, and timed out");
                false
            }
        });
    }

    fn send(&mut self) {
        let id = self.client.send_event_tracked(self.sent.to_string()).unwrap();
        self.waiting.insert(id, self.sent);
        self.sent += 1;
    }

    /// Something of everything.
    fn burst(&mut self) {
        for _ in 0..self.random.usize(1..8) {
            self.send();
        }
        let hub = self.sim.hub();
        hub.send_c2d(DEVICE, C2dMessage::new(self.letters.to_string())).unwrap();
        self.letters += 1;
        hub.patch_desired(DEVICE, json!({ "wanted": self.sent })).unwrap();
        let call = MethodCall::new("echo").payload(json!(self.called)).connect_timeout(LIMIT);
        self.calls.insert(self.called, hub.start_method(DEVICE, call).unwrap());
        self.called += 1;
        self.client.send_reported_state_tracked(json!({ "sent": self.sent }).to_string()).unwrap();
        self.reports_waiting += 1;
    }

    /// Waits until the token is about to be renewed, under load.
    fn renewal_comes(&mut self) {
        // The token is as old as the attempt, which began a few round trips before the connection was there.
        let early = self.connected_at + LIFE.mul_f64(0.8) - Duration::from_secs(2);
        self.pass(early.saturating_sub(self.sim.elapsed()));
        self.burst();
        // A round trip takes 0.6 s at the most; then nothing is under way, and the next thing due is the renewal.
        self.pass(Duration::from_secs(1));
        let next = self.client.next_deadline().unwrap() - self.sim.now().mono;
        self.pass(next.saturating_sub(BEFORE));
        self.burst();
    }

    /// A renewal with another connection, under load.
    fn renew(&mut self, disturb: impl FnOnce(&mut Self)) {
        let renewals = self.client.stats().renewals;
        self.renewal_comes();
        self.until(LIMIT, "the renewal begins", |load| load.client.connection_state() == ConnectionState::Renewing);
        self.busy_renewals += usize::from(!self.waiting.is_empty());
        disturb(self);
        self.burst();
        self.until(LIMIT, "the renewal", |load| {
            load.client.connection_state() == ConnectionState::Ready && load.client.stats().renewals > renewals
        });
    }

    /// A renewal on the connection that there is, under load.
    fn renew_in_place(&mut self) {
        let renewals = self.client.stats().renewals;
        self.renewal_comes();
        self.until(LIMIT, "the renewal", |load| load.client.stats().renewals > renewals);
        self.connected_at = self.sim.elapsed();
        self.busy_renewals += usize::from(!self.waiting.is_empty());
        // The hub has not answered yet.
        self.burst();
    }

    /// Waits until everything has its outcome, and compares both sides.
    fn settle(&mut self) {
        self.until(LIMIT, "everything resolved", |load| {
            let is_known = load.sim.hub().twin(DEVICE).unwrap().desired_version == load.desired_version;
            let is_over = load.sim.hub().c2d_queue(DEVICE).is_empty() && load.calls.is_empty();
            load.waiting.is_empty() && load.reports_waiting == 0 && is_over && is_known
        });
        let hub = self.sim.hub();
        let outcomes = hub.c2d_outcomes(DEVICE);
        assert_eq!(outcomes.len(), self.letters);
        assert!(outcomes.iter().all(|outcome| outcome.result == C2dResult::Completed));
        assert_eq!(hub.twin(DEVICE).unwrap().reported, json!({ "sent": self.sent }));
        let first_copies = self.numbers_at_hub().into_iter().fold(Vec::new(), |mut firsts: Vec<usize>, number| {
            if firsts.last().is_none_or(|last| number > *last) {
                firsts.push(number);
            }
            firsts
        });
        assert_eq!(first_copies, (0..self.sent).collect::<Vec<_>>(), "every message, in order");
    }

    fn numbers_at_hub(&self) -> Vec<usize> {
        let stored = self.sim.hub().telemetry(DEVICE);
        stored.iter().map(|record| String::from_utf8_lossy(&record.body).parse().unwrap()).collect()
    }

    fn ends(&self) -> Vec<DisconnectReason> {
        let end = |activity| match activity {
            Activity::Disconnected { why, .. } => Some(why),
            _ => None,
        };
        self.sim.hub().activity(DEVICE).into_iter().filter_map(end).collect()
    }
}

#[test]
fn a_thousand_renewals_under_load_lose_and_repeat_nothing() {
    const RENEWALS: usize = 1000;
    let mut load = Load::new(1, Over::Mqtt);
    load.until(LIMIT, "ready", |load| load.client.connection_state() == ConnectionState::Ready);
    for _ in 0..RENEWALS {
        load.renew(|_| {});
    }
    load.settle();

    assert_eq!(load.numbers_at_hub().len(), load.sent, "nothing is repeated");
    assert_eq!(load.received, (0..load.letters).collect::<Vec<_>>(), "each message came once, in order");
    assert!(load.busy_renewals * 10 > RENEWALS * 9, "{} renewals began with messages in flight", load.busy_renewals);
    assert!(load.came.len() * 10 > load.called * 9, "{} of {} calls came", load.came.len(), load.called);
    // One renewal more may have begun while everything came to its end.
    let stats = load.client.stats();
    assert!(stats.renewals >= RENEWALS as u64 && stats.connections == stats.renewals + 1, "{stats:?}");
    assert_eq!((stats.resent, stats.stale_answers, stats.undelivered), (0, 0, 0));
    assert!(load.ends().iter().all(|end| *end == DisconnectReason::ByDevice), "the hub never had to end a connection");
    let states: Vec<_> = load.statuses.iter().map(|change| change.state).collect();
    use ConnectionState::{Connected, Connecting, Ready, Renewing};
    assert_eq!(states[..3], [Connecting, Connected, Ready]);
    assert!(states[3..].chunks_exact(3).all(|renewal| renewal == [Renewing, Connected, Ready]), "no outage");
}

#[test]
fn a_drop_in_the_middle_of_a_renewal_repeats_at_most_what_was_in_flight() {
    let mut load = Load::new(2, Over::Mqtt);
    load.until(LIMIT, "ready", |load| load.client.connection_state() == ConnectionState::Ready);
    for _ in 0..100 {
        load.renew(|load| {
            let way = if load.random.bool() { Way::Up } else { Way::Down };
            let bytes = load.random.usize(0..300);
            // Without anything to drain, the old connection is gone already.
            load.sim.cut_after(way, bytes);
        });
        if load.client.stats().renewals.is_multiple_of(10) {
            load.settle();
        }
    }
    load.settle();

    let in_flight: usize = load.in_flight_at_drops.iter().sum();
    let repeated = load.numbers_at_hub().len() - load.sent;
    let drops = load.in_flight_at_drops.len();
    assert!(drops >= 20, "{drops} drops");
    assert!(repeated as u64 <= load.client.stats().resent, "{repeated} repeated");
    assert!((1..=in_flight).contains(&repeated), "{repeated} repeated, {in_flight} in flight at {drops} drops");
}

#[test]
fn a_thousand_renewals_over_amqp_under_load_attach_nothing_anew_and_are_no_event() {
    renewals_over_amqp(Over::Amqp, 1000);
}

#[test]
fn a_hundred_renewals_over_amqp_in_a_web_socket_attach_nothing_anew_and_are_no_event() {
    renewals_over_amqp(Over::AmqpWs, 100);
}

fn renewals_over_amqp(over: Over, renewals: usize) {
    let mut load = Load::new(1, over);
    load.until(LIMIT, "ready", |load| load.client.connection_state() == ConnectionState::Ready);
    for _ in 0..renewals {
        load.renew_in_place();
    }
    load.settle();

    assert_eq!(load.numbers_at_hub().len(), load.sent, "nothing is repeated");
    assert_eq!(load.received, (0..load.letters).collect::<Vec<_>>(), "each message came once, in order");
    assert_eq!(load.busy_renewals, renewals, "messages were in flight");
    assert_eq!(load.came.len(), load.called, "every call came");
    let stats = load.client.stats();
    assert!(stats.renewals >= renewals as u64, "{stats:?}");
    assert_eq!((stats.connections, stats.resent, stats.stale_answers, stats.undelivered), (1, 0, 0, 0));
    let states: Vec<_> = load.statuses.iter().map(|change| change.state).collect();
    assert_eq!(states, [ConnectionState::Connecting, ConnectionState::Connected, ConnectionState::Ready]);

    let hub = load.sim.hub();
    let (mut opened, mut attached, mut tokens) = (0, Vec::new(), 0);
    for activity in hub.unattributed_activity().into_iter().chain(hub.activity(DEVICE)) {
        match activity {
            Activity::AmqpOpened { .. } => opened += 1,
            Activity::AmqpAttached { link, .. } => attached.push(link),
            Activity::TokenPut { status: 200, .. } => tokens += 1,
            Activity::TokenPut { .. } | Activity::AmqpDetached { .. } | Activity::Disconnected { .. } => {
                panic!("{activity:?}")
            }
            _ => {}
        }
    }
    attached.sort_unstable();
    use AmqpLink::{
        CloudToDevice, MethodRequests, MethodResponses, Telemetry, TokenReplies, TokenRequests, TwinReplies,
        TwinRequests,
    };
    let of_tokens = [TokenRequests, TokenReplies];
    let of_the_device = [Telemetry, CloudToDevice, TwinRequests, TwinReplies, MethodRequests, MethodResponses];
    assert_eq!((opened, tokens), (1, 1 + stats.renewals));
    assert_eq!(attached, [&of_tokens[..], &of_the_device].concat(), "each link once");
}
