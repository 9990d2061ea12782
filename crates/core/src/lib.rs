//! The client engine of `iothub-client`.
//!
//! This crate holds everything that is not a protocol: messages, the queue and its bounds, credentials, the
//! connection's life with its retries, and the [`Transport`] trait that protocols implement. It has no sockets, no
//! TLS, no runtime and no clock of its own; users reach it through the facade crate `iothub-client`.

mod answers;
mod client;
mod connection_error;
mod connection_string;
mod create_error;
mod credential;
mod edge;
mod endpoint;
mod event;
mod http_engine;
mod identity;
mod incoming;
mod json;
mod lane;
pub mod limits;
mod message;
mod method;
mod options;
mod platform;
mod pnp;
mod proxy;
mod retry;
mod secret;
mod shared_transport;
mod signer;
mod status;
mod system_property;
mod timestamp;
mod transport;
mod twin;
mod way_error;

pub use client::{
    Client, ClientBuilder, Device, DeviceClient, Face, Module, ModuleClient, Outbox, Stats, Waits, wait_any,
};
pub use connection_error::{ConnectStage, ConnectionError, ConnectionErrorKind};
pub use connection_string::{Authentication, ConnectionString, ConnectionStringError, Gateway};
pub use create_error::CreateError;
pub use credential::{Credential, CredentialError, SharedAccessKey, SharedAccessSignature};
pub use edge::{EnvironmentError, InvocationError, InvokeError, MethodInvocation, MethodResponse};
pub use endpoint::{CertificateKey, ClientCertificate, Endpoint, Trust};
pub use event::{Event, Refused, RefusedReason, Undelivered, UndeliveredReason};
pub use http_engine::{HttpEngine, HttpError, HttpMethod, HttpProvider, HttpRequest, HttpResponse};
pub use identity::Identity;
pub use incoming::IncomingMessage;
pub use message::{Message, MessageError};
pub use method::MethodRequest;
pub use options::{C_OPTIONS, ClientOption, OptionError, OptionVerdict, TransportOption};
pub use platform::{Now, Platform, Readiness};
pub use pnp::{
    Acknowledgement, JsonText, PropertyError, PropertyKind, PropertyName, PropertyValueError, ReportedProperties,
    TwinProperties, TwinPropertiesError, TwinProperty,
};
pub use proxy::Proxy;
pub use retry::{MIN_DELAY, RetryConfig, RetryPolicy};
pub use secret::Secret;
pub use shared_transport::SharedTransport;
pub use signer::{CertificateSigner, SasSigner, SignError, SignatureScheme};
pub use status::{ConnectionState, ConnectionStatus, ConnectionStatusReason, SendStatus, StatusChange};
pub use system_property::{SECURITY_INTERFACE, SystemProperty};
pub use transport::{
    Capabilities, Delivery, Disposition, Feature, Op, OpError, OpId, Provider, Redelivery, Registration, Renewal,
    Reply, Slot, Submit, Transport, TransportEvent, Unsupported,
};
pub use twin::{DesiredPatch, PatchError, Reported, Twin, TwinError, TwinUpdate};
pub use way_error::{ProxyError, WebSocketError};
