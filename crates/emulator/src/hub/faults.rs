//! Faults that meet a connection, whatever protocol it speaks: they are consumed here and put on record; what they do is the head's.

use std::time::Duration;

use crate::activity::{Activity, ConnectionId, DisconnectReason};
use crate::clock::Now;
use crate::faults::by_message::{self, Ignored, Protocol};
use crate::faults::{DropPoint, Fault, FaultId, Taken, TwinPatchFault};
use crate::hub::registry::Identity;
use crate::hub::twin::reply::broken_off;
use crate::hub::{HubState, NOBODY};

impl HubState {
    /// Queues a fault; the connections that it may concern look at it at once.
    pub(crate) fn inject(&mut self, only: Option<Identity>, fault: Fault) -> FaultId {
        let concerned =
            self.connections.all().filter(|(identity, _)| only.as_ref().is_none_or(|only| only == *identity));
        let carriers: Vec<_> = concerned.map(|(_, connection)| self.carrier(connection)).collect();
        self.woken.extend(carriers);
        self.faults.push(only, fault)
    }

    /// The oldest of the wanted faults that waits for this identity's connection; it is consumed and recorded.
    pub(crate) fn take_fault(
        &mut self,
        identity: &Identity,
        connection: ConnectionId,
        now: Now,
        wanted: impl Fn(&Fault) -> bool,
    ) -> Option<Fault> {
        let fault = self.faults.take(identity, |fault| wanted(fault).then(|| Taken::Last(fault.clone())))?;
        self.note_fired(identity, connection, now, fault.clone());
        Some(fault)
    }

    /// Whether a fault drops the identity's connection here; it is consumed and recorded. With why the connection has to end.
    pub(crate) fn take_drop(
        &mut self,
        identity: &Identity,
        connection: ConnectionId,
        now: Now,
        at: DropPoint,
    ) -> Option<DisconnectReason> {
        if !self.faults.take_drop(identity, at) {
            return None;
        }
        let device = Some(identity).filter(|identity| **identity != NOBODY).map(ToString::to_string);
        let fault = Fault::Drop { device, at };
        self.note_fired(identity, connection, now, fault.clone());
        Some(DisconnectReason::Fault(fault))
    }

    /// The fault that an identity's message asks for by these properties (E42), and after which time; what is asked is recorded.
    pub(crate) fn fault_asked_for(
        &mut self,
        identity: &Identity,
        connection: ConnectionId,
        now: Now,
        properties: &[(String, Option<String>)],
        protocol: Protocol,
    ) -> Option<(Duration, Fault)> {
        if !self.config.message_faults {
            return None;
        }
        let at = now.wall;
        match by_message::asked(properties, protocol)? {
            Ok(asked) => {
                let due = at.checked_add(asked.delay).unwrap_or(at);
                let (fault, reason) = (asked.fault.clone(), asked.reason);
                self.note(identity, Activity::FaultScheduled { at, connection, fault, due, reason });
                Some((asked.delay, asked.fault))
            }
            Err(Ignored { operation, problem }) => {
                self.note(identity, Activity::FaultIgnored { at, connection, operation, problem });
                None
            }
        }
    }

    /// The text of a desired patch as it is sent, perhaps spoilt by a fault; what else the fault wants is left to the head. `None`: it is lost.
    pub(crate) fn patch_to_send(
        &mut self,
        identity: &Identity,
        connection: ConnectionId,
        now: Now,
        patch: serde_json::Map<String, serde_json::Value>,
    ) -> Option<(Vec<u8>, Option<TwinPatchFault>)> {
        let fault = match self.take_fault(identity, connection, now, |fault| matches!(fault, Fault::TwinPatch(_))) {
            Some(Fault::TwinPatch(fault)) => Some(fault),
            _ => None,
        };
        let text = serde_json::Value::Object(patch).to_string().into_bytes();
        match fault {
            Some(TwinPatchFault::Drop) => None,
            Some(TwinPatchFault::BadJson) => Some((broken_off(&text), fault)),
            _ => Some((text, fault)),
        }
    }

    /// A fault takes effect.
    pub(crate) fn note_fired(&mut self, identity: &Identity, connection: ConnectionId, now: Now, fault: Fault) {
        self.note(identity, Activity::FaultFired { at: now.wall, connection, fault });
    }
}
