//! Direct methods under way: what each call waits for, and how it ended (docs/hub-over-mqtt.md 5). Who asked holds its [`CallId`] and forgets it in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::activity::{Activity, ConnectionId};
use crate::clock::Now;
use crate::config::MethodRid;
use crate::guid;
use crate::hub::HubState;
use crate::hub::c2d::Due;
use crate::hub::outbox::Letter;
use crate::hub::registry::Identity;
use crate::hub::session::Feature;
use crate::method::{CallId, MethodCall, MethodError, MethodResult};

/// The largest payload of a request and of a response (docs/hub-over-mqtt.md 5).
const MAX_PAYLOAD: usize = 128 * 1024;
const MIN_RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Of either time-out.
const MAX_TIMEOUT: Duration = Duration::from_secs(300);
/// The emulator's own limit; the real one is not known. It leaves room in the topic.
const MAX_NAME: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Methods {
    calls: BTreeMap<CallId, Call>,
    last_call: u64,
    last_rids: BTreeMap<Identity, u64>,
    /// The server is gone: nothing can connect any more.
    stopped: bool,
}

#[derive(Debug)]
struct Call {
    identity: Identity,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// For the device to connect and subscribe.
    Waiting {
        request: MethodCall,
        until: Duration,
    },
    /// For its answer.
    Sent {
        rid: String,
        until: Duration,
        response_timeout: Duration,
    },
    Ended(Result<MethodResult, MethodError>),
}

impl Call {
    fn until(&self) -> Option<Duration> {
        match self.stage {
            Stage::Waiting { until, .. } | Stage::Sent { until, .. } => Some(until),
            Stage::Ended(_) => None,
        }
    }

    /// What its time-out means.
    fn expire(&mut self) {
        let device = self.identity.to_string();
        let error = match &self.stage {
            Stage::Waiting { request, .. } => MethodError::DeviceNotOnline { device, waited: request.connect_timeout },
            Stage::Sent { response_timeout, .. } => MethodError::Timeout { device, waited: *response_timeout },
            Stage::Ended(_) => return,
        };
        self.stage = Stage::Ended(Err(error));
    }
}

impl Methods {
    pub(super) fn advance(&mut self, now: Now) {
        let due = |call: &&mut Call| call.until().is_some_and(|until| until <= now.elapsed);
        self.calls.values_mut().filter(due).for_each(Call::expire);
    }

    pub(super) fn due(&self, due: &mut Due) {
        self.calls.values().filter_map(Call::until).for_each(|until| due.at_elapsed(until));
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Ends every call and lets none wait any more.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.calls.values_mut().for_each(Call::expire);
    }

    /// The device or module is gone for good.
    pub(super) fn identity_deleted(&mut self, identity: &Identity) {
        for call in self.calls.values_mut().filter(|call| call.identity == *identity && call.until().is_some()) {
            call.stage = Stage::Ended(Err(not_found(identity)));
        }
        self.last_rids.remove(identity);
    }

    fn next_rid(&mut self, identity: &Identity, kind: MethodRid) -> String {
        if kind == MethodRid::Guid {
            return guid::random();
        }
        let last = self.last_rids.entry(identity.clone()).or_default();
        *last += 1;
        format!("{last:x}")
    }

    fn add(&mut self, identity: &Identity, stage: Stage) -> CallId {
        self.last_call += 1;
        let id = CallId(self.last_call);
        self.calls.insert(id, Call { identity: identity.clone(), stage });
        id
    }
}

impl HubState {
    /// Sends a method request, or keeps it until the device is there.
    pub(crate) fn start_method(
        &mut self,
        identity: &Identity,
        request: MethodCall,
        now: Now,
    ) -> Result<CallId, MethodError> {
        check(&request)?;
        if !self.registry.knows(identity) {
            return Err(not_found(identity));
        }
        let waited = request.connect_timeout;
        let online = self.listening(identity, Feature::Methods).is_some();
        if !online && (waited.is_zero() || self.methods.stopped) {
            return Err(MethodError::DeviceNotOnline { device: identity.to_string(), waited });
        }
        let until = now.elapsed.saturating_add(waited);
        let id = self.methods.add(identity, Stage::Waiting { request, until });
        self.send_waiting_methods(identity, now);
        self.find_due();
        Ok(id)
    }

    /// Sends the method requests that wait for this device, if it is there.
    pub(crate) fn send_waiting_methods(&mut self, identity: &Identity, now: Now) {
        let waits = |call: &Call| call.identity == *identity && matches!(call.stage, Stage::Waiting { .. });
        if !self.methods.calls.values().any(waits) {
            return;
        }
        let Some(connection) = self.listening(identity, Feature::Methods) else { return };
        let waiting: Vec<CallId> =
            self.methods.calls.iter().filter(|(_, call)| waits(call)).map(|(id, _)| *id).collect();
        for id in waiting {
            if !self.is_open(connection) {
                break;
            }
            // Over AMQP it is a UUID by its type.
            let kind = if self.is_carried(connection) { MethodRid::Guid } else { self.config.method_rid };
            let rid = self.methods.next_rid(identity, kind);
            let Some(call) = self.methods.calls.get_mut(&id) else { continue };
            let Stage::Waiting { request, .. } = &call.stage else { continue };
            let response_timeout = request.response_timeout;
            let letter = Letter::Method { name: request.name.clone(), rid: rid.clone(), body: request.body.clone() };
            let until = now.elapsed.saturating_add(response_timeout);
            call.stage = Stage::Sent { rid, until, response_timeout };
            self.post(connection, letter, now);
        }
        self.find_due();
    }

    /// A device's answer has come over its open connection. The error says what is wrong with it.
    pub(crate) fn answer_method(
        &mut self,
        connection: ConnectionId,
        rid: &str,
        status: &str,
        body: &Bytes,
        now: Now,
    ) -> Result<(), MethodError> {
        let Some(identity) = self.sender(connection).map(|sender| sender.identity.clone()) else { return Ok(()) };
        let (at, answer, id) = (now.wall, read_answer(status, body), rid.to_owned());
        let late = !self.end_call(&identity, rid, answer.clone());
        let (activity, result) = match answer {
            Ok(answer) => (Activity::MethodAnswered { at, connection, rid: id, status: answer.status, late }, Ok(())),
            Err(error) => {
                let problem = error.to_string();
                (Activity::MethodMisanswered { at, connection, rid: Some(id), problem }, Err(error))
            }
        };
        self.note(&identity, activity);
        result
    }

    /// Ends the call that was sent under this id. False: there is none.
    fn end_call(&mut self, identity: &Identity, rid: &str, how: Result<MethodResult, MethodError>) -> bool {
        let asked = |call: &&mut Call| {
            call.identity == *identity
                && matches!(&call.stage, Stage::Sent { rid: sent, .. } if sent.eq_ignore_ascii_case(rid))
        };
        let Some(call) = self.methods.calls.values_mut().find(asked) else { return false };
        call.stage = Stage::Ended(how);
        self.find_due();
        true
    }

    /// How a call ended; `None` while it has not.
    pub(crate) fn method_result(&self, call: CallId) -> Option<Result<MethodResult, MethodError>> {
        match &self.methods.calls.get(&call)?.stage {
            Stage::Ended(result) => Some(result.clone()),
            Stage::Waiting { .. } | Stage::Sent { .. } => None,
        }
    }

    pub(crate) fn forget_method(&mut self, call: CallId) {
        self.methods.calls.remove(&call);
        self.find_due();
    }
}

fn not_found(identity: &Identity) -> MethodError {
    let device = identity.device.clone();
    match &identity.module {
        None => MethodError::NotFound { device },
        Some(module) => MethodError::ModuleNotFound { device, module: module.clone() },
    }
}

fn check(request: &MethodCall) -> Result<(), MethodError> {
    let invalid = |field: &'static str, problem: String| Err(MethodError::InvalidCall { field, problem });
    let name = &request.name;
    if name.is_empty() || name.len() > MAX_NAME || name.contains(['/', '+', '#', '\0']) {
        let shown: String = name.chars().take(64).collect();
        return invalid("name", format!("is '{shown}': give 1 to {MAX_NAME} bytes without / + # and U+0000"));
    }
    if !(MIN_RESPONSE_TIMEOUT..=MAX_TIMEOUT).contains(&request.response_timeout) {
        return invalid("response_timeout", format!("is {:?}; 5 to 300 s are allowed", request.response_timeout));
    }
    if request.connect_timeout > MAX_TIMEOUT {
        return invalid("connect_timeout", format!("is {:?}; 0 to 300 s are allowed", request.connect_timeout));
    }
    check_size("request", &request.body)
}

fn check_size(which: &'static str, body: &Bytes) -> Result<(), MethodError> {
    match body.len() {
        size if size > MAX_PAYLOAD => Err(MethodError::PayloadTooLarge { which, size, limit: MAX_PAYLOAD }),
        _ => Ok(()),
    }
}

fn read_answer(status: &str, body: &Bytes) -> Result<MethodResult, MethodError> {
    // Services read it into 32 bits.
    let Ok(status) = status.parse::<i32>() else {
        let shown: String = status.chars().take(64).collect();
        return Err(MethodError::BadResponse { problem: format!("its status '{shown}' is no integer") });
    };
    check_size("response", body)?;
    let payload = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(body)
            .map_err(|error| MethodError::BadResponse { problem: format!("its payload is not JSON: {error}") })?
    };
    Ok(MethodResult { status: i64::from(status), payload })
}
