//! A peer that opens, takes every token and accepts every message, as a hub does when all is well: one disposition for the
//! messages of a session that came together, credit for 1,000 messages a link, given again when half is used.

use std::collections::{HashMap, VecDeque};

use fe2o3_amqp_types::definitions::{Handle, Role};
use fe2o3_amqp_types::messaging::{Accepted, AmqpValue, ApplicationProperties, DeliveryState, Properties};
use fe2o3_amqp_types::performatives::{Attach, Begin, Close, Detach, Disposition, End, Flow, Open, Transfer};
use fe2o3_amqp_types::primitives::SimpleValue;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Sink;

const HEADER: &[u8; 8] = b"AMQP\0\x01\0\0";
const MAX_FRAME: u32 = 65_536;
const MAX_MESSAGE: u64 = 1_048_576;
const WINDOW: u32 = 5_000;
const CREDIT: u32 = 1_000;

/// Starts one.
pub(crate) fn start() -> Sink {
    Sink::listen(serve)
}

/// Serves one connection to its end.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut chunk = vec![0; 64 * 1024];
    let mut pending = Vec::new();
    let mut peer = Peer::default();
    let mut has_header = false;
    loop {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        pending.extend_from_slice(&chunk[..count]);
        let mut done = 0;
        if !has_header {
            if pending.len() < HEADER.len() {
                continue;
            }
            assert!(pending.starts_with(HEADER), "the sink knows no SASL: tokens are put");
            peer.out.extend_from_slice(HEADER);
            has_header = true;
            done = HEADER.len();
        }
        while let Some(size) = pending[done..].first_chunk().map(|size| u32::from_be_bytes(*size) as usize)
            && let Some(frame) = pending.get(done..done + size)
        {
            peer.take(frame);
            done += size;
        }
        pending.drain(..done);
        peer.accept();
        if !peer.out.is_empty() {
            stream.write_all(&peer.out).await?;
            stream.flush().await?;
            peer.out.clear();
        }
    }
}

/// The sink's end of a connection. Channels and handles are the client's.
#[derive(Default)]
struct Peer {
    sessions: HashMap<u16, Session>,
    out: Vec<u8>,
}

#[derive(Default)]
struct Session {
    next_incoming: u32,
    next_outgoing: u32,
    links: HashMap<u32, Link>,
    /// The first and the last delivery that came whole and has no outcome yet.
    arrived: Option<(u32, u32)>,
    /// The delivery whose parts are coming.
    parts_of: Option<u32>,
    /// Replies to tokens, until there is credit for them.
    replies: VecDeque<Vec<u8>>,
}

/// A link of the client's.
enum Link {
    /// On which it sends so many messages, and may send so many more.
    Sends { count: u32, credit: u32, is_token: bool },
    /// On which it has got so many, and takes no more than so many in all.
    Receives { count: u32, limit: u32 },
}

impl Peer {
    fn take(&mut self, frame: &[u8]) {
        let (channel, body) = (u16::from_be_bytes([frame[6], frame[7]]), &frame[8..]);
        // Descriptors are small numbers, in one byte. A frame without a body is a sign of life.
        match body.get(2) {
            Some(0x10) => self.open(),
            Some(0x11) => self.begin(channel, &read(body).0),
            Some(0x12) => self.attach(channel, read(body).0),
            Some(0x13) => self.credit(channel, &read(body).0),
            Some(0x14) => {
                let (transfer, payload) = read(body);
                self.transfer(channel, &transfer, payload);
            }
            Some(0x16) => {
                let Detach { handle, .. } = read(body).0;
                self.put(channel, &Detach { handle, closed: true, error: None });
            }
            Some(0x17) => {
                self.sessions.remove(&channel);
                self.put(channel, &End { error: None });
            }
            Some(0x18) => self.put(0, &Close { error: None }),
            _ => {}
        }
    }

    fn open(&mut self) {
        let open = Open {
            container_id: "sink".to_owned(),
            hostname: None,
            max_frame_size: MAX_FRAME.into(),
            channel_max: 8191.into(),
            idle_time_out: Some(240_000),
            outgoing_locales: None,
            incoming_locales: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        self.put(0, &open);
    }

    fn begin(&mut self, channel: u16, theirs: &Begin) {
        let ours = Begin {
            remote_channel: Some(channel),
            next_outgoing_id: 0,
            incoming_window: WINDOW,
            outgoing_window: WINDOW,
            ..theirs.clone()
        };
        self.sessions.insert(channel, Session { next_incoming: theirs.next_outgoing_id, ..Session::default() });
        self.put(channel, &ours);
    }

    fn attach(&mut self, channel: u16, theirs: Attach) {
        let Handle(handle) = theirs.handle;
        let client_sends = theirs.role == Role::Sender;
        let is_token = theirs.name.starts_with("cbs");
        let ours = Attach {
            role: if client_sends { Role::Receiver } else { Role::Sender },
            initial_delivery_count: (!client_sends).then_some(0),
            max_message_size: Some(MAX_MESSAGE),
            unsettled: None,
            ..theirs
        };
        self.put(channel, &ours);
        let link = match client_sends {
            true => Link::Sends { count: theirs.initial_delivery_count.unwrap_or(0), credit: CREDIT, is_token },
            false => Link::Receives { count: 0, limit: 0 },
        };
        self.session(channel).links.insert(handle, link);
        if client_sends {
            self.flow(channel, handle);
        }
    }

    fn transfer(&mut self, channel: u16, transfer: &Transfer, payload: &[u8]) {
        let Handle(handle) = transfer.handle;
        let session = self.session(channel);
        session.next_incoming = session.next_incoming.wrapping_add(1);
        let id = session.parts_of.take().or(transfer.delivery_id).expect("a delivery has an id");
        if transfer.more {
            session.parts_of = Some(id);
            return;
        }
        session.arrived = Some((session.arrived.map_or(id, |(first, _)| first), id));
        let Some(Link::Sends { count, credit, is_token }) = session.links.get_mut(&handle) else {
            panic!("a transfer on no link")
        };
        *count = count.wrapping_add(1);
        *credit -= 1;
        let (is_token, wants_credit) = (*is_token, *credit < CREDIT / 2);
        if wants_credit {
            *credit = CREDIT;
            self.flow(channel, handle);
        }
        if is_token {
            self.token_is_put(channel, payload);
        }
    }

    /// Every token is taken. The request is known by its first section.
    fn token_is_put(&mut self, channel: u16, request: &[u8]) {
        let asked: Properties = read(request).0;
        let properties = Properties { correlation_id: asked.message_id, ..Properties::default() };
        let mut application = ApplicationProperties::default();
        application.0.insert("status-code".to_owned(), SimpleValue::Int(200));
        let sections = [bytes(&properties), bytes(&application), bytes(&AmqpValue(200))].concat();
        self.session(channel).replies.push_back(sections);
        self.reply(channel);
    }

    /// The client gives credit, of which only that for replies to tokens is of use.
    fn credit(&mut self, channel: u16, flow: &Flow) {
        let Some(Handle(handle)) = flow.handle.clone() else { return };
        if let Some(Link::Receives { limit, .. }) = self.session(channel).links.get_mut(&handle) {
            *limit = flow.delivery_count.unwrap_or(0).wrapping_add(flow.link_credit.unwrap_or(0));
            self.reply(channel);
        }
    }

    /// Sends replies as far as there is credit.
    fn reply(&mut self, channel: u16) {
        loop {
            let session = self.session(channel);
            let mut links = session.links.iter_mut();
            let Some((handle, count)) = links.find_map(|(handle, link)| match link {
                Link::Receives { count, limit } if *count < *limit => Some((*handle, count)),
                _ => None,
            }) else {
                return;
            };
            let Some(sections) = session.replies.pop_front() else { return };
            *count += 1;
            let id = session.next_outgoing;
            session.next_outgoing += 1;
            let transfer = Transfer {
                handle: Handle(handle),
                delivery_id: Some(id),
                delivery_tag: Some(id.to_be_bytes().to_vec().into()),
                message_format: Some(0),
                settled: Some(true),
                more: false,
                rcv_settle_mode: None,
                state: None,
                resume: false,
                aborted: false,
                batchable: false,
            };
            self.put_with(channel, &transfer, &sections);
        }
    }

    /// Everything that came whole is accepted.
    fn accept(&mut self) {
        let arrived =
            self.sessions.iter_mut().filter_map(|(channel, session)| Some((*channel, session.arrived.take()?)));
        for (channel, (first, last)) in arrived.collect::<Vec<_>>() {
            let disposition = Disposition {
                role: Role::Receiver,
                first,
                last: Some(last),
                settled: true,
                state: Some(DeliveryState::Accepted(Accepted {})),
                batchable: false,
            };
            self.put(channel, &disposition);
        }
    }

    /// Says how much the client may send on a link.
    fn flow(&mut self, channel: u16, handle: u32) {
        let session = self.session(channel);
        let Some(Link::Sends { count, credit, .. }) = session.links.get(&handle) else { return };
        let flow = Flow {
            next_incoming_id: Some(session.next_incoming),
            incoming_window: WINDOW,
            next_outgoing_id: session.next_outgoing,
            outgoing_window: WINDOW,
            handle: Some(Handle(handle)),
            delivery_count: Some(*count),
            link_credit: Some(*credit),
            available: None,
            drain: false,
            echo: false,
            properties: None,
        };
        self.put(channel, &flow);
    }

    fn session(&mut self, channel: u16) -> &mut Session {
        self.sessions.get_mut(&channel).expect("a session on this channel")
    }

    fn put(&mut self, channel: u16, body: &impl Serialize) {
        self.put_with(channel, body, &[]);
    }

    fn put_with(&mut self, channel: u16, body: &impl Serialize, payload: &[u8]) {
        let body = bytes(body);
        let size = 8 + body.len() + payload.len();
        self.out.extend_from_slice(&(size as u32).to_be_bytes());
        self.out.extend_from_slice(&[2, 0]);
        self.out.extend_from_slice(&channel.to_be_bytes());
        self.out.extend_from_slice(&body);
        self.out.extend_from_slice(payload);
    }
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_amqp::to_vec(value).expect("it can be encoded")
}

/// The described list at the front, and what follows it.
fn read<'a, T: serde::de::Deserialize<'a>>(bytes: &'a [u8]) -> (T, &'a [u8]) {
    let end = match bytes {
        [_, _, _, 0x45, ..] => 4,
        [_, _, _, 0xc0, size, ..] => 5 + usize::from(*size),
        [_, _, _, 0xd0, a, b, c, d, ..] => 8 + u32::from_be_bytes([*a, *b, *c, *d]) as usize,
        _ => panic!("no list: {bytes:02x?}"),
    };
    (serde_amqp::from_slice(&bytes[..end]).expect("what it says that it is"), &bytes[end..])
}
