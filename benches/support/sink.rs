//! A broker that only answers: CONNACK, SUBACK, PINGRESP, and a PUBACK for each publish, many in one write. On its own
//! thread, over TLS, in a WebSocket for whom asks for one. It costs as little as it can, so that the clients are what is
//! measured.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::rival::wall_nanos;

/// How many messages a subscriber gets, and how far apart.
pub(crate) const PUSHES: usize = 400;
const PUSH_PAUSE: Duration = Duration::from_millis(3);

/// Where the pushed messages go.
pub(crate) const PUSH_TOPIC: &str = "devices/bench/messages/devicebound/";

pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    pub(crate) ca_pem: String,
    /// Bytes that came in, as they were on the wire.
    pub(crate) bytes_in: Arc<AtomicU64>,
}

impl Sink {
    /// Starts on a free port; it lives as long as the process.
    pub(crate) fn start() -> Self {
        let (acceptor, ca_pem) = tls();
        let bytes_in = Arc::new(AtomicU64::new(0));
        let (tell, told) = std::sync::mpsc::channel();
        let counter = bytes_in.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
                tell.send(listener.local_addr().expect("an address")).expect("the benchmark waits");
                while let Ok((tcp, _)) = listener.accept().await {
                    let _ = tcp.set_nodelay(true);
                    let (acceptor, tcp) = (acceptor.clone(), Counted { tcp, bytes_in: counter.clone() });
                    tokio::spawn(async move {
                        if let Ok(stream) = acceptor.accept(tcp).await {
                            let _ = serve(stream).await;
                        }
                    });
                }
            });
        });
        Self { address: told.recv().expect("the sink starts"), ca_pem, bytes_in }
    }
}

fn tls() -> (TlsAcceptor, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("a certificate with its key");
    (TlsAcceptor::from(Arc::new(config)), issuer.pem())
}

/// Serves one connection to its end.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let (mut raw, mut pending, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    let mut chunk = vec![0; 64 * 1024];
    let mut is_web_socket = false;
    loop {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        raw.extend_from_slice(&chunk[..count]);
        if raw.starts_with(b"GET ") {
            let Some(answer) = upgrade(&raw) else { continue };
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
            raw.clear();
            is_web_socket = true;
        }
        if is_web_socket {
            take_frames(&mut raw, &mut pending);
        } else {
            pending.append(&mut raw);
        }
        let mut done = 0;
        let mut subscribed = false;
        while let Some((packet, length)) = packet(&pending[done..]) {
            subscribed |= packet[0] >> 4 == 8;
            answer(packet, &mut answers);
            done += length;
        }
        pending.drain(..done);
        if is_web_socket && !answers.is_empty() {
            stream.write_all(&header(answers.len())).await?;
        }
        stream.write_all(&answers).await?;
        stream.flush().await?;
        answers.clear();
        if subscribed {
            push(&mut stream).await;
        }
    }
}

/// The answer to a whole request for a WebSocket.
fn upgrade(request: &[u8]) -> Option<String> {
    let request = std::str::from_utf8(request).ok().filter(|text| text.ends_with("\r\n\r\n"))?;
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))?;
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    ))
}

/// Moves the payload of the whole frames.
fn take_frames(raw: &mut Vec<u8>, payload: &mut Vec<u8>) {
    let mut done = 0;
    while let [_, second, rest @ ..] = &raw[done..] {
        let (length, wide) = match second & 0x7f {
            126 if rest.len() >= 2 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), 2),
            short @ ..126 => (usize::from(short), 0),
            _ => break,
        };
        let Some(masked) = rest.get(wide..wide + 4 + length) else { break };
        let (mask, masked) = masked.split_at(4);
        payload.extend(masked.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        done += 2 + wide + 4 + length;
    }
    raw.drain(..done);
}

/// Of a binary message of less than 64 KiB.
fn header(length: usize) -> Vec<u8> {
    match length {
        short @ ..126 => vec![0x82, short as u8],
        long => [&[0x82, 126][..], &(long as u16).to_be_bytes()].concat(),
    }
}

/// The first packet, its first byte followed by its body, and how long it is with its length.
fn packet(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (mut length, mut at) = (0, 1);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    // The body follows its length, so the type goes with the last byte of that.
    bytes.get(..at + length).map(|whole| (whole, at + length))
}

fn answer(packet: &[u8], out: &mut Vec<u8>) {
    let header = 1 + packet[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let body = &packet[header..];
    match packet[0] >> 4 {
        1 => out.extend([0x20, 2, 0, 0]),
        3 => {
            let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
            out.extend([0x40, 2, body[2 + topic], body[3 + topic]]);
        }
        8 => out.extend([0x90, 3, body[0], body[1], 0]),
        12 => out.extend([0xd0, 0]),
        _ => {}
    }
}

/// Messages with the time of their sending, for who measures how late they are seen.
async fn push(stream: &mut (impl AsyncWrite + Unpin)) {
    for _ in 0..PUSHES {
        tokio::time::sleep(PUSH_PAUSE).await;
        let mut packet = vec![0x30, (2 + PUSH_TOPIC.len() + 8) as u8, 0, PUSH_TOPIC.len() as u8];
        packet.extend_from_slice(PUSH_TOPIC.as_bytes());
        packet.extend(wall_nanos().to_be_bytes());
        if stream.write_all(&packet).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// A socket that counts what comes in.
struct Counted {
    tcp: TcpStream,
    bytes_in: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = std::pin::Pin::new(&mut self.tcp).poll_read(context, buffer);
        self.bytes_in.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
