//! The errors of the public API: starting, the service side, and waiting.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Why the emulator did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The listener's address could not be bound.
    #[error("cannot listen on {address}: {source}; choose a free port, or port 0 to be given one")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The unix socket could not be opened.
    #[error("cannot listen on the unix socket {}: {source}; choose a path that is free", path.display())]
    ListenOnSocket {
        /// The path that was asked for.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The certificate authority or the server certificate could not be made.
    #[error("cannot make the emulator's certificates: {0}; check that every host name is a DNS name or an IP address")]
    Certificate(String),
    /// A setting is outside its limits.
    #[error("config: {field} {problem}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// The server thread or its runtime could not be created.
    #[error("cannot start the server thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Why a call on the service side was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// No device has this id (404001 DeviceNotFound).
    #[error("no device '{device}' in the registry; create it first")]
    DeviceNotFound {
        /// The id that was asked for.
        device: String,
    },
    /// A device with this id exists already (409001 DeviceAlreadyExists).
    #[error("device '{device}' exists already; delete it first or choose another id")]
    DeviceExists {
        /// The id that is taken.
        device: String,
    },
    /// The device has no module with this id (404010 ModuleNotFound).
    #[error("device '{device}' has no module '{module}' in the registry; create it first")]
    ModuleNotFound {
        /// The device.
        device: String,
        /// The id that was asked for.
        module: String,
    },
    /// The device has a module with this id already (409301 ModuleAlreadyExistsOnDevice).
    #[error("device '{device}' has a module '{module}' already; delete it first or choose another id")]
    ModuleExists {
        /// The device.
        device: String,
        /// The id that is taken.
        module: String,
    },
    /// The device has as many modules as it may have (413003 TooManyModulesOnDevice).
    #[error("413003: device '{device}' has {limit} modules, and more are not allowed; delete one first")]
    TooManyModules {
        /// The device.
        device: String,
        /// How many it may have.
        limit: usize,
    },
    /// The id breaks the hub's rules, which are those for a device id.
    #[error(
        "'{module}' is no module id (device '{device}'): {problem}; use 1 to 128 ASCII letters, digits and -.+%_#*?!(),:=@$'"
    )]
    InvalidModuleId {
        /// The device.
        device: String,
        /// The id that was given.
        module: String,
        /// Which rule it breaks.
        problem: &'static str,
    },
    /// There is nothing that takes input messages: only the modules of a device with edge routes do
    /// ([`Config::with_edge_routes`](crate::Config::with_edge_routes)).
    #[error("'{identity}' takes no input messages: {problem}")]
    NoInputs {
        /// The device, or `device/module`.
        identity: String,
        /// Why, and what to do.
        problem: &'static str,
    },
    /// The id breaks the hub's rules: 1 to 128 ASCII letters, digits or ``- . % _ * ? ! ( ) , : = @ $ '``, `+` and `#`.
    #[error("'{device}' is no device id: {problem}; use 1 to 128 ASCII letters, digits and -.+%_#*?!(),:=@$'")]
    InvalidDeviceId {
        /// The id that was given.
        device: String,
        /// Which rule it breaks.
        problem: &'static str,
    },
    /// A symmetric key is not base64, or not 16 to 64 bytes long. The key itself is not shown.
    #[error("the {which} key of device '{device}' is not usable: {problem}; give 16 to 64 bytes in base64")]
    InvalidKey {
        /// The device, or `device/module`.
        device: String,
        /// `primary` or `secondary`.
        which: &'static str,
        /// Which rule it breaks.
        problem: &'static str,
    },
    /// A thumbprint is neither a SHA-256 nor a SHA-1 in hex.
    #[error(
        "'{thumbprint}' of device '{device}' is no thumbprint: give the 64 hex digits of the certificate's SHA-256, or the 40 of its SHA-1"
    )]
    InvalidThumbprint {
        /// The device, or `device/module`.
        device: String,
        /// The text that was given.
        thumbprint: String,
    },
    /// The call needs symmetric keys and the device has none.
    #[error("device '{device}' does not authenticate with symmetric keys")]
    NoSymmetricKey {
        /// The device, or `device/module`.
        device: String,
    },
    /// 50 messages are pending for this device (403004 DeviceMaximumQueueDepthExceeded; docs/hub-over-mqtt.md 3), or as many
    /// input messages for this module as are allowed.
    #[error(
        "403004: {pending} messages are pending for '{device}' and the limit is {limit}; let it settle some, or purge the queue"
    )]
    QueueFull {
        /// The device, or `device/module`.
        device: String,
        /// How many are pending.
        pending: usize,
        /// How many may be.
        limit: usize,
    },
    /// A message is over its limit, properties included: 64 KiB for cloud-to-device (docs/hub-over-mqtt.md 3), 256 KiB for input messages (2.4).
    #[error("a message of {size} bytes is over the limit of {limit} (body, property names and values)")]
    MessageTooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A message cannot be carried as it is.
    #[error("message: {field} {problem}")]
    InvalidMessage {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A change of a twin breaks its rules (400004; docs/hub-over-mqtt.md 4.3). Nothing was changed.
    #[error("400004: the {section} of '{device}' cannot be changed so: {problem}")]
    InvalidTwin {
        /// The device, or `device/module`.
        device: String,
        /// `tags`, `desired properties` or `reported properties`.
        section: &'static str,
        /// Which rule it breaks.
        problem: String,
    },
    /// A key or a certificate could not be made.
    #[error("cannot make keys for '{device}': {problem}")]
    KeyGeneration {
        /// The device, or `device/module`.
        device: String,
        /// What went wrong.
        problem: String,
    },
}

/// What was waited for did not happen in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("waited {limit:?} for {what}; {found}")]
#[non_exhaustive]
pub struct WaitError {
    /// What was waited for.
    pub what: String,
    /// How long, in real time.
    pub limit: Duration,
    /// What was there instead.
    pub found: String,
}
