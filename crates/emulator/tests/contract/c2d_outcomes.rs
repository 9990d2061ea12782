//! How cloud-to-device messages end: time to live, dead letters, and the feedback about it (E26).

use std::time::Duration;

use iothub_emulator::{C2dMessage, C2dResult, Config, FeedbackMode, FeedbackRecord};

use crate::support::c2d::{connect, cut, feedback, listener, outcomes, queue, send};
use crate::support::{hub_with_manual_clock, manual_clock, start};

const MINUTE: Duration = Duration::from_secs(60);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn m_e26_counting_redeliveries_is_a_setting_that_ends_in_a_dead_letter() {
    let hub = start(Config::new().with_count_redelivery(true).with_max_delivery_count(2));
    let mut peer = listener(&hub, 1);
    hub.send_c2d("dev", C2dMessage::new("").message_id("m1").ack(FeedbackMode::Full)).unwrap();
    peer.expect_publish();
    cut(&hub, peer);
    assert_eq!(hub.c2d_queue("dev")[0].delivery_count, 1);
    let mut peer = connect(&hub);
    peer.expect_publish();
    cut(&hub, peer);
    connect(&hub).expect_quiet();
    assert_eq!(outcomes(&hub), [("m1".to_owned(), C2dResult::DeliveryCountExceeded)]);
    assert_eq!(feedback(&hub), [("m1".to_owned(), "DeliveryCountExceeded".to_owned())]);
}

#[test]
fn m_e26_a_message_lives_one_hour_unless_it_says_otherwise() {
    let hub = hub_with_manual_clock();
    hub.create_device("dev").unwrap();
    send(&hub, "default");
    let message = |id: &str| C2dMessage::new("").message_id(id);
    hub.send_c2d("dev", message("two minutes").ttl(2 * MINUTE)).unwrap();
    hub.send_c2d("dev", message("at a moment").expiry(hub.now() + 10 * MINUTE)).unwrap();
    hub.send_c2d("dev", message("two hours").ttl(120 * MINUTE)).unwrap();

    hub.advance_clock(seconds(121));
    assert_eq!(queue(&hub), ["default", "at a moment", "two hours"]);
    hub.advance_clock(8 * MINUTE);
    assert_eq!(queue(&hub), ["default", "two hours"]);
    hub.advance_clock(49 * MINUTE);
    assert_eq!(queue(&hub), ["default", "two hours"]);
    hub.advance_clock(MINUTE);
    assert_eq!(queue(&hub), ["two hours"]);
    hub.advance_clock(61 * MINUTE);
    assert_eq!(queue(&hub), Vec::<String>::new());
    let expired: Vec<String> = outcomes(&hub)
        .into_iter()
        .map(|(id, result)| {
            assert_eq!(result, C2dResult::Expired);
            id
        })
        .collect();
    assert_eq!(expired, ["two minutes", "at a moment", "default", "two hours"]);
    listener(&hub, 1).expect_quiet();
}

#[test]
fn m_e26_the_default_time_to_live_is_a_setting() {
    let hub = start(manual_clock().with_c2d_ttl(5 * MINUTE));
    hub.create_device("dev").unwrap();
    send(&hub, "m1");
    hub.advance_clock(4 * MINUTE);
    assert_eq!(queue(&hub), ["m1"]);
    hub.advance_clock(2 * MINUTE);
    assert_eq!(outcomes(&hub), [("m1".to_owned(), C2dResult::Expired)]);
}

#[test]
fn m_e26_an_expired_message_is_not_delivered_again() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, 1);
    hub.send_c2d("dev", C2dMessage::new("").message_id("m1").ttl(2 * MINUTE)).unwrap();
    peer.expect_publish();
    cut(&hub, peer);
    hub.advance_clock(3 * MINUTE);
    connect(&hub).expect_quiet();
    assert_eq!(outcomes(&hub), [("m1".to_owned(), C2dResult::Expired)]);
}

#[test]
fn m_e26_feedback_comes_for_the_outcomes_that_were_asked_for() {
    let cases = [
        (None, None, None, None),
        (Some(FeedbackMode::None), None, None, None),
        (Some(FeedbackMode::Positive), Some("Success"), None, None),
        (Some(FeedbackMode::Negative), None, Some("Expired"), Some("Purged")),
        (Some(FeedbackMode::Full), Some("Success"), Some("Expired"), Some("Purged")),
    ];
    for (mode, on_success, on_expiry, on_purge) in cases {
        let hub = hub_with_manual_clock();
        let send = |id: &str| {
            let message = C2dMessage::new("").message_id(id).ttl(MINUTE);
            let message = match mode {
                Some(mode) => message.ack(mode),
                None => message,
            };
            hub.send_c2d("dev", message).unwrap();
        };
        let mut peer = listener(&hub, 1);
        send("accepted");
        let publish = peer.expect_publish();
        peer.puback(publish.pkid);
        peer.expect_quiet();
        cut(&hub, peer);
        send("expired");
        hub.advance_clock(2 * MINUTE);
        send("purged");
        assert_eq!(hub.purge_c2d("dev"), 1);

        let expected: Vec<(String, String)> = [("accepted", on_success), ("expired", on_expiry), ("purged", on_purge)]
            .into_iter()
            .filter_map(|(id, code)| Some((id.to_owned(), code?.to_owned())))
            .collect();
        assert_eq!(feedback(&hub), expected, "{mode:?}");
        let expected = [
            ("accepted".to_owned(), C2dResult::Completed),
            ("expired".to_owned(), C2dResult::Expired),
            ("purged".to_owned(), C2dResult::Purged),
        ];
        assert_eq!(outcomes(&hub), expected, "{mode:?}");
    }
}

#[test]
fn m_e26_feedback_names_device_generation_and_time() {
    let hub = hub_with_manual_clock();
    let mut peer = listener(&hub, 1);
    hub.send_c2d("dev", C2dMessage::new("").message_id("m1").ack(FeedbackMode::Full)).unwrap();
    let publish = peer.expect_publish();
    hub.advance_clock(seconds(5));
    peer.puback(publish.pkid);
    peer.expect_quiet();
    hub.flush_feedback();
    let records = hub.read_feedback();
    assert_eq!(records.len(), 1);
    let FeedbackRecord {
        enqueued_time,
        original_message_id,
        status_code,
        description,
        device_id,
        device_generation_id,
        ..
    } = &records[0];
    assert_eq!(*enqueued_time, hub.now());
    assert_eq!((original_message_id.as_str(), status_code.as_str()), ("m1", "Success"));
    assert!(!description.is_empty());
    assert_eq!(device_id, "dev");
    assert_eq!(*device_generation_id, hub.device("dev").unwrap().generation_id);
    assert!(hub.read_feedback().is_empty(), "it is taken once");
}

#[test]
fn m_e26_feedback_is_ready_after_15_seconds_or_with_64_records() {
    let hub = start(manual_clock().with_c2d_queue_limit(100));
    hub.create_device("dev").unwrap();
    let end = |count: usize| {
        for _ in 0..count {
            hub.send_c2d("dev", C2dMessage::new("").ack(FeedbackMode::Full)).unwrap();
        }
        assert_eq!(hub.purge_c2d("dev"), count);
    };
    end(1);
    hub.advance_clock(seconds(14));
    assert_eq!(hub.read_feedback().len(), 0);
    hub.advance_clock(seconds(2));
    assert_eq!(hub.read_feedback().len(), 1);

    end(63);
    assert_eq!(hub.read_feedback().len(), 0);
    end(1);
    assert_eq!(hub.read_feedback().len(), 64);
}
