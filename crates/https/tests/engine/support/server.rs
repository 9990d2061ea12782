//! A server that does as it is told, on a thread for each connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::LIMIT;

/// What came in.
#[derive(Debug)]
pub(crate) struct Request {
    /// Which connection, counted from 1.
    pub(crate) connection: usize,
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What to do about a request.
pub(crate) enum Reply {
    /// Send this, and wait for the next request.
    Send(Vec<u8>),
    /// Send this, and close.
    Close(Vec<u8>),
    /// Send this, and close when told.
    CloseLater(Vec<u8>, Receiver<()>),
    /// Say nothing more until the peer closes.
    Silence,
    /// Send this, then wait until told to send the rest.
    Pause(Vec<u8>, Receiver<()>, Vec<u8>),
}

/// A whole answer.
pub(crate) fn answer(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\nX-Told: yes\r\n\r\n{body}", body.len()).into_bytes()
}

pub(crate) struct Server {
    address: Option<SocketAddr>,
    socket: Option<PathBuf>,
    requests: Receiver<Request>,
    ends: Receiver<usize>,
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

#[derive(Clone)]
struct Connections {
    handler: Arc<Handler>,
    requests: Sender<Request>,
    ends: Sender<usize>,
    accepted: Arc<Mutex<usize>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::tcp(handler, None)
    }

    pub(crate) fn tls(config: ServerConfig, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::tcp(handler, Some(Arc::new(config)))
    }

    /// Always the same answer.
    pub(crate) fn saying(text: &'static str) -> Self {
        Self::start(move |_| Reply::Send(answer(200, text)))
    }

    fn tcp(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, mut server) = Self::new(handler);
        server.address = Some(address);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_nodelay(true).unwrap();
                match &tls {
                    None => connections.serve(stream),
                    Some(config) => {
                        let session = ServerConnection::new(config.clone()).unwrap();
                        connections.serve(StreamOwned::new(session, stream));
                    }
                }
            }
        });
        server
    }

    pub(crate) fn unix(path: &Path, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (connections, mut server) = Self::new(handler);
        server.socket = Some(path.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.serve(stream);
            }
        });
        server
    }

    fn new(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (Connections, Self) {
        let ((requests, received), (ends, ended)) = (channel(), channel());
        let handler: Arc<Handler> = Arc::new(handler);
        let connections = Connections { handler, requests, ends, accepted: Arc::default() };
        (connections, Self { address: None, socket: None, requests: received, ends: ended })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.unwrap().port()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address.unwrap())
    }

    /// The next request, which has come or comes in time.
    pub(crate) fn request(&self) -> Request {
        self.requests.recv_timeout(LIMIT).expect("a request")
    }

    /// The next request, if it has come.
    pub(crate) fn has_request(&self) -> Option<Request> {
        self.requests.try_recv().ok()
    }

    /// Waits for the end of a connection.
    pub(crate) fn end(&self) -> usize {
        self.ends.recv_timeout(LIMIT).expect("the end of a connection")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(path) = &self.socket {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Connections {
    fn serve(&self, mut stream: impl Read + Write + Send + 'static) {
        let this = self.clone();
        let connection = {
            let mut accepted = self.accepted.lock().unwrap();
            *accepted += 1;
            *accepted
        };
        thread::spawn(move || {
            // An error is the peer's end.
            let _ = this.talk(&mut stream, connection);
            drop(stream);
            let _ = this.ends.send(connection);
        });
    }

    fn talk(&self, stream: &mut (impl Read + Write), connection: usize) -> io::Result<()> {
        let mut read = Vec::new();
        loop {
            let Some(request) = receive(stream, &mut read, connection)? else { return Ok(()) };
            let reply = (self.handler)(&request);
            let _ = self.requests.send(request);
            match reply {
                Reply::Send(bytes) => send(stream, &bytes)?,
                Reply::Close(bytes) => return send(stream, &bytes),
                Reply::CloseLater(bytes, told) => {
                    send(stream, &bytes)?;
                    return told.recv_timeout(LIMIT).map_err(io::Error::other);
                }
                Reply::Silence => {
                    stream.read_to_end(&mut read)?;
                    return Ok(());
                }
                Reply::Pause(first, go_on, rest) => {
                    send(stream, &first)?;
                    go_on.recv_timeout(LIMIT).map_err(io::Error::other)?;
                    send(stream, &rest)?;
                }
            }
        }
    }
}

fn send(stream: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

/// Reads one request; `None` at the end.
fn receive(stream: &mut impl Read, read: &mut Vec<u8>, connection: usize) -> io::Result<Option<Request>> {
    let head_end = loop {
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if more(stream, read)? == 0 {
            return Ok(None);
        }
    };
    let head: Vec<u8> = read.drain(..head_end).collect();
    let head = String::from_utf8(head).expect("a head in ASCII");
    let mut lines = head.lines().filter(|line| !line.is_empty());
    let line = lines.next().unwrap_or_default().to_owned();
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let mut request = Request { connection, line, headers, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().expect("a length"));
    while read.len() < length {
        if more(stream, read)? == 0 {
            return Ok(None);
        }
    }
    request.body = read.drain(..length).collect();
    Ok(Some(request))
}

fn more(stream: &mut impl Read, read: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 4096];
    let count = stream.read(&mut buffer)?;
    read.extend_from_slice(&buffer[..count]);
    Ok(count)
}
