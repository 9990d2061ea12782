//! What the device wants to receive, and what the hub says to it.

use iothub_core::{ConnectStage, ConnectionErrorKind, Feature};
use iothub_net::memory::PeerEnd;

use crate::bench::{Bench, Seen, assert_violation, done, secs};
use crate::wire::{
    connack, packet_id, puback, publishes, split, suback, subscribe, subscribe_all, to_device, unsuback, unsubscribe,
};

const FILTER: &str = "devices/dev-1/messages/devicebound/#";

/// Connects, up to the SUBSCRIBE, which is taken from the wire.
fn subscribing(bench: &mut Bench, session_present: bool) -> (PeerEnd, u16) {
    let mut peer = bench.open();
    peer.send(&connack(session_present));
    assert_eq!(bench.work(), [Seen::Connected(session_present)]);
    let sent = peer.receive();
    let id = packet_id(&sent);
    assert_eq!(sent, subscribe(id, FILTER, 1));
    (peer, id)
}

/// Connects, subscribed.
fn subscribed(bench: &mut Bench) -> PeerEnd {
    bench.want(&[Feature::CloudToDevice]);
    let (mut peer, id) = subscribing(bench, false);
    peer.send(&suback(id, &[1]));
    assert_eq!(bench.work(), [Seen::Ready]);
    peer
}

#[test]
fn what_is_wanted_is_subscribed_on_every_connect_whether_or_not_the_hub_kept_the_session() {
    let mut bench = Bench::new();
    bench.want(&[Feature::CloudToDevice, Feature::CloudToDevice]);
    for session_present in [false, true, true] {
        let (mut peer, id) = subscribing(&mut bench, session_present);
        peer.send(&suback(id, &[1]));
        assert_eq!(bench.work(), [Seen::Ready]);
        peer.close();
        assert_eq!(bench.work(), [Seen::Down(ConnectionErrorKind::ClosedByPeer)]);
    }
}

#[test]
fn the_subscription_goes_before_telemetry_and_shares_its_identifiers() {
    let mut bench = Bench::new();
    bench.want(&[Feature::CloudToDevice]);
    let (mut peer, subscribe_id) = subscribing(&mut bench, false);
    bench.send_all([1, 2]);
    assert_eq!(bench.work(), []);
    let ids: Vec<_> = publishes(&peer.receive()).iter().map(|sent| sent.id).collect();
    assert!(!ids.contains(&subscribe_id) && ids[0] != ids[1], "{ids:?}");
    // An acknowledgement under the identifier of the SUBSCRIBE confirms nothing.
    peer.send(&puback(subscribe_id));
    assert_eq!(bench.work(), []);
}

#[test]
fn a_refused_subscription_is_told_and_the_rest_is_ready() {
    let mut bench = Bench::new();
    bench.want(&[Feature::CloudToDevice]);
    let (mut peer, id) = subscribing(&mut bench, false);
    peer.send(&suback(id, &[0x80]));
    assert_eq!(bench.work(), [Seen::SubscriptionRefused(Feature::CloudToDevice), Seen::Ready]);
    bench.settle_down();
    assert_eq!(peer.receive(), b"", "it is not asked for again on this connection");
}

#[test]
fn an_answer_that_does_not_come_is_awaited_for_the_connect_timeout() {
    let mut bench = Bench::with(|options| options.connect_timeout = secs(7));
    bench.want(&[Feature::CloudToDevice]);
    let (_peer, _) = subscribing(&mut bench, false);
    assert_eq!(bench.due_in(), Some(secs(7)));
    bench.advance(secs(7));
    let late = ConnectionErrorKind::TimedOut { stage: ConnectStage::Subscribe, after: secs(7) };
    assert_eq!(bench.work(), [Seen::Down(late)]);
}

#[test]
fn a_suback_must_answer_each_filter() {
    let mut bench = Bench::new();
    bench.want(&[Feature::CloudToDevice]);
    let (mut peer, id) = subscribing(&mut bench, false);
    peer.send(&suback(id, &[1, 1]));
    assert_violation(&bench.work(), "2 results for 1 filters");
}

#[test]
fn answers_to_nothing_are_ignored() {
    let mut bench = Bench::new();
    bench.want(&[Feature::CloudToDevice]);
    let (mut peer, id) = subscribing(&mut bench, false);
    peer.send(&[suback(id + 1, &[1]), unsuback(id)].concat());
    assert_eq!(bench.work(), []);
    peer.send(&suback(id, &[1]));
    assert_eq!(bench.work(), [Seen::Ready]);
}

#[test]
fn a_message_may_come_before_the_suback() {
    let mut bench = Bench::new();
    bench.want(&[Feature::CloudToDevice]);
    let (mut peer, id) = subscribing(&mut bench, true);
    peer.send(&[to_device(5, "", b"x"), suback(id, &[1])].concat());
    match &bench.work()[..] {
        [Seen::Message(..), Seen::Ready] => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_feature_added_while_connected_is_subscribed_and_ready_again() {
    let mut bench = Bench::new();
    let mut peer = bench.connected();
    bench.want(&[Feature::CloudToDevice]);
    assert_eq!(bench.work(), []);
    assert_eq!(peer.receive(), subscribe(1, FILTER, 1));
    peer.send(&suback(1, &[1]));
    assert_eq!(bench.work(), [Seen::Ready]);
    bench.want(&[Feature::CloudToDevice]);
    assert_eq!(bench.settle_down(), []);
    assert_eq!(peer.receive(), b"", "saying it twice changes nothing");
}

#[test]
fn a_feature_removed_while_connected_is_unsubscribed() {
    let mut bench = Bench::new();
    let mut peer = subscribed(&mut bench);
    bench.want(&[]);
    assert_eq!(bench.work(), []);
    assert_eq!(peer.receive(), unsubscribe(2, FILTER));
    // Wanted again before the answer: subscribed again after it.
    bench.want(&[Feature::CloudToDevice]);
    assert_eq!(bench.work(), []);
    assert_eq!(peer.receive(), b"");
    peer.send(&unsuback(2));
    assert_eq!(bench.work(), []);
    assert_eq!(peer.receive(), subscribe(3, FILTER, 1));
    peer.send(&suback(3, &[1]));
    assert_eq!(bench.work(), [Seen::Ready]);
}

#[test]
fn what_is_unsubscribed_is_not_unsubscribed_again() {
    let mut bench = Bench::new();
    let mut peer = subscribed(&mut bench);
    bench.want(&[]);
    bench.work();
    assert_eq!(peer.receive(), unsubscribe(2, FILTER));
    peer.send(&unsuback(2));
    assert_eq!(bench.settle_down(), []);
    assert_eq!(peer.receive(), b"");
}

#[test]
fn an_answer_behind_more_than_a_slice_of_input_is_not_missed() {
    let mut bench = Bench::new();
    bench.want(&[Feature::CloudToDevice]);
    let (mut peer, id) = subscribing(&mut bench, false);
    bench.send_all([1]);
    assert_eq!(bench.work(), []);
    // Only after the time-outs of both does the program call again.
    peer.send(&[puback(999).repeat(100_000), suback(id, &[1]), puback(2)].concat());
    bench.advance(secs(100));
    assert_eq!(bench.settle_down(), [Seen::Ready, done(1)]);
}

#[test]
fn an_unsubscribe_without_an_answer_ends_the_connection() {
    let mut bench = Bench::new();
    let _peer = subscribed(&mut bench);
    bench.want(&[]);
    bench.work();
    bench.advance(secs(30));
    let late = ConnectionErrorKind::TimedOut { stage: ConnectStage::Subscribe, after: secs(30) };
    assert_eq!(bench.work(), [Seen::Down(late)]);
}

#[test]
fn a_feature_removed_while_offline_is_unsubscribed_from_the_session_that_the_hub_kept() {
    for session_present in [true, false] {
        let mut bench = Bench::new();
        let mut peer = subscribed(&mut bench);
        peer.close();
        bench.work();
        bench.want(&[]);
        let mut peer = bench.open();
        peer.send(&connack(session_present));
        assert_eq!(bench.work(), [Seen::Connected(session_present), Seen::Ready]);
        let sent = split(&peer.receive());
        assert_eq!(sent.iter().filter(|packet| packet[0] == 0xA2).count(), usize::from(session_present));
    }
}

#[test]
fn what_an_earlier_run_left_in_the_session_is_not_touched() {
    // `connected_to` asserts that nothing is sent behind the CONNACK.
    Bench::new().connected_to(true);
}

const TWIN: (&str, u8) = ("$iothub/twin/res/#", 0);
const DESIRED: (&str, u8) = ("$iothub/twin/PATCH/properties/desired/#", 0);
const METHODS: (&str, u8) = ("$iothub/methods/POST/#", 0);

#[test]
fn everything_is_subscribed_in_one_packet_whatever_the_order_in_which_it_is_wanted() {
    let mut bench = Bench::new();
    bench.want(&[Feature::Methods, Feature::DesiredProperties, Feature::Twin, Feature::CloudToDevice]);
    for connection in 1..=2 {
        let mut peer = bench.open();
        peer.send(&connack(true));
        assert_eq!(bench.work(), [Seen::Connected(true)]);
        assert_eq!(peer.receive(), subscribe_all(connection, &[(FILTER, 1), TWIN, DESIRED, METHODS]));
        peer.send(&suback(connection, &[1, 0, 0, 0]));
        assert_eq!(bench.work(), [Seen::Ready]);
    }
}

#[test]
fn a_refusal_among_several_is_told_by_its_feature() {
    let mut bench = Bench::new();
    bench.want(&[Feature::Twin, Feature::DesiredProperties, Feature::Methods]);
    let mut peer = bench.open();
    peer.send(&connack(false));
    bench.work();
    assert_eq!(peer.receive(), subscribe_all(1, &[TWIN, DESIRED, METHODS]));
    peer.send(&suback(1, &[0, 0x80, 1]));
    assert_eq!(bench.work(), [Seen::SubscriptionRefused(Feature::DesiredProperties), Seen::Ready]);
}

#[test]
fn only_what_is_new_is_subscribed_and_only_what_is_too_much_unsubscribed() {
    let mut bench = Bench::new();
    let mut peer = bench.subscribed_to(&[Feature::Twin, Feature::Methods]);
    bench.want(&[Feature::Twin, Feature::DesiredProperties]);
    assert_eq!(bench.work(), []);
    assert_eq!(peer.receive(), subscribe(2, DESIRED.0, 0));
    peer.send(&suback(2, &[0]));
    assert_eq!(bench.work(), [Seen::Ready]);
    assert_eq!(peer.receive(), unsubscribe(3, METHODS.0));
    peer.send(&unsuback(3));
    assert_eq!(bench.settle_down(), []);
    assert_eq!(peer.receive(), b"");
}

#[test]
fn no_more_than_the_hubs_five_subscriptions_are_made() {
    let bench = Bench::new();
    assert!(iothub_core::Transport::capabilities(&bench.transport).features.len() <= 5);
}

#[test]
fn inputs_are_refused_to_a_device_on_every_connection_and_the_rest_is_ready() {
    let mut bench = Bench::new();
    bench.want(&[Feature::Inputs, Feature::Methods]);
    for connection in 1..=2 {
        let mut peer = bench.open();
        peer.send(&connack(true));
        assert_eq!(bench.work(), [Seen::Connected(true), Seen::SubscriptionRefused(Feature::Inputs)]);
        assert_eq!(peer.receive(), subscribe(connection, METHODS.0, 0));
        peer.send(&suback(connection, &[0]));
        assert_eq!(bench.work(), [Seen::Ready]);
        bench.want(&[Feature::Inputs, Feature::Methods]);
        assert_eq!(bench.settle_down(), [], "it is told once");
    }
}
