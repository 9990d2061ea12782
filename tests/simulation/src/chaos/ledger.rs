//! What the application asked for and what it heard: one side of the comparison. The other is the hub's record.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use iothub_core::{Feature, StatusChange};
use iothub_emulator::{MethodError, MethodResult, PendingMethod};
use serde_json::{Map, Value};

/// When something happened, since the start.
pub(super) type At = Duration;

/// A message to the hub.
pub(super) struct Sent {
    pub(super) at: At,
    pub(super) body: String,
    pub(super) timeout: Option<Duration>,
    /// Whether its outcome was asked for.
    pub(super) is_told: bool,
    pub(super) outcomes: Vec<(At, Outcome)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered,
    TimedOut { maybe_delivered: bool },
    Destroyed { maybe_delivered: bool },
    Rejected(String),
}

/// A patch of the reported properties.
pub(super) struct Reported {
    pub(super) patch: Map<String, Value>,
    /// Stored, or why not.
    pub(super) outcomes: Vec<Result<(), String>>,
}

/// A cloud-to-device message, as the service sent it.
pub(super) struct Letter {
    pub(super) id: String,
    pub(super) body: String,
}

/// What the application does with a received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Complete,
    Abandon,
    /// Not over MQTT.
    Reject,
    Drop,
}

/// A cloud-to-device message, as it came.
pub(super) struct Delivered {
    pub(super) letter: usize,
    pub(super) decided: Option<(At, Decision)>,
}

/// A method call of the service.
pub(super) struct Call {
    pub(super) started: At,
    pub(super) timeout: Duration,
    pub(super) pending: Option<PendingMethod>,
    pub(super) result: Option<Result<MethodResult, MethodError>>,
    /// How it came to the application; the hub may send it twice.
    pub(super) came: Vec<Came>,
    /// When it was answered, and with which status; the body is always the number of the call.
    pub(super) answers: Vec<(At, i64)>,
    /// When it was dropped unanswered.
    pub(super) dropped: Vec<At>,
}

/// The coming of a call.
pub(super) struct Came {
    pub(super) at: At,
    /// How many changes of the connection came before it.
    pub(super) after: usize,
}

/// The desired properties as the application knows them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Desired {
    pub(super) version: u64,
    pub(super) value: Value,
}

pub(super) struct Ledger {
    /// The date at the start.
    pub(super) start: SystemTime,
    /// How long the tokens live that the client makes itself, if it has a key.
    pub(super) key_life: Option<Duration>,
    pub(super) telemetry: Vec<Sent>,
    pub(super) reported: Vec<Reported>,
    /// The outcomes of each request for the twin.
    pub(super) gets: Vec<Vec<Result<(), String>>>,
    pub(super) letters: Vec<Letter>,
    pub(super) deliveries: Vec<Delivered>,
    pub(super) calls: Vec<Call>,
    pub(super) desired: Option<Desired>,
    /// The desired properties of the hub, by version.
    pub(super) history: BTreeMap<u64, Value>,
    pub(super) statuses: Vec<(At, StatusChange)>,
    /// The subscriptions that the client said the hub had refused.
    pub(super) refusals: Vec<Feature>,
    /// When the application asked to connect, so that a planned attempt may come early.
    pub(super) reconnects: Vec<At>,
    /// A time since when the network or the hub may lose something without that anybody is told.
    pub(super) silence: Vec<At>,
    /// The hub has lied about versions.
    pub(super) versions_are_wrong: bool,
    /// The hub may have lost a change of the desired properties, of which the client learns with the next one.
    pub(super) changes_were_lost: bool,
    /// The hub's clock was set.
    pub(super) clock_jumped: bool,
    /// When the links of methods went without the connection: what had come on them cannot be answered over AMQP.
    pub(super) methods_went: Vec<At>,
    /// The hub may have a link for answers to methods on which the client cannot send.
    pub(super) answers_are_stuck: bool,
    /// The hub may have refused telemetry for no fault of the client's.
    pub(super) telemetry_is_refused: bool,
    /// The hub may have taken a cloud-to-device message for completed when it sent it.
    pub(super) hub_settles: bool,
    pub(super) refused: u64,
    pub(super) stale: u64,
    pub(super) violations: Vec<String>,
}

impl Ledger {
    /// An empty one, for a run that begins at this date with a client that makes tokens of this life.
    pub(super) fn new(start: SystemTime, key_life: Option<Duration>) -> Self {
        Self {
            start,
            key_life,
            telemetry: Vec::new(),
            reported: Vec::new(),
            gets: Vec::new(),
            letters: Vec::new(),
            deliveries: Vec::new(),
            calls: Vec::new(),
            desired: None,
            history: BTreeMap::new(),
            statuses: Vec::new(),
            refusals: Vec::new(),
            reconnects: Vec::new(),
            silence: Vec::new(),
            versions_are_wrong: false,
            changes_were_lost: false,
            clock_jumped: false,
            methods_went: Vec::new(),
            answers_are_stuck: false,
            telemetry_is_refused: false,
            hub_settles: false,
            refused: 0,
            stale: 0,
            violations: Vec::new(),
        }
    }

    pub(super) fn violate(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// The whole twin has come.
    pub(super) fn know(&mut self, desired: Desired) {
        self.compare_with_history(&desired);
        self.desired = Some(desired);
    }

    /// A change of the desired properties has come.
    pub(super) fn learn(&mut self, version: u64, patch: &Value) {
        let Some(mut desired) = self.desired.take() else {
            return self.violate(format!("change {version} of the desired properties came before the whole twin"));
        };
        if version != desired.version + 1 {
            let last = desired.version;
            self.violate(format!("change {version} of the desired properties came after version {last}"));
        }
        merge(&mut desired.value, patch);
        desired.version = version;
        self.compare_with_history(&desired);
        self.desired = Some(desired);
    }

    pub(super) fn compare_with_history(&mut self, desired: &Desired) {
        if self.versions_are_wrong {
            return;
        }
        let Desired { version, value } = desired;
        match self.history.get(version) {
            Some(there) if there == value => {}
            Some(there) => self.violate(format!("desired version {version} is {there} at the hub, {value} here")),
            None => self.violate(format!("the client knows a desired version {version}, the hub never had one")),
        }
    }
}

/// Merges a patch as RFC 7396 has it, without the members that begin with `$`.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(properties) = target else { return };
    for (name, value) in members.iter().filter(|(name, _)| !name.starts_with('$')) {
        if value.is_null() {
            properties.remove(name);
        } else {
            merge(properties.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
