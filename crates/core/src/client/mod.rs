//! The client: one engine, and the typed faces that applications use.

mod builder;
mod callbacks;
mod cloud_to_device;
mod connection;
mod engine;
mod face;
mod from_environment;
mod https;
mod inputs;
mod invoke;
mod methods;
mod origin;
mod outbox;
mod renewal;
mod sampling;
mod settings;
mod stats;
mod telemetry;
#[cfg(test)]
mod tests;
mod tokens;
mod twin_requests;
mod twin_sync;
mod wait;

use std::ops::{Deref, DerefMut};
use std::time::Duration;

pub use builder::ClientBuilder;
pub use face::{Device, Face, Module};
pub use outbox::Outbox;
pub use stats::Stats;
pub use wait::{Waits, wait_any};

use crate::create_error::CreateError;
use crate::credential::Credential;
use crate::event::Event;
use crate::identity::Identity;
use crate::transport::Provider;
use outbox::Due;

/// A client for a device.
#[doc(alias = "IOTHUB_CLIENT_LL_HANDLE")]
#[doc(alias = "IOTHUB_DEVICE_CLIENT_LL_HANDLE")]
pub type DeviceClient = Client<Device>;

/// A client for a module of a device, on IoT Edge or straight at the hub.
#[doc(alias = "IOTHUB_MODULE_CLIENT_LL_HANDLE")]
pub type ModuleClient = Client<Module>;

/// A client of the hub, driven by the application.
///
/// Nothing happens on the wire outside [`do_work`](Self::do_work), which never blocks; [`wait`](Self::wait) sleeps until
/// there is work again. Everything that can be asked of a client, inside a callback too, is on the [`Outbox`] that it
/// dereferences to.
///
/// ```no_run
/// # fn run(provider: &dyn iothub_core::Provider) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use iothub_core::{DeviceClient, Event};
///
/// let connection_string = std::env::var("IOTHUB_DEVICE_CONNECTION_STRING")?;
/// let mut client = DeviceClient::create_from_connection_string(&connection_string, provider)?;
/// client.send_event("hello")?;
/// loop {
///     client.do_work();
///     while let Some(event) = client.next_event() {
///         println!("{event:?}");
///     }
///     client.wait(Duration::from_secs(60));
/// }
/// # }
/// ```
///
/// A client is `Send` and not `Sync`: it can move to another thread, and two threads cannot use it at once.
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<iothub_core::DeviceClient>();
/// ```
///
/// Dropping a client closes its connection at once, without blocking and without calling back; call
/// [`close`](Self::close) first so that every message has its outcome.
#[doc(alias = "IoTHub_Init")]
#[doc(alias = "IoTHub_Deinit")]
pub struct Client<K> {
    outbox: Outbox<K>,
}

impl<K: Face> Client<K> {
    /// Creates a client from a connection string: a device's for a [`DeviceClient`], a module's for a [`ModuleClient`].
    /// Nothing goes on the wire before the first `do_work`.
    ///
    /// # Errors
    ///
    /// [`CreateError`] names the key, option or certificate that is wrong.
    #[doc(alias = "IoTHubClient_LL_CreateFromConnectionString")]
    #[doc(alias = "IoTHubDeviceClient_LL_CreateFromConnectionString")]
    #[doc(alias = "IoTHubModuleClient_LL_CreateFromConnectionString")]
    pub fn create_from_connection_string(
        connection_string: &str,
        provider: &dyn Provider,
    ) -> Result<Self, CreateError> {
        Self::builder(connection_string).build(provider)
    }

    /// Starts to create a client with options.
    pub fn builder(connection_string: &str) -> ClientBuilder<K> {
        ClientBuilder::from_connection_string(connection_string)
    }
}

impl DeviceClient {
    /// Creates a client from parameters: the hub's host name, the device id, and how the device proves its identity, by
    /// a key, a ready token, a certificate, or a signer that keeps the key to itself.
    ///
    /// ```no_run
    /// # fn run(provider: &dyn iothub_core::Provider, key: iothub_core::SharedAccessKey) -> Result<(), iothub_core::CreateError> {
    /// use iothub_core::DeviceClient;
    ///
    /// let client = DeviceClient::create("contoso.azure-devices.net", "dev-1", key, provider)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CreateError`] names the parameter that is wrong.
    #[doc(alias = "IoTHubClient_LL_Create")]
    #[doc(alias = "IoTHubDeviceClient_LL_Create")]
    #[doc(alias = "IoTHubClient_LL_CreateFromDeviceAuth")]
    #[doc(alias = "IoTHubDeviceClient_LL_CreateFromDeviceAuth")]
    #[doc(alias = "IOTHUB_CLIENT_CONFIG")]
    pub fn create(
        host_name: &str,
        device_id: &str,
        credential: impl Into<Credential>,
        provider: &dyn Provider,
    ) -> Result<Self, CreateError> {
        Self::builder_for(host_name, device_id, credential).build(provider)
    }

    /// Starts to create a client from parameters, with options.
    pub fn builder_for(host_name: &str, device_id: &str, credential: impl Into<Credential>) -> ClientBuilder<Device> {
        ClientBuilder::from_parameters(Identity::device(host_name, device_id), credential.into())
    }
}

impl ModuleClient {
    /// Creates a client from parameters: the hub's host name, the ids of device and module, and how the module proves its
    /// identity.
    ///
    /// # Errors
    ///
    /// [`CreateError`] names the parameter that is wrong.
    pub fn create(
        host_name: &str,
        device_id: &str,
        module_id: &str,
        credential: impl Into<Credential>,
        provider: &dyn Provider,
    ) -> Result<Self, CreateError> {
        Self::builder_for(host_name, device_id, module_id, credential).build(provider)
    }

    /// Starts to create a client from parameters, with options.
    pub fn builder_for(
        host_name: &str,
        device_id: &str,
        module_id: &str,
        credential: impl Into<Credential>,
    ) -> ClientBuilder<Module> {
        ClientBuilder::from_parameters(Identity::module(host_name, device_id, module_id), credential.into())
    }
}

impl<K> Client<K> {
    /// Does what can be done now, and returns: time-outs, connecting, sending, receiving, and the callbacks.
    ///
    /// It never blocks, and it is cheap when there is nothing to do.
    #[doc(alias = "IoTHubClient_LL_DoWork")]
    #[doc(alias = "IoTHubDeviceClient_LL_DoWork")]
    #[doc(alias = "IoTHubModuleClient_LL_DoWork")]
    pub fn do_work(&mut self) {
        self.outbox.turn();
    }

    /// Sleeps until `do_work` has something to do, the [`waker`](Outbox::waker) is used, or `timeout` has passed.
    pub fn wait(&mut self, timeout: Duration) {
        wait_any(&mut [self], timeout);
    }

    /// Ends the client: refuses new work, drives until every message has its outcome or `timeout` has passed, ends
    /// what is left as [`Destroyed`](crate::UndeliveredReason::Destroyed), and disconnects.
    ///
    /// Callbacks run inside; [`next_event`](Outbox::next_event) still works afterwards. With `Duration::ZERO` nothing is
    /// waited for.
    #[doc(alias = "IoTHubClient_LL_Destroy")]
    #[doc(alias = "IoTHubDeviceClient_LL_Destroy")]
    #[doc(alias = "IoTHubModuleClient_LL_Destroy")]
    pub fn close(&mut self, timeout: Duration) {
        let outbox = &mut self.outbox;
        if outbox.connection.is_closed() {
            return;
        }
        outbox.closing = true;
        let until = outbox.platform.now().mono.checked_add(timeout);
        outbox.turn();
        outbox.drive(until, |outbox| {
            let has_answers = !outbox.submitted_answers.is_empty() || !outbox.waiting_answers.is_empty();
            let drained =
                outbox.telemetry.is_drained() && outbox.twin_requests.is_drained() && outbox.invocations.is_drained();
            drained && !(has_answers && outbox.connection.is_online()) || outbox.connection.has_given_up()
        });
        outbox.destroy_pending();
        outbox.tell();
        outbox.disconnect(until);
        let change = outbox.connection.close();
        outbox.due.push_back(Due::Event(Event::Status(change)));
        outbox.tell();
    }
}

impl<K> Deref for Client<K> {
    type Target = Outbox<K>;

    fn deref(&self) -> &Outbox<K> {
        &self.outbox
    }
}

impl<K> DerefMut for Client<K> {
    fn deref_mut(&mut self) -> &mut Outbox<K> {
        &mut self.outbox
    }
}

impl<K> std::fmt::Debug for Client<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("state", &self.outbox.connection.state())
            .field("stats", &self.outbox.stats)
            .finish_non_exhaustive()
    }
}
