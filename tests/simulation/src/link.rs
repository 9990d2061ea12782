//! One connection through the simulated network: the client's stream at one end, the hub's head at the other, and what
//! the network does to the bytes in between.

use std::collections::VecDeque;
use std::time::Duration;

use iothub_emulator::OfflineConnection;
use iothub_net::memory::PeerEnd;

use crate::censor::{Answer, Censor};
use crate::front::Front;
use crate::network::{Path, Way};

/// Something on its way.
enum Parcel {
    Bytes(Vec<u8>),
    /// The sender has closed.
    End,
}

/// One direction.
#[derive(Default)]
struct Lane {
    /// With the time of arrival, which ascends.
    on_the_way: VecDeque<(Duration, Parcel)>,
    /// After how many more bytes the connection breaks.
    cut_after: Option<usize>,
    /// Whatever is sent is lost, and the sender does not notice.
    vanishes: bool,
    /// The sender has closed; nothing more comes.
    closed: bool,
}

impl Lane {
    fn send(&mut self, parcel: Parcel, now: Duration, path: &Path, random: &mut fastrand::Rng) {
        if self.vanishes {
            return;
        }
        let earliest = self.on_the_way.back().map_or(now, |(due, _)| (*due).max(now));
        match parcel {
            Parcel::End => self.on_the_way.push_back((earliest.max(now + path.delay(random)), Parcel::End)),
            Parcel::Bytes(bytes) => {
                let mut due = earliest;
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let size = path.piece.map_or(rest.len(), |most| random.usize(1..=most.max(1)).min(rest.len()));
                    let (piece, after) = rest.split_at(size);
                    due = due.max(now + path.delay(random));
                    self.on_the_way.push_back((due, Parcel::Bytes(piece.to_vec())));
                    rest = after;
                }
            }
        }
    }

    /// The next thing that has arrived; several pieces as one if they are to be merged.
    fn arrived(&mut self, now: Duration, merge: bool) -> Option<Parcel> {
        let next = |lane: &mut Self| {
            let is_due = lane.on_the_way.front().is_some_and(|(due, _)| *due <= now);
            if is_due { lane.on_the_way.pop_front().map(|(_, parcel)| parcel) } else { None }
        };
        let mut first = next(self)?;
        if merge && let Parcel::Bytes(bytes) = &mut first {
            while matches!(self.on_the_way.front(), Some((due, Parcel::Bytes(_))) if *due <= now)
                && let Some(Parcel::Bytes(more)) = next(self)
            {
                bytes.extend(more);
            }
        }
        Some(first)
    }

    /// Shortens what arrives to what gets through; `true` if the connection breaks behind it.
    fn breaks(&mut self, bytes: &mut Vec<u8>) -> bool {
        let Some(left) = &mut self.cut_after else { return false };
        bytes.truncate(*left);
        *left -= bytes.len();
        *left == 0
    }
}

/// What a step of a link came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Something moved; another step may move more.
    pub(crate) any: bool,
    /// The client has something to look at.
    pub(crate) news: bool,
}

pub(crate) struct Link {
    client: PeerEnd,
    hub: OfflineConnection,
    /// Before the hub, if it is a WebSocket.
    front: Option<Front>,
    /// Next to the hub, if it speaks AMQP.
    censor: Option<Censor>,
    path: Path,
    up: Lane,
    down: Lane,
    /// The client was given a piece since it last had the chance to look at it.
    gave_piece: bool,
}

impl Link {
    pub(crate) fn new(
        client: PeerEnd,
        hub: OfflineConnection,
        front: Option<Front>,
        censor: Option<Censor>,
        path: Path,
    ) -> Self {
        let (up, down) = (Lane::default(), Lane::default());
        let mut link = Self { client, hub, front, censor, path: Path::default(), up, down, gave_piece: false };
        link.set_path(path);
        link
    }

    pub(crate) fn set_path(&mut self, path: Path) {
        self.client.set_capacity(path.buffer);
        self.path = path;
    }

    /// Breaks the connection when this many more bytes have got through.
    pub(crate) fn cut_after(&mut self, way: Way, bytes: usize) {
        self.lane(way).cut_after = Some(bytes);
        if bytes == 0 {
            self.cut();
        }
    }

    /// From now on everything that is sent is lost, and nobody is told; what is on its way is lost too.
    pub(crate) fn vanish(&mut self, way: Way) {
        let lane = self.lane(way);
        lane.vanishes = true;
        lane.on_the_way.clear();
    }

    /// What the hub says of this from now on is lost.
    pub(crate) fn withhold(&mut self, answers: &[Answer]) {
        if let Some(censor) = &mut self.censor {
            censor.withhold(answers);
        }
    }

    /// Breaks the connection at once, for both ends to see.
    pub(crate) fn cut(&mut self) {
        self.client.cut();
        self.hub.peer_closed();
        for lane in [&mut self.up, &mut self.down] {
            lane.on_the_way.clear();
            lane.closed = true;
        }
    }

    fn lane(&mut self, way: Way) -> &mut Lane {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }

    /// The client looks at what it was given.
    pub(crate) fn client_looks(&mut self) {
        self.gave_piece = false;
    }

    /// Moves what can move now.
    pub(crate) fn step(&mut self, now: Duration, random: &mut fastrand::Rng) -> Moved {
        let mut moved = Moved::default();
        self.collect(now, random, &mut moved);
        self.give_hub(now, &mut moved);
        self.hub.poll();
        self.collect(now, random, &mut moved);
        self.give_client(now, &mut moved);
        moved
    }

    /// Takes what both ends have written.
    fn collect(&mut self, now: Duration, random: &mut fastrand::Rng, moved: &mut Moved) {
        let written = self.client.receive();
        if !written.is_empty() {
            // The client may have waited for room.
            *moved = Moved { any: true, news: true };
            self.up.send(Parcel::Bytes(written), now, &self.path, random);
        }
        if self.client.is_closed_by_client() && !self.up.closed {
            self.up.closed = true;
            moved.any = true;
            self.up.send(Parcel::End, now, &self.path, random);
        }
        let mut answer = self.hub.take_output();
        if let Some(censor) = &mut self.censor {
            answer = censor.pass(answer, self.hub.is_closed());
            self.down.closed |= self.hub.is_closed() && censor.hides_the_end();
        }
        if let Some(front) = &mut self.front {
            answer = front.wrap(&answer);
            if self.hub.is_closed() && !self.down.closed {
                answer.extend(front.goodbye());
            }
        }
        if !answer.is_empty() {
            moved.any = true;
            self.down.send(Parcel::Bytes(answer), now, &self.path, random);
        }
        if self.hub.is_closed() && !self.down.closed {
            self.down.closed = true;
            moved.any = true;
            self.down.send(Parcel::End, now, &self.path, random);
        }
    }

    fn give_hub(&mut self, now: Duration, moved: &mut Moved) {
        while let Some(parcel) = self.up.arrived(now, self.path.merge) {
            moved.any = true;
            match parcel {
                Parcel::Bytes(mut bytes) => {
                    let breaks = self.up.breaks(&mut bytes);
                    if let Some(front) = &mut self.front {
                        bytes = front.unwrap(&bytes);
                    }
                    if let Some(censor) = &mut self.censor {
                        censor.look(&bytes);
                    }
                    self.hub.receive(&bytes);
                    if breaks {
                        moved.news = true;
                        return self.cut();
                    }
                }
                Parcel::End => self.hub.peer_closed(),
            }
        }
    }

    fn give_client(&mut self, now: Duration, moved: &mut Moved) {
        if self.client.is_closed_by_client() {
            self.down.on_the_way.clear();
        }
        while !self.gave_piece
            && let Some(parcel) = self.down.arrived(now, self.path.merge)
        {
            *moved = Moved { any: true, news: true };
            match parcel {
                Parcel::Bytes(mut bytes) => {
                    let breaks = self.down.breaks(&mut bytes);
                    self.client.send(&bytes);
                    if breaks {
                        self.client.cut_after_sent();
                        self.hub.peer_closed();
                        self.up.closed = true;
                        self.up.on_the_way.clear();
                        self.down.closed = true;
                        self.down.on_the_way.clear();
                    }
                    self.gave_piece = !self.path.merge;
                }
                Parcel::End => self.client.close(),
            }
        }
    }

    /// How long until something arrives, or the hub has something to do.
    pub(crate) fn timeout(&self, now: Duration) -> Option<Duration> {
        let arrives = |lane: &Lane| lane.on_the_way.front().map(|(due, _)| due.saturating_sub(now));
        [arrives(&self.up), arrives(&self.down), self.hub.timeout()].into_iter().flatten().min()
    }

    /// Whether both ends are done with it.
    pub(crate) fn is_over(&self) -> bool {
        let is_empty = self.up.on_the_way.is_empty() && self.down.on_the_way.is_empty();
        self.client.is_closed_by_client() && self.hub.is_closed() && is_empty
    }

    /// Whether the client still uses it.
    pub(crate) fn is_used(&self) -> bool {
        !self.client.is_closed_by_client()
    }

    /// Whether bytes are lost on it and an end does not know.
    pub(crate) fn is_half_open(&self) -> bool {
        self.up.vanishes || self.down.vanishes
    }
}
