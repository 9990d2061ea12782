//! Telemetry: alone and in batches, with outcomes, without, and late.

use std::time::Duration;

use iothub_client::{ConnectionErrorKind, Message, OpError, Submit, Unsupported};
use iothub_emulator::{AmqpLink, AmqpOutcome, Config, Fault};

use crate::bench::{Bench, DEVICE, Seen, done};

const MINUTE: Duration = Duration::from_secs(60);
const UNANSWERED: ConnectionErrorKind = ConnectionErrorKind::NoAcknowledgement { after: MINUTE };

fn texts(ids: impl IntoIterator<Item = u64>) -> Vec<String> {
    ids.into_iter().map(|id| id.to_string()).collect()
}

fn done_all(ids: impl IntoIterator<Item = u64>) -> Vec<Seen> {
    ids.into_iter().map(done).collect()
}

#[test]
fn what_waits_together_goes_in_one_transfer_and_what_is_alone_as_it_is() {
    let mut bench = Bench::connected();
    bench.transfers();
    bench.send_all(1..=50);
    assert_eq!(bench.work(), done_all(1..=50));
    assert_eq!(bench.transfers(), [true]);
    bench.send_all([51]);
    assert_eq!(bench.work(), [done(51)]);
    assert_eq!(bench.transfers(), [false]);
    assert_eq!(bench.stored(), texts(1..=51));
}

#[test]
fn without_batching_each_message_is_a_transfer() {
    let mut bench = Bench::with(|options| options.batching = false);
    bench.connect();
    bench.transfers();
    bench.send_all(1..=5);
    assert_eq!(bench.work(), done_all(1..=5));
    assert_eq!(bench.transfers(), [false; 5]);
    assert_eq!(bench.stored(), texts(1..=5));
}

#[test]
fn a_message_of_a_batch_has_its_own_properties_and_stamps() {
    let mut bench = Bench::connected();
    let message = |n: &str| {
        Message::new(format!("body {n}"))
            .with_property("own", n)
            .unwrap()
            .with_message_id(format!("id-{n}"))
            .unwrap()
            .with_content_type("text/plain")
            .unwrap()
            .with_component_name(format!("component-{n}"))
            .unwrap()
    };
    for n in 1..=3 {
        assert_eq!(bench.send(n, &message(&n.to_string())), Submit::Taken);
    }
    assert_eq!(bench.send(4, &Message::new("")), Submit::Taken);
    assert_eq!(bench.work(), done_all(1..=4));
    let stored = bench.hub.telemetry(DEVICE);
    assert_eq!(stored.len(), 4);
    for (n, record) in (1..=3).zip(&stored) {
        assert_eq!(record.body, format!("body {n}"));
        assert_eq!(record.properties, [("own".to_owned(), Some(n.to_string()))]);
        let system = |name: &str| record.system.get(name).map(String::as_str);
        let expected = (Some(format!("id-{n}")), Some(format!("component-{n}")));
        assert_eq!((system("message-id"), system("dt-subject")), (expected.0.as_deref(), expected.1.as_deref()));
        assert_eq!(system("content-type"), Some("text/plain"));
        assert_eq!(record.stamps["iothub-connection-device-id"], DEVICE);
    }
    assert!(stored[3].body.is_empty() && stored[3].properties.is_empty() && stored[3].system.is_empty());
}

#[test]
fn a_batch_is_no_larger_than_what_the_link_takes_and_one_message_that_is_fails_by_itself() {
    let mut bench = Bench::with_hub(Config::new().with_amqp_max_message_size(10_000), |_| {});
    bench.connect();
    bench.transfers();
    let sizes = [3_000, 3_000, 3_000, 11_000, 9_900, 10];
    for (id, size) in (1..).zip(sizes) {
        assert_eq!(bench.send(id, &Message::new(vec![id as u8; size])), Submit::Taken);
    }
    let seen = bench.work();
    let too_large = |size| Err(OpError::Unsupported(Unsupported::MessageTooLarge { size, limit: 10_000 }));
    assert!(seen.contains(&Seen::Done(4, too_large(11_008))), "{seen:?}");
    for id in [1, 2, 3, 5, 6] {
        assert!(seen.contains(&done(id)), "{id}: {seen:?}");
    }
    assert_eq!(seen.len(), 6);
    // Two and a third would leave less than the reserve free; the fifth fits into no batch, but onto the link.
    assert_eq!(bench.transfers(), [true, false, false, false]);
    let stored: Vec<_> = bench.hub.telemetry(DEVICE).iter().map(|record| record.body.len()).collect();
    assert_eq!(stored, [3_000, 3_000, 3_000, 9_900, 10]);
}

#[test]
fn throttling_quota_and_a_refused_device_are_told_as_what_they_are_and_nothing_is_sent_again() {
    let lasts = Duration::from_secs(10);
    for (fault, expected) in [
        (Fault::Throttle { lasts }, "com.microsoft:device-container-throttled"),
        (Fault::Quota { lasts }, "amqp:resource-limit-exceeded"),
        (Fault::AuthError { lasts }, "amqp:unauthorized-access"),
    ] {
        let mut bench = Bench::connected();
        bench.hub.inject_for(DEVICE, fault.clone());
        bench.work();
        bench.transfers();
        bench.send_all(1..=3);
        let seen = bench.work();
        assert_eq!(seen.len(), 3);
        for (id, seen) in (1..=3).zip(seen) {
            let (words, is_later) = match seen {
                Seen::Done(of, Err(OpError::NotNow(words))) if of == id => (words, true),
                Seen::Done(of, Err(OpError::Rejected(words))) if of == id => (words, false),
                other => panic!("{other:?}"),
            };
            assert!(words.starts_with(expected), "{words}");
            assert_eq!(is_later, !matches!(fault, Fault::AuthError { .. }), "{words}");
        }
        assert_eq!(bench.transfers(), [true]);
        bench.advance(lasts);
        bench.send_all([4, 5]);
        assert_eq!(bench.work(), done_all([4, 5]));
        assert_eq!(bench.stored(), texts([4, 5]));
    }
}

#[test]
fn what_is_given_back_may_be_sent_again_later() {
    for outcome in [AmqpOutcome::Released, AmqpOutcome::Modified] {
        let mut bench = Bench::connected();
        bench.hub.inject_for(DEVICE, Fault::AmqpOutcome(outcome));
        bench.send_all([1, 2]);
        let seen = bench.work();
        assert!(matches!(&seen[..], [Seen::Done(1, Err(OpError::NotNow(_))), Seen::Done(2, Err(OpError::NotNow(_)))]));
    }
}

#[test]
fn the_messages_of_a_refused_batch_go_alone_when_they_come_again_and_others_together() {
    let mut bench = Bench::connected();
    let condition = "amqp:not-allowed".to_owned();
    bench.hub.inject_for(DEVICE, Fault::AmqpOutcome(AmqpOutcome::Rejected { condition }));
    bench.transfers();
    bench.send_all([1, 2, 3]);
    let refused = |seen: &Seen| matches!(seen, Seen::Done(_, Err(OpError::BatchRejected(_))));
    assert_eq!(bench.work().iter().filter(|seen| refused(seen)).count(), 3);
    bench.forget(3);
    bench.send_all([1, 2, 4, 5]);
    assert_eq!(bench.work(), done_all([1, 2, 4, 5]));
    assert_eq!(bench.transfers(), [true, false, false, true]);
}

#[test]
fn a_single_message_that_is_refused_is_refused() {
    let mut bench = Bench::connected();
    let condition = "amqp:not-allowed".to_owned();
    bench.hub.inject_for(DEVICE, Fault::AmqpOutcome(AmqpOutcome::Rejected { condition }));
    bench.send_all([1]);
    assert!(
        matches!(&bench.work()[..], [Seen::Done(1, Err(OpError::Rejected(words)))] if words.contains("not-allowed"))
    );
}

#[test]
fn a_message_that_asks_for_a_fault_goes_alone() {
    let mut bench = Bench::connected();
    bench.transfers();
    let fault = Message::new("3").with_property("AzIoTHub_FaultOperationType", "InvokeThrottling").unwrap();
    bench.send_all([1, 2]);
    assert_eq!(bench.send(3, &fault), Submit::Taken);
    bench.send_all([4, 5]);
    bench.work();
    assert_eq!(bench.transfers(), [true, false, true]);
}

#[test]
fn a_batch_that_is_cut_in_the_middle_is_sent_again_whole_and_stored_once_in_order() {
    for bytes in [1, 100, 40_000, 65_536, 150_000] {
        let mut bench = Bench::connected();
        bench.cut_after(bytes);
        let message = |id: u64| Message::new(id.to_string().repeat(10_000));
        for id in 1..=20 {
            assert_eq!(bench.send(id, &message(id)), Submit::Taken);
        }
        let seen = bench.work();
        assert!(matches!(&seen[..], [Seen::Down(ConnectionErrorKind::Broken { .. })]), "{seen:?}");
        bench.hub_notices();
        assert_eq!(bench.stored().len(), 0, "after {bytes} bytes");
        bench.connect();
        for id in 1..=20 {
            assert_eq!(bench.send(id, &message(id)), Submit::Taken);
        }
        assert_eq!(bench.work(), done_all(1..=20));
        let expected: Vec<_> = (1..=20).map(|id: u64| id.to_string().repeat(10_000)).collect();
        assert!(bench.stored() == expected, "after {bytes} bytes");
    }
}

#[test]
fn a_link_that_gets_no_credit_for_a_minute_is_made_anew_and_what_waited_is_bounded() {
    let mut bench = Bench::with(|options| options.max_in_flight = 5);
    bench.hub.inject_for(DEVICE, Fault::AmqpWithholdCredit { link: AmqpLink::Telemetry });
    bench.connect();
    bench.transfers();
    bench.send_all([1]);
    assert_eq!(bench.work(), []);
    bench.send_all([2, 3, 4, 5]);
    assert_eq!(bench.send(6, &Message::new("6")), Submit::Full);
    assert_eq!(bench.work(), []);
    // The first waits at the link for credit, the others have not gone so far.
    (1..=5).for_each(|id| bench.forget(id));
    bench.send_all([6, 7, 8, 9]);
    assert_eq!(bench.send(10, &Message::new("10")), Submit::Full);
    assert_eq!(bench.live(MINUTE - Duration::from_secs(1)), []);
    assert_eq!(bench.due_in(), Some(Duration::from_secs(1)));
    assert_eq!(bench.live(Duration::from_secs(1)), [Seen::Down(UNANSWERED)]);
    assert_eq!(bench.transfers(), [false; 0]);
    bench.hub_notices();
    bench.connect();
    bench.send_all([6, 7, 8, 9]);
    assert_eq!(bench.work(), done_all(6..=9));
    assert_eq!(bench.stored(), texts(6..=9));
}

#[test]
fn a_batch_without_an_outcome_for_a_minute_is_sent_again_on_a_new_link_though_others_have_theirs() {
    let mut bench = Bench::connected();
    bench.hub.inject_for(DEVICE, Fault::DropPubacks { count: 1 });
    bench.send_all([1, 2]);
    assert_eq!(bench.work(), []);
    for id in 3..60 {
        bench.send_all([id]);
        assert_eq!(bench.live(Duration::from_secs(1)), [done(id)]);
    }
    assert_eq!(bench.live(Duration::from_secs(3)), [Seen::Down(UNANSWERED)]);
    bench.hub_notices();
    bench.connect();
    bench.send_all([1, 2]);
    assert_eq!(bench.work(), done_all([1, 2]));
    let expected: Vec<_> = (1..60).chain([1, 2]).collect();
    assert_eq!(bench.stored(), texts(expected));
}

#[test]
fn an_outcome_that_comes_late_is_not_told_of_a_message_that_was_forgotten_and_makes_room() {
    let mut bench = Bench::with(|options| options.max_in_flight = 3);
    bench.connect();
    let by = Duration::from_secs(50);
    bench.hub.inject_for(DEVICE, Fault::DelayPubacks { count: 3, by });
    bench.send_all([1, 2, 3]);
    assert_eq!(bench.work(), []);
    bench.forget(2);
    assert_eq!(bench.send(4, &Message::new("4")), Submit::Full, "the hub may still answer for it");
    assert_eq!(bench.live(by), done_all([1, 3]));
    bench.send_all([4, 5, 6]);
    assert_eq!(bench.work(), done_all([4, 5, 6]));
    assert_eq!(bench.live(2 * MINUTE), [], "nobody is late");
    assert_eq!(bench.stored(), texts(1..=6));
}

#[test]
fn a_hub_that_nothing_reaches_is_not_late() {
    let mut bench = Bench::connected();
    bench.set_capacity(0);
    bench.send_all([1]);
    assert_eq!(bench.live(3 * MINUTE), []);
    bench.set_capacity(100_000);
    assert_eq!(bench.work(), [done(1)]);
    assert_eq!(bench.stored(), texts([1]));
}

#[test]
fn a_client_that_was_not_driven_for_long_takes_what_came_and_gives_the_hub_its_time() {
    let mut bench = Bench::connected();
    bench.send_all([1]);
    bench.advance(3 * MINUTE);
    assert_eq!(bench.work(), [done(1)], "it had not been sent before");
    let by = Duration::from_secs(5);
    bench.hub.inject_for(DEVICE, Fault::DelayPubacks { count: 1, by });
    bench.send_all([2]);
    bench.advance(3 * MINUTE);
    assert_eq!(bench.work(), [], "it was sent just now");
    assert_eq!(bench.live(by), [done(2)]);
    assert_eq!(bench.stored(), texts([1, 2]));
}
