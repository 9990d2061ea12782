//! The twin: what an application asks of it, and the lane in which its requests wait for the hub's answers.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::callbacks::{CallbackSlot, Confirm};
use super::outbox::{Due, Outbox};
use crate::event::{Event, Refused, RefusedReason};
use crate::lane::{Item, Resolved};
use crate::platform::Now;
use crate::transport::{Feature, Op, OpError, OpId, Reply, Submit, Unsupported};
use crate::twin::{self, DesiredPatch, Reported, Twin, TwinError, TwinUpdate};

/// How long the hub may take to answer a twin request on a live connection (C SDK, for GET).
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Twin requests without an outcome, and unread outcomes, at the most.
pub(super) const MAX_REQUESTS: usize = 100;

/// Twin requests that the transport has at the most. One at a time: a patch that is sent again after a lost connection
/// must not undo a later one that the hub has stored already.
const MAX_IN_FLIGHT: usize = 1;

/// A request of the application.
pub(super) enum TwinRequest<K> {
    Get(Confirm<K, Result<Twin, TwinError>>),
    Report { patch: Bytes, confirm: Confirm<K, Result<Reported, TwinError>> },
}

impl<K> Item for TwinRequest<K> {
    fn size(&self) -> usize {
        match self {
            Self::Get(_) => 0,
            Self::Report { patch, .. } => patch.len(),
        }
    }
}

impl<K> TwinRequest<K> {
    fn op(&self) -> Op<'_> {
        match self {
            Self::Get(_) => Op::TwinGet,
            Self::Report { patch, .. } => Op::TwinReport(patch),
        }
    }
}

impl<K> Outbox<K> {
    /// Follows the twin: calls back from within `do_work` with the whole twin, and then with each change of the desired
    /// properties. After every reconnect the whole comes again. A callback that is set already is replaced, and the new
    /// one gets the whole twin first.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] if the transport has no twin; a callback that was set stays.
    #[doc(alias = "IoTHubClient_LL_SetDeviceTwinCallback")]
    #[doc(alias = "IoTHubDeviceClient_LL_SetDeviceTwinCallback")]
    #[doc(alias = "IoTHubModuleClient_LL_SetModuleTwinCallback")]
    #[doc(alias = "IoTHubDeviceClient_LL_GetPropertiesAndSubscribeToUpdatesAsync")]
    #[doc(alias = "IoTHubModuleClient_LL_GetPropertiesAndSubscribeToUpdatesAsync")]
    pub fn set_twin_callback(
        &mut self,
        callback: impl FnMut(TwinUpdate, &mut Outbox<K>) + Send + 'static,
    ) -> Result<(), Unsupported> {
        self.subscribe(Feature::DesiredProperties)?;
        self.fetch_twin_anew();
        self.callbacks.twin = CallbackSlot::Set(Box::new(callback));
        Ok(())
    }

    /// Removes the callback and stops following the twin.
    pub fn clear_twin_callback(&mut self) {
        self.callbacks.twin = CallbackSlot::Empty;
        self.unsubscribe(Feature::DesiredProperties);
    }

    /// Asks for the whole twin, and calls back with it from within `do_work` or `close`, exactly once. The request waits
    /// for a connection without limit, and then 60 s for the answer.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the client is closed, 100 requests are under way, or the transport has no twin.
    #[doc(alias = "IoTHubDeviceClient_LL_GetTwinAsync")]
    #[doc(alias = "IoTHubModuleClient_LL_GetTwinAsync")]
    #[doc(alias = "IoTHubDeviceClient_LL_GetPropertiesAsync")]
    #[doc(alias = "IoTHubModuleClient_LL_GetPropertiesAsync")]
    pub fn get_twin(
        &mut self,
        callback: impl FnOnce(Result<Twin, TwinError>, &mut Outbox<K>) + Send + 'static,
    ) -> Result<(), Refused<()>> {
        self.ask_for_twin(Confirm::Callback(Box::new(callback))).map(drop)
    }

    /// Asks for the whole twin, which comes as [`Event::TwinReceived`] with the id that is returned here. Else as
    /// [`get_twin`](Self::get_twin).
    pub fn get_twin_tracked(&mut self) -> Result<OpId, Refused<()>> {
        self.ask_for_twin(Confirm::Event)
    }

    fn ask_for_twin(&mut self, confirm: Confirm<K, Result<Twin, TwinError>>) -> Result<OpId, Refused<()>> {
        match self.admit_request(0) {
            Ok(()) => Ok(self.push_request(TwinRequest::Get(confirm))),
            Err(reason) => Err(Refused { value: (), reason }),
        }
    }

    /// Sends a patch of the reported properties, a JSON object in which `null` deletes. Its outcome is told to nobody.
    ///
    /// Patches reach the hub in order, one at a time. One that was under way when the connection dropped is sent again
    /// before any later one, which does no harm: applied twice it has the same effect.
    ///
    /// # Errors
    ///
    /// [`Refused`] hands the patch back when it is no JSON object or larger than 32 KiB, the client is closed, 100
    /// requests are under way, or the transport has no twin.
    #[doc(alias = "IoTHubClient_LL_SendReportedState")]
    #[doc(alias = "IoTHubDeviceClient_LL_SendReportedState")]
    #[doc(alias = "IoTHubModuleClient_LL_SendReportedState")]
    #[doc(alias = "IoTHubDeviceClient_LL_SendPropertiesAsync")]
    #[doc(alias = "IoTHubModuleClient_LL_SendPropertiesAsync")]
    pub fn send_reported_state(&mut self, patch: impl Into<Bytes>) -> Result<(), Refused<Bytes>> {
        self.report(patch.into(), Confirm::Nobody).map(drop)
    }

    /// Sends a patch as [`send_reported_state`](Self::send_reported_state), and calls back with the hub's answer from
    /// within `do_work` or `close`, exactly once.
    #[doc(alias = "IOTHUB_CLIENT_REPORTED_STATE_CALLBACK")]
    pub fn send_reported_state_with(
        &mut self,
        patch: impl Into<Bytes>,
        callback: impl FnOnce(Result<Reported, TwinError>, &mut Outbox<K>) + Send + 'static,
    ) -> Result<(), Refused<Bytes>> {
        self.report(patch.into(), Confirm::Callback(Box::new(callback))).map(drop)
    }

    /// Sends a patch as [`send_reported_state`](Self::send_reported_state); the hub's answer comes as
    /// [`Event::ReportedState`] with the id that is returned here.
    pub fn send_reported_state_tracked(&mut self, patch: impl Into<Bytes>) -> Result<OpId, Refused<Bytes>> {
        self.report(patch.into(), Confirm::Event)
    }

    fn report(
        &mut self,
        patch: Bytes,
        confirm: Confirm<K, Result<Reported, TwinError>>,
    ) -> Result<OpId, Refused<Bytes>> {
        let checked = twin::check_patch(&patch).map_err(RefusedReason::from);
        match checked.and_then(|()| self.admit_request(patch.len())) {
            Ok(()) => Ok(self.push_request(TwinRequest::Report { patch, confirm })),
            Err(reason) => Err(Refused { value: patch, reason }),
        }
    }

    fn admit_request(&mut self, size: usize) -> Result<(), RefusedReason> {
        if self.closing {
            return Err(RefusedReason::Closed);
        }
        if self.twin_requests.overflow(size).is_some() {
            return Err(RefusedReason::TooManyTwinRequests { limit: MAX_REQUESTS });
        }
        Ok(self.subscribe(Feature::Twin)?)
    }

    fn push_request(&mut self, request: TwinRequest<K>) -> OpId {
        let id = self.fresh_id();
        self.twin_requests.push(id, request, (), None);
        id
    }

    /// Fetches the whole twin at the next occasion, whatever is known or under way.
    pub(super) fn fetch_twin_anew(&mut self) {
        self.forget_twin_request();
        self.twin_sync.start();
    }

    pub(super) fn forget_twin_request(&mut self) {
        if let Some(id) = self.twin_sync.request() {
            self.transport.forget(self.slot, id);
        }
    }

    /// Whether a request could be submitted on a ready connection.
    pub(super) fn has_twin_work(&self, now: Instant) -> bool {
        let can_request = self.twin_requests.has_waiting() && self.twin_requests.in_flight() < MAX_IN_FLIGHT;
        can_request || self.twin_sync.fetch_due(now).is_some_and(|due| due <= now)
    }

    pub(super) fn twin_deadline(&self) -> Option<Instant> {
        let fetch = match self.connection.is_ready() && !self.twin_is_full {
            true => self.twin_sync.fetch_due(self.platform.now().mono),
            false => None,
        };
        [self.twin_requests.next_expiry(), self.twin_sync.answer_by(), fetch].into_iter().flatten().min()
    }

    /// Ends what the hub did not answer in time.
    pub(super) fn expire_twin(&mut self, now: Now) {
        while let Some(late) = self.twin_requests.pop_expired(now.mono) {
            self.transport.forget(self.slot, late.id);
            self.conclude_request(late, Err(TwinError::TimedOut { after: ANSWER_TIME }));
        }
        if let Some(id) = self.twin_sync.request()
            && self.twin_sync.answer_by().is_some_and(|by| by <= now.mono)
        {
            self.transport.forget(self.slot, id);
            self.twin_sync.failed(now.mono);
        }
    }

    pub(super) fn submit_twin(&mut self, now: Now) {
        if !self.connection.is_ready() {
            return;
        }
        self.twin_is_full = false;
        let answer_by = now.mono + ANSWER_TIME;
        if self.twin_sync.fetch_due(now.mono).is_some_and(|due| due <= now.mono) {
            let id = self.fresh_id();
            match self.transport.submit(self.slot, id, Op::TwinGet, now) {
                Submit::Taken => {
                    self.twin_sync.fetching(id, answer_by);
                    self.awaits_slice = true;
                }
                Submit::Full => self.twin_is_full = true,
                Submit::Refused(_) => self.twin_sync.failed(now.mono),
            }
        }
        while self.twin_requests.in_flight() < MAX_IN_FLIGHT
            && let Some((id, request)) = self.twin_requests.front_waiting()
        {
            match self.transport.submit(self.slot, id, request.op(), now) {
                Submit::Taken => {
                    self.twin_requests.mark_submitted(Some(answer_by));
                    self.awaits_slice = true;
                }
                Submit::Full => {
                    self.twin_is_full = true;
                    return;
                }
                Submit::Refused(error) => {
                    if let Some(resolved) = self.twin_requests.resolve(id) {
                        self.conclude_request(resolved, Err(error.into()));
                    }
                }
            }
        }
    }

    /// The hub's answer to a twin request has come. `false` if the operation is none.
    pub(super) fn twin_answered(&mut self, id: OpId, result: Result<Reply, OpError>, now: Now) -> bool {
        if self.twin_sync.request() == Some(id) {
            match parse(result) {
                Ok(twin) => {
                    let updates = self.twin_sync.fetched(twin);
                    self.due.extend(updates.into_iter().map(|update| Due::Event(Event::Twin(update))));
                }
                Err(error) => {
                    tracing::debug!(%error, "the twin could not be fetched");
                    self.twin_sync.failed(now.mono);
                }
            }
            return true;
        }
        match self.twin_requests.resolve(id) {
            Some(resolved) => {
                self.conclude_request(resolved, result.map_err(TwinError::from));
                true
            }
            None => false,
        }
    }

    pub(super) fn desired_changed(&mut self, json: Bytes) {
        match DesiredPatch::parse(json) {
            Ok(patch) => {
                let update = self.twin_sync.changed(patch);
                self.due.extend(update.map(|update| Due::Event(Event::Twin(update))));
            }
            Err(error) => {
                tracing::debug!(%error, "a change of the desired properties is unreadable; the twin is fetched instead");
                if self.wanted.contains(&Feature::DesiredProperties) {
                    self.fetch_twin_anew();
                }
            }
        }
    }

    /// Ends a request with its one outcome.
    pub(super) fn conclude_request(
        &mut self,
        resolved: Resolved<TwinRequest<K>, ()>,
        result: Result<Reply, TwinError>,
    ) {
        let id = resolved.id;
        match resolved.item {
            TwinRequest::Get(confirm) => {
                let outcome = result.and_then(into_twin);
                match confirm {
                    Confirm::Nobody => {}
                    Confirm::Callback(callback) => self.due.push_back(Due::Twin(callback, outcome)),
                    Confirm::Event => {
                        self.twin_requests.hold_confirmation(outcome.as_ref().map_or(0, |twin| twin.json().len()));
                        self.due.push_back(Due::Event(Event::TwinReceived { id, outcome }));
                    }
                }
            }
            TwinRequest::Report { confirm, .. } => {
                let outcome = result.map(|reply| match reply {
                    Reply::Reported { version } => Reported { version },
                    _ => Reported { version: None },
                });
                match confirm {
                    Confirm::Nobody => {}
                    Confirm::Callback(callback) => self.due.push_back(Due::Reported(callback, outcome)),
                    Confirm::Event => {
                        self.twin_requests.hold_confirmation(0);
                        self.due.push_back(Due::Event(Event::ReportedState { id, outcome }));
                    }
                }
            }
        }
    }
}

fn parse(result: Result<Reply, OpError>) -> Result<Twin, TwinError> {
    into_twin(result?)
}

fn into_twin(reply: Reply) -> Result<Twin, TwinError> {
    match reply {
        Reply::Twin(json) => Twin::parse(json),
        _ => Err(TwinError::Malformed("no twin in it".to_owned())),
    }
}

impl From<OpError> for TwinError {
    fn from(error: OpError) -> Self {
        match error {
            OpError::Status { status, detail } => Self::Status { status, detail },
            other => Self::Rejected(other.to_string()),
        }
    }
}
