//! The service side of a running hub.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use crate::device::{Device, DeviceAuth, DeviceCertificate};
use crate::error::{HubError, WaitError};
use crate::faults::{Fault, FaultId};
use crate::message::C2dMessage;
use crate::record::{Activity, C2dOutcome, C2dRecord, FeedbackRecord, TelemetryRecord};

/// The service side of a running hub: a handle to clone and share between threads.
#[derive(Clone, Debug)]
pub struct Hub {}

#[allow(unused_variables, reason = "skeleton: the names and meanings hold, the bodies come next")]
impl Hub {
    /// The first host name: the one in connection strings.
    #[must_use]
    pub fn host_name(&self) -> String {
        "localhost".to_owned()
    }

    /// The bound address of MQTT over TLS.
    #[must_use]
    pub fn mqtt_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    }

    /// The CA certificate that clients have to trust, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        String::new()
    }

    /// Creates an enabled device with random keys.
    ///
    /// # Errors
    /// [`HubError::DeviceExists`], [`HubError::InvalidDeviceId`].
    pub fn create_device(&self, id: &str) -> Result<Device, HubError> {
        Err(HubError::DeviceNotFound { device: id.to_owned() })
    }

    /// Creates an enabled device.
    ///
    /// # Errors
    /// [`HubError::DeviceExists`], [`HubError::InvalidDeviceId`], [`HubError::InvalidKey`], [`HubError::InvalidThumbprint`].
    pub fn create_device_with(&self, id: &str, auth: DeviceAuth) -> Result<Device, HubError> {
        Err(HubError::DeviceNotFound { device: id.to_owned() })
    }

    /// A device as it is now.
    #[must_use]
    pub fn device(&self, id: &str) -> Option<Device> {
        None
    }

    /// Deletes a device with its session and queue, and closes its connection.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`].
    pub fn delete_device(&self, id: &str) -> Result<(), HubError> {
        Ok(())
    }

    /// Enables a device, or disables it and closes its connection.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`].
    pub fn set_device_enabled(&self, id: &str, enabled: bool) -> Result<(), HubError> {
        Ok(())
    }

    /// Closes the device's connection without a packet; false if there is none.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`].
    pub fn disconnect_device(&self, id: &str) -> Result<bool, HubError> {
        Ok(false)
    }

    /// Gives the device new random keys. Its connection stays until its token expires (mqtt.md 7).
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`], [`HubError::NoSymmetricKey`].
    pub fn rotate_keys(&self, id: &str) -> Result<Device, HubError> {
        Err(HubError::DeviceNotFound { device: id.to_owned() })
    }

    /// Issues a client certificate for [`DeviceAuth::CertificateAuthority`], signed by a device CA that the hub trusts.
    ///
    /// # Errors
    /// [`HubError::InvalidDeviceId`], [`HubError::Certificate`].
    pub fn issue_device_certificate(&self, device_id: &str) -> Result<DeviceCertificate, HubError> {
        Err(HubError::DeviceNotFound { device: device_id.to_owned() })
    }

    /// Enqueues a cloud-to-device message and gives its message id.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`], [`HubError::QueueFull`], [`HubError::MessageTooLarge`], [`HubError::InvalidMessage`].
    pub fn send_c2d(&self, device: &str, message: C2dMessage) -> Result<String, HubError> {
        Ok(String::new())
    }

    /// The device's pending messages, in order.
    #[must_use]
    pub fn c2d_queue(&self, device: &str) -> Vec<C2dRecord> {
        Vec::new()
    }

    /// How the device's messages ended, in order.
    #[must_use]
    pub fn c2d_outcomes(&self, device: &str) -> Vec<C2dOutcome> {
        Vec::new()
    }

    /// Removes the device's pending messages and says how many there were.
    pub fn purge_c2d(&self, device: &str) -> usize {
        0
    }

    /// Takes the feedback that is ready: a batch is at 64 records, or 15 s after its first (mqtt.md 3).
    #[must_use]
    pub fn read_feedback(&self) -> Vec<FeedbackRecord> {
        Vec::new()
    }

    /// Makes the feedback so far ready now.
    pub fn flush_feedback(&self) {}

    /// The device's stored telemetry, in order.
    #[must_use]
    pub fn telemetry(&self, device: &str) -> Vec<TelemetryRecord> {
        Vec::new()
    }

    /// All stored telemetry, in order.
    #[must_use]
    pub fn all_telemetry(&self) -> Vec<TelemetryRecord> {
        Vec::new()
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
        Ok(Vec::new())
    }

    /// What happened on the device's connections, in order.
    #[must_use]
    pub fn activity(&self, device: &str) -> Vec<Activity> {
        Vec::new()
    }

    /// What happened on connections before a device was known.
    #[must_use]
    pub fn unattributed_activity(&self) -> Vec<Activity> {
        Vec::new()
    }

    /// Waits until `f` holds; it is asked again after each change of the hub's state. `what` is for the error.
    ///
    /// # Errors
    /// [`WaitError`] after `limit` of real time.
    pub fn wait_until(&self, limit: Duration, what: &str, f: impl FnMut(&Hub) -> bool) -> Result<(), WaitError> {
        Ok(())
    }

    /// Whether the device is connected: CONNECT was accepted and the connection has not ended.
    #[must_use]
    pub fn connected(&self, device: &str) -> bool {
        false
    }

    /// The date by the hub's clock.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    /// Time passes: everything that is due within it happens at once.
    pub fn advance_clock(&self, by: Duration) {}

    /// Sets the date. No time passes: this moves token expiry and times to live, but no keep-alive or lock.
    pub fn set_clock(&self, to: SystemTime) {}

    /// Queues a fault. It is consumed by the connection or packet that it applies to.
    pub fn inject(&self, fault: Fault) -> FaultId {
        FaultId(0)
    }

    /// As [`inject`](Self::inject), for one device only.
    pub fn inject_for(&self, device: &str, fault: Fault) -> FaultId {
        FaultId(0)
    }

    /// How many faults have not happened yet.
    #[must_use]
    pub fn pending_faults(&self) -> usize {
        0
    }

    /// Removes the faults that have not happened yet.
    pub fn clear_faults(&self) {}
}
