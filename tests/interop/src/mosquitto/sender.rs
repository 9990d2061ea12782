//! The application: sends every message through the client, and keeps account of the confirmations.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use iothub_client::{
    ConnectionState, DeviceClient, Event, Message, Mqtt, OpId, RefusedReason, RetryConfig, RetryPolicy, Stats,
    StatusChange,
};

use super::payload::payload;
use super::{LIMIT, MESSAGES};

pub(super) const DEVICE: &str = "sender";
/// The application property that holds a message's number.
pub(super) const NUMBER: &str = "number";

/// Smaller than the number of messages, so that the queue is full most of the time.
const QUEUE: usize = 1_000;
/// A broker without our hub's accounts asks for no key, but the client does.
const ANY_KEY: &str = "bm8gYnJva2VyIGNoZWNrcyB0aGlz";

/// What became of the messages.
#[derive(Debug)]
pub(super) struct Sent {
    /// How often each message was confirmed.
    pub(super) confirmations: Vec<u32>,
    /// Messages that came back, in words.
    pub(super) failures: Vec<String>,
    pub(super) unknown_confirmations: usize,
    pub(super) stats: Stats,
    /// From the first message to the last confirmation.
    pub(super) duration: Duration,
}

/// Sends all messages to this port, and returns when each has its outcome and the client is closed.
pub(super) fn send_all(port: u16, ca_pem: &str, mut tell: impl FnMut(&str)) -> Result<Sent, String> {
    let connection_string =
        format!("HostName=localhost;DeviceId={DEVICE};SharedAccessKey={ANY_KEY};GatewayHostName=localhost:{port}");
    // A connection that lasts shorter than the longest delay slows the next attempt; ours do not last long.
    let delay = Duration::from_millis(100);
    let retry = RetryConfig::new(RetryPolicy::ExponentialBackoffWithJitter)
        .with_initial_delay(delay)
        .with_max_delay(delay)
        .with_jitter(0.0);
    let mut client = DeviceClient::builder(&connection_string)
        .trusted_certs(ca_pem)
        .retry_policy(retry)
        .max_queued_messages(QUEUE)
        .build(&Mqtt::new())
        .map_err(|error| format!("cannot create the client: {error}"))?;

    let started = Instant::now();
    let mut account = Account::new();
    let mut last_progress = Instant::now();
    loop {
        account.fill(&mut client)?;
        client.do_work();
        while let Some(event) = client.next_event() {
            match event {
                Event::Confirmation { id, outcome } => {
                    last_progress = Instant::now();
                    account.enter(id, outcome.map_err(|undelivered| undelivered.to_string()));
                }
                Event::Status(change) => in_words(&change, &client).iter().for_each(|line| tell(line)),
                other => return Err(format!("an event that nothing asked for: {other:?}")),
            }
        }
        if account.open == 0 {
            break;
        }
        let quiet = last_progress.elapsed();
        if quiet >= LIMIT {
            let (seconds, open) = (LIMIT.as_secs(), account.open);
            return Err(format!("no confirmation for {seconds} s, {open} messages are open: {client:?}"));
        }
        client.wait(LIMIT - quiet);
    }
    let duration = started.elapsed();
    client.close(LIMIT);
    account.late(&mut client);
    Ok(Sent {
        confirmations: account.confirmations,
        failures: account.failures,
        unknown_confirmations: account.unknown,
        stats: client.stats(),
        duration,
    })
}

#[derive(Debug)]
struct Account {
    next: usize,
    /// Messages without an outcome.
    open: usize,
    numbers: HashMap<OpId, usize>,
    confirmations: Vec<u32>,
    failures: Vec<String>,
    unknown: usize,
}

impl Account {
    fn new() -> Self {
        Self {
            next: 0,
            open: MESSAGES,
            numbers: HashMap::new(),
            confirmations: vec![0; MESSAGES],
            failures: Vec::new(),
            unknown: 0,
        }
    }

    /// Gives the client as many messages as it takes.
    fn fill(&mut self, client: &mut DeviceClient) -> Result<(), String> {
        while self.next < MESSAGES {
            let message = Message::new(payload(self.next))
                .with_property(NUMBER, self.next.to_string())
                .map_err(|error| error.to_string())?;
            match client.send_event_tracked(message) {
                Ok(id) => self.numbers.insert(id, self.next),
                Err(refused) if matches!(refused.reason, RefusedReason::TooManyMessages { .. }) => return Ok(()),
                Err(refused) => return Err(format!("message {} is refused: {refused}", self.next)),
            };
            self.next += 1;
        }
        Ok(())
    }

    /// An id stays known after its outcome, so that a second outcome is seen.
    fn enter(&mut self, id: OpId, outcome: Result<(), String>) {
        let Some(number) = self.numbers.get(&id).copied() else {
            self.unknown += 1;
            return;
        };
        self.open = self.open.saturating_sub(1);
        match outcome {
            Ok(()) => self.confirmations[number] += 1,
            Err(problem) => self.failures.push(format!("message {number}: {problem}")),
        }
    }

    /// Outcomes that came only while the client closed: there should be none.
    fn late(&mut self, client: &mut DeviceClient) {
        while let Some(event) = client.next_event() {
            if let Event::Confirmation { id, outcome } = event {
                self.enter(id, outcome.map_err(|undelivered| undelivered.to_string()));
            }
        }
    }
}

/// A loss is worth a line.
fn in_words(change: &StatusChange, client: &DeviceClient) -> Option<String> {
    let error = change.error.as_ref()?;
    let what = match (change.state, change.next_attempt_in) {
        (ConnectionState::Waiting, Some(delay)) => format!("again in {} ms", delay.as_millis()),
        (state, _) => format!("{state:?}"),
    };
    Some(format!("client: {} confirmed; {:?}; {what}", client.stats().delivered, error.kind))
}
