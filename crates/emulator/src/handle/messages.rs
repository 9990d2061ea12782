//! Messages and the record, as a back end and a test see them.

use std::time::Duration;

use crate::activity::Activity;
use crate::error::{HubError, WaitError};
use crate::guid;
use crate::handle::Hub;
use crate::hub::NOBODY;
use crate::hub::registry::Identity;
use crate::hub::telemetry::MAX_MESSAGE;
use crate::message::C2dMessage;
use crate::mqtt::bag::{MAX_TOPIC, topic_length};
use crate::record::{C2dOutcome, C2dRecord, FeedbackRecord, TelemetryRecord};
use crate::routes::is_name;
use crate::who::Who;

/// The largest cloud-to-device message: body, property names and values (docs/hub-over-mqtt.md 3).
pub(crate) const MAX_C2D_SIZE: usize = 65_536;

/// Messages to devices and modules.
impl Hub {
    /// Enqueues a cloud-to-device message and gives its message id. The hub keeps ids as they are; it does not ask for unique ones.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`], [`HubError::QueueFull`], [`HubError::MessageTooLarge`], [`HubError::InvalidMessage`].
    pub fn send_c2d(&self, device: &str, message: C2dMessage) -> Result<String, HubError> {
        let message_id = message.message_id.clone().unwrap_or_else(guid::random);
        if message.sender.is_some() {
            return Err(invalid("sender", "is for input messages only; leave it out"));
        }
        check_message(&Identity::device(device), &message_id, &message, MAX_C2D_SIZE)?;
        self.change(|hub, now| hub.send_c2d(device, message_id.clone(), message, now))?;
        Ok(message_id)
    }

    /// The device's pending messages, in order.
    #[must_use]
    pub fn c2d_queue(&self, device: &str) -> Vec<C2dRecord> {
        self.read(|hub, now| hub.queue(&Identity::device(device), now))
    }

    /// How the device's messages ended, in order.
    #[must_use]
    pub fn c2d_outcomes(&self, device: &str) -> Vec<C2dOutcome> {
        self.read(|hub, _| hub.outcomes(&Identity::device(device)).cloned().collect())
    }

    /// Removes the device's pending messages and says how many there were.
    pub fn purge_c2d(&self, device: &str) -> usize {
        self.change(|hub, now| hub.purge(&Identity::device(device), now))
    }

    /// Enqueues a message to an input of a module of an Edge device ([`Config::with_edge_routes`](crate::Config::with_edge_routes)), as if a route led there,
    /// and gives its message id. It needs no [`sender`](C2dMessage::sender), and there is no feedback on it.
    ///
    /// # Errors
    /// [`HubError::DeviceNotFound`], [`HubError::ModuleNotFound`], [`HubError::NoInputs`], [`HubError::QueueFull`], [`HubError::MessageTooLarge`],
    /// [`HubError::InvalidMessage`].
    pub fn send_input<'a>(
        &self,
        who: impl Into<Who<'a>>,
        input: &str,
        mut message: C2dMessage,
    ) -> Result<String, HubError> {
        let identity = Identity::from(who.into());
        if !is_name(input) {
            return Err(invalid(
                "input",
                "is no name: give at least one character, without / + # * and control characters",
            ));
        }
        if message.ack.is_some() {
            return Err(invalid("ack", "asks for feedback, which input messages do not have; leave it out"));
        }
        let message_id = message.message_id.get_or_insert_with(guid::random).clone();
        message.input = Some(input.to_owned());
        check_message(&identity, &message_id, &message, MAX_MESSAGE)?;
        self.change(|hub, now| hub.send_input(&identity, message_id.clone(), message, now))?;
        Ok(message_id)
    }

    /// The pending messages to the module's inputs, in order.
    #[must_use]
    pub fn input_queue<'a>(&self, who: impl Into<Who<'a>>) -> Vec<C2dRecord> {
        let identity = Identity::from(who.into());
        self.read(|hub, now| if identity.module.is_some() { hub.queue(&identity, now) } else { Vec::new() })
    }

    /// How the messages to the module's inputs ended, in order.
    #[must_use]
    pub fn input_outcomes<'a>(&self, who: impl Into<Who<'a>>) -> Vec<C2dOutcome> {
        let identity = Identity::from(who.into());
        self.read(
            |hub, _| if identity.module.is_some() { hub.outcomes(&identity).cloned().collect() } else { Vec::new() },
        )
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

/// Messages from devices and modules, and what happened.
impl Hub {
    /// The stored telemetry of the device, or of the module, in order.
    #[must_use]
    pub fn telemetry<'a>(&self, who: impl Into<Who<'a>>) -> Vec<TelemetryRecord> {
        let identity = Identity::from(who.into());
        self.read(|hub, _| hub.telemetry(&identity).cloned().collect())
    }

    /// All stored telemetry, in order.
    #[must_use]
    pub fn all_telemetry(&self) -> Vec<TelemetryRecord> {
        self.read(|hub, _| hub.all_telemetry())
    }

    /// How many messages of the device, or of the module, are stored.
    #[must_use]
    pub fn telemetry_count<'a>(&self, who: impl Into<Who<'a>>) -> usize {
        let identity = Identity::from(who.into());
        self.read(|hub, _| hub.telemetry_count(&identity))
    }

    /// Waits until at least `count` messages of the device, or of the module, are stored, and gives all of them.
    ///
    /// # Errors
    /// [`WaitError`] says how many there were after `limit` of real time.
    pub fn wait_for_telemetry<'a>(
        &self,
        who: impl Into<Who<'a>>,
        count: usize,
        limit: Duration,
    ) -> Result<Vec<TelemetryRecord>, WaitError> {
        let who = who.into();
        let enough = self.shared.wait(limit, || (self.telemetry_count(who) >= count).then_some(()));
        enough.map(|()| self.telemetry(who)).ok_or_else(|| WaitError {
            what: format!("{count} telemetry messages of '{}'", Identity::from(who)),
            limit,
            found: format!("{} are stored", self.telemetry_count(who)),
        })
    }

    /// What happened on the connections of the device, or of the module, in order. A refused CONNECT counts as that of whom its user name claims.
    #[must_use]
    pub fn activity<'a>(&self, who: impl Into<Who<'a>>) -> Vec<Activity> {
        let identity = Identity::from(who.into());
        self.read(|hub, _| hub.activity(&identity).cloned().collect())
    }

    /// What happened on connections that never said whose they are.
    #[must_use]
    pub fn unattributed_activity(&self) -> Vec<Activity> {
        self.read(|hub, _| hub.activity(&NOBODY).cloned().collect())
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

/// Whether a message can be carried to its device or module, over every protocol.
pub(crate) fn check_message(
    identity: &Identity,
    message_id: &str,
    message: &C2dMessage,
    limit: usize,
) -> Result<(), HubError> {
    let size = message.size();
    if size > limit {
        return Err(HubError::MessageTooLarge { size, limit });
    }
    if message.properties.iter().any(|(name, _)| name.is_empty()) {
        return Err(invalid("property", "has an empty name; give it one"));
    }
    match topic_length(identity, message_id, message) {
        topic if topic > MAX_TOPIC => {
            let problem =
                format!("make an MQTT topic of {topic} bytes, percent-encoded; {MAX_TOPIC} are possible: shorten them");
            Err(invalid("properties", &problem))
        }
        _ => Ok(()),
    }
}

fn invalid(field: &'static str, problem: &str) -> HubError {
    HubError::InvalidMessage { field, problem: problem.to_owned() }
}
