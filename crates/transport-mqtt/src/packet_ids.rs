//! Packet identifiers: 1 to 65535, each at most once among everything that awaits an answer, publishes and
//! subscriptions alike (MQTT 3.1.1, 2.3.1).

use std::collections::VecDeque;

/// How many words of 64 bits all identifiers fill.
const WORDS: u16 = 1024;

/// Hands out packet identifiers.
///
/// They are handed out in cyclic order and come back soon, so that those in use lie close together: only the words from
/// the oldest in use to the newest are kept.
#[derive(Default)]
pub(crate) struct PacketIds {
    /// One bit an identifier, from the word `first` on, cyclically.
    used: VecDeque<u64>,
    first: u16,
    count: usize,
    last: u16,
}

impl PacketIds {
    /// How many identifiers there are.
    pub(crate) const ALL: usize = 65_535;

    /// The next free identifier in cyclic order, so that one is not reused soon; `None` when all are in use.
    pub(crate) fn take(&mut self) -> Option<u16> {
        if self.count == Self::ALL {
            return None;
        }
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if self.used.is_empty() {
                self.first = self.last / 64;
            }
            let (index, bit) = self.place(self.last);
            if index >= self.used.len() {
                self.used.resize(index + 1, 0);
            }
            if self.used[index] & bit == 0 {
                self.used[index] |= bit;
                self.count += 1;
                return Some(self.last);
            }
        }
    }

    /// Takes an identifier back once nothing can be answered under it.
    pub(crate) fn give_back(&mut self, id: u16) {
        let (index, bit) = self.place(id);
        if let Some(word) = self.used.get_mut(index)
            && *word & bit != 0
        {
            *word &= !bit;
            self.count -= 1;
        }
        while self.used.front() == Some(&0) {
            self.used.pop_front();
            self.first = (self.first + 1) % WORDS;
        }
    }

    /// Where the identifier's bit is, or would be.
    fn place(&self, id: u16) -> (usize, u64) {
        let index = (id / 64 + WORDS - self.first) % WORDS;
        (usize::from(index), 1 << (id % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_start_at_one_and_wrap_around_without_zero() {
        let mut ids = PacketIds::default();
        for expected in 1..=u16::MAX {
            assert_eq!(ids.take(), Some(expected));
            ids.give_back(expected);
        }
        assert_eq!(ids.take(), Some(1));
    }

    #[test]
    fn an_id_in_use_is_skipped_and_exhaustion_is_told() {
        let mut ids = PacketIds::default();
        assert_eq!(ids.take(), Some(1));
        for _ in 2..=u16::MAX {
            assert!(ids.take().is_some());
        }
        assert_eq!(ids.take(), None);
        ids.give_back(7);
        ids.give_back(7);
        assert_eq!(ids.take(), Some(7));
        assert_eq!(ids.take(), None);
    }
    #[test]
    fn a_window_moves_over_all_identifiers_without_taking_one_twice_and_little_is_kept() {
        let mut ids = PacketIds::default();
        let mut window: VecDeque<u16> = (0..100).map(|_| ids.take().unwrap()).collect();
        for step in 0..200_000 {
            let id = ids.take().unwrap();
            assert!(!window.contains(&id), "{id} is in use, step {step}");
            window.push_back(id);
            // Nearly in order, as acknowledgements come.
            let at = step % 3;
            ids.give_back(window.remove(at).unwrap());
            assert!(ids.used.len() <= 4, "{} words, step {step}", ids.used.len());
        }
        window.into_iter().for_each(|id| ids.give_back(id));
        assert!(ids.used.is_empty());
    }

    #[test]
    fn one_that_stays_in_use_is_skipped_in_every_round() {
        let mut ids = PacketIds::default();
        let stays: Vec<u16> = (0..3).map(|_| ids.take().unwrap()).collect();
        ids.give_back(stays[0]);
        for _ in 0..3 {
            let round: Vec<u16> = (0..PacketIds::ALL - 2)
                .map(|_| {
                    let id = ids.take().unwrap();
                    ids.give_back(id);
                    id
                })
                .collect();
            assert!(!round.contains(&stays[1]) && !round.contains(&stays[2]) && round.contains(&stays[0]));
        }
        stays.into_iter().skip(1).for_each(|id| ids.give_back(id));
        assert!(ids.used.is_empty());
    }
}
