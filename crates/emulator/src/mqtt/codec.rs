//! Bytes to packets and packets to bytes, for the server's side of MQTT 3.1.1.
//!
//! Framing, parsing and encoding are `mqtt-protocol-core`'s packet types; its connection object is not used, because it keeps packet ids, resends and
//! answers by its own rules where a hub has others (an out-of-order PUBACK is ignored, packet ids come from sequence numbers). Its parsers
//! are lenient in places; the checks that MQTT 3.1.1 demands on top of them are here: flags of the fixed header, reserved bits, packet id 0, trailing bytes, U+0000 in text.

use bytes::Bytes;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, RawPacket};
use mqtt_protocol_core::mqtt::packet::{Qos, v3_1_1};
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, MqttError, SubackReturnCode};

/// The largest packet that is read: the body limit (docs/hub-over-mqtt.md 2.4), a topic of 65535 bytes, and the headers.
pub(crate) const MAX_PACKET: u32 = 262_144 + 65_535 + 16;

/// A packet from a client.
#[derive(Debug)]
pub(crate) enum Incoming {
    Connect(Box<Connect>),
    /// A CONNECT whose protocol level is not 4.
    ConnectOtherLevel(u8),
    Publish(Publish),
    Puback {
        packet_id: u16,
    },
    Subscribe {
        packet_id: u16,
        filters: Vec<(String, u8)>,
    },
    Unsubscribe {
        packet_id: u16,
        filters: Vec<String>,
    },
    Pingreq,
    Disconnect,
}

pub(crate) struct Connect {
    pub(crate) client_id: String,
    pub(crate) clean_session: bool,
    pub(crate) keep_alive: u16,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) will: Option<Will>,
}

// By hand, because the password is a token.
impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect")
            .field("client_id", &self.client_id)
            .field("user_name", &self.user_name)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) retain: bool,
}

#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// 0, 1 or 2.
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    /// At QoS 1 and 2.
    pub(crate) packet_id: Option<u16>,
}

/// Why bytes are no packet that a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The packet is over [`MAX_PACKET`].
    TooLarge,
    /// What is wrong with it.
    Because(&'static str),
}

/// Cuts a stream of bytes into packets. It holds at most one packet.
pub(crate) struct Decoder(PacketBuilder);

impl Decoder {
    pub(crate) fn new() -> Self {
        Self(PacketBuilder::with_maximum_packet_size(MAX_PACKET))
    }

    /// The next packet of `bytes`, which is moved behind what was read; `None` if the packet goes on in later bytes.
    pub(crate) fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Incoming>, Malformed> {
        let mut cursor = Cursor::new(*bytes);
        let built = self.0.feed(&mut cursor);
        let read = usize::try_from(cursor.position()).unwrap_or(bytes.len());
        *bytes = &bytes[read..];
        match built {
            PacketBuildResult::Complete(raw) => parse(&raw).map(Some),
            PacketBuildResult::Incomplete => Ok(None),
            PacketBuildResult::Error(MqttError::PacketTooLarge) => Err(Malformed::TooLarge),
            PacketBuildResult::Error(_) => Err(Malformed::Because("its remaining length is over four bytes")),
        }
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

fn parse(raw: &RawPacket) -> Result<Incoming, Malformed> {
    let expect_flags = |flags: u8| match raw.flags() == flags {
        true => Ok(()),
        false => Err(Malformed::Because("the flags of its fixed header are wrong")),
    };
    match raw.packet_type() {
        1 => expect_flags(0).and_then(|()| parse_connect(raw)),
        3 => parse_publish(raw).map(Incoming::Publish),
        4 => {
            expect_flags(0)?;
            if raw.remaining_length() != 2 {
                return Err(Malformed::Because("a PUBACK has two bytes"));
            }
            let puback = raw.parse_exact(v3_1_1::Puback::parse).map_err(because)?;
            Ok(Incoming::Puback { packet_id: nonzero(puback.packet_id())? })
        }
        8 => expect_flags(2).and_then(|()| parse_subscribe(raw)),
        10 => {
            expect_flags(2)?;
            let packet = raw.parse_exact(v3_1_1::Unsubscribe::parse).map_err(because)?;
            let filters = packet.entries().iter().map(|filter| plain(filter.as_str())).collect::<Result<_, _>>()?;
            Ok(Incoming::Unsubscribe { packet_id: nonzero(packet.packet_id())?, filters })
        }
        12 | 14 => {
            expect_flags(0)?;
            if raw.remaining_length() != 0 {
                return Err(Malformed::Because("PINGREQ and DISCONNECT have no bytes"));
            }
            Ok(if raw.packet_type() == 12 { Incoming::Pingreq } else { Incoming::Disconnect })
        }
        5..=7 => Err(Malformed::Because("PUBREC, PUBREL and PUBCOMP belong to QoS 2, which the hub does not have")),
        _ => Err(Malformed::Because("a client does not send packets of its type")),
    }
}

fn parse_connect(raw: &RawPacket) -> Result<Incoming, Malformed> {
    const USER_NAME_AND_PASSWORD: u8 = 0b1100_0000;
    const WILL_DETAILS: u8 = 0b0011_1000;
    const WILL_QOS: u8 = 0b0001_1000;
    const WILL: u8 = 0b0000_0100;
    const RESERVED: u8 = 0b0000_0001;

    let bytes = raw.data_as_slice();
    // Name and level first: what follows a level other than 4 is not ours to read.
    let Some((b"\x00\x04MQTT", &[level, ..])) = bytes.split_at_checked(6) else {
        return Err(Malformed::Because("its protocol name is not MQTT"));
    };
    if level != 4 {
        return Ok(Incoming::ConnectOtherLevel(level));
    }
    let flags = *bytes.get(7).ok_or(Malformed::Because("it ends too early"))?;
    if flags & RESERVED != 0 {
        return Err(Malformed::Because("the reserved flag of CONNECT is set"));
    }
    if flags & WILL == 0 && flags & WILL_DETAILS != 0 {
        return Err(Malformed::Because("CONNECT has will flags without a will"));
    }
    if flags & WILL_QOS == WILL_QOS {
        return Err(Malformed::Because("the will's QoS is 3"));
    }
    if flags & USER_NAME_AND_PASSWORD == 0b0100_0000 {
        return Err(Malformed::Because("CONNECT has a password without a user name"));
    }
    let packet = raw.parse_exact(v3_1_1::Connect::parse).map_err(because)?;
    let will = match (packet.will_topic(), packet.will_payload()) {
        (Some(topic), Some(payload)) => {
            Some(Will { topic: plain(topic)?, payload: Bytes::copy_from_slice(payload), retain: packet.will_retain() })
        }
        _ => None,
    };
    Ok(Incoming::Connect(Box::new(Connect {
        client_id: plain(packet.client_id())?,
        clean_session: packet.clean_session(),
        keep_alive: packet.keep_alive(),
        user_name: packet.user_name().map(plain).transpose()?,
        password: packet.password().map(<[u8]>::to_vec),
        will,
    })))
}

fn parse_publish(raw: &RawPacket) -> Result<Publish, Malformed> {
    let packet = raw.parse_exact(|bytes| v3_1_1::Publish::parse(raw.flags(), bytes.into())).map_err(because)?;
    let qos = match packet.qos() {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce => 1,
        Qos::ExactlyOnce => 2,
    };
    if qos == 0 && packet.dup() {
        return Err(Malformed::Because("a PUBLISH at QoS 0 has DUP"));
    }
    let topic = plain(packet.topic_name())?;
    if topic.is_empty() {
        return Err(Malformed::Because("the topic of a PUBLISH is empty"));
    }
    Ok(Publish {
        topic,
        payload: Bytes::copy_from_slice(packet.payload().as_slice()),
        qos,
        dup: packet.dup(),
        retain: packet.retain(),
        packet_id: packet.packet_id().map(nonzero).transpose()?,
    })
}

fn parse_subscribe(raw: &RawPacket) -> Result<Incoming, Malformed> {
    let packet = raw.parse_exact(v3_1_1::Subscribe::parse).map_err(because)?;
    let filters = packet.entries().iter().map(|entry| match entry.sub_opts().to_buffer() {
        [qos @ 0..=2] => Ok((plain(entry.topic_filter())?, *qos)),
        _ => Err(Malformed::Because("a requested QoS is not 0, 1 or 2")),
    });
    let filters = filters.collect::<Result<_, _>>()?;
    Ok(Incoming::Subscribe { packet_id: nonzero(packet.packet_id())?, filters })
}

fn nonzero(packet_id: u16) -> Result<u16, Malformed> {
    if packet_id == 0 { Err(Malformed::Because("its packet id is 0")) } else { Ok(packet_id) }
}

fn plain(text: &str) -> Result<String, Malformed> {
    if text.contains('\0') { Err(Malformed::Because("its text has U+0000")) } else { Ok(text.to_owned()) }
}

fn because(error: MqttError) -> Malformed {
    Malformed::Because(match error {
        MqttError::ProtocolError => "it breaks the protocol",
        _ => "its fields do not fit its length",
    })
}

/// CONNACK 0.
pub(crate) fn connack(session_present: bool) -> Vec<u8> {
    encode_connack(session_present, ConnectReturnCode::Accepted)
}

/// CONNACK with a refusal code. Only 1 to 5 exist; another one is written as it is, but 0 as 5.
pub(crate) fn connack_refused(code: u8) -> Vec<u8> {
    match ConnectReturnCode::try_from(code) {
        Ok(ConnectReturnCode::Accepted) => encode_connack(false, ConnectReturnCode::NotAuthorized),
        Ok(code) => encode_connack(false, code),
        Err(_) => vec![0x20, 2, 0, code],
    }
}

fn encode_connack(session_present: bool, code: ConnectReturnCode) -> Vec<u8> {
    let packet = v3_1_1::Connack::builder().session_present(session_present).return_code(code).build();
    built(packet.map(|packet| packet.to_continuous_buffer()))
}

pub(crate) fn puback(packet_id: u16) -> Vec<u8> {
    built(v3_1_1::Puback::builder().packet_id(packet_id).build().map(|packet| packet.to_continuous_buffer()))
}

/// Each code is a granted QoS of 0 or 1, or anything else for a refused filter.
pub(crate) fn suback(packet_id: u16, codes: &[u8]) -> Vec<u8> {
    let codes = codes.iter().map(|code| match code {
        0 => SubackReturnCode::SuccessMaximumQos0,
        1 => SubackReturnCode::SuccessMaximumQos1,
        _ => SubackReturnCode::Failure,
    });
    let packet = v3_1_1::Suback::builder().packet_id(packet_id).return_codes(codes.collect()).build();
    built(packet.map(|packet| packet.to_continuous_buffer()))
}

pub(crate) fn unsuback(packet_id: u16) -> Vec<u8> {
    built(v3_1_1::Unsuback::builder().packet_id(packet_id).build().map(|packet| packet.to_continuous_buffer()))
}

pub(crate) fn pingresp() -> Vec<u8> {
    built(v3_1_1::Pingresp::builder().build().map(|packet| packet.to_continuous_buffer()))
}

/// A PUBLISH to the client: at QoS 1 with a packet id, at QoS 0 without one. Never retained (docs/hub-over-mqtt.md 3.1). `None`: the topic is over 65535 bytes.
pub(crate) fn publish(topic: &str, payload: &[u8], packet_id: Option<u16>, dup: bool) -> Option<Vec<u8>> {
    let qos = if packet_id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
    let packet = v3_1_1::Publish::builder().topic_name(topic).ok()?.qos(qos).dup(dup && packet_id.is_some());
    let packet = packet.packet_id(packet_id).payload(payload).build().ok()?;
    Some(packet.to_continuous_buffer())
}

#[expect(clippy::expect_used, reason = "ids are nonzero and texts have been checked before these packets are built")]
fn built(packet: Result<Vec<u8>, MqttError>) -> Vec<u8> {
    packet.expect("a packet without free text can always be encoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bytes: &[u8]) -> Result<Option<Incoming>, Malformed> {
        let mut rest = bytes;
        Decoder::new().next(&mut rest)
    }

    const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01d";

    #[test]
    fn packets_are_found_at_every_split_of_the_bytes() {
        let bytes = [CONNECT, b"\x32\x07\x00\x01t\x00\x05hi", b"\xc0\x00", b"\x40\x02\x00\x07"].concat();
        for split in 0..=bytes.len() {
            let mut decoder = Decoder::new();
            let mut seen = Vec::new();
            for mut part in [&bytes[..split], &bytes[split..]] {
                while !part.is_empty() {
                    seen.extend(decoder.next(&mut part).unwrap());
                }
            }
            assert!(matches!(
                seen.as_slice(),
                [
                    Incoming::Connect(_),
                    Incoming::Publish(Publish { packet_id: Some(5), .. }),
                    Incoming::Pingreq,
                    Incoming::Puback { packet_id: 7 }
                ]
            ));
        }
    }

    #[test]
    fn what_mqtt_forbids_is_malformed() {
        for (name, bytes) in [
            ("CONNECT with header flags", &b"\x11\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01d"[..]),
            ("CONNECT of MQTT 3.1", b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01d"),
            ("CONNECT with the reserved flag", b"\x10\x0d\x00\x04MQTT\x04\x03\x00\x3c\x00\x01d"),
            ("CONNECT with will QoS and no will", b"\x10\x0d\x00\x04MQTT\x04\x0a\x00\x3c\x00\x01d"),
            ("CONNECT with will QoS 3", b"\x10\x13\x00\x04MQTT\x04\x1e\x00\x3c\x00\x01d\x00\x01t\x00\x01p"),
            ("CONNECT with a password only", b"\x10\x10\x00\x04MQTT\x04\x42\x00\x3c\x00\x01d\x00\x01p"),
            ("CONNECT with bytes behind it", b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x01dx"),
            ("CONNECT that ends early", b"\x10\x07\x00\x04MQTT\x04"),
            ("CONNECT with U+0000", b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01\x00"),
            ("CONNECT that is not UTF-8", b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01\xff"),
            ("PUBLISH with QoS 3", b"\x36\x05\x00\x01t\x00\x05"),
            ("PUBLISH with packet id 0", b"\x32\x05\x00\x01t\x00\x00"),
            ("PUBLISH at QoS 0 with DUP", b"\x38\x03\x00\x01t"),
            ("PUBLISH without topic", b"\x30\x02\x00\x00"),
            ("PUBACK with packet id 0", b"\x40\x02\x00\x00"),
            ("PUBACK with a reason code", b"\x40\x03\x00\x01\x00"),
            ("PUBREC", b"\x50\x02\x00\x01"),
            ("SUBSCRIBE with wrong flags", b"\x80\x06\x00\x01\x00\x01t\x00"),
            ("SUBSCRIBE with packet id 0", b"\x82\x06\x00\x00\x00\x01t\x00"),
            ("SUBSCRIBE without filters", b"\x82\x02\x00\x01"),
            ("SUBSCRIBE with QoS 3", b"\x82\x06\x00\x01\x00\x01t\x03"),
            ("SUBSCRIBE with MQTT 5 options", b"\x82\x06\x00\x01\x00\x01t\x04"),
            ("UNSUBSCRIBE without filters", b"\xa2\x02\x00\x01"),
            ("PINGREQ with a byte", b"\xc0\x01\x00"),
            ("a CONNACK", b"\x20\x02\x00\x00"),
            ("type 0", b"\x00\x00"),
            ("type 15", b"\xf0\x00"),
            ("a length of five bytes", b"\x30\xff\xff\xff\xff\x01"),
        ] {
            assert!(matches!(one(bytes), Err(Malformed::Because(_))), "{name}: {:?}", one(bytes));
        }
    }

    #[test]
    fn another_protocol_level_is_told_apart() {
        assert!(matches!(
            one(b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x01d"),
            Ok(Some(Incoming::ConnectOtherLevel(5)))
        ));
    }

    #[test]
    fn a_packet_over_the_limit_is_refused_by_its_header_alone() {
        assert_eq!(one(b"\x30\xff\xff\xff\x7f").unwrap_err(), Malformed::TooLarge);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = (0..random.usize(2..40)).map(|_| random.u8(..)).collect();
            bytes[1] = random.u8(..40);
            let mut rest = bytes.as_slice();
            let mut decoder = Decoder::new();
            while !rest.is_empty() && decoder.next(&mut rest).is_ok() {}
        }
    }

    #[test]
    fn answers_are_written_byte_for_byte() {
        assert_eq!(connack(true), b"\x20\x02\x01\x00");
        assert_eq!(connack_refused(5), b"\x20\x02\x00\x05");
        assert_eq!(puback(258), b"\x40\x02\x01\x02");
        assert_eq!(suback(1, &[0, 1, 0x80]), b"\x90\x05\x00\x01\x00\x01\x80");
        assert_eq!(unsuback(1), b"\xb0\x02\x00\x01");
        assert_eq!(pingresp(), b"\xd0\x00");
        assert_eq!(publish("t", b"hi", Some(5), true).unwrap(), b"\x3a\x07\x00\x01t\x00\x05hi");
        assert_eq!(publish("t", b"", None, true).unwrap(), b"\x30\x03\x00\x01t");
    }
}
