//! Packet identifiers: 1 to 65535, each at most once among everything that awaits an answer, publishes and
//! subscriptions alike (MQTT 3.1.1, 2.3.1).

const WORDS: usize = 65_536 / 64;

/// Hands out packet identifiers.
pub(crate) struct PacketIds {
    /// One bit an id; bit 0 is never used.
    used: Box<[u64; WORDS]>,
    count: usize,
    last: u16,
}

impl PacketIds {
    /// How many identifiers there are.
    pub(crate) const ALL: usize = 65_535;

    pub(crate) fn new() -> Self {
        Self { used: Box::new([0; WORDS]), count: 0, last: 0 }
    }

    /// The next free identifier in cyclic order, so that one is not reused soon; `None` when all are in use.
    pub(crate) fn take(&mut self) -> Option<u16> {
        if self.count == Self::ALL {
            return None;
        }
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            let (word, bit) = place(self.last);
            if self.used[word] & bit == 0 {
                self.used[word] |= bit;
                self.count += 1;
                return Some(self.last);
            }
        }
    }

    /// Takes an identifier back once nothing can be answered under it.
    pub(crate) fn give_back(&mut self, id: u16) {
        let (word, bit) = place(id);
        if self.used[word] & bit != 0 {
            self.used[word] &= !bit;
            self.count -= 1;
        }
    }
}

fn place(id: u16) -> (usize, u64) {
    (usize::from(id / 64), 1 << (id % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_start_at_one_and_wrap_around_without_zero() {
        let mut ids = PacketIds::new();
        for expected in 1..=u16::MAX {
            assert_eq!(ids.take(), Some(expected));
            ids.give_back(expected);
        }
        assert_eq!(ids.take(), Some(1));
    }

    #[test]
    fn an_id_in_use_is_skipped_and_exhaustion_is_told() {
        let mut ids = PacketIds::new();
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
}
