//! The telemetry window: which publishes await their PUBACK, under which packet identifiers, and what becomes of the
//! identifiers when the connection is lost.
//!
//! It holds no message: the engine keeps the only copy and submits it again after a loss. The rules:
//!
//! - An identifier is given to one operation until its PUBACK comes or the session is gone. An operation that is
//!   submitted again after a loss gets its identifier back, and DUP if the hub may have seen it.
//! - An operation that is forgotten while in flight leaves its identifier occupied, so that a late PUBACK confirms
//!   nothing else; it is free again with the PUBACK or with the end of the connection.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use iothub_core::OpId;

use crate::packet_ids::PacketIds;

/// How long a PUBACK may take on a connection that seems alive. After 60 s the C SDK sends again on the same connection;
/// MQTT 3.1.1 (4.4) knows repetition only on a new one, and a hub that fell silent for a minute needs that anyway.
pub(crate) const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// A publish on the current connection.
struct Flight {
    /// `None` once it is forgotten.
    op: Option<OpId>,
    packet_id: u16,
    /// Where in the stream its bytes are.
    place: Range<u64>,
    /// Whether an earlier connection has carried it already.
    dup: bool,
    /// When it was encoded, and then when it left the client.
    since: Instant,
    /// Its PUBACK has come; the empty place goes when it reaches the front.
    acknowledged: bool,
}

/// An operation of an earlier connection that the engine has not submitted again yet.
struct Lost {
    packet_id: u16,
    /// Whether any byte of it was sent.
    sent: bool,
}

/// Whether an operation may be sent, and how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// With this packet identifier and DUP flag; [`Telemetry::launch`] follows.
    Send { packet_id: u16, dup: bool },
    /// It is in flight already.
    InFlight,
    /// The window is full.
    Full,
}

pub(crate) struct Telemetry {
    limit: usize,
    /// In the order of sending; the first is never an empty place.
    flights: VecDeque<Flight>,
    /// How many of them await their PUBACK.
    in_flight: usize,
    /// The newest operation on this connection. Operations are numbered in the order in which they are submitted.
    newest: Option<OpId>,
    lost: HashMap<OpId, Lost>,
    /// Index of the first flight that has not left the client.
    unflushed: usize,
}

impl Telemetry {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, flights: VecDeque::new(), in_flight: 0, newest: None, lost: HashMap::new(), unflushed: 0 }
    }

    /// Whether there is room for a new operation. Those that were lost keep their room.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight + self.lost.len() < self.limit
    }

    /// Finds a packet identifier for an operation.
    pub(crate) fn admit(&mut self, op: OpId, ids: &mut PacketIds) -> Admission {
        if self.newest >= Some(op) && self.find_op(op).is_some() {
            return Admission::InFlight;
        }
        if !self.lost.is_empty()
            && let Some(lost) = self.lost.remove(&op)
        {
            return Admission::Send { packet_id: lost.packet_id, dup: lost.sent };
        }
        if !self.has_room() {
            return Admission::Full;
        }
        ids.take().map_or(Admission::Full, |packet_id| Admission::Send { packet_id, dup: false })
    }

    /// Notes an admitted operation that was encoded at this place of the stream.
    pub(crate) fn launch(&mut self, op: OpId, packet_id: u16, dup: bool, place: Range<u64>, now: Instant) {
        self.flights.push_back(Flight { op: Some(op), packet_id, place, dup, since: now, acknowledged: false });
        self.in_flight += 1;
        self.newest = self.newest.max(Some(op));
    }

    /// Everything up to this place of the stream has left the client: the wait for PUBACKs begins.
    pub(crate) fn flushed(&mut self, up_to: u64, now: Instant) {
        let left = self.flights.range_mut(self.unflushed..).take_while(|flight| flight.place.end <= up_to);
        for flight in left {
            flight.since = now;
            self.unflushed += 1;
        }
    }

    /// A PUBACK came. `Err` if nothing is in flight under this identifier; `Ok(None)` if it was forgotten.
    pub(crate) fn acknowledged(&mut self, packet_id: u16, ids: &mut PacketIds) -> Result<Option<OpId>, ()> {
        let index = self.find_packet(packet_id).ok_or(())?;
        let flight = &mut self.flights[index];
        flight.acknowledged = true;
        let op = flight.op.take();
        self.in_flight -= 1;
        ids.give_back(packet_id);
        self.clear_places();
        Ok(op)
    }

    /// Finds what awaits a PUBACK. Identifiers are handed out in cyclic order and PUBACKs come in order, so that the
    /// first look, or the second, is nearly always enough.
    fn find_packet(&self, packet_id: u16) -> Option<usize> {
        let awaits = |flight: &Flight| flight.packet_id == packet_id && !flight.acknowledged;
        let distance = usize::from(packet_id.wrapping_sub(self.flights.front()?.packet_id));
        if self.flights.get(distance).is_some_and(awaits) {
            return Some(distance);
        }
        self.flights.iter().position(awaits)
    }

    fn find_op(&self, op: OpId) -> Option<usize> {
        self.flights.iter().position(|flight| flight.op == Some(op))
    }

    /// Drops the empty places at the front, and all when they are most of the queue.
    fn clear_places(&mut self) {
        while self.flights.front().is_some_and(|flight| flight.acknowledged) {
            self.flights.pop_front();
            self.unflushed = self.unflushed.saturating_sub(1);
        }
        if self.flights.len() > 2 * self.in_flight + 64 {
            let flushed = self.flights.iter().take(self.unflushed).filter(|flight| !flight.acknowledged).count();
            self.flights.retain(|flight| !flight.acknowledged);
            self.unflushed = flushed;
        }
    }

    /// The engine has given the operation up.
    pub(crate) fn forget(&mut self, op: OpId, ids: &mut PacketIds) {
        if let Some(index) = self.find_op(op) {
            self.flights[index].op = None;
        } else if let Some(lost) = self.lost.remove(&op) {
            ids.give_back(lost.packet_id);
        }
    }

    /// When the oldest publish has waited too long for its PUBACK. `last_sent` is when bytes last left the client: one
    /// that is still stuck in the send buffer has not waited for the hub yet, but may not be stuck for ever.
    pub(crate) fn deadline(&self, last_sent: Instant) -> Option<Instant> {
        let oldest = self.flights.front()?;
        let since = if self.unflushed > 0 { oldest.since } else { oldest.since.max(last_sent) };
        Some(since + ACKNOWLEDGEMENT_TIMEOUT)
    }

    /// The connection is gone. `written` is how far its stream had accepted bytes.
    pub(crate) fn connection_lost(&mut self, written: u64, ids: &mut PacketIds) {
        for flight in self.flights.drain(..).filter(|flight| !flight.acknowledged) {
            let sent = flight.dup || flight.place.start < written;
            match flight.op {
                Some(op) => {
                    self.lost.insert(op, Lost { packet_id: flight.packet_id, sent });
                }
                None => ids.give_back(flight.packet_id),
            }
        }
        self.in_flight = 0;
        self.newest = None;
        self.unflushed = 0;
    }

    /// A new connection without the old session: the identifiers mean nothing to the hub.
    pub(crate) fn session_lost(&mut self, ids: &mut PacketIds) {
        for (_, lost) in self.lost.drain() {
            ids.give_back(lost.packet_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        telemetry: Telemetry,
        ids: PacketIds,
        place: u64,
        start: Instant,
    }

    impl Bench {
        fn new(limit: usize) -> Self {
            Self { telemetry: Telemetry::new(limit), ids: PacketIds::default(), place: 0, start: Instant::now() }
        }

        fn at(&self, secs: u64) -> Instant {
            self.start + Duration::from_secs(secs)
        }

        /// Sends an operation of 10 bytes.
        fn send(&mut self, op: u64) -> Admission {
            let admission = self.telemetry.admit(OpId(op), &mut self.ids);
            if let Admission::Send { packet_id, dup } = admission {
                let place = self.place..self.place + 10;
                self.place = place.end;
                self.telemetry.launch(OpId(op), packet_id, dup, place, self.start);
            }
            admission
        }

        fn puback(&mut self, id: u16) -> Result<Option<OpId>, ()> {
            self.telemetry.acknowledged(id, &mut self.ids)
        }

        fn lose(&mut self, written: u64) {
            self.telemetry.connection_lost(written, &mut self.ids);
            self.place = 0;
        }
    }

    fn first(packet_id: u16) -> Admission {
        Admission::Send { packet_id, dup: false }
    }

    fn again(packet_id: u16) -> Admission {
        Admission::Send { packet_id, dup: true }
    }

    #[test]
    fn the_window_is_bounded_and_acknowledgements_may_come_in_any_order() {
        let mut bench = Bench::new(2);
        assert_eq!(bench.send(10), first(1));
        assert_eq!(bench.send(11), first(2));
        assert_eq!(bench.send(12), Admission::Full);
        assert_eq!(bench.send(11), Admission::InFlight);
        assert_eq!(bench.puback(2), Ok(Some(OpId(11))));
        assert_eq!(bench.puback(2), Err(()));
        assert_eq!(bench.send(12), first(3));
        assert_eq!(bench.puback(1), Ok(Some(OpId(10))));
    }

    #[test]
    fn a_lost_operation_keeps_its_identifier_and_its_room() {
        let mut bench = Bench::new(2);
        bench.send(10);
        bench.send(11);
        bench.lose(20);
        assert_eq!(bench.send(12), Admission::Full);
        assert_eq!(bench.send(10), again(1));
        assert_eq!(bench.puback(2), Err(()));
        assert_eq!(bench.puback(1), Ok(Some(OpId(10))));
        assert_eq!(bench.send(12), first(3));
        assert_eq!(bench.send(11), again(2));
    }

    #[test]
    fn what_never_reached_the_stream_is_no_duplicate() {
        let mut bench = Bench::new(9);
        for op in 10..13 {
            bench.send(op);
        }
        bench.lose(11);
        assert_eq!([bench.send(10), bench.send(11), bench.send(12)], [again(1), again(2), first(3)]);
        bench.lose(0);
        assert_eq!([bench.send(10), bench.send(11), bench.send(12)], [again(1), again(2), first(3)]);
    }

    #[test]
    fn without_the_session_everything_is_new() {
        let mut bench = Bench::new(9);
        bench.send(10);
        bench.lose(10);
        bench.telemetry.session_lost(&mut bench.ids);
        assert_eq!(bench.send(10), first(2));
    }

    #[test]
    fn a_forgotten_identifier_is_occupied_until_its_acknowledgement_or_the_end_of_the_connection() {
        let mut bench = Bench::new(2);
        bench.send(10);
        bench.send(11);
        bench.telemetry.forget(OpId(10), &mut bench.ids);
        assert_eq!(bench.send(12), Admission::Full);
        assert_eq!(bench.puback(1), Ok(None));
        assert_eq!(bench.send(12), first(3));
        bench.telemetry.forget(OpId(11), &mut bench.ids);
        bench.lose(99);
        bench.telemetry.forget(OpId(12), &mut bench.ids);
        assert_eq!([bench.send(13), bench.send(14)], [first(4), first(5)]);
        // All identifiers but those two are free again.
        let free = std::iter::from_fn(|| bench.ids.take()).count();
        assert_eq!(free, PacketIds::ALL - 2);
    }

    #[test]
    fn the_wait_for_an_acknowledgement_begins_when_the_bytes_have_left() {
        let mut bench = Bench::new(9);
        assert_eq!(bench.telemetry.deadline(bench.start), None);
        bench.send(10);
        bench.send(11);
        assert_eq!(bench.telemetry.deadline(bench.at(5)), Some(bench.at(65)));
        bench.telemetry.flushed(10, bench.at(7));
        assert_eq!(bench.telemetry.deadline(bench.at(9)), Some(bench.at(67)));
        bench.puback(1).unwrap();
        assert_eq!(bench.telemetry.deadline(bench.at(9)), Some(bench.at(69)));
        bench.telemetry.flushed(20, bench.at(10));
        assert_eq!(bench.telemetry.deadline(bench.at(30)), Some(bench.at(70)));
    }

    #[test]
    fn one_that_is_never_acknowledged_does_not_make_the_others_pile_up() {
        let mut bench = Bench::new(10);
        assert_eq!(bench.send(1), first(1));
        for op in 2..200_000 {
            let Admission::Send { packet_id, .. } = bench.send(op) else { panic!("no room for {op}") };
            assert_eq!(bench.puback(packet_id), Ok(Some(OpId(op))));
        }
        assert!(bench.telemetry.flights.len() < 100, "{}", bench.telemetry.flights.len());
        assert_eq!(bench.puback(1), Ok(Some(OpId(1))));
        assert_eq!(bench.telemetry.flights.len(), 0);
    }

    #[test]
    fn what_has_left_is_known_although_places_were_cleared() {
        let mut bench = Bench::new(200);
        for op in 0..150 {
            bench.send(op);
        }
        bench.telemetry.flushed(1490, bench.at(1));
        for packet_id in 2..=149 {
            bench.puback(packet_id).unwrap();
        }
        bench.telemetry.flushed(1500, bench.at(9));
        bench.puback(1).unwrap();
        assert_eq!(bench.telemetry.deadline(bench.at(9)), Some(bench.at(69)));
    }
}
