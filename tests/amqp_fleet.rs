//! Many devices on one connection: each does all that a device does while the connection is cut three times, and at the
//! end the hub's record and each client's are compared, one by one.
//!
//! A release build has five hundred of them: `cargo test --release --all-features --test amqp_fleet -- --nocapture`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use iothub_client::{
    Amqp, ClientBuilder, ClientCertificate, ConnectionState, ConnectionStatusReason, Device, DeviceClient, Endpoint,
    Event, Feature, RetryConfig, SharedTransport, Stats, Trust, TwinUpdate, Waits, wait_any,
};
use iothub_emulator::{AmqpLink, C2dMessage, C2dResult, Emulator, Fault, MethodCall, MethodError, PendingMethod};
use serde_json::{Value, json};

const DEVICES: usize = if cfg!(debug_assertions) { 60 } else { 500 };
const MESSAGES: usize = 20;
/// How many of them are under way at once: the next is sent when one is confirmed, so that a cut meets some of them.
const UNDER_WAY: usize = 4;
const CUTS: usize = 3;
const SEED: u64 = 7;
/// For each step; all of them together take a fraction of it.
const LIMIT: Duration = Duration::from_secs(600);

/// One device, and what its client was told.
struct Unit {
    number: usize,
    id: String,
    client: DeviceClient,
    sent: usize,
    confirmed: usize,
    received: Vec<String>,
    calls: usize,
    desired: Option<u64>,
    reported: bool,
    fetched: bool,
    /// How many events it has heard in all.
    heard: usize,
}

impl Unit {
    fn create(number: usize, emulator: &Emulator, transport: &SharedTransport) -> Self {
        let id = format!("unit-{number}");
        let device = emulator.create_device(&id).unwrap();
        let port = emulator.amqp_address().port();
        let text = format!("{};GatewayHostName={}:{port}", device.connection_string(), emulator.host_name());
        let retry = RetryConfig::default().with_initial_delay(Duration::from_millis(100));
        let builder = DeviceClient::builder(&text).trusted_certs(emulator.ca_pem()).retry_policy(retry);
        let mut client = builder.build(transport).unwrap();
        for feature in [Feature::CloudToDevice, Feature::Methods, Feature::DesiredProperties] {
            client.subscribe(feature).unwrap();
        }
        Self {
            number,
            id,
            client,
            sent: 0,
            confirmed: 0,
            received: Vec::new(),
            calls: 0,
            desired: None,
            reported: false,
            fetched: false,
            heard: 0,
        }
    }

    fn text(&self, n: usize) -> String {
        format!("{} says {n}", self.id)
    }

    /// Sends the next message, if there is one.
    fn send(&mut self) {
        if self.sent < MESSAGES {
            let text = self.text(self.sent);
            self.client.send_event_tracked(text).unwrap();
            self.sent += 1;
        }
    }

    /// Takes what there is to hear, and answers it.
    fn hear(&mut self) {
        while let Some(event) = self.client.next_event() {
            self.heard += 1;
            match event {
                Event::Confirmation { outcome, .. } => {
                    outcome.unwrap();
                    self.confirmed += 1;
                    self.send();
                }
                Event::Message(message) => {
                    self.received.push(String::from_utf8(message.message().payload().to_vec()).unwrap());
                    message.complete();
                }
                Event::Method(call) => {
                    let asked: Value = serde_json::from_slice(call.payload()).unwrap();
                    assert_eq!(asked, json!({ "for": self.number }), "{} was called for another", self.id);
                    self.calls += 1;
                    let answer = json!({ "by": self.number }).to_string();
                    call.respond(200, answer).unwrap();
                }
                Event::Twin(update) => {
                    let bytes: &Bytes = match &update {
                        TwinUpdate::Full(twin) => twin.json(),
                        TwinUpdate::Patch(patch) => patch.json(),
                        other => panic!("{other:?}"),
                    };
                    let json: Value = serde_json::from_slice(bytes).unwrap();
                    let number = json.pointer("/desired/number").or(json.pointer("/number"));
                    self.desired = number.and_then(Value::as_u64).or(self.desired);
                }
                Event::TwinReceived { outcome, .. } => {
                    outcome.unwrap();
                    self.fetched = true;
                }
                Event::ReportedState { outcome, .. } => {
                    outcome.unwrap();
                    self.reported = true;
                }
                Event::Status(_) | Event::StaleSettlement { .. } | Event::StaleMethodResponse { .. } => {}
                other => panic!("{}: {other:?}", self.id),
            }
        }
    }

    fn is_done(&self) -> bool {
        self.confirmed == MESSAGES
            && !self.received.is_empty()
            && self.calls > 0
            && self.desired == Some(self.number as u64)
            && self.reported
    }
}

/// Turns all clients until `done`.
fn drive(units: &mut [Unit], done: impl FnMut(&mut [Unit]) -> bool) {
    drive_watched(units, |_| {}, done);
}

/// Turns all clients until `done`, and is told how many messages were confirmed to each in its turn.
fn drive_watched(units: &mut [Unit], mut confirmed: impl FnMut(usize), mut done: impl FnMut(&mut [Unit]) -> bool) {
    let until = Instant::now() + LIMIT;
    loop {
        for unit in units.iter_mut() {
            let before = unit.confirmed;
            unit.client.do_work();
            unit.hear();
            confirmed(unit.confirmed - before);
        }
        if done(units) {
            return;
        }
        assert!(Instant::now() < until, "it did not become so");
        let mut waits: Vec<&mut dyn Waits> = Vec::new();
        units.iter_mut().for_each(|unit| waits.push(&mut unit.client));
        wait_any(&mut waits, Duration::from_secs(1));
    }
}

/// A service's call of a device, made again when a cut takes it away.
struct Call {
    pending: PendingMethod,
    answer: Option<Value>,
}

fn call(emulator: &Emulator, number: usize) -> PendingMethod {
    let second = Duration::from_secs(1);
    let call = MethodCall::new("work").payload(json!({ "for": number }));
    let call = call.response_timeout(5 * second).connect_timeout(120 * second);
    emulator.start_method(&*format!("unit-{number}"), call).unwrap()
}

/// Whether all calls are answered.
fn answered(emulator: &Emulator, calls: &mut [Call]) -> bool {
    for (number, one) in calls.iter_mut().enumerate().filter(|(_, one)| one.answer.is_none()) {
        match one.pending.try_result() {
            None => {}
            Some(Ok(result)) => {
                assert_eq!(result.status, 200);
                one.answer = Some(result.payload);
            }
            Some(Err(MethodError::Timeout { .. })) => one.pending = call(emulator, number),
            Some(Err(error)) => panic!("unit-{number}: {error}"),
        }
    }
    calls.iter().all(|one| one.answer.is_some())
}

/// The largest that this process has been: the emulator's memory with the client's.
fn peak_rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.map_or_else(|| "unknown here".to_owned(), |line| line["VmHWM:".len()..].trim().to_owned())
}

#[test]
fn every_device_of_a_fleet_does_everything_on_one_connection_that_is_cut_three_times() {
    let emulator = Emulator::start().unwrap();
    let mut endpoint = Endpoint::new(emulator.host_name());
    endpoint.port = Some(emulator.amqp_address().port());
    endpoint.trust = Trust::Pem(emulator.ca_pem());
    let transport = SharedTransport::create(endpoint, Amqp::new()).unwrap();
    let start = Instant::now();
    let mut units: Vec<_> = (0..DEVICES).map(|number| Unit::create(number, &emulator, &transport)).collect();
    println!("created: {:?}", start.elapsed());
    let start = Instant::now();
    drive(&mut units, |units| units.iter().all(|unit| unit.client.connection_state() == ConnectionState::Ready));
    println!("{DEVICES} devices ready: {:?}, peak RSS with the hub's {}", start.elapsed(), peak_rss());

    let start = Instant::now();
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut calls = Vec::new();
    for unit in &mut units {
        emulator.send_c2d(&unit.id, C2dMessage::new(format!("to {}", unit.id))).unwrap();
        emulator.patch_desired(&*unit.id, json!({ "number": unit.number })).unwrap();
        calls.push(Call { pending: call(&emulator, unit.number), answer: None });
        (0..UNDER_WAY).for_each(|_| unit.send());
        unit.client.send_reported_state_tracked(json!({ "number": unit.number }).to_string()).unwrap();
    }
    // A cut is made when so many messages are confirmed.
    let mut cuts: Vec<usize> = (0..CUTS).map(|_| random.usize(1..DEVICES * MESSAGES)).collect();
    cuts.sort_unstable();
    let (mut cut, mut confirmed) = (cuts.iter().peekable(), 0);
    let cut_in_time = |now: usize| {
        confirmed += now;
        if cut.next_if(|at| **at <= confirmed).is_some() {
            let victim = random.usize(..DEVICES);
            println!("cut at {confirmed} of {} after {:?}", DEVICES * MESSAGES, start.elapsed());
            assert!(confirmed < DEVICES * MESSAGES, "some are still under way");
            emulator.inject_for(&*format!("unit-{victim}"), Fault::KillTcp);
        }
    };
    drive_watched(&mut units, cut_in_time, |units| units.iter().all(Unit::is_done) && answered(&emulator, &mut calls));
    println!("all done: {:?}, peak RSS with the hub's {}", start.elapsed(), peak_rss());
    drive(&mut units, |units| units.iter().all(|unit| !emulator.c2d_outcomes(&unit.id).is_empty()));

    for unit in &units {
        compare(&emulator, unit, &calls[unit.number]);
    }
    println!("compared: {:?}", start.elapsed());

    drive(&mut units, |units| units.iter().all(|unit| unit.client.connection_state() == ConnectionState::Ready));
    // Requests for the twin go one after the other: what the last cut still brings comes before these answers.
    for unit in &mut units {
        unit.client.get_twin_tracked().unwrap();
    }
    drive(&mut units, |units| units.iter().all(|unit| unit.fetched));
    who_is_refused_disturbs_nobody(&emulator, &transport, &mut units);
    who_is_at_fault_disturbs_nobody(&emulator, &mut units);
}

/// What each has heard, but for this one.
fn others_heard(units: &[Unit], but: usize) -> Vec<usize> {
    units.iter().filter(|unit| unit.number != but).map(|unit| unit.heard).collect()
}

fn who_is_refused_disturbs_nobody(emulator: &Emulator, transport: &SharedTransport, units: &mut [Unit]) {
    let before = others_heard(units, DEVICES);
    let port = emulator.amqp_address().port();
    let gateway = format!("GatewayHostName={}:{port}", emulator.host_name());
    let refused = |builder: ClientBuilder<Device>| {
        builder.trusted_certs(emulator.ca_pem()).build(transport).err().map(|error| error.to_string())
    };
    let certificate = emulator.issue_device_certificate("unit-x509").unwrap();
    let certificate = ClientCertificate::from_pem(certificate.certificate_pem, certificate.private_key_pem);
    let text = format!("HostName={};DeviceId=unit-x509;x509=true;{gateway}", emulator.host_name());
    let why = refused(DeviceClient::builder(&text).certificate(certificate)).unwrap();
    assert!(why.contains("a certificate proves one identity"), "{why}");

    let text = format!("{};{gateway}", emulator.device("unit-3").unwrap().connection_string());
    let why = refused(DeviceClient::builder(&text)).unwrap();
    assert!(why.contains("devices/unit-3 is registered already"), "{why}");

    // The key of unit-3 signs a token for another device.
    emulator.create_device("victim").unwrap();
    let key =
        emulator.device("unit-3").unwrap().connection_string().split_once("SharedAccessKey=").unwrap().1.to_owned();
    let text = format!("HostName={};DeviceId=victim;SharedAccessKey={key};{gateway}", emulator.host_name());
    let builder = DeviceClient::builder(&text).trusted_certs(emulator.ca_pem());
    let mut thief = builder.build(transport).unwrap();
    let mut why = Vec::new();
    drive(units, |_| {
        thief.do_work();
        while let Some(event) = thief.next_event() {
            if let Event::Status(change) = event {
                why.extend((change.state == ConnectionState::Waiting).then_some(change.reason));
            }
        }
        !why.is_empty()
    });
    assert_eq!(why, [ConnectionStatusReason::BadCredential]);
    drop(thief);
    drive(units, |_| true);
    assert_eq!(others_heard(units, DEVICES), before);
}

fn who_is_at_fault_disturbs_nobody(emulator: &Emulator, units: &mut [Unit]) {
    let error = || Some("amqp:internal-error".to_owned());
    let faults = [
        Fault::AmqpDetach { link: AmqpLink::Telemetry, condition: None },
        Fault::AmqpDetach { link: AmqpLink::CloudToDevice, condition: error() },
        Fault::AmqpDetach { link: AmqpLink::TwinReplies, condition: error() },
        Fault::AmqpDetach { link: AmqpLink::MethodRequests, condition: None },
        Fault::AmqpEnd { condition: error() },
        Fault::AmqpEnd { condition: None },
    ];
    for fault in faults {
        let (before, connections) = (others_heard(units, 7), units[7].client.stats().connections);
        emulator.inject_for("unit-7", fault.clone());
        drive(units, |units| {
            let Unit { client, .. } = &units[7];
            client.stats().connections > connections && client.connection_state() == ConnectionState::Ready
        });
        assert_eq!(others_heard(units, 7), before, "{fault:?}");
    }
    let before = others_heard(units, 7);
    emulator.set_device_enabled("unit-7", false).unwrap();
    drive(units, |units| units[7].client.connection_state() == ConnectionState::Waiting);
    assert_eq!(others_heard(units, 7), before, "it is forbidden");
}

/// The hub's record of one device against its client's.
fn compare(emulator: &Emulator, unit: &Unit, call: &Call) {
    let id = &*unit.id;
    let Stats { delivered, undelivered, resent, connections, received, .. } = unit.client.stats();
    let stored: Vec<_> =
        emulator.telemetry(id).iter().map(|one| String::from_utf8(one.body.to_vec()).unwrap()).collect();
    let mut once: Vec<&String> = Vec::new();
    stored.iter().for_each(|text| {
        if !once.contains(&text) {
            once.push(text);
        }
    });
    let sent: Vec<_> = (0..MESSAGES).map(|n| unit.text(n)).collect();
    assert_eq!(once, sent.iter().collect::<Vec<_>>(), "{id}: the hub has what was sent, in its order");
    assert!(stored.len() - once.len() <= usize::try_from(resent).unwrap(), "{id}: twice only what was sent twice");
    assert_eq!((delivered, undelivered), (MESSAGES as u64, 0), "{id}");
    assert!((1..=1 + CUTS as u64).contains(&connections), "{id}: {connections} connections");

    let ended: Vec<_> = emulator.c2d_outcomes(id).iter().map(|one| one.result).collect();
    assert_eq!(ended, [C2dResult::Completed], "{id}");
    assert_eq!(received, unit.received.len() as u64, "{id}");
    assert!(unit.received.iter().all(|text| *text == format!("to {id}")), "{id}: {:?}", unit.received);
    assert_eq!(call.answer, Some(json!({ "by": unit.number })), "{id}");

    let twin = emulator.twin(id).unwrap();
    assert_eq!(twin.reported["number"], unit.number, "{id}");
    assert_eq!(unit.desired, Some(unit.number as u64), "{id}");
}
