//! What reaches the application, and what it makes of it.

use std::sync::PoisonError;
use std::time::Duration;

use iothub_core::{
    ConnectionState, ConnectionStatusReason, Event, IncomingMessage, MethodRequest, StatusChange, Twin, TwinUpdate,
    Undelivered, UndeliveredReason,
};
use serde_json::Value;

use super::application::{Application, Heard, Plan, Tracked};
use super::ledger::{Came, Decision, Delivered, Desired, Outcome, merge};

impl Application {
    pub(super) fn listen(&mut self) {
        let mut heard = std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        while let Some(event) = self.client.next_event() {
            heard.push(Heard::Event(event));
        }
        for one in heard {
            match one {
                Heard::Event(event) => self.handle(event),
                Heard::Confirmed(n, outcome) => self.confirmed(n, outcome),
                Heard::TwinCame(n, outcome) => self.twin_came(n, outcome),
                Heard::Stored(n, outcome) => self.stored(n, outcome),
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Status(change) => self.status_changed(change),
            Event::Message(message) => self.message_came(message),
            Event::Twin(update) => self.twin_changed(update),
            Event::Method(request) => self.method_called(request),
            Event::Confirmation { id, outcome } => match self.tracked.get(&id) {
                Some(Tracked::Telemetry(n)) => self.confirmed(*n, outcome),
                _ => self.ledger.violate(format!("a confirmation of {id:?}, which is no message")),
            },
            Event::TwinReceived { id, outcome } => match self.tracked.get(&id) {
                Some(Tracked::Get(n)) => self.twin_came(*n, outcome.map_err(|error| error.to_string())),
                _ => self.ledger.violate(format!("a twin for {id:?}, which is no request")),
            },
            Event::ReportedState { id, outcome } => match self.tracked.get(&id) {
                Some(Tracked::Report(n)) => {
                    self.stored(*n, outcome.map(drop).map_err(|error| error.to_string()));
                }
                _ => self.ledger.violate(format!("an answer for {id:?}, which is no patch")),
            },
            Event::SubscriptionRefused { feature, .. } => {
                self.say(format!("hears that {feature} are refused"));
                self.links_went(feature);
                self.ledger.refusals.push(feature);
                let soon = Duration::from_secs(1);
                self.plan(soon, Plan::Subscribe(feature));
            }
            Event::TokenExpiring { .. } => {
                let life = self.token_life.unwrap_or_default();
                let soon = life.mul_f64(0.4 * self.random.f64());
                self.say(format!("hears that its token expires, and gets another in {soon:?}"));
                self.plan(soon, Plan::ReplaceToken);
            }
            Event::StaleSettlement { .. } | Event::StaleMethodResponse { .. } => {
                self.say(format!("hears {event:?}"));
                self.ledger.stale += 1;
            }
            other => self.ledger.violate(format!("an event that this application does not know: {other:?}")),
        }
    }

    fn status_changed(&mut self, change: StatusChange) {
        let error = change.error.as_ref().map(|error| format!(": {}", error.kind)).unwrap_or_default();
        self.say(format!("hears {:?}, attempt {}{error}", change.state, change.attempt));
        if change.state == ConnectionState::Stopped {
            let (soon, plan) = match change.reason {
                ConnectionStatusReason::ExpiredSasToken => (Duration::from_secs(2), Plan::ReplaceToken),
                _ => (Duration::from_secs(self.random.u64(1..10)), Plan::Reconnect),
            };
            self.plan(soon, plan);
        }
        self.ledger.statuses.push((self.now(), change));
    }

    fn message_came(&mut self, message: IncomingMessage) {
        let id = message.message_id().unwrap_or_default().to_owned();
        let Some(letter) = self.ledger.letters.iter().position(|letter| letter.id == id) else {
            return self.ledger.violate(format!("a cloud-to-device message {id:?} that nobody sent"));
        };
        if message.payload() != self.ledger.letters[letter].body.as_bytes() {
            self.ledger.violate(format!("the cloud-to-device message {id} has another body than was sent"));
        }
        let delivery = self.ledger.deliveries.len();
        self.ledger.deliveries.push(Delivered { letter, decided: None });
        let decision = match self.random.u8(0..20) {
            _ if self.is_healed => Decision::Complete,
            0 | 1 => Decision::Abandon,
            2 => Decision::Drop,
            3 if self.over.is_amqp() => Decision::Reject,
            _ => Decision::Complete,
        };
        let wait = self.patience(&[30, 90]);
        self.say(format!("gets {id}, and will {decision:?} it in {wait:?}"));
        self.plan(wait, Plan::Decide(message, delivery, decision));
    }

    fn twin_changed(&mut self, update: TwinUpdate) {
        match update {
            TwinUpdate::Full(twin) => {
                let desired = desired_of(&twin);
                self.say(format!("hears the whole twin, version {}", desired.version));
                self.ledger.know(desired);
            }
            TwinUpdate::Patch(patch) => {
                self.say(format!("hears change {} of the desired properties", patch.version()));
                match serde_json::from_slice(patch.json()) {
                    Ok(json) => self.ledger.learn(patch.version(), &json),
                    Err(error) => self.ledger.violate(format!("a change that is no JSON: {error}")),
                }
            }
            other => self.ledger.violate(format!("a twin update that this application does not know: {other:?}")),
        }
    }

    fn method_called(&mut self, request: MethodRequest) {
        let number = serde_json::from_slice(request.payload()).ok().and_then(|json: Value| json["call"].as_u64());
        let Some(n) = number.and_then(|n| usize::try_from(n).ok()).filter(|n| *n < self.ledger.calls.len()) else {
            return self.ledger.violate("a method call that nobody made");
        };
        let came = Came { at: self.now(), after: self.ledger.statuses.len() };
        self.ledger.calls[n].came.push(came);
        let wait = self.patience(&[5, 40]);
        let forget = !self.is_healed && self.random.u8(0..10) == 0;
        self.say(format!("gets call {n}, and will {} in {wait:?}", if forget { "drop it" } else { "answer" }));
        self.plan(wait, if forget { Plan::Forget(request, n) } else { Plan::Answer(request, n) });
    }

    /// How long the application thinks: mostly not at all, sometimes up to one of these numbers of seconds.
    fn patience(&mut self, seconds: &[u64]) -> Duration {
        if self.is_healed || self.random.u8(0..10) < 6 {
            return Duration::ZERO;
        }
        let most = seconds[self.random.usize(0..seconds.len())];
        Duration::from_millis(self.random.u64(1..most * 1000))
    }

    pub(super) fn plan(&mut self, wait: Duration, plan: Plan) {
        self.plans.push((self.now() + wait, plan));
    }

    fn confirmed(&mut self, n: usize, outcome: Result<(), Undelivered>) {
        let outcome = match outcome {
            Ok(()) => Outcome::Delivered,
            Err(Undelivered { reason, maybe_delivered, .. }) => match reason {
                UndeliveredReason::TimedOut => Outcome::TimedOut { maybe_delivered },
                UndeliveredReason::Destroyed => Outcome::Destroyed { maybe_delivered },
                UndeliveredReason::Rejected(why) => Outcome::Rejected(why),
                other => Outcome::Rejected(other.to_string()),
            },
        };
        self.say(format!("hears of message {n}: {outcome:?}"));
        self.ledger.telemetry[n].outcomes.push((self.sim.elapsed(), outcome));
    }

    fn twin_came(&mut self, n: usize, outcome: Result<Twin, String>) {
        self.say(format!("hears of twin request {n}: {:?}", outcome.as_ref().map(Twin::desired_version)));
        if let Ok(twin) = &outcome {
            self.ledger.compare_with_history(&desired_of(twin));
        }
        self.ledger.gets[n].push(outcome.map(drop));
    }

    fn stored(&mut self, n: usize, outcome: Result<(), String>) {
        self.say(format!("hears of report {n}: {outcome:?}"));
        self.ledger.reported[n].outcomes.push(outcome);
    }
}

fn desired_of(twin: &Twin) -> Desired {
    let json: Value = serde_json::from_slice(twin.json()).unwrap_or_default();
    let mut value = Value::Object(serde_json::Map::new());
    merge(&mut value, &json["desired"]);
    Desired { version: twin.desired_version(), value }
}
