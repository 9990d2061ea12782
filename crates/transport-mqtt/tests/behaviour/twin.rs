//! Twin requests, the hub's answers, and changes of the desired properties.

use iothub_core::{ConnectionErrorKind, Feature, Op, OpError, OpId, Reply, Submit, Transport, Unsupported, limits};
use iothub_net::memory::PeerEnd;

use crate::bench::{Bench, Seen, millis, secs};
use crate::wire::{connack, puback, publish, publish_once, split, suback, subscribe, to_device, unsubscribe};

const TWIN: &[u8] = br#"{"desired":{"k":1,"$version":2},"reported":{"$version":1}}"#;
const RES: &str = "$iothub/twin/res";
const DESIRED: &str = "$iothub/twin/PATCH/properties/desired";

/// A connection on which the twin can be asked for.
fn ready() -> (Bench, PeerEnd) {
    let mut bench = Bench::new();
    let peer = bench.subscribed_to(&[Feature::Twin, Feature::DesiredProperties]);
    (bench, peer)
}

fn get(bench: &mut Bench, id: u64) {
    assert_eq!(bench.submit(id, Op::TwinGet), Submit::Taken);
}

fn report(bench: &mut Bench, id: u64) {
    assert_eq!(bench.submit(id, Op::TwinReport(br#"{"a":1}"#)), Submit::Taken);
}

/// The request ids of what the client sent.
fn rids(peer: &mut PeerEnd) -> Vec<String> {
    let rid = |packet: &Vec<u8>| {
        let text = String::from_utf8_lossy(packet);
        let rest = text.split("$rid=").nth(1).unwrap();
        rest.chars().take_while(|c| *c != '{').collect()
    };
    split(&peer.receive()).iter().map(rid).collect()
}

fn twin(id: u64) -> Seen {
    Seen::Done(id, Ok(Reply::Twin(TWIN.into())))
}

fn reported(id: u64, version: Option<u64>) -> Seen {
    Seen::Done(id, Ok(Reply::Reported { version }))
}

#[test]
fn a_request_for_the_twin_is_an_empty_publish_of_qos_0_and_its_answer_the_body() {
    let (mut bench, mut peer) = ready();
    get(&mut bench, 1);
    assert_eq!(peer.receive(), b"", "nothing goes on the wire outside do_work");
    assert_eq!(bench.due_in(), Some(millis(0)), "there is work to do");
    assert_eq!(bench.work(), []);
    assert_eq!(peer.receive(), publish_once("$iothub/twin/GET/?$rid=1000-1-1", b""));
    assert!(bench.due_in() > Some(secs(60)), "how long to wait is the engine's to say");
    peer.send(&publish_once(&format!("{RES}/200/?$rid=1000-1-1"), TWIN));
    assert_eq!(bench.work(), [twin(1)]);
}

#[test]
fn a_report_is_the_patch_as_it_is_and_its_answer_the_version_if_the_hub_tells_it() {
    let (mut bench, mut peer) = ready();
    report(&mut bench, 1);
    report(&mut bench, 2);
    bench.work();
    let topic = |n| format!("$iothub/twin/PATCH/properties/reported/?$rid=1000-1-{n}");
    let sent = [publish_once(&topic(1), br#"{"a":1}"#), publish_once(&topic(2), br#"{"a":1}"#)].concat();
    assert_eq!(peer.receive(), sent);
    // An Edge gateway tells no version.
    peer.send(&publish_once(&format!("{RES}/204/?$rid=1000-1-2"), b""));
    peer.send(&publish_once(&format!("{RES}/204/?$rid=1000-1-1&$version=7"), b""));
    assert_eq!(bench.work(), [reported(2, None), reported(1, Some(7))]);
}

#[test]
fn a_failure_carries_the_hubs_status_and_words() {
    let (mut bench, mut peer) = ready();
    for (id, status, body, detail) in [
        (
            1,
            400,
            r#"{"errorCode":400004,"message":"arrays are not supported","trackingId":"t"}"#,
            "arrays are not supported",
        ),
        (2, 429, "", ""),
        (3, 500, "no JSON", ""),
    ] {
        report(&mut bench, id);
        bench.work();
        peer.send(&publish_once(&format!("{RES}/{status}/?$rid=1000-1-{id}"), body.as_bytes()));
        let failure = OpError::Status { status, detail: detail.to_owned() };
        assert_eq!(bench.work(), [Seen::Done(id, Err(failure))]);
    }
    get(&mut bench, 4);
    bench.work();
    peer.send(&publish_once(&format!("{RES}/404/?$rid=1000-1-4"), b"{}"));
    assert_eq!(bench.work(), [Seen::Done(4, Err(OpError::Status { status: 404, detail: String::new() }))]);
}

#[test]
fn answers_that_are_unknown_late_repeated_or_malformed_are_ignored() {
    let (mut bench, mut peer) = ready();
    get(&mut bench, 1);
    get(&mut bench, 2);
    bench.work();
    bench.transport.forget(bench.slot, OpId(2));
    let good = publish_once(&format!("{RES}/200/?$rid=1000-1-1"), TWIN);
    let tails = [
        "200/?$rid=1000-1-2",
        "200/?$rid=1000-1-9",
        "200/?$rid=1000-0-1",
        "200/?$rid=",
        "200/?rid=1000-1-1",
        "ok/?$rid=1000-1-1",
        "99999/?$rid=1000-1-1",
        "200",
        "",
    ];
    for tail in tails {
        peer.send(&publish_once(&format!("{RES}/{tail}"), TWIN));
    }
    assert_eq!(bench.work(), []);
    peer.send(&[good.clone(), good].concat());
    assert_eq!(bench.work(), [twin(1)], "once");
    assert!(bench.due_in() > Some(secs(1)));
}

#[test]
fn sixty_four_requests_may_await_their_answer_and_then_there_is_room_again() {
    let (mut bench, mut peer) = ready();
    for id in 1..=64 {
        get(&mut bench, id);
    }
    assert_eq!(bench.submit(65, Op::TwinReport(b"{}")), Submit::Full);
    assert_eq!(bench.settle_down(), []);
    assert!(bench.due_in() > Some(secs(1)), "waiting for the hub is not work");
    let rids = rids(&mut peer);
    assert_eq!(rids.len(), 64);
    peer.send(&publish_once(&format!("{RES}/500/?$rid={}", rids[9]), b""));
    assert_eq!(bench.work().len(), 1);
    assert_eq!(bench.due_in(), Some(millis(0)), "there is room");
    report(&mut bench, 65);
    assert_eq!(bench.submit(66, Op::TwinGet), Submit::Full);
    bench.transport.forget(bench.slot, OpId(3));
    get(&mut bench, 66);
}

#[test]
fn the_same_request_submitted_twice_is_sent_once() {
    let (mut bench, mut peer) = ready();
    get(&mut bench, 1);
    get(&mut bench, 1);
    bench.work();
    assert_eq!(rids(&mut peer), ["1000-1-1"]);
}

#[test]
fn a_connection_lost_in_the_middle_of_a_request_forgets_it_and_its_answer_means_nothing_later() {
    let (mut bench, mut peer) = ready();
    get(&mut bench, 1);
    bench.work();
    peer.close();
    assert_eq!(bench.work(), [Seen::Down(ConnectionErrorKind::ClosedByPeer)], "that says it all");
    assert_eq!(bench.submit(1, Op::TwinGet), Submit::Full, "not connected");
    let mut peer = bench.subscribed_to(&[Feature::Twin, Feature::DesiredProperties]);
    // The engine submits it again, under its id.
    get(&mut bench, 1);
    bench.work();
    assert_eq!(rids(&mut peer), ["1000-2-1"]);
    peer.send(&publish_once(&format!("{RES}/200/?$rid=1000-1-1"), b"old"));
    assert_eq!(bench.work(), []);
    peer.send(&publish_once(&format!("{RES}/200/?$rid=1000-2-1"), TWIN));
    assert_eq!(bench.work(), [twin(1)]);
}

#[test]
fn a_disconnect_forgets_requests_too() {
    let (mut bench, _peer) = ready();
    get(&mut bench, 1);
    bench.transport.disconnect(bench.slot, bench.now);
    assert_eq!(bench.submit(2, Op::TwinGet), Submit::Full, "a connection that ends takes none");
    assert_eq!(bench.work(), [Seen::Disconnected]);
}

#[test]
fn a_request_waits_until_the_hub_has_answered_the_subscriptions_that_it_needs() {
    let mut bench = Bench::new();
    bench.want(&[Feature::Twin, Feature::DesiredProperties]);
    let mut peer = bench.open();
    peer.send(&connack(true));
    assert_eq!(bench.work(), [Seen::Connected(true)]);
    peer.receive();
    assert_eq!(bench.submit(1, Op::TwinGet), Submit::Full);
    assert_eq!(bench.settle_down(), []);
    assert!(bench.due_in() > Some(secs(1)), "waiting for the hub is not work");
    peer.send(&suback(1, &[0, 0]));
    assert_eq!(bench.work(), [Seen::Ready]);
    assert_eq!(bench.due_in(), Some(millis(0)), "now it can go");
    get(&mut bench, 1);
    bench.settle_down();
    assert_eq!(rids(&mut peer), ["1000-1-1"]);
}

#[test]
fn the_twin_is_not_asked_for_before_changes_are_subscribed_to_but_reports_go_on() {
    let mut bench = Bench::new();
    let mut peer = bench.subscribed_to(&[Feature::Twin]);
    bench.want(&[Feature::Twin, Feature::DesiredProperties]);
    assert_eq!(bench.submit(1, Op::TwinGet), Submit::Full, "a change in between would be missed");
    report(&mut bench, 2);
    assert_eq!(bench.settle_down(), []);
    assert!(bench.due_in() > Some(secs(1)), "room for reports is no room for this");
    let sent = split(&peer.receive());
    assert_eq!(sent[0], subscribe(2, "$iothub/twin/PATCH/properties/desired/#", 0));
    // Refused, there are no changes to miss.
    peer.send(&suback(2, &[0x80]));
    assert_eq!(bench.work(), [Seen::SubscriptionRefused(Feature::DesiredProperties), Seen::Ready]);
    assert_eq!(bench.due_in(), Some(millis(0)));
    get(&mut bench, 1);
}

#[test]
fn a_request_whose_answer_nobody_would_hear_is_refused() {
    let refused = |bench: &mut Bench, id| match bench.submit(id, Op::TwinGet) {
        Submit::Refused(OpError::Rejected(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let mut bench = Bench::new();
    bench.want(&[Feature::Twin]);
    let mut peer = bench.open();
    peer.send(&connack(false));
    bench.work();
    assert_eq!(bench.submit(1, Op::TwinGet), Submit::Full);
    peer.send(&suback(1, &[0x80]));
    assert_eq!(bench.work(), [Seen::SubscriptionRefused(Feature::Twin), Seen::Ready]);
    assert_eq!(bench.due_in(), Some(millis(0)), "so that whoever waits hears of it");
    assert!(refused(&mut bench, 1).contains("the hub refused the subscription"));
    bench.want(&[]);
    assert!(refused(&mut bench, 2).contains("not subscribed"));
}

#[test]
fn changes_of_the_desired_properties_are_handed_up_as_they_are_from_the_first_packet_on() {
    let mut bench = Bench::new();
    let mut peer = bench.open();
    let change = |version| format!(r#"{{"k":null,"$version":{version}}}"#);
    let patch = |version| publish_once(&format!("{DESIRED}/?$version={version}"), change(version).as_bytes());
    peer.send(&[connack(true), patch(2), patch(3), patch(3)].concat());
    let seen = |version| Seen::DesiredProperties(change(version).into());
    assert_eq!(bench.work(), [Seen::Connected(true), Seen::Ready, seen(2), seen(3), seen(3)]);
}

#[test]
fn what_comes_at_qos_1_is_acknowledged_at_once_even_behind_an_undecided_message() {
    let (mut bench, mut peer) = ready();
    get(&mut bench, 1);
    bench.work();
    peer.receive();
    bench.deliver(&mut peer, &to_device(1, "", b"x"));
    peer.send(&publish(0x32, &format!("{RES}/200/?$rid=1000-1-1"), Some(7), TWIN));
    peer.send(&publish(0x3A, &format!("{DESIRED}/?$version=2"), Some(8), b"{}"));
    peer.send(&publish(0x32, &format!("{RES}/200/?$rid=unknown"), Some(9), TWIN));
    assert_eq!(bench.work(), [twin(1), Seen::DesiredProperties("{}".into())]);
    assert_eq!(peer.receive(), [puback(7), puback(8), puback(9)].concat());
}

#[test]
fn a_patch_larger_than_the_hub_takes_is_refused() {
    let (mut bench, _peer) = ready();
    let limit = limits::MAX_TWIN_SECTION;
    let patch = vec![b' '; limit + 1];
    let error = Unsupported::MessageTooLarge { size: limit + 1, limit };
    assert_eq!(bench.transport.check(&Op::TwinReport(&patch)), Err(error.clone()));
    assert_eq!(bench.submit(1, Op::TwinReport(&patch)), Submit::Refused(OpError::Unsupported(error)));
    assert_eq!(bench.transport.check(&Op::TwinReport(&patch[1..])), Ok(()));
    assert_eq!(bench.submit(2, Op::TwinReport(&patch[1..])), Submit::Taken);
    assert_eq!(bench.transport.check(&Op::TwinGet), Ok(()));
}

#[test]
fn what_is_no_longer_wanted_is_unsubscribed() {
    let (mut bench, mut peer) = ready();
    bench.want(&[Feature::Twin]);
    bench.work();
    assert_eq!(peer.receive(), unsubscribe(2, "$iothub/twin/PATCH/properties/desired/#"));
    // The twin can be asked for meanwhile.
    get(&mut bench, 1);
}
