//! What the application asks of its client.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use iothub_core::{Event, Feature, Refused, Reported, Twin, TwinError};
use serde_json::{Map, Value};

use super::application::{Application, Heard, Tracked, token};
use super::ledger::{self, Sent};

impl Application {
    pub(super) fn hear_status(&mut self) {
        if self.uses_callbacks {
            let heard = self.heard.clone();
            self.client
                .set_connection_status_callback(move |change, _| push(&heard, Heard::Event(Event::Status(change))));
        }
    }

    pub(super) fn subscribe(&mut self, feature: Feature) {
        self.say(format!("subscribes to {feature}"));
        self.subscribed.push(feature);
        let heard = self.heard.clone();
        let client = &mut self.client;
        let subscribed = match feature {
            Feature::CloudToDevice if self.uses_callbacks => {
                client.set_message_callback(move |message, _| push(&heard, Heard::Event(Event::Message(message))))
            }
            Feature::DesiredProperties if self.uses_callbacks => {
                client.set_twin_callback(move |update, _| push(&heard, Heard::Event(Event::Twin(update))))
            }
            Feature::Methods if self.uses_callbacks => {
                client.set_method_callback(move |request, _| push(&heard, Heard::Event(Event::Method(request))))
            }
            other => client.subscribe(other),
        };
        if let Err(error) = subscribed {
            self.ledger.violate(format!("the client does not subscribe: {error}"));
        }
    }

    pub(super) fn unsubscribe(&mut self, feature: Feature) {
        self.say(format!("unsubscribes from {feature}"));
        self.subscribed.retain(|subscribed| *subscribed != feature);
        self.links_went(feature);
        match feature {
            Feature::CloudToDevice if self.uses_callbacks => self.client.clear_message_callback(),
            Feature::DesiredProperties if self.uses_callbacks => self.client.clear_twin_callback(),
            Feature::Methods if self.uses_callbacks => self.client.clear_method_callback(),
            other => self.client.unsubscribe(other),
        }
    }

    /// Over AMQP a subscription is links of its own.
    pub(super) fn links_went(&mut self, feature: Feature) {
        if self.over.is_amqp() && feature == Feature::Methods {
            let now = self.now();
            self.ledger.methods_went.push(now);
        }
    }

    /// Notes that something was not accepted; that is allowed, when the queue is full.
    fn refused<T>(&mut self, refused: Refused<T>) {
        self.say(format!("is refused: {refused}"));
        self.ledger.refused += 1;
    }

    /// Sends a message in one of the three ways.
    pub(super) fn send(&mut self, way: u8, size: usize, timeout: Option<Duration>) {
        let n = self.ledger.telemetry.len();
        let body = format!("{n}:{}", "x".repeat(size));
        self.client.set_message_timeout(timeout);
        self.say(format!("sends message {n}, {size} bytes, way {way}, time-out {timeout:?}"));
        let sent = match way {
            0 => self.client.send_event(body.clone()).map(|()| None),
            1 => {
                let heard = self.heard.clone();
                let confirmed = move |outcome, _: &mut _| push(&heard, Heard::Confirmed(n, outcome));
                self.client.send_event_with(body.clone(), confirmed).map(|()| None)
            }
            _ => self.client.send_event_tracked(body.clone()).map(Some),
        };
        match sent {
            Ok(id) => {
                self.tracked.extend(id.map(|id| (id, Tracked::Telemetry(n))));
                let (at, is_told) = (self.now(), way > 0);
                let sent = Sent { at, body, timeout, is_told, outcomes: Vec::new() };
                self.ledger.telemetry.push(sent);
            }
            Err(refused) => self.refused(refused),
        }
    }

    pub(super) fn report(&mut self, patch: Map<String, Value>, by_event: bool) {
        let n = self.ledger.reported.len();
        let text = Value::Object(patch.clone()).to_string();
        self.say(format!("reports {n}: {text}"));
        let reported = if by_event {
            self.client.send_reported_state_tracked(text).map(Some)
        } else {
            let heard = self.heard.clone();
            let stored = move |outcome: Result<Reported, TwinError>, _: &mut _| {
                push(&heard, Heard::Stored(n, outcome.map(drop).map_err(|error| error.to_string())));
            };
            self.client.send_reported_state_with(text, stored).map(|()| None)
        };
        match reported {
            Ok(id) => {
                self.tracked.extend(id.map(|id| (id, Tracked::Report(n))));
                self.ledger.reported.push(ledger::Reported { patch, outcomes: Vec::new() });
            }
            Err(refused) => self.refused(refused),
        }
    }

    pub(super) fn get_twin(&mut self, by_event: bool) {
        let n = self.ledger.gets.len();
        self.say(format!("asks for the twin, {n}"));
        let asked = if by_event {
            self.client.get_twin_tracked().map(Some)
        } else {
            let heard = self.heard.clone();
            let came = move |outcome: Result<Twin, TwinError>, _: &mut _| {
                push(&heard, Heard::TwinCame(n, outcome.map_err(|error| error.to_string())));
            };
            self.client.get_twin(came).map(|()| None)
        };
        match asked {
            Ok(id) => {
                self.tracked.extend(id.map(|id| (id, Tracked::Get(n))));
                self.ledger.gets.push(Vec::new());
            }
            Err(refused) => self.refused(refused),
        }
    }

    /// Replaces the token: by a new one if the client was given one, else there is nothing to replace.
    pub(super) fn replace_token(&mut self) {
        let Some(life) = self.token_life else { return };
        self.say("replaces its token");
        let token = token(&self.sim, life);
        self.ledger.reconnects.push(self.sim.elapsed());
        if let Err(error) = self.client.set_shared_access_signature(token) {
            self.ledger.violate(format!("the client does not take the token: {error}"));
        }
    }
}

fn push(heard: &Mutex<Vec<Heard>>, one: Heard) {
    heard.lock().unwrap_or_else(PoisonError::into_inner).push(one);
}
