//! Sockets, TLS and the real clock for iothub-client.
//!
//! Four things, each usable alone:
//!
//! - [`Connector`] opens connections: it looks the name up, tries every address, asks a proxy for a tunnel if there is
//!   one, speaks TLS, and hands out a [`Stream`]. It is a machine that moves when polled, never blocks, and takes the
//!   time as an argument.
//! - [`WebSocketConnector`] makes WebSockets of the connections of another.
//! - [`Stream`] carries bytes without blocking, whatever lies below it.
//! - [`SystemPlatform`] is the real clock, parking and waking.
//!
//! Transports hold a `Box<dyn Connect>`, so that their tests can put the in-memory network of [`memory`] below them.
//! There is no protocol here, no retry, and no type of a TLS or poll library in a public signature.

mod connect;
mod connector;
mod dial;
mod http;
pub mod memory;
mod options;
mod platform;
mod resolve;
mod stream;
mod tcp;
#[doc(hidden)]
pub mod tls;
mod websocket;

pub use connect::Connect;
pub use connector::Connector;
pub use dial::Dial;
pub use options::TimeRange;
pub use platform::SystemPlatform;
pub use resolve::Resolve;
pub use stream::Stream;
pub use tcp::TcpKeepAlive;
pub use websocket::WebSocketConnector;
