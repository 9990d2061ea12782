//! Direct methods: receiving the calls, and the answers that the client gives by itself.

use bytes::Bytes;

use super::callbacks::CallbackSlot;
use super::outbox::{Due, Outbox};
use crate::event::Event;
use crate::method::MethodRequest;
use crate::transport::{Delivery, Feature, Unsupported};

/// Calls that the application has and has not answered, at the most; the client answers more with 429 itself.
const MAX_OPEN: usize = 100;

impl<K> Outbox<K> {
    /// Receives direct methods, and calls back with each from within `do_work`. A callback that is set already is
    /// replaced. At most 100 calls may be unanswered; the client answers more with status 429.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] if the transport has no direct methods; a callback that was set stays.
    #[doc(alias = "IoTHubClient_LL_SetDeviceMethodCallback")]
    #[doc(alias = "IoTHubClient_LL_SetDeviceMethodCallback_Ex")]
    #[doc(alias = "IoTHubDeviceClient_LL_SetDeviceMethodCallback")]
    #[doc(alias = "IoTHubModuleClient_LL_SetModuleMethodCallback")]
    pub fn set_method_callback(
        &mut self,
        callback: impl FnMut(MethodRequest, &mut Outbox<K>) + Send + 'static,
    ) -> Result<(), Unsupported> {
        self.subscribe(Feature::Methods)?;
        self.callbacks.method = CallbackSlot::Set(Box::new(callback));
        Ok(())
    }

    /// Removes the callback and stops receiving direct methods; callers are told that the device is not online.
    pub fn clear_method_callback(&mut self) {
        self.callbacks.method = CallbackSlot::Empty;
        self.unsubscribe(Feature::Methods);
    }

    pub(super) fn method_called(&mut self, name: String, payload: Bytes, delivery: Delivery) {
        self.stats.methods += 1;
        let is_wanted = self.wanted.contains(&Feature::Methods);
        let too_many = self.answers.open_methods() >= MAX_OPEN;
        let mut request = MethodRequest::new(name, payload, delivery, self.answers.clone());
        if !is_wanted {
            // A session that outlived an earlier subscription.
            self.stats.methods_refused += 1;
            request.answer(501, Bytes::from_static(br#"{"message":"the device takes no direct methods"}"#));
        } else if too_many {
            self.stats.methods_refused += 1;
            request.answer(429, Bytes::from_static(br#"{"message":"too many calls are unanswered"}"#));
        } else {
            self.due.push_back(Due::Event(Event::Method(request)));
        }
    }
}
