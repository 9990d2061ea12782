//! The steps of what the service sends in the hub's record: cloud-to-device messages, and messages to inputs.

use iothub_emulator::{Activity, C2dResult, Hub, PubackEffect};

use super::Record;
use crate::mqtt::sample::Sample;
use crate::report::same;

/// A message that was sent: the input that it is for, its id, and its packet id.
type Sent = (Option<String>, String, u16);

impl Record {
    /// Each was sent once, in this order, acknowledged by PUBACK, and is gone from the queue. A message is named by its input, if it is for one, and its id.
    pub(crate) fn completed(&self, expected: &[(Option<&str>, &Sample)]) -> Result<(), String> {
        let expected: Vec<(Option<&str>, &str)> =
            expected.iter().map(|(input, sample)| (*input, sample.message_id())).collect();
        let sent = self.all(sent)?;
        let found: Vec<_> = sent.iter().map(|(input, id, _)| (input.as_deref(), id.as_str())).collect();
        same("the list of messages sent, (input, id)", &found, &expected)?;
        for (input, id, packet) in &sent {
            self.find(&format!("PUBACK from the device for packet {packet}"), |entry| match entry {
                Activity::PubackReceived { packet_id, effect: PubackEffect::Completed, .. } if packet_id == packet => {
                    Some(())
                }
                _ => None,
            })?;
            let acknowledged = (input.as_deref(), id.as_str());
            self.find("completed message", |entry| (acked(entry)? == acknowledged).then_some(()))?;
        }
        let outcomes: Vec<_> = self
            .outcomes
            .iter()
            .map(|outcome| (outcome.input.as_deref(), outcome.message_id.as_str(), outcome.result))
            .collect();
        let completed = expected.iter().map(|(input, id)| (*input, *id, C2dResult::Completed)).collect();
        same("the list of outcomes", &outcomes, &completed)?;
        same("the number of messages still queued", &self.pending, &0)
    }

    /// The service asked for feedback, and reads that the device has the message.
    pub(crate) fn reported(&self, hub: &Hub, message: &Sample) -> Result<(), String> {
        hub.flush_feedback();
        let all = hub.read_feedback();
        let found: Vec<_> = all
            .iter()
            .filter(|entry| entry.device_id == self.subject.who().device)
            .map(|entry| (entry.original_message_id.as_str(), entry.status_code.as_str()))
            .collect();
        same("the feedback", &found, &vec![(message.message_id(), "Success")])
    }
}

fn sent(entry: &Activity) -> Option<Sent> {
    match entry {
        Activity::C2dSent { message_id, packet_id, dup: false, .. } => Some((None, message_id.clone(), (*packet_id)?)),
        Activity::InputSent { input, message_id, packet_id, dup: false, .. } => {
            Some((Some(input.clone()), message_id.clone(), (*packet_id)?))
        }
        _ => None,
    }
}

fn acked(entry: &Activity) -> Option<(Option<&str>, &str)> {
    match entry {
        Activity::C2dAcked { message_id, .. } => Some((None, message_id)),
        Activity::InputAcked { input, message_id, .. } => Some((Some(input), message_id)),
        _ => None,
    }
}
