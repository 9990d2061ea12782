//! Links: attached and let go while everything else goes on, and while something is on its way on them.

use std::time::Duration;

use iothub_client::{ConnectStage, ConnectionErrorKind, Delivery, Disposition, Feature, Op, OpError, Reply, Submit};
use iothub_emulator::{AmqpLink, C2dMessage, Fault, MethodCall};
use serde_json::json;

use crate::bench::{Bench, DEVICE, Seen, done};

const ALL: [Feature; 4] = [Feature::CloudToDevice, Feature::Methods, Feature::Twin, Feature::DesiredProperties];

fn with(features: &[Feature]) -> Bench {
    let mut bench = Bench::connected();
    bench.subscribe(features);
    assert_eq!(bench.work(), []);
    bench
}

fn message(bench: &mut Bench, text: &str) -> Delivery {
    match bench.work().as_slice() {
        [Seen::Message(of, delivery)] if of == text => *delivery,
        other => panic!("{other:?}"),
    }
}

fn call(bench: &mut Bench, name: &str) -> Delivery {
    match bench.work().as_slice() {
        [Seen::Method(of, delivery)] if of == name => *delivery,
        other => panic!("{other:?}"),
    }
}

/// The client lets all links go, and the hub says something on each before it knows.
fn crossing() -> Bench {
    let mut bench = with(&ALL);
    bench.subscribe(&[]);
    bench.speak();
    bench.hub.send_c2d(DEVICE, C2dMessage::new("crossing")).unwrap();
    bench.hub.patch_desired(DEVICE, json!({ "a": 1 })).unwrap();
    bench.hub_speaks();
    bench
}

#[test]
fn what_the_hub_says_on_links_that_are_being_let_go_ends_nothing() {
    let mut bench = crossing();
    let _unanswered = bench.hub.start_method(DEVICE, MethodCall::new("crossing")).unwrap();
    bench.hub_speaks();
    assert_eq!(bench.work(), []);
    bench.send_all([1]);
    assert_eq!(bench.work(), [done(1)]);
}

#[test]
fn what_crossed_comes_when_the_links_are_there_again() {
    let mut bench = crossing();
    // Before the hub has said that the old links are gone.
    bench.subscribe(&ALL);
    message(&mut bench, "crossing");
    assert_eq!(bench.submit(1, Op::TwinGet), Submit::Taken);
    let seen = bench.work();
    assert!(
        matches!(&seen[..], [Seen::Done(1, Ok(Reply::Twin(twin)))] if twin.windows(4).any(|w| w == b"\"a\":")),
        "{seen:?}"
    );
    let pending = bench.hub.start_method(DEVICE, MethodCall::new("later")).unwrap();
    let delivery = call(&mut bench, "later");
    assert_eq!(bench.submit(2, Op::MethodResponse { delivery, status: 200, body: b"{}" }), Submit::Taken);
    assert_eq!(bench.work(), [done(2)]);
    assert_eq!(pending.try_result().unwrap().unwrap().status, 200);
}

#[test]
fn an_answer_given_before_its_links_are_let_go_reaches_the_hub() {
    let mut bench = with(&ALL);
    let pending = bench.hub.start_method(DEVICE, MethodCall::new("now")).unwrap();
    let delivery = call(&mut bench, "now");
    bench.hub.send_c2d(DEVICE, C2dMessage::new("now")).unwrap();
    let received = message(&mut bench, "now");
    assert_eq!(bench.submit(1, Op::MethodResponse { delivery, status: 200, body: b"{}" }), Submit::Taken);
    bench.settle(2, received, Disposition::Accept);
    bench.subscribe(&[]);
    let mut seen = bench.work();
    seen.sort_by_key(|seen| format!("{seen:?}"));
    assert_eq!(seen, [done(1), done(2)]);
    assert_eq!(pending.try_result().unwrap().unwrap().status, 200);
    assert!(bench.hub.c2d_queue(DEVICE).is_empty());
}

#[test]
fn an_answer_to_what_came_on_links_that_are_gone_is_stale() {
    let mut bench = with(&ALL);
    let _pending = bench.hub.start_method(DEVICE, MethodCall::new("old")).unwrap();
    let delivery = call(&mut bench, "old");
    bench.hub.send_c2d(DEVICE, C2dMessage::new("old")).unwrap();
    let received = message(&mut bench, "old");
    bench.subscribe(&[]);
    assert_eq!(bench.work(), []);
    assert_eq!(bench.submit(1, Op::MethodResponse { delivery, status: 200, body: b"{}" }), Submit::Taken);
    bench.settle(2, received, Disposition::Accept);
    let stale = |id| Seen::Done(id, Err(OpError::Stale));
    assert_eq!(bench.work(), [stale(1), stale(2)]);
}

#[test]
fn what_was_asked_of_the_twin_before_its_links_are_let_go_has_its_outcome() {
    let mut bench = with(&ALL);
    assert_eq!(bench.submit(1, Op::TwinGet), Submit::Taken);
    assert_eq!(bench.submit(2, Op::TwinReport(b"{}")), Submit::Taken);
    bench.subscribe(&[]);
    let seen = bench.work();
    assert!(
        matches!(&seen[..], [Seen::Done(1, Ok(Reply::Twin(_))), Seen::Done(2, Ok(Reply::Reported { .. }))]),
        "{seen:?}"
    );
}

#[test]
fn a_subscription_to_changes_that_is_withdrawn_at_once_is_waited_for_no_more() {
    let mut bench = with(&[Feature::Twin]);
    bench.subscribe(&[Feature::Twin, Feature::DesiredProperties]);
    bench.subscribe(&[]);
    assert_eq!(bench.work(), []);
    assert_eq!(bench.live(Duration::from_secs(60)), []);
}

#[test]
fn while_the_hub_leaves_an_attach_unanswered_everything_else_goes_on_until_its_time_is_up() {
    let mut bench = with(&[Feature::CloudToDevice]);
    bench.hub.inject_for(DEVICE, Fault::AmqpWithholdAttach { link: AmqpLink::MethodRequests });
    bench.subscribe(&[Feature::CloudToDevice, Feature::Methods]);
    assert_eq!(bench.work(), []);
    bench.hub.send_c2d(DEVICE, C2dMessage::new("meanwhile")).unwrap();
    let received = message(&mut bench, "meanwhile");
    bench.settle(1, received, Disposition::Accept);
    bench.send_all([2]);
    let seen = bench.work();
    assert!(seen.contains(&done(1)) && seen.contains(&done(2)), "{seen:?}");
    assert!(bench.hub.c2d_queue(DEVICE).is_empty());
    // The default of `connect_timeout`.
    let after = Duration::from_secs(30);
    let late = ConnectionErrorKind::TimedOut { stage: ConnectStage::Subscribe, after };
    assert_eq!(bench.live(after), [Seen::Down(late)]);
}

#[test]
fn a_hub_that_does_not_say_that_a_link_is_gone_is_left() {
    let mut bench = with(&[Feature::CloudToDevice]);
    bench.hub.inject_for(DEVICE, Fault::HalfOpen);
    bench.hub_speaks();
    bench.subscribe(&[]);
    assert_eq!(bench.work(), []);
    let after = Duration::from_secs(30);
    let late = ConnectionErrorKind::TimedOut { stage: ConnectStage::Subscribe, after };
    assert_eq!(bench.live(after), [Seen::Down(late)]);
}

#[test]
fn a_call_that_comes_twice_is_handed_up_once() {
    let mut bench = with(&[Feature::Methods]);
    bench.hub.inject_for(DEVICE, Fault::MethodDuplicate);
    let pending = bench.hub.start_method(DEVICE, MethodCall::new("once")).unwrap();
    let delivery = call(&mut bench, "once");
    assert_eq!(bench.hub.pending_faults(), 0);
    assert_eq!(bench.submit(1, Op::MethodResponse { delivery, status: 200, body: b"{}" }), Submit::Taken);
    assert_eq!(bench.work(), [done(1)]);
    assert_eq!(pending.try_result().unwrap().unwrap().status, 200);
}

#[test]
fn what_is_no_longer_wanted_when_its_links_are_there_is_let_go_at_once() {
    let mut bench = with(&[]);
    bench.subscribe(&ALL);
    bench.speak();
    bench.subscribe(&[Feature::CloudToDevice]);
    assert_eq!(bench.work(), []);
    let error = bench.hub.start_method(DEVICE, MethodCall::new("nobody")).map(drop);
    assert!(error.is_err(), "no methods are subscribed to");
    bench.hub.send_c2d(DEVICE, C2dMessage::new("wanted")).unwrap();
    message(&mut bench, "wanted");
}

#[test]
fn links_come_and_go_as_often_as_they_like() {
    let mut bench = Bench::connected();
    for turn in 0..50 {
        bench.subscribe(if turn % 2 == 0 { &ALL } else { &[] });
        // Some are there before they go, some are not.
        match turn % 3 {
            0 => assert_eq!(bench.work(), []),
            1 => bench.speak(),
            _ => {}
        }
    }
    bench.subscribe(&ALL);
    assert_eq!(bench.work(), []);
    bench.hub.send_c2d(DEVICE, C2dMessage::new("still here")).unwrap();
    message(&mut bench, "still here");
    bench.send_all([1]);
    assert_eq!(bench.work(), [done(1)]);
}

#[test]
fn a_disposition_of_more_deliveries_than_there_can_be_is_an_outage() {
    let mut bench = Bench::connected();
    // On channel 1, as the receiver of deliveries 0 to 4,294,967,295, which are settled.
    bench.hub_says(&[
        0, 0, 0, 28, 2, 0, 0, 1, 0x00, 0x53, 0x15, 0xd0, 0, 0, 0, 12, 0, 0, 0, 4, 0x41, 0x43, 0x70, 0xff, 0xff,
    ]);
    bench.hub_says(&[0xff, 0xff, 0x41]);
    let seen = bench.work();
    let [Seen::Down(ConnectionErrorKind::Protocol { detail })] = &seen[..] else { panic!("{seen:?}") };
    assert!(detail.contains("0 to 4294967295"), "{detail}");
    bench.hub_notices();
    bench.connect();
    bench.send_all([1]);
    assert_eq!(bench.work(), [done(1)]);
}
