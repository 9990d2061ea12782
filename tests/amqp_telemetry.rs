//! Telemetry over AMQP between a client and a hub on sockets: alone and in batches, with outcomes, without, and late. Each
//! test looks at both ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use iothub_client::{
    Amqp, ConnectionState, DeviceClient, Event, Message, OpId, RefusedReason, RetryConfig, Undelivered,
    UndeliveredReason,
};
use iothub_emulator::{DropPoint, Emulator, Fault};

const DEVICE: &str = "d";
const LIMIT: Duration = Duration::from_secs(60);

type Outcome = Result<(), Undelivered>;

struct Online {
    hub: Emulator,
    client: DeviceClient,
    /// In the order in which they were told.
    outcomes: Vec<(OpId, Outcome)>,
}

impl Online {
    fn new(amqp: &Amqp) -> Self {
        let hub = Emulator::start().unwrap();
        let device = hub.create_device(DEVICE).unwrap();
        let gateway = format!("GatewayHostName={}:{}", hub.host_name(), hub.amqp_address().port());
        let retry = RetryConfig::default().with_initial_delay(Duration::from_millis(100)).with_jitter(0.0);
        let client = DeviceClient::builder(&format!("{};{gateway}", device.connection_string()))
            .trusted_certs(hub.ca_pem())
            .retry_policy(retry)
            .build(amqp)
            .unwrap();
        Self { hub, client, outcomes: Vec::new() }
    }

    fn connected(amqp: &Amqp) -> Self {
        let mut online = Self::new(amqp);
        online.until(|online| online.client.connection_state() == ConnectionState::Ready);
        online
    }

    fn turn(&mut self) {
        self.client.do_work();
        while let Some(event) = self.client.next_event() {
            if let Event::Confirmation { id, outcome } = event {
                self.outcomes.push((id, outcome));
            }
        }
    }

    fn until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + LIMIT;
        loop {
            self.turn();
            if done(self) {
                return;
            }
            assert!(Instant::now() < until, "it did not become so; {} outcomes", self.outcomes.len());
            self.client.wait(Duration::from_secs(1));
        }
    }

    /// Hands a message over, as soon as there is room.
    fn send(&mut self, message: &Message) -> OpId {
        loop {
            match self.client.send_event_tracked(message.clone()) {
                Ok(id) => return id,
                Err(refused) => {
                    let full = matches!(
                        refused.reason,
                        RefusedReason::TooManyMessages { .. } | RefusedReason::TooManyBytes { .. }
                    );
                    assert!(full, "{:?}", refused.reason);
                    let before = self.outcomes.len();
                    self.until(|online| online.outcomes.len() > before);
                }
            }
        }
    }

    fn send_texts(&mut self, texts: &[&str]) -> Vec<OpId> {
        texts.iter().map(|text| self.send(&Message::new((*text).to_owned()))).collect()
    }

    fn until_told(&mut self, count: usize) {
        self.until(|online| online.outcomes.len() >= count);
        assert_eq!(self.outcomes.len(), count);
    }

    fn stored(&self) -> Vec<String> {
        let records = self.hub.telemetry(DEVICE);
        records.iter().map(|record| String::from_utf8_lossy(&record.body).into_owned()).collect()
    }
}

/// Message number `n` of a mix: mostly small, some of many frames, a few as large as can be.
fn mixed(n: usize) -> Message {
    let size = match n {
        n if n % 250 == 249 => 262_144 - 100 - n % 7,
        n if n % 50 == 49 => 60_000 + n,
        n if n % 10 == 9 => 4_000 + n,
        n => n % 300,
    };
    let body: Vec<u8> = (0..size).map(|at| (at + n) as u8).collect();
    let message = Message::new(body).with_message_id(format!("id-{n}")).unwrap();
    if n.is_multiple_of(3) { message.with_property("n", n.to_string()).unwrap() } else { message }
}

#[test]
fn a_thousand_messages_of_all_sizes_are_stored_each_as_it_is_in_the_order_of_sending() {
    let mut online = Online::new(&Amqp::new().max_in_flight(200));
    let messages: Vec<_> = (0..1000).map(mixed).collect();
    let ids: Vec<_> = messages.iter().map(|message| online.send(message)).collect();
    online.until_told(1000);
    let told: Vec<_> = online.outcomes.iter().map(|(id, outcome)| (*id, outcome.is_ok())).collect();
    assert_eq!(told, ids.iter().map(|id| (*id, true)).collect::<Vec<_>>());
    let records = online.hub.telemetry(DEVICE);
    assert_eq!(records.len(), 1000);
    for (message, record) in messages.iter().zip(&records) {
        let id = message.message_id().unwrap();
        assert!(record.body == *message.payload(), "the body of {id}");
        assert_eq!(record.system, BTreeMap::from([("message-id".to_owned(), id.to_owned())]));
        let own: Vec<_> = message.properties().map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).collect();
        assert_eq!(record.properties, own);
    }
}

#[test]
fn a_message_that_the_hub_refuses_fails_by_itself_and_its_neighbours_are_stored_once() {
    let mut online = Online::connected(&Amqp::new());
    let condition = "com.microsoft:argument-error".to_owned();
    let fault = Fault::AmqpRefuseTelemetry { property: "poison".to_owned(), condition, count: 2 };
    online.hub.inject_for(DEVICE, fault);
    let good: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    let mut sent = online.send_texts(&good[..10].iter().map(String::as_str).collect::<Vec<_>>());
    let poison = online.send(&Message::new("bad").with_property("poison", "").unwrap());
    sent.extend(online.send_texts(&good[10..].iter().map(String::as_str).collect::<Vec<_>>()));
    online.until_told(21);
    let mut outcomes: BTreeMap<_, _> = std::mem::take(&mut online.outcomes).into_iter().collect();
    let undelivered = outcomes.remove(&poison).unwrap().unwrap_err();
    assert_eq!(undelivered.message.payload(), "bad");
    let UndeliveredReason::Rejected(words) = undelivered.reason else { panic!("{undelivered:?}") };
    assert!(words.contains("com.microsoft:argument-error"), "{words}");
    for id in sent {
        assert_eq!(outcomes.remove(&id), Some(Ok(())));
    }
    assert_eq!(online.stored(), good);
    assert_eq!((online.client.stats().connections, online.client.stats().delivered), (1, 20));
}

#[test]
fn a_throttled_device_is_told_that_its_messages_may_be_taken_later() {
    let mut online = Online::connected(&Amqp::new());
    online.hub.inject_for(DEVICE, Fault::Throttle { lasts: Duration::from_secs(3600) });
    let ids = online.send_texts(&["a", "b"]);
    online.until_told(2);
    for ((told, outcome), id) in online.outcomes.iter().zip(ids) {
        assert_eq!(*told, id);
        let reason = &outcome.as_ref().unwrap_err().reason;
        let UndeliveredReason::NotNow(words) = reason else { panic!("{reason:?}") };
        assert!(words.contains("com.microsoft:device-container-throttled"), "{words}");
    }
    assert_eq!((online.stored().len(), online.client.stats().connections), (0, 1));
}

#[test]
fn a_batch_that_is_lost_or_whose_outcome_is_lost_arrives_in_order_all_the_same() {
    for (at, times) in [(DropPoint::PublishReceived, 1), (DropPoint::PublishStored, 2)] {
        let mut online = Online::connected(&Amqp::new());
        online.hub.inject_for(DEVICE, Fault::Drop { device: None, at });
        let texts: Vec<_> = (0..100).map(|n| format!("{n} {}", "x".repeat(n * 20))).collect();
        let ids: Vec<_> = texts.iter().map(|text| online.send(&Message::new(text.clone()))).collect();
        online.until_told(100);
        let told: Vec<_> = online.outcomes.iter().map(|(id, outcome)| (*id, outcome.is_ok())).collect();
        assert_eq!(told, ids.iter().map(|id| (*id, true)).collect::<Vec<_>>());
        let expected: Vec<_> = std::iter::repeat_n(texts, times).flatten().collect();
        assert!(online.stored() == expected, "{at:?}");
        assert_eq!(online.client.stats().connections, 2);
    }
}
