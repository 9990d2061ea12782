//! The packets that are encoded by hand.
//!
//! CONNECT carries the token: its only copy must be wiped, which the codec's own strings are not. PUBLISH is the
//! packet that matters for speed: message and topic go straight into the send buffer, without a copy between; twin and
//! methods use it too.

use bytes::{BufMut, BytesMut};
use iothub_core::{Message, Secret};
use zeroize::Zeroizing;

use crate::topic::Topics;

/// What MQTT can carry in a string or a password: it counts bytes in 16 bits.
pub(crate) const MAX_STRING: usize = 65_535;

/// CONNECT as MQTT 3.1.1 (3.1) and the hub want it: level 4, no will, CleanSession 0, a password only if there is one.
///
/// The strings must not be longer than [`MAX_STRING`].
pub(crate) fn connect(
    client_id: &str,
    user_name: &str,
    password: Option<&Secret>,
    keep_alive: u16,
) -> Zeroizing<Vec<u8>> {
    const USER_NAME: u8 = 0x80;
    const PASSWORD: u8 = 0x40;
    let password = password.map(Secret::expose);
    let strings = [Some(client_id), Some(user_name), password];
    let length = 10 + strings.iter().flatten().map(|text| 2 + text.len()).sum::<usize>();
    // The whole capacity at once: a buffer that grows leaves copies of the token behind.
    let mut packet = Zeroizing::new(Vec::with_capacity(5 + length));
    packet.put_u8(0x10);
    put_remaining_length(length, &mut *packet);
    packet.put_slice(b"\0\x04MQTT\x04");
    packet.put_u8(if password.is_some() { USER_NAME | PASSWORD } else { USER_NAME });
    packet.put_u16(keep_alive);
    for text in strings.into_iter().flatten() {
        put_length(text.len(), &mut *packet);
        packet.put_slice(text.as_bytes());
    }
    packet
}

/// PUBLISH at QoS 0, to a topic of at most [`MAX_STRING`] bytes.
pub(crate) fn publish_once(topic: &str, payload: &[u8], out: &mut BytesMut) {
    let length = 2 + topic.len() + payload.len();
    out.reserve(5 + length);
    out.put_u8(0x30);
    put_remaining_length(length, out);
    put_length(topic.len(), out);
    out.put_slice(topic.as_bytes());
    out.put_slice(payload);
}

/// PUBLISH at QoS 1 of a message whose topic has `topic_len` bytes, at most [`MAX_STRING`].
pub(crate) fn publish(topics: &Topics, message: &Message, topic_len: usize, id: u16, dup: bool, out: &mut BytesMut) {
    const QOS_1: u8 = 0x02;
    const DUP: u8 = 0x08;
    let length = 2 + topic_len + 2 + message.payload().len();
    out.reserve(5 + length);
    out.put_u8(0x30 | QOS_1 | if dup { DUP } else { 0 });
    put_remaining_length(length, out);
    put_length(topic_len, out);
    topics.put_telemetry(message, out);
    out.put_u16(id);
    out.put_slice(message.payload());
}

fn put_length(length: usize, out: &mut impl BufMut) {
    debug_assert!(length <= MAX_STRING);
    out.put_u16(length as u16);
}

/// The remaining length: seven bits a byte, low bits first, the eighth bit says that more follow.
fn put_remaining_length(mut length: usize, out: &mut impl BufMut) {
    debug_assert!(length <= 0x0FFF_FFFF);
    while length > 0x7F {
        out.put_u8((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    out.put_u8(length as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remaining_length_has_the_four_forms_of_the_standard() {
        let encoded = |length| {
            let mut out = BytesMut::new();
            put_remaining_length(length, &mut out);
            out.to_vec()
        };
        assert_eq!(encoded(0), [0]);
        assert_eq!(encoded(127), [0x7F]);
        assert_eq!(encoded(128), [0x80, 0x01]);
        assert_eq!(encoded(16_383), [0xFF, 0x7F]);
        assert_eq!(encoded(16_384), [0x80, 0x80, 0x01]);
        assert_eq!(encoded(2_097_151), [0xFF, 0xFF, 0x7F]);
        assert_eq!(encoded(2_097_152), [0x80, 0x80, 0x80, 0x01]);
    }

    #[test]
    fn connect_is_exact_with_and_without_a_password() {
        let with = connect("d", "h/d/", Some(&Secret::new("pw")), 240);
        assert_eq!(&with[..], b"\x10\x17\0\x04MQTT\x04\xC0\0\xF0\0\x01d\0\x04h/d/\0\x02pw");
        assert!(with.capacity() >= with.len());
        let without = connect("d", "h/d/", None, 1177);
        assert_eq!(&without[..], b"\x10\x13\0\x04MQTT\x04\x80\x04\x99\0\x01d\0\x04h/d/");
    }

    #[test]
    fn publish_is_exact_and_marks_a_repetition() {
        let topics = Topics::new("d", None);
        let message = Message::new("hi").with_property("a", "1").unwrap();
        let mut out = BytesMut::new();
        publish(&topics, &message, topics.telemetry_len(&message), 0x0102, false, &mut out);
        assert_eq!(&out[..], b"\x32\x23\0\x1Ddevices/d/messages/events/a=1\x01\x02hi");
        out.clear();
        publish(&topics, &message, topics.telemetry_len(&message), 0x0102, true, &mut out);
        assert_eq!(out[0], 0x3A);
    }

    #[test]
    fn publish_at_qos_0_has_no_identifier() {
        let mut out = BytesMut::new();
        publish_once("$iothub/a", b"{}", &mut out);
        assert_eq!(&out[..], b"\x30\x0D\0\x09$iothub/a{}");
    }
}
