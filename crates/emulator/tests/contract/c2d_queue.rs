//! The queue behind cloud-to-device messages: redelivery, locks, limits, clean sessions (E26 to E28).

use std::time::Duration;

use iothub_emulator::{C2dMessage, C2dResult, C2dState, Emulator, FeedbackMode, HubError, LockExpiry};
use rumqttc::mqttbytes::v4::Packet;

use crate::support::c2d::{DEVICEBOUND, connect, cut, feedback, listener, outcomes, queue, send};
use crate::support::packets::{self, Connect};
use crate::support::peer::Peer;
use crate::support::{LIMIT, hub_with_manual_clock, manual_clock, start, wait_until_gone};

const MINUTE: Duration = Duration::from_secs(60);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn m_e26_unacknowledged_messages_come_again_after_a_reconnect_in_order_with_dup() {
    let hub = Emulator::start().unwrap();
    let mut peer = listener(&hub, 1);
    for id in ["m1", "m2", "m3"] {
        send(&hub, id);
    }
    let [first, _, _] = [0; 3].map(|_| peer.expect_publish().pkid);
    peer.puback(first);
    peer.expect_quiet();
    cut(&hub, peer);
    send(&hub, "m4");
    assert_eq!(queue(&hub), ["m2", "m3", "m4"]);

    let mut peer = connect(&hub);
    for (id, dup) in [("m2", true), ("m3", true), ("m4", false)] {
        let publish = peer.expect_publish();
        assert_eq!((&publish.payload[..], publish.dup), (id.as_bytes(), dup));
        peer.puback(publish.pkid);
    }
    peer.expect_quiet();
    assert_eq!(queue(&hub), Vec::<String>::new());
}

#[test]
fn m_e26_a_disconnect_gives_messages_back_like_a_cut() {
    let hub = Emulator::start().unwrap();
    let mut peer = listener(&hub, 1);
    send(&hub, "m1");
    peer.expect_publish();
    peer.disconnect();
    wait_until_gone(&hub, "dev");
    assert!(matches!(hub.c2d_queue("dev")[0].state, C2dState::Enqueued));
    assert!(connect(&hub).expect_publish().dup);
}

#[test]
fn m_e26_redelivery_repeats_as_often_as_needed_and_is_not_counted() {
    let hub = Emulator::start().unwrap();
    let mut peer = listener(&hub, 1);
    send(&hub, "m1");
    peer.expect_publish();
    for _ in 0..15 {
        cut(&hub, peer);
        peer = connect(&hub);
        let publish = peer.expect_publish();
        assert!(publish.dup);
        assert_eq!(hub.c2d_queue("dev")[0].delivery_count, 0);
    }
}

#[test]
fn m_e26_a_delivered_message_is_locked_for_60_seconds() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, 1);
    send(&hub, "m1");
    peer.expect_publish();
    peer.expect_quiet();
    let record = hub.c2d_queue("dev").remove(0);
    assert_eq!(record.state, C2dState::Invisible { until: hub.now() + MINUTE });
    assert_eq!(record.delivery_count, 0);
}

#[test]
fn m_e26_a_lock_that_ends_on_a_live_connection_redelivers_without_counting() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, 1);
    for id in ["m1", "m2"] {
        send(&hub, id);
    }
    let [first, second] = [0; 2].map(|_| peer.expect_publish().pkid);
    hub.advance_clock(seconds(59));
    peer.expect_quiet();
    hub.advance_clock(seconds(2));
    for id in ["m1", "m2"] {
        let publish = peer.expect_publish();
        assert_eq!((&publish.payload[..], publish.dup), (id.as_bytes(), true));
        assert!([first, second].contains(&publish.pkid), "it keeps its packet id");
        peer.puback(publish.pkid);
    }
    peer.expect_quiet();
    assert_eq!(outcomes(&hub), [("m1".to_owned(), C2dResult::Completed), ("m2".to_owned(), C2dResult::Completed)]);
}

#[test]
fn m_e26_a_lock_that_ends_on_a_live_connection_can_be_held_instead() {
    let hub = start(manual_clock().with_lock_expiry(LockExpiry::Hold));
    let mut peer = listener(&hub, 1);
    send(&hub, "m1");
    let id = peer.expect_publish().pkid;
    // What ends meanwhile in another queue must not end this lock.
    hub.create_device("dev2").unwrap();
    hub.send_c2d("dev2", C2dMessage::new("").ttl(2 * MINUTE)).unwrap();
    hub.advance_clock(seconds(300));
    assert_eq!(hub.c2d_outcomes("dev2").len(), 1);
    peer.expect_quiet();
    peer.puback(id);
    peer.expect_quiet();
    assert_eq!(outcomes(&hub), [("m1".to_owned(), C2dResult::Completed)], "a late PUBACK still counts");
}

#[test]
fn m_e26_the_lock_can_outlive_its_connection_and_then_ends_by_itself() {
    let hub = start(manual_clock().with_release_on_disconnect(false).with_lock_duration(seconds(30)));
    let mut peer = listener(&hub, 1);
    send(&hub, "m1");
    peer.expect_publish();
    cut(&hub, peer);
    let mut peer = connect(&hub);
    hub.advance_clock(seconds(29));
    peer.expect_quiet();
    hub.advance_clock(seconds(2));
    let publish = peer.expect_publish();
    assert!(publish.dup);
    assert_eq!(hub.c2d_queue("dev")[0].delivery_count, 0);
}

#[test]
fn m_e27_the_51st_pending_message_is_refused_until_one_is_settled() {
    let hub = Emulator::start().unwrap();
    hub.create_device("dev").unwrap();
    hub.create_device("dev2").unwrap();
    for number in 1..=50 {
        send(&hub, &format!("m{number}"));
    }
    let refused = hub.send_c2d("dev", C2dMessage::new("one too many"));
    let Err(error @ HubError::QueueFull { .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(error.to_string().contains("403004"), "{error}");
    assert_eq!(queue(&hub).len(), 50);
    hub.send_c2d("dev2", C2dMessage::new("another device's queue")).unwrap();

    let mut peer = listener(&hub, 1);
    let publishes: Vec<_> = (0..50).map(|_| peer.expect_publish()).collect();
    peer.expect_quiet();
    let refused = hub.send_c2d("dev", C2dMessage::new("locked messages are pending too"));
    assert!(matches!(refused, Err(HubError::QueueFull { .. })), "{refused:?}");
    peer.puback(publishes[0].pkid);
    peer.expect_quiet();
    send(&hub, "m51");
    assert_eq!(&peer.expect_publish().payload[..], b"m51");
}

#[test]
fn m_e27_expiry_and_purge_make_room() {
    let hub = hub_with_manual_clock();
    hub.create_device("dev").unwrap();
    for _ in 0..50 {
        hub.send_c2d("dev", C2dMessage::new("").ttl(MINUTE)).unwrap();
    }
    assert!(hub.send_c2d("dev", C2dMessage::new("")).is_err());
    hub.advance_clock(2 * MINUTE);
    for _ in 0..50 {
        hub.send_c2d("dev", C2dMessage::new("")).unwrap();
    }
    assert_eq!(hub.purge_c2d("dev"), 50);
    hub.send_c2d("dev", C2dMessage::new("")).unwrap();
}

#[test]
fn m_e28_a_clean_session_without_subscribe_receives_nothing_and_loses_nothing() {
    let hub = Emulator::start().unwrap();
    let mut peer = listener(&hub, 1);
    send(&hub, "m1");
    peer.expect_publish();
    cut(&hub, peer);
    send(&hub, "m2");

    let device = hub.device("dev").unwrap();
    let clean = Connect::of(&hub, &device).clean();
    let mut peer = Peer::connected_as(&hub, &clean);
    send(&hub, "m3");
    peer.expect_quiet();
    assert_eq!(queue(&hub), ["m1", "m2", "m3"]);
    assert!(hub.c2d_queue("dev").iter().all(|record| record.state == C2dState::Enqueued));

    peer.subscribe(&[(DEVICEBOUND, 1)]);
    for id in ["m1", "m2", "m3"] {
        let publish = peer.expect_publish();
        assert_eq!(&publish.payload[..], id.as_bytes());
        peer.puback(publish.pkid);
    }
    peer.expect_quiet();
    assert_eq!(queue(&hub), Vec::<String>::new());
    peer.disconnect();

    send(&hub, "m4");
    let mut peer = Peer::connected_as(&hub, &clean);
    peer.expect_quiet();
    assert_eq!(queue(&hub), ["m4"], "the subscription of a clean session ended with it");
}

#[test]
fn m_e28_messages_without_a_matching_subscription_can_be_lost_instead() {
    let hub = start(manual_clock().with_drop_unmatched(true));
    let mut peer = connect(&hub);
    hub.send_c2d("dev", C2dMessage::new("").message_id("too early").ack(FeedbackMode::Full)).unwrap();
    hub.wait_until(LIMIT, "the message to be rejected", |hub| outcomes(hub).len() == 1).unwrap();
    assert_eq!(outcomes(&hub), [("too early".to_owned(), C2dResult::Rejected)]);
    assert_eq!(feedback(&hub), [("too early".to_owned(), "Rejected".to_owned())]);

    peer.subscribe(&[(DEVICEBOUND, 1)]);
    peer.expect_quiet();
    hub.advance_clock(seconds(1));
    send(&hub, "in time");
    let publish = peer.expect_publish();
    assert_eq!(&publish.payload[..], b"in time");
    peer.puback(publish.pkid);
    peer.disconnect();
    wait_until_gone(&hub, "dev");

    send(&hub, "offline");
    assert_eq!(&connect(&hub).expect_publish().payload[..], b"offline", "the stored subscription matches it");
}

#[test]
fn m_e28_only_a_subscription_that_is_older_than_the_message_matches_it() {
    let hub = start(manual_clock().with_drop_unmatched(true));
    let device = hub.create_device("dev").unwrap();
    let mut connect_and_subscribe = Connect::of(&hub, &device).encode();
    connect_and_subscribe.extend(packets::subscribe(1, &[(DEVICEBOUND, 1)]));

    send(&hub, "before any subscription");
    let mut peer = Peer::open(&hub);
    peer.send(&connect_and_subscribe);
    let answers = peer.drain();
    assert!(matches!(answers[..], [Packet::ConnAck(_), Packet::SubAck(_)]), "{answers:?}");
    assert_eq!(outcomes(&hub), [("before any subscription".to_owned(), C2dResult::Rejected)]);
    cut(&hub, peer);

    // To subscribe again, as careful clients do on every connection, does not make the subscription younger.
    send(&hub, "between");
    let mut peer = Peer::open(&hub);
    peer.send(&connect_and_subscribe);
    let delivered = peer.drain().into_iter().any(|packet| match packet {
        Packet::Publish(publish) => publish.payload == "between",
        _ => false,
    });
    assert!(delivered);
}
