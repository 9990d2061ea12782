//! Feedback on cloud-to-device messages: collected into batches until the service may read them.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Now;
use crate::message::FeedbackMode;
use crate::record::{C2dResult, FeedbackRecord};

/// A batch is ready at this many records (docs/hub-over-mqtt.md 3).
const BATCH_RECORDS: usize = 64;
/// A batch is ready so long after its first record (docs/hub-over-mqtt.md 3).
const BATCH_TIME: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(crate) struct Feedback {
    limit: usize,
    collecting: Vec<FeedbackRecord>,
    /// When the batch that is being collected is ready.
    due: Option<Duration>,
    ready: VecDeque<FeedbackRecord>,
}

impl Feedback {
    /// Feedback that nobody reads is kept up to this many records; then the oldest make room.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, collecting: Vec::new(), due: None, ready: VecDeque::new() }
    }

    pub(crate) fn push(&mut self, record: FeedbackRecord, now: Now) {
        self.due.get_or_insert(now.elapsed.saturating_add(BATCH_TIME));
        self.collecting.push(record);
        if self.collecting.len() >= BATCH_RECORDS {
            self.flush();
        }
    }

    pub(crate) fn flush(&mut self) {
        self.ready.extend(self.collecting.drain(..));
        self.due = None;
        while self.ready.len() > self.limit {
            self.ready.pop_front();
        }
    }

    pub(crate) fn advance(&mut self, now: Now) {
        if self.due.is_some_and(|due| due <= now.elapsed) {
            self.flush();
        }
    }

    pub(crate) fn due(&self) -> Option<Duration> {
        self.due
    }

    pub(crate) fn take_some(&mut self, most: usize) -> Vec<FeedbackRecord> {
        self.ready.drain(..most.min(self.ready.len())).collect()
    }

    pub(crate) fn give_back(&mut self, records: Vec<FeedbackRecord>) {
        records.into_iter().rev().for_each(|record| self.ready.push_front(record));
    }

    pub(crate) fn take_ready(&mut self) -> Vec<FeedbackRecord> {
        self.ready.drain(..).collect()
    }
}

/// Whether this end of a message is to be reported, and under which name.
pub(crate) fn status_code(mode: Option<FeedbackMode>, result: C2dResult) -> Option<&'static str> {
    let positive = result == C2dResult::Completed;
    let wanted = match mode? {
        FeedbackMode::None => false,
        FeedbackMode::Positive => positive,
        FeedbackMode::Negative => !positive,
        FeedbackMode::Full => true,
    };
    wanted.then_some(match result {
        C2dResult::Completed => "Success",
        C2dResult::Rejected => "Rejected",
        C2dResult::Expired => "Expired",
        C2dResult::DeliveryCountExceeded => "DeliveryCountExceeded",
        C2dResult::Purged => "Purged",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn record(id: usize) -> FeedbackRecord {
        FeedbackRecord {
            enqueued_time: SystemTime::UNIX_EPOCH,
            original_message_id: id.to_string(),
            status_code: "Success".into(),
            description: "Success".into(),
            device_id: "d".into(),
            device_generation_id: "1".into(),
        }
    }

    fn at(seconds: u64) -> Now {
        Now { elapsed: Duration::from_secs(seconds), wall: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn a_batch_is_ready_at_64_records_or_15_seconds_after_its_first() {
        let mut feedback = Feedback::new(1000);
        (0..63).for_each(|id| feedback.push(record(id), at(0)));
        feedback.advance(at(14));
        assert!(feedback.take_ready().is_empty());
        feedback.push(record(63), at(14));
        assert_eq!(feedback.take_ready().len(), 64);
        feedback.push(record(64), at(20));
        assert_eq!(feedback.due(), Some(Duration::from_secs(35)));
        feedback.advance(at(35));
        assert_eq!(feedback.take_ready().len(), 1);
    }

    #[test]
    fn only_the_outcomes_that_were_asked_for_are_reported() {
        assert_eq!(status_code(Some(FeedbackMode::Positive), C2dResult::Completed), Some("Success"));
        assert_eq!(status_code(Some(FeedbackMode::Positive), C2dResult::Expired), None);
        assert_eq!(status_code(Some(FeedbackMode::Negative), C2dResult::Expired), Some("Expired"));
        assert_eq!(status_code(Some(FeedbackMode::Negative), C2dResult::Completed), None);
        assert_eq!(status_code(Some(FeedbackMode::Full), C2dResult::Purged), Some("Purged"));
        assert_eq!(status_code(None, C2dResult::Completed), None);
    }
}
