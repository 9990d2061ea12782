//! The hub of one connection: it understands what the client sends, and says what the script wants.

use std::collections::{BTreeMap, VecDeque};

use iothub_net::memory::PeerEnd;

use super::super::wire::{self, Packet, Splitter};
use super::super::world::DEVICE;
use super::ops::Ops;

/// What the client has asked and not been told.
enum Question {
    Connect,
    Subscribe { id: u16, filters: usize },
    Unsubscribe { id: u16 },
    Publish { id: u16 },
    Twin { topic: String },
    Ping,
}

pub(super) struct Hub {
    pub(super) peer: PeerEnd,
    from_client: Splitter,
    /// A second look at what this hub says itself, bytes from the script among it.
    to_client: Splitter,
    questions: VecDeque<Question>,
    is_stalled: bool,
    is_first: bool,
    has_disconnected: bool,
    received: usize,
    next_id: u16,
    last_said: Vec<u8>,
    /// How often each identifier was used for a message at QoS 1, less its PUBACKs.
    unacknowledged: BTreeMap<u16, usize>,
}

impl Hub {
    pub(super) fn new(peer: PeerEnd) -> Self {
        Self {
            peer,
            from_client: Splitter::default(),
            to_client: Splitter::default(),
            questions: VecDeque::new(),
            is_stalled: false,
            is_first: true,
            has_disconnected: false,
            received: 0,
            next_id: 1,
            last_said: Vec::new(),
            unacknowledged: BTreeMap::new(),
        }
    }

    /// How many bytes the client has sent.
    pub(super) fn received(&self) -> usize {
        self.received
    }

    /// Lets this many bytes wait on the way and reads none, or all again with 0.
    pub(super) fn set_stalled(&mut self, capacity: usize) {
        self.is_stalled = capacity > 0;
        self.peer.set_capacity(if capacity > 0 { capacity - 1 } else { 256 * 1024 });
        if !self.is_stalled {
            // What waits in the network goes on.
            self.peer.set_capacity(8 << 20);
        }
    }

    pub(super) fn say(&mut self, bytes: &[u8]) {
        for packet in self.to_client.push(bytes) {
            if let Some(id) =
                packet.published().filter(|published| published.qos > 0).and_then(|published| published.id)
            {
                *self.unacknowledged.entry(id).or_default() += 1;
            }
        }
        self.last_said = bytes.to_vec();
        self.peer.send(bytes);
    }

    /// Takes what the client has sent, and looks at it closely.
    pub(super) fn listen(&mut self, ops: &mut Ops) {
        if self.is_stalled {
            return;
        }
        let bytes = self.peer.receive();
        self.received += bytes.len();
        for packet in self.from_client.push(&bytes) {
            self.hear(&packet, ops);
        }
        assert!(!self.from_client.is_broken(), "the client sent what is no packet");
    }

    fn hear(&mut self, packet: &Packet, ops: &mut Ops) {
        assert!(!self.has_disconnected, "{packet:x?} after DISCONNECT");
        let is_connect = packet.first == 0x10;
        assert_eq!(is_connect, self.is_first, "CONNECT comes first and once, not {packet:x?}");
        self.is_first = false;
        let question = match packet.first {
            0x10 => Some(Question::Connect),
            0x40 => {
                let id = packet.id().unwrap();
                let open = self.unacknowledged.get_mut(&id).filter(|open| **open > 0);
                *open.unwrap_or_else(|| panic!("PUBACK of {id}, which did not come or was acknowledged")) -= 1;
                None
            }
            0x82 => {
                let filters = packet.filters().unwrap();
                assert!(!filters.is_empty() && filters.iter().all(|(_, qos)| *qos <= 1), "{filters:?}");
                Some(Question::Subscribe { id: packet.id().unwrap(), filters: filters.len() })
            }
            0xA2 => {
                assert!(!packet.filters().unwrap().is_empty());
                Some(Question::Unsubscribe { id: packet.id().unwrap() })
            }
            0xC0 => Some(Question::Ping),
            0xE0 => {
                self.has_disconnected = true;
                None
            }
            first if first & 0xF0 == 0x30 => self.hear_publish(packet, ops),
            _ => panic!("no client sends {packet:x?}"),
        };
        self.questions.extend(question);
    }

    fn hear_publish(&mut self, packet: &Packet, ops: &mut Ops) -> Option<Question> {
        let published = packet.published().unwrap();
        assert!(matches!(packet.first, 0x30 | 0x32 | 0x3A), "flags {:#04x}", packet.first);
        let topic = String::from_utf8(published.topic.to_vec()).unwrap();
        assert!(!topic.contains(['+', '#', '\0']), "{topic:?}");
        match published.id {
            Some(id) => {
                assert_eq!(topic, format!("devices/{DEVICE}/messages/events/p=v%201"));
                let op = u64::from_be_bytes(*published.payload.first_chunk().unwrap());
                ops.seen(op, id, published.dup);
                Some(Question::Publish { id })
            }
            None if topic.starts_with("$iothub/twin/") => Some(Question::Twin { topic }),
            None => {
                assert!(topic.starts_with("$iothub/methods/res/"), "{topic}");
                None
            }
        }
    }

    /// The answers that a hub would give.
    pub(super) fn answer_all(&mut self) -> Vec<u8> {
        let questions = std::mem::take(&mut self.questions);
        questions.iter().flat_map(|question| answer(question, 0)).collect()
    }

    /// One answer that is not what the client hopes for.
    pub(super) fn answer_badly(&mut self, number: usize) -> Vec<u8> {
        let at = number / 16 % self.questions.len().max(1);
        match self.questions.remove(at) {
            Some(question) => answer(&question, number % 16),
            None => Vec::new(),
        }
    }

    /// Publishes to the client: a message with this bag, a call with this name and id, a change of the desired
    /// properties, or a message at QoS 0.
    pub(super) fn publishes(&mut self, what: char, text: &[u8]) -> Vec<u8> {
        let bag = [format!("devices/{DEVICE}/messages/devicebound/").as_bytes(), text].concat();
        match what {
            'v' => {
                let id = self.next_id;
                self.next_id = self.next_id.checked_add(1).unwrap_or(1);
                wire::publish(&bag, Some(id), b"hello")
            }
            'b' => wire::publish(&bag, None, b"hello"),
            'i' => wire::publish(&[b"$iothub/methods/POST/m/?$rid=", text].concat(), None, b"{}"),
            _ => wire::publish(b"$iothub/twin/PATCH/properties/desired/?$version=2", Some(0x4000), text),
        }
    }

    /// Says once more what was said last.
    pub(super) fn repeats(&mut self) -> Vec<u8> {
        self.last_said.clone()
    }
}

/// An answer: 0 is the good one.
fn answer(question: &Question, how: usize) -> Vec<u8> {
    match question {
        Question::Connect => match how {
            0 => wire::connack(false, 0),
            1..=6 => wire::connack(false, how as u8),
            _ => wire::connack(true, 0),
        },
        Question::Subscribe { id, filters } => match how {
            0 => wire::suback(*id, &vec![0; *filters]),
            1 => wire::suback(*id, &vec![0x80; *filters]),
            2 => wire::suback(*id, &[0]),
            _ => wire::suback(id.wrapping_add(1), &vec![1; *filters]),
        },
        Question::Unsubscribe { id } => wire::unsuback(if how > 1 { id.wrapping_add(1) } else { *id }),
        Question::Publish { id } => match how {
            0 => wire::puback(*id),
            1 => wire::puback(*id).repeat(2),
            2 => Vec::new(),
            _ => wire::puback(id.wrapping_add(how as u16)),
        },
        Question::Twin { topic } => {
            let rid = topic.split_once("?$rid=").map_or("", |(_, rid)| rid);
            let status = if how == 0 { 200 } else { 190 + how * 20 };
            let answer = format!("$iothub/twin/res/{status}/?$rid={rid}&$version=7");
            let body = br#"{"desired":{"$version":1},"reported":{"$version":1}}"#;
            wire::publish(answer.as_bytes(), (how == 2).then_some(0x4001), body)
        }
        Question::Ping => match how {
            0 => wire::PINGRESP.to_vec(),
            _ => Vec::new(),
        },
    }
}
