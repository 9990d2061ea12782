//! Incoming packets: framing and decoding by `rumqttc`'s codec, and the strictness that it leaves to its user.
//!
//! Only what a server may send exists here; anything else is an error that ends the connection.

use bytes::{Buf, Bytes, BytesMut};
use iothub_core::ConnectionErrorKind;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet, SubscribeReasonCode};
use rumqttc::mqttbytes::{Error, QoS, check};

/// The largest packet that is read, without its fixed header: a payload of 256 KiB (the hub's largest message; a
/// cloud-to-device message has at most 64 KiB) behind the longest topic and a packet identifier.
pub(crate) const MAX_INCOMING: usize = 262_144 + 2 + 65_535 + 2;

const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBACK: u8 = 0x90;
const UNSUBACK: u8 = 0xB0;
const PINGRESP: u8 = 0xD0;

/// A packet that a server may send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    ConnAck { session_present: bool, code: ConnectReturnCode },
    Publish(Publish),
    PubAck { id: u16 },
    SubAck { id: u16, granted: Vec<bool> },
    UnsubAck { id: u16 },
    PingResp,
}

impl Incoming {
    /// The packet's name in the protocol.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::ConnAck { .. } => "CONNACK",
            Self::Publish(_) => "PUBLISH",
            Self::PubAck { .. } => "PUBACK",
            Self::SubAck { .. } => "SUBACK",
            Self::UnsubAck { .. } => "UNSUBACK",
            Self::PingResp => "PINGRESP",
        }
    }
}

/// A message from the hub.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Publish {
    /// The packet identifier; `None` at QoS 0, which is not acknowledged.
    pub(crate) id: Option<u16>,
    pub(crate) topic: String,
    /// A view into the read buffer: copy what is to be kept.
    pub(crate) payload: Bytes,
}

/// Takes the next whole packet out of the buffer; `None` when more bytes are needed.
pub(crate) fn next_packet(buffer: &mut BytesMut) -> Result<Option<Incoming>, ConnectionErrorKind> {
    let Some(&first) = buffer.first() else { return Ok(None) };
    // Nearly all that comes while telemetry goes.
    if let [PUBACK, 2, high, low, ..] = buffer[..] {
        buffer.advance(4);
        let id = nonzero(u16::from_be_bytes([high, low]), "PUBACK")?;
        return Ok(Some(Incoming::PubAck { id }));
    }
    let fixed_length = match first {
        CONNACK | PUBACK | UNSUBACK => Some(4),
        PINGRESP => Some(2),
        SUBACK => None,
        publish if publish & 0xF0 == PUBLISH => None,
        _ => return Err(violation(format!("a packet that begins with {first:#04x}, which no server sends"))),
    };
    let header = match check(buffer.iter(), MAX_INCOMING) {
        Ok(header) => header,
        Err(Error::InsufficientBytes(_)) => return Ok(None),
        Err(Error::PayloadSizeLimitExceeded(size)) => {
            return Err(violation(format!("a packet of {size} bytes, at most {MAX_INCOMING} are taken")));
        }
        Err(other) => return Err(violation(other.to_string())),
    };
    let length = header.frame_length();
    if fixed_length.is_some_and(|fixed| fixed != length) {
        return Err(violation(format!("a packet that begins with {first:#04x} and has {length} bytes")));
    }
    if first == CONNACK && buffer[2] > 1 {
        return Err(violation(format!("a CONNACK with the flags {:#04x}", buffer[2])));
    }
    let packet = Packet::read(buffer, MAX_INCOMING).map_err(|error| violation(error.to_string()))?;
    incoming(packet).map(Some)
}

fn incoming(packet: Packet) -> Result<Incoming, ConnectionErrorKind> {
    let packet = match packet {
        Packet::ConnAck(ack) => Incoming::ConnAck { session_present: ack.session_present, code: ack.code },
        Packet::Publish(publish) => {
            let id = match publish.qos {
                QoS::AtMostOnce => None,
                QoS::AtLeastOnce => Some(publish.pkid),
                QoS::ExactlyOnce => return Err(violation("a PUBLISH with QoS 2".into())),
            };
            Incoming::Publish(Publish { id, topic: publish.topic, payload: publish.payload })
        }
        Packet::PubAck(ack) => Incoming::PubAck { id: nonzero(ack.pkid, "PUBACK")? },
        Packet::SubAck(ack) => {
            let granted = ack.return_codes.iter().map(|code| matches!(code, SubscribeReasonCode::Success(_)));
            Incoming::SubAck { id: nonzero(ack.pkid, "SUBACK")?, granted: granted.collect() }
        }
        Packet::UnsubAck(ack) => Incoming::UnsubAck { id: nonzero(ack.pkid, "UNSUBACK")? },
        Packet::PingResp => Incoming::PingResp,
        _ => return Err(violation("a packet that no server sends".into())),
    };
    Ok(packet)
}

fn nonzero(id: u16, packet: &str) -> Result<u16, ConnectionErrorKind> {
    if id == 0 { Err(violation(format!("a {packet} with the packet identifier 0"))) } else { Ok(id) }
}

/// Appends a packet of the codec's.
pub(crate) fn put(packet: &Packet, out: &mut BytesMut) {
    let written = packet.write(out, usize::MAX);
    debug_assert!(written.is_ok(), "only an oversized packet fails, and none of ours is");
}

/// The kind for a peer that breaks the protocol.
pub(crate) fn violation(detail: String) -> ConnectionErrorKind {
    ConnectionErrorKind::Protocol { detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<Incoming>, ConnectionErrorKind> {
        let mut buffer = BytesMut::from(bytes);
        let packet = next_packet(&mut buffer)?;
        if packet.is_some() {
            assert!(buffer.is_empty(), "{} bytes were left over", buffer.len());
        }
        Ok(packet)
    }

    fn refused(bytes: &[u8]) -> String {
        match read(bytes) {
            Err(ConnectionErrorKind::Protocol { detail }) => detail,
            other => panic!("{bytes:x?} gave {other:?}"),
        }
    }

    #[test]
    fn each_packet_of_a_server_is_read() {
        let connack = |session_present, code| Incoming::ConnAck { session_present, code };
        assert_eq!(read(&[0x20, 2, 0, 0]), Ok(Some(connack(false, ConnectReturnCode::Success))));
        assert_eq!(read(&[0x20, 2, 1, 0]), Ok(Some(connack(true, ConnectReturnCode::Success))));
        assert_eq!(read(&[0x20, 2, 0, 5]), Ok(Some(connack(false, ConnectReturnCode::NotAuthorized))));
        assert_eq!(read(&[0x40, 2, 1, 2]), Ok(Some(Incoming::PubAck { id: 258 })));
        assert_eq!(read(&[0x90, 4, 0, 1, 1, 0x80]), Ok(Some(Incoming::SubAck { id: 1, granted: vec![true, false] })));
        assert_eq!(read(&[0xB0, 2, 0, 9]), Ok(Some(Incoming::UnsubAck { id: 9 })));
        assert_eq!(read(&[0xD0, 0]), Ok(Some(Incoming::PingResp)));
        let publish = |id, payload| Publish { id, topic: "t".into(), payload: Bytes::from_static(payload) };
        assert_eq!(read(b"\x30\x05\0\x01tab"), Ok(Some(Incoming::Publish(publish(None, b"ab")))));
        assert_eq!(read(b"\x3a\x05\0\x01t\0\x07"), Ok(Some(Incoming::Publish(publish(Some(7), b"")))));
    }

    #[test]
    fn an_unfinished_packet_waits_for_more() {
        let whole = b"\x32\x06\0\x01t\0\x07x";
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), Ok(None));
        }
    }

    #[test]
    fn a_malformed_connack_is_refused() {
        assert!(refused(&[0x20, 2, 2, 0]).contains("flags 0x02"));
        assert!(refused(&[0x20, 2, 0, 6]).contains('6'));
        assert!(refused(&[0x20, 3, 0, 0, 0]).contains("5 bytes"));
        assert!(refused(&[0x20, 0]).contains("2 bytes"));
        assert!(refused(&[0x21, 2, 0, 0]).contains("0x21"));
    }

    #[test]
    fn what_only_a_client_sends_is_refused_by_its_first_byte() {
        for first in [0x00, 0x10, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xC0, 0xE0, 0xF0, b'H'] {
            assert!(refused(&[first]).contains("no server sends"), "{first:#04x}");
        }
    }

    #[test]
    fn the_packet_identifier_0_is_refused() {
        assert!(refused(b"\x32\x05\0\x01t\0\0").contains("Zero"));
        for bytes in [&[0x40, 2, 0, 0][..], &[0x90, 3, 0, 0, 1], &[0xB0, 2, 0, 0]] {
            assert!(refused(bytes).contains("identifier 0"));
        }
    }

    #[test]
    fn qos_2_and_3_are_refused() {
        assert!(refused(b"\x34\x05\0\x01t\0\x01").contains("QoS 2"));
        assert!(refused(b"\x36\x05\0\x01t\0\x01").contains("QoS"));
    }

    #[test]
    fn lengths_beyond_the_limit_and_malformed_ones_are_refused_before_the_packet_has_come() {
        assert!(refused(&[0x30, 0x80, 0x80, 0x80, 0x01]).contains("2097152 bytes"));
        assert!(refused(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]).contains("remaining length"));
        assert!(refused(b"\x30\x03\0\x05t").contains("boundary"));
        assert!(refused(b"\x30\x03\0\x01\xFF").contains("UTF-8"));
        assert!(refused(&[0x90, 2, 0, 1]).contains("Malformed"));
        assert!(refused(&[0x90, 3, 0, 1, 0x40]).contains("64"));
        assert!(refused(&[0x30, 0]).contains("ayload"));
    }
}
