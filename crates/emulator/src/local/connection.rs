//! A local connection as its device holds it: the line under the hub's lock, and whom to wake.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;

use crate::activity::{ConnectionId, DisconnectReason};
use crate::clock::Now;
use crate::handle::Hub;
use crate::hub::HubState;
use crate::hub::c2d::Settlement;
use crate::local::line::Line;
use crate::local::{LocalDelivery, LocalError, LocalEvent, LocalFeature, LocalLogin, LocalLoginError, LocalTelemetry};
use crate::shared::Shared;

/// Devices in the hub's own process.
impl Hub {
    /// Connects a device without protocol and network. `waker` is used when the hub may have something for it; it should then ask
    /// [`next_event`](LocalConnection::next_event), as it should right after this call.
    ///
    /// The credential is checked for real, an older connection of the identity ends, over MQTT too, and a newer one ends this.
    ///
    /// # Errors
    /// See [`LocalLoginError`].
    pub fn connect_local(&self, login: LocalLogin, waker: &Waker) -> Result<LocalConnection, LocalLoginError> {
        let line = self.change(|hub, now| Line::open(hub, now, login))?;
        let shared = Arc::clone(self.shared());
        shared.register(line.id(), waker.clone());
        Ok(LocalConnection { shared, line })
    }
}

/// A device's connection within the hub's process: what MQTT would carry, as calls and values. Made by [`Hub::connect_local`].
///
/// The hub cannot tell it from another: the same state, the same rules, the same records. Calls block only for the hub's lock, and what the hub has for
/// the device waits until it is taken with [`next_event`](Self::next_event); if more than 32 MiB wait, the hub ends the connection, as it does with a device
/// that does not read. Dropped, the connection ends as if the network broke; [`disconnect`](Self::disconnect) ends it in order.
///
/// [Faults](crate::Fault) happen to it as far as they are not about packets or bytes: dropped connections where something is sent, received or executed,
/// the closing ones, a lost session, a refused subscription or login, a message or method that comes twice, and what may be wrong with twin answers (all
/// but `Delay`) and patches. Others wait for a connection that they can happen to, and telemetry does not cause any.
///
/// ```
/// use iothub_emulator::{C2dMessage, Emulator, LocalEvent, LocalFeature, LocalLogin, LocalTelemetry};
/// use std::task::Waker;
/// use std::time::Duration;
///
/// let emulator = Emulator::start()?;
/// let device = emulator.create_device("thermometer")?;
/// let login = LocalLogin::new("thermometer").token(device.sas_token(Duration::from_secs(3600)));
/// let mut connection = emulator.connect_local(login, Waker::noop())?;
///
/// connection.send(LocalTelemetry::new("21.5"))?;
/// assert_eq!(emulator.telemetry("thermometer")[0].body, "21.5");
///
/// connection.subscribe(LocalFeature::CloudToDevice)?;
/// emulator.send_c2d("thermometer", C2dMessage::new("report every minute"))?;
/// let Some(LocalEvent::Message(message)) = connection.next_event() else { panic!("there is one") };
/// assert_eq!(message.body, "report every minute");
/// connection.complete(message.delivery)?;
/// assert!(emulator.c2d_queue("thermometer").is_empty());
///
/// connection.disconnect();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LocalConnection {
    shared: Arc<Shared>,
    line: Line,
}

impl LocalConnection {
    /// Its name in the hub's records.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.line.id()
    }

    /// Whether the hub had kept a session: then its subscriptions are in force.
    #[must_use]
    pub fn session_present(&self) -> bool {
        self.line.session_present()
    }

    /// Takes the next thing that the hub has for the device. A cloud-to-device message is locked from then on. The last one is
    /// [`Closed`](LocalEvent::Closed), once.
    pub fn next_event(&mut self) -> Option<LocalEvent> {
        self.change(|line, hub, now| line.next_event(hub, now))
    }

    /// Sends telemetry and gives its sequence number in the hub's store; `None` if the routes of an Edge device led elsewhere. A message over 256 KiB
    /// ends the connection, as over MQTT.
    ///
    /// # Errors
    /// [`LocalError::Closed`], [`LocalError::UnknownSystemProperty`], [`LocalError::ReservedName`].
    pub fn send(&mut self, message: LocalTelemetry) -> Result<Option<u64>, LocalError> {
        let draft = message.into_draft()?;
        self.change(|line, hub, now| line.send(hub, now, draft))
    }

    /// Subscribes; what waits for the device is there at once. Subscribing again is no error.
    ///
    /// # Errors
    /// [`LocalError::Closed`], also when the session holds too many subscriptions and the hub closes for that; [`LocalError::SubscriptionRefused`],
    /// [`LocalError::NoFeature`].
    pub fn subscribe(&mut self, feature: LocalFeature) -> Result<(), LocalError> {
        self.change(|line, hub, now| line.subscribe(hub, now, feature))
    }

    /// Ends a subscription, if there is one.
    ///
    /// # Errors
    /// [`LocalError::Closed`], [`LocalError::NoFeature`].
    pub fn unsubscribe(&mut self, feature: LocalFeature) -> Result<(), LocalError> {
        self.change(|line, hub, now| line.unsubscribe(hub, now, feature))
    }

    /// The device is done with a message: the hub deletes it.
    ///
    /// # Errors
    /// [`LocalError::Closed`], [`LocalError::NotHeld`].
    pub fn complete(&mut self, delivery: LocalDelivery) -> Result<(), LocalError> {
        self.settle(delivery, Settlement::Complete)
    }

    /// The device gives a message back, and the hub sends it again, at once and at most as often as
    /// [`Config::with_max_delivery_count`](crate::Config::with_max_delivery_count) says.
    ///
    /// # Errors
    /// [`LocalError::Closed`], [`LocalError::NotHeld`].
    pub fn abandon(&mut self, delivery: LocalDelivery) -> Result<(), LocalError> {
        self.settle(delivery, Settlement::Abandon)
    }

    /// The device does not want a message: the hub deletes it, and its sender hears so if it asked.
    ///
    /// # Errors
    /// [`LocalError::Closed`], [`LocalError::NotHeld`].
    pub fn reject(&mut self, delivery: LocalDelivery) -> Result<(), LocalError> {
        self.settle(delivery, Settlement::Reject)
    }

    fn settle(&mut self, delivery: LocalDelivery, how: Settlement) -> Result<(), LocalError> {
        self.change(|line, hub, now| line.settle(hub, now, delivery, how))
    }

    /// Asks for the twin under an id of the device's choice. The answer is a [`TwinAnswer`](LocalEvent::TwinAnswer), if the device is subscribed to those.
    ///
    /// # Errors
    /// [`LocalError::Closed`].
    pub fn get_twin(&mut self, request: &str) -> Result<(), LocalError> {
        self.change(|line, hub, now| line.get_twin(hub, now, request))
    }

    /// Reports properties: a JSON object, in which `null` deletes. The answer comes as for [`get_twin`](Self::get_twin).
    ///
    /// # Errors
    /// [`LocalError::Closed`]. What is wrong with the patch is in the answer.
    pub fn report(&mut self, request: &str, patch: &[u8]) -> Result<(), LocalError> {
        self.change(|line, hub, now| line.report(hub, now, request, patch))
    }

    /// Answers the call of a method, known by its [`request`](crate::LocalMethod::request), with a status and JSON or nothing. If nobody waits for it any more, the
    /// hub ignores it.
    ///
    /// # Errors
    /// [`LocalError::Closed`], [`LocalError::Response`].
    pub fn respond(&mut self, request: &str, status: i32, body: impl Into<Bytes>) -> Result<(), LocalError> {
        let body = body.into();
        self.change(|line, hub, now| line.respond(hub, now, request, status, &body))
    }

    /// Ends the connection in order: no last words, and what the device holds waits in its queue again.
    pub fn disconnect(mut self) {
        self.leave(DisconnectReason::ByDevice);
    }

    fn change<R>(&mut self, f: impl FnOnce(&mut Line, &mut HubState, Now) -> R) -> R {
        let line = &mut self.line;
        self.shared.change(|hub, now| f(line, hub, now))
    }

    fn leave(&mut self, why: DisconnectReason) {
        let id = self.line.id();
        self.shared.unregister(id);
        self.shared.change(|hub, now| hub.leave_seat(id, why, now));
    }
}

impl Drop for LocalConnection {
    fn drop(&mut self) {
        self.leave(DisconnectReason::ConnectionLost);
    }
}

impl fmt::Debug for LocalConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalConnection").field("id", &self.line.id()).finish_non_exhaustive()
    }
}
