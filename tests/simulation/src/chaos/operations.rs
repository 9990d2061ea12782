//! What an application and a service do: one operation at a time, chosen by lot.

use std::time::Duration;

use iothub_core::Feature;
use iothub_emulator::{C2dMessage, FeedbackMode, MethodCall};
use serde_json::{Map, Value, json};

use super::DEVICE;
use super::application::Application;
use super::ledger::{Call, Letter};

/// The hub takes 50 undelivered messages; some room is left.
const MAX_LETTERS: usize = 45;

/// How long nothing new happens after an operation: mostly shorter than a connection attempt, sometimes longer than a
/// lock or a time-out.
pub(super) fn pause(random: &mut fastrand::Rng) -> Duration {
    let most = match random.u8(0..20) {
        0..8 => 1,
        8..14 => 200,
        14..18 => 3_000,
        18 => 20_000,
        _ => 70_000,
    };
    Duration::from_millis(random.u64(0..most))
}

pub(super) fn any(application: &mut Application, random: &mut fastrand::Rng) {
    match random.u8(0..100) {
        0..36 => send(application, random),
        36..50 => send_letters(application, random),
        50..60 => reports(application, random),
        60..70 => change_desired(application, random),
        70..76 => application.get_twin(random.bool()),
        76..88 => call_method(application, random),
        88..94 => change_subscription(application, random),
        94..97 => application.replace_token(),
        _ => application.run_for(Duration::from_secs(random.u64(20..80))),
    }
}

fn send(application: &mut Application, random: &mut fastrand::Rng) {
    let timeout = (random.u8(0..4) == 0).then(|| Duration::from_millis(random.u64(1..30_000)));
    for _ in 0..random.usize(1..=6) {
        let size = if random.u8(0..20) == 0 { random.usize(0..20_000) } else { random.usize(0..300) };
        application.send(random.u8(0..3), size, timeout);
    }
}

fn send_letters(application: &mut Application, random: &mut fastrand::Rng) {
    let hub = application.sim.hub().clone();
    for _ in 0..random.usize(1..=3) {
        if hub.c2d_queue(DEVICE).len() >= MAX_LETTERS {
            return;
        }
        let n = application.ledger.letters.len();
        let (id, body) = (format!("letter-{n}"), format!("{n}:{}", "y".repeat(random.usize(0..100))));
        let mut message = C2dMessage::new(body.clone()).message_id(&id).property("a b", "c&d").ack(FeedbackMode::Full);
        if random.u8(0..6) == 0 {
            message = message.ttl(Duration::from_secs(random.u64(60..300)));
        }
        application.sim.note(format!("service: sends {id}"));
        if let Err(error) = hub.send_c2d(DEVICE, message) {
            return application.ledger.violate(format!("the hub does not take {id}: {error}"));
        }
        application.ledger.letters.push(Letter { id, body });
    }
}

/// Patches that are under way together.
fn reports(application: &mut Application, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..=3) {
        report(application, random);
    }
}

/// The patch's values are its number, so that the hub's values tell which patch they are of.
fn report(application: &mut Application, random: &mut fastrand::Rng) {
    let n = application.ledger.reported.len();
    let mut patch = Map::new();
    for _ in 0..random.usize(1..=3) {
        let value = if random.u8(0..5) == 0 { Value::Null } else { json!(n) };
        patch.insert(format!("r{}", random.u8(0..6)), value);
    }
    application.report(patch, random.bool());
}

fn change_desired(application: &mut Application, random: &mut fastrand::Rng) {
    let hub = application.sim.hub().clone();
    for _ in 0..random.usize(1..=3) {
        let name = format!("d{}", random.u8(0..6));
        let value = match random.u8(0..5) {
            0 => Value::Null,
            1 => json!({ "x": random.u8(0..9), "y": { "z": random.bool() } }),
            2 => json!({ "x": null }),
            _ => json!(random.u16(..)),
        };
        let replaces = random.u8(0..6) == 0;
        let change = json!({ name: value });
        let changed = match replaces {
            true => hub.replace_desired(DEVICE, without_nulls(change.clone())),
            false => hub.patch_desired(DEVICE, change.clone()),
        };
        application.sim.note(format!("service: desired, replaced {replaces}: {change}"));
        if let Err(error) = changed {
            application.ledger.violate(format!("the hub does not take the desired properties: {error}"));
        }
        application.remember_desired();
    }
}

fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(members) = &mut value {
        members.retain(|_, member| !member.is_null());
        members.values_mut().for_each(|member| *member = without_nulls(member.take()));
    }
    value
}

fn call_method(application: &mut Application, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..=2) {
        let n = application.ledger.calls.len();
        let timeout = Duration::from_secs(random.u64(5..40));
        let wait = Duration::from_secs(if random.bool() { 0 } else { random.u64(1..60) });
        let call = MethodCall::new("do").payload(json!({ "call": n }));
        application
            .sim
            .note(format!("service: call {n}, waits {wait:?} for the device and {timeout:?} for its answer"));
        let call = call.response_timeout(timeout).connect_timeout(wait);
        let started = application.sim.hub().start_method(DEVICE, call);
        let (pending, result) = match started {
            Ok(pending) => (Some(pending), None),
            Err(error) => (None, Some(Err(error))),
        };
        let started = application.now();
        application.ledger.calls.push(Call {
            started,
            timeout,
            pending,
            result,
            came: Vec::new(),
            answers: Vec::new(),
            dropped: Vec::new(),
        });
    }
}

/// A subscription ends or begins. Whoever had one has it again after a while: else little would happen.
fn change_subscription(application: &mut Application, random: &mut fastrand::Rng) {
    let features = [Feature::CloudToDevice, Feature::DesiredProperties, Feature::Methods];
    let feature = features[random.usize(0..features.len())];
    application.unsubscribe(feature);
    if random.bool() {
        application.run_for(pause(random));
    }
    application.subscribe(feature);
}
