//! What only shows on the network: TLS, client certificates (E1, E4, E18).

use std::io::{Read, Write};
use std::net::TcpStream;
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
}

impl Socket {
    fn connect(hub: &Emulator, certificate: Option<&DeviceCertificate>) -> Self {
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
        let tcp = TcpStream::connect(hub.amqp_address()).unwrap();
        tcp.set_read_timeout(Some(LIMIT)).unwrap();
        let connection = ClientConnection::new(Arc::new(config), HUB.try_into().unwrap()).unwrap();
        Self { stream: StreamOwned::new(connection, tcp), received: Vec::new() }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn fill(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(count) => {
                self.received.extend(&chunk[..count]);
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
