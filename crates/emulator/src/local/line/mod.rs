//! What a local connection does to the hub's state: pure, with the time as an argument, as an MQTT head.

mod down;
mod up;

use std::collections::VecDeque;

use crate::activity::{Activity, ConnectionId, DisconnectReason, RefusalReason};
use crate::auth::{self, Peer};
use crate::clock::Now;
use crate::faults::{DropPoint, Fault};
use crate::hub::registry::Identity;
use crate::hub::telemetry::Sender;
use crate::hub::{HubState, NOBODY, Opening};
use crate::local::{LocalError, LocalEvent, LocalLogin, LocalLoginError};

/// One local connection, open or ended: which of the two the hub's state knows.
#[derive(Debug)]
pub(in crate::local) struct Line {
    id: ConnectionId,
    identity: Identity,
    session_present: bool,
    /// What was sent to the device and is not taken yet, and how many bytes that is.
    pending: VecDeque<LocalEvent>,
    pending_size: usize,
    /// Desired patches that a fault holds back for the next one.
    later_patches: Vec<LocalEvent>,
    /// Whether the device has been told of the end.
    end_is_told: bool,
}

impl Line {
    pub(in crate::local) fn open(hub: &mut HubState, now: Now, login: LocalLogin) -> Result<Self, LocalLoginError> {
        if hub.is_stopped() {
            return Err(LocalLoginError::HubStopped);
        }
        let LocalLogin { identity, token, clean_session, client_type, model_id } = login;
        let id = hub.next_connection();
        let token = token.as_deref().map(str::as_bytes).filter(|token| !token.is_empty());
        // Nobody but TLS can vouch for a certificate.
        let authenticated = auth::authenticate(hub, &identity, token, &Peer::default(), now.wall)
            .map_err(|why| refuse(hub, now, id, &identity, why))?;

        if let Some(why) = hub.take_drop(&identity, id, now, DropPoint::ConnectReceived) {
            hub.note(&identity, Activity::Disconnected { at: now.wall, connection: id, why: why.clone() });
            return Err(LocalLoginError::Closed(why));
        }
        if hub.take_fault(&identity, id, now, |fault| matches!(fault, Fault::RefuseConnect { .. })).is_some() {
            return Err(refuse(hub, now, id, &identity, RefusalReason::Fault));
        }
        let session_lost = hub.take_fault(&identity, id, now, |fault| *fault == Fault::SessionLost).is_some();

        hub.take_seat(id, authenticated.expires.and_then(|expiry| expiry.checked_add(hub.config.sas_grace)));
        let sender = Sender {
            identity: identity.clone(),
            generation_id: authenticated.generation_id,
            auth_type: authenticated.auth_type,
            model_id: model_id.clone(),
        };
        let opening = Opening { sender, clean_session, will: None, carried: None };
        let session_present = hub.open(id, opening, session_lost, now);
        tracing::debug!(connection = id.0, %identity, session_present, "connected locally");
        let connected = Activity::Connected {
            at: now.wall,
            connection: id,
            clean_session,
            session_present,
            keep_alive: 0,
            user_name: String::new(),
            api_version: None,
            client_type,
            model_id,
            tls_version: None,
            peer: None,
            web_socket: None,
        };
        hub.note(&identity, connected);
        let line = Self {
            id,
            identity,
            session_present,
            pending: VecDeque::new(),
            pending_size: 0,
            later_patches: Vec::new(),
            end_is_told: false,
        };
        line.drops(hub, now, DropPoint::ConnackSent);
        Ok(line)
    }

    pub(in crate::local) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(in crate::local) fn session_present(&self) -> bool {
        self.session_present
    }

    pub(in crate::local) fn next_event(&mut self, hub: &mut HubState, now: Now) -> Option<LocalEvent> {
        self.suffer(hub, now);
        self.collect(hub, now);
        if let Some(event) = self.pending.pop_front() {
            self.pending_size -= event.size();
            return Some(event);
        }
        if let Some(message) = self.take_message(hub, now) {
            return Some(message);
        }
        let why = hub.why_ended(self.id).filter(|_| !self.end_is_told)?.clone();
        self.end_is_told = true;
        Some(LocalEvent::Closed(why))
    }

    /// Executes what waits for the connection as a whole.
    fn suffer(&self, hub: &mut HubState, now: Now) {
        let wanted =
            |fault: &Fault| fault.concerns_connection() && !matches!(fault, Fault::HalfOpen | Fault::SplitAt { .. });
        if hub.is_open(self.id)
            && let Some(fault) = self.take_fault(hub, now, wanted)
        {
            hub.end(self.id, DisconnectReason::Fault(fault), now);
        }
    }

    /// The device has sent something: whether the connection is (still) open.
    fn arrives(&mut self, hub: &mut HubState, now: Now) -> Result<(), LocalError> {
        self.ensure_open(hub, now)?;
        self.passes(hub, now, DropPoint::PublishReceived)?;
        self.collect(hub, now);
        if hub.is_open(self.id) { Ok(()) } else { Err(self.closed(hub)) }
    }

    fn ensure_open(&self, hub: &mut HubState, now: Now) -> Result<(), LocalError> {
        self.suffer(hub, now);
        if hub.is_open(self.id) { Ok(()) } else { Err(self.closed(hub)) }
    }

    /// Whether no fault drops the connection here.
    fn passes(&self, hub: &mut HubState, now: Now, point: DropPoint) -> Result<(), LocalError> {
        if self.drops(hub, now, point) { Err(self.closed(hub)) } else { Ok(()) }
    }

    /// Whether a fault drops the connection here; then it has ended.
    fn drops(&self, hub: &mut HubState, now: Now, at: DropPoint) -> bool {
        if !hub.is_open(self.id) {
            return false;
        }
        let dropped = hub.take_drop(&self.identity, self.id, now, at);
        let drops = dropped.is_some();
        if let Some(why) = dropped {
            hub.end(self.id, why, now);
        }
        drops
    }

    fn end(&self, hub: &mut HubState, now: Now, why: DisconnectReason) -> LocalError {
        hub.end(self.id, why.clone(), now);
        LocalError::Closed(why)
    }

    fn closed(&self, hub: &HubState) -> LocalError {
        LocalError::Closed(hub.why_ended(self.id).cloned().unwrap_or(DisconnectReason::ConnectionLost))
    }

    fn take_fault(&self, hub: &mut HubState, now: Now, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        hub.take_fault(&self.identity, self.id, now, wanted)
    }

    fn note(&self, hub: &mut HubState, activity: Activity) {
        hub.note(&self.identity, activity);
    }
}

/// The hub refuses the device; its record is the claimed identity's, if that can be one.
fn refuse(
    hub: &mut HubState,
    now: Now,
    connection: ConnectionId,
    claimed: &Identity,
    why: RefusalReason,
) -> LocalLoginError {
    let claimed = if claimed.is_well_formed() { claimed } else { &NOBODY };
    hub.note(claimed, Activity::ConnectRefused { at: now.wall, connection, code: 0, why: why.clone() });
    hub.note(claimed, Activity::Disconnected { at: now.wall, connection, why: DisconnectReason::Refused });
    LocalLoginError::Refused(why)
}
