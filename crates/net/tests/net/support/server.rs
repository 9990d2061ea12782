//! Servers for one connection each, on a thread, with blocking sockets.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustls::{ProtocolVersion, ServerConfig, ServerConnection, StreamOwned};

use super::GENEROUS;

pub(crate) const BOTH: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
pub(crate) const TLS12: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
pub(crate) const TLS13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

pub(crate) type Tls = StreamOwned<ServerConnection, TcpStream>;

/// A server and what its one connection came to.
pub(crate) struct Server<T> {
    pub(crate) address: SocketAddr,
    thread: JoinHandle<T>,
}

impl<T> Server<T> {
    pub(crate) fn join(self) -> T {
        self.thread.join().expect("the server must not panic")
    }
}

/// Accepts one TCP connection.
pub(crate) fn tcp<T: Send + 'static>(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> Server<T> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let thread = thread::spawn(move || {
        wait_for_client(&listener);
        let (socket, _) = listener.accept().expect("a connection");
        socket.set_nodelay(true).expect("an option");
        socket.set_read_timeout(Some(GENEROUS)).expect("an option");
        serve(socket)
    });
    Server { address, thread }
}

/// A client that never comes must not hold the test.
fn wait_for_client(listener: &TcpListener) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec { tv_sec: GENEROUS.as_secs() as i64, tv_nsec: 0 };
    let mut watched = [PollFd::new(listener, PollFlags::IN)];
    assert_eq!(poll(&mut watched, Some(&limit)).expect("a poll"), 1, "nobody came");
}

/// Accepts one TLS connection. The handshake happens at the first read or write.
pub(crate) fn tls<T: Send + 'static>(
    config: Arc<ServerConfig>,
    serve: impl FnOnce(Tls) -> T + Send + 'static,
) -> Server<T> {
    tcp(move |socket| serve(StreamOwned::new(ServerConnection::new(config).expect("a connection"), socket)))
}

/// Answers `hello` with `hub`, and says how the connection was made.
pub(crate) fn hello(mut tls: Tls) -> (Option<ProtocolVersion>, Option<String>, usize) {
    let mut buf = [0; 5];
    tls.read_exact(&mut buf).expect("a greeting");
    assert_eq!(&buf, b"hello");
    tls.write_all(b"hub").expect("an answer");
    tls.flush().expect("an answer");
    let certificates = tls.conn.peer_certificates().map_or(0, <[_]>::len);
    (tls.conn.protocol_version(), tls.conn.server_name().map(str::to_owned), certificates)
}

/// An address where nobody listens.
pub(crate) fn refusing() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    listener.local_addr().expect("its address")
}

/// An address that does not answer: its queue has no room, so the kernel ignores who knocks. Lives as long as the value.
pub(crate) struct Silent {
    pub(crate) address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<mio::net::TcpStream>,
}

impl Silent {
    pub(crate) fn new() -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        listen(&socket, 0).expect("a listener");
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().expect("its address");
        let queued = (0..4).map(|_| mio::net::TcpStream::connect(address).expect("a socket")).collect();
        Self { address, _listener: listener, _queued: queued }
    }
}

/// Closes with a reset, as a crashed machine or a hasty firewall does.
pub(crate) fn reset(socket: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&socket, Some(std::time::Duration::ZERO)).expect("an option");
}
