//! A certificate authority, TLS servers on threads, and a loop that drives a connector as a client would.

pub(crate) mod authority;
pub(crate) mod log;
pub(crate) mod server;
pub(crate) mod websocket;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use iothub_core::{ClientCertificate, ConnectionError, ConnectionErrorKind, Endpoint, Now, Platform, Trust};
use iothub_net::{Connect, Connector, Resolve, Stream, SystemPlatform};

use self::authority::Authority;

/// For waits that end by an event; long enough for any machine, short enough for a person.
pub(crate) const GENEROUS: Duration = Duration::from_secs(30);

/// The connectors' time-out, which only passes where a test passes it.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3600);

/// Answers each attempt with the next list of addresses.
pub(crate) struct Scripted(pub(crate) VecDeque<Result<Vec<SocketAddr>, String>>);

impl Scripted {
    pub(crate) fn always(addresses: impl Into<Vec<SocketAddr>>) -> Self {
        Self([Ok(addresses.into())].into())
    }
}

impl Resolve for Scripted {
    fn resolve(&mut self, _host: &str, _port: u16, _waker: &Waker) -> Poll<Result<Vec<SocketAddr>, String>> {
        Poll::Ready(self.0.pop_front().expect("one answer for each attempt"))
    }
}

/// An endpoint that trusts only this authority.
pub(crate) fn endpoint(host: &str, authority: &Authority) -> Endpoint {
    let mut endpoint = Endpoint::new(host);
    endpoint.trust = Trust::Pem(authority.pem());
    endpoint
}

pub(crate) fn with_certificate(mut endpoint: Endpoint, chain: &str, key: &str) -> Endpoint {
    endpoint.certificate = Some(ClientCertificate::from_pem(chain, key));
    endpoint
}

/// A connector to these addresses, whatever the host is called.
pub(crate) fn connector(endpoint: &Endpoint, addresses: impl Into<Vec<SocketAddr>>) -> Connector {
    let port = 8883;
    Connector::new(endpoint, port, TIMEOUT, Some(Box::new(Scripted::always(addresses)))).expect("a good endpoint")
}

/// Connects as a client does: poll, park on what the connector asks for, poll again.
pub(crate) fn connect(connector: &mut dyn Connect) -> Result<Stream, ConnectionError> {
    connect_at(connector, Duration::ZERO)
}

/// Connects with a clock that is ahead.
pub(crate) fn connect_at(connector: &mut dyn Connect, ahead: Duration) -> Result<Stream, ConnectionError> {
    let mut platform = SystemPlatform::new().expect("a platform");
    connector.set_waker(&platform.waker());
    connector.start(platform.now() + ahead);
    drive(connector, &mut platform, ahead)
}

/// Goes on until the attempt is over.
pub(crate) fn drive(
    connector: &mut dyn Connect,
    platform: &mut SystemPlatform,
    ahead: Duration,
) -> Result<Stream, ConnectionError> {
    let limit = Instant::now() + GENEROUS;
    loop {
        platform.clear_wakes();
        if let Poll::Ready(outcome) = connector.poll(platform.now() + ahead) {
            return outcome;
        }
        assert!(Instant::now() < limit, "the attempt never ended");
        let mut on = Vec::new();
        connector.readiness(&mut on);
        platform.park(&on, Some(limit));
    }
}

/// Polls until something readable or writable made the attempt move into a stage that the test wants, shown by
/// `arrived`.
pub(crate) fn drive_until(connector: &mut Connector, now: Now, mut arrived: impl FnMut(&Connector) -> bool) {
    let mut platform = SystemPlatform::new().expect("a platform");
    let limit = Instant::now() + GENEROUS;
    loop {
        assert!(connector.poll(now).is_pending(), "the attempt ended early");
        if arrived(connector) {
            return;
        }
        assert!(Instant::now() < limit, "the attempt never got there");
        let mut on = Vec::new();
        connector.readiness(&mut on);
        platform.park(&on, Some(limit));
    }
}

pub(crate) fn kind(outcome: Result<Stream, ConnectionError>) -> ConnectionErrorKind {
    outcome.expect_err("the attempt must fail").kind
}

/// Waits until the stream has something to say.
pub(crate) fn wait(stream: &Stream, want_write: bool) {
    let mut on = Vec::new();
    stream.readiness(true, want_write, &mut on);
    let mut platform = SystemPlatform::new().expect("a platform");
    let limit = Instant::now() + GENEROUS;
    platform.park(&on, Some(limit));
    assert!(Instant::now() < limit, "the stream never became ready");
}

/// Reads once, waiting as long as there is nothing.
pub(crate) fn read_some(stream: &mut Stream, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buf) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(stream, false),
            done => return done,
        }
    }
}

/// Reads to the end of the connection.
pub(crate) fn read_to_end(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buf = [0; 4096];
    loop {
        match read_some(stream, &mut buf)? {
            0 => return Ok(all),
            n => all.extend_from_slice(&buf[..n]),
        }
    }
}

/// Writes and flushes everything, waiting as long as there is no room.
pub(crate) fn send(stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
    loop {
        let outcome = if bytes.is_empty() {
            match stream.flush() {
                Ok(()) => return Ok(()),
                Err(error) => Err(error),
            }
        } else {
            stream.write(bytes).map(|n| bytes = &bytes[n..])
        };
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(stream, true),
            other => other?,
        }
    }
}

/// Says `hello` to a server that does [`server::hello`], and reads its answer.
pub(crate) fn greet(connector: &mut Connector) {
    let mut stream = connect(connector).expect("a connection");
    send(&mut stream, b"hello").expect("a way out");
    assert_eq!(read_to_end(&mut stream).expect("an answer"), b"hub");
}
