//! What only shows on the network: TLS, client certificates, WebSocket (E1, E4, E18, E43, E44).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use iothub_emulator::{Config, Device, DeviceAuth, DeviceCertificate, Emulator};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::frame::{Frame, Link, *};
use crate::support::value::V;
use crate::support::{HUB, sasl_init};

const LIMIT: Duration = Duration::from_secs(30);

/// A blocking peer over TLS.
struct Socket {
    stream: StreamOwned<ClientConnection, TcpStream>,
    received: Vec<u8>,
    /// What has come of the next WebSocket frame, if it is a WebSocket.
    web_socket: Option<Vec<u8>>,
    /// The hub has said goodbye on it.
    ended: bool,
}

impl Socket {
    fn connect(hub: &Emulator, certificate: Option<&DeviceCertificate>) -> Self {
        Self::connect_to(hub.amqp_address(), hub, certificate)
    }

    fn connect_to(address: SocketAddr, hub: &Emulator, certificate: Option<&DeviceCertificate>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(hub.ca_pem().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .with_root_certificates(roots);
        let config = match certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                let chain = CertificateDer::pem_slice_iter(certificate.certificate_pem.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(certificate.private_key_pem.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain.collect::<Result<_, _>>().unwrap(), key).unwrap()
            }
        };
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(LIMIT)).unwrap();
        let connection = ClientConnection::new(Arc::new(config), HUB.try_into().unwrap()).unwrap();
        Self { stream: StreamOwned::new(connection, tcp), received: Vec::new(), web_socket: None, ended: false }
    }

    /// Asks on the HTTPS port for a WebSocket; gives the answer's head.
    fn ask(hub: &Emulator, certificate: Option<&DeviceCertificate>, path: &str, subprotocol: &str) -> (Self, String) {
        let mut socket = Self::connect_to(hub.https_address(), hub, certificate);
        let request = [
            &format!("GET {path} HTTP/1.1"),
            "Host: hub.test:443",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            &format!("Sec-WebSocket-Protocol: {subprotocol}"),
            "Sec-WebSocket-Version: 13",
        ];
        socket.say(format!("{}\r\n\r\n", request.join("\r\n")).as_bytes());
        let end = loop {
            match socket.received.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => assert!(socket.fill(), "the hub closes"),
            }
        };
        let answer = String::from_utf8(socket.received.drain(..end).collect()).unwrap();
        socket.web_socket = Some(std::mem::take(&mut socket.received));
        (socket, answer)
    }

    fn upgrade(hub: &Emulator, path: &str, subprotocol: &str) -> Self {
        let (socket, answer) = Self::ask(hub, None, path, subprotocol);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        let echo = format!("sec-websocket-protocol: {subprotocol}\r\n");
        assert!(answer.to_ascii_lowercase().contains(&echo.to_ascii_lowercase()) && answer.contains(subprotocol));
        socket
    }

    /// On a WebSocket it is a message of its own.
    fn say(&mut self, bytes: &[u8]) {
        if self.web_socket.is_some() {
            // Behind its length stands its mask, which changes nothing.
            let head = match u8::try_from(bytes.len()) {
                Ok(short @ 0..126) => vec![BINARY, 0x80 | short, 0, 0, 0, 0],
                _ => {
                    let [high, low] = u16::try_from(bytes.len()).unwrap().to_be_bytes();
                    vec![BINARY, 0x80 | 126, high, low, 0, 0, 0, 0]
                }
            };
            self.stream.write_all(&head).unwrap();
        }
        self.stream.write_all(bytes).unwrap();
    }

    fn fill(&mut self) -> bool {
        if self.ended {
            return false;
        }
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(count) => {
                match &mut self.web_socket {
                    None => self.received.extend(&chunk[..count]),
                    Some(raw) => {
                        raw.extend(&chunk[..count]);
                        while let Some((opcode, payload)) = take_message(raw) {
                            match opcode {
                                BINARY => self.received.extend(payload),
                                GOODBYE => self.ended = true,
                                other => panic!("a WebSocket frame that begins with {other:#04x}"),
                            }
                        }
                    }
                }
                true
            }
            Err(error) => panic!("the hub neither answers nor closes: {error}"),
        }
    }

    fn header(&mut self) -> Vec<u8> {
        while self.received.len() < 8 {
            assert!(self.fill(), "the hub closes");
        }
        self.received.drain(..8).collect()
    }

    fn next(&mut self) -> Frame {
        loop {
            match Frame::take(&mut self.received) {
                Some(frame) => return frame,
                None => assert!(self.fill(), "the hub closes"),
            }
        }
    }

    fn open(&mut self) {
        self.say(AMQP_HEADER);
        assert_eq!(self.header(), AMQP_HEADER);
        self.say(&[frame(0, &open(None), &[]), frame(0, &begin(), &[])].concat());
        assert_eq!([self.next().code, self.next().code], [OPEN, BEGIN]);
    }

    /// Attaches; the condition of a refusal, or none.
    fn attach(&mut self, link: &Link) -> Option<String> {
        self.say(&frame(0, &link.attach(), &[]));
        assert_eq!(self.next().code, ATTACH);
        let next = self.next();
        (next.code == DETACH).then(|| next.condition(2).unwrap())
    }
}

/// The first bytes of WebSocket frames: whole and binary, whole and a goodbye.
const BINARY: u8 = 0x82;
const GOODBYE: u8 = 0x88;

/// Takes the first byte and the payload of a WebSocket frame from the front, once it is whole.
fn take_message(raw: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (start, length) = match *raw.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes(raw.get(2..4)?.try_into().unwrap()))),
        short @ 0..126 => (2, usize::from(short)),
        long => panic!("no frame of these tests is so long or masked: {long}"),
    };
    if raw.len() < start + length {
        return None;
    }
    let mut message: Vec<u8> = raw.drain(..start + length).collect();
    let payload = message.split_off(start);
    Some((message[0], payload))
}

fn start() -> Emulator {
    Emulator::start_with(Config::new().with_host_name(HUB)).unwrap()
}

fn with_certificate(hub: &Emulator, id: &str) -> (Device, DeviceCertificate) {
    let device = hub.create_device_with(id, DeviceAuth::CertificateAuthority).unwrap();
    (device, hub.issue_device_certificate(id).unwrap())
}

#[test]
fn a_e01_amqp_is_served_over_tls_on_its_own_port() {
    let hub = start();
    assert_ne!(hub.amqp_address(), hub.mqtt_address());
    let mut socket = Socket::connect(&hub, None);
    socket.open();
    socket.say(&frame(0, &close(), &[]));
    assert_eq!(socket.next().code, CLOSE);
    assert!(!socket.fill(), "and then the connection ends");
}

#[test]
fn a_e04_external_with_a_certificate_gets_in_and_each_link_is_checked() {
    let hub = start();
    let (_, certificate) = with_certificate(&hub, "x");
    with_certificate(&hub, "y");
    let mut socket = Socket::connect(&hub, Some(&certificate));
    socket.say(SASL_HEADER);
    assert_eq!(socket.header(), SASL_HEADER);
    assert_eq!(socket.next().code, MECHANISMS);
    socket.say(&sasl_init("EXTERNAL", None));
    assert_eq!(socket.next().field(0), &V::Ubyte(0));
    socket.open();
    assert_eq!(socket.attach(&Link::sender(0, "/devices/x/messages/events")), None);
    assert_eq!(socket.attach(&Link::sender(1, "/devices/y/messages/events")).unwrap(), "amqp:unauthorized-access");
    assert!(hub.connected("x"));
}

#[test]
fn a_e18_a_certificate_opens_its_device_without_sasl_and_takes_no_tokens() {
    let hub = start();
    let (_, certificate) = with_certificate(&hub, "x");
    hub.create_device("key").unwrap();
    let mut socket = Socket::connect(&hub, Some(&certificate));
    socket.open();
    assert_eq!(socket.attach(&Link::sender(0, "/devices/x/messages/events")), None);
    assert_eq!(socket.attach(&Link::sender(1, "/devices/key/messages/events")).unwrap(), "amqp:unauthorized-access");
    assert_eq!(socket.attach(&Link::sender(2, "$cbs")).unwrap(), "amqp:not-allowed");
    let mut nobody = Socket::connect(&hub, None);
    nobody.open();
    assert_eq!(nobody.attach(&Link::sender(0, "/devices/x/messages/events")).unwrap(), "amqp:unauthorized-access");
}

#[test]
fn a_e43_a_web_socket_is_opened_with_either_subprotocol_which_is_echoed() {
    let hub = start();
    for (path, subprotocol) in
        [("/$iothub/websocket", "AMQPWSB10"), ("/$iothub/websocket", "amqp"), ("/$servicebus/websocket/", "AMQPWSB10")]
    {
        let mut socket = Socket::upgrade(&hub, path, subprotocol);
        socket.say(SASL_HEADER);
        assert_eq!(socket.header(), SASL_HEADER);
        assert_eq!(socket.next().code, MECHANISMS);
        socket.say(&sasl_init("ANONYMOUS", None));
        assert_eq!(socket.next().field(0), &V::Ubyte(0));
        socket.open();
        assert_eq!(socket.attach(&Link::sender(0, "$cbs")), None);
        socket.say(&frame(0, &close(), &[]));
        while socket.next().code != CLOSE {}
        while socket.fill() {}
        assert!(socket.ended, "and then the hub says goodbye");
    }
}

#[test]
fn a_e43_other_subprotocols_or_none_are_a_bad_request() {
    let hub = start();
    for subprotocol in ["stomp", ""] {
        let (_, answer) = Socket::ask(&hub, None, "/$iothub/websocket", subprotocol);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

#[test]
fn a_e43_a_client_certificate_counts_on_a_web_socket_too() {
    let hub = start();
    let (_, certificate) = with_certificate(&hub, "x");
    let (mut socket, _) = Socket::ask(&hub, Some(&certificate), "/$iothub/websocket", "AMQPWSB10");
    socket.open();
    assert_eq!(socket.attach(&Link::sender(0, "/devices/x/messages/events")), None);
    assert!(hub.connected("x"));
}

#[test]
fn a_e44_the_query_does_not_matter_and_frames_may_span_and_share_messages() {
    let hub = start();
    let mut socket = Socket::upgrade(&hub, "/$iothub/websocket?iothub-no-client-cert=true", "AMQPWSB10");
    let (front, back) = AMQP_HEADER.split_at(3);
    socket.say(front);
    let open = frame(0, &open(None), &[]);
    socket.say(&[back, &open[..5]].concat());
    socket.say(&open[5..]);
    assert_eq!(socket.header(), AMQP_HEADER);
    assert_eq!(socket.next().code, OPEN);
    socket.say(&[frame(0, &begin(), &[]), frame(0, &Link::sender(0, "$cbs").attach(), &[])].concat());
    assert_eq!([socket.next().code, socket.next().code], [BEGIN, ATTACH]);
}
