//! Direct methods, as a back end calls them.

use std::sync::Arc;
use std::time::Duration;

use crate::handle::Hub;
use crate::hub::registry::Identity;
use crate::method::{MethodCall, MethodError, MethodResult, PendingMethod};
use crate::who::Who;

/// Direct methods.
impl Hub {
    /// Calls a method and waits for its end. The call's time-outs run by the hub's clock: if that is a manual one, somebody else has to advance it, so
    /// use [`start_method`](Self::start_method) there.
    ///
    /// # Errors
    /// How the call ended, see [`MethodError`]; never [`MethodError::StillPending`].
    pub fn invoke_method<'a>(&self, who: impl Into<Who<'a>>, call: MethodCall) -> Result<MethodResult, MethodError> {
        self.start_method(who, call)?.wait(Duration::MAX)
    }

    /// Starts a method call and gives a handle to it. To a device or module that is connected and subscribed the request is sent now, else when it is, if the
    /// call has a connect time-out.
    ///
    /// # Errors
    /// What is clear at once: [`MethodError::InvalidCall`], [`MethodError::PayloadTooLarge`], [`MethodError::NotFound`], [`MethodError::ModuleNotFound`], and without a connect time-out
    /// [`MethodError::DeviceNotOnline`].
    pub fn start_method<'a>(&self, who: impl Into<Who<'a>>, call: MethodCall) -> Result<PendingMethod, MethodError> {
        let (identity, name) = (Identity::from(who.into()), call.name.clone());
        let call = self.change(|hub, now| hub.start_method(&identity, call, now))?;
        Ok(PendingMethod { shared: Arc::clone(&self.shared), call, name })
    }
}
