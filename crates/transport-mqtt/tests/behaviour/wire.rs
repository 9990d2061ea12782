//! MQTT packets as bytes, made and taken apart by hand.

/// A packet: first byte, remaining length, body.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let low = (length % 128) as u8;
        length /= 128;
        bytes.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

pub(crate) fn connack(session_present: bool) -> Vec<u8> {
    vec![0x20, 2, u8::from(session_present), 0]
}

pub(crate) fn puback(id: u16) -> Vec<u8> {
    packet(0x40, &id.to_be_bytes())
}

pub(crate) fn suback(id: u16, codes: &[u8]) -> Vec<u8> {
    packet(0x90, &[&id.to_be_bytes(), codes].concat())
}

pub(crate) fn unsuback(id: u16) -> Vec<u8> {
    packet(0xB0, &id.to_be_bytes())
}

pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];
pub(crate) const PINGRESP: [u8; 2] = [0xD0, 0];
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// A QoS 1 message to the device `dev-1` with this property bag.
pub(crate) fn to_device(id: u16, bag: &str, payload: &[u8]) -> Vec<u8> {
    publish(0x32, &format!("devices/dev-1/messages/devicebound/{bag}"), Some(id), payload)
}

/// A QoS 1 message to an input of the module `mod-1`; the tail begins with the input's name.
pub(crate) fn to_input(id: u16, tail: &str, payload: &[u8]) -> Vec<u8> {
    publish(0x32, &format!("devices/dev-1/modules/mod-1/inputs/{tail}"), Some(id), payload)
}

pub(crate) fn publish(first: u8, topic: &str, id: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let id = id.map(u16::to_be_bytes);
    packet(first, &[&text(topic)[..], id.as_ref().map_or(&[][..], |id| id), payload].concat())
}

pub(crate) fn subscribe(id: u16, filter: &str, qos: u8) -> Vec<u8> {
    subscribe_all(id, &[(filter, qos)])
}

pub(crate) fn subscribe_all(id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let filters: Vec<u8> = filters.iter().flat_map(|(filter, qos)| [text(filter), vec![*qos]].concat()).collect();
    packet(0x82, &[&id.to_be_bytes()[..], &filters].concat())
}

/// A QoS 0 publish, either way.
pub(crate) fn publish_once(topic: &str, payload: &[u8]) -> Vec<u8> {
    publish(0x30, topic, None, payload)
}

pub(crate) fn unsubscribe(id: u16, filter: &str) -> Vec<u8> {
    packet(0xA2, &[&id.to_be_bytes()[..], &text(filter)].concat())
}

/// Takes apart what the client sent. Panics if a packet is unfinished.
pub(crate) fn split(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let (mut length, mut at) = (0, 1);
        loop {
            length |= usize::from(bytes[at] & 0x7F) << (7 * (at - 1));
            at += 1;
            if bytes[at - 1] & 0x80 == 0 {
                break;
            }
        }
        let (packet, rest) = bytes.split_at(at + length);
        packets.push(packet.to_vec());
        bytes = rest;
    }
    packets
}

/// A packet behind its fixed header.
fn body(packet: &[u8]) -> &[u8] {
    &packet[1 + packet[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1..]
}

/// The identifier of a packet that begins with one.
pub(crate) fn packet_id(packet: &[u8]) -> u16 {
    let body = body(packet);
    u16::from_be_bytes([body[0], body[1]])
}

/// A QoS 1 publish of the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) id: u16,
    pub(crate) dup: bool,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

/// The publishes among what the client sent, which are all of QoS 1.
pub(crate) fn publishes(bytes: &[u8]) -> Vec<Published> {
    split(bytes).iter().filter(|packet| packet[0] & 0xF0 == 0x30).map(|packet| published(packet)).collect()
}

/// Those that are of QoS 1.
pub(crate) fn publishes_of_qos_1(bytes: &[u8]) -> Vec<Published> {
    split(bytes).iter().filter(|packet| packet[0] & 0xF6 == 0x32).map(|packet| published(packet)).collect()
}

fn published(packet: &[u8]) -> Published {
    assert_eq!(packet[0] & 0xF7, 0x32, "QoS 1 without RETAIN");
    let (length, body) = body(packet).split_at(2);
    let (topic, body) = body.split_at(usize::from(u16::from_be_bytes([length[0], length[1]])));
    let (id, payload) = body.split_at(2);
    Published {
        id: u16::from_be_bytes([id[0], id[1]]),
        dup: packet[0] & 0x08 != 0,
        topic: String::from_utf8(topic.to_vec()).unwrap(),
        payload: payload.to_vec(),
    }
}
