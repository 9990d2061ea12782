//! Devices: messages from the cloud.

use super::callbacks::CallbackSlot;
use super::face::Device;
use super::outbox::Outbox;
use crate::incoming::IncomingMessage;
use crate::transport::{Feature, Unsupported};

impl Outbox<Device> {
    /// Receives cloud-to-device messages, and calls back with each from within `do_work`. A callback that is set
    /// already is replaced.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] if the transport has no cloud-to-device messages; a callback that was set stays.
    #[doc(alias = "IoTHubClient_LL_SetMessageCallback")]
    #[doc(alias = "IoTHubDeviceClient_LL_SetMessageCallback")]
    pub fn set_message_callback(
        &mut self,
        callback: impl FnMut(IncomingMessage, &mut Outbox<Device>) + Send + 'static,
    ) -> Result<(), Unsupported> {
        self.subscribe(Feature::CloudToDevice)?;
        self.callbacks.message = CallbackSlot::Set(Box::new(callback));
        Ok(())
    }

    /// Removes the callback and stops receiving cloud-to-device messages; the hub keeps them for later.
    pub fn clear_message_callback(&mut self) {
        self.callbacks.message = CallbackSlot::Empty;
        self.unsubscribe(Feature::CloudToDevice);
    }
}
