//! An independent subscriber: `mosquitto_sub`, whose lines are checked against what was sent.

use std::path::Path;
use std::time::Duration;

use super::payload;
use super::sender::{DEVICE, NUMBER};
use crate::process::{Lines, Process, command};
use crate::scratch::Scratch;

const CLIENT_ID: &str = "reader";

#[derive(Debug)]
pub(super) struct Reader {
    process: Process,
}

/// What the subscriber received.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// The numbers of messages that never came.
    pub(super) missing: Vec<usize>,
    /// How many deliveries there were beyond the first one of each message.
    pub(super) repeated: usize,
    /// The first message that came for the first time after a later one had come.
    pub(super) out_of_order: Option<usize>,
    /// The first line that is none of the messages.
    pub(super) spoiled: Option<String>,
}

/// The end of mosquitto's log line that tells of the subscription.
pub(super) fn log_line_of_subscription() -> String {
    format!(": {CLIENT_ID} 1 {}#", topic())
}

/// Where a device's telemetry goes (docs/hub-over-mqtt.md 2); the properties follow.
fn topic() -> String {
    format!("devices/{DEVICE}/messages/events/")
}

impl Reader {
    pub(super) fn start(port: u16, ca: &Path, scratch: &Scratch) -> Result<Self, String> {
        let mut command = command("mosquitto_sub");
        command
            // It would read its defaults from there.
            .env("HOME", scratch.path())
            .args(["--host", "localhost", "--port", &port.to_string(), "--cafile"])
            .arg(ca)
            .args(["--id", CLIENT_ID, "--qos", "1", "--topic", &format!("{}#", topic()), "-F", "%t %p"]);
        Ok(Self { process: Process::start(command, Lines::OfStdout)? })
    }

    /// Reads until each of `count` messages has come, or nothing comes for `limit`.
    pub(super) fn wait_for_all(self, count: usize, limit: Duration) -> Received {
        let mut received = Received::default();
        let mut seen = vec![false; count];
        let mut left = count;
        let mut highest = None;
        while left > 0 && received.spoiled.is_none() {
            let Ok(Some(line)) = self.process.next_line(limit) else { break };
            match number(&line).and_then(|number| Some((number, seen.get_mut(number)?))) {
                None => received.spoiled = Some(line),
                Some((_, true)) => received.repeated += 1,
                Some((number, first)) => {
                    *first = true;
                    left -= 1;
                    if highest.is_some_and(|highest| number < highest) {
                        received.out_of_order.get_or_insert(number);
                    }
                    highest = highest.max(Some(number));
                }
            }
        }
        received.missing = (0..count).filter(|number| !seen[*number]).collect();
        received
    }
}

/// The number of a message, if topic, property and payload agree about it.
fn number(line: &str) -> Option<usize> {
    let (path, text) = line.split_once(' ')?;
    let number = payload::number(text)?;
    let property = path.strip_prefix(&topic())?.strip_prefix(NUMBER)?.strip_prefix('=')?;
    (property.parse() == Ok(number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_only_if_all_its_parts_agree() {
        let line = |number: usize, text: &str| format!("{}{NUMBER}={number} {text}", topic());
        let text = payload::payload(17);
        assert_eq!(number(&line(17, &text)), Some(17));
        assert_eq!(number(&line(18, &text)), None);
        assert_eq!(number(&line(17, "17 nonsense")), None);
        assert_eq!(number(&text), None);
    }
}
