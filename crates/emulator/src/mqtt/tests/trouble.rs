//! Faults of time and order, and of connections as a whole.

use super::*;

fn asking(operation: &str, delay: &str) -> Vec<u8> {
    let topic = format!(
        "{EVENTS}AzIoTHub_FaultOperationType={operation}&AzIoTHub_FaultOperationCloseReason=boom&AzIoTHub_FaultOperationDelayInSecs={delay}"
    );
    publish(0x32, &topic, 9, b"x")
}

#[test]
fn a_connack_can_be_late_and_all_waits_behind_it() {
    let mut world = World::new(Config::new());
    world.hub.faults.push(None, Fault::DelayConnack { by: Duration::from_secs(5) });
    let mut head = world.peer();
    let connect = world.connect_packet(0xc0, 60, 3600);
    assert!(world.say(&mut head, &[connect, PINGREQ.to_vec()].concat()).is_empty());
    assert_eq!(head.timeout(world.now()), Some(Duration::from_secs(5)));
    world.pass(5);
    assert_eq!(world.poll(&mut head), b"\x20\x02\x00\x00\xd0\x00");
}

#[test]
fn a_connack_can_be_overtaken_by_the_packet_behind_it() {
    let mut world = World::new(Config::new());
    world.hub.faults.push(None, Fault::ReorderConnack);
    let mut head = world.peer();
    let connect = world.connect_packet(0xc0, 60, 3600);
    let bytes = [connect, publish(0x32, EVENTS, 1, b""), PINGREQ.to_vec()].concat();
    assert_eq!(world.say(&mut head, &bytes), b"\x40\x02\x00\x01\x20\x02\x00\x00\xd0\x00");
}

#[test]
fn subacks_and_pingresps_can_be_late_or_overtaken() {
    let filter = subscribe(1, &[("$iothub/twin/res/#", 0)]);
    let by = Duration::from_secs(5);
    for (delay, reorder, request, answer) in [
        (Fault::DelaySuback { by }, Fault::ReorderSuback, filter.as_slice(), b"\x90\x03\x00\x01\x00".as_slice()),
        (Fault::DelayPingresp { by }, Fault::ReorderPingresp, PINGREQ, b"\xd0\x00"),
    ] {
        let mut world = World::new(Config::new());
        let mut head = world.connected();
        world.hub.faults.push(None, delay);
        let telemetry = publish(0x32, EVENTS, 7, b"");
        assert_eq!(world.say(&mut head, &[request, &telemetry].concat()), b"\x40\x02\x00\x07");
        world.pass(5);
        assert_eq!(world.poll(&mut head), answer);
        world.hub.faults.push(None, reorder);
        let swapped = [b"\x40\x02\x00\x07", answer].concat();
        assert_eq!(world.say(&mut head, &[request, &telemetry].concat()), swapped);
    }
}

#[test]
fn a_fault_of_the_connection_happens_at_once_or_to_the_next_one_behind_connack() {
    for (fault, close) in [
        (Fault::KillTcp, Close::Reset),
        (Fault::OrderlyClose, Close::Orderly),
        (Fault::Throttle { lasts: Duration::from_secs(9) }, Close::Bare),
        (Fault::Quota { lasts: Duration::from_secs(9) }, Close::Bare),
        (Fault::AuthError { lasts: Duration::from_secs(9) }, Close::Bare),
    ] {
        let mut world = World::new(Config::new());
        let mut head = world.connected();
        world.hub.inject(Some(d().clone()), fault.clone());
        assert!(world.hub.take_woken().contains(&head.id()));
        assert!(world.say(&mut head, PINGREQ).is_empty(), "it comes before what the device says now");
        assert_eq!(head.closing(), Some(close), "{fault:?}");
        assert_eq!(*world.why(), DisconnectReason::Fault(fault.clone()));

        world.hub.inject(Some(d().clone()), fault.clone());
        let mut head = world.connected();
        world.poll(&mut head);
        assert_eq!(head.closing(), Some(close), "{fault:?}");
        world.connected();
        assert_eq!(world.hub.faults.len(), 0);
    }
}

#[test]
fn half_open_the_hub_hears_and_says_nothing_until_it_gives_up() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    world.hub.inject(None, Fault::HalfOpen);
    world.hub.inject(None, Fault::KillTcp);
    assert!(world.say(&mut head, &[publish(0x32, EVENTS, 1, b"lost"), PINGREQ.to_vec()].concat()).is_empty());
    assert!(head.cut_off() && head.closing().is_none());
    assert_eq!(world.hub.telemetry_count(d()), 0);
    world.pass(89);
    world.say(&mut head, PINGREQ);
    world.pass(1);
    world.poll(&mut head);
    assert_eq!(*world.why(), DisconnectReason::KeepAliveExpired, "and the second fault waits for another connection");
    assert_eq!(world.hub.faults.len(), 1);
}

#[test]
fn a_split_is_at_its_byte_also_within_connack() {
    let mut world = World::new(Config::new());
    world.hub.inject(None, Fault::SplitAt { byte: 3 });
    let mut head = world.peer();
    let connect = world.connect_packet(0xc0, 60, 3600);
    assert_eq!(world.say(&mut head, &connect), b"\x20\x02\x00");
    assert!(head.has_more_output());
    assert_eq!(head.take_output(), b"\x00");
    world.hub.inject(None, Fault::SplitAt { byte: 1 });
    assert_eq!((world.say(&mut head, PINGREQ), head.take_output()), (b"\xd0".to_vec(), b"\x00".to_vec()));
}

#[test]
fn a_message_asks_for_a_fault_that_happens_after_its_delay_and_is_not_acknowledged() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    let ordinary = publish(0x32, EVENTS, 1, b"x");
    let sent = world.say(&mut head, &[asking("KillTcp", "2"), ordinary].concat());
    assert_eq!(sent, b"\x40\x02\x00\x01");
    assert_eq!(head.timeout(world.now()), Some(Duration::from_secs(2)));
    world.pass(2);
    assert!(world.poll(&mut head).is_empty());
    assert_eq!(head.closing(), Some(Close::Reset));
    assert_eq!(world.hub.telemetry_count(d()), 2);
    let scheduled = world.hub.activity(d()).find_map(|activity| match activity {
        Activity::FaultScheduled { at, due, reason, .. } => Some((due.duration_since(*at).unwrap(), reason.clone())),
        _ => None,
    });
    assert_eq!(scheduled, Some((Duration::from_secs(2), Some("boom".to_owned()))));
}

#[test]
fn a_fault_that_a_message_asks_for_ends_with_its_connection() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    world.say(&mut head, &asking("ShutDownMqtt", "2"));
    let mut next = world.connected();
    world.pass(2);
    world.poll(&mut next);
    assert_eq!(next.closing(), None);
}

#[test]
fn a_fault_message_can_be_acknowledged_or_be_an_ordinary_one() {
    let mut world = World::new(Config::new().with_ack_fault_message(true));
    let mut head = world.connected();
    assert_eq!(world.say(&mut head, &asking("ShutDownMqtt", "0")), b"\x40\x02\x00\x09");
    assert_eq!(head.closing(), Some(Close::Orderly), "without a delay it happens at once");

    let mut world = World::new(Config::new().with_message_faults(false));
    let mut head = world.connected();
    assert_eq!(world.say(&mut head, &asking("KillTcp", "0")), b"\x40\x02\x00\x09");
    assert_eq!(head.closing(), None);

    let mut world = World::new(Config::new());
    let mut head = world.connected();
    assert_eq!(world.say(&mut head, &asking("KillAmqpConnection", "0")), b"\x40\x02\x00\x09");
    assert!(matches!(world.hub.activity(d()).nth(1), Some(Activity::FaultIgnored { .. })));
}

#[test]
fn a_connack_code_that_does_not_exist_is_written_as_it_is() {
    let mut world = World::new(Config::new());
    let connect = world.connect_packet(0xc0, 60, 3600);
    for (code, written) in [(1, 1), (5, 5), (6, 6), (255, 255), (0, 5)] {
        world.hub.faults.push(None, Fault::RefuseConnect { code });
        let mut head = world.peer();
        assert_eq!(world.say(&mut head, &connect), [0x20, 2, 0, written]);
    }
}
