//! What others do to the hub and the device, and how a run comes to its end.

use std::time::Duration;

use iothub_core::{ConnectionState, ConnectionStatusReason, Feature, SendStatus, StatusChange};
use iothub_emulator::LockExpiry;
use serde_json::json;

use super::DEVICE;
use super::application::{Application, Plan};
use super::ledger::Outcome;
use crate::censor::Answer;
use crate::network::Path;

/// How long closing in order may take: a link without credit or a lost path is noticed after a minute.
const CLOSING: Duration = Duration::from_secs(200);

impl Application {
    /// Remembers what the hub's desired properties are now.
    pub(super) fn remember_desired(&mut self) {
        if let Ok(twin) = self.sim.hub().twin(DEVICE) {
            self.ledger.history.insert(twin.desired_version, twin.desired);
        }
    }

    pub(super) fn enable_device(&mut self, enabled: bool) {
        self.sim.note(format!("service: the device is enabled: {enabled}"));
        if let Err(error) = self.sim.hub().set_device_enabled(DEVICE, enabled) {
            self.ledger.violate(error.to_string());
        }
    }

    pub(super) fn disable_device_for(&mut self, time: Duration) {
        self.enable_device(false);
        self.plan(time, Plan::EnableDevice);
    }

    /// Sets the hub's clock so many seconds ahead of, or behind, the client's.
    pub(super) fn set_hub_clock(&mut self, ahead: i64) {
        self.sim.note(format!("hub: its clock is set {ahead} s ahead"));
        self.sim.set_hub_clock(ahead);
    }

    pub(super) fn set_hub_clock_for(&mut self, ahead: i64, time: Duration) {
        self.ledger.clock_jumped = true;
        self.set_hub_clock(ahead);
        self.plan(time, Plan::SetHubClock);
    }

    pub(super) fn set_path_for(&mut self, path: Path, time: Duration) {
        self.sim.note(format!("network: {path:?} for {time:?}"));
        self.sim.set_path(path);
        self.plan(time, Plan::SetPath(Path::default()));
    }

    /// The hub leaves answers of these kinds out.
    pub(super) fn withhold_for(&mut self, answers: &[Answer], time: Duration) {
        self.sim.note(format!("hub: withholds {answers:?} for {time:?}"));
        self.sim.withhold(answers);
        self.plan(time, Plan::SayAll);
    }

    /// Takes everything back that is wrong, and handles from now on what comes at once.
    pub(super) fn heal(&mut self, lock_expiry: LockExpiry) {
        self.sim.note("everything heals");
        self.is_healed = true;
        self.sim.hub().clear_faults();
        self.sim.forget_failing_attempts();
        for (_, plan) in std::mem::take(&mut self.plans) {
            self.carry_out(plan);
        }
        self.sim.set_path(Path::default());
        self.enable_device(true);
        if lock_expiry == LockExpiry::Hold {
            // Such a hub delivers what was abandoned after a reconnect, and at no other time.
            self.sim.note("hub: ends the connection");
            if let Err(error) = self.sim.hub().disconnect_device(DEVICE) {
                self.ledger.violate(error.to_string());
            }
        }
        self.set_hub_clock(0);
        self.ledger.reconnects.push(self.now());
        let retry = self.client.retry_policy().with_limit(Duration::MAX);
        self.client.set_retry_policy(retry);
        for feature in [Feature::CloudToDevice, Feature::DesiredProperties, Feature::Methods] {
            // Again it would fetch the whole twin, and hide what was missed.
            if !self.subscribed.contains(&feature) {
                self.subscribe(feature);
            }
        }
        if self.ledger.changes_were_lost
            && let Err(error) = self.sim.hub().patch_desired(DEVICE, json!({ "healed": true }))
        {
            self.ledger.violate(error.to_string());
        }
        self.remember_desired();
    }

    pub(super) fn is_settled(&self) -> bool {
        self.what_is_unsettled().is_empty()
    }

    /// What has not come to its end.
    pub(super) fn what_is_unsettled(&self) -> String {
        let hub = self.sim.hub();
        let version = hub.twin(DEVICE).map(|twin| twin.desired_version).ok();
        let waits = [
            (self.client.connection_state() != ConnectionState::Ready, "the client is not ready"),
            (self.client.send_status() == SendStatus::Busy, "messages have no outcome"),
            (self.ledger.reported.iter().any(|one| one.outcomes.is_empty()), "reports have no outcome"),
            (self.ledger.gets.iter().any(Vec::is_empty), "twin requests have no outcome"),
            (self.ledger.calls.iter().any(|call| call.result.is_none()), "calls have no result"),
            (!hub.c2d_queue(DEVICE).is_empty(), "cloud-to-device messages are in the hub's queue"),
            (self.ledger.desired.as_ref().map(|desired| desired.version) != version, "the twin is not up to date"),
            (!self.plans.is_empty(), "the application has plans"),
        ];
        waits.into_iter().filter(|(waits, _)| *waits).map(|(_, what)| what).collect::<Vec<_>>().join(", ")
    }

    /// Closes the client with work in its hands, at once or in order, and looks what became of it.
    pub(super) fn end(&mut self, in_order: bool) {
        let first = self.ledger.telemetry.len();
        let stored = self.sim.hub().telemetry_count(DEVICE);
        for way in [1, 2, 1, 2] {
            self.send(way, 10, None);
        }
        self.report(serde_json::Map::new(), true);
        self.get_twin(false);
        self.say(format!("closes the client, in order: {in_order}"));
        let changes = self.ledger.statuses.len();
        self.client.close(if in_order { CLOSING } else { Duration::ZERO });
        self.listen();
        let is_expired = |change: &StatusChange| change.reason == ConnectionStatusReason::ExpiredSasToken;
        let has_expired = self.ledger.statuses[changes..].iter().any(|(_, change)| is_expired(change));
        for (n, sent) in self.ledger.telemetry.iter().enumerate().skip(first) {
            let is_right = match &sent.outcomes[..] {
                [(_, Outcome::Delivered)] => true,
                // Nobody gives the client another token while it closes.
                [(_, Outcome::Destroyed { .. })] => !in_order || has_expired,
                // The hub's trouble may last longer than the run.
                [(_, Outcome::Rejected(_))] => self.ledger.telemetry_is_refused,
                _ => false,
            };
            if !is_right {
                self.ledger.violations.push(format!("message {n} ended with close as {:?}", sent.outcomes));
            }
        }
        let delivered = self.ledger.telemetry[first..].iter().flat_map(|sent| &sent.outcomes);
        let delivered = delivered.filter(|(_, outcome)| *outcome == Outcome::Delivered).count();
        if self.sim.hub().telemetry_count(DEVICE) < stored + delivered {
            self.ledger.violate("a message that close confirmed is not at the hub");
        }
        for (what, outcomes) in [
            ("report", self.ledger.reported.last().map(|one| one.outcomes.len())),
            ("twin request", self.ledger.gets.last().map(Vec::len)),
        ] {
            if outcomes != Some(1) {
                self.ledger.violate(format!("the last {what} has {outcomes:?} outcomes after close"));
            }
        }
        if self.client.connection_state() != ConnectionState::Closed || self.client.send_event("late").is_ok() {
            self.ledger.violate("the client is not closed after close");
        }
    }
}
