//! Frames by hand: performatives as lists of fields.

use super::value::{V, composite, described, sym, text};

pub(crate) const OPEN: u64 = 0x10;
pub(crate) const BEGIN: u64 = 0x11;
pub(crate) const ATTACH: u64 = 0x12;
pub(crate) const FLOW: u64 = 0x13;
pub(crate) const TRANSFER: u64 = 0x14;
pub(crate) const DISPOSITION: u64 = 0x15;
pub(crate) const DETACH: u64 = 0x16;
pub(crate) const END: u64 = 0x17;
pub(crate) const CLOSE: u64 = 0x18;
pub(crate) const MECHANISMS: u64 = 0x40;
pub(crate) const INIT: u64 = 0x41;
pub(crate) const OUTCOME: u64 = 0x44;

pub(crate) const ACCEPTED: u64 = 0x24;
pub(crate) const REJECTED: u64 = 0x25;
pub(crate) const RELEASED: u64 = 0x26;
pub(crate) const MODIFIED: u64 = 0x27;
pub(crate) const RECEIVED: u64 = 0x23;

pub(crate) const AMQP_HEADER: &[u8] = b"AMQP\x00\x01\x00\x00";
pub(crate) const SASL_HEADER: &[u8] = b"AMQP\x03\x01\x00\x00";

pub(crate) const BATCH: u32 = 0x8001_3700;

/// A frame as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) channel: u16,
    /// 0 in an empty frame.
    pub(crate) code: u64,
    pub(crate) fields: Vec<V>,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The first whole frame of these bytes, which is taken from them.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let size = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
        assert!((8..=65_536).contains(&size), "the hub writes a frame of {size} bytes");
        if bytes.len() < size {
            return None;
        }
        let frame: Vec<u8> = bytes.drain(..size).collect();
        assert_eq!(frame[4], 2, "the hub writes no extended header");
        let (kind, channel) = (frame[5], u16::from_be_bytes([frame[6], frame[7]]));
        if size == 8 {
            return Some(Self { kind, channel, code: 0, fields: Vec::new(), payload: Vec::new() });
        }
        let (performative, payload) = V::decode(&frame[8..]);
        let (code, fields) = performative.fields();
        Some(Self { kind, channel, code, fields: fields.to_vec(), payload: payload.to_vec() })
    }

    /// A field; one that is left out is null.
    pub(crate) fn field(&self, index: usize) -> &V {
        self.fields.get(index).unwrap_or(&V::Null)
    }

    pub(crate) fn uint(&self, index: usize) -> u32 {
        match self.field(index) {
            V::Uint(value) => *value,
            other => panic!("field {index} of {self:?} is {other:?}"),
        }
    }

    /// The condition of the error in this field; `None`: there is no error.
    pub(crate) fn condition(&self, index: usize) -> Option<String> {
        match self.field(index) {
            V::Null => None,
            error => {
                let (code, fields) = error.fields();
                assert_eq!(code, 0x1d, "{error:?}");
                Some(fields[0].as_text().to_owned())
            }
        }
    }
}

pub(crate) fn frame(channel: u16, performative: &V, payload: &[u8]) -> Vec<u8> {
    raw_frame(0, channel, &[performative.encoded(), payload.to_vec()].concat())
}

pub(crate) fn raw_frame(kind: u8, channel: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32 + 8).to_be_bytes().to_vec();
    bytes.extend([2, kind]);
    bytes.extend(channel.to_be_bytes());
    bytes.extend(body);
    bytes
}

pub(crate) fn open(idle: Option<u32>) -> V {
    let idle = idle.map_or(V::Null, V::Uint);
    composite(OPEN, vec![text("peer"), text("hub.test"), V::Uint(65_536), V::Ushort(65_535), idle])
}

pub(crate) fn begin() -> V {
    composite(BEGIN, vec![V::Null, V::Uint(0), V::Uint(2048), V::Uint(u32::MAX)])
}

pub(crate) fn end() -> V {
    composite(END, vec![])
}

pub(crate) fn close() -> V {
    composite(CLOSE, vec![])
}

/// What a test wants of an attach.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) handle: u32,
    /// The peer receives.
    pub(crate) receives: bool,
    pub(crate) source: V,
    pub(crate) target: V,
    pub(crate) snd: V,
    pub(crate) rcv: V,
    pub(crate) max_message_size: V,
    pub(crate) properties: Vec<(V, V)>,
}

impl Link {
    pub(crate) fn sender(handle: u32, address: &str) -> Self {
        Self::new(handle, false, source(V::Null), target(text(address)))
    }

    pub(crate) fn receiver(handle: u32, address: &str) -> Self {
        Self::new(handle, true, source(text(address)), target(V::Null))
    }

    fn new(handle: u32, receives: bool, source: V, target: V) -> Self {
        Self {
            name: format!("link-{handle}-{receives}"),
            handle,
            receives,
            source,
            target,
            snd: V::Null,
            rcv: V::Null,
            max_message_size: V::Null,
            properties: Vec::new(),
        }
    }

    pub(crate) fn property(mut self, name: &str, value: V) -> Self {
        self.properties.push((sym(name), value));
        self
    }

    pub(crate) fn modes(mut self, snd: u8, rcv: u8) -> Self {
        (self.snd, self.rcv) = (V::Ubyte(snd), V::Ubyte(rcv));
        self
    }

    pub(crate) fn attach(&self) -> V {
        let properties = if self.properties.is_empty() { V::Null } else { V::Map(self.properties.clone()) };
        composite(
            ATTACH,
            vec![
                text(&self.name),
                V::Uint(self.handle),
                V::Bool(self.receives),
                self.snd.clone(),
                self.rcv.clone(),
                self.source.clone(),
                self.target.clone(),
                V::Null,
                V::Null,
                if self.receives { V::Null } else { V::Uint(0) },
                self.max_message_size.clone(),
                V::Null,
                V::Null,
                properties,
            ],
        )
    }
}

pub(crate) fn source(address: V) -> V {
    composite(0x28, vec![address])
}

pub(crate) fn target(address: V) -> V {
    composite(0x29, vec![address])
}

/// Credit for one of the peer's receivers.
pub(crate) fn credit(handle: u32, delivery_count: u32, credit: u32) -> V {
    flow(handle, delivery_count, credit, false)
}

pub(crate) fn flow(handle: u32, delivery_count: u32, credit: u32, drain: bool) -> V {
    let counts = [V::Uint(handle), V::Uint(delivery_count), V::Uint(credit), V::Null, V::Bool(drain)];
    let windows = [V::Uint(1), V::Uint(u32::MAX), V::Uint(0), V::Uint(u32::MAX)];
    composite(FLOW, windows.into_iter().chain(counts).collect())
}

/// A transfer; `settled` and `more` as they are on the wire.
pub(crate) fn transfer(handle: u32, id: u32, format: u32, settled: bool, more: bool) -> V {
    let tag = V::Bin(id.to_be_bytes().to_vec());
    composite(TRANSFER, vec![V::Uint(handle), V::Uint(id), tag, V::Uint(format), V::Bool(settled), V::Bool(more)])
}

pub(crate) fn detach(handle: u32) -> V {
    composite(DETACH, vec![V::Uint(handle), V::Bool(true)])
}

/// What the peer says of deliveries that it has received.
pub(crate) fn disposition(first: u32, last: u32, settled: bool, state: V) -> V {
    composite(DISPOSITION, vec![V::Bool(true), V::Uint(first), V::Uint(last), V::Bool(settled), state])
}

pub(crate) fn outcome(code: u64) -> V {
    composite(code, vec![])
}

/// Sections of a message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) annotations: Vec<(V, V)>,
    /// By the index of the field.
    pub(crate) properties: Vec<(usize, V)>,
    pub(crate) application: Vec<(V, V)>,
    pub(crate) data: Vec<Vec<u8>>,
    pub(crate) value: Option<V>,
}

pub(crate) const MESSAGE_ID: usize = 0;
pub(crate) const USER_ID: usize = 1;
pub(crate) const TO: usize = 2;
pub(crate) const REPLY_TO: usize = 4;
pub(crate) const CORRELATION_ID: usize = 5;
pub(crate) const CONTENT_TYPE: usize = 6;
pub(crate) const CONTENT_ENCODING: usize = 7;
pub(crate) const EXPIRY: usize = 8;

impl Message {
    pub(crate) fn of(body: &[u8]) -> Self {
        Self { data: vec![body.to_vec()], ..Self::default() }
    }

    pub(crate) fn value(value: V) -> Self {
        Self { value: Some(value), ..Self::default() }
    }

    pub(crate) fn annotation(mut self, name: &str, value: V) -> Self {
        self.annotations.push((sym(name), value));
        self
    }

    pub(crate) fn property(mut self, index: usize, value: V) -> Self {
        self.properties.push((index, value));
        self
    }

    pub(crate) fn application(mut self, name: &str, value: V) -> Self {
        self.application.push((text(name), value));
        self
    }

    pub(crate) fn sections(&self) -> Vec<Vec<u8>> {
        let mut sections = Vec::new();
        if !self.annotations.is_empty() {
            sections.push(described(0x72, V::Map(self.annotations.clone())).encoded());
        }
        if let Some(last) = self.properties.iter().map(|(index, _)| *index).max() {
            let mut fields = vec![V::Null; last + 1];
            self.properties.iter().for_each(|(index, value)| fields[*index] = value.clone());
            sections.push(described(0x73, V::List(fields)).encoded());
        }
        if !self.application.is_empty() {
            sections.push(described(0x74, V::Map(self.application.clone())).encoded());
        }
        sections.extend(self.data.iter().map(|data| described(0x75, V::Bin(data.clone())).encoded()));
        sections.extend(self.value.iter().map(|value| described(0x77, value.clone()).encoded()));
        sections
    }

    pub(crate) fn encoded(&self) -> Vec<u8> {
        self.sections().concat()
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Self {
        let mut message = Self::default();
        while !bytes.is_empty() {
            let (section, rest) = V::decode(bytes);
            bytes = rest;
            let V::Described(code, value) = section else { panic!("{section:?} is no section") };
            match (*code, *value) {
                (V::Ulong(0x72), V::Map(pairs)) => message.annotations = pairs,
                (V::Ulong(0x73), V::List(fields)) => {
                    message.properties = fields.into_iter().enumerate().filter(|(_, v)| *v != V::Null).collect();
                }
                (V::Ulong(0x74), V::Map(pairs)) => message.application = pairs,
                (V::Ulong(0x75), V::Bin(data)) => message.data.push(data),
                (V::Ulong(0x77), value) => message.value = Some(value),
                other => panic!("the hub writes the section {other:?}"),
            }
        }
        message
    }

    pub(crate) fn annotated(&self, name: &str) -> Option<&V> {
        self.annotations.iter().find(|(key, _)| *key == sym(name)).map(|(_, value)| value)
    }

    pub(crate) fn prop(&self, index: usize) -> Option<&V> {
        self.properties.iter().find(|(known, _)| *known == index).map(|(_, value)| value)
    }

    pub(crate) fn app(&self, name: &str) -> Option<&V> {
        self.application.iter().find(|(key, _)| *key == text(name)).map(|(_, value)| value)
    }

    pub(crate) fn body(&self) -> String {
        String::from_utf8(self.data.concat()).expect("UTF-8")
    }
}
