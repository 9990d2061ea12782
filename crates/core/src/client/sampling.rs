//! Diagnostics sampling: every so many messages one is marked for tracing through the hub.

use std::iter::repeat_with;
use std::time::SystemTime;

use crate::message::Message;

/// The length of a trace's id, as in the C SDK.
const ID_LENGTH: usize = 8;

/// Which messages are marked. Of `percent` in a hundred, evenly spread, the first is one, as in the C SDK.
#[derive(Debug, Default)]
pub(super) struct Sampling {
    percent: u32,
    /// Messages since the percentage was set.
    count: u64,
}

impl Sampling {
    pub(super) fn new(percent: u32) -> Self {
        Self { percent, count: 0 }
    }

    /// The message with a mark. One that the application set is replaced.
    pub(super) fn mark(message: &Message, now: SystemTime) -> Option<Message> {
        let id: String = repeat_with(|| fastrand::digit(36)).take(ID_LENGTH).collect();
        message.clone().with_diagnostics(id, now).ok()
    }

    /// The message was taken.
    pub(super) fn advance(&mut self) {
        self.count += 1;
    }

    /// Whether the share of marked messages would otherwise fall behind: the message with index `i` is marked if
    /// `floor((i - 1) * percent / 100) < floor(i * percent / 100)`.
    pub(super) fn samples_next(&self) -> bool {
        if self.percent == 0 {
            return false;
        }
        let share = |index: i128| (index * i128::from(self.percent)).div_euclid(100);
        let index = i128::from(self.count);
        share(index - 1) < share(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(percent: u32, of: u64) -> Vec<u64> {
        let mut sampling = Sampling::new(percent);
        let mut marked = Vec::new();
        for number in 1..=of {
            if sampling.samples_next() {
                marked.push(number);
            }
            sampling.advance();
        }
        marked
    }

    #[test]
    fn invariant_10_the_sampled_messages_are_those_of_the_c_sdk() {
        assert!(sampled(0, 1000).is_empty());
        assert_eq!(sampled(1, 301), [1, 101, 201, 301]);
        assert_eq!(sampled(100, 5), [1, 2, 3, 4, 5]);
        assert_eq!(sampled(50, 7), [1, 3, 5, 7]);
        // 33 %: floor(33 (i - 1) / 100) < floor(33 i / 100) for i = 0, 4, 7, 10, 13, ...
        assert_eq!(sampled(33, 14), [1, 5, 8, 11, 14]);
        for percent in 1..=100 {
            assert_eq!(sampled(percent, 100).len(), percent as usize);
        }
    }
}
