//! SUBSCRIBE and UNSUBSCRIBE (E13-E16).

use crate::activity::{Activity, DisconnectReason};
use crate::clock::Now;
use crate::faults::{DropPoint, Fault};
use crate::hub::HubState;
use crate::hub::session::REFUSED;
use crate::mqtt::topic::feature_of;
use crate::mqtt::{Head, State, codec};

impl Head {
    pub(super) fn subscribe(&mut self, hub: &mut HubState, now: Now, packet_id: u16, filters: &[(String, u8)]) {
        if self.drops(hub, now, DropPoint::SubscribeReceived) {
            return;
        }
        let refuse_all = self.fault_fires(hub, now, &Fault::RefuseSubscription);
        let mut codes = Vec::with_capacity(filters.len());
        for (filter, qos) in filters {
            let granted = if refuse_all { Ok(REFUSED) } else { self.grant(hub, filter, (*qos).min(1)) };
            match granted {
                Ok(granted) => {
                    self.note(
                        hub,
                        Activity::Subscribed { at: now.wall, connection: self.id, filter: filter.clone(), granted },
                    );
                    codes.push(granted);
                }
                Err(why) => return self.close(hub, now, why),
            }
        }
        let fault = self.take_fault(hub, now, |fault| {
            matches!(fault, Fault::WithholdSuback | Fault::DelaySuback { .. } | Fault::ReorderSuback)
        });
        let withheld = fault == Some(Fault::WithholdSuback);
        if self.send_troubled(hub, now, codec::suback(packet_id, &codes), fault) && !withheld {
            self.drops(hub, now, DropPoint::SubackSent);
        }
    }

    /// The code for one filter, or why the connection ends.
    fn grant(&self, hub: &mut HubState, filter: &str, qos: u8) -> Result<u8, DisconnectReason> {
        let State::Open(open) = &self.state else { return Ok(REFUSED) };
        hub.grant(self.id, filter, feature_of(filter, &open.identity), qos)
    }

    pub(super) fn unsubscribe(&mut self, hub: &mut HubState, now: Now, packet_id: u16, filters: &[String]) {
        for filter in filters {
            hub.unsubscribe(self.id, filter);
            self.note(hub, Activity::Unsubscribed { at: now.wall, connection: self.id, filter: filter.clone() });
        }
        self.send(hub, now, codec::unsuback(packet_id));
    }
}
