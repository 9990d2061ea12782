//! HTTP and HTTPS for iothub-client: reqwest, driven a slice at a time.
//!
//! A client has business over HTTPS beside its transport: an IoT Edge module asks the security daemon for signatures, and calls
//! methods through its gateway. [`Https`] makes the engine for that. An engine owns a single-threaded tokio runtime that
//! runs only inside `do_work`: nothing moves between two calls, and an engine with nothing under way costs nothing. It
//! speaks `http://`, `https://` with the client's own trust, and HTTP over unix sockets; it sends each request once, follows
//! no redirect, and asks no proxy of the system.
//!
//! No type of reqwest, tokio or rustls is in a public signature.

mod clients;
mod engine;
mod error;
mod exchange;
mod provider;
mod runtime;

pub use provider::Https;
