//! Following the desired properties: the whole twin first, then every change in order.

use std::sync::mpsc::channel;

use iothub_core::{ConnectionState, Feature, TwinUpdate};
use serde_json::{Value, json};

use super::{at_hub, change, following, parsed, receive_change, receive_whole};
use crate::bench::{Bench, DEVICE};
use crate::record;
use crate::subject::Subject;

pub(crate) fn the_whole_twin_comes_first_and_then_each_change_in_order(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    change(&bench, json!({"interval": 10, "mode": {"name": "eco", "level": 1.5}}));
    let mut program = following(&bench);
    assert_eq!(receive_whole(&mut program), at_hub(&bench));
    for n in 0..5 {
        assert_eq!(change(&bench, json!({"interval": n})), 3 + n);
    }
    for n in 0..5 {
        assert_eq!(receive_change(&mut program), json!({"interval": n, "$version": 3 + n}));
    }
    program.round_trip();
    assert!(program.twins.is_empty(), "{:?}", program.twins);
    assert_eq!((record::twin_gets(&bench), record::desired_sent(&bench)), (vec![200], vec![3, 4, 5, 6, 7]));
    program.finish();
}

pub(crate) fn a_change_says_what_is_new_and_what_is_gone(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    change(&bench, json!({"a": 1, "b": {"c": "two", "d": true}, "gone": 0}));
    let mut program = following(&bench);
    receive_whole(&mut program);
    let patch = json!({"b": {"d": null, "ü-quoted": "äöü \"日本\" \\ \n"}, "e": [1, "two", [false]]});
    let version = change(&bench, patch.clone());
    let mut expected = patch;
    expected["$version"] = version.into();
    assert_eq!(receive_change(&mut program), expected);
    let version = bench.replace_desired(DEVICE, json!({"a": 2})).expect("it is allowed");
    let all_gone = json!({"a": 2, "b": null, "e": null, "gone": null, "$version": version});
    assert_eq!(receive_change(&mut program), all_gone);
    assert_eq!(at_hub(&bench)["desired"], json!({"a": 2, "$version": version}));
    program.finish();
}

pub(crate) fn the_largest_desired_properties_are_received(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let text = "x".repeat(4096);
    let members = |range: std::ops::Range<u8>| {
        Value::Object(range.map(|n| (char::from(b'a' + n).to_string(), json!(&text[1..]))).collect())
    };
    change(&bench, members(0..4));
    let mut program = following(&bench);
    assert_eq!(receive_whole(&mut program), at_hub(&bench));
    change(&bench, members(4..8));
    assert_eq!(receive_change(&mut program)["h"], text[1..]);
    assert!(bench.patch_desired(DEVICE, json!({"i": 1})).is_err(), "32 KiB are full");
    program.finish();
}

pub(crate) fn the_callback_hears_a_hundred_changes_in_order(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    let (tx, rx) = channel();
    program
        .set_twin_callback(move |update, _| tx.send(update).expect("the behaviour listens"))
        .expect("the transport has a twin");
    let mut heard: Vec<TwinUpdate> = Vec::new();
    program.until("the whole twin is told", |_| {
        heard.extend(rx.try_iter());
        !heard.is_empty()
    });
    for n in 0..100 {
        change(&bench, json!({"n": n}));
    }
    program.until("all changes are told", |_| {
        heard.extend(rx.try_iter());
        heard.len() > 100
    });
    assert!(matches!(heard[0], TwinUpdate::Full(_)), "{:?}", heard[0]);
    for (n, update) in heard[1..].iter().enumerate() {
        assert!(matches!(update, TwinUpdate::Patch(_)), "{update:?}");
        assert_eq!(parsed(update.json()), json!({"n": n, "$version": n + 2}));
    }
    assert!(program.twins.is_empty(), "told twice: {:?}", program.twins);
    assert_eq!(record::twin_gets(&bench), [200]);
    program.finish();
}

pub(crate) fn changes_that_nobody_reads_are_replaced_by_the_whole_twin(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = following(&bench);
    receive_whole(&mut program);
    for n in 0..50 {
        change(&bench, json!({"n": n}));
    }
    // The client works, and its events are not read, until what piled up has been given up for the whole.
    while record::twin_gets(&bench).len() < 2 {
        program.do_work();
        program.wait(std::time::Duration::from_millis(10));
    }
    let mut updates = 0;
    let last = loop {
        updates += 1;
        let update = program.receive_twin();
        let json = parsed(update.json());
        let desired = if matches!(update, TwinUpdate::Full(_)) { json["desired"].clone() } else { json };
        if desired["$version"] == 51 {
            break desired;
        }
    };
    assert_eq!(last["n"], 49);
    assert!(updates < 50, "all were kept");
    program.finish();
}

pub(crate) fn a_new_callback_hears_the_whole_twin_first(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    for round in 1..=2 {
        let (tx, rx) = channel();
        program
            .set_twin_callback(move |update, _| tx.send(update).expect("the behaviour listens"))
            .expect("the transport has a twin");
        let mut first = None;
        program.until("the callback is called", |_| {
            first = first.take().or(rx.try_recv().ok());
            first.is_some()
        });
        assert!(matches!(first, Some(TwinUpdate::Full(_))), "{first:?}");
        assert_eq!(record::twin_gets(&bench), vec![200; round]);
    }
    program.finish();
}

pub(crate) fn a_change_is_answered_with_a_report_from_its_callback(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = bench.start();
    program
        .set_twin_callback(|update, outbox| {
            if let TwinUpdate::Patch(patch) = update {
                let desired = parsed(patch.json());
                let answer = json!({"interval": {"value": desired["interval"], "av": patch.version()}});
                outbox.send_reported_state(answer.to_string()).expect("there is room");
            }
        })
        .expect("the transport has a twin");
    program.until_ready();
    program.until_hub("the twin was fetched", |hub| record::twin_gets(hub) == [200]);
    program.round_trip();
    let version = change(&bench, json!({"interval": 5}));
    program.until_hub("the answer is stored", |hub| record::reports(hub) == [(204, Some(2))]);
    assert_eq!(at_hub(&bench)["reported"]["interval"], json!({"value": 5, "av": version}));
    program.finish();
}

pub(crate) fn the_whole_twin_comes_again_after_a_reconnect(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = following(&bench);
    receive_whole(&mut program);
    bench.disconnect_device(DEVICE).expect("it exists");
    assert_eq!(receive_whole(&mut program), at_hub(&bench));
    change(&bench, json!({"a": 1}));
    assert_eq!(receive_change(&mut program), json!({"a": 1, "$version": 2}));
    assert_eq!((record::connections(&bench), record::twin_gets(&bench)), (2, vec![200, 200]));
    program.finish();
}

pub(crate) fn a_change_made_while_the_device_was_away_is_in_the_next_whole_twin(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = following(&bench);
    receive_whole(&mut program);
    bench.set_device_enabled(DEVICE, false).expect("it exists");
    program.until_status(ConnectionState::Waiting, 3);
    change(&bench, json!({"missed": true}));
    bench.set_device_enabled(DEVICE, true).expect("it exists");
    let whole = receive_whole(&mut program);
    assert_eq!(whole["desired"], json!({"missed": true, "$version": 2}));
    program.round_trip();
    assert!(program.twins.is_empty(), "the change came once more: {:?}", program.twins);
    assert!(record::desired_sent(&bench).is_empty(), "the hub keeps no change for later");
    program.finish();
}

pub(crate) fn after_unsubscribing_no_change_is_told_until_the_device_subscribes_again(subject: &dyn Subject) {
    let bench = Bench::new(subject);
    let mut program = following(&bench);
    receive_whole(&mut program);
    program.unsubscribe(Feature::DesiredProperties);
    program.round_trip();
    change(&bench, json!({"a": 1}));
    program.round_trip();
    assert!(program.twins.is_empty(), "{:?}", program.twins);
    assert!(record::desired_sent(&bench).is_empty());
    program.subscribe(Feature::DesiredProperties).expect("the transport has a twin");
    assert_eq!(receive_whole(&mut program)["desired"], json!({"a": 1, "$version": 2}));
    change(&bench, json!({"a": 2}));
    assert_eq!(receive_change(&mut program), json!({"a": 2, "$version": 3}));
    program.finish();
}
