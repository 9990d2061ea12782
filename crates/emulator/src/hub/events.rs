//! Stored messages as a stream with partitions, and who reads it or waits for feedback.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::activity::ConnectionId;
use crate::hub::HubState;
use crate::hub::registry::Identity;
use crate::record::TelemetryRecord;

/// Names one exclusive reader of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClaimId(u64);

/// Who reads what.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// Connections that are woken by every stored message and by feedback.
    listening: BTreeSet<ConnectionId>,
    claims: BTreeMap<(String, usize), Claim>,
    last_claim: u64,
}

#[derive(Debug)]
struct Claim {
    id: ClaimId,
    epoch: i64,
    connection: ConnectionId,
}

/// What is stored in a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionFacts {
    pub(crate) first_sequence: Option<u64>,
    pub(crate) last_sequence: Option<u64>,
    pub(crate) last_enqueued: Option<SystemTime>,
}

impl HubState {
    /// Wakes this connection whenever there may be something for a reader of messages or feedback.
    pub(crate) fn listen(&mut self, connection: ConnectionId) {
        self.readers.listening.insert(connection);
    }

    /// The connection ends, and its claims with it.
    pub(crate) fn forget_listener(&mut self, connection: ConnectionId) {
        self.readers.listening.remove(&connection);
        self.readers.claims.retain(|_, claim| claim.connection != connection);
    }

    pub(super) fn wake_listeners(&mut self) {
        self.woken.extend(&self.readers.listening);
    }

    /// The oldest message of this partition behind the one with this number.
    pub(crate) fn stored_after(&self, partition: usize, sequence: u64) -> Option<&TelemetryRecord> {
        self.senders(partition)
            .filter_map(|sender| self.telemetry.first_where(sender, |record| record.sequence_number > sequence))
            .min_by_key(|record| record.sequence_number)
    }

    pub(crate) fn partition_facts(&self, partition: usize) -> PartitionFacts {
        let ends =
            self.senders(partition).map(|sender| (self.telemetry.of(sender).next(), self.telemetry.last(sender)));
        ends.fold(PartitionFacts::default(), |facts, (first, last)| PartitionFacts {
            first_sequence: facts.first_sequence.into_iter().chain(first.map(|record| record.sequence_number)).min(),
            last_sequence: facts.last_sequence.max(last.map(|record| record.sequence_number)),
            last_enqueued: facts.last_enqueued.max(last.map(|record| record.enqueued)),
        })
    }

    /// Whose messages are in this partition.
    fn senders(&self, partition: usize) -> impl Iterator<Item = &Identity> {
        self.telemetry.identities().filter(move |sender| self.partition_of(&sender.device) == partition)
    }

    /// The partition of a device's messages, and of its modules': a hash of its id, the same in every run (FNV-1a).
    fn partition_of(&self, device: &str) -> usize {
        let hash =
            device.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        hash as usize % self.config.event_partitions.max(1)
    }

    /// Lets a reader in. One with an epoch has the partition for itself until another has the same or a higher one; then one without is kept out.
    pub(crate) fn claim_partition(
        &mut self,
        connection: ConnectionId,
        group: &str,
        partition: usize,
        epoch: Option<i64>,
    ) -> Result<Option<ClaimId>, ()> {
        let key = (group.to_ascii_lowercase(), partition);
        let known = self.readers.claims.get(&key);
        if known.is_some_and(|known| epoch.is_none_or(|epoch| epoch < known.epoch)) {
            return Err(());
        }
        let Some(epoch) = epoch else { return Ok(None) };
        self.woken.extend(known.map(|known| known.connection));
        self.readers.last_claim += 1;
        let id = ClaimId(self.readers.last_claim);
        self.readers.claims.insert(key, Claim { id, epoch, connection });
        Ok(Some(id))
    }

    pub(crate) fn holds_claim(&self, id: ClaimId) -> bool {
        self.readers.claims.values().any(|claim| claim.id == id)
    }

    pub(crate) fn give_up_claim(&mut self, id: Option<ClaimId>) {
        self.readers.claims.retain(|_, claim| Some(claim.id) != id);
    }
}
