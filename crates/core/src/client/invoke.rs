//! Calling direct methods of devices and modules through the Edge gateway.

use std::time::Instant;

use super::callbacks::Confirm;
use super::face::Module;
use super::outbox::{Due, Outbox};
use crate::edge::{Invocation, InvokeError, MethodInvocation, MethodResponse, read_response};
use crate::event::{Event, Refused, RefusedReason};
use crate::http_engine::{HttpError, HttpResponse};
use crate::lane::{self, Bounds, Lane, Resolved};
use crate::platform::Now;
use crate::transport::OpId;

/// Calls without an outcome, and unread outcomes, at the most. Each one under way is a connection of its own.
const MAX_CALLS: usize = 20;

type Outcome = Result<MethodResponse, InvokeError>;

/// The calls under way, and where they go.
pub(super) struct Invocations<K> {
    /// The host name of the gateway, if the client has one.
    gateway: Option<String>,
    calls: Lane<Invocation, Confirm<K, Outcome>>,
}

impl<K> Invocations<K> {
    pub(super) fn new(gateway: Option<String>) -> Self {
        Self { gateway, calls: Lane::new(Bounds { count: MAX_CALLS, bytes: usize::MAX }) }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.calls.is_drained()
    }

    /// The application has read an outcome.
    pub(super) fn release(&mut self, outcome: &Outcome) {
        self.calls.release_confirmation(size(outcome));
    }
}

impl Outbox<Module> {
    /// Calls a direct method of a device through the Edge gateway, and calls back with the answer from within `do_work` or
    /// `close`, exactly once.
    ///
    /// The call goes over HTTPS, with the token of the client's own connection, so the client must connect first; how long
    /// all may take is the method's time-outs and 15 s. A call is never made twice by the client.
    ///
    /// ```no_run
    /// # fn run(client: &mut iothub_core::ModuleClient) -> Result<(), Box<dyn std::error::Error>> {
    /// use iothub_core::MethodInvocation;
    ///
    /// let reboot = MethodInvocation::new("reboot").with_payload(r#"{"delay":5}"#);
    /// client.invoke_device_method("thermometer", reboot, |outcome, _| match outcome {
    ///     Ok(answer) => println!("{}: {}", answer.status, String::from_utf8_lossy(&answer.payload)),
    ///     Err(error) => println!("{error}"),
    /// })?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Refused`] hands the method back if it or the id is wrong, the client is closed, has no gateway, or was given no
    /// HTTPS provider, or 20 calls are under way.
    #[doc(alias = "IoTHubModuleClient_LL_DeviceMethodInvoke")]
    pub fn invoke_device_method(
        &mut self,
        device: &str,
        method: MethodInvocation,
        callback: impl FnOnce(Result<MethodResponse, InvokeError>, &mut Outbox<Module>) + Send + 'static,
    ) -> Result<(), Refused<MethodInvocation>> {
        self.invoke(device, None, method, Confirm::Callback(Box::new(callback))).map(drop)
    }

    /// Calls a direct method of a device; the answer comes as [`Event::MethodInvoked`] with the id that is returned here.
    /// Else as [`invoke_device_method`](Self::invoke_device_method).
    pub fn invoke_device_method_tracked(
        &mut self,
        device: &str,
        method: MethodInvocation,
    ) -> Result<OpId, Refused<MethodInvocation>> {
        self.invoke(device, None, method, Confirm::Event)
    }

    /// Calls a direct method of a module. Else as [`invoke_device_method`](Self::invoke_device_method).
    #[doc(alias = "IoTHubModuleClient_LL_ModuleMethodInvoke")]
    pub fn invoke_module_method(
        &mut self,
        device: &str,
        module: &str,
        method: MethodInvocation,
        callback: impl FnOnce(Result<MethodResponse, InvokeError>, &mut Outbox<Module>) + Send + 'static,
    ) -> Result<(), Refused<MethodInvocation>> {
        self.invoke(device, Some(module), method, Confirm::Callback(Box::new(callback))).map(drop)
    }

    /// Calls a direct method of a module; the answer comes as [`Event::MethodInvoked`] with the id that is returned here.
    /// Else as [`invoke_device_method`](Self::invoke_device_method).
    pub fn invoke_module_method_tracked(
        &mut self,
        device: &str,
        module: &str,
        method: MethodInvocation,
    ) -> Result<OpId, Refused<MethodInvocation>> {
        self.invoke(device, Some(module), method, Confirm::Event)
    }

    fn invoke(
        &mut self,
        device: &str,
        module: Option<&str>,
        method: MethodInvocation,
        confirm: Confirm<Module, Outcome>,
    ) -> Result<OpId, Refused<MethodInvocation>> {
        let invocation = Invocation { device: device.to_owned(), module: module.map(str::to_owned), method };
        if let Err(reason) = self.admit_invocation(&invocation) {
            return Err(Refused { value: invocation.method, reason });
        }
        let id = self.fresh_id();
        let expires = lane::expiry(self.platform.now().mono, invocation.method.time_limit());
        self.invocations.calls.push(id, invocation, confirm, expires);
        Ok(id)
    }

    fn admit_invocation(&self, invocation: &Invocation) -> Result<(), RefusedReason> {
        if self.closing {
            return Err(RefusedReason::Closed);
        }
        if self.invocations.gateway.is_none() {
            return Err(RefusedReason::NoGateway);
        }
        if !self.https.is_available() {
            return Err(RefusedReason::NoHttps { what: "calling methods" });
        }
        invocation.check()?;
        match self.invocations.calls.overflow(0) {
            Some(_) => Err(RefusedReason::TooManyInvocations { limit: MAX_CALLS }),
            None => Ok(()),
        }
    }
}

impl<K> Outbox<K> {
    /// Ends the calls whose time is up.
    pub(super) fn expire_invocations(&mut self, now: Now) {
        while let Some(late) = self.invocations.calls.pop_expired(now.mono) {
            let after = late.item.method.time_limit();
            let error = match late.was_submitted {
                true => InvokeError::TimedOut { after },
                false => InvokeError::NoToken { after },
            };
            self.give_up_invocation(late, error);
        }
    }

    /// One slice of HTTPS: what can be asked goes out, and what has been answered ends.
    pub(super) fn work_on_invocations(&mut self, now: Now) {
        self.submit_invocations(now);
        self.https.do_work(now);
        while let Some((id, result)) = self.https.started().and_then(|engine| engine.poll()) {
            if let Some(resolved) = self.invocations.calls.resolve(id) {
                let outcome = read(result, &resolved.item);
                self.conclude_invocation(resolved, outcome);
            }
        }
    }

    fn submit_invocations(&mut self, now: Now) {
        while self.can_invoke(now)
            && let Some(gateway) = &self.invocations.gateway
            && let Some((id, invocation)) = self.invocations.calls.front_waiting()
        {
            let request = invocation.request(gateway, &self.identity, self.tokens.valid(now.wall));
            let deadline = now.mono + invocation.method.time_limit();
            match self.https.engine() {
                Ok(Some(engine)) => {
                    engine.start(id, request, deadline, now);
                    self.invocations.calls.mark_submitted(None);
                }
                Ok(None) => return,
                Err(error) => {
                    if let Some(resolved) = self.invocations.calls.resolve(id) {
                        self.conclude_invocation(resolved, Err(InvokeError::Https(error.to_string())));
                    }
                }
            }
        }
    }

    /// Whether the client can show the gateway who it is, and tell whether it is the gateway.
    fn can_invoke(&self, now: Now) -> bool {
        self.https.knows_trust() && (self.tokens.is_x509() || self.tokens.valid(now.wall).is_some())
    }

    pub(super) fn invocations_deadline(&self, now: Now) -> Option<Instant> {
        let can_submit = self.invocations.calls.has_waiting() && self.can_invoke(now);
        [can_submit.then_some(now.mono), self.invocations.calls.next_expiry(), self.https.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Everything that has no outcome yet ends as destroyed.
    pub(super) fn destroy_invocations(&mut self) {
        while let Some(resolved) = self.invocations.calls.pop() {
            self.give_up_invocation(resolved, InvokeError::Destroyed);
        }
    }

    fn give_up_invocation(&mut self, resolved: Resolved<Invocation, Confirm<K, Outcome>>, error: InvokeError) {
        if let Some(engine) = self.https.started() {
            engine.cancel(resolved.id);
        }
        self.conclude_invocation(resolved, Err(error));
    }

    /// Ends a call with its one outcome.
    fn conclude_invocation(&mut self, resolved: Resolved<Invocation, Confirm<K, Outcome>>, outcome: Outcome) {
        match resolved.confirm {
            Confirm::Nobody => {}
            Confirm::Callback(callback) => self.due.push_back(Due::Invoked(callback, outcome)),
            Confirm::Event => {
                self.invocations.calls.hold_confirmation(size(&outcome));
                self.due.push_back(Due::Event(Event::MethodInvoked { id: resolved.id, outcome }));
            }
        }
    }
}

fn read(result: Result<HttpResponse, HttpError>, invocation: &Invocation) -> Outcome {
    match result {
        Ok(response) => read_response(&response),
        Err(HttpError::TimedOut { .. }) => Err(InvokeError::TimedOut { after: invocation.method.time_limit() }),
        Err(error) => Err(InvokeError::Http(error)),
    }
}

fn size(outcome: &Outcome) -> usize {
    outcome.as_ref().map_or(0, |answer| answer.payload.len())
}
