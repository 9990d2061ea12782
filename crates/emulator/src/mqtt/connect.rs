//! CONNECT: who it is, whether it may, and what its session begins with (docs/hub-over-mqtt.md 1).

use std::time::Duration;

use crate::activity::{Activity, DisconnectReason, RefusalReason};
use crate::auth::{self, Authenticated};
use crate::clock::Now;
use crate::faults::{DropPoint, Fault, Taken};
use crate::head::Close;
use crate::hub::registry::Identity;
use crate::hub::telemetry::{Draft, Sender};
use crate::hub::{HubState, NOBODY, Opening};
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
                // Whom it claims to be is not known, unless its client id is somebody's.
                let claimed = Identity::of_client_id(&connect.client_id);
                let claimed = if hub.registry.knows(&claimed) { &claimed } else { &NOBODY };
                return self.refuse(hub, now, claimed, hub.config.refusal_code, RefusalReason::UserName(problem));
            }
        };
        let identity = name.identity.clone();
        let authenticated = match self.check(hub, now, &connect, &name) {
            Ok(accepted) => accepted,
            Err(why) => return self.refuse(hub, now, &identity, hub.config.refusal_code, why),
        };

        if let Some(why) = hub.take_drop(&identity, self.id, now, DropPoint::ConnectReceived) {
            self.state = State::Silent { identity };
            return self.close(hub, now, why);
        }
        if hub.take_fault(&identity, self.id, now, |fault| *fault == Fault::WithholdConnack).is_some() {
            self.state = State::Silent { identity };
            return;
        }
        let refusal = hub.faults.take(&identity, |fault| match fault {
            Fault::RefuseConnect { code } => Some(Taken::Last(*code)),
            _ => None,
        });
        if let Some(code) = refusal {
            return self.refuse(hub, now, &identity, code, RefusalReason::Fault);
        }
        let session_lost = hub.take_fault(&identity, self.id, now, |fault| *fault == Fault::SessionLost).is_some();

        let will = connect.will.as_ref().map(|will| will_draft(hub, will, &identity));
        let sender = Sender {
            identity: identity.clone(),
            generation_id: authenticated.generation_id,
            auth_type: authenticated.auth_type,
            model_id: name.model_id.clone(),
        };
        let opening = Opening { sender, clean_session: connect.clean_session, will, carried: None };
        let session_present = hub.open(self.id, opening, session_lost, now);
        self.state = State::Open(Box::new(Open {
            identity: identity.clone(),
            keep_alive: allowed_silence(connect.keep_alive, hub.config.max_keep_alive),
            last_heard: now.elapsed,
            expires: authenticated.expires.and_then(|expiry| expiry.checked_add(hub.config.sas_grace)),
            pubacks: Pubacks::default(),
            unacknowledged: Unacknowledged::default(),
            later_patches: Vec::new(),
            scheduled: Vec::new(),
        }));
        tracing::debug!(connection = self.id.0, %identity, session_present, "connected");
        hub.note(
            &identity,
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
                peer: self.peer.address,
                web_socket: self.peer.web_socket.clone(),
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
        self.refuse(hub, now, &NOBODY, UNACCEPTABLE_LEVEL, RefusalReason::ProtocolLevel(level));
    }

    /// Whether this may connect.
    fn check(
        &self,
        hub: &HubState,
        now: Now,
        connect: &Connect,
        name: &UserName,
    ) -> Result<Authenticated, RefusalReason> {
        if connect.client_id != name.identity.to_string() {
            return Err(RefusalReason::ClientIdMismatch);
        }
        if name.api_version.is_none() && hub.config.require_api_version {
            return Err(RefusalReason::ApiVersionMissing);
        }
        let password = connect.password.as_deref().filter(|password| !password.is_empty());
        auth::authenticate(hub, &name.identity, password, &self.peer, now.wall)
    }

    /// CONNACK with a code, then the end. The peer learns nothing but the code; the hub's record is the claimed identity's, if that can be one.
    fn refuse(&mut self, hub: &mut HubState, now: Now, claimed: &Identity, code: u8, why: RefusalReason) {
        let claimed = if claimed.is_well_formed() { claimed } else { &NOBODY };
        tracing::debug!(connection = self.id.0, %claimed, code, ?why, "CONNECT refused");
        hub.note(claimed, Activity::ConnectRefused { at: now.wall, connection: self.id, code, why });
        hub.note(claimed, Activity::Disconnected { at: now.wall, connection: self.id, why: DisconnectReason::Refused });
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
