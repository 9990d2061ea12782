//! A log with a cap over all identities: the oldest entries, whosever they are, make room.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::hub::registry::Identity;

/// Entries by identity, each one's in order.
#[derive(Debug)]
pub(crate) struct CappedLog<T> {
    limit: usize,
    by_identity: BTreeMap<Arc<Identity>, VecDeque<T>>,
    /// Whose each entry is, oldest first.
    order: VecDeque<Arc<Identity>>,
}

impl<T> CappedLog<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, by_identity: BTreeMap::new(), order: VecDeque::new() }
    }

    pub(crate) fn push(&mut self, identity: &Identity, entry: T) {
        if self.order.len() >= self.limit {
            self.drop_oldest();
        }
        let identity = match self.by_identity.get_key_value(identity) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::new(identity.clone()),
        };
        self.by_identity.entry(Arc::clone(&identity)).or_default().push_back(entry);
        self.order.push_back(identity);
    }

    pub(crate) fn of(&self, identity: &Identity) -> impl Iterator<Item = &T> {
        self.by_identity.get(identity).into_iter().flatten()
    }

    pub(crate) fn count(&self, identity: &Identity) -> usize {
        self.by_identity.get(identity).map_or(0, VecDeque::len)
    }

    /// Those that have entries.
    pub(crate) fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.by_identity.keys().map(|identity| &**identity)
    }

    /// An identity's first entry for which this holds, if it holds for all behind that one.
    pub(crate) fn first_where(&self, identity: &Identity, mut holds: impl FnMut(&T) -> bool) -> Option<&T> {
        let entries = self.by_identity.get(identity)?;
        entries.get(entries.partition_point(|entry| !holds(entry)))
    }

    pub(crate) fn last(&self, identity: &Identity) -> Option<&T> {
        self.by_identity.get(identity)?.back()
    }

    /// All entries, grouped by identity.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.by_identity.values().flatten()
    }

    fn drop_oldest(&mut self) {
        let Some(identity) = self.order.pop_front() else { return };
        if let Some(entries) = self.by_identity.get_mut(&identity) {
            entries.pop_front();
            if entries.is_empty() {
                self.by_identity.remove(&identity);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_limit_the_oldest_entry_of_any_identity_makes_room() {
        let mut log = CappedLog::new(3);
        for (client_id, entry) in [("a", 1), ("a/b", 2), ("a/b", 3), ("a/b", 4), ("a", 5)] {
            log.push(&Identity::of_client_id(client_id), entry);
        }
        let (device, module) = (Identity::device("a"), Identity::module("a", "b"));
        assert_eq!(log.of(&device).copied().collect::<Vec<_>>(), [5]);
        assert_eq!(log.of(&module).copied().collect::<Vec<_>>(), [3, 4]);
        assert_eq!(log.count(&module), 2);
        assert_eq!(log.all().count(), 3);
    }
}
