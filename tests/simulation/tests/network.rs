//! The simulation itself: what its network does to a connection, and that it does it the same way each time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use iothub_core::{ConnectionErrorKind, ConnectionState, DeviceClient, Event, OpId, StatusChange};
use iothub_emulator::{Activity, DisconnectReason};
use iothub_simulation::{Ends, Path, Sim, Way};

const DEVICE: &str = "d";
const LIMIT: Duration = Duration::from_secs(3600);

struct Bench {
    sim: Sim,
    client: DeviceClient,
    statuses: Vec<(Duration, StatusChange)>,
    confirmed: Vec<OpId>,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let sim = Sim::new(seed);
        let connection_string = sim.create_device(DEVICE).unwrap();
        let client = DeviceClient::builder(&connection_string).build(&sim.provider()).unwrap();
        Self { sim, client, statuses: Vec::new(), confirmed: Vec::new() }
    }

    /// Drives the client in virtual time until it is so.
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = self.sim.elapsed() + LIMIT;
        loop {
            self.client.do_work();
            while let Some(event) = self.client.next_event() {
                match event {
                    Event::Status(change) => self.statuses.push((self.sim.elapsed(), change)),
                    Event::Confirmation { id, outcome: Ok(()) } => self.confirmed.push(id),
                    other => panic!("{other:?}"),
                }
            }
            if done(self) {
                return;
            }
            assert!(self.sim.elapsed() < end, "{what}: not within {LIMIT:?}; {:?}", self.statuses);
            self.client.wait(end - self.sim.elapsed());
        }
    }

    fn ready(&mut self) {
        self.until("ready", |bench| bench.client.connection_state() == ConnectionState::Ready);
    }

    fn confirmed(&mut self, id: OpId) {
        self.until("confirmed", |bench| bench.confirmed.contains(&id));
    }

    fn stored(&self) -> usize {
        self.sim.hub().telemetry_count(DEVICE)
    }

    /// The errors of all changes so far.
    fn errors(&self) -> Vec<ConnectionErrorKind> {
        self.statuses.iter().filter_map(|(_, change)| Some(change.error.clone()?.kind)).collect()
    }

    fn ends(&self) -> Vec<DisconnectReason> {
        let end = |activity| match activity {
            Activity::Disconnected { why, .. } => Some(why),
            _ => None,
        };
        self.sim.hub().activity(DEVICE).into_iter().filter_map(end).collect()
    }
}

#[test]
fn a_connection_without_latency_takes_no_time() {
    let mut bench = Bench::new(1);
    bench.ready();
    let id = bench.client.send_event_tracked("x").unwrap();
    bench.confirmed(id);
    assert_eq!(bench.sim.elapsed(), Duration::ZERO);
}

#[test]
fn latency_passes_in_virtual_time_on_both_clocks() {
    let mut bench = Bench::new(1);
    bench.ready();
    let (one_way, before) = (Duration::from_millis(250), bench.sim.hub().now());
    bench.sim.set_path(Path { latency: one_way..one_way, ..Path::default() });
    let id = bench.client.send_event_tracked("x").unwrap();
    bench.confirmed(id);
    assert_eq!(bench.sim.elapsed(), one_way * 2);
    assert_eq!(bench.sim.hub().now().duration_since(before).unwrap(), one_way * 2);
}

#[test]
fn a_message_of_which_the_last_byte_is_cut_off_is_sent_again() {
    let mut bench = Bench::new(1);
    bench.ready();
    // A PUBLISH of 1 byte: 2 of header, 2 and the topic, 2 of packet identifier, the payload.
    let publish = 2 + 2 + format!("devices/{DEVICE}/messages/events/").len() + 2 + 1;
    assert!(bench.sim.cut_after(Way::Up, publish - 1));
    let id = bench.client.send_event_tracked("x").unwrap();
    bench.until("the cut", |bench| !bench.errors().is_empty());
    assert_eq!(bench.stored(), 0);
    assert_eq!(bench.ends(), [DisconnectReason::ConnectionLost]);
    bench.confirmed(id);
    assert_eq!(bench.stored(), 1);
}

#[test]
fn a_message_whose_acknowledgement_is_cut_off_is_stored_twice() {
    let mut bench = Bench::new(1);
    bench.ready();
    assert!(bench.sim.cut_after(Way::Down, 3));
    let id = bench.client.send_event_tracked("x").unwrap();
    bench.confirmed(id);
    assert_eq!(bench.stored(), 2);
    assert_eq!(bench.client.stats().resent, 1);
}

#[test]
fn a_half_open_connection_is_noticed_by_keep_alive() {
    for ways in [&[Way::Up][..], &[Way::Down], &[Way::Up, Way::Down]] {
        let mut bench = Bench::new(1);
        bench.ready();
        assert!(ways.iter().all(|way| bench.sim.vanish(*way)));
        assert!(bench.sim.is_half_open());
        bench.until("the loss", |bench| !bench.errors().is_empty());
        assert!(matches!(bench.errors()[..], [ConnectionErrorKind::NoPingResponse { .. }]), "{:?}", bench.errors());
        // 240 s less the margin of 5 s, and 80 s of waiting for the answer.
        assert_eq!(bench.sim.elapsed(), Duration::from_secs(235 + 80));
        bench.ready();
        assert!(!bench.sim.is_half_open());
    }
}

#[test]
fn pieces_of_one_byte_and_a_buffer_of_one_byte_change_nothing() {
    for piece in [Some(1), Some(7), None] {
        for buffer in [1, 100_000] {
            let mut bench = Bench::new(1);
            bench.sim.set_path(Path { piece, buffer, ..Path::default() });
            bench.client.send_event("y".repeat(2000)).unwrap();
            let id = bench.client.send_event_tracked("x".repeat(2000)).unwrap();
            bench.confirmed(id);
            assert_eq!(bench.stored(), 2);
            assert_eq!(bench.errors(), []);
        }
    }
}

#[test]
fn attempts_fail_as_they_were_planned() {
    let mut bench = Bench::new(1);
    let silence = Duration::from_secs(21);
    bench.sim.fail_attempt(Ends::Refused);
    bench.sim.fail_attempt(Ends::Silent(silence));
    bench.ready();
    let [ConnectionErrorKind::Refused, ConnectionErrorKind::TimedOut { after, .. }] = bench.errors()[..] else {
        panic!("{:?}", bench.errors())
    };
    assert_eq!(after, silence);
    assert!(bench.sim.elapsed() > silence);
}

#[test]
fn a_rival_ends_the_connection_and_is_driven_out_by_the_next() {
    let mut bench = Bench::new(1);
    bench.ready();
    bench.sim.rival_connects(DEVICE);
    bench.until("the loss", |bench| !bench.errors().is_empty());
    bench.ready();
    assert!(matches!(bench.ends()[..], [DisconnectReason::Replaced { .. }, DisconnectReason::Replaced { .. }]));
}

#[test]
fn two_clients_share_a_simulation() {
    let sim = Sim::new(1);
    let mut clients: Vec<_> = ["a", "b"]
        .into_iter()
        .map(|device| {
            let connection_string = sim.create_device(device).unwrap();
            DeviceClient::builder(&connection_string).build(&sim.provider()).unwrap()
        })
        .collect();
    for client in &mut clients {
        client.send_event("x").unwrap();
    }
    while clients.iter().any(|client| client.stats().delivered == 0) {
        assert!(sim.elapsed() < LIMIT);
        clients.iter_mut().for_each(DeviceClient::do_work);
        let mut waiting: Vec<_> = clients.iter_mut().map(|client| client as &mut dyn iothub_core::Waits).collect();
        iothub_core::wait_any(&mut waiting, LIMIT);
    }
    assert_eq!((sim.hub().telemetry_count("a"), sim.hub().telemetry_count("b")), (1, 1));
}

#[test]
fn a_seed_decides_about_latency() {
    let run = |seed| {
        let mut bench = Bench::new(seed);
        bench.sim.set_path(Path { latency: Duration::ZERO..Duration::from_secs(1), piece: Some(9), ..Path::default() });
        let id = bench.client.send_event_tracked("x").unwrap();
        bench.confirmed(id);
        bench.sim.elapsed()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
