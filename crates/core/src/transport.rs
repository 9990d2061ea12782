//! The contract between the engine and a transport.
//!
//! It mirrors the vtable of `iothub_transport_ll.h` as an object-safe, non-blocking trait. The division of labour:
//! a transport speaks its protocol and nothing more. It never retries, drops or keeps: [`submit`](Transport::submit)
//! lends it an operation, which it encodes at once, and the engine keeps the only copy until the outcome. Events
//! are values that the engine collects; a transport never calls into the engine.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;

use crate::connection_error::ConnectionError;
use crate::create_error::CreateError;
use crate::endpoint::{ClientCertificate, Endpoint, Trust};
use crate::identity::Identity;
use crate::message::Message;
use crate::options::{OptionError, TransportOption};
use crate::platform::{Now, Platform, Readiness};

/// Makes transports, and names the platform that they run on; what `MQTT_Protocol` is in C.
#[doc(alias = "IOTHUB_CLIENT_TRANSPORT_PROVIDER")]
pub trait Provider {
    /// Creates a transport for this endpoint. Nothing goes on the wire yet.
    #[doc(alias = "IoTHubTransport_Create")]
    fn transport(&self, endpoint: &Endpoint) -> Result<Box<dyn Transport>, CreateError>;

    /// Creates the clock, parking and waking that suit the transport.
    fn platform(&self) -> Result<Box<dyn Platform>, CreateError>;
}

/// One registered device on a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// An operation's name, unique within a client; transports only echo it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// Who registers: its identity, what it says about itself, and how to wake it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Registration {
    /// Hub, device and module.
    pub identity: Identity,
    /// The text that names this client to the hub (MQTT: `DeviceClientType`).
    #[doc(alias = "IoTHubTransport_GetSupportedPlatformInfo")]
    pub product_info: String,
    /// The Plug and Play model, if there is one.
    pub model_id: Option<String>,
    /// Wakes the client when another client's `do_work` produced an event for this one.
    pub waker: Waker,
}

impl Registration {
    /// A registration without a model.
    pub fn new(identity: Identity, product_info: impl Into<String>, waker: Waker) -> Self {
        Self { identity, product_info: product_info.into(), model_id: None, waker }
    }
}

/// What a client can ask to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// Cloud-to-device messages.
    CloudToDevice,
    /// The answers to twin requests; whoever asks for the twin or reports state needs them.
    Twin,
    /// Changes of the twin's desired properties.
    DesiredProperties,
    /// Direct methods.
    Methods,
    /// Messages to the inputs of a module.
    Inputs,
}

impl std::fmt::Display for Feature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::CloudToDevice => "cloud-to-device messages",
            Self::Twin => "twin",
            Self::DesiredProperties => "desired properties",
            Self::Methods => "direct methods",
            Self::Inputs => "module inputs",
        })
    }
}

/// What the application decides about a message.
#[doc(alias = "IOTHUBMESSAGE_DISPOSITION_RESULT")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// Done: the hub deletes it.
    #[doc(alias = "IOTHUBMESSAGE_ACCEPTED")]
    Accept,
    /// Refused: the hub deletes it and says so to the sender. AMQP and HTTP only.
    #[doc(alias = "IOTHUBMESSAGE_REJECTED")]
    Reject,
    /// Not now: the hub delivers it again.
    #[doc(alias = "IOTHUBMESSAGE_ABANDONED")]
    Abandon,
}

impl std::fmt::Display for Disposition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Abandon => "abandon",
        })
    }
}

/// What a transport can do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Capabilities {
    /// The name that users know: `mqtt`, `amqp`, ...
    pub name: &'static str,
    /// How many devices can register at once.
    pub max_devices: usize,
    /// What can be subscribed to.
    pub features: &'static [Feature],
    /// Which dispositions exist.
    pub dispositions: &'static [Disposition],
    /// How a token is replaced before it expires.
    pub renewal: Renewal,
    /// When the hub delivers an abandoned message again.
    pub redelivery: Redelivery,
}

/// How a transport replaces a token that is about to expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Renewal {
    /// By a new connection, for which the engine drains the old one.
    Reconnect,
    /// By [`Transport::renew`] on the connection that there is: nothing ends, and nothing is told.
    InPlace,
}

/// When the hub delivers an abandoned message again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Redelivery {
    /// On the next connection: abandoning is no answer on the wire, the message is just never acknowledged.
    AfterReconnect,
    /// At once, until it has come too often. Then the hub gives it up, so the engine does not abandon for want of a
    /// callback.
    AtOnce,
}

impl Capabilities {
    /// A transport for one device, without features or dispositions; set the fields that differ.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            max_devices: 1,
            features: &[],
            dispositions: &[],
            renewal: Renewal::Reconnect,
            redelivery: Redelivery::AfterReconnect,
        }
    }
}

/// A delivery that can be answered: opaque to the engine, which only echoes it.
///
/// `generation` counts the transport's connections, so that an answer for a dead one is recognised and never put on
/// the wire of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delivery {
    /// Which connection it came on.
    pub generation: u32,
    /// Which message of that connection.
    pub key: u64,
}

/// An operation, lent to a transport.
#[derive(Debug)]
#[non_exhaustive]
pub enum Op<'a> {
    /// Send a device-to-cloud message.
    Telemetry(&'a Message),
    /// Settle a received message.
    Settle {
        /// Which.
        delivery: Delivery,
        /// How.
        disposition: Disposition,
    },
    /// Ask for the whole twin.
    TwinGet,
    /// Send a patch of the reported properties: a JSON object, `null` deletes.
    TwinReport(&'a [u8]),
    /// Answer a direct method.
    MethodResponse {
        /// Which call.
        delivery: Delivery,
        /// The status for the caller.
        status: i32,
        /// JSON, or nothing.
        body: &'a [u8],
    },
}

/// What became of a submitted operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Submit {
    /// The transport has encoded it; a [`TransportEvent::Done`] or a [`TransportEvent::Down`] follows.
    Taken,
    /// No room in this operation's lane: submit again after `do_work`.
    Full,
    /// It will never be done; no event follows.
    Refused(OpError),
}

/// The hub's answer to an operation that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// It is done.
    Ack,
    /// The twin: `{"desired":{..},"reported":{..}}`.
    Twin(Bytes),
    /// The reported properties are stored.
    Reported {
        /// Their new version, if the hub told it.
        version: Option<u64>,
    },
}

/// Why an operation failed, other than by the loss of the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// The connection that the answer belongs to is gone; the hub delivers the message again.
    #[error("the connection that this came on is gone, so the answer was not sent")]
    Stale,
    /// The hub refused it, and would refuse it again.
    #[error("the hub refused it: {0}")]
    Rejected(String),
    /// The hub did not take it now, and may take the same later: it throttles, a quota is used up, or it has trouble of its
    /// own.
    #[error("the hub does not take it now: {0}")]
    NotNow(String),
    /// The hub refused the batch that it was sent in. The engine sends each message of the batch again, alone, so that
    /// the one that is at fault fails by itself.
    #[error("the hub refused the batch that this was sent in: {0}")]
    BatchRejected(String),
    /// The hub answered with a status that means failure.
    #[error("the hub answered {status}{}{detail}", if detail.is_empty() { "" } else { ": " })]
    Status {
        /// The status, as in HTTP: 400 and up.
        status: u16,
        /// What the hub said.
        detail: String,
    },
    /// The transport cannot carry it.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

/// Something that this transport cannot carry; said when it is asked for, before anything is queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// The message is larger than the hub takes.
    #[error(
        "the message has {size} bytes (payload, property names and values), the hub takes {limit}: send less, or split it"
    )]
    MessageTooLarge {
        /// Its size by the hub's rule.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The properties make the MQTT topic longer than the protocol allows.
    #[error(
        "the properties make an MQTT topic of {length} bytes, the protocol takes {limit}: use fewer or shorter properties"
    )]
    TopicTooLong {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// A property that the transport has no place for.
    #[error("{transport} cannot carry the property {property}: leave it out, or use another transport")]
    Property {
        /// Which property.
        property: &'static str,
        /// Which transport.
        transport: &'static str,
    },
    /// A disposition that the transport does not have.
    #[error("{transport} cannot {disposition} a message: use AMQP or HTTP for that, or complete or abandon it")]
    Disposition {
        /// Which disposition.
        disposition: Disposition,
        /// Which transport.
        transport: &'static str,
    },
    /// Something that modules do not have.
    #[error("a module has no {feature}: use the client of its device, or the module's inputs")]
    ByModule {
        /// Which feature.
        feature: Feature,
    },
    /// Something that only modules have.
    #[error("a device has no {what}: create a ModuleClient with the identity of a module")]
    ByDevice {
        /// What it is.
        what: &'static str,
    },
    /// A feature that the transport does not have.
    #[error("{transport} has no {feature}: use another transport")]
    Feature {
        /// Which feature.
        feature: Feature,
        /// Which transport.
        transport: &'static str,
    },
}

/// What happened on a transport.
#[derive(Debug)]
#[non_exhaustive]
pub enum TransportEvent {
    /// The hub accepted the connection; operations can be submitted, subscriptions are not yet granted.
    Connected {
        /// Whether the hub had kept a session.
        session_present: bool,
    },
    /// Every wanted subscription is answered.
    Ready,
    /// The hub refused a subscription; `Ready` follows all the same.
    SubscriptionRefused {
        /// Of what.
        feature: Feature,
        /// What the hub said.
        detail: String,
    },
    /// The connection could not be made, or was lost. Every submitted operation without an outcome is lost.
    Down(ConnectionError),
    /// A disconnect that the engine asked for is complete.
    Disconnected,
    /// An operation has its outcome.
    Done {
        /// Which.
        id: OpId,
        /// What became of it.
        result: Result<Reply, OpError>,
    },
    /// A message arrived.
    Message {
        /// The message.
        message: Message,
        /// The input that it came to, if it is for a module's input; `None` for a cloud-to-device message.
        input: Option<String>,
        /// How to settle it.
        delivery: Delivery,
    },
    /// The desired properties changed: the changed members and `$version`.
    DesiredProperties(Bytes),
    /// A direct method is called.
    Method {
        /// Its name.
        name: String,
        /// JSON, or nothing.
        body: Bytes,
        /// How to answer it.
        delivery: Delivery,
    },
}

/// A protocol, driven by the engine.
///
/// All functions return at once. After each call the engine may ask for [`next_deadline`](Self::next_deadline) and
/// [`readiness`](Self::readiness), and collects events until there are none.
#[doc(alias = "IoTHubTransport_Destroy")]
pub trait Transport: Send {
    /// What it can do.
    fn capabilities(&self) -> &Capabilities;

    /// The host and port that it connects to.
    #[doc(alias = "IoTHubTransport_GetHostname")]
    fn peer(&self) -> (Arc<str>, u16);

    /// Whether it could carry the operation: exact size, topic length, properties, disposition.
    fn check(&self, op: &Op<'_>) -> Result<(), Unsupported>;

    /// Sets an option of the transport. See [`TransportOption`] for when each takes effect.
    #[doc(alias = "IoTHubTransport_SetOption")]
    fn set_option(&mut self, option: &TransportOption) -> Result<(), OptionError> {
        Err(OptionError::NotOfTransport { option: option.name(), transport: self.capabilities().name })
    }

    /// Shows another certificate from the next connection on; `None` shows none.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if the certificate cannot be used, or the transport cannot change it.
    fn set_certificate(&mut self, slot: Slot, certificate: Option<&ClientCertificate>) -> Result<(), CreateError> {
        let _ = (slot, certificate);
        let detail = "it cannot change the certificate of a client: create another client".to_owned();
        Err(CreateError::Register { transport: self.capabilities().name, detail })
    }

    /// Trusts other authorities from the next connection on.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if the certificates cannot be used, or the transport cannot change them.
    fn set_trust(&mut self, slot: Slot, trust: &Trust) -> Result<(), CreateError> {
        let _ = (slot, trust);
        let detail = "it cannot change whom a client trusts: create another client".to_owned();
        Err(CreateError::Register { transport: self.capabilities().name, detail })
    }

    /// Takes in a device.
    #[doc(alias = "IoTHubTransport_Register")]
    fn register(&mut self, device: Registration) -> Result<Slot, CreateError>;

    /// Lets a device go; its connection ends and no further event comes for it.
    #[doc(alias = "IoTHubTransport_Unregister")]
    fn unregister(&mut self, slot: Slot);

    /// Says what the device wants to receive. Declarative: the transport reconciles it with the hub at once if it is
    /// connected, and anew on every connect.
    #[doc(alias = "IoTHubTransport_Subscribe")]
    #[doc(alias = "IoTHubTransport_Unsubscribe")]
    #[doc(alias = "IoTHubTransport_Subscribe_DeviceTwin")]
    #[doc(alias = "IoTHubTransport_Unsubscribe_DeviceTwin")]
    #[doc(alias = "IoTHubTransport_Subscribe_DeviceMethod")]
    #[doc(alias = "IoTHubTransport_Unsubscribe_DeviceMethod")]
    #[doc(alias = "IoTHubTransport_Subscribe_InputQueue")]
    #[doc(alias = "IoTHubTransport_Unsubscribe_InputQueue")]
    fn subscribe(&mut self, slot: Slot, wanted: &[Feature]);

    /// Starts to connect; ends in `Connected` or `Down`. The token is the shared access signature, `None` with X.509.
    fn connect(&mut self, slot: Slot, token: Option<&str>, now: Now);

    /// Puts another token in place on the live connection; called only if [`Capabilities::renewal`] is
    /// [`Renewal::InPlace`]. Nothing follows if the hub takes it, else `Down`.
    fn renew(&mut self, slot: Slot, token: &str, now: Now) {
        let _ = (slot, token, now);
    }

    /// Ends the connection in order; `Disconnected` follows.
    fn disconnect(&mut self, slot: Slot, now: Now);

    /// Lends an operation, which is encoded before the call returns. An id that was submitted before a `Down` is the
    /// same operation again (MQTT: same packet id, DUP); resubmissions come before anything new. So is a message that was
    /// refused with its [batch](OpError::BatchRejected): it must not share a batch again.
    #[doc(alias = "IoTHubTransport_ProcessItem")]
    #[doc(alias = "IoTHubTransport_GetTwinAsync")]
    #[doc(alias = "IoTHubTransport_SendMessageDisposition")]
    #[doc(alias = "IoTHubTransport_DeviceMethod_Response")]
    fn submit(&mut self, slot: Slot, id: OpId, op: Op<'_>, now: Now) -> Submit;

    /// The engine has given the operation up; a late outcome is not reported.
    fn forget(&mut self, slot: Slot, id: OpId);

    /// One bounded slice of input, output and timers.
    #[doc(alias = "IoTHubTransport_DoWork")]
    fn do_work(&mut self, now: Now);

    /// Takes the next event for this device.
    #[doc(alias = "IoTHubTransport_SetCallbackContext")]
    fn poll_event(&mut self, slot: Slot) -> Option<TransportEvent>;

    /// When `do_work` must be called even if nothing becomes ready; a time in the past means now.
    fn next_deadline(&self) -> Option<Instant>;

    /// Adds the descriptors to watch.
    fn readiness(&self, out: &mut Vec<Readiness>);
}
