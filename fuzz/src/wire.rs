//! MQTT 3.1.1 packets, made and taken apart by hand.

/// A packet: its first byte and what stands behind the remaining length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Kind and flags.
    pub first: u8,
    /// Variable header and payload.
    pub body: Vec<u8>,
}

/// A PUBLISH, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published<'a> {
    /// 0 to 3.
    pub qos: u8,
    /// Whether it is a repetition.
    pub dup: bool,
    /// Perhaps not UTF-8.
    pub topic: &'a [u8],
    /// At a QoS above 0.
    pub id: Option<u16>,
    /// All the rest.
    pub payload: &'a [u8],
}

impl Packet {
    /// The kind: 1 for CONNECT to 14 for DISCONNECT.
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The packet identifier that most kinds begin with.
    pub fn id(&self) -> Option<u16> {
        self.body.first_chunk().copied().map(u16::from_be_bytes)
    }

    /// The fields of a PUBLISH, if it is a whole one.
    pub fn published(&self) -> Option<Published<'_>> {
        let (topic, rest) = split_text(&self.body)?;
        let qos = self.first >> 1 & 3;
        let (id, payload) = match qos {
            0 => (None, rest),
            _ => {
                let (id, payload) = rest.split_first_chunk()?;
                (Some(u16::from_be_bytes(*id)), payload)
            }
        };
        (self.kind() == 3).then_some(Published { qos, dup: self.first & 8 != 0, topic, id, payload })
    }

    /// The filters of a SUBSCRIBE with the QoS asked for, or of an UNSUBSCRIBE with 0.
    pub fn filters(&self) -> Option<Vec<(String, u8)>> {
        let mut rest = self.body.get(2..)?;
        let mut filters = Vec::new();
        while !rest.is_empty() {
            let (filter, behind) = split_text(rest)?;
            let (qos, behind) = match self.kind() {
                8 => behind.split_first().map(|(qos, behind)| (*qos, behind))?,
                _ => (0, behind),
            };
            filters.push((String::from_utf8(filter.to_vec()).ok()?, qos));
            rest = behind;
        }
        Some(filters)
    }
}

/// Takes a text with its length off the front.
pub fn split_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// Cuts a stream of bytes into packets, as they come.
#[derive(Default)]
pub struct Splitter {
    buffer: Vec<u8>,
    is_broken: bool,
}

impl Splitter {
    /// More bytes; returns the packets that they complete. After a remaining length of more than four bytes nothing
    /// comes any more.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Packet> {
        self.buffer.extend(bytes);
        let mut packets = Vec::new();
        while let Some((length, header)) = self.length() {
            let Some(body) = self.buffer.get(header..header + length) else { break };
            packets.push(Packet { first: self.buffer[0], body: body.to_vec() });
            self.buffer.drain(..header + length);
        }
        packets
    }

    /// Whether the stream is no sequence of packets.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// The remaining length and the length of the fixed header, if they have come.
    fn length(&mut self) -> Option<(usize, usize)> {
        let mut length = 0;
        for (index, byte) in self.buffer.iter().skip(1).enumerate() {
            if index == 4 {
                self.is_broken = true;
                return None;
            }
            length |= usize::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                return Some((length, index + 2));
            }
        }
        None
    }
}

/// A packet as bytes.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    while length > 0x7F {
        bytes.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(body);
    bytes
}

/// A text with its length, which is cut to what MQTT can carry.
pub fn text(text: &[u8]) -> Vec<u8> {
    let text = &text[..text.len().min(0xFFFF)];
    [&(text.len() as u16).to_be_bytes(), text].concat()
}

/// CONNACK.
pub fn connack(session_present: bool, code: u8) -> Vec<u8> {
    packet(0x20, &[u8::from(session_present), code])
}

/// PUBACK.
pub fn puback(id: u16) -> Vec<u8> {
    packet(0x40, &id.to_be_bytes())
}

/// SUBACK.
pub fn suback(id: u16, codes: &[u8]) -> Vec<u8> {
    packet(0x90, &[&id.to_be_bytes(), codes].concat())
}

/// UNSUBACK.
pub fn unsuback(id: u16) -> Vec<u8> {
    packet(0xB0, &id.to_be_bytes())
}

/// PUBLISH, with an identifier at QoS 1.
pub fn publish(topic: &[u8], id: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let first = if id.is_some() { 0x32 } else { 0x30 };
    let id = id.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default();
    packet(first, &[text(topic), id, payload.to_vec()].concat())
}

/// SUBSCRIBE.
pub fn subscribe(id: u16, filters: &[(&[u8], u8)]) -> Vec<u8> {
    let filters = filters.iter().flat_map(|(filter, qos)| [text(filter), vec![*qos]].concat());
    packet(0x82, &[id.to_be_bytes().to_vec(), filters.collect()].concat())
}

/// CONNECT with a user name and a password.
pub fn connect(client_id: &str, user_name: &str, password: &str, clean_session: bool, keep_alive: u16) -> Vec<u8> {
    let flags = if clean_session { 0xC2 } else { 0xC0 };
    let fixed = [b"\0\x04MQTT\x04", &[flags][..], &keep_alive.to_be_bytes()].concat();
    let texts = [client_id, user_name, password].map(|part| text(part.as_bytes())).concat();
    packet(0x10, &[fixed, texts].concat())
}

/// PINGRESP.
pub const PINGRESP: [u8; 2] = [0xD0, 0];
