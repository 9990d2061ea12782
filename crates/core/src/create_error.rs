//! Why a client could not be created.

use crate::connection_string::ConnectionStringError;
use crate::credential::CredentialError;
use crate::edge::EnvironmentError;

/// A client could not be created. Nothing was put on the wire.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The connection string is wrong.
    #[error(transparent)]
    ConnectionString(#[from] ConnectionStringError),
    /// The key, signature or certificate is wrong.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The environment is not that of an IoT Edge module.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// A module's identity was given to a device's client.
    #[error("the identity has a module id, so it is a module's: create a ModuleClient, or give a device's identity")]
    ModuleIdentity,
    /// A device's identity was given to a module's client.
    #[error("the identity has no module id, so it is a device's: create a DeviceClient, or give a module's identity")]
    DeviceIdentity,
    /// A parameter does not have the form that the hub asks for.
    #[error("the {name} {problem}")]
    Parameter {
        /// Which parameter.
        name: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// The root or client certificates cannot be used.
    #[error("{what} cannot be used: {detail}")]
    Certificate {
        /// Which certificate or key, by the name of its option.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A transport option is out of range.
    #[error("the option {option} is {value}; it must be {allowed}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The transport cannot take this device.
    #[error("{transport} cannot take this device: {detail}")]
    Register {
        /// Which transport.
        transport: &'static str,
        /// Why not.
        detail: String,
    },
    /// The transport carries one device only.
    #[error(
        "{transport} carries one device a connection and cannot be shared: give each client a transport of its own, or share one of AMQP or HTTP"
    )]
    NotShareable {
        /// Which transport.
        transport: &'static str,
    },
    /// The transport was not compiled in.
    #[error("the transport `{protocol}` is not compiled in: build with `--features {protocol}`")]
    NotCompiledIn {
        /// Its name, which is also the name of the cargo feature.
        protocol: &'static str,
    },
    /// The operating system refused a resource.
    #[error("{what} could not be made: {source}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
}
