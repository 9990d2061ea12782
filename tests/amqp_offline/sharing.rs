//! Devices that come and go on a connection at any moment, and another one on it that hears nothing of that.

use std::time::Duration;

use iothub_client::{Feature, Slot};
use iothub_emulator::{C2dMessage, Fault, MethodCall};

use crate::bench::{Bench, done};

const OTHER: &str = "other";
const ALL: [Feature; 3] = [Feature::CloudToDevice, Feature::Methods, Feature::DesiredProperties];

/// Ways to be there no more.
const GOODBYES: [fn(&mut Bench, Slot); 2] = [Bench::disconnect, Bench::unregister];

fn is_untouched(bench: &mut Bench) {
    assert_eq!(bench.work(), []);
    bench.send_all([1]);
    assert_eq!(bench.work(), [done(1)]);
}

/// Another device connects, and has come so many turns far; what it says next is with the hub.
fn connecting(turns: usize) -> (Bench, Slot) {
    let mut bench = Bench::connected();
    let other = bench.join(OTHER);
    bench.subscribe_other(other, &ALL);
    for _ in 0..turns {
        bench.client_speaks();
        bench.hub_speaks();
    }
    bench.client_speaks();
    (bench, other)
}

#[test]
fn a_device_that_goes_at_any_step_of_its_connecting_disturbs_nobody_else() {
    for goodbye in GOODBYES {
        for turns in 0..12 {
            let (mut bench, other) = connecting(turns);
            // What the hub answers to it comes when it is gone.
            goodbye(&mut bench, other);
            bench.hub_speaks_slowly();
            is_untouched(&mut bench);
        }
    }
}

#[test]
fn a_device_that_goes_while_it_is_answered_disturbs_nobody_else() {
    for goodbye in GOODBYES {
        for turns in (0..6).cycle().take(60) {
            let (mut bench, other) = connecting(turns);
            bench.hub_speaks();
            goodbye(&mut bench, other);
            bench.speak();
            is_untouched(&mut bench);
        }
    }
}

#[test]
fn what_is_on_its_way_to_a_device_that_goes_disturbs_nobody_else() {
    for goodbye in GOODBYES {
        let mut bench = Bench::connected();
        let other = bench.join(OTHER);
        bench.subscribe_other(other, &ALL);
        assert_eq!(bench.work(), []);
        goodbye(&mut bench, other);
        for n in 0..3 {
            bench.hub.send_c2d(OTHER, C2dMessage::new(format!("{n}"))).unwrap();
        }
        let _call = bench.hub.start_method(OTHER, MethodCall::new("late"));
        bench.hub_speaks_slowly();
        is_untouched(&mut bench);
    }
}

#[test]
fn what_is_on_its_way_to_a_device_that_is_given_up_disturbs_nobody_else() {
    let mut bench = Bench::connected();
    let other = bench.join(OTHER);
    bench.subscribe_other(other, &[Feature::CloudToDevice, Feature::Methods]);
    assert_eq!(bench.work(), []);
    // Its subscription to changes has no answer in time.
    bench.hub.inject_for(OTHER, Fault::AmqpDelayDesired { by: Duration::from_secs(40) });
    bench.subscribe_other(other, &ALL);
    assert_eq!(bench.live(Duration::from_secs(29)), []);
    for n in 0..3 {
        bench.hub.send_c2d(OTHER, C2dMessage::new(format!("{n}"))).unwrap();
    }
    bench.advance(Duration::from_secs(2));
    bench.speak();
    bench.hub_speaks_slowly();
    is_untouched(&mut bench);
}
