//! The service side of a running hub: what a back end could do, and what only a test can.

pub(crate) mod messages;
mod methods;
mod modules;
mod services;
mod twins;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::activity::DisconnectReason;
use crate::clock::{ClockReader, Now, ReadClock};
use crate::device::{Device, DeviceAuth, DeviceCertificate};
use crate::error::HubError;
use crate::faults::{Fault, FaultId};
use crate::hub::HubState;
use crate::hub::registry::{self, DeviceEntry, Identity};
use crate::shared::Shared;
use crate::tls::{self, Tls};
use crate::who::Who;

/// The service side of a running hub: a handle to clone and share between threads. Its calls block only for the hub's lock, except those named `wait`, and [`invoke_method`](Hub::invoke_method).
#[derive(Clone, Debug)]
pub struct Hub {
    shared: Arc<Shared>,
    clock: ClockReader,
    facts: Arc<Facts>,
}

/// What does not change while the hub runs.
#[derive(Debug)]
struct Facts {
    tls: Tls,
    host_names: Vec<String>,
    addresses: Addresses,
}

/// Where the hub listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) mqtt: SocketAddr,
    pub(crate) amqp: SocketAddr,
}

/// Where it is, and its devices.
impl Hub {
    pub(crate) fn new(shared: Arc<Shared>, tls: Tls, host_names: Vec<String>, addresses: Addresses) -> Self {
        let source: Arc<dyn ReadClock> = Arc::clone(&shared) as _;
        Self { shared, clock: ClockReader::new(&source), facts: Arc::new(Facts { tls, host_names, addresses }) }
    }

    /// The first host name: the one in connection strings.
    #[must_use]
    pub fn host_name(&self) -> String {
        self.facts.host_names.first().cloned().unwrap_or_default()
    }

    /// All host names of the hub: the certificate has them, and tokens are for one of them.
    #[must_use]
    pub fn host_names(&self) -> Vec<String> {
        self.facts.host_names.clone()
    }

    /// The bound address of MQTT over TLS.
    #[must_use]
    pub fn mqtt_address(&self) -> SocketAddr {
        self.facts.addresses.mqtt
    }

    /// The bound address of AMQP 1.0 over TLS.
    #[must_use]
    pub fn amqp_address(&self) -> SocketAddr {
        self.facts.addresses.amqp
    }

    /// The CA certificate that clients have to trust, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        self.facts.tls.ca_pem().to_owned()
    }

    /// Creates an enabled device with random keys.
    ///
    /// # Errors
    /// [`HubError::DeviceExists`], [`HubError::InvalidDeviceId`].
    pub fn create_device(&self, id: &str) -> Result<Device, HubError> {
        self.create_device_with(id, random_keys(id)?)
    }

    /// Creates an enabled device.
    ///
    /// # Errors
    /// [`HubError::DeviceExists`], [`HubError::InvalidDeviceId`], [`HubError::InvalidKey`], [`HubError::InvalidThumbprint`].
    pub fn create_device_with(&self, id: &str, auth: DeviceAuth) -> Result<Device, HubError> {
        self.change(|hub, now| {
            hub.create_device(id, auth, now)?;
            self.known_device(hub, id)
        })
    }

    /// A device as it is now.
    #[must_use]
    pub fn device(&self, id: &str) -> Option<Device> {
        self.read(|hub, _| self.known_device(hub, id).ok())
    }

    /// All devices as they are now, by id.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        self.read(|hub, _| hub.registry.iter().map(|(id, entry)| self.device_of(id, entry)).collect())
    }

    /// Deletes a device with its modules, sessions and queues, and closes their connections.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`].
    pub fn delete_device(&self, id: &str) -> Result<(), HubError> {
        self.change(|hub, now| hub.delete_device(id, now))
    }

    /// Enables a device and its modules, or disables them and closes their connections.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`].
    pub fn set_device_enabled(&self, id: &str, enabled: bool) -> Result<(), HubError> {
        self.change(|hub, now| hub.set_enabled(id, enabled, now))
    }

    /// Closes the connections of the device and its modules without a packet; false if the device has none.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`].
    pub fn disconnect_device(&self, id: &str) -> Result<bool, HubError> {
        self.change(|hub, now| {
            self.known_device(hub, id)?;
            let connected = hub.connected(&Identity::device(id)).is_some();
            hub.end_all_of(id, &DisconnectReason::ByService, now);
            Ok(connected)
        })
    }

    /// Whether the device, or the module, is connected: CONNECT was accepted and the connection has not ended.
    #[must_use]
    pub fn connected<'a>(&self, who: impl Into<Who<'a>>) -> bool {
        let identity = Identity::from(who.into());
        self.read(|hub, _| hub.connected(&identity).is_some())
    }

    /// Gives the device new random keys. Its connection stays until its token expires (docs/hub-over-mqtt.md 7).
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`], [`HubError::NoSymmetricKey`].
    pub fn rotate_keys(&self, id: &str) -> Result<Device, HubError> {
        let (primary, secondary) = (random_key(id)?, random_key(id)?);
        self.change(|hub, _| {
            hub.registry.set_keys(id, primary, secondary)?;
            self.known_device(hub, id)
        })
    }

    /// Issues a client certificate for [`DeviceAuth::CertificateAuthority`], signed by a device CA that the hub trusts. Its common name is the id.
    ///
    /// # Errors
    /// [`HubError::InvalidDeviceId`], [`HubError::KeyGeneration`].
    pub fn issue_device_certificate(&self, device_id: &str) -> Result<DeviceCertificate, HubError> {
        registry::check_device_id(device_id)?;
        self.issue_certificate(device_id)
    }

    fn issue_certificate(&self, common_name: &str) -> Result<DeviceCertificate, HubError> {
        let issued = self.facts.tls.issue_device_certificate(common_name);
        issued.map_err(|problem| HubError::KeyGeneration { device: common_name.to_owned(), problem })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn change<R>(&self, f: impl FnOnce(&mut HubState, Now) -> R) -> R {
        self.shared.change(f)
    }

    fn read<R>(&self, f: impl FnOnce(&HubState, Now) -> R) -> R {
        self.shared.read(f)
    }

    fn known_device(&self, hub: &HubState, id: &str) -> Result<Device, HubError> {
        hub.registry
            .get(id)
            .map(|entry| self.device_of(id, entry))
            .ok_or_else(|| registry::not_found(&Identity::device(id)))
    }

    fn device_of(&self, id: &str, entry: &DeviceEntry) -> Device {
        let host = self.host_name();
        let (primary_key, secondary_key) = match &entry.auth {
            DeviceAuth::SymmetricKey { primary, secondary } => (Some(primary.clone()), Some(secondary.clone())),
            DeviceAuth::Thumbprint { .. } | DeviceAuth::CertificateAuthority => (None, None),
        };
        Device {
            id: id.to_owned(),
            connection_string: format!("HostName={host};DeviceId={id};{}", credential(&entry.auth)),
            primary_key,
            secondary_key,
            enabled: entry.enabled,
            generation_id: entry.generation_id.clone(),
            etag: entry.etag(),
            host_name: host,
            clock: self.clock.clone(),
        }
    }
}

/// Clock and faults.
impl Hub {
    /// The date by the hub's clock.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.shared.wall()
    }

    /// Time passes. Locks, times to live and feedback that are due within it are done when this returns; connections whose keep-alive or token is over
    /// close right after, on the server's thread.
    pub fn advance_clock(&self, by: Duration) {
        self.shared.turn_clock(|clock| clock.advance(by));
    }

    /// Sets the date. No time passes: this moves token expiry and times to live, but no keep-alive and no lock.
    pub fn set_clock(&self, to: SystemTime) {
        self.shared.turn_clock(|clock| clock.set(to));
    }

    /// Queues a fault. It is consumed by the first connection or packet that it applies to. One with nothing to do (a count of 0) is not queued.
    pub fn inject(&self, fault: Fault) -> FaultId {
        self.change(|hub, _| hub.inject(None, fault))
    }

    /// As [`inject`](Self::inject), for one device or module only.
    pub fn inject_for<'a>(&self, who: impl Into<Who<'a>>, fault: Fault) -> FaultId {
        let only = Identity::from(who.into());
        self.change(|hub, _| hub.inject(Some(only), fault))
    }

    /// How many faults have not happened yet.
    #[must_use]
    pub fn pending_faults(&self) -> usize {
        self.read(|hub, _| hub.faults.len())
    }

    /// Removes the faults that have not happened yet.
    pub fn clear_faults(&self) {
        self.change(|hub, _| hub.faults.clear());
    }
}

/// How a connection string names the credential.
fn credential(auth: &DeviceAuth) -> String {
    match auth {
        DeviceAuth::SymmetricKey { primary, .. } => format!("SharedAccessKey={}", primary.expose()),
        DeviceAuth::Thumbprint { .. } | DeviceAuth::CertificateAuthority => "x509=true".to_owned(),
    }
}

fn random_keys(id: &str) -> Result<DeviceAuth, HubError> {
    Ok(DeviceAuth::SymmetricKey { primary: random_key(id)?, secondary: random_key(id)? })
}

fn random_key(id: &str) -> Result<crate::device::SecretKey, HubError> {
    tls::random_key().map_err(|problem| HubError::KeyGeneration { device: id.to_owned(), problem })
}
