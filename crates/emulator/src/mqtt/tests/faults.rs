//! Injected faults.

use super::*;

#[test]
fn each_drop_point_fires_once_and_nothing_is_answered_beyond_it() {
    use DropPoint as P;
    let filter = [("devices/d/messages/devicebound/#", 1)];
    // What the device gets behind CONNACK, and whether its telemetry is stored, for each point.
    let cases: [(DropPoint, &[u8], usize); 8] = [
        (P::ConnackSent, b"", 0),
        (P::SubscribeReceived, b"", 0),
        (P::SubackSent, b"\x90\x03\x00\x01\x01", 0),
        (P::PublishReceived, b"\x90\x03\x00\x01\x01", 0),
        (P::PublishStored, b"\x90\x03\x00\x01\x01", 1),
        (P::PubackSent, b"\x90\x03\x00\x01\x01\x40\x02\x00\x02", 1),
        (P::MidPacket, b"\x90\x03", 0),
        (P::ConnectReceived, b"", 0),
    ];
    for (point, answer, stored) in cases {
        let mut world = World::new(Config::new());
        world.hub.faults.push(None, Fault::Drop { device: Some("d".into()), at: point });
        let mut head = world.peer();
        let connect = world.connect_packet(0xc0, 60, 3600);
        let bytes = [connect, subscribe(1, &filter), publish(0x32, EVENTS, 2, b"x")].concat();
        let seen = world.say(&mut head, &bytes);
        let behind_connack = if point == P::ConnectReceived { &seen[..] } else { &seen[4..] };
        assert_eq!(behind_connack, answer, "{point:?}");
        assert_eq!(world.hub.telemetry_count(d()), stored, "{point:?}");
        assert_eq!(head.closing(), Some(Close::Bare), "{point:?}");
        assert!(matches!(world.why(), DisconnectReason::Fault(_)), "{point:?}");
        assert_eq!(world.hub.faults.len(), 0, "{point:?}");
        world.connected();
    }
}

#[test]
fn a_message_that_a_drop_kept_back_is_not_marked_as_sent() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    world.say(&mut head, &subscribe(1, &[("devices/d/messages/devicebound/#", 1)]));
    world.send_c2d("m1");
    world.send_c2d("m2");
    world.hub.faults.push(None, Fault::Drop { device: None, at: DropPoint::C2dSent });
    world.poll(&mut head);
    assert!(head.closing().is_some());
    world.connected();
    let dups: Vec<bool> = world
        .hub
        .activity(d())
        .filter_map(|activity| match activity {
            Activity::C2dSent { dup, .. } => Some(*dup),
            _ => None,
        })
        .collect();
    assert_eq!(dups, [false, true, false]);
}

#[test]
fn pubacks_can_be_dropped_delayed_and_reordered() {
    let mut world = World::new(Config::new());
    let mut head = world.connected();
    let three: Vec<u8> = (1..=3).flat_map(|id| publish(0x32, EVENTS, id, b"x")).collect();
    world.hub.faults.push(None, Fault::DropPubacks { count: 2 });
    assert_eq!(world.say(&mut head, &three), b"\x40\x02\x00\x03");
    world.hub.faults.push(None, Fault::ReorderPubacks { window: 2 });
    assert_eq!(world.say(&mut head, &three), b"\x40\x02\x00\x02\x40\x02\x00\x01\x40\x02\x00\x03");
    world.hub.faults.push(None, Fault::DelayPubacks { count: 1, by: Duration::from_secs(5) });
    assert!(world.say(&mut head, &three).is_empty());
    assert_eq!(head.timeout(world.now()), Some(Duration::from_secs(5)));
    world.pass(5);
    assert_eq!(world.poll(&mut head), b"\x40\x02\x00\x01\x40\x02\x00\x02\x40\x02\x00\x03");
    assert_eq!(world.hub.telemetry_count(d()), 9);
}

#[test]
fn answers_can_be_withheld_refused_or_forgotten() {
    let mut world = World::new(Config::new());
    let connect = world.connect_packet(0xc0, 60, 3600);
    world.hub.faults.push(None, Fault::WithholdConnack);
    let mut head = world.peer();
    assert!(world.say(&mut head, &connect).is_empty());
    assert_eq!((head.closing(), head.timeout(world.now())), (None, None));
    world.hub.faults.push(None, Fault::RefuseConnect { code: 3 });
    let mut head = world.peer();
    assert_eq!(world.say(&mut head, &connect), b"\x20\x02\x00\x03");

    let mut head = world.connected();
    world.hub.faults.push(None, Fault::WithholdPingresp);
    assert!(world.say(&mut head, PINGREQ).is_empty());
    assert_eq!(world.say(&mut head, PINGREQ), b"\xd0\x00");
    world.hub.faults.push(None, Fault::RefuseSubscription);
    assert_eq!(world.say(&mut head, &subscribe(1, &[("$iothub/twin/res/#", 1)])), b"\x90\x03\x00\x01\x80");
    world.hub.faults.push(None, Fault::SessionLost);
    let mut head = world.peer();
    assert_eq!(world.say(&mut head, &connect), b"\x20\x02\x00\x00");
}

#[test]
fn a_fault_for_another_device_does_not_fire() {
    let mut world = World::new(Config::new());
    world.hub.faults.push(Some(Identity::device("e")), Fault::WithholdConnack);
    world.connected();
    assert_eq!(world.hub.faults.len(), 1);
}
