//! The service side of a running hub: what a back end could do, and what only a test can.

mod methods;
mod services;
mod twins;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::activity::{Activity, DisconnectReason};
use crate::clock::{ClockReader, Now, ReadClock};
use crate::device::{Device, DeviceAuth, DeviceCertificate};
use crate::error::{HubError, WaitError};
use crate::faults::{Fault, FaultId};
use crate::guid;
use crate::hub::registry::{self, DeviceEntry, Identity};
use crate::hub::{HubState, NO_DEVICE};
use crate::message::C2dMessage;
use crate::mqtt::bag::devicebound_topic_length;
use crate::record::{C2dOutcome, C2dRecord, FeedbackRecord, TelemetryRecord};
use crate::shared::Shared;
use crate::tls::{self, Tls};

/// The largest cloud-to-device message: body, property names and values (docs/hub-over-mqtt.md 3).
const MAX_C2D_SIZE: usize = 65_536;
/// The longest topic that MQTT can carry.
const MAX_TOPIC: usize = 65_535;

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

    /// All host names: those in the certificate.
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

    /// Deletes a device with its session and queue, and closes its connection.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`].
    pub fn delete_device(&self, id: &str) -> Result<(), HubError> {
        self.change(|hub, now| hub.delete_device(id, now))
    }

    /// Enables a device, or disables it and closes its connection.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`].
    pub fn set_device_enabled(&self, id: &str, enabled: bool) -> Result<(), HubError> {
        self.change(|hub, now| hub.set_enabled(id, enabled, now))
    }

    /// Closes the device's connection without a packet; false if there is none.
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

    /// Whether the device is connected: CONNECT was accepted and the connection has not ended.
    #[must_use]
    pub fn connected(&self, device: &str) -> bool {
        self.read(|hub, _| hub.connected(&Identity::device(device)).is_some())
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
        let issued = self.facts.tls.issue_device_certificate(device_id);
        issued.map_err(|problem| HubError::KeyGeneration { device: device_id.to_owned(), problem })
    }

    fn change<R>(&self, f: impl FnOnce(&mut HubState, Now) -> R) -> R {
        self.shared.change(f)
    }

    fn read<R>(&self, f: impl FnOnce(&HubState, Now) -> R) -> R {
        self.shared.read(f)
    }

    fn known_device(&self, hub: &HubState, id: &str) -> Result<Device, HubError> {
        hub.registry.get(id).map(|entry| self.device_of(id, entry)).ok_or_else(|| registry::not_found(id))
    }

    fn device_of(&self, id: &str, entry: &DeviceEntry) -> Device {
        let host = self.host_name();
        let (credential, primary_key, secondary_key) = match &entry.auth {
            DeviceAuth::SymmetricKey { primary, secondary } => {
                (format!("SharedAccessKey={}", primary.expose()), Some(primary.clone()), Some(secondary.clone()))
            }
            DeviceAuth::Thumbprint { .. } | DeviceAuth::CertificateAuthority => ("x509=true".to_owned(), None, None),
        };
        Device {
            id: id.to_owned(),
            connection_string: format!("HostName={host};DeviceId={id};{credential}"),
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

/// Messages to devices.
impl Hub {
    /// Enqueues a cloud-to-device message and gives its message id. The hub keeps ids as they are; it does not ask for unique ones.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`], [`HubError::QueueFull`], [`HubError::MessageTooLarge`], [`HubError::InvalidMessage`].
    pub fn send_c2d(&self, device: &str, message: C2dMessage) -> Result<String, HubError> {
        let message_id = message.message_id.clone().unwrap_or_else(guid::random);
        check_message(device, &message_id, &message)?;
        self.change(|hub, now| hub.send_c2d(device, message_id.clone(), message, now))?;
        Ok(message_id)
    }

    /// The device's pending messages, in order.
    #[must_use]
    pub fn c2d_queue(&self, device: &str) -> Vec<C2dRecord> {
        self.read(|hub, now| hub.c2d_queue(device, now))
    }

    /// How the device's messages ended, in order.
    #[must_use]
    pub fn c2d_outcomes(&self, device: &str) -> Vec<C2dOutcome> {
        self.read(|hub, _| hub.c2d_outcomes(device).cloned().collect())
    }

    /// Removes the device's pending messages and says how many there were.
    pub fn purge_c2d(&self, device: &str) -> usize {
        self.change(|hub, now| hub.purge(device, now))
    }

    /// Takes the feedback that is ready: a batch is at 64 records, or 15 s after its first (docs/hub-over-mqtt.md 3).
    #[must_use]
    pub fn read_feedback(&self) -> Vec<FeedbackRecord> {
        self.change(|hub, _| hub.read_feedback())
    }

    /// Makes the feedback so far ready now.
    pub fn flush_feedback(&self) {
        self.change(|hub, _| hub.flush_feedback());
    }
}

/// Messages from devices, and what happened.
impl Hub {
    /// The device's stored telemetry, in order.
    #[must_use]
    pub fn telemetry(&self, device: &str) -> Vec<TelemetryRecord> {
        self.read(|hub, _| hub.telemetry(device).cloned().collect())
    }

    /// All stored telemetry, in order.
    #[must_use]
    pub fn all_telemetry(&self) -> Vec<TelemetryRecord> {
        self.read(|hub, _| hub.all_telemetry())
    }

    /// How many messages of the device are stored.
    #[must_use]
    pub fn telemetry_count(&self, device: &str) -> usize {
        self.read(|hub, _| hub.telemetry_count(device))
    }

    /// Waits until at least `count` messages of the device are stored, and gives all of them.
    ///
    /// # Errors
    /// [`WaitError`] says how many there were after `limit` of real time.
    pub fn wait_for_telemetry(
        &self,
        device: &str,
        count: usize,
        limit: Duration,
    ) -> Result<Vec<TelemetryRecord>, WaitError> {
        let enough = self.shared.wait(limit, || (self.telemetry_count(device) >= count).then_some(()));
        enough.map(|()| self.telemetry(device)).ok_or_else(|| WaitError {
            what: format!("{count} telemetry messages of device '{device}'"),
            limit,
            found: format!("{} are stored", self.telemetry_count(device)),
        })
    }

    /// What happened on the device's connections, in order. A refused CONNECT counts as the device's that its user name claims.
    #[must_use]
    pub fn activity(&self, device: &str) -> Vec<Activity> {
        self.read(|hub, _| hub.activity(device).cloned().collect())
    }

    /// What happened on connections whose device was never known.
    #[must_use]
    pub fn unattributed_activity(&self) -> Vec<Activity> {
        self.activity(NO_DEVICE)
    }

    /// Waits until `f` holds; it is asked again after each change of the hub's state. `what` is for the error.
    ///
    /// # Errors
    /// [`WaitError`] after `limit` of real time.
    pub fn wait_until(&self, limit: Duration, what: &str, mut f: impl FnMut(&Hub) -> bool) -> Result<(), WaitError> {
        let held = self.shared.wait(limit, || f(self).then_some(()));
        held.ok_or_else(|| WaitError { what: what.to_owned(), limit, found: "it did not become so".to_owned() })
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

    /// As [`inject`](Self::inject), for one device only.
    pub fn inject_for(&self, device: &str, fault: Fault) -> FaultId {
        self.change(|hub, _| hub.inject(Some(device.to_owned()), fault))
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

fn random_keys(id: &str) -> Result<DeviceAuth, HubError> {
    Ok(DeviceAuth::SymmetricKey { primary: random_key(id)?, secondary: random_key(id)? })
}

fn random_key(id: &str) -> Result<crate::device::SecretKey, HubError> {
    tls::random_key().map_err(|problem| HubError::KeyGeneration { device: id.to_owned(), problem })
}

/// Whether a cloud-to-device message can be carried to its device, over every protocol.
pub(crate) fn check_message(device: &str, message_id: &str, message: &C2dMessage) -> Result<(), HubError> {
    let size = message.size();
    if size > MAX_C2D_SIZE {
        return Err(HubError::MessageTooLarge { size, limit: MAX_C2D_SIZE });
    }
    if message.properties.iter().any(|(name, _)| name.is_empty()) {
        return Err(HubError::InvalidMessage {
            field: "property",
            problem: "has an empty name; give it one".to_owned(),
        });
    }
    let topic = devicebound_topic_length(device, message_id, message);
    if topic > MAX_TOPIC {
        let problem =
            format!("make an MQTT topic of {topic} bytes, percent-encoded; {MAX_TOPIC} are possible: shorten them");
        return Err(HubError::InvalidMessage { field: "properties", problem });
    }
    Ok(())
}
