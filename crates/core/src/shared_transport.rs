//! One transport for several clients.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::create_error::CreateError;
use crate::endpoint::{ClientCertificate, Endpoint, Trust};
use crate::options::{OptionError, TransportOption};
use crate::platform::{Now, Platform, Readiness};
use crate::transport::{
    Capabilities, Feature, Op, OpId, Provider, Registration, Slot, Submit, Transport, TransportEvent, Unsupported,
};

/// One transport, and so one connection to the hub, for several clients.
///
/// It is a [`Provider`] that gives the same transport to each client: create it, and give it to the clients when they are
/// created. Any client's `do_work` drives the connection for all; each has its own state, retries and callbacks. The
/// connection ends when the transport and its last client are dropped. Trust and port belong to the transport, and so do
/// the options that [`TransportOption`] names: whoever sets one sets it for all.
///
/// AMQP and HTTP can be shared. MQTT carries one identity a connection and is refused.
///
/// ```no_run
/// # fn run(amqp: impl iothub_core::Provider + Send + Sync + 'static, strings: &[String]) -> Result<(), iothub_core::CreateError> {
/// use iothub_core::{DeviceClient, Endpoint, SharedTransport};
///
/// let shared = SharedTransport::create(Endpoint::new("contoso.azure-devices.net"), amqp)?;
/// let clients: Result<Vec<_>, _> =
///     strings.iter().map(|text| DeviceClient::create_from_connection_string(text, &shared)).collect();
/// # clients.map(|_| ()) }
/// ```
#[doc(alias = "TRANSPORT_HANDLE")]
#[doc(alias = "IoTHubTransport_Create")]
#[doc(alias = "IoTHubTransport_GetLLTransport")]
#[doc(alias = "IoTHubClient_LL_CreateWithTransport")]
#[doc(alias = "IoTHubDeviceClient_LL_CreateWithTransport")]
#[derive(Clone)]
pub struct SharedTransport {
    endpoint: Endpoint,
    /// The transport's own, if the endpoint names none.
    port: u16,
    capabilities: Capabilities,
    provider: Arc<dyn Provider + Send + Sync>,
    transport: Arc<Mutex<Box<dyn Transport>>>,
}

impl SharedTransport {
    /// Creates a transport to this endpoint. Nothing goes on the wire before a client's first `do_work`.
    ///
    /// # Errors
    ///
    /// [`CreateError::NotShareable`] if the transport carries one device only; else as for a client.
    pub fn create(endpoint: Endpoint, provider: impl Provider + Send + Sync + 'static) -> Result<Self, CreateError> {
        let transport = provider.transport(&endpoint)?;
        let capabilities = transport.capabilities().clone();
        if capabilities.max_devices < 2 {
            return Err(CreateError::NotShareable { transport: capabilities.name });
        }
        let (_, port) = transport.peer();
        let transport = Arc::new(Mutex::new(transport));
        Ok(Self { endpoint, port, capabilities, provider: Arc::new(provider), transport })
    }

    /// What a client asks for must be what the transport has.
    fn check(&self, wanted: &Endpoint) -> Result<(), CreateError> {
        let ours = &self.endpoint;
        let detail = if wanted.host != ours.host || wanted.port.is_some_and(|port| port != self.port) {
            let port = |endpoint: &Endpoint| endpoint.port.map_or(String::new(), |port| format!(":{port}"));
            format!(
                "the shared transport connects to {}{}, and this client wants {}{}",
                ours.host,
                port(ours),
                wanted.host,
                port(wanted)
            )
        } else if wanted.trust != Trust::System && wanted.trust != ours.trust {
            "trust belongs to the shared transport: give the roots with its endpoint".to_owned()
        } else if wanted.certificate.is_some() {
            ONE_IDENTITY.to_owned()
        } else {
            return Ok(());
        };
        Err(CreateError::Register { transport: self.capabilities.name, detail })
    }
}

impl Provider for SharedTransport {
    fn transport(&self, endpoint: &Endpoint) -> Result<Box<dyn Transport>, CreateError> {
        self.check(endpoint)?;
        let share = Share { transport: self.transport.clone(), capabilities: self.capabilities.clone(), slot: None };
        Ok(Box::new(share))
    }

    fn platform(&self) -> Result<Box<dyn Platform>, CreateError> {
        self.provider.platform()
    }
}

impl fmt::Debug for SharedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedTransport").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Why no client of a shared transport has a certificate.
const ONE_IDENTITY: &str =
    "a certificate proves one identity for the whole connection: give this client its own transport";

/// One client's share. The lock covers one call, never the client's own code; a client that panicked under it leaves a
/// transport that serves the others.
struct Share {
    transport: Arc<Mutex<Box<dyn Transport>>>,
    capabilities: Capabilities,
    /// This client's place, for as long as it is registered.
    slot: Option<Slot>,
}

impl Share {
    fn lock(&self) -> MutexGuard<'_, Box<dyn Transport>> {
        self.transport.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Share {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn peer(&self) -> (Arc<str>, u16) {
        self.lock().peer()
    }

    fn check(&self, op: &Op<'_>) -> Result<(), Unsupported> {
        self.lock().check(op)
    }

    fn set_option(&mut self, option: &TransportOption) -> Result<(), OptionError> {
        self.lock().set_option(option)
    }

    fn set_certificate(&mut self, _: Slot, certificate: Option<&ClientCertificate>) -> Result<(), CreateError> {
        let refused = |_| CreateError::Register { transport: self.capabilities.name, detail: ONE_IDENTITY.to_owned() };
        certificate.map(refused).map_or(Ok(()), Err)
    }

    fn register(&mut self, device: Registration) -> Result<Slot, CreateError> {
        let slot = self.lock().register(device)?;
        self.slot = Some(slot);
        Ok(slot)
    }

    fn unregister(&mut self, slot: Slot) {
        if self.slot.take_if(|own| *own == slot).is_some() {
            self.lock().unregister(slot);
        }
    }

    fn subscribe(&mut self, slot: Slot, wanted: &[Feature]) {
        self.lock().subscribe(slot, wanted);
    }

    fn connect(&mut self, slot: Slot, token: Option<&str>, now: Now) {
        self.lock().connect(slot, token, now);
    }

    fn renew(&mut self, slot: Slot, token: &str, now: Now) {
        self.lock().renew(slot, token, now);
    }

    fn disconnect(&mut self, slot: Slot, now: Now) {
        self.lock().disconnect(slot, now);
    }

    fn submit(&mut self, slot: Slot, id: OpId, op: Op<'_>, now: Now) -> Submit {
        self.lock().submit(slot, id, op, now)
    }

    fn forget(&mut self, slot: Slot, id: OpId) {
        self.lock().forget(slot, id);
    }

    fn do_work(&mut self, now: Now) {
        self.lock().do_work(now);
    }

    fn poll_event(&mut self, slot: Slot) -> Option<TransportEvent> {
        self.lock().poll_event(slot)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.lock().next_deadline()
    }

    fn readiness(&self, out: &mut Vec<Readiness>) {
        self.lock().readiness(out);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.lock().unregister(slot);
        }
    }
}
