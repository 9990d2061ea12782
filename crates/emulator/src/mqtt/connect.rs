//! CONNECT: who it is, whether it may, and what its session begins with (docs/hub-over-mqtt.md 1).

use std::time::Duration;

use crate::activity::{Activity, DisconnectReason, RefusalReason};
use crate::auth::{self, Authenticated};
use crate::clock::Now;
use crate::faults::{DropPoint, Fault, Taken};
use crate::head::Close;
use crate::hub::registry::{Identity, check_device_id};
use crate::hub::telemetry::{Draft, Sender};
use crate::hub::{HubState, NO_DEVICE, Opening};
use crate::mqtt::acknowledge::Pubacks;
use crate::mqtt::codec::{self, Connect, Will};
use crate::mqtt::request::Unacknowledged;
use crate::mqtt::topic::telemetry_bag;
use crate::mqtt::user_name::UserName;
use crate::mqtt::{Head, Open, State, publish};

/// The CONNACK code for a protocol level that the server does not have (MQTT 3.1.1, 3.1.2.2).
const UNACCEPTABLE_LEVEL: u8 = 1;

impl Head {
    pub(super) fn connect(&mut self, hub: &mut HubState, now: Now, connect: Connect) {
        let user_name = connect.user_name.as_deref().unwrap_or_default();
        let name = match UserName::parse(user_name) {
            Ok(name) => name,
            Err(problem) => {
                // Whom it claims to be is not known, unless its client id is a device's.
                let device = hub.registry.get(&connect.client_id).map_or(NO_DEVICE, |_| connect.client_id.as_str());
                return self.refuse(hub, now, device, hub.config.refusal_code, RefusalReason::UserName(problem));
            }
        };
        let device = name.identity.device.clone();
        let (authenticated, generation_id) = match self.check(hub, now, &connect, &name) {
            Ok(accepted) => accepted,
            Err(why) => return self.refuse(hub, now, &device, hub.config.refusal_code, why),
        };

        if hub.faults.take_drop(&device, DropPoint::ConnectReceived) {
            self.state = State::Silent { device };
            return self.drop_for(hub, now, DropPoint::ConnectReceived);
        }
        if hub.faults.take_equal(&device, &Fault::WithholdConnack) {
            hub.note(
                &device,
                Activity::FaultFired { at: now.wall, connection: self.id, fault: Fault::WithholdConnack },
            );
            self.state = State::Silent { device };
            return;
        }
        let refusal = hub.faults.take(&device, |fault| match fault {
            Fault::RefuseConnect { code } => Some(Taken::Last(*code)),
            _ => None,
        });
        if let Some(code) = refusal {
            return self.refuse(hub, now, &device, code, RefusalReason::Fault);
        }
        let session_lost = hub.faults.take_equal(&device, &Fault::SessionLost);
        if session_lost {
            hub.note(&device, Activity::FaultFired { at: now.wall, connection: self.id, fault: Fault::SessionLost });
        }

        let will = connect.will.as_ref().map(|will| will_draft(hub, will, &name.identity));
        let sender = Sender {
            identity: name.identity.clone(),
            generation_id,
            auth_type: authenticated.auth_type,
            model_id: name.model_id.clone(),
        };
        let opening = Opening { sender, clean_session: connect.clean_session, will, carried: None };
        let session_present = hub.open(self.id, opening, session_lost, now);
        self.state = State::Open(Box::new(Open {
            identity: name.identity,
            keep_alive: allowed_silence(connect.keep_alive, hub.config.max_keep_alive),
            last_heard: now.elapsed,
            expires: authenticated.expires.and_then(|expiry| expiry.checked_add(hub.config.sas_grace)),
            pubacks: Pubacks::default(),
            unacknowledged: Unacknowledged::default(),
            later_patches: Vec::new(),
            scheduled: Vec::new(),
        }));
        tracing::debug!(connection = self.id.0, device, session_present, "connected");
        hub.note(
            &device,
            Activity::Connected {
                at: now.wall,
                connection: self.id,
                clean_session: connect.clean_session,
                session_present,
                keep_alive: connect.keep_alive,
                user_name: user_name.to_owned(),
                api_version: name.api_version,
                client_type: name.client_type,
                model_id: name.model_id,
                tls_version: self.peer.tls_version,
            },
        );
        self.send_connack(hub, now, session_present);
        self.drops(hub, now, DropPoint::ConnackSent);
    }

    fn send_connack(&mut self, hub: &mut HubState, now: Now, session_present: bool) {
        if let Some(Fault::SplitAt { byte }) = self.take_fault(hub, now, |fault| matches!(fault, Fault::SplitAt { .. }))
        {
            self.outgoing.split_after(byte);
        }
        let connack = codec::connack(session_present);
        let wanted = |fault: &Fault| matches!(fault, Fault::DelayConnack { .. } | Fault::ReorderConnack);
        match self.take_fault(hub, now, wanted) {
            Some(Fault::ReorderConnack) => self.outgoing.push_behind_next(&connack),
            Some(Fault::DelayConnack { by }) => {
                self.outgoing.hold_until(now.elapsed.saturating_add(by));
                self.outgoing.push(connack);
            }
            _ => self.outgoing.push(connack),
        }
    }

    pub(super) fn refuse_level(&mut self, hub: &mut HubState, now: Now, level: u8) {
        self.refuse(hub, now, NO_DEVICE, UNACCEPTABLE_LEVEL, RefusalReason::ProtocolLevel(level));
    }

    /// The identity's credential, and the generation of its registry entry.
    fn check(
        &self,
        hub: &HubState,
        now: Now,
        connect: &Connect,
        name: &UserName,
    ) -> Result<(Authenticated, String), RefusalReason> {
        if connect.client_id != name.client_id() {
            return Err(RefusalReason::ClientIdMismatch);
        }
        if name.api_version.is_none() && hub.config.require_api_version {
            return Err(RefusalReason::ApiVersionMissing);
        }
        // The registry has no modules yet, so a module is not known.
        let entry = hub.registry.get(&name.identity.device).filter(|_| name.identity.module.is_none());
        let entry = entry.ok_or(RefusalReason::UnknownDevice)?;
        if !entry.enabled {
            return Err(RefusalReason::DeviceDisabled);
        }
        let password = connect.password.as_deref().filter(|password| !password.is_empty());
        let authenticated = auth::authenticate(&hub.config, &name.identity, entry, password, &self.peer, now.wall)?;
        Ok((authenticated, entry.generation_id.clone()))
    }

    /// CONNACK with a code, then the end. The peer learns nothing but the code; the hub's record is the claimed device's, if that can be one.
    fn refuse(&mut self, hub: &mut HubState, now: Now, claimed: &str, code: u8, why: RefusalReason) {
        let device = if check_device_id(claimed).is_ok() { claimed } else { NO_DEVICE };
        tracing::debug!(connection = self.id.0, device, code, ?why, "CONNECT refused");
        hub.note(device, Activity::ConnectRefused { at: now.wall, connection: self.id, code, why });
        hub.note(device, Activity::Disconnected { at: now.wall, connection: self.id, why: DisconnectReason::Refused });
        self.outgoing.push(codec::connack_refused(code));
        self.state = State::Closed(Close::Orderly);
    }
}

/// One and a half keep-alive times, at most the cap; keep-alive 0 gets the cap (docs/hub-over-mqtt.md 1.3).
fn allowed_silence(keep_alive: u16, cap: Duration) -> Duration {
    match keep_alive {
        0 => cap,
        seconds => Duration::from_millis(u64::from(seconds) * 1500).min(cap),
    }
}

/// The telemetry that the will becomes (docs/hub-over-mqtt.md 1.4), or why it cannot.
fn will_draft(hub: &HubState, will: &Will, identity: &Identity) -> Result<Draft, String> {
    let bag = telemetry_bag(&will.topic, identity)
        .ok_or_else(|| format!("its topic '{}' is not the telemetry topic", will.topic))?;
    let mut draft = publish::draft(hub, bag, will.payload.clone()).map_err(|why| format!("{why:?}"))?;
    draft.mark("iothub-MessageType", "Will");
    if will.retain {
        draft.mark("mqtt-retain", "true");
    }
    Ok(draft)
}
