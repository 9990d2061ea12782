//! Twin requests from the device with their replies, and desired patches to it (docs/hub-over-mqtt.md 4; E30-E37).

use bytes::Bytes;

use crate::activity::Activity;
use crate::clock::Now;
use crate::faults::{DropPoint, Fault, TwinPatchFault, TwinReplyFault};
use crate::hub::HubState;
use crate::hub::session::Feature;
use crate::hub::twin::DesiredChange;
use crate::hub::twin::reply::Reply;
use crate::mqtt::{Head, State};

impl Head {
    /// Sends the twin. True: the request is to be acknowledged.
    pub(super) fn get_twin(&mut self, hub: &mut HubState, now: Now, rid: &str) -> bool {
        let State::Open(open) = &self.state else { return false };
        let identity = open.identity.clone();
        let fault = self.reply_fault(hub, now, Some(rid));
        let reply = hub.answer_get(&identity, fault, now);
        let (at, connection, status) = (now.wall, self.id, reply.status);
        let answered = self.will_reply(hub, Some(rid), fault);
        self.note(hub, Activity::TwinGet { at, connection, rid: rid.to_owned(), status, answered });
        !self.drops(hub, now, DropPoint::TwinExecuted) && (!answered || self.reply(hub, now, rid, reply, fault))
    }

    /// Merges reported properties. True: the request is to be acknowledged.
    pub(super) fn report(&mut self, hub: &mut HubState, now: Now, rid: Option<&str>, body: &Bytes) -> bool {
        let State::Open(open) = &self.state else { return false };
        let identity = open.identity.clone();
        let fault = self.reply_fault(hub, now, rid);
        let reply = hub.answer_report(&identity, body, fault, now);
        let (at, connection, status, version) = (now.wall, self.id, reply.status, reply.version);
        let answered = self.will_reply(hub, rid, fault);
        let activity =
            Activity::TwinReported { at, connection, rid: rid.map(str::to_owned), status, version, answered };
        self.note(hub, activity);
        if self.drops(hub, now, DropPoint::TwinExecuted) {
            return false;
        }
        let Some(rid) = rid.filter(|_| answered) else { return true };
        self.reply(hub, now, rid, reply, fault)
    }

    /// The fault of the reply that is due; there is none where there would be no reply.
    fn reply_fault(&self, hub: &mut HubState, now: Now, rid: Option<&str>) -> Option<TwinReplyFault> {
        if rid.is_none() || hub.subscription(self.id, Feature::TwinResponses).is_none() {
            return None;
        }
        match self.take_fault(hub, now, |fault| matches!(fault, Fault::TwinReply(_)))? {
            Fault::TwinReply(fault) => Some(fault),
            _ => None,
        }
    }

    /// Whether the device gets a reply: only with a subscription to it (E33), and only one with an id.
    fn will_reply(&self, hub: &HubState, rid: Option<&str>, fault: Option<TwinReplyFault>) -> bool {
        rid.is_some()
            && fault != Some(TwinReplyFault::Drop)
            && hub.subscription(self.id, Feature::TwinResponses).is_some()
    }

    /// False: the connection is closed.
    fn reply(&mut self, hub: &mut HubState, now: Now, rid: &str, reply: Reply, fault: Option<TwinReplyFault>) -> bool {
        let reply = reply.with(fault);
        let rid = match fault {
            Some(TwinReplyFault::UnknownRid) => format!("unknown-{rid}"),
            _ => rid.to_owned(),
        };
        let mut topic = format!("$iothub/twin/res/{}/?$rid={rid}", reply.status);
        if let Some(version) = reply.version {
            topic.push_str(&format!("&$version={version}"));
        }
        let packet_id = self.request_packet_id(hub, Feature::TwinResponses);
        let Some(packet) = Self::encode_request(&topic, &reply.body, packet_id, false) else { return true };
        match fault {
            Some(TwinReplyFault::Delay(by)) => {
                self.outgoing.push_later(now.elapsed.saturating_add(by), packet);
                true
            }
            Some(TwinReplyFault::Duplicate) => {
                let again = Self::encode_request(&topic, &reply.body, packet_id, true).unwrap_or_default();
                self.send(hub, now, packet) && self.send(hub, now, again)
            }
            _ => self.send(hub, now, packet),
        }
    }

    /// Tells the device of changed desired properties.
    pub(super) fn send_desired(&mut self, hub: &mut HubState, now: Now, change: DesiredChange) {
        let Some((body, fault)) = hub.patch_to_send(self.identity(), self.id, now, change.patch) else { return };
        let topic = format!("$iothub/twin/PATCH/properties/desired/?$version={}", change.version);
        let (at, connection, version) = (now.wall, self.id, change.version);
        let packet_id = self.request_packet_id(hub, Feature::DesiredPatches);
        let Some(packet) = Self::encode_request(&topic, &body, packet_id, false) else { return };
        self.note(hub, Activity::DesiredSent { at, connection, version, packet_id });
        let State::Open(open) = &mut self.state else { return };
        if fault == Some(TwinPatchFault::Reorder) {
            return open.later_patches.push(packet);
        }
        let mut packets = vec![packet];
        if fault == Some(TwinPatchFault::Duplicate) {
            packets.extend(Self::encode_request(&topic, &body, packet_id, true));
        }
        packets.append(&mut open.later_patches);
        if packets.into_iter().all(|packet| self.send(hub, now, packet)) {
            self.drops(hub, now, DropPoint::DesiredSent);
        }
    }
}
