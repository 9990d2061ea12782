//! AMQP 1.0 for `iothub-client`.
//!
//! [`Amqp`] is what applications name; [`AmqpTransport`] is the protocol below it, which runs over any
//! [`Connect`](iothub_net::Connect): TLS over TCP, a WebSocket, memory in tests. The feature `ws` adds `AmqpWs`, which is
//! [`Amqp`] over a WebSocket.
//!
//! Frames, sessions and links are `fe2o3-amqp`'s, in tasks of a current-thread runtime that the transport owns and that
//! moves in `do_work` alone, over the library's own stream. No thread is started, no timer of the runtime decides
//! anything, and no message is kept beyond its bytes on the way out. One concern a module:
//!
//! - `provider`, `ws`, `options`: what can be set; `transport`: the engine's contract
//! - `members`, `member`, `submission`: who is registered, where each is, and what is under way for it
//! - `connection`, `life`, `live`: the one connection, whom its end ends, and its traffic
//! - `io`, `frames`, `slices`: the stream, what passes on it, and the runtime
//! - `hub`, `cbs`, `device`, `links`: the tasks of a connection, of tokens, of one device's part and what it attaches
//! - `telemetry`, `inbox`, `twin`, `methods`: its links; `outbox`: what is under way to the first; `pump`: sending on the others
//! - `message`, `encode`, `time`, `names`, `reason`, `outlet`: what is said

mod attach;
mod cbs;
mod connection;
mod device;
mod encode;
mod frames;
mod hub;
mod inbox;
mod io;
mod life;
mod links;
mod live;
mod member;
mod members;
mod message;
mod methods;
mod names;
mod options;
mod outbox;
mod outlet;
mod place;
mod provider;
mod pump;
mod reason;
mod slices;
mod submission;
mod telemetry;
mod time;
mod transport;
mod twin;
#[cfg(test)]
mod wakes;
#[cfg(feature = "ws")]
mod ws;

pub use options::SessionOptions;
pub use provider::Amqp;
pub use transport::AmqpTransport;
#[cfg(feature = "ws")]
pub use ws::AmqpWs;
