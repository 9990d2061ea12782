//! A few fixed seeds of chaos. The binary runs any number of fresh ones.

use iothub_simulation::{Over, chaos};

#[test]
fn no_seed_loses_repeats_or_confuses_anything() {
    for seed in 1..=50 {
        let report = chaos(seed, Over::of_seed(seed));
        assert!(report.violations.is_empty(), "{report}");
        assert!(report.mishaps.len() >= 6, "seed {seed} had only {:?}", report.mishaps);
    }
}

#[test]
fn a_seed_gives_the_same_list_of_events_each_time() {
    for (seed, over) in [(7, Over::Mqtt), (8, Over::MqttWs)] {
        let (first, second) = (chaos(seed, over), chaos(seed, over));
        assert!(first.events.len() > 500, "{first}");
        for (n, (one, other)) in first.events.iter().zip(&second.events).enumerate() {
            assert_eq!(one, other, "event {n} of seed {seed}");
        }
        assert_eq!(first, second);
    }
}

#[test]
fn another_seed_gives_another_list_of_events() {
    assert_ne!(chaos(7, Over::Mqtt).events, chaos(8, Over::Mqtt).events);
}

#[test]
fn the_hub_clock_and_the_events_of_a_run_are_in_order() {
    let events = chaos(9, Over::Amqp).events;
    assert!(events.is_sorted_by_key(|(at, _)| *at));
}
