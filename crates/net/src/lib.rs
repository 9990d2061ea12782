//! Sockets, TLS and the real clock for iothub-client.
//!
//! Three things, each usable alone:
//!
//! - [`Connector`] opens connections: it looks the name up, tries every address, speaks TLS, and hands out a
//!   [`Stream`]. It is a machine that moves when polled, never blocks, and takes the time as an argument.
//! - [`Stream`] carries bytes without blocking, whatever lies below it.
//! - [`SystemPlatform`] is the real clock, parking and waking.
//!
//! Transports hold a `Box<dyn Connect>`, so that their tests can put the in-memory network of [`memory`] below them.
//! There is no protocol here, no retry, and no type of a TLS or poll library in a public signature.

mod connect;
mod connector;
pub mod memory;
mod platform;
mod resolve;
mod stream;
mod tcp;
#[doc(hidden)]
pub mod tls;

pub use connect::Connect;
pub use connector::Connector;
pub use platform::SystemPlatform;
pub use resolve::Resolve;
pub use stream::Stream;
pub use tcp::TcpKeepAlive;
