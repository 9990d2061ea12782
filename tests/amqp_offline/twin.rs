//! Requests to the twin, and the links for them.

use std::time::Duration;

use iothub_client::{Feature, Op, OpError, Reply, Submit};
use iothub_emulator::{AmqpLink, Fault};

use crate::bench::{Bench, DEVICE, Seen};

fn get(bench: &mut Bench, id: u64) {
    assert_eq!(bench.submit(id, Op::TwinGet), Submit::Taken);
}

fn refused(id: u64) -> Seen {
    Seen::Done(id, Err(OpError::Rejected("there are no twin links".to_owned())))
}

fn is_answered(seen: &[Seen], id: u64) -> bool {
    matches!(seen, [Seen::Done(of, Ok(Reply::Twin(_)))] if *of == id)
}

#[test]
fn a_request_waits_for_links_that_are_wanted_and_is_refused_if_none_are() {
    let mut bench = Bench::connected();
    get(&mut bench, 1);
    assert_eq!(bench.work(), [refused(1)]);
    bench.subscribe(&[Feature::Twin]);
    get(&mut bench, 2);
    let seen = bench.work();
    assert!(is_answered(&seen, 2), "{seen:?}");
    bench.subscribe(&[]);
    get(&mut bench, 3);
    assert_eq!(bench.work(), [refused(3)]);
}

#[test]
fn a_request_that_waits_for_links_is_refused_with_them_and_answered_when_they_are_wanted_anew() {
    let mut bench = Bench::connected();
    let condition = "amqp:not-allowed".to_owned();
    bench.hub.inject_for(DEVICE, Fault::AmqpRefuseAttach { link: AmqpLink::TwinRequests, condition });
    bench.subscribe(&[Feature::Twin]);
    get(&mut bench, 1);
    assert_eq!(bench.work(), [refused(1), Seen::Refused(Feature::Twin)]);
    get(&mut bench, 2);
    assert_eq!(bench.work(), [refused(2)]);
    bench.subscribe(&[]);
    bench.subscribe(&[Feature::Twin]);
    get(&mut bench, 3);
    let seen = bench.work();
    assert!(is_answered(&seen, 3), "{seen:?}");
}

#[test]
fn a_request_waits_for_the_answer_to_the_subscription_to_changes_so_that_none_is_missed() {
    let mut bench = Bench::connected();
    let late = Duration::from_secs(5);
    bench.hub.inject_for(DEVICE, Fault::AmqpDelayDesired { by: late });
    bench.subscribe(&[Feature::Twin, Feature::DesiredProperties]);
    assert_eq!(bench.work(), []);
    get(&mut bench, 1);
    assert_eq!(bench.work(), []);
    bench.advance(late);
    let seen = bench.work();
    assert!(is_answered(&seen, 1), "{seen:?}");
}
