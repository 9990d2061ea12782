//! One connection of a device: a blocking TLS stream, or a WebSocket, and the packets on it.
//!
//! Every packet from the hub is checked for what docs/hub-over-mqtt.md 3.1 asks (the official SDKs misread anything else) before the
//! `rumqttc` codec reads it. A peer that waits longer than [`LIMIT`] fails its test.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use bytes::BytesMut;
use iothub_emulator::{Device, Hub};
use rumqttc::mqttbytes::v4::{ConnAck, Packet, Publish, SubscribeReasonCode};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ProtocolVersion, StreamOwned};

use super::LIMIT;
use super::packets::{self, Connect, PINGREQ};
use super::tls::TlsOptions;
use super::web_socket::WebSocket;

/// No packet of the hub is longer than a C2D message with its properties.
const LONGEST_PACKET: usize = 256 * 1024;

pub(crate) struct Peer {
    stream: Io,
    received: BytesMut,
    passed_over: VecDeque<Packet>,
    next_id: u16,
}

/// What carries the packets.
enum Io {
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    WebSocket(Box<WebSocket>),
}

impl Io {
    fn tls(&mut self) -> &mut StreamOwned<ClientConnection, TcpStream> {
        match self {
            Self::Tls(tls) => tls,
            Self::WebSocket(web_socket) => web_socket.tls_mut(),
        }
    }
}

impl io::Read for Io {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tls(tls) => tls.read(buf),
            Self::WebSocket(web_socket) => web_socket.read(buf),
        }
    }
}

impl io::Write for Io {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tls(tls) => tls.write(buf),
            Self::WebSocket(web_socket) => web_socket.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(tls) => tls.flush(),
            Self::WebSocket(web_socket) => web_socket.flush(),
        }
    }
}

impl Peer {
    /// A TLS connection on which no packet has been sent yet.
    pub(crate) fn open(hub: &Hub) -> Self {
        Self::open_with(hub, &TlsOptions::default()).expect("the hub answers the handshake")
    }

    pub(crate) fn open_with(hub: &Hub, options: &TlsOptions) -> io::Result<Self> {
        Self::open_to(hub, &hub.host_name(), options)
    }

    /// As `open_with`, expecting a certificate for `host`.
    pub(crate) fn open_to(hub: &Hub, host: &str, options: &TlsOptions) -> io::Result<Self> {
        let mut tcp = open_tcp(hub);
        let name = ServerName::try_from(host.to_owned()).expect("the host name is a DNS name");
        let mut tls =
            ClientConnection::new(options.config(&hub.ca_pem()), name).expect("the name fits the configuration");
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(Self::on(Io::Tls(Box::new(StreamOwned::new(tls, tcp)))))
    }

    /// A WebSocket on which no packet has been sent yet.
    pub(crate) fn over(web_socket: WebSocket) -> Self {
        Self::on(Io::WebSocket(Box::new(web_socket)))
    }

    fn on(stream: Io) -> Self {
        Self { stream, received: BytesMut::new(), passed_over: VecDeque::new(), next_id: 1 }
    }

    /// A device connected with its primary key and clean session off.
    pub(crate) fn connected(hub: &Hub, device: &Device) -> Self {
        Self::connected_as(hub, &Connect::of(hub, device))
    }

    /// A connection whose CONNECT must be accepted.
    pub(crate) fn connected_as(hub: &Hub, connect: &Connect) -> Self {
        let mut peer = Self::open(hub);
        peer.connect(connect);
        peer
    }

    /// Sends the CONNECT, which must be accepted; tells whether a session was present.
    pub(crate) fn connect(&mut self, connect: &Connect) -> bool {
        let answer = self.ask(connect);
        assert_eq!(answer.code as u8, 0, "the hub refuses {:?}", connect.user_name);
        answer.session_present
    }

    /// Sends the CONNECT and returns the CONNACK, whatever it says.
    pub(crate) fn ask(&mut self, connect: &Connect) -> ConnAck {
        self.send(&connect.encode());
        match self.read() {
            Packet::ConnAck(answer) => answer,
            other => panic!("instead of a CONNACK came {other:?}"),
        }
    }

    pub(crate) fn tls_version(&mut self) -> ProtocolVersion {
        self.stream.tls().conn.protocol_version().expect("the handshake is done")
    }

    /// A packet id that this peer has not used yet.
    pub(crate) fn fresh_id(&mut self) -> u16 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Writes bytes that the hub must take.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the hub reads what is sent");
    }

    /// Writes bytes to a hub that may well close meanwhile.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The next packet, in the order of the wire.
    pub(crate) fn read(&mut self) -> Packet {
        self.read_or_closed().expect("a packet arrives before the hub closes the connection")
    }

    /// The next packet, or `None` when the hub has closed the connection.
    pub(crate) fn read_or_closed(&mut self) -> Option<Packet> {
        if let Some(packet) = self.passed_over.pop_front() {
            return Some(packet);
        }
        self.read_from_the_wire()
    }

    /// Everything up to the end of the connection, which the hub must close.
    pub(crate) fn read_until_closed(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.read_or_closed()).collect()
    }

    /// The bare bytes up to the end of the connection, for a hub that is told to close in the middle of a packet.
    pub(crate) fn read_bytes_until_closed(&mut self) -> Vec<u8> {
        while self.fill() {}
        self.received.split().to_vec()
    }

    pub(crate) fn expect_closed_without_packet(&mut self) {
        assert_eq!(self.read_until_closed(), [], "the hub closes without a packet");
    }

    pub(crate) fn expect_publish(&mut self) -> Publish {
        match self.read() {
            Packet::Publish(publish) => publish,
            other => panic!("instead of a PUBLISH came {other:?}"),
        }
    }

    pub(crate) fn expect_puback(&mut self) -> u16 {
        match self.read() {
            Packet::PubAck(ack) => ack.pkid,
            other => panic!("instead of a PUBACK came {other:?}"),
        }
    }

    /// What the hub sends before it has answered two PINGREQs, one after the other. It works through a connection's
    /// packets in order, so all that was sent before has taken effect by then; the second is for what it sends on its
    /// own account, which may come behind the first answer.
    pub(crate) fn drain(&mut self) -> Vec<Packet> {
        let mut drained: Vec<Packet> = self.passed_over.drain(..).collect();
        for _ in 0..2 {
            self.send(PINGREQ);
            drained.extend(std::iter::from_fn(|| match self.read() {
                Packet::PingResp => None,
                packet => Some(packet),
            }));
        }
        drained
    }

    pub(crate) fn expect_quiet(&mut self) {
        assert_eq!(self.drain(), [], "the hub has nothing to say");
    }

    /// Subscribes and returns the codes of the SUBACK. Messages that come before it stay to be read.
    pub(crate) fn subscribe(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        let id = self.fresh_id();
        self.send(&packets::subscribe(id, filters));
        let answer = self.pass_over(|packet| matches!(packet, Packet::SubAck(_)));
        let Packet::SubAck(ack) = answer else { unreachable!("passed over to a SUBACK") };
        assert_eq!(ack.pkid, id, "the SUBACK is for this SUBSCRIBE");
        ack.return_codes.iter().map(code).collect()
    }

    pub(crate) fn unsubscribe(&mut self, filters: &[&str]) {
        let id = self.fresh_id();
        self.send(&packets::unsubscribe(id, filters));
        let answer = self.pass_over(|packet| matches!(packet, Packet::UnsubAck(_)));
        let Packet::UnsubAck(ack) = answer else { unreachable!("passed over to an UNSUBACK") };
        assert_eq!(ack.pkid, id, "the UNSUBACK is for this UNSUBSCRIBE");
    }

    /// Publishes with QoS 1 and waits for the PUBACK.
    pub(crate) fn publish(&mut self, topic: &str, body: &[u8]) {
        let id = self.fresh_id();
        self.send(&packets::publish(topic, 1, 0, id, body));
        let answer = self.pass_over(|packet| matches!(packet, Packet::PubAck(_)));
        let Packet::PubAck(ack) = answer else { unreachable!("passed over to a PUBACK") };
        assert_eq!(ack.pkid, id, "the PUBACK is for this PUBLISH");
    }

    pub(crate) fn puback(&mut self, id: u16) {
        self.send(&packets::puback(id));
    }

    /// Ends the connection as MQTT wants it, and waits until the hub has let go of it.
    pub(crate) fn disconnect(mut self) {
        self.send(packets::DISCONNECT);
        self.expect_closed_without_packet();
    }

    /// Drops the TCP connection as a power cut does.
    pub(crate) fn cut(self) {
        drop(self);
    }

    /// Waits for the end of the connection, which comes without another packet, and says how it came.
    pub(crate) fn how_it_ends(&mut self) -> End {
        assert!(self.passed_over.is_empty(), "nothing is left to be read: {:?}", self.passed_over);
        let mut byte = [0; 1];
        match self.stream.read(&mut byte) {
            Ok(0) => End::Goodbye,
            Ok(_) => panic!("another packet came, which begins with {byte:02x?}"),
            Err(error) if is_timeout(&error) => panic!("the hub does not close within {LIMIT:?}"),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => End::Reset,
            Err(_) => End::Bare,
        }
    }

    /// The content of the next TLS record that has any. Nothing may be left of earlier ones.
    pub(crate) fn read_record(&mut self) -> Vec<u8> {
        const HEADER: usize = 5;
        let StreamOwned { conn, sock } = self.stream.tls();
        loop {
            let mut record = vec![0; HEADER];
            sock.read_exact(&mut record).expect("a record comes before the end");
            let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
            record.resize(HEADER + length, 0);
            sock.read_exact(&mut record[HEADER..]).expect("a record comes whole");
            let mut rest = &record[..];
            while !rest.is_empty() {
                conn.read_tls(&mut rest).expect("a slice can be read");
            }
            conn.process_new_packets().expect("the record is well-formed");
            let mut content = vec![0; length];
            // Without content reading would block: the record is one of TLS itself.
            if let Ok(count) = conn.reader().read(&mut content) {
                content.truncate(count);
                return content;
            }
        }
    }

    fn pass_over(&mut self, wanted: impl Fn(&Packet) -> bool) -> Packet {
        loop {
            let packet = self.read_from_the_wire().expect("the answer arrives before the hub closes the connection");
            if wanted(&packet) {
                return packet;
            }
            self.passed_over.push_back(packet);
        }
    }

    fn read_from_the_wire(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = take_packet(&mut self.received) {
                return Some(packet);
            }
            if !self.fill() {
                return self.end();
            }
        }
    }

    /// Receives some bytes; false at the end of the connection, however it comes.
    fn fill(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(count) => {
                self.received.extend_from_slice(&chunk[..count]);
                true
            }
            Err(error) if is_timeout(&error) => panic!("the hub neither answers nor closes for {LIMIT:?}"),
            Err(_) => false,
        }
    }

    fn end(&self) -> Option<Packet> {
        assert!(self.received.is_empty(), "the hub closes in the middle of a packet: {:02x?}", &self.received[..]);
        None
    }
}

/// How the hub ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// TLS said goodbye first.
    Goodbye,
    /// TCP was closed and nothing said.
    Bare,
    /// TCP was reset.
    Reset,
}

/// A TCP connection to the MQTT port that gives up after [`LIMIT`].
pub(crate) fn open_tcp(hub: &Hub) -> TcpStream {
    tcp_to(hub.mqtt_address())
}

/// A TCP connection that gives up after [`LIMIT`].
pub(crate) fn tcp_to(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(address).expect("somebody listens");
    tcp.set_nodelay(true).expect("the socket takes options");
    tcp.set_read_timeout(Some(LIMIT)).expect("the socket takes options");
    tcp.set_write_timeout(Some(LIMIT)).expect("the socket takes options");
    tcp
}

/// What still arrives on a bare socket until the hub closes it.
pub(crate) fn read_to_end(tcp: &mut TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match tcp.read(&mut chunk) {
            Ok(0) => return received,
            Ok(count) => received.extend_from_slice(&chunk[..count]),
            Err(error) if is_timeout(&error) => panic!("the hub does not close within {LIMIT:?}"),
            Err(_) => return received,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn code(code: &SubscribeReasonCode) -> u8 {
    match code {
        SubscribeReasonCode::Success(qos) => *qos as u8,
        SubscribeReasonCode::Failure => 0x80,
    }
}

/// Takes one whole packet from the front of what was received.
fn take_packet(received: &mut BytesMut) -> Option<Packet> {
    let (header, length) = fixed_header(received)?;
    if received.len() < header + length {
        return None;
    }
    let mut packet = received.split_to(header + length);
    check_form(packet[0], &packet[header..]);
    Some(Packet::read(&mut packet, LONGEST_PACKET).expect("the hub writes well-formed packets"))
}

/// The length of the fixed header and that of the rest, once both are known.
fn fixed_header(received: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (index, byte) in received.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((index + 2, length));
        }
    }
    assert!(received.len() < 5, "the hub writes a remaining length of more than four bytes");
    None
}

/// The rules of docs/hub-over-mqtt.md 3.1 that a lenient codec would not notice.
fn check_form(first: u8, rest: &[u8]) {
    match first {
        0x20 => {
            assert_eq!(rest.len(), 2, "a CONNACK has two bytes");
            assert_eq!(rest[0] & 0xFE, 0, "only the session-present bit of a CONNACK may be set");
            assert!(rest[1] == 0 || rest[0] == 0, "a refusal never says session present");
        }
        0x30 | 0x32 | 0x3A => {}
        0x40 | 0xB0 => assert_eq!(rest.len(), 2, "a PUBACK or UNSUBACK is a packet id"),
        0x90 => {
            let (_, codes) = rest.split_at(2);
            assert!(codes.iter().all(|code| matches!(code, 0 | 1 | 0x80)), "SUBACK codes {codes:02x?}");
        }
        0xD0 => assert!(rest.is_empty(), "a PINGRESP is empty"),
        other => panic!("a hub never sends a packet that starts with {other:#04x}"),
    }
}
