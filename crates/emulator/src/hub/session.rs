//! What a client has subscribed to, and what of it outlives its connection.

use crate::hub::registry::Identity;

/// What a granted filter asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    /// Cloud-to-device messages; of devices only.
    CloudToDevice,
    /// Messages to inputs; of modules only.
    Inputs,
    /// Answers to twin requests.
    TwinResponses,
    /// Desired property patches.
    DesiredPatches,
    /// Direct method requests.
    Methods,
    /// Nothing: the filter is not known and was granted all the same.
    Nothing,
}

impl Feature {
    /// What brings an identity the messages that the hub keeps for it.
    pub(crate) fn messages_of(identity: &Identity) -> Self {
        if identity.module.is_some() { Self::Inputs } else { Self::CloudToDevice }
    }
}

/// The code for a filter that is not granted, in place of its QoS.
pub(crate) const REFUSED: u8 = 0x80;

#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) filter: String,
    pub(crate) feature: Feature,
    pub(crate) qos: u8,
    /// Its place among all events of the hub, to tell what was enqueued before it.
    pub(crate) created: u64,
}

/// A session's subscriptions. A persistent one (clean session 0) is kept by identity when its connection ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    subscriptions: Vec<Subscription>,
}

impl Session {
    /// Adds a subscription, or gives an existing one another QoS. False: the limit is reached.
    pub(crate) fn subscribe(&mut self, filter: &str, feature: Feature, qos: u8, created: u64, limit: usize) -> bool {
        if let Some(known) = self.subscriptions.iter_mut().find(|known| known.filter == filter) {
            known.qos = qos;
            return true;
        }
        if self.subscriptions.len() >= limit {
            return false;
        }
        self.subscriptions.push(Subscription { filter: filter.to_owned(), feature, qos, created });
        true
    }

    pub(crate) fn unsubscribe(&mut self, filter: &str) {
        self.subscriptions.retain(|known| known.filter != filter);
    }

    /// The subscription that decides on this feature: the one with the highest QoS, if several overlap.
    pub(crate) fn wants(&self, feature: Feature) -> Option<&Subscription> {
        self.subscriptions.iter().filter(|known| known.feature == feature).max_by_key(|known| known.qos)
    }

    /// When the feature was first subscribed to.
    pub(crate) fn since(&self, feature: Feature) -> Option<u64> {
        self.subscriptions.iter().filter(|known| known.feature == feature).map(|known| known.created).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribing_again_changes_the_qos_and_takes_no_room() {
        let mut session = Session::default();
        assert!(session.subscribe("a", Feature::CloudToDevice, 0, 1, 1));
        assert!(session.subscribe("a", Feature::CloudToDevice, 1, 2, 1));
        assert!(!session.subscribe("b", Feature::Methods, 1, 3, 1));
        assert_eq!(session.wants(Feature::CloudToDevice).unwrap().qos, 1);
        assert_eq!(session.since(Feature::CloudToDevice), Some(1));
        session.unsubscribe("a");
        assert!(session.wants(Feature::CloudToDevice).is_none());
    }
}
