//! Faults that a device asks for by the properties of a message, as the testers of the real hub do (E42 to E44).

use std::time::Duration;

use iothub_emulator::{Activity, Config, DisconnectReason, Emulator, Fault, Hub};

use crate::support::packets::{self, Connect, DUP, Will};
use crate::support::peer::{End, Peer};
use crate::support::{LIMIT, hub_with_manual_clock, manual_clock, start, wait_until_gone, why_it_ended};

const EVENTS: &str = "devices/dev/messages/events/";

/// The topic of a message that asks for a fault.
fn asking(operation: &str, delay: &str) -> String {
    format!(
        "{EVENTS}AzIoTHub_FaultOperationType={operation}&AzIoTHub_FaultOperationCloseReason=boom&AzIoTHub_FaultOperationDelayInSecs={delay}&AzIoTHub_FaultOperationDurationInSecs=20"
    )
}

fn connected(hub: &Hub) -> Peer {
    let device = hub.device("dev").unwrap_or_else(|| hub.create_device("dev").unwrap());
    Peer::connected(hub, &device)
}

/// Sends the message, lets its delay of two seconds pass, and sees how the connection ends.
fn provoke(hub: &Emulator, operation: &str) -> End {
    let mut peer = connected(hub);
    peer.send(&packets::publish(&asking(operation, "2"), 1, 0, 1, b"trouble"));
    peer.expect_quiet();
    hub.advance_clock(Duration::from_secs(2));
    peer.how_it_ends()
}

fn ignored(hub: &Hub) -> usize {
    hub.activity("dev").iter().filter(|activity| matches!(activity, Activity::FaultIgnored { .. })).count()
}

#[test]
fn m_e42_each_type_ends_the_connection_in_its_way() {
    let lasts = Duration::from_secs(20);
    for (operation, end, fault) in [
        ("KillTcp", End::Reset, Fault::KillTcp),
        ("ShutDownMqtt", End::Goodbye, Fault::OrderlyClose),
        ("InvokeThrottling", End::Bare, Fault::Throttle { lasts }),
        ("InvokeMaxMessageQuota", End::Bare, Fault::Quota { lasts }),
        ("InvokeAuthError", End::Bare, Fault::AuthError { lasts }),
    ] {
        let hub = hub_with_manual_clock();
        assert_eq!(provoke(&hub, operation), end, "{operation}");
        assert_eq!(why_it_ended(&hub, "dev"), DisconnectReason::Fault(fault.clone()));
        let scheduled = hub.activity("dev").into_iter().find_map(|activity| match activity {
            Activity::FaultScheduled { fault, due, reason, at, .. } => {
                Some((fault, due.duration_since(at).unwrap(), reason))
            }
            _ => None,
        });
        assert_eq!(scheduled, Some((fault, Duration::from_secs(2), Some("boom".to_owned()))));
        connected(&hub).expect_quiet();
    }
}

#[test]
fn m_e42_it_happens_after_its_delay_and_the_connection_works_until_then() {
    let hub = hub_with_manual_clock();
    let mut peer = connected(&hub);
    peer.send(&packets::publish(&asking("ShutDownMqtt", "5"), 1, 0, 1, b"trouble"));
    hub.wait_for_telemetry("dev", 1, LIMIT).unwrap();
    hub.advance_clock(Duration::from_millis(4_999));
    peer.send(&packets::publish(EVENTS, 1, 0, 2, b"still there"));
    assert_eq!(peer.expect_puback(), 2);
    hub.advance_clock(Duration::from_millis(1));
    assert_eq!(peer.how_it_ends(), End::Goodbye);
}

#[test]
fn m_e42_without_a_delay_it_happens_at_once_and_reason_and_duration_may_be_missing() {
    for delay in ["", "&AzIoTHub_FaultOperationDelayInSecs=0", "&AzIoTHub_FaultOperationDelayInSecs="] {
        let hub = hub_with_manual_clock();
        let mut peer = connected(&hub);
        let topic = format!("{EVENTS}AzIoTHub_FaultOperationType=InvokeThrottling{delay}");
        peer.send(&packets::publish(&topic, 0, 0, 0, b"trouble"));
        assert_eq!(peer.how_it_ends(), End::Bare, "{delay}");
        assert_eq!(hub.telemetry("dev").len(), 1, "the message is a message too");
    }
}

#[test]
fn m_e42_the_will_is_published() {
    for operation in ["KillTcp", "ShutDownMqtt", "InvokeAuthError"] {
        let hub = hub_with_manual_clock();
        let device = hub.create_device("dev").unwrap();
        let connect = Connect::of(&hub, &device).will(Will::new(EVENTS, b"will"));
        let mut peer = Peer::connected_as(&hub, &connect);
        peer.send(&packets::publish(&asking(operation, "0"), 1, 0, 1, b"trouble"));
        peer.how_it_ends();
        wait_until_gone(&hub, "dev");
        let bodies: Vec<_> = hub.telemetry("dev").into_iter().map(|record| record.body).collect();
        assert_eq!(bodies, ["trouble", "will"], "{operation}");
    }
}

#[test]
fn m_e42_what_is_for_amqp_or_badly_asked_is_an_ordinary_message_and_on_record() {
    let hub = hub_with_manual_clock();
    let mut peer = connected(&hub);
    let kinds = [
        "KillAmqpConnection",
        "KillAmqpSession",
        "KillAmqpCBSLinkReq",
        "KillAmqpD2CLink",
        "KillAmqpc2dLink",
        "ShutDownAmqp",
        "Nonsense",
        "killtcp",
        "",
    ];
    for kind in kinds {
        peer.publish(&asking(kind, "0"), b"ordinary");
    }
    for delay in ["soon", "-1", "0.5", "4294967296"] {
        peer.publish(&asking("KillTcp", delay), b"ordinary");
    }
    peer.publish(&format!("{EVENTS}AzIoTHub_FaultOperationType"), b"ordinary");
    peer.publish(&format!("{EVENTS}AzIoTHub_FaultOperationDelayInSecs=0"), b"asks for nothing");
    peer.expect_quiet();
    assert_eq!((hub.telemetry("dev").len(), ignored(&hub)), (15, 14));
}

#[test]
fn m_e42_a_hub_may_not_honour_them() {
    let hub = start(manual_clock().with_message_faults(false));
    let mut peer = connected(&hub);
    peer.publish(&asking("KillTcp", "0"), b"ordinary");
    hub.advance_clock(Duration::from_secs(60));
    peer.expect_quiet();
}

#[test]
fn m_e42_a_fault_dies_with_the_connection_that_asked_for_it() {
    let hub = hub_with_manual_clock();
    let mut first = connected(&hub);
    first.send(&packets::publish(&asking("KillTcp", "10"), 1, 0, 1, b"trouble"));
    first.expect_quiet();
    let mut second = connected(&hub);
    hub.advance_clock(Duration::from_secs(10));
    second.expect_quiet();
}

#[test]
fn m_e43_the_message_is_not_acknowledged_and_its_resend_asks_again() {
    let hub = hub_with_manual_clock();
    for (attempt, flags) in [0, DUP, DUP].into_iter().enumerate() {
        let mut peer = connected(&hub);
        peer.send(&packets::publish(&asking("InvokeThrottling", "1"), 1, flags, 7, b"trouble"));
        peer.expect_quiet();
        hub.advance_clock(Duration::from_secs(1));
        assert_eq!(peer.how_it_ends(), End::Bare);
        assert_eq!(hub.telemetry("dev").len(), attempt + 1);
    }
    let pubacks = hub.activity("dev").into_iter().filter(|activity| matches!(activity, Activity::PubackSent { .. }));
    assert_eq!(pubacks.count(), 0);
}

#[test]
fn m_e43_it_can_be_acknowledged_instead() {
    let hub = start(manual_clock().with_ack_fault_message(true));
    let mut peer = connected(&hub);
    peer.publish(&asking("InvokeThrottling", "1"), b"trouble");
    peer.expect_quiet();
    hub.advance_clock(Duration::from_secs(1));
    assert_eq!(peer.how_it_ends(), End::Bare);
}

#[test]
fn m_e44_after_the_fault_a_reconnect_succeeds_at_once_and_what_was_lost_is_taken() {
    for operation in ["KillTcp", "ShutDownMqtt", "InvokeThrottling", "InvokeMaxMessageQuota", "InvokeAuthError"] {
        let hub = start(Config::new());
        let mut peer = connected(&hub);
        peer.publish(EVENTS, b"before");
        peer.send(&packets::publish(&asking(operation, "0"), 1, 0, 8, b"trouble"));
        let _ = peer.try_send(&packets::publish(EVENTS, 1, 0, 9, b"during"));
        while peer.read_or_closed().is_some() {}
        wait_until_gone(&hub, "dev");

        let device = hub.device("dev").unwrap();
        let mut peer = Peer::open(&hub);
        assert!(peer.connect(&Connect::of(&hub, &device)), "{operation}: the session is still there");
        peer.send(&packets::publish(EVENTS, 1, DUP, 9, b"during"));
        assert_eq!(peer.expect_puback(), 9);
        peer.publish(EVENTS, b"after");
        let bodies: Vec<_> = hub.telemetry("dev").into_iter().map(|record| record.body).collect();
        assert_eq!(bodies, ["before", "trouble", "during", "after"], "{operation}");
    }
}
