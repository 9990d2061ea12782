//! A network in memory, for tests of transports.
//!
//! [`pair`] makes a [`Stream`](crate::Stream) and the [`PeerEnd`] that plays the other side: it sends, receives,
//! closes, cuts the connection at an exact byte, and makes reads and writes as small as a test wants them.
//! [`network`] makes a [`Connect`](crate::Connect) that hands out such streams, or errors, by script; a
//! [`WebSocketConnector`](crate::WebSocketConnector) can stand on it. Nothing here has
//! a descriptor or a clock, so tests run in virtual time; a client that waits for real is woken by its waker.
//!
//! ```
//! use iothub_core::{ConnectionErrorKind, Now};
//! use iothub_net::{Connect, memory};
//! use std::io::Write;
//!
//! let (mut connect, script) = memory::network("hub.example", 8883);
//! script.fail(ConnectionErrorKind::Refused);
//! let mut peer = script.accept();
//!
//! let now = Now::system();
//! connect.start(now);
//! assert!(matches!(connect.poll(now), std::task::Poll::Ready(Err(_))));
//! connect.start(now);
//! let std::task::Poll::Ready(Ok(mut stream)) = connect.poll(now) else { panic!("it was scripted to succeed") };
//! stream.write_all(b"CONNECT")?;
//! stream.flush()?;
//! assert_eq!(peer.receive(), b"CONNECT");
//! # std::io::Result::Ok(())
//! ```

mod pipe;
mod proxy;
mod script;

pub use pipe::{PeerEnd, pair};
pub use proxy::proxy_answer;
pub use script::{Script, ScriptedConnect, network};
