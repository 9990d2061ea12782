//! A log with a cap over all its keys: the oldest entries, whichever their key, make room.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Entries by key (a device id), each key's in order.
#[derive(Debug)]
pub(crate) struct CappedLog<T> {
    limit: usize,
    by_key: BTreeMap<Arc<str>, VecDeque<T>>,
    /// The key of each entry, oldest first.
    order: VecDeque<Arc<str>>,
}

impl<T> CappedLog<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, by_key: BTreeMap::new(), order: VecDeque::new() }
    }

    pub(crate) fn push(&mut self, key: &str, entry: T) {
        if self.order.len() >= self.limit {
            self.drop_oldest();
        }
        let key = match self.by_key.get_key_value(key) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(key),
        };
        self.by_key.entry(Arc::clone(&key)).or_default().push_back(entry);
        self.order.push_back(key);
    }

    pub(crate) fn of(&self, key: &str) -> impl Iterator<Item = &T> {
        self.by_key.get(key).into_iter().flatten()
    }

    pub(crate) fn count(&self, key: &str) -> usize {
        self.by_key.get(key).map_or(0, VecDeque::len)
    }

    /// The keys that have entries.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.by_key.keys().map(|key| &**key)
    }

    /// The first entry of a key for which this holds, if it holds for all behind the first.
    pub(crate) fn first_where(&self, key: &str, mut holds: impl FnMut(&T) -> bool) -> Option<&T> {
        let entries = self.by_key.get(key)?;
        entries.get(entries.partition_point(|entry| !holds(entry)))
    }

    pub(crate) fn last(&self, key: &str) -> Option<&T> {
        self.by_key.get(key)?.back()
    }

    /// All entries, grouped by key.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.by_key.values().flatten()
    }

    fn drop_oldest(&mut self) {
        let Some(key) = self.order.pop_front() else { return };
        if let Some(entries) = self.by_key.get_mut(&key) {
            entries.pop_front();
            if entries.is_empty() {
                self.by_key.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_limit_the_oldest_entry_of_any_key_makes_room() {
        let mut log = CappedLog::new(3);
        for (key, entry) in [("a", 1), ("b", 2), ("b", 3), ("b", 4), ("a", 5)] {
            log.push(key, entry);
        }
        assert_eq!(log.of("a").copied().collect::<Vec<_>>(), [5]);
        assert_eq!(log.of("b").copied().collect::<Vec<_>>(), [3, 4]);
        assert_eq!(log.count("b"), 2);
        assert_eq!(log.all().count(), 3);
    }
}
